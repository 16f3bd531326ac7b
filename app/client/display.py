"""Shows in a terminal how far the service is, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from app.client.bodies import BatchBody

Show = Callable[[Any], None]


@contextmanager
def batch_bar(progress: bool | None) -> Iterator[Callable[[BatchBody], None]]:
    """Show a bar that moves with every look at a batch; None: only where a person looks."""
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


def _described(batch: BatchBody) -> str:
    """Say what a bar cannot show: the speed, the time left, the money spent."""
    parts = ["judging"]
    # a server of an earlier version says less
    progress = batch.get("progress") or {}
    if rate := progress.get("pairs_per_second"):
        parts.append(f"{rate:.3g}/s")
    if left := progress.get("seconds_left"):
        parts.append(f"{left:.0f} s left")
    if cost := batch.get("cost_usd"):
        parts.append(f"{cost:.4f} USD")
    return ", ".join(parts)


@contextmanager
def spinner(what: str, progress: bool | None) -> Iterator[None]:
    """Show that something goes on; None: only where a person looks."""
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
