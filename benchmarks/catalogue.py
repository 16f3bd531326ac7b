"""All benchmarks by name."""

from __future__ import annotations

from typing import Protocol

from benchmarks import (
    bootstrap_ranks,
    bradley_terry,
    certify_few,
    certify_million,
    krippendorff,
    replay,
    starting,
    student,
)
from benchmarks.measuring import Benchmark


class Preparation(Protocol):
    """Makes the input of a benchmark; `is_small` is for tests and says nothing about speed."""

    def __call__(self, *, is_small: bool) -> Benchmark:
        """Prepare the benchmark."""
        ...


BENCHMARKS: dict[str, Preparation] = {
    "certify-few": certify_few.prepare,
    "certify-million": certify_million.prepare,
    "bradley-terry": bradley_terry.prepare,
    "krippendorff": krippendorff.prepare,
    "bootstrap-ranks": bootstrap_ranks.prepare,
    "bootstrap-ranks-million": bootstrap_ranks.prepare_million,
    "student": student.prepare,
    "replay": replay.prepare,
    "start": starting.prepare,
}
