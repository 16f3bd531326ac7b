"""How the command line speaks: tables or JSON on standard output, errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import typer
from rich.console import Console as RichConsole

EXIT_FAILED: Final = 1
EXIT_NOT_CERTIFIABLE: Final = 3
EXIT_FAILED_ROWS: Final = 4
_PIPE_WIDTH: Final = 110
_ROWS_SHOWN: Final = 20


class Console:
    """Shows results; `as_json` for programs, tables for people."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        # into a file or a pipe there is no edge to wrap at: leave room for whole tables
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self._rich = RichConsole(file=sys.stdout, width=width)

    def show(
        self, body: Mapping[str, Any], render: Callable[[RichConsole, Mapping[str, Any]], None]
    ) -> None:
        """Print a result."""
        if self.as_json:
            typer.echo(json.dumps(body, indent=2))
        else:
            render(self._rich, body)


def fail(
    message: str, *, status: int = EXIT_FAILED, details: Mapping[str, Any] | None = None
) -> NoReturn:
    """Say what is wrong on standard error and exit."""
    typer.echo(f"tribunal: {message}", err=True)
    for error in (details or {}).get("errors") or []:
        named = ".".join(str(part) for part in error.get("loc", []))
        typer.echo(f"  {named}: {error.get('msg')}" if named else f"  {error}", err=True)
    rejected = (details or {}).get("rejected") or []
    for row in rejected[:_ROWS_SHOWN]:
        typer.echo(f"  line {row['line']}: {row['reason']}", err=True)
    if len(rejected) > _ROWS_SHOWN:
        typer.echo(f"  and {len(rejected) - _ROWS_SHOWN} more", err=True)
    raise typer.Exit(status)
