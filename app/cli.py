"""The command line: every verb of the service, against a server or in this process.

Data goes to standard output, progress to standard error. Exit status: 0 done, 1 failed, 2 bad
usage, 3 not certifiable, 4 finished with failed rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy.exc import SQLAlchemyError

from app import cli_admin, cli_tables
from app.cli_arguments import cascade_of, given, numbers_of, part_of, rows_of, stem_of
from app.cli_console import EXIT_FAILED, EXIT_FAILED_ROWS, EXIT_NOT_CERTIFIABLE, Console, fail
from app.client import Json, RequestRefused, Tribunal, TribunalClientError
from app.errors import TribunalError
from app.logging import configure_logging
from app.settings import Settings

app = typer.Typer(
    name="tribunal",
    help="Certified verdicts from judge models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
cli_admin.add_to(app)

Server = Annotated[
    str | None,
    typer.Option(envvar="TRIBUNAL_SERVER", help="address of a server; none: run in this process"),
]
Key = Annotated[str | None, typer.Option(envvar="TRIBUNAL_API_KEY", help="key of the server")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
DatasetArgument = Annotated[str, typer.Argument(help="id or name of a dataset")]
Judges = Annotated[
    str | None, typer.Option(help="judges from cheap to strong, separated by commas")
]
Cascade = Annotated[str | None, typer.Option(help="a configured cascade")]
Calibration = Annotated[str | None, typer.Option(help="id of a certificate")]
PartOption = Annotated[
    str | None, typer.Option(help="side:fraction:seed, such as calibration:0.5:0")
]


@contextmanager
def _tribunal(server: str | None, key: str | None) -> Iterator[Tribunal]:
    """Open the service, and turn what it refuses into an exit status."""
    settings = Settings().model_copy(update={"log_level": "warning"})
    configure_logging(settings)
    try:
        with Tribunal(server, api_key=key, settings=settings) as opened:
            yield opened
    except RequestRefused as error:
        fail(str(error), details=error.problem)
    except (TribunalClientError, TribunalError) as error:
        fail(str(error))


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="NDJSON, JSON or gzip of them; - reads stdin")],
    name: Annotated[
        str | None, typer.Option(help="name of the dataset; default: the file's")
    ] = None,
    dialect: Annotated[str, typer.Option("--format", help="a row format; auto detects")] = "auto",
    strict: Annotated[bool, typer.Option(help="refuse all if one line is bad")] = False,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Import labelled pairs, recorded judge scores, or both."""
    console = Console(as_json)
    is_stdin = str(file) == "-"
    if is_stdin and name is None:
        fail("--name is needed when reading standard input", status=2)
    if not is_stdin and not file.is_file():
        fail(f"{file}: there is no such file", status=2)
    with _tribunal(server, key) as tribunal:
        source = sys.stdin.buffer if is_stdin else file
        dataset = tribunal.import_dataset(
            source, name=name or stem_of(file), dialect=dialect, strict=strict
        )
    console.show(dataset, cli_tables.dataset)
    if dataset["rejected"]:
        raise typer.Exit(EXIT_FAILED_ROWS)


