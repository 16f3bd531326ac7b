"""Output for people and for programs, and exit statuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from app.cli.tables.layout import Screen, harmless

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_CERTIFIABLE: Final = 3
EXIT_FAILED_ROWS: Final = 4
EXIT_NO_ANSWER: Final = 5
EXIT_INTERRUPTED: Final = 130
MOST_REASONS: Final = 20
_MOST_SPANS: Final = 20

_OUTPUT: Final = "TRIBUNAL_OUTPUT"

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="print JSON; without it tables in a terminal, JSON in a pipe or file "
        f"({_OUTPUT}=table or json says which of both everywhere)",
    ),
]


class Verbs(TyperGroup):
    """A group of verbs whose help names each with its whole first sentence.

    A group that can list what it is about does so where no verb is named: `tribunal monitors`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` before the options where no verb stands."""
        has_verb = bool(args) and not args[0].startswith("-")
        if "list" in self.commands and not has_verb and "--help" not in args:
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of verbs."""
        found = [(name, self.first_sentence(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, text in found if text is not None])

    def first_sentence(self, ctx: Any, name: str) -> str | None:
        """Return the first sentence of a verb's help."""
        verb = self.get_command(ctx, name)
        return None if verb is None else verb.get_short_help_str(10_000)


def state_of(certificate: Mapping[str, Any]) -> str:
    """Return how a certificate stands now: revoked, suspended or expired before how it came out."""
    if certificate["revoked_at"]:
        return "revoked"
    if certificate.get("suspended_because"):
        return "suspended"
    if certificate["status"] == "certified" and has_ended(certificate.get("expires_at")):
        return "expired"
    return str(certificate["status"])


class Console:
    """Shows results: tables to people, JSON to programs.

    Args:
        as_json: JSON was asked for.
        is_plain: The result is one word, which a program reads as easily as JSON; a pipe gets it
            as it is, unless JSON was asked for.
    """

    def __init__(self, as_json: bool, *, is_plain: bool = False) -> None:
        self.as_json = as_json or (not is_plain and _is_for_a_program())

    def show(self, body: Any, render: Callable[[Screen, Any], None]) -> None:
        """Print a result."""
        if self.as_json:
            typer.echo(json.dumps(body, indent=2))
        else:
            render(Screen(sys.stdout, has_edge=sys.stdout.isatty()), body)


def _is_for_a_program() -> bool:
    """Return whether a program, as far as is known, reads standard output."""
    chosen = os.environ.get(_OUTPUT, "")
    if chosen not in ("", "table", "json"):
        fail(f"{_OUTPUT}: give table or json, not {chosen!r}", status=EXIT_USAGE)
    return chosen == "json" or (not chosen and not sys.stdout.isatty())


def note(message: str) -> None:
    """Print a line on standard error."""
    typer.echo(harmless(f"tribunal: {message}"), err=True)


def fail(
    message: str,
    *,
    status: int = EXIT_FAILED,
    details: Mapping[str, Any] | None = None,
    lines: Sequence[str] = (),
) -> NoReturn:
    """Print what is wrong on standard error and exit.

    Args:
        message: What is wrong.
        status: The exit status.
        details: The server's problem body.
        lines: What else to say, such as what to do.
    """
    note(message)
    errors = (details or {}).get("errors") or []
    for error in errors:
        if not _is_said(error, message, is_alone=len(errors) == 1):
            named = ".".join(str(part) for part in error.get("loc", []))
            _detail(f"{named}: {error.get('msg')}" if named else f"{error}")
    for line in rejections(details or {}, message):
        _detail(line)
    if formats := (details or {}).get("known_formats"):
        typer.echo("known formats, by their fields:", err=True)
        for name, fields in formats.items():
            _detail(f"{name}: {fields}")
    for line in lines:
        _detail(line)
    raise typer.Exit(status)


def _detail(line: str) -> None:
    typer.echo(harmless(f"  {line}"), err=True)


def _is_said(error: Mapping[str, Any], message: str, *, is_alone: bool) -> bool:
    """Return whether a message names this fault already: messages name the first few."""
    fields = ".".join(str(part) for part in error.get("loc", [])[1:])
    said = str(error.get("msg"))
    return f"{fields}: {said}" in message if fields and not is_alone else said in message


def rejections(body: Mapping[str, Any], said_before: str = "") -> list[str]:
    """Return the first reasons for which an import rejected rows, and the number of other rows.

    Of a reason that is in `said_before` only the places are returned.
    """
    rejected = body.get("rejected") or []
    rows_of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rejected:
        rows_of.setdefault(row["reason"], []).append(row)
    said = list(rows_of.items())[:MOST_REASONS]
    lines = [
        _places(rows) + ("" if reason in said_before else f": {reason}") for reason, rows in said
    ]
    more = body.get("rejected_count", len(rejected)) - sum(len(rows) for _, rows in said)
    return [*lines, f"and {more} more"] if more > 0 else lines


def _places(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the lines of rows, by file."""
    by_file: dict[str, list[int]] = {}
    for row in rows:
        by_file.setdefault(row.get("file") or "", []).append(row["line"])
    return "; ".join(
        f"{_lines(numbers)} of {file}" if file else _lines(numbers)
        for file, numbers in by_file.items()
    )


def _lines(numbers: Sequence[int]) -> str:
    """Return the numbers of lines, consecutive ones as one span."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    said = [f"{first}-{last}" if last > first else str(first) for first, last in spans]
    more = f" and {len(said) - _MOST_SPANS} more places" if len(said) > _MOST_SPANS else ""
    return f"line{'s' * (said != [str(numbers[0])])} {', '.join(said[:_MOST_SPANS])}{more}"


def estimate(found: Any) -> str:
    """Return a value with its interval."""
    middle = value(found)
    if middle is None:
        return "-"
    if found["low"] is None or found["high"] is None:
        return short(middle)
    return f"{short(middle)} [{short(found['low'])}, {short(found['high'])}]"


def short(amount: float) -> str:
    """Return a number with three decimals; without a leading zero it takes one column less."""
    text = f"{amount:.3f}"
    return text.replace("0.", ".", 1) if abs(amount) < 1 else text


def value(found: Any) -> float | None:
    """Return the value of an estimate, or a plain number itself."""
    middle: float | None = found["value"] if isinstance(found, Mapping) else found
    return middle


def percent(share: float | None) -> str:
    """Return a share as a percentage with one decimal."""
    return "-" if share is None else f"{100 * share:.1f}%"


def promised(body: Mapping[str, Any]) -> str:
    """Return the target of a certificate or plan: an agreement, or an error of all pairs."""
    error = body.get("max_error")
    return _declared(body["target_agreement"]) if error is None else f"error {_declared(error)}"


def _declared(share: float) -> str:
    """Return a share with one decimal, or with all its decimals: 99.97% is not 100.0%."""
    is_short = abs(1000 * share - round(1000 * share)) < 1e-6
    return percent(share) if is_short else f"{round(100 * share, 8):.9g}%"


def has_ended(moment: str | None) -> bool:
    """Return whether a moment, as answers spell it, has passed; None never does."""
    return moment is not None and datetime.fromisoformat(moment) <= datetime.now(UTC)


def number(amount: float | None) -> str:
    """Return a number with three digits."""
    return "-" if amount is None else f"{amount:.3g}"
