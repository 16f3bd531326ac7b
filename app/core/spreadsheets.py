"""Cells of CSV files that no spreadsheet runs as a formula.

A cell that begins like a formula is written with an apostrophe before it. One that already begins
with apostrophes before such a sign gets one more, so that taking one away gives back every text.
"""

from __future__ import annotations

import re
from typing import Final

_MARK: Final = "'"
# the signs that OWASP names (CSV injection), the full-width ones included
_FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def inert(cell: str) -> str:
    """Return a cell that no spreadsheet runs."""
    return _MARK + cell if _FORMULA.match(cell) else cell


def without_mark(cell: str) -> str:
    """Return the text of a cell that `inert` wrote."""
    return cell[1:] if cell.startswith(_MARK) and _FORMULA.match(cell) else cell
