"""A batch whose pairs and verdicts stay in files: which ones, and what its shards mean.

A shard covers rows `[first, last)`, counted over all files in order; it lies within one file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from app.models import Batch, Shard

# where a stored request keeps this form, and the dialect of the dataset that stands for the files
TABLES: Final = "tables"
WORK: Final = ".work"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One input file; `footer` is a hash of its description, which changes with its content."""

    path: str
    rows: int
    footer: str


@dataclass(frozen=True, slots=True)
class TableSlice:
    """The rows `[first, last)` of one file, counted from 0."""

    file: TableFile
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Input files in order, their row format, and the folder of the parts."""

    files: tuple[TableFile, ...]
    output: str
    dialect: str

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    def slice_of(self, shard: Shard) -> TableSlice:
        """Return what a shard covers."""
        ends = list(accumulate(file.rows for file in self.files))
        number = bisect_right(ends, shard.first)
        before = ends[number] - self.files[number].rows
        return TableSlice(self.files[number], shard.first - before, shard.last - before)

    def part(self, number: int) -> Path:
        """Return the file with the verdicts of a shard that is done."""
        return Path(self.output) / f"part-{number:08d}.parquet"

    def pieces(self, number: int) -> Path:
        """Return the folder with what is done of a shard that is not; each attempt has its own."""
        return Path(self.output) / WORK / f"{number:08d}"

    def as_json(self) -> dict[str, Any]:
        """Return it as the stored request keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Tables:
        """Read what a stored request keeps."""
        files = tuple(TableFile(**one) for one in stored["files"])
        return cls(files, stored["output"], stored["dialect"])


def tables_of(batch: Batch) -> Tables | None:
    """Return the files of a batch whose pairs stay in files, None for any other."""
    stored = batch.request.get(TABLES)
    return None if stored is None else Tables.from_json(stored)


def cuts(row_groups: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Cut a file into ranges of at most `size` rows, at the ends of row groups where they fit.

    Args:
        row_groups: Rows of each row group.
        size: Most rows of a range.
    """
    first = last = 0
    for rows in row_groups:
        if last - first + rows > size and last > first:
            yield first, last
            first = last
        last += rows
        while last - first > size:
            yield first, first + size
            first += size
    if last > first:
        yield first, last
