"""The verbs of label queues: made, labelled in the terminal, looked at, exported, imported."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from app.cli.console import (
    EXIT_FAILED_ROWS,
    EXIT_USAGE,
    AsJson,
    Console,
    Verbs,
    estimate,
    fail,
    note,
    number,
    rejections,
)
from app.cli.options import DatasetArgument, PartOption, given, names_of, part_of
from app.cli.people.labelling import Labelling, keys
from app.cli.reading import MOST_ROWS
from app.cli.service import Key, Server, open_tribunal, whole
from app.cli.stored import add_list
from app.cli.tables.layout import Screen, Table, escape

QueueArgument = Annotated[str, typer.Argument(help="id or name of a queue")]
Annotator = Annotated[
    str | None,
    typer.Option(envvar="TRIBUNAL_ANNOTATOR", help="who labels; a key may say it, too"),
]
_queue = typer.Typer(
    help="Pairs that people label, blind, here or in another tool.",
    no_args_is_help=True,
    cls=Verbs,
)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(_queue, name="queue")


@_queue.command()
def create(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    name: Annotated[str | None, typer.Option(help="default: the dataset's")] = None,
    purpose: Annotated[
        str,
        typer.Option(
            "--purpose",
            metavar="PURPOSE",
            help="calibration (a uniform order), ranking (what settles ranks soonest), audit "
            "(accepted verdicts), finish (what was abstained on), asked (the order of --pairs)",
        ),
    ] = "calibration",
    votes: Annotated[int, typer.Option(help="persons to ask about each pair")] = 1,
    adjudicate: Annotated[
        bool, typer.Option("--adjudicate", help="ask one more person where votes differ")
    ] = False,
    labels: Annotated[int | None, typer.Option(help="how many pairs; default: all")] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="only pairs without a label")
    ] = False,
    pairs: Annotated[str | None, typer.Option(help="only these, by commas")] = None,
    part: PartOption = None,
    calibration: Annotated[str | None, typer.Option(help="for audit and finish")] = None,
    leaderboard: Annotated[str | None, typer.Option(help="for ranking")] = None,
    guidelines: Annotated[
        Path | None, typer.Option(help="a text file, shown beside each pair")
    ] = None,
    no_ties: Annotated[bool, typer.Option("--no-ties", help="one side must be better")] = False,
    seed: Annotated[int | None, typer.Option(help="draws order and sides; default: 0")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a queue of pairs that people are to label."""
    request: dict[str, Any] = given(
        dataset=dataset, name=name or dataset, purpose=purpose, votes_per_pair=votes,
        adjudicate=adjudicate or None, labels=labels, unlabelled=unlabelled or None,
        pairs=names_of(pairs), part=part_of(part), calibration=calibration, leaderboard=leaderboard,
        guidelines=_read(guidelines), allow_tie=False if no_ties else None, seed=seed,
    )  # fmt: skip
    with open_tribunal(server, key, only_reads=True) as tribunal:
        made = tribunal.queues.create(**request)
    Console(as_json).show(made, _show)


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"--guidelines: {path}: {error}", status=EXIT_USAGE)


