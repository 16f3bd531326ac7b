"""What responses look like: length, headings, list items and bold words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.datasets.service import PairKey
from app.datasets.texts import response_sides
from app.errors import Unprocessable
from app.leaderboards.schemas import Control
from app.models import Dataset
from calibration.arrays import FloatArray
from calibration.ranking import Covariates

_HEADING = re.compile(r"^ {0,3}#{1,6} +\S", re.MULTILINE)
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)]) +\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")

FEATURES: Final[dict[Control, tuple[str, ...]]] = {
    "length": ("length",),
    "style": ("headings", "list_items", "bold"),
}


def measure(turns: Sequence[str]) -> dict[str, int]:
    """Count characters, headings, list items and bold words over the turns of a response."""
    return {
        "length": sum(map(len, turns)),
        "headings": sum(len(_HEADING.findall(turn)) for turn in turns),
        "list_items": sum(len(_LIST_ITEM.findall(turn)) for turn in turns),
        "bold": sum(len(_BOLD.findall(turn)) for turn in turns),
    }


async def covariates(
    session: AsyncSession,
    dataset: Dataset,
    keys: Sequence[PairKey],
    control: Sequence[Control],
) -> Covariates:
    """Return how the two responses of each pair differ; texts are read a page at a time.

    A battle, which has no texts, has no difference; `refuse_battles` keeps those out.
    """
    names = tuple(dict.fromkeys(name for one in control for name in FEATURES[one]))
    amounts: FloatArray = np.zeros((2, len(keys), len(names)))
    row_of = {key.seq: row for row, key in enumerate(keys)}
    async for seq, sides in response_sides(session, dataset):
        row = row_of.get(seq)
        if row is not None:
            for side, turns in enumerate(sides):
                counted = measure(turns)
                amounts[side, row] = [counted[name] for name in names]
    return Covariates.between(names, amounts[0], amounts[1])


def refuse_battles(keys: Sequence[PairKey]) -> None:
    """Check that there are texts to look at.

    Raises:
        Unprocessable: some pairs have none.
    """
    n = sum(key.content_hash is None for key in keys)
    if n:
        message = f"{n} of {len(keys)} pairs have no texts whose length and style could be compared"
        raise Unprocessable.field(["control"], message)
