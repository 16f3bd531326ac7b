"""Writing AlpacaEval annotations: a row for every recorded judge of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.dialects.alpaca_eval import RESERVED
from app.dialects.writing import Given, Loss, Options, count_lost, count_lost_of_scores

_KEPT = ("texts", "models", "recorded scores", "metadata of pairs")


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the annotations of a pair; one without a judge is a row without a preference."""
    if not given.is_plain:
        loss["pairs that are not one prompt with two answers"] += 1
        return
    row = given.row
    count_lost(given, _KEPT, loss)
    count_lost_of_scores(given, loss)
    further = {name: value for name, value in row["metadata"].items() if name not in RESERVED}
    if len(further) < len(row["metadata"]):
        loss["metadata named like fields of the format"] += 1
    base = {
        **further,
        "instruction": row["prompt"],
        "output_1": row["response_a"],
        "generator_1": row.get("model_a"),
        "output_2": row["response_b"],
        "generator_2": row.get("model_b"),
    }
    if not given.scores:
        yield base
    for name, score in given.scores.items():
        yield {
            **base,
            "annotator": name,
            "preference": None if score.p_a is None else 2.0 - score.p_a,
            "price_per_example": score.cost_usd,
            "time_per_example": score.seconds,
        }
