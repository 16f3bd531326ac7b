"""The verb that finishes a dataset: judges answer what they are sure of, people label the rest."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.console import EXIT_NOT_CERTIFIABLE, EXIT_USAGE, AsJson, Console, fail, note, percent
from app.cli.options import Cascade, DatasetOrResume, Judges, cascade_of, given, one_of
from app.cli.service import Key, Server, open_tribunal, refuse_unwritable, whole
from app.cli.tables.layout import Screen, escape

if TYPE_CHECKING:
    from app.client import Tribunal

_WORKING: Final = ("calibrating", "judging")
_PAUSES: Final = (0.05, 2.0)


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(finish)


def finish(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetOrResume = None,
    max_error: Annotated[
        float | None,
        typer.Option(help="of all rows, the share with a wrong verdict of a judge; needed"),
    ] = None,
    cascade: Cascade = None,
    judges: Judges = None,
    failure_probability: Annotated[float | None, typer.Option(help="default: 0.1")] = None,
    ties: Annotated[
        str | None, typer.Option(help="exclude (default), error, half or class")
    ] = None,
    labels: Annotated[
        int | None,
        typer.Option(help="pairs that people label first, drawn uniformly, to certify on"),
    ] = None,
    votes: Annotated[int | None, typer.Option(help="persons to ask about each; default: 1")] = None,
    budget_usd: Annotated[
        float | None, typer.Option(help="the most that judging may cost; people do the rest")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="default: 0")] = None,
    resume: Annotated[str | None, typer.Option(help="look at this finish, and go on")] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="with --resume: ask judges that failed again")
    ] = False,
    people: Annotated[
        bool, typer.Option("--people", help="with --resume: people label what judges failed on")
    ] = False,
    results: Annotated[
        Path | None, typer.Option(help="write every row with its verdict here, as NDJSON")
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give every row of a dataset a verdict: judges where they are sure enough, people elsewhere.

    One certificate bounds the share of rows that judges get wrong. Ask again with --resume, weeks
    later too. Exit status 3 if the labels certify nothing.
    """
    request: dict[str, Any] = given(
        dataset=dataset, max_error=max_error, cascade=cascade_of(cascade, judges),
        failure_probability=failure_probability, ties=ties, labels=labels, votes_per_pair=votes,
        budget_usd=budget_usd, seed=seed,
    )  # fmt: skip
    one_of(dataset, resume)
    _refuse(resume, request, is_retry=retry or people)
    if results is not None:
        refuse_unwritable(results, "--results")
    with open_tribunal(server, key) as tribunal:
        if resume is None:
            found: Any = tribunal.finishes.create(**request)
        elif retry or people:
            found = tribunal.finishes.retry(resume, people=people)
        else:
            found = tribunal.finishes.retrieve(resume)
        found = _wait(tribunal, found)
        if results is not None:
            _write(tribunal, found, results)
    Console(as_json).show(found, _show)
    if found["status"] == "not_certifiable":
        raise typer.Exit(EXIT_NOT_CERTIFIABLE)
    if found["status"] == "failed":
        fail(found["error"] or "the finish failed")


def _refuse(resume: str | None, request: dict[str, Any], *, is_retry: bool) -> None:
    if resume and request:
        fail("--resume: what was asked is stored", status=EXIT_USAGE)
    if is_retry and not resume:
        fail("--retry and --people go with --resume", status=EXIT_USAGE)
    if not resume and "max_error" not in request:
        fail("--max-error: say which share of the rows may be wrong", status=EXIT_USAGE)


def _wait(tribunal: Tribunal, found: Any) -> Any:
    """Return a finish when it waits for people or has ended."""
    pause, longest = _PAUSES
    if found["status"] in _WORKING:
        note(f"finish {found['id']}: judges work; to wait later: {_go_on(found)}")
    while found["status"] in _WORKING:
        time.sleep(pause)
        pause = min(2 * pause, longest)
        found = tribunal.finishes.retrieve(found["id"])
    return found


def _write(tribunal: Tribunal, found: Any, results: Path) -> None:
    with whole(results, "--results") as out:
        for row in tribunal.finishes.rows(found["id"], limit=1000):
            out.write(json.dumps(row).encode("ascii") + b"\n")


def _go_on(found: Any) -> str:
    return f"tribunal finish --resume {found['id']}"


def _show(console: Screen, found: Any) -> None:
    console.print(
        f"finish {found['id']}: {found['status']}; of {found['pairs']} rows judges gave "
        f"{found['judged']} verdicts, people {found['labelled']}, {found['waiting']} wait for people"
    )
    if found["unfinishable"]:
        console.print(f"{found['unfinishable']} rows have neither texts nor a label")
    if found["calibration"]:
        console.print(
            f"certificate {found['calibration']}: at most {percent(found['max_error'])} of all rows "
            f"wrong; promise {found['promise']}"
        )
    if found["error"]:
        console.print(f"[red]{escape(found['error'])}[/]")
    if found["status"] in ("sampling", "labelling"):
        console.print(f"label: tribunal queue label {found['queue']} --annotator YOUR_NAME")
        console.print(f"go on: {_go_on(found)}")
