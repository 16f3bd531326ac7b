"""Writing MT-bench pair judgements: a row for every recorded judge of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from app.dialects.writing import Given, Loss, Options, count_lost, labels_by_order

_WINNERS: Final = {"a": "model_1", "b": "model_2", "tie": "tie", None: "error"}
_OWN: Final = frozenset({"question_id", "turn", "category"})


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the judgements of a pair."""
    row, metadata = given.row, given.row["metadata"]
    if row.get("model_a") is None or row.get("model_b") is None:
        loss["pairs without two models"] += 1
        return
    if not given.scores:
        loss["pairs without a recorded judge"] += 1
        return
    question, turn = metadata.get("question_id", row["group"]), metadata.get("turn", 1)
    kept = {"models", "recorded scores", "groups"}
    if row["id"] == f"{question}|{turn}|{row['model_a']}|{row['model_b']}":
        kept.add("ids")
    if metadata.keys() <= _OWN:
        kept.add("metadata of pairs")
    count_lost(given, kept, loss)
    for name, score in given.scores.items():
        if score.cost_usd is not None or score.seconds is not None:
            loss["costs and seconds of recorded scores"] += 1
        original, swapped = labels_by_order(score, loss)
        yield {
            "question_id": question,
            "model_1": row["model_a"],
            "model_2": row["model_b"],
            "g1_winner": _WINNERS[original],
            "g2_winner": _WINNERS[swapped],
            "judge": name.split("/", 1),
            "turn": turn,
            **({"category": metadata["category"]} if "category" in metadata else {}),
        }
