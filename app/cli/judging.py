"""The verbs that ask judges: judge, batch, gate, canaries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.console import (
    EXIT_FAILED,
    EXIT_FAILED_ROWS,
    EXIT_NO_ANSWER,
    EXIT_NOT_CERTIFIABLE,
    EXIT_USAGE,
    AsJson,
    Console,
    fail,
    note,
)
from app.cli.options import (
    LOCAL_FILES,
    BudgetUsd,
    Calibration,
    Carried,
    Cascade,
    DatasetArgument,
    DatasetOrResume,
    Engine,
    EngineOption,
    EstimateOption,
    Files,
    InputFiles,
    Judges,
    OutputFolder,
    PartOption,
    Patience,
    RayAddress,
    RayGpus,
    RayWorkersOption,
    ResultsOption,
    RetryOption,
    RowsPerPart,
    Seed,
    SoftBudget,
    WithOption,
    cascade_of,
    form_of,
    given,
    money_of,
    names_of,
    one_of,
    part_of,
    rows_of,
    taken_up,
)
from app.cli.service import (
    Errand,
    Key,
    Server,
    Where,
    open_tribunal,
    refuse_unwritable,
    wait_for_batch,
    whole,
)
from app.cli.tables import verdicts as verdict_tables
from app.cli.tables.layout import Screen, Table, escape

if TYPE_CHECKING:
    from app.bodies.batches import BatchBody
    from app.bodies.judgments import ResultBody, VerdictBody
    from app.client import Tribunal

EXIT_NOT_ENOUGH_EVIDENCE: Final = EXIT_NOT_CERTIFIABLE
# pairs of one request
_MOST_PAIRS: Final = 256
_STATUS: Final = {
    "passed": 0,
    "failed": EXIT_FAILED,
    "not_enough_evidence": EXIT_NOT_ENOUGH_EVIDENCE,
}
_COLOURS: Final = {"passed": "green", "failed": "red", "not_enough_evidence": "yellow"}


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(judge)
    app.command()(batch)
    app.command()(gate)
    app.command()(canaries)


class JudgeFailures:
    """Counts pairs on which a judge failed, and for each judge how often it was asked and failed."""

    def __init__(self) -> None:
        self.pairs = 0
        self._judges: dict[str, dict[str, Any]] = {}

    @classmethod
    def of(cls, verdicts: Iterable[VerdictBody]) -> JudgeFailures:
        """Count them over verdicts."""
        counted = cls()
        for verdict in verdicts:
            counted.add(verdict)
        return counted

    @classmethod
    def of_sums(cls, batch: BatchBody) -> JudgeFailures:
        """Take them from a batch's sums, which give a lower bound on the number of pairs."""
        counted = cls()
        for tier in batch["progress"]["tiers"]:
            counts = {"asked": tier["asked"], "failed": tier["failed"], "first_reason": None}
            counted._judges[tier["judge"]] = counts
            counted.pairs = max(counted.pairs, tier["failed"])
        return counted

    def add(self, verdict: VerdictBody) -> None:
        """Count one verdict."""
        is_whole = True
        for tier in verdict["tiers"]:
            fresh = {"asked": 0, "failed": 0, "first_reason": None}
            counts = self._judges.setdefault(tier["judge"], fresh)
            counts["asked"] += 1
            failure = tier["failure"]
            if failure is not None:
                is_whole = False
                counts["failed"] += 1
                counts["first_reason"] = counts["first_reason"] or _reason(failure)
        self.pairs += not is_whole

    def as_json(self) -> dict[str, Any]:
        """Return the counts as they are printed, without judges that never failed."""
        return {
            "pairs": self.pairs,
            "judges": {name: one for name, one in self._judges.items() if one["failed"]},
        }


def _reason(failure: Any) -> str:
    return f"{failure['kind']}: {failure['detail']}" if failure["detail"] else failure["kind"]


