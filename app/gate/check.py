"""`assert_preferred`: a gate as an assertion.

NotPassed (AssertionError)
+-- NotPreferred         the new model is not preferred
+-- NotEnoughEvidence    the outputs at hand tell neither, or the promise is suspended
"""

from __future__ import annotations

from contextlib import nullcontext

from app.client import AsyncTribunal, Tribunal
from app.gate.checking import check_preferred, check_preferred_async
from app.gate.outputs import Outputs
from app.gate.results import About, GateResult, Question
from app.gate.wording import explanation


class NotPassed(AssertionError):
    """A gate did not pass; `result` says why."""

    def __init__(self, result: GateResult) -> None:
        super().__init__(explanation(result.as_json()))
        self.result = result


class NotPreferred(NotPassed):
    """The new model is not preferred to the old one."""


class NotEnoughEvidence(NotPassed):
    """The outputs at hand do not say whether the new model is preferred."""


def assert_preferred(  # noqa: PLR0913  # what is asked, by keyword
    new: Outputs,
    old: Outputs,
    *,
    calibration: str | None = None,
    cascade: str | None = None,
    min_win: float = 0.5,
    alpha: float = 0.1,
    about: About = "verdicts",
    tribunal: Tribunal | str | None = None,
) -> GateResult:
    """Assert that people, as far as the judges speak for them, prefer the new model's outputs.

    Pairs whose prompts the certificate knows are left out and counted: its promise is for others.

    Args:
        new: Outputs of the new model: a file, rows in the form of AlpacaEval, or a mapping from
            prompt to output.
        old: Outputs of the old model on the same prompts.
        calibration: Id of the certificate under which the outputs are judged.
        cascade: Instead, without a promise: a configured cascade.
        min_win: The win rate that is asked for.
        alpha: Largest probability of passing, or of failing, wrongly.
        about: `verdicts`, or `people`: with the errors that the certificate allows taken off.
        tribunal: An open client, or the address of a server; the service in this process by
            default.

    Returns:
        The result, which passed.

    Raises:
        NotPreferred: the new model is not preferred.
        NotEnoughEvidence: the outputs at hand tell neither, or the promise is suspended.
        OutputsInvalid: the outputs cannot be read, or are not of the same prompts.
        TribunalClientError: the service refuses, or cannot be reached.
        ValueError: the question makes no sense.
    """
    question = Question(calibration, cascade, min_win, alpha, about)
    opened = (
        Tribunal(tribunal) if tribunal is None or isinstance(tribunal, str)
        else nullcontext(tribunal)
    )  # fmt: skip
    with opened as client:
        result = check_preferred(client, new, old, question)
    return passed(result)


async def assert_preferred_async(  # noqa: PLR0913  # what is asked, by keyword
    new: Outputs,
    old: Outputs,
    *,
    calibration: str | None = None,
    cascade: str | None = None,
    min_win: float = 0.5,
    alpha: float = 0.1,
    about: About = "verdicts",
    tribunal: AsyncTribunal | str | None = None,
) -> GateResult:
    """Assert what `assert_preferred` does, with a client whose methods are awaited."""
    question = Question(calibration, cascade, min_win, alpha, about)
    opened = (
        AsyncTribunal(tribunal) if tribunal is None or isinstance(tribunal, str)
        else nullcontext(tribunal)
    )  # fmt: skip
    async with opened as client:
        result = await check_preferred_async(client, new, old, question)
    return passed(result)


def passed(result: GateResult) -> GateResult:
    """Return a result that passed; raise what any other one is."""
    if result.outcome == "failed":
        raise NotPreferred(result)
    if result.outcome == "not_enough_evidence":
        raise NotEnoughEvidence(result)
    return result
