"""A row as it stood in an upload, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row: its line from 1, and its value or why there is none.

    Args:
        line: Where it stood in its file: the line, the element of an array, the row of a Parquet.
        value: The row.
        reason: Why there is no value.
        file: The name of its file, where it is known.
        number: The line counted over all files of the upload; 0 = in the first, the line itself.
        is_one_of_several: Whether the upload holds several files.
        is_vote: Whether the row of a table is one vote, so that equal rows are as many votes.
    """

    line: int
    value: Any = None
    reason: str | None = None
    file: str = ""
    number: int = 0
    is_one_of_several: bool = False
    is_vote: bool = False
