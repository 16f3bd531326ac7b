"""Writing MT-bench pair judgements: a row for every recorded judge of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from app.dialects.writing import Given, Loss, Options, count_lost, is_judged, labels_by_order

_WRITTEN_WINNERS: Final = {"a": "model_1", "b": "model_2", "tie": "tie", None: "error"}
_OWN: Final = frozenset({"question_id", "turn", "category"})


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the judgements of a pair."""
    row, metadata = given.row, given.row["metadata"]
    if not is_judged(given, loss):
        return
    question, turn = metadata.get("question_id", row["group"]), metadata.get("turn", 1)
    kept = {"models", "recorded scores", "groups"}
    named = f"{question}|{turn}|{row['model_a']}|{row['model_b']}"
    if not options.is_first(named):
        # a second pair of the same models would be read as the first one
        question = row["id"]
        kept.remove("groups")
    elif row["id"] == named:
        kept.add("ids")
    if metadata.keys() <= _OWN:
        kept.add("metadata of pairs")
    count_lost(given, kept, loss)
    for name, score in given.scores.items():
        original, swapped = labels_by_order(score, loss)
        yield {
            "question_id": question,
            "model_1": row["model_a"],
            "model_2": row["model_b"],
            "g1_winner": _WRITTEN_WINNERS[original],
            "g2_winner": _WRITTEN_WINNERS[swapped],
            "judge": name.split("/", 1),
            "turn": turn,
            **({"category": metadata["category"]} if "category" in metadata else {}),
        }
