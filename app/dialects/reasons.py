"""Why a row was rejected, in one line that names the field."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from app.identifiers import printable

_MOST_FAULTS: Final = 3
_MOST_CHARACTERS: Final = 500


class RowInvalid(ValueError):
    """A row cannot be read; the message names the field and says what is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason)[:_MOST_CHARACTERS])


def describe(error: ValidationError) -> str:
    """Return what is wrong with a row, the first faults of many."""
    faults = [_fault(each["loc"], each["msg"]) for each in error.errors(include_url=False)]
    more = len(faults) - _MOST_FAULTS
    return "; ".join(faults[:_MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")


def _fault(loc: tuple[int | str, ...], message: str) -> str:
    field = ".".join(str(part) for part in loc)
    said = message.removeprefix("Value error, ")
    return said if not field or said.startswith(field) else f"{field}: {said}"
