"""Reads and writes RewardBench rows: a chosen and a rejected answer.

Which side the chosen answer is put on is drawn from a hash of the id, so that the place never
gives the label away; the side is recorded in `metadata.chosen_side`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.writing import Given, Loss, Options, count_lost, overall_votes

FIELDS: Final = ("prompt", "chosen", "rejected")
#: What rows of OpenAI's preference fine-tuning hold.
TUNING_FIELDS: Final = ("input", "preferred_output", "non_preferred_output")
_READ: Final = frozenset(
    {"id", "prompt", "chosen", "rejected", "chosen_model", "rejected_model", "metadata", "group"}
)


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of this format."""
    is_tuning = all(name in row for name in TUNING_FIELDS)
    return is_tuning or ("chosen" in row and "rejected" in row)


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row with one label of the annotator `gold`.

    Raises:
        RowInvalid: a conversation cannot be read.
    """
    turns, chosen, rejected = _conversation(row)
    drawn_from = row.get("id")
    if drawn_from is None:
        drawn_from = [row.get("prompt"), row["chosen"], row["rejected"]]
    side, other = ("b", "a") if _bit(drawn_from) else ("a", "b")
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise RowInvalid(f"metadata: {shown(metadata)} is not an object")
    kept = {name: value for name, value in row.items() if name not in _READ}
    return {
        "id": row.get("id"),
        "group": row.get("group"),
        **turns,
        f"response_{side}": chosen,
        f"response_{other}": rejected,
        f"model_{side}": row.get("chosen_model"),
        f"model_{other}": row.get("rejected_model"),
        "human": [{"annotator": "gold", "label": side}],
        "metadata": {**kept, **metadata, "chosen_side": side},
    }


def _bit(value: object) -> int:
    # a number and its digits are the same id
    text = json.dumps(str(value) if isinstance(value, int) else value)
    return hashlib.sha256(text.encode("ascii")).digest()[0] & 1


def _conversation(row: Mapping[str, Any]) -> tuple[dict[str, Any], object, object]:
    """Return `prompt` or `messages`, and the last turn of either answer."""
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if isinstance(prompt, list) and prompt and all(isinstance(turn, dict) for turn in prompt):
        turns: dict[str, Any] = {"messages": prompt}
    else:
        turns = {"prompt": prompt}
    if not isinstance(chosen, list) and not isinstance(rejected, list):
        return turns, chosen, rejected
    before_a, chosen = _last_turn("chosen", chosen)
    before_b, rejected = _last_turn("rejected", rejected)
    if before_a != before_b:
        raise RowInvalid("rejected: the turns before the last differ from those of chosen")
    return ({"messages": before_a} if before_a else turns), chosen, rejected


def _last_turn(field: str, turns: object) -> tuple[list[Any], object]:
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        raise RowInvalid(f"{field}: is not a list of messages, but the other answer is")
    return turns[:-1], turns[-1].get("content")


_OWN: Final = frozenset(
    {"id", "prompt", "chosen", "rejected", "chosen_model", "rejected_model", "metadata"}
)


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the row of a pair with a preference; ties have none."""
    row = given.row
    if given.is_battle or "responses_a" in row:
        loss["pairs without two single answers"] += 1
        return
    votes = overall_votes(given, (), Counter())
    labels = Counter(vote["label"] for vote in votes)
    if labels["a"] == labels["b"] or labels["tie"] >= max(labels["a"], labels["b"]):
        loss["pairs without a preferred answer"] += 1
        return
    side, other = ("a", "b") if labels["a"] > labels["b"] else ("b", "a")
    is_gold = len(votes) == 1 and votes[0].get("annotator") == "gold"
    kept = {"texts", "models", "ids", "metadata of pairs", *(["votes"] if is_gold else [])}
    count_lost(given, kept, loss)
    if is_gold:
        overall_votes(given, ("annotator",), loss)
    metadata = {name: value for name, value in row["metadata"].items() if name != "chosen_side"}
    models = {"chosen_model": row.get(f"model_{side}"), "rejected_model": row.get(f"model_{other}")}
    is_flat = not metadata.keys() & _OWN
    yield {
        "id": row["id"],
        **_texts(row, side, other),
        **{name: model for name, model in models.items() if model is not None},
        **(metadata if is_flat else {"metadata": metadata}),
    }


def _texts(row: Any, side: str, other: str) -> dict[str, Any]:
    """Return a prompt with two answers; a conversation is a list that either answer ends."""
    chosen, rejected = row[f"response_{side}"], row[f"response_{other}"]
    if isinstance(row.get("prompt"), str):
        return {"prompt": row["prompt"], "chosen": chosen, "rejected": rejected}
    before = row.get("messages") or [{"role": "user", "content": turn} for turn in row["prompt"]]
    last = next(turn["content"] for turn in reversed(before) if turn["role"] == "user")
    return {
        "prompt": last,
        "chosen": [*before, {"role": "assistant", "content": chosen}],
        "rejected": [*before, {"role": "assistant", "content": rejected}],
    }
