"""Which responses a judge wrote itself: those of a model that has its name, or its model's.

Case and punctuation do not matter, so that the judge `GPT-4` wrote the responses of `gpt4`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from app.datasets.service import PairKey
from app.errors import Unprocessable
from app.identifiers import shown
from calibration.arrays import IntArray
from calibration.labels import MISSING, A, B
from judges.base import Judge

Models = frozenset[str]
_NO_LETTER = re.compile(r"[\W_]+")


def own_models(declared: Sequence[str], judges: Sequence[Judge]) -> list[Models]:
    """Return, for each judge, the models whose responses it wrote.

    Args:
        declared: `judge=model`; what the names alone do not tell.
        judges: The judges.

    Raises:
        Unprocessable: a declaration has another form, or names no judge of the report.
    """
    known = {judge.spec.name: {judge.spec.name, judge.spec.model} for judge in judges}
    for text in declared:
        name, separator, model = text.rpartition("=")
        if not separator or name not in known or not model:
            message = f"{shown(text)} is not judge=model with a judge of this report"
            raise Unprocessable(
                f"own: {message}", errors=[{"loc": ["query", "own"], "msg": message}]
            )
        known[name].add(model)
    return [frozenset(_plain(name) for name in names if name) for names in known.values()]


def own_sides(keys: Sequence[PairKey], own: Sequence[Models]) -> IntArray:
    """Return the side that each judge wrote, shape (n, k); `MISSING` for neither or both."""
    sides = np.full((len(keys), len(own)), MISSING, dtype=np.int64)
    plain: dict[str | None, str] = {None: ""}
    for row, key in enumerate(keys):
        for name in (key.model_a, key.model_b):
            if name not in plain:
                plain[name] = _plain(name or "")
        wrote = plain[key.model_a], plain[key.model_b]
        for column, models in enumerate(own):
            is_a, is_b = (name in models for name in wrote)
            if is_a != is_b:
                sides[row, column] = A if is_a else B
    return sides


def _plain(name: str) -> str:
    return _NO_LETTER.sub("", name.casefold())
