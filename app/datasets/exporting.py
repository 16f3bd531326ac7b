"""A stored pair as the canonical row that would import it again."""

from __future__ import annotations

from typing import Any

from app.datasets.service import StoredPair, Vote
from judges.types import Pair, Score


def canonical_row(stored: StoredPair) -> dict[str, Any]:
    """Return the row; without texts for a battle."""
    key = stored.key
    row: dict[str, Any] = {"id": key.id, **(_texts(stored.pair) if stored.pair else {})}
    for name, value in (("model_a", key.model_a), ("model_b", key.model_b)):
        if value is not None:
            row[name] = value
    return {
        **row,
        "group": key.group,
        "human": [_vote(vote) for vote in stored.votes],
        "judges": {name: _record(score) for name, score in sorted(stored.recorded.items())},
        "metadata": key.metadata,
    }


def _texts(pair: Pair) -> dict[str, Any]:
    texts: dict[str, Any] = {}
    if all(turn.role == "user" for turn in pair.conversation):
        turns = pair.user_turns
        texts["prompt"] = turns[0] if len(turns) == 1 else list(turns)
    else:
        texts["messages"] = [{"role": m.role, "content": m.content} for m in pair.conversation]
    if len(pair.responses_a) == 1:
        texts["response_a"], texts["response_b"] = pair.responses_a[0], pair.responses_b[0]
    else:
        texts["responses_a"], texts["responses_b"] = list(pair.responses_a), list(pair.responses_b)
    return texts | ({"criterion": pair.criterion} if pair.criterion is not None else {})


def _vote(vote: Vote) -> dict[str, Any]:
    return {
        **vote.details,
        "annotator": vote.annotator,
        "label": vote.label,
        "criterion": vote.criterion,
    }


def _record(score: Score) -> dict[str, Any] | None:
    """The record in the richest form that is known: both orders of every annotator, else p_a."""
    record = {**_answer(score), **_amounts(score)}
    return None if record == {"p_a": None} else record


def _answer(score: Score) -> dict[str, Any]:
    if score.annotators:
        record: dict[str, Any] = {"annotators": [list(row) for row in score.annotators]}
    elif "inconsistent" in score.flags:
        return {"label": "tie", "inconsistent": True}
    else:
        record = {"p_a": score.p_a}
    has_own_ties = any(len(row) > 2 for row in score.annotators)
    if score.p_tie is not None and not has_own_ties:
        record["p_tie"] = score.p_tie
    return record


def _amounts(score: Score) -> dict[str, Any]:
    tokens = {"prompt": score.usage.prompt, "completion": score.usage.completion}
    if score.usage.cached:
        tokens["cached"] = score.usage.cached
    flags = dict(flag.split(":", 1) for flag in score.flags if ":" in flag)
    found = {
        "cost": score.cost_usd,
        "seconds": score.seconds,
        "tokens": tokens if any(tokens.values()) else None,
        "criterion": flags.get("criterion"),
    }
    return {name: value for name, value in found.items() if value is not None}
