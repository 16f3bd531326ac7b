"""How the command line speaks: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console as RichConsole

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_CERTIFIABLE: Final = 3
EXIT_FAILED_ROWS: Final = 4
EXIT_INTERRUPTED: Final = 130
MOST_REASONS: Final = 20
_PIPE_WIDTH: Final = 110

AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]


class Console:
    """Shows results; `as_json` for programs, tables for people."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        # into a file or a pipe there is no edge to wrap at: leave room for whole tables
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self._rich = RichConsole(file=sys.stdout, width=width)

    def show(self, body: Any, render: Callable[[RichConsole, Any], None]) -> None:
        """Print a result."""
        if self.as_json:
            typer.echo(json.dumps(body, indent=2))
        else:
            render(self._rich, body)


def note(message: str) -> None:
    """Say on standard error how things go."""
    typer.echo(f"tribunal: {message}", err=True)


def fail(
    message: str, *, status: int = EXIT_FAILED, details: Mapping[str, Any] | None = None
) -> NoReturn:
    """Say what is wrong on standard error and exit; `details` is a problem that the server sent."""
    note(message)
    for error in (details or {}).get("errors") or []:
        named = ".".join(str(part) for part in error.get("loc", []))
        typer.echo(f"  {named}: {error.get('msg')}" if named else f"  {error}", err=True)
    for line in rejections(details or {}):
        typer.echo(f"  {line}", err=True)
    raise typer.Exit(status)


def rejections(body: Mapping[str, Any]) -> list[str]:
    """Return the first rows that an import rejected with their reasons, and how many more were."""
    rejected = body.get("rejected") or []
    lines = [f"line {row['line']}: {row['reason']}" for row in rejected[:MOST_REASONS]]
    more = body.get("rejected_count", len(rejected)) - len(lines)
    return [*lines, f"and {more} more"] if more > 0 else lines
