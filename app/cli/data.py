"""The verbs that take files in and write them: import and export."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer

from app.cli import tables
from app.cli.arguments import given, stem_of
from app.cli.console import EXIT_FAILED_ROWS, EXIT_USAGE, AsJson, Console, fail, note
from app.cli.opening import Key, Server, open_tribunal
from app.cli.whole_files import whole
from app.client import Tribunal
from app.client.bodies import DatasetBody

# spelt out, so that help needs none of what reads and writes them
_READ: Final = (
    "auto (tells it by the fields), canonical, alpaca_eval, alpaca_eval_outputs, mt_bench, "
    "arena_hard, lmarena_55k, lmarena_140k, reward_bench, judge_bench, battles (evalica, "
    "arena_rank), openai_batch, selective_evaluation, cje, label_studio or argilla"
)
_WRITTEN: Final = (
    "canonical (NDJSON, with all that is stored), csv or parquet (the same as a table); for other "
    "tools alpaca_eval, mt_bench, arena_hard, reward_bench, evalica, arena_rank, cje; tasks for "
    "people label_studio, argilla, and what these are set up with label_studio_config, "
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
            help="NDJSON, JSON, CSV, Parquet, or gzip of them; several are joined; - reads stdin"
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="name of the dataset; default: the first file's")
    ] = None,
    dialect: Annotated[str, typer.Option("--format", help=_READ)] = "auto",
    strict: Annotated[bool, typer.Option(help="refuse all if one line is bad")] = False,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Import labelled pairs, recorded judge scores, or both."""
    has_stdin = any(str(file) == "-" for file in files)
    if has_stdin and len(files) > 1:
        fail("- is standard input: it cannot be joined with files", status=EXIT_USAGE)
    if has_stdin and name is None:
        fail("--name is needed when reading standard input", status=EXIT_USAGE)
    for file in files:
        if not has_stdin and not file.is_file():
            why = "it is a folder" if file.is_dir() else "there is no such file"
            fail(f"{file}: {why}", status=EXIT_USAGE)
    with open_tribunal(server, key) as tribunal:
        dataset = _import(tribunal, files, name or stem_of(files[0]), dialect, is_strict=strict)
    for warning in dataset["warnings"]:
        note(_warned(warning))
    if dataset["unmatched"]:
        note(f"{dataset['unmatched']} rows found none to be joined with")
    Console(as_json).show(dataset, tables.dataset)
    if dataset["rejected"]:
        raise typer.Exit(EXIT_FAILED_ROWS)


def _warned(warning: Mapping[str, Any]) -> str:
    meant = warning["did_you_mean"]
    if meant is None:
        return f"{warning['field']}: {warning['count']}"
    return f"{warning['field']}: in {warning['count']} rows; did you mean {meant}?"


def _import(
    tribunal: Tribunal, files: Sequence[Path], name: str, dialect: str, *, is_strict: bool
) -> DatasetBody:
    source: Any = files[0] if len(files) == 1 else list(files)
    if str(files[0]) == "-":
        source = sys.stdin.buffer
    try:
        return tribunal.import_dataset(source, name=name, dialect=dialect, strict=is_strict)
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
            query = given(format=format_, labels=labels or None, seed=seed)
            for what, count in tribunal.export(dataset, target, **query).items():
                note(f"not in this format: {what}: {count}")


def _write_card(card: Mapping[str, Any], output: Path | None) -> None:
    """Put the terms beside the data; on standard output there is no place beside it."""
    note(card["summary"])
    if output is not None:
        text = json.dumps(card, indent=2) + "\n"
        with whole(output.with_name(f"{output.name}.card.json")) as file:
            file.write(text.encode())


def _target(output: Path | None) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if output is None else whole(output)
