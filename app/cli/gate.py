"""The verb that gates a new model in CI, where there is no pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console as RichConsole
from rich.markup import escape

from app.cli.console import EXIT_FAILED, EXIT_USAGE, AsJson, Console, fail
from app.cli.opening import Key, Server, open_tribunal
from app.cli.options import Calibration, Cascade
from app.cli.whole_files import whole

EXIT_NOT_ENOUGH_EVIDENCE: Final = 3
_STATUS: Final = {
    "passed": 0,
    "failed": EXIT_FAILED,
    "not_enough_evidence": EXIT_NOT_ENOUGH_EVIDENCE,
}
_COLOURS: Final = {"passed": "green", "failed": "red", "not_enough_evidence": "yellow"}


def add_gate_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command()(gate)


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

    Pairs whose prompts the certificate knows are left out and counted: its promise is for others.
    Refusals by the service exit with 1, too; outputs or options that make no sense with 2.
    """
    from app.gate import OutputsInvalid, Question, check_preferred
    from app.gate.wording import markdown as page

    try:
        question = Question(calibration, cascade, min_win, alpha, about)  # type: ignore[arg-type]
    except ValueError as error:
        fail(str(error), status=EXIT_USAGE)
    with open_tribunal(server, key, only_reads=calibration is not None) as tribunal:
        try:
            result = check_preferred(tribunal, new, old, question)
        except OutputsInvalid as error:
            fail(str(error), status=EXIT_USAGE)
    body = result.as_json()
    if markdown is not None:
        _write(markdown, page([(f"{result.new} against {result.old}", body)]))
    Console(as_json).show(body, _show)
    raise typer.Exit(_STATUS[result.outcome])


def _show(console: RichConsole, body: dict[str, Any]) -> None:
    from app.gate.wording import explanation

    first, *others = explanation(body).splitlines()
    console.print(f"[bold {_COLOURS[body['outcome']]}]{escape(first)}[/]", soft_wrap=True)
    for line in others:
        console.print(escape(line), soft_wrap=True)


def _write(file: Path, text: str) -> None:
    with whole(file, "--markdown", status=EXIT_USAGE) as out:
        out.write(text.encode())
