"""Output and error files of batches, told apart by their ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["output", "errors"]
_ID: Final = re.compile(r"(batch_[0-9a-f]{24})_(output|errors)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Derived:
    """Names one of the two files of a batch."""

    batch_id: str
    kind: Kind


def output_id(batch_id: str) -> str:
    """Return the id of the file of a batch's verdicts."""
    return f"{batch_id}_output"


def errors_id(batch_id: str) -> str:
    """Return the id of the file of a batch's pairs and lines without a verdict."""
    return f"{batch_id}_errors"


def derived(file_id: str) -> Derived | None:
    """Parse the id of a derived file; return None for that of an uploaded file."""
    found = _ID.fullmatch(file_id)
    if found is None:
        return None
    return Derived(found.group(1), "output" if found.group(2) == "output" else "errors")


BATCH: Final = "batch"
