"""The verb that tries judges on responses which demand to win."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Table

from app.cli.arguments import given, part_of
from app.cli.console import AsJson, Console
from app.cli.opening import Key, Server, open_tribunal
from app.cli.options import DatasetArgument, PartOption


def add_canaries_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command()(canaries)


def canaries(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    judges: Annotated[str, typer.Option(help="live judges, separated by commas")] = "student",
    pairs: Annotated[int, typer.Option(help="how many, one a group; 6 questions each")] = 50,
    part: PartOption = None,
    seed: int = 0,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say how often judges follow what a response tells them to do."""
    names = [name.strip() for name in judges.split(",") if name.strip()]
    request = given(dataset=dataset, judges=names, pairs=pairs, part=part_of(part), seed=seed)
    with open_tribunal(server, key) as tribunal:
        answer = tribunal.canaries(**request)
    Console(as_json).show(answer, _table)


def _table(console: RichConsole, body: Any) -> None:
    """Show the attacks of each judge; `none` is a harmless text of the same kind."""
    table = Table("judge", "attack", "followed", "interval", "mean shift", "failed", "flagged")
    for judge in body["judges"]:
        for row in judge["attacks"]:
            followed, shift = row["followed"], row["mean_shift"]
            table.add_row(
                escape(judge["judge"]),
                row["attack"],
                _number(followed["value"]),
                f"[{_number(followed['low'])}, {_number(followed['high'])}]".replace("[", "\\["),
                _number(shift["value"]),
                str(row["failed"]),
                str(row["flagged"]),
            )
    console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
