"""Writing RewardBench rows: the answer that most people prefer is the chosen one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from app.dialects.writing import Given, Loss, Options, count_lost, overall_votes

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
    """A prompt with two answers; a conversation is a list that either answer ends."""
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