@app.command()
def certify(
    dataset: DatasetArgument,
    cascade: Cascade = None,
    judges: Judges = None,
    target_agreement: float = 0.85,
    failure_probability: float = 0.1,
    method: str = "auto",
    label_rule: str = "majority",
    ties: str = "exclude",
    part: PartOption = None,
    slices: Annotated[str | None, typer.Option(help="a metadata field")] = None,
    slice_rule: Annotated[str | None, typer.Option(help="joint, each or common")] = None,
    menu: Annotated[str | None, typer.Option(help="further targets, by commas")] = None,
    pool: Annotated[str | None, typer.Option(help="dataset of unlabelled pairs")] = None,
    max_group_size: int | None = None,
    min_label_probability: float | None = None,
    seed: int = 0,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Certify a cascade on labelled pairs; exit status 3 if nothing is certifiable."""
    request = given(
        dataset=dataset, cascade=cascade_of(cascade, judges), target_agreement=target_agreement,
        failure_probability=failure_probability, method=method, label_rule=label_rule, ties=ties,
        part=part_of(part), slices=slices, slice_rule=slice_rule, menu=numbers_of(menu), pool=pool,
        max_group_size=max_group_size, min_label_probability=min_label_probability, seed=seed,
    )  # fmt: skip
    with _tribunal(server, key) as tribunal:
        certificate = tribunal.certify(**request)
    Console(as_json).show(certificate, cli_tables.certificate)
    if certificate["status"] == "failed":
        fail(certificate["error"])
    if certificate["status"] != "certified":
        raise typer.Exit(EXIT_NOT_CERTIFIABLE)


@app.command()
def plan(
    dataset: DatasetArgument,
    cascade: Cascade = None,
    judges: Judges = None,
    target_agreements: Annotated[str, typer.Option(help="by commas")] = "0.8,0.85,0.9",
    failure_probability: float = 0.1,
    part: PartOption = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what each target would get: coverage, agreement, cost, labels needed."""
    request = given(
        dataset=dataset, cascade=cascade_of(cascade, judges), part=part_of(part),
        target_agreements=numbers_of(target_agreements), failure_probability=failure_probability,
    )  # fmt: skip
    with _tribunal(server, key) as tribunal:
        Console(as_json).show(tribunal.plan(**request), cli_tables.plan)


@app.command()
def judge(
    file: Annotated[Path, typer.Argument(help="NDJSON of up to 256 pairs; - reads stdin")],
    calibration: Calibration = None,
    cascade: Cascade = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Judge a few pairs now; exit status 4 if some failed."""
    pairs = list(rows_of(file))
    request = given(calibration=calibration, cascade=cascade)
    with _tribunal(server, key) as tribunal:
        answer = tribunal.judge(pairs, **request)
    Console(as_json).show(answer, cli_tables.verdicts)
    if any(verdict["status"] == "failed" for verdict in answer["verdicts"]):
        raise typer.Exit(EXIT_FAILED_ROWS)


@app.command()
def batch(
    dataset: Annotated[str | None, typer.Argument(help="id or name of a dataset")] = None,
    calibration: Calibration = None,
    cascade: Cascade = None,
    judges: Judges = None,
    part: PartOption = None,
    results: Annotated[Path | None, typer.Option(help="write verdicts here as NDJSON")] = None,
    resume: Annotated[str | None, typer.Option(help="wait for this batch instead")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Judge a whole dataset and wait for it; exit status 4 if some pairs failed."""
    if (dataset is None) == (resume is None):
        fail("give a dataset, or --resume with the id of a batch", status=2)
    chosen = cascade_of(cascade, judges)
    request = given(dataset=dataset, calibration=calibration, cascade=chosen, part=part_of(part))
    with _tribunal(server, key) as tribunal:
        if resume is None:
            created = tribunal.create_batch(**request)
        else:
            created = tribunal.get(f"/v1/batches/{resume}")
        typer.echo(f"batch {created['id']}", err=True)
        try:
            ended = _wait(tribunal, created)
        except (TribunalClientError, KeyboardInterrupt) as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            fail(f"{why}; what is done is kept: tribunal batch --resume {created['id']}")
        if results is not None:
            with results.open("w", encoding="utf-8") as out:
                for verdict in tribunal.batch_results(ended["id"]):
                    out.write(json.dumps(verdict) + "\n")
    Console(as_json).show(ended, cli_tables.batch)
    if ended["status"] != "completed":
        fail(f"the batch ended as {ended['status']}: {ended['error']}")
    if ended["request_counts"]["failed"]:
        raise typer.Exit(EXIT_FAILED_ROWS)


@app.command()
def leaderboard(
    dataset: DatasetArgument,
    source: Annotated[str, typer.Option(help="human, cascade or judge:NAME")] = "human",
    calibration: Calibration = None,
    method: str = "bradley_terry",
    ties: Annotated[str | None, typer.Option(help="half or exclude")] = None,
    votes: Annotated[str | None, typer.Option(help="each, majority or mean_sign")] = None,
    baseline: str | None = None,
    group_by: str | None = None,
    part: PartOption = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Rank the models of a dataset, with intervals."""
    request = given(
        dataset=dataset, source=source, calibration=calibration, method=method, ties=ties,
        votes=votes, baseline=baseline, group_by=group_by, part=part_of(part),
    )  # fmt: skip
    with _tribunal(server, key) as tribunal:
        Console(as_json).show(tribunal.leaderboard(**request), cli_tables.leaderboard)


@app.command()
def report(
    dataset: DatasetArgument,
    calibration: Calibration = None,
    judges: Judges = None,
    group_by: str | None = None,
    include: Annotated[str | None, typer.Option(help="judge_pairs")] = None,
    part: PartOption = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say how well people, judges and cascade agree."""
    query = given(
        dataset=dataset, calibration=calibration, judges=judges, group_by=group_by,
        include=include, part=part,
    )  # fmt: skip
    with _tribunal(server, key) as tribunal:
        Console(as_json).show(tribunal.report(**query), cli_tables.report)


def _wait(tribunal: Tribunal, created: Json) -> Json:
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn())
    from rich.console import Console as RichConsole

    with Progress(*columns, console=RichConsole(stderr=True), transient=True) as progress:
        task = progress.add_task("judging", total=created["request_counts"]["total"])

        def show(batch: Json) -> None:
            counts = batch["request_counts"]
            progress.update(task, completed=counts["completed"] + counts["failed"])

        return tribunal.wait(created["id"], on_progress=show)


def main() -> None:
    """Run the command line; what is wrong outside of it is one line, not a trace."""
    try:
        app()
    except ValidationError as error:
        for fault in error.errors():
            name = "_".join(str(part) for part in fault["loc"]).upper()
            shown = name if name == "DATABASE_URL" else f"TRIBUNAL_{name}"
            typer.echo(f"tribunal: {shown}: {fault['msg']}", err=True)
        sys.exit(EXIT_FAILED)
    except (OSError, SQLAlchemyError) as error:
        typer.echo(f"tribunal: {str(error).splitlines()[0]}", err=True)
        sys.exit(EXIT_FAILED)
