"""The verbs that rank models and report agreement."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli import reading
from app.cli.console import EXIT_FAILED, EXIT_USAGE, AsJson, Console, Verbs, fail
from app.cli.options import (
    Calibration,
    DatasetArgument,
    Judges,
    PartOption,
    given,
    names_of,
    part_of,
    weights_of,
)
from app.cli.service import Key, Server, Where, open_tribunal, refuse_unwritable, whole
from app.cli.stored import add_list
from app.cli.tables import boards as board_tables

_stored = typer.Typer(help="Stored leaderboards.", no_args_is_help=True, cls=Verbs)

Csv = Annotated[Path | None, typer.Option("--csv", help="write the rows here as CSV")]
Criterion = Annotated[
    list[str] | None, typer.Option(help="NAME=WEIGHT; repeat it for several criteria")
]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="write the page here: one file that needs nothing else"),
]
SliceWeight = Annotated[
    list[str] | None,
    typer.Option("--slice", help="NAME=WEIGHT: how much a slice of --group-by counts; repeatable"),
]
Id = Annotated[str, typer.Argument(help="id of a leaderboard")]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(report)
    app.command()(leaderboard)
    app.add_typer(_stored, name="leaderboards")


def report(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    calibration: Calibration = None,
    judges: Judges = None,
    group_by: Annotated[str | None, typer.Option(help="a metadata field")] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="judge_pairs, group_details, correlations; may be repeated"),
    ] = None,
    criterion: Annotated[
        list[str] | None,
        typer.Option(help="NAME=WEIGHT in correlations over criteria; may be repeated"),
    ] = None,
    part: PartOption = None,
    own: Annotated[
        list[str] | None, typer.Option(help="judge=model: the judge wrote this model's responses")
    ] = None,
    health: Annotated[str | None, typer.Option(help="the health card of this judge")] = None,
    line: Annotated[
        list[str] | None, typer.Option(help="with --health: NAME=NUMBER moves a line, off drops it")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="write the page here: one file that needs nothing else")
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Report how well people, judges and cascade agree, or the health of one judge.

    Exit status 1 if a line of the health card failed.
    """
    if health is None and line:
        fail("--line belongs to a health card: give --health JUDGE", status=EXIT_USAGE)
    _refuse_unwritable(None, html)
    lines = _lines(line or [])
    query = given(
        dataset=dataset, calibration=calibration, judges=judges if health is None else [health],
        group_by=group_by, include=include, part=part, own=own, criterion=criterion,
    )  # fmt: skip
    history: Any = None
    with open_tribunal(server, key, only_reads=True) as tribunal:
        found: Any = tribunal.report(**query)
        if health is not None:
            path = f"/v1/reports/{found['id']}/health"
            found = tribunal.get(path, judge=health, **lines)
        elif html is not None:
            history = tribunal.get("/v1/reports/history", dataset=found["dataset"])
    if html is not None:
        _write(html, _page_of(found, history))
    show = board_tables.report if health is None else board_tables.health
    Console(as_json).show(found, show)
    if health is not None and found["outcome"] == "fail":
        raise typer.Exit(EXIT_FAILED)


def _lines(texts: list[str]) -> dict[str, str]:
    lines = {}
    for text in texts:
        name, separator, at = text.partition("=")
        if not separator:
            fail(f"--line {text}: write NAME=NUMBER, such as kappa=0.6", status=EXIT_USAGE)
        lines[f"line.{name.strip()}"] = at.strip()
    return lines


def _page_of(found: Any, history: Any) -> str:
    """Return a report or a health card as one file."""
    if found["object"] == "health_card":
        from app.reports.health_page import health_page

        return health_page(found)
    from app.pages.reports import file_of

    return file_of(found, history, datetime.now(UTC))


def _write(file: Path, text: str) -> None:
    with whole(file) as out:
        out.write(text.encode("utf-8", "backslashreplace"))


