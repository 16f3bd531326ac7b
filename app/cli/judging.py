"""The verbs that judge pairs: a few at once, or a whole dataset as a batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import tables
from app.cli.arguments import cascade_of, given, one_of, part_of, rows_of
from app.cli.batch_files import LOCAL_FILES, Files, InputFiles, OutputFolder, RowsPerPart
from app.cli.console import EXIT_FAILED_ROWS, EXIT_USAGE, AsJson, Console, fail, note
from app.cli.engines import Engine, EngineOption, RayAddress, RayGpus, RayWorkersOption
from app.cli.judge_failures import JudgeFailures
from app.cli.money import BudgetUsd, RetryOption, Seed, SoftBudget, money_of, taken_up
from app.cli.opening import Key, Server, open_tribunal
from app.cli.options import (
    Calibration,
    Cascade,
    DatasetOrResume,
    Judges,
    PartOption,
    Patience,
)
from app.cli.waiting import Errand, wait_for_batch
from app.cli.whole_files import refuse_unwritable, whole
from app.client import Tribunal
from app.client.bodies import BatchBody, VerdictBody


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(judge)
    app.command()(batch)


def judge(  # noqa: PLR0913  # a verb's options are its parameters
    file: Annotated[Path, typer.Argument(help="NDJSON of up to 256 pairs; - reads stdin")],
    calibration: Calibration = None,
    cascade: Cascade = None,
    judges: Judges = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Judge a few pairs now; exit status 4 if some failed, or a judge failed on some."""
    pairs = list(rows_of(file))
    request = given(calibration=calibration, cascade=cascade_of(cascade, judges))
    with open_tribunal(server, key) as tribunal:
        answer = tribunal.judge(pairs, **request)
    failures = JudgeFailures.of(answer["verdicts"])
    Console(as_json).show({**answer, "judge_failures": failures.as_json()}, tables.verdicts)
    if failures.pairs or any(verdict["status"] == "failed" for verdict in answer["verdicts"]):
        raise typer.Exit(EXIT_FAILED_ROWS)


def batch(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetOrResume = None,
    input_files: InputFiles = None,
    output: OutputFolder = None,
    rows_per_part: RowsPerPart = None,
    calibration: Calibration = None,
    cascade: Cascade = None,
    judges: Judges = None,
    part: PartOption = None,
    results: Annotated[Path | None, typer.Option(help="write verdicts here as NDJSON")] = None,
    resume: Annotated[str | None, typer.Option(help="wait for this batch instead")] = None,
    retry: RetryOption = None,
    budget_usd: BudgetUsd = None,
    soft_budget: SoftBudget = False,
    seed: Seed = None,
    engine: EngineOption = None,
    ray_address: RayAddress = None,
    ray_workers: RayWorkersOption = None,
    ray_gpus: RayGpus = None,
    patience: Patience = 120.0,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Judge a whole dataset, or Parquet files, and wait; exit status 4 if pairs or judges failed."""
    files = Files.of(input_files, output, rows_per_part, server)
    chosen = cascade_of(cascade, judges)
    request = given(dataset=dataset, calibration=calibration, cascade=chosen, part=part_of(part))
    money = money_of(budget_usd, seed, is_soft=soft_budget)
    if files is None:
        one_of(dataset, resume or retry)
    else:
        files.refuse(dataset=dataset, part=part, results=results, resume=resume or retry)
    _refuse_changes(resume, retry, request, money)
    if results is not None:
        refuse_unwritable(results, "--results")
    placed = Engine.of(engine, ray_address, ray_workers, ray_gpus)
    request |= files.request if files else {}
    with open_tribunal(server, key, **placed.settings, **LOCAL_FILES) as tribunal:
        if retry:
            created = taken_up(tribunal, retry, money)
        else:
            created = (
                tribunal.batch(resume) if resume else tribunal.create_batch(**request, **money)
            )
            _note_rivals(created, is_new=not resume)
        options = (*(("--results", str(results)) if results else ()), *placed.options)
        errand = Errand("batch", "batch", created["id"], server, patience, options)
        with placed.working_on(created["id"], **LOCAL_FILES) as look:
            ended = wait_for_batch(tribunal, created, errand, look)
        with errand.kept():
            failures = _failures(tribunal, ended, results)
    Console(as_json).show({**ended, "judge_failures": failures.as_json()}, tables.batch)
    if ended["status"] != "completed":
        fail(f"the batch ended as {ended['status']}: {ended['error'] or 'not all was judged'}")
    if failures.pairs or ended["request_counts"]["failed"]:
        raise typer.Exit(EXIT_FAILED_ROWS)


def _refuse_changes(
    resume: str | None, retry: str | None, request: Mapping[str, Any], money: Mapping[str, Any]
) -> None:
    """Refuse what a batch that is there cannot take."""
    if (resume or retry) and request:
        option = "--resume" if resume else "--retry"
        fail(f"{option}: the batch has its dataset, judges and part already", status=EXIT_USAGE)
    if resume and (retry or money):
        fail(
            "--resume waits and changes nothing: to go on with more money --retry",
            status=EXIT_USAGE,
        )


def _note_rivals(created: BatchBody, *, is_new: bool) -> None:
    if is_new and created["also_running"]:
        names = ", ".join(created["also_running"])
        note(
            f"{names} asks the same judges about the same pairs at this moment: what both are at is "
            f"paid for twice (--resume {created['also_running'][-1]} waits for that one instead)"
        )


def _failures(tribunal: Tribunal, ended: BatchBody, results: Path | None) -> JudgeFailures:
    """Count the judges' failures: over the verdicts, or from the sums where those are files."""
    if "output" in ended:
        return JudgeFailures.of_sums(ended)
    return _fetch(tribunal.batch_results(ended["id"]), results)


def _fetch(verdicts: Iterator[VerdictBody], results: Path | None) -> JudgeFailures:
    """Write verdicts where they are wanted, and count the judges' failures."""
    failures = JudgeFailures()
    with nullcontext() if results is None else whole(results) as out:
        for verdict in verdicts:
            failures.add(verdict)
            if out is not None:
                out.write(json.dumps(verdict).encode("ascii") + b"\n")
    return failures
