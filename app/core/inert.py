"""What leaves is inert: no spreadsheet runs a cell, and no name turns or breaks a line.

A CSV cell that begins like a formula is written with an apostrophe before it. One that already
begins with apostrophes before such a sign gets one more, so that taking one away gives back every
text. JSON holds no number that parsers refuse.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

_MARK: Final = "'"
# the signs that OWASP names (CSV injection), the full-width ones included
_FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
# control characters and lone surrogates: no database, log or terminal takes them all
UNSTORABLE: Final = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
# they turn or break the text around them
TURNING: Final = r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_UNSTORABLE: Final = re.compile(f"[{UNSTORABLE}]")
_UNPRINTABLE: Final = re.compile(f"[{UNSTORABLE}{TURNING}]")


def inert(cell: str) -> str:
    """Return a cell that no spreadsheet runs."""
    return _MARK + cell if _FORMULA.match(cell) else cell


def without_mark(cell: str) -> str:
    """Return the text of a cell that `inert` wrote."""
    return cell[1:] if cell.startswith(_MARK) and _FORMULA.match(cell) else cell


def storable(text: str) -> str:
    """Escape characters that cannot be stored."""
    return _UNSTORABLE.sub(_escaped, text)


def is_printable(text: str) -> bool:
    """Return whether `printable` leaves the text as it is."""
    return not _UNPRINTABLE.search(text)


def printable(text: str) -> str:
    """Escape characters that cannot be printed, stored or sent."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return ascii(found.group())[1:-1]


def finite(value: Any) -> Any:
    """Return a value without the numbers that JSON does not know: they are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: finite(field) for name, field in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
