"""Answers as pandas tables, and progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from app.bodies.batches import BatchBody
from app.client.errors import PandasMissing

if TYPE_CHECKING:
    import pandas as pd


# the rows of an answer are in the first of these fields that it has
_ROWS: Final = ("rows", "verdicts", "frontier", "judges", "data")
_ENDS: Final = ("low", "high", "n")


def to_pandas(answer: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return verdicts, a leaderboard, a report, a plan or an experiment as a table.

    An estimate becomes the columns `x`, `x_low`, `x_high` and `x_n`; nested fields are named with
    dots, such as `composition.student`. The table of a report holds its judges.

    Args:
        answer: An answer of the client, or an iterable of rows.

    Raises:
        PandasMissing: pandas is not installed.
        TypeError: the answer holds no rows.
    """
    if not isinstance(answer, Mapping):
        return rows_frame(answer)
    for name in _ROWS:
        if isinstance(answer.get(name), list):
            return rows_frame(answer[name])
    raise TypeError(f"this answer holds no rows; it holds {', '.join(answer)}")


def rows_frame(rows: Iterable[Any]) -> pd.DataFrame:
    """Return rows as a table.

    Raises:
        PandasMissing: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise PandasMissing(
            "tables need pandas, which is not installed: it comes with the extra `pandas`, "
            "pip install 'tribunal-judge[pandas]'"
        ) from error
    return pd.DataFrame.from_records([dict(_cells(row)) for row in rows])


def _cells(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        name = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            yield name, value
        elif "value" in value and "low" in value:
            yield name, value["value"]
            yield from ((f"{name}_{end}", value.get(end)) for end in _ENDS)
        else:
            yield from _cells(value, f"{name}.")


Show = Callable[[Any], None]


@contextmanager
def batch_bar(progress: bool | None) -> Iterator[Callable[[BatchBody], None]]:
    """Show a bar that moves with every look at a batch; None: only in a terminal."""
    with _shown("judging", progress, has_total=True) as update:
        if update is None:
            yield lambda _: None
            return

        def show(batch: BatchBody) -> None:
            counts = batch["request_counts"]
            update(
                total=counts["total"],
                completed=counts["completed"] + counts["failed"],
                description=_described(batch),
            )

        yield show


def _described(batch: Mapping[str, Any]) -> str:
    """Return what a bar cannot show: the speed, the time left, the money spent."""
    parts = ["judging"]
    # a server of an earlier version says less
    progress = batch.get("progress") or {}
    if rate := progress.get("pairs_per_second"):
        parts.append(f"{rate:.3g}/s")
    if left := progress.get("seconds_left"):
        parts.append(f"{left:.0f} s left")
    if cost := batch.get("cost_usd") or batch.get("known_usd"):
        parts.append(f"{cost:.4f} USD")
    tiers = progress.get("tiers") or []
    if len(tiers) > 1:
        parts.append(" > ".join(f"{tier['judge']} {tier['asked']}" for tier in tiers))
    return ", ".join(parts)


@contextmanager
def spinner(what: str, progress: bool | None) -> Iterator[None]:
    """Show that work goes on; None: only in a terminal."""
    with _shown(what, progress, has_total=False):
        yield


@contextmanager
def _shown(
    what: str, progress: bool | None, *, has_total: bool
) -> Iterator[Callable[..., None] | None]:
    if not (sys.stderr.isatty() if progress is None else progress):
        yield None
        return
    # programs that show nothing need not load it
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    ends = (BarColumn(), MofNCompleteColumn()) if has_total else (SpinnerColumn(),)
    columns = (TextColumn("{task.description}"), *ends, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda **numbers: bar.update(task, **numbers)