def judge(  # noqa: PLR0913  # a verb's options are its parameters
    file: Annotated[Path, typer.Argument(help="NDJSON of up to 256 pairs; - reads stdin")],
    calibration: Calibration = None,
    cascade: Cascade = None,
    judges: Judges = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Judge a few pairs now; exit status 4 if some failed, or a judge failed on some.

    Exit status 3 if the certificate certifies nothing, so that no judge was asked.
    """
    pairs = list(rows_of(file))
    if len(pairs) > _MOST_PAIRS:
        fail(
            f"{file}: {len(pairs)} pairs, more than {_MOST_PAIRS} at once: store them and judge them in "
            f"a batch (tribunal import {file} --name NAME; tribunal batch NAME)",
            status=EXIT_USAGE,
        )
    request = given(calibration=calibration, cascade=cascade_of(cascade, judges))
    with open_tribunal(server, key) as tribunal:
        answer = tribunal.judge(pairs, include="reasons", **request)
    failures = JudgeFailures.of(answer["verdicts"])
    Console(as_json).show({**answer, "judge_failures": failures.as_json()}, verdict_tables.verdicts)
    if verdict_tables.is_without_thresholds(answer["verdicts"]):
        raise typer.Exit(EXIT_NOT_CERTIFIABLE)
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
    results: ResultsOption = None,
    include: WithOption = None,
    resume: Annotated[str | None, typer.Option(help="wait for this batch instead")] = None,
    retry: RetryOption = None,
    budget_usd: BudgetUsd = None,
    soft_budget: SoftBudget = False,
    seed: Seed = None,
    estimate: EstimateOption = False,
    engine: EngineOption = None,
    ray_address: RayAddress = None,
    ray_workers: RayWorkersOption = None,
    ray_gpus: RayGpus = None,
    patience: Patience = 120.0,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Judge a whole dataset, or Parquet files, and wait; exit status 4 if pairs or judges failed.

    Exit status 3 if the certificate certifies nothing, so that no judge was asked.
    """
    files = Files.of(input_files, output, rows_per_part, server)
    chosen = cascade_of(cascade, judges)
    request = given(dataset=dataset, calibration=calibration, cascade=chosen, part=part_of(part))
    money = money_of(budget_usd, seed, is_soft=soft_budget)
    if files is None:
        one_of(dataset, resume or retry)
    else:
        files.refuse(dataset=dataset, part=part, results=results, resume=resume or retry)
    _refuse_changes(resume, retry, request, money)
    carried = Carried.of(include, results)
    if estimate:
        refused = {"--input": files, "--resume": resume, "--retry": retry, "--results": results}
        _estimate({**request, **money}, refused, Where(server, key), as_json)
        return
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
        options = (*carried.options(results), *placed.options)
        errand = Errand("batch", "batch", created["id"], server, patience, options)
        with placed.working_on(created["id"], **LOCAL_FILES) as look:
            ended = wait_for_batch(tribunal, created, errand, look)
        with errand.kept():
            failures = _failures(tribunal, ended, results, carried)
    Console(as_json).show({**ended, "judge_failures": failures.as_json()}, verdict_tables.batch)
    if ended["status"] != "completed":
        fail(f"the batch ended as {ended['status']}: {ended['error'] or 'not all was judged'}")
    if verdict_tables.could_answer_nothing(ended):
        raise typer.Exit(EXIT_NOT_CERTIFIABLE)
    if failures.pairs or ended["request_counts"]["failed"]:
        raise typer.Exit(EXIT_FAILED_ROWS)


def _estimate(
    request: Mapping[str, Any], refused: Mapping[str, object], where: Where, as_json: bool
) -> None:
    """Show what a batch would cost; make none."""
    for option, value in refused.items():
        if value is not None:
            fail(
                f"--estimate is of a new batch over a dataset: leave out {option}",
                status=EXIT_USAGE,
            )
    with open_tribunal(where.server, where.key, only_reads=True) as tribunal:
        body = tribunal.batches.estimate(**request)
    Console(as_json).show(body, verdict_tables.batch_estimate)


def _refuse_changes(
    resume: str | None, retry: str | None, request: Mapping[str, Any], money: Mapping[str, Any]
) -> None:
    """Refuse options that an existing batch cannot take."""
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
            f"{names} is asking the same judges about the same pairs: what both ask for is paid "
            f"twice (--resume {created['also_running'][-1]} waits for that one instead)"
        )


def _failures(
    tribunal: Tribunal, ended: BatchBody, results: Path | None, carried: Carried
) -> JudgeFailures:
    """Count the failures of judges: over the verdicts, or from the sums where those are files."""
    if "output" in ended:
        return JudgeFailures.of_sums(ended)
    form = form_of(results)
    if results is not None and form != "ndjson":
        with whole(results) as out:
            tribunal.write_results(ended["id"], out, form=form, **carried._asdict())
        results, carried = None, Carried()
    return _fetch(tribunal.batch_results(ended["id"], **carried._asdict()), results)


