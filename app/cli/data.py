"""The verbs that bring pairs in and out: import, export."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, cast

import typer

from app.cli.console import EXIT_FAILED_ROWS, EXIT_USAGE, AsJson, Console, fail, note
from app.cli.options import Coding, Columns, Delimiter, given, stem_of
from app.cli.service import Key, Server, open_tribunal, whole
from app.cli.tables import certificates as certificate_tables

if TYPE_CHECKING:
    from app.client import Tribunal

# written out, so that help need not load the modules that read and write them
_READ: Final = (
    "auto (tells it by the fields), canonical, alpaca_eval, alpaca_eval_outputs, mt_bench, "
    "arena_hard, lmarena_55k, lmarena_140k, reward_bench, judge_bench, battles (evalica, "
    "arena_rank), openai_batch, selective_evaluation, cje, pointwise (scores of single responses), "
    "label_studio, argilla or distilabel"
)
_WRITTEN: Final = (
    "canonical (NDJSON, with all that is stored), csv or parquet (the same as a table); for other "
    "tools alpaca_eval, mt_bench, arena_hard, reward_bench, evalica, arena_rank, cje, pointwise; "
    "tasks for people label_studio, argilla, and what these are set up with label_studio_config, "
    "argilla_settings; requests for verdicts openai_batch"
)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("import")(import_files)
    app.command()(export)


def import_files(  # noqa: PLR0913  # a verb's options are its parameters
    files: Annotated[
        list[Path],
        typer.Argument(
            help="NDJSON, JSON, CSV, TSV, Parquet, or gzip of them; several are joined; - reads stdin"
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="name of the dataset; default: the first file's")
    ] = None,
    dialect: Annotated[str, typer.Option("--format", "--dialect", help=_READ)] = "auto",
    strict: Annotated[bool, typer.Option(help="refuse all if one line is bad")] = False,
    columns: Columns = None,
    coding: Coding = None,
    delimiter: Delimiter = None,
    people: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="annotators that are people: names, or expert_*"),
    ] = None,
    judges: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="annotators that are models: names, or gpt*"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="store nothing; show the first three rows as stored")
    ] = False,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Import pairs, with their labels and recorded judge scores where there are any."""
    has_stdin = any(str(file) == "-" for file in files)
    if has_stdin and len(files) > 1:
        fail("- is standard input: it cannot be joined with files", status=EXIT_USAGE)
    if has_stdin and name is None:
        fail("--name is needed when reading standard input", status=EXIT_USAGE)
    for file in files:
        if not has_stdin and not file.is_file():
            why = "it is a folder" if file.is_dir() else "there is no such file"
            fail(f"{file}: {why}", status=EXIT_USAGE)
    options = given(map=columns, coding=coding, delimiter=delimiter, people=people, judges=judges)
    options |= {"name": name or stem_of(files[0]), "dialect": dialect, "strict": strict}
    with open_tribunal(server, key, stores_nothing=dry_run) as tribunal:
        found = _import(tribunal, files, options, is_dry=dry_run)
    for warning in found["warnings"]:
        note(warning)
    if found["unmatched"]:
        note(f"{found['unmatched']} rows found none to be joined with")
    Console(as_json).show(
        found, certificate_tables.preview if dry_run else certificate_tables.dataset
    )
    if found["rejected"]:
        raise typer.Exit(EXIT_FAILED_ROWS)


def _import(
    tribunal: Tribunal, files: Sequence[Path], options: dict[str, Any], *, is_dry: bool
) -> Mapping[str, Any]:
    source: Any = files[0] if len(files) == 1 else list(files)
    if str(files[0]) == "-":
        source = sys.stdin.buffer
    try:
        send: Any = tribunal.preview_dataset if is_dry else tribunal.import_dataset
        return cast("Mapping[str, Any]", send(source, **options))
    except OSError as error:
        place = error.filename or files[0]
        fail(f"{place}: {error.strerror or error}", status=EXIT_USAGE)


def export(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: Annotated[
        str | None, typer.Argument(help="id or name of a dataset; none with --trusted")
    ] = None,
    format_: Annotated[str, typer.Option("--format", metavar="NAME", help=_WRITTEN)] = "canonical",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="default: standard output")
    ] = None,
    trusted: Annotated[
        str | None, typer.Option(help="a batch: its accepted verdicts as chosen and rejected")
    ] = None,
    any_promise: Annotated[
        bool, typer.Option(help="with --trusted: also where nothing is promised")
    ] = False,
    labels: Annotated[
        bool, typer.Option(help="label_studio, argilla: with the votes there are")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="draws which answer is shown first")] = None,
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="reasons: why judges prefer what they do")
    ] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Write a dataset in another format, or a batch's trusted verdicts as preference data."""
    if (dataset is None) == (trusted is None):
        fail("give a dataset, or --trusted with the id of a batch", status=EXIT_USAGE)
    with open_tribunal(server, key, only_reads=True) as tribunal, _target(output) as target:
        if trusted is not None:
            query = given(promise="any" if any_promise else None)
            _write_card(tribunal.preferences(trusted, target, **query), output)
        elif dataset is not None:
            query = given(format=format_, labels=labels or None, seed=seed, include=with_)
            for what, count in tribunal.export(dataset, target, **query).items():
                note(f"not in this format: {what}: {count}")


def _write_card(card: Mapping[str, Any], output: Path | None) -> None:
    """Write the terms into a file beside the data; standard output has none."""
    note(card["summary"])
    if output is not None:
        text = json.dumps(card, indent=2) + "\n"
        with whole(output.with_name(f"{output.name}.card.json")) as file:
            file.write(text.encode())


def _target(output: Path | None) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if output is None else whole(output)
