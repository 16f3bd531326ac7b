"""Tables and sentences for a terminal of any width: no cell is cut, and no name is broken.

A table that is too wide drops columns, the least important first, and says which. If that is not
enough, each row becomes a block with one line for each column. A pipe or file has no edge, so
that it gets every column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.text import Text

# an answer of the service
Body = Mapping[str, Any]
_GAP: Final = 2
_NO_EDGE: Final = 1_000_000
_STARTS_A_NUMBER: Final = re.compile(r"[-±]?\.?\d|-$|$")
# what moves the cursor, colours, or turns the direction of text; sentences may have line ends
_UNSEEN: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """Return a text with its control characters spelt out, so that a terminal obeys none."""
    return _UNSEEN.sub(lambda found: ascii(found.group())[1:-1], text)


def escape(text: str) -> str:
    """Return a text without markup, as a part of a sentence that may hold some."""
    from rich.markup import escape

    return escape(text)


class Screen:
    """Prints whole words: a line ends before a name that is too long for it, never inside one.

    Args:
        file: What is printed to.
        has_edge: It is a terminal; a pipe or file has no edge.
    """

    def __init__(self, file: IO[str], *, has_edge: bool) -> None:
        from rich.console import Console

        width = None if has_edge else _NO_EDGE
        # colouring numbers would put escape sequences into ids
        self._rich = Console(file=file, width=width, emoji=False, highlight=False)

    @property
    def width(self) -> int:
        """How many characters a line has room for."""
        return self._rich.width

    def print(self, shown: str | Table = "") -> None:
        """Print a sentence, which may hold markup, or a table."""
        lines = shown.laid_out(self.width) if isinstance(shown, Table) else self._lines(shown)
        for line in lines:
            self._rich.print(line, crop=False, no_wrap=True, overflow="ignore")

    def _lines(self, sentence: str) -> Iterator[Text]:
        for line in self._rich.render_str(harmless(sentence)).split("\n", allow_blank=True):
            yield from _wrapped(line, self.width)


def _wrapped(line: Text, width: int) -> Iterator[Text]:
    """Break a line between words; one that is longer than the width stays whole."""
    breaks: list[int] = []
    start = 0
    for word in re.finditer(r"\S+", line.plain):
        if word.start() > start and _cells(line.plain[start : word.end()]) > width:
            start = word.start()
            breaks.append(start)
    for part in line.divide(breaks):
        part.rstrip()
        yield part


def _cells(text: str) -> int:
    """Return how many columns a text takes: some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


class Table:
    """Rows under headings.

    Args:
        columns: The headings; the first column names the row.
        drops: Columns that may be left out where there is no room, the least important first.
    """

    def __init__(self, *columns: str, drops: Sequence[str] = ()) -> None:
        unknown = set(drops) - set(columns[1:])
        if unknown:
            raise ValueError(f"no such columns: {', '.join(sorted(unknown))}")
        self.columns = columns
        self._drops = tuple(drops)
        self._rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row of plain text."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(self.columns)} cells are expected, not {len(cells)}")
        self._rows.append(tuple(harmless(cell).replace("\n", "\\n") for cell in cells))

    def laid_out(self, width: int) -> Iterator[Text]:
        """Yield the lines of the table for a width, and what was done to make them fit."""
        from rich.text import Text

        lines, said = self.lines(width)
        for line, is_heading in lines:
            yield Text(line, style="bold" if is_heading else "")
        if said:
            yield from _wrapped(Text(said, style="dim"), width)

    def lines(self, width: int) -> tuple[list[tuple[str, bool]], str]:
        """Return the lines, with whether each is a heading, and what was done to make them fit."""
        kept = list(range(len(self.columns)))
        dropped: list[str] = []
        for name in self._drops:
            if self._width(kept) <= width:
                break
            kept.remove(self.columns.index(name))
            dropped.append(name)
        if self._width(kept) > width:
            return list(self._blocks()), self._why_blocks(width)
        return list(self._aligned(kept)), _why_dropped(dropped, width)

    def _why_blocks(self, width: int) -> str:
        if not self._rows:
            return ""
        whole = self._width(range(len(self.columns)))
        return f"one line for each column: the table is {whole} wide, and there is room for {width}"

    def _width(self, kept: Sequence[int]) -> int:
        return sum(self._column_width(place) for place in kept) + _GAP * (len(kept) - 1)

    def _column_width(self, place: int) -> int:
        cells = (row[place] for row in self._rows)
        return max(map(_cells, (self.columns[place], *cells)))

    def _aligned(self, kept: Sequence[int]) -> Iterator[tuple[str, bool]]:
        widths = [self._column_width(place) for place in kept]
        to_right = [self._holds_numbers(place) for place in kept]
        for number, row in enumerate((self.columns, *self._rows)):
            cells = [
                _padded(row[place], width, to_right=is_right)
                for place, width, is_right in zip(kept, widths, to_right, strict=True)
            ]
            yield (" " * _GAP).join(cells).rstrip(), number == 0

    def _holds_numbers(self, place: int) -> bool:
        cells = [row[place] for row in self._rows]
        return place > 0 and all(_STARTS_A_NUMBER.match(cell) for cell in cells)

    def _blocks(self) -> Iterator[tuple[str, bool]]:
        name, *others = self.columns
        width = max((_cells(one) for one in others), default=0)
        for row in self._rows:
            yield f"{name} {row[0]}", True
            for column, cell in zip(others, row[1:], strict=True):
                yield f"  {_padded(column, width, to_right=False)}  {cell}", False


def _padded(text: str, width: int, *, to_right: bool) -> str:
    room = " " * (width - _cells(text))
    return room + text if to_right else text + room


def _why_dropped(dropped: Sequence[str], width: int) -> str:
    if not dropped:
        return ""
    return f"left out, because {width} columns have no room: {', '.join(dropped)} (--json has all)"