@_queue.command()
def status(
    queue: Annotated[
        str | None, typer.Argument(help="id or name of a queue; default: all, newest first")
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a queue is, how people agree, and whose labels should be looked at."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        if queue is None:
            page = tribunal.get("/v1/queues", limit=MOST_ROWS)
            Console(as_json).show(page, _show_all)
            if page["has_more"]:
                note(f"there are more: tribunal queue list --after {page['last_id']}")
        else:
            Console(as_json).show(tribunal.queues.retrieve(queue), _show)


@_queue.command()
def export(
    queue: QueueArgument,
    tool: Annotated[
        str, typer.Option("--format", metavar="TOOL", help="label_studio or argilla")
    ] = "label_studio",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="default: standard output")
    ] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Write what is left to label as tasks of another tool, blind."""
    if tool not in ("label_studio", "argilla"):
        fail(f"--format: {tool!r} is neither label_studio nor argilla", status=EXIT_USAGE)
    target: Any = nullcontext(sys.stdout.buffer) if output is None else whole(output)
    with open_tribunal(server, key, only_reads=True) as tribunal, target as file:
        tribunal.export_queue(queue, file, format=cast("Any", tool))


@_queue.command("import")
def import_answers(
    queue: QueueArgument,
    file: Annotated[Path, typer.Argument(help="the tool's export, JSON or JSON lines")],
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Take what people answered in another tool; the side that was drawn is undone."""
    tasks = _tasks(file)
    with open_tribunal(server, key, only_reads=True) as tribunal:
        found = tribunal.queues.import_answers(queue, tasks)
    for warning in found["warnings"]:
        note(warning)
    for line in rejections(found):
        note(line)
    Console(as_json).show(found, _show_import)
    if found["rejected"]:
        raise typer.Exit(EXIT_FAILED_ROWS)


def _tasks(file: Path) -> list[Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            found: list[Any] = json.loads(text)
            return found
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", status=EXIT_USAGE)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        fail(f"{file}: {error}", status=EXIT_USAGE)


def _show_import(console: Screen, found: Any) -> None:
    console.print(
        f"{found['stored']} answers are new, {found['replaced']} replace another answer of the same "
        f"person, {found['unchanged']} were stored already, {found['spare']} came when their pair "
        "had its votes"
    )


def _show(console: Screen, queue: Any) -> None:
    console.print(
        f"queue {escape(queue['name'])} ({queue['id']}), {queue['purpose']}: {queue['done']} of "
        f"{queue['pairs']} pairs are done, {queue['claimed']} are claimed, {queue['skipped']} "
        f"skipped, {queue['waiting']} wait; {queue['votes_per_pair']} vote"
        f"{'s' * (queue['votes_per_pair'] != 1)} a pair"
    )
    people = queue["people"]
    if people["percent_agreement"]["n"]:
        console.print(
            f"people agree on {estimate(people['percent_agreement'])} of the pairs of votes; "
            f"Krippendorff's alpha {estimate(people['krippendorff_alpha'])}; "
            f"{people['disagreed']} pairs have votes that differ"
        )
    if not queue["annotators"]:
        return
    table = Table(
        "annotator", "answered", "skipped", "agrees with the others", "left side", "seconds",
        drops=("seconds", "skipped", "left side"),
    )  # fmt: skip
    for one in queue["annotators"]:
        shares = estimate(one["agreement"]), estimate(one["left"])
        table.add_row(
            one["annotator"], str(one["answered"]), str(one["skipped"]), *shares,
            number(one["median_seconds"]),
        )  # fmt: skip
    console.print(table)
    for one in queue["annotators"]:
        for why in one["weak"]:
            console.print(f"look at the labels of {escape(one['annotator'])}: {why}")


def _show_all(console: Screen, page: Any) -> None:
    if not page["data"]:
        console.print("there are no queues yet")
    for one in page["data"]:
        _show(console, one)


add_list(_queue, "queues", "queues", _show_all)


@_queue.command()
def label(
    queue: Annotated[
        str | None, typer.Argument(help="id or name of a queue; none: all, audits first")
    ] = None,
    annotator: Annotator = None,
    most: Annotated[int | None, typer.Option("--most", help="stop after so many answers")] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Label pairs in the terminal, one key each; leave at any time and go on later.

    a or left arrow: response A is better; b or right arrow: response B is; t: tie, neither is better;
    f: both are fine; s: skip, leave this pair for later or to others; u: take the last answer back;
    c: a comment for the next answer; g: the guidelines; q: leave. Which response is A is drawn.
    """
    with open_tribunal(server, key, only_reads=True) as tribunal, keys() as next_key:
        session = Labelling(tribunal, annotator, next_key, time.monotonic)
        note(session.run(queue, most))
