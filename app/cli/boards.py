"""The verbs of leaderboards: rank, and look again at what was ranked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli import leaderboard_tables as tables
from app.cli.arguments import given, part_of, weights_of
from app.cli.console import EXIT_USAGE, AsJson, Console, fail
from app.cli.opening import Key, Server, open_tribunal
from app.cli.options import Calibration, DatasetArgument, PartOption
from app.cli.stored import add_list
from app.cli.whole_files import whole
from app.leaderboards.exporting import as_csv

_stored = typer.Typer(help="Stored leaderboards.", no_args_is_help=True)

Csv = Annotated[Path | None, typer.Option("--csv", help="write the rows here as CSV")]
Criterion = Annotated[
    list[str] | None, typer.Option(help="NAME=WEIGHT; repeat it for several criteria")
]
Id = Annotated[str, typer.Argument(help="id of a leaderboard")]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(leaderboard)
    app.add_typer(_stored, name="leaderboards")


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
    part: PartOption = None,
    seed: Annotated[int | None, typer.Option(help="of the resamples; default: 0")] = None,
    elo_k: Annotated[float | None, typer.Option(help="for elo: the step; default: 4")] = None,
    elo_start: Annotated[float | None, typer.Option(help="for elo; default: 1000")] = None,
    elo_scale: Annotated[float | None, typer.Option(help="for elo; default: 400")] = None,
    csv: Csv = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Rank the models of a dataset, with intervals and sets of ranks."""
    constants = given(k=elo_k, start=elo_start, scale=elo_scale)
    request = given(
        dataset=dataset, source=source, calibration=calibration, judge=judge, method=method,
        certified_only=certified_only or None, ties=ties, votes=votes, baseline=baseline,
        soft=soft or None, control=_names(control), criteria=weights_of(criterion),
        confidence_level=confidence_level, group_by=group_by, part=part_of(part), seed=seed,
        options=constants or None,
    )  # fmt: skip
    _refuse_unwritable(csv)
    with open_tribunal(server, key, only_reads=True) as tribunal:
        board = tribunal.leaderboard(**request)
    _show(board, csv, as_json)


add_list(_stored, "leaderboards", "stored leaderboards", tables.stored)


@_stored.command("show")
def show_stored(
    leaderboard_id: Id,
    csv: Csv = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a stored leaderboard, with what its certificate is worth now."""
    _refuse_unwritable(csv)
    with open_tribunal(server, key, only_reads=True) as tribunal:
        board = tribunal.get(_path(leaderboard_id))
    _show(board, csv, as_json)


@_stored.command("compare")
def compare_stored(
    leaderboard_id: Id,
    other: Annotated[str, typer.Argument(help="id of another one")],
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say what changed from the earlier to the later one."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        found = tribunal.get(f"{_path(leaderboard_id)}/compare", **{"with": other})
    Console(as_json).show(found, tables.comparison)


@_stored.command("reweight")
def reweight_stored(  # noqa: PLR0913  # a verb's options are its parameters
    leaderboard_id: Id,
    criterion: Criterion = None,
    csv: Csv = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Rank by other weights of the same criteria; no judge is asked."""
    weights = weights_of(criterion)
    if weights is None:
        fail("give --criterion NAME=WEIGHT at least once", status=EXIT_USAGE)
    _refuse_unwritable(csv)
    with open_tribunal(server, key, only_reads=True) as tribunal:
        body = {"criteria": weights}
        board = tribunal.post(f"{_path(leaderboard_id)}/reweight", body)
    _show(board, csv, as_json)


def _show(board: Any, csv: Path | None, as_json: bool) -> None:
    if csv is not None:
        with whole(csv) as out:
            out.write(as_csv(board).encode("utf-8", "backslashreplace"))
    Console(as_json).show(board, tables.leaderboard)


def _path(leaderboard_id: str) -> str:
    return f"/v1/leaderboards/{quote(leaderboard_id, safe='')}"


def _refuse_unwritable(csv: Path | None) -> None:
    if csv is not None and (csv.is_dir() or not csv.absolute().parent.is_dir()):
        fail(f"--csv: {csv} is a folder, or lies in none", status=EXIT_USAGE)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
