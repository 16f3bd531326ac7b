"""Writing battles, a row for every vote: `left, right, winner` or `model_a, model_b, winner`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from app.dialects.battles import FIELDS, MODEL_FIELDS
from app.dialects.writing import Given, Loss, Options, count_lost, overall_votes

_EVALICA: Final = {"a": "left", "b": "right", "tie": "tie"}
_ARENA_RANK: Final = {"a": "model_a", "b": "model_b", "tie": "tie"}


def evalica_rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the votes on a pair as evalica reads them."""
    return _rows(given, loss, FIELDS, _EVALICA)


def arena_rank_rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the votes on a pair as arena-rank reads them."""
    return _rows(given, loss, MODEL_FIELDS, _ARENA_RANK)


def _rows(
    given: Given, loss: Loss, fields: tuple[str, ...], winners: dict[str, str]
) -> Iterator[dict[str, Any]]:
    row = given.row
    if row.get("model_a") is None or row.get("model_b") is None:
        loss["pairs without two models"] += 1
        return
    # a battle without a name of its own is called by its line
    is_line = given.is_battle and row["id"].isdigit()
    kept = {"models", "votes", *(("ids",) if is_line else ())}
    count_lost(given, kept, loss)
    votes = overall_votes(given, (), loss)
    if not votes:
        loss["pairs without a vote"] += 1
    for vote in votes:
        values = (row["model_a"], row["model_b"], winners[vote["label"]])
        yield dict(zip(fields, values, strict=True))
