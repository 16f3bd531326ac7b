"""How the command line speaks: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import os
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

_OUTPUT: Final = "TRIBUNAL_OUTPUT"

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="print JSON; without it tables in a terminal, JSON in a pipe or file "
        f"({_OUTPUT}=table or json says which of both everywhere)",
    ),
]


class Console:
    """Shows results: tables to people, JSON to programs.

    Args:
        as_json: JSON was asked for.
        is_plain: What is shown is one word, as fit for a program as for people: it stays a word in
            a pipe, too, unless JSON was asked for.
    """

    def __init__(self, as_json: bool, *, is_plain: bool = False) -> None:
        self.as_json = as_json or (not is_plain and _is_for_a_program())
        # into a file or a pipe there is no edge to wrap at: leave room for whole tables
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self._rich = RichConsole(file=sys.stdout, width=width)

    def show(self, body: Any, render: Callable[[RichConsole, Any], None]) -> None:
        """Print a result."""
        if self.as_json:
            typer.echo(json.dumps(body, indent=2))
        else:
            render(self._rich, body)


def _is_for_a_program() -> bool:
    """Whether nobody looks at standard output, as far as it is known."""
    chosen = os.environ.get(_OUTPUT, "")
    if chosen not in ("", "table", "json"):
        fail(f"{_OUTPUT}: give table or json, not {chosen!r}", status=EXIT_USAGE)
    return chosen == "json" or (not chosen and not sys.stdout.isatty())


def note(message: str) -> None:
    """Say on standard error how things go."""
    typer.echo(f"tribunal: {message}", err=True)


def fail(
    message: str, *, status: int = EXIT_FAILED, details: Mapping[str, Any] | None = None
) -> NoReturn:
    """Say what is wrong on standard error and exit; `details` is a problem that the server sent."""
    note(message)
    for error in (details or {}).get("errors") or []:
        if not _is_said(error, message):
            named = ".".join(str(part) for part in error.get("loc", []))
            typer.echo(f"  {named}: {error.get('msg')}" if named else f"  {error}", err=True)
    for line in rejections(details or {}):
        typer.echo(f"  {line}", err=True)
    raise typer.Exit(status)


def _is_said(error: Mapping[str, Any], message: str) -> bool:
    """Whether a message names this fault: it does so with the first few."""
    fields = ".".join(str(part) for part in error.get("loc", [])[1:])
    return (
        f"{fields}: {error.get('msg')}" in message if fields else str(error.get("msg")) in message
    )


def rejections(body: Mapping[str, Any]) -> list[str]:
    """Return the first rows that an import rejected with their reasons, and how many more were."""
    rejected = body.get("rejected") or []
    lines = [f"line {row['line']}: {row['reason']}" for row in rejected[:MOST_REASONS]]
    more = body.get("rejected_count", len(rejected)) - len(lines)
    return [*lines, f"and {more} more"] if more > 0 else lines
