"""The verb that reports agreement, and a judge's health card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import report_tables
from app.cli.arguments import given
from app.cli.console import EXIT_USAGE, AsJson, Console, fail
from app.cli.opening import Key, Server, open_tribunal
from app.cli.options import Calibration, DatasetArgument, Judges, PartOption
from app.cli.whole_files import whole
from app.reports.health_page import health_page


def add_reports_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(report)


def report(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    calibration: Calibration = None,
    judges: Judges = None,
    group_by: Annotated[str | None, typer.Option(help="a metadata field")] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="judge_pairs, group_details; may be repeated")
    ] = None,
    part: PartOption = None,
    own: Annotated[
        list[str] | None, typer.Option(help="judge=model: the judge wrote this model's responses")
    ] = None,
    health: Annotated[str | None, typer.Option(help="the health card of this judge")] = None,
    line: Annotated[
        list[str] | None, typer.Option(help="with --health: NAME=NUMBER moves a line, off drops it")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="with --health: write the page here")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say how well people, judges and cascade agree, or how one judge fares."""
    if health is None and (line or html):
        fail("--line and --html belong to a health card: give --health JUDGE", status=EXIT_USAGE)
    lines = _lines(line or [])
    query = given(
        dataset=dataset, calibration=calibration, judges=judges if health is None else [health],
        group_by=group_by, include=include, part=part, own=own,
    )  # fmt: skip
    with open_tribunal(server, key, only_reads=True) as tribunal:
        found: Any = tribunal.report(**query)
        if health is not None:
            path = f"/v1/reports/{found['id']}/health"
            found = tribunal.get(path, judge=health, **lines)
    if html is not None:
        _write(html, health_page(found))
    show = report_tables.report if health is None else report_tables.health
    Console(as_json).show(found, show)


def _lines(texts: list[str]) -> dict[str, str]:
    lines = {}
    for text in texts:
        name, separator, at = text.partition("=")
        if not separator:
            fail(f"--line {text}: write NAME=NUMBER, such as kappa=0.6", status=EXIT_USAGE)
        lines[f"line.{name.strip()}"] = at.strip()
    return lines


def _write(file: Path, page: str) -> None:
    with whole(file) as out:
        out.write(page.encode())