def leaderboard(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    source: Annotated[
        str, typer.Option(help="human, cascade, judge:NAME or prediction_powered")
    ] = "human",
    calibration: Calibration = None,
    judge: Annotated[
        str | None, typer.Option(help="for prediction_powered: whose scores labels correct")
    ] = None,
    certified_only: Annotated[
        bool, typer.Option("--certified-only", help="only verdicts whose promise holds")
    ] = False,
    method: Annotated[
        str, typer.Option(help="bradley_terry, win_rate, average_win_rate, counting or elo")
    ] = "bradley_terry",
    ties: Annotated[str | None, typer.Option(help="half, exclude or davidson")] = None,
    votes: Annotated[str | None, typer.Option(help="each, majority or mean_sign")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="a model: win rates against it alone")
    ] = None,
    soft: Annotated[bool, typer.Option("--soft", help="a verdict counts as its p_a")] = False,
    control: Annotated[str | None, typer.Option(help="length, style, or both by a comma")] = None,
    criterion: Criterion = None,
    confidence_level: Annotated[float | None, typer.Option(help="default: 0.95")] = None,
    group_by: Annotated[str | None, typer.Option(help="a metadata field: rows by slice")] = None,
    slice_: SliceWeight = None,
    part: PartOption = None,
    seed: Annotated[int | None, typer.Option(help="of the resamples; default: 0")] = None,
    elo_k: Annotated[float | None, typer.Option(help="for elo: the step; default: 4")] = None,
    elo_start: Annotated[float | None, typer.Option(help="for elo; default: 1000")] = None,
    elo_scale: Annotated[float | None, typer.Option(help="for elo; default: 400")] = None,
    csv: Csv = None,
    html: Html = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Rank the models of a dataset, with intervals and sets of ranks."""
    constants = given(k=elo_k, start=elo_start, scale=elo_scale)
    request = given(
        dataset=dataset, source=source, calibration=calibration, judge=judge, method=method,
        certified_only=certified_only or None, ties=ties, votes=votes, baseline=baseline,
        soft=soft or None, control=names_of(control), criteria=weights_of(criterion),
        confidence_level=confidence_level, group_by=group_by, part=part_of(part), seed=seed,
        options=constants or None, slice_weights=weights_of(slice_, "--slice"),
    )  # fmt: skip
    _refuse_unwritable(csv, html)
    with open_tribunal(server, key, only_reads=True) as tribunal:
        board = tribunal.leaderboard(**request)
    _show(board, csv, html, as_json)


add_list(_stored, "leaderboards", "stored leaderboards", board_tables.stored)


@_stored.command("show")
def show_stored(  # noqa: PLR0913  # a verb's options are its parameters
    leaderboard_id: Id,
    csv: Csv = None,
    html: Html = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a stored leaderboard, with the present state of its certificate."""
    _refuse_unwritable(csv, html)
    board = reading.one_of("leaderboards", leaderboard_id, Where(server, key))
    _show(board, csv, html, as_json)


@_stored.command("compare")
def compare_stored(
    leaderboard_id: Id,
    other: Annotated[str, typer.Argument(help="id of another one")],
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed from the earlier to the later one."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        found = tribunal.get(f"{_path(leaderboard_id)}/compare", **{"with": other})
    Console(as_json).show(found, board_tables.comparison)


@_stored.command("reweight")
def reweight_stored(  # noqa: PLR0913  # a verb's options are its parameters
    leaderboard_id: Id,
    criterion: Criterion = None,
    slice_: SliceWeight = None,
    group_by: Annotated[str | None, typer.Option(help="a metadata field: rows by slice")] = None,
    control: Annotated[str | None, typer.Option(help="length, style, or both by a comma")] = None,
    csv: Csv = None,
    html: Html = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Rank the same verdicts by other weights, slices or control; no judge is asked."""
    body = given(
        criteria=weights_of(criterion), slice_weights=weights_of(slice_, "--slice"),
        group_by=group_by, control=names_of(control),
    )  # fmt: skip
    if not body:
        fail("give --criterion or --slice NAME=WEIGHT at least once", status=EXIT_USAGE)
    _refuse_unwritable(csv, html)
    with open_tribunal(server, key, only_reads=True) as tribunal:
        board = tribunal.post(f"{_path(leaderboard_id)}/reweight", body)
    _show(board, csv, html, as_json)


def _show(board: Any, csv: Path | None, html: Path | None, as_json: bool) -> None:
    if csv is not None:
        from app.leaderboards.rows import as_csv

        with whole(csv) as out:
            out.write(as_csv(board).encode("utf-8", "backslashreplace"))
    if html is not None:
        from app.pages.boards import file_of

        _write(html, file_of(board, datetime.now(UTC)))
    Console(as_json).show(board, board_tables.leaderboard)


def _path(leaderboard_id: str) -> str:
    return f"/v1/leaderboards/{quote(leaderboard_id, safe='')}"


def _refuse_unwritable(csv: Path | None, html: Path | None) -> None:
    for file, option in ((csv, "--csv"), (html, "--html")):
        if file is not None:
            refuse_unwritable(file, option)
