"""Ratios as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.measuring import Ratio

_HEADINGS = ("work", "contender", "baseline", "ratio", "in words", "rounds from .. to", "wanted")


def table(ratios: Iterable[Ratio]) -> str:
    """Lay ratios out in aligned columns."""
    return aligned([_HEADINGS, *(_cells(one) for one in ratios)])


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Return rows of equally many cells as a Markdown table; the first row heads it."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [_line(row, widths) for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def in_words(ratio: float) -> str:
    """Say how many times faster a contender is, or how many times as long it takes."""
    if ratio < 1:
        return f"{_figures(1 / ratio)} times faster"
    return f"{_figures(ratio)} times as long"


def _cells(one: Ratio) -> tuple[str, ...]:
    return (
        one.work,
        one.contender,
        one.baseline,
        _figures(one.ratio),
        in_words(one.ratio),
        f"{_figures(one.lowest)} .. {_figures(one.highest)}",
        "" if one.wanted is None else f"<= {one.wanted:g}",
    )


def _figures(value: float) -> str:
    """Two significant figures, more where they stand before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _line(row: Sequence[str], widths: list[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "| " + " | ".join(padded) + " |"
