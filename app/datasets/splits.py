"""Split a dataset into two parts by group, the same for the same seed everywhere.

Every group has a number in [0, 1) that depends on seed and group alone. The calibration part is
the given fraction of the groups with the smallest numbers, so its size is exact and a pair's side
follows from its group and one threshold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.core.errors import Unprocessable

Side = Literal["calibration", "test"]


class Part(BaseModel):
    """One side of a split by group."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    fraction: float = Field(0.5, gt=0, lt=1, description="share of the groups that calibrate")
    seed: int = Field(0, ge=0, lt=2**63)
    side: Side

    @property
    def other(self) -> Part:
        """The other side of the same split."""
        side: Side = "test" if self.side == "calibration" else "calibration"
        return self.model_copy(update={"side": side})


@dataclass(frozen=True, slots=True)
class Membership:
    """Tells which groups a part holds."""

    seed: int
    side: Side
    threshold: float

    def holds(self, group: str) -> bool:
        """Return whether pairs of this group are in the part."""
        return (group_number(self.seed, group) <= self.threshold) == (self.side == "calibration")


def group_number(seed: int, group: str) -> float:
    """Return a number in [0, 1) that depends on seed and group alone."""
    digest = hashlib.sha256(f"{seed}\n{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def membership(part: Part, groups: Iterable[str]) -> Membership:
    """Split these distinct groups; the result tells the side of each."""
    numbers = sorted(group_number(part.seed, group) for group in groups)
    wanted = round(part.fraction * len(numbers))
    threshold = numbers[wanted - 1] if wanted else -1.0
    return Membership(seed=part.seed, side=part.side, threshold=threshold)


_SHARE: Final = r"0?\.[0-9]{0,7}[1-9][0-9]{0,7}|[1-9](\.[0-9]{1,7})?[eE]-[0-9]{1,2}"
PART_PATTERN: Final = rf"^(calibration|test):({_SHARE}):[0-9]{{1,18}}$"


def parse_part(text: str) -> Part:
    """Read the form of a query string, `calibration:0.5:0`, as `PART_PATTERN` describes it.

    Raises:
        Unprocessable: the text is not of this form.
    """
    try:
        if not re.fullmatch(PART_PATTERN, text):
            raise ValueError(text)
        side, fraction, seed = text.split(":")
        return Part.model_validate({"side": side, "fraction": float(fraction), "seed": int(seed)})
    except ValueError as error:
        raise Unprocessable(
            "part: write side:fraction:seed, such as calibration:0.5:0",
            errors=[{"loc": ["query", "part"], "msg": "side:fraction:seed is expected"}],
        ) from error