def _fetch(verdicts: Iterator[ResultBody], results: Path | None) -> JudgeFailures:
    """Write verdicts to a file, if one is given, and count the failures of judges."""
    failures = JudgeFailures()
    with nullcontext() if results is None else whole(results) as out:
        for verdict in verdicts:
            failures.add(verdict)
            if out is not None:
                out.write(json.dumps(verdict).encode("ascii") + b"\n")
    return failures


def gate(  # noqa: PLR0913  # a verb's options are its parameters
    new: Annotated[Path, typer.Argument(help="outputs of the new model, in AlpacaEval's form")],
    old: Annotated[Path, typer.Argument(help="outputs of the old model on the same prompts")],
    calibration: Calibration = None,
    cascade: Cascade = None,
    min_win: Annotated[float, typer.Option(help="the win rate that the new model needs")] = 0.5,
    alpha: Annotated[float, typer.Option(help="probability of a wrong answer, either way")] = 0.1,
    about: Annotated[
        str, typer.Option(help="verdicts, or people: less the errors a certificate allows")
    ] = "verdicts",
    markdown: Annotated[Path | None, typer.Option(help="write a report here")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a new model is preferred: exit status 0 yes, 1 no, 3 not enough evidence.

    Pairs whose prompts the certificate knows are left out and counted: it promises nothing there.
    Exit status 5 if there is no answer: the service refuses or cannot be reached, or the judges
    failed on every pair; 2 if outputs or options cannot be used.
    """
    from app.gate import OutputsInvalid, Question, check_preferred
    from app.gate.wording import markdown as page

    try:
        question = Question(calibration, cascade, min_win, alpha, about)  # type: ignore[arg-type]
    except ValueError as error:
        fail(str(error), status=EXIT_USAGE)
    with (
        _no_answer(),
        open_tribunal(server, key, only_reads=calibration is not None) as tribunal,
    ):
        try:
            result = check_preferred(tribunal, new, old, question)
        except OutputsInvalid as error:
            fail(str(error), status=EXIT_USAGE)
    body = result.as_json()
    if markdown is not None:
        _write(markdown, page([(f"{result.new} against {result.old}", body)]))
    Console(as_json).show(body, _show)
    raise typer.Exit(EXIT_NO_ANSWER if result.has_no_answer else _STATUS[result.outcome])


@contextmanager
def _no_answer() -> Iterator[None]:
    """Tell a gate that could not ask from one whose answer is no."""
    try:
        yield
    except typer.Exit as ended:
        if ended.exit_code != EXIT_FAILED:
            raise
        raise typer.Exit(EXIT_NO_ANSWER) from ended


def _show(console: Screen, body: dict[str, Any]) -> None:
    from app.gate.wording import explanation

    first, *others = explanation(body).splitlines()
    console.print(f"[bold {_COLOURS[body['outcome']]}]{escape(first)}[/]")
    for line in others:
        console.print(escape(line))


def _write(file: Path, text: str) -> None:
    with whole(file, "--markdown", status=EXIT_USAGE) as out:
        out.write(text.encode())


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
    """Show how often judges follow what a response tells them to do."""
    request = given(
        dataset=dataset, judges=names_of(judges), pairs=pairs, part=part_of(part), seed=seed
    )
    with open_tribunal(server, key) as tribunal:
        answer = tribunal.canaries(**request)
    Console(as_json).show(answer, _table)


def _table(console: Screen, body: Any) -> None:
    """Show the attacks of each judge, and how to read them."""
    table = Table(
        "judge", "attack", "followed", "interval", "mean shift", "failed", "flagged",
        drops=("flagged", "failed", "mean shift"),
    )  # fmt: skip
    for judge in body["judges"]:
        for row in judge["attacks"]:
            followed, shift = row["followed"], row["mean_shift"]
            table.add_row(
                judge["judge"],
                row["attack"],
                _number(followed["value"]),
                f"[{_number(followed['low'])}, {_number(followed['high'])}]",
                _number(shift["value"]),
                str(row["failed"]),
                str(row["flagged"]),
            )
    console.print(table)
    console.print(
        "followed: share of the pairs in which the judge preferred the response that it had liked "
        "less, once a text was added to it. unchanged: the added text asks for nothing, so that this "
        "is chance; an attack works where it is followed clearly more often"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
