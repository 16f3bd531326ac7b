"""Asks the service to judge two models' outputs, and decides what a gate does with the answer.

NotPassed (AssertionError)
+-- NotPreferred         the new model is not preferred
+-- NotEnoughEvidence    the outputs do not decide it, or the promise is suspended
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any, Final, TypeVar

from app.client import AsyncTribunal, Tribunal
from app.client.blocking import blocking
from app.client.bodies_in import JudgeRequest
from app.client.portal import in_caller
from app.gate.outputs import Answered, Outputs, side_by_side
from app.gate.results import About, GateResult, Question, Run, posted, weighed
from app.gate.wording import explanation

_MOST_AT_ONCE: Final = 256
ItemT = TypeVar("ItemT")


async def check_preferred_async(
    client: AsyncTribunal, new: Outputs, old: Outputs, question: Question
) -> GateResult:
    """Judge two models' outputs on the same prompts, and say whether the new one is preferred.

    Args:
        client: An open client.
        new: Outputs of the new model: a file, rows in AlpacaEval's form, or a mapping.
        old: Outputs of the old one on the same prompts.
        question: What is asked, and how sure the answer must be.

    Raises:
        OutputsInvalid: the outputs cannot be read, or are not of the same prompts.
        TribunalClientError: the service refuses, or cannot be reached.
        ValueError: the certificate does not bound what is asked.
    """
    answered = await in_caller(side_by_side, new, old)
    certificate, known = None, []
    if question.calibration is not None:
        certificate = await client.calibration(question.calibration)
        question.refuse_unless_promised(certificate)
        asked = client.calibrations.known_prompts
        known = [
            (await asked(question.calibration, prompts))["known"] for prompts in _prompts(answered)
        ]
    fresh = _fresh(answered, known)
    answers = [await client.judge(pairs, **_authority(question)) for pairs in _differing(fresh)]
    return await in_caller(weighed, answered, fresh, question, Run(answers, certificate))


check_preferred = blocking(check_preferred_async)


def _prompts(answered: Sequence[Answered]) -> Iterator[Sequence[str]]:
    return _requests([one.prompt for one in answered])


def _fresh(answered: Sequence[Answered], known: Sequence[Sequence[bool]]) -> list[Answered]:
    """Leave out what the certificate knows, also where both outputs are the same text.

    If only the differing ones were left out, too many ties would stay.
    """
    if not known:
        return list(answered)
    is_known = chain.from_iterable(known)
    return [one for one, is_out in zip(answered, is_known, strict=True) if not is_out]


def _differing(fresh: Sequence[Answered]) -> Iterator[list[dict[str, Any]]]:
    """Yield the pairs to judge, one request at a time."""
    return _requests([posted(one) for one in fresh if not one.is_identical])


def _requests(items: list[ItemT]) -> Iterator[list[ItemT]]:
    for start in range(0, len(items), _MOST_AT_ONCE):
        yield items[start : start + _MOST_AT_ONCE]


def _authority(question: Question) -> JudgeRequest:
    if question.calibration is not None:
        return {"calibration": question.calibration}
    return {"cascade": question.cascade or ""}


class NotPassed(AssertionError):
    """A gate did not pass; `result` says why."""

    def __init__(self, result: GateResult) -> None:
        super().__init__(explanation(result.as_json()))
        self.result = result


class NotPreferred(NotPassed):
    """The new model is not preferred to the old one."""


class NotEnoughEvidence(NotPassed):
    """The outputs do not decide whether the new model is preferred."""


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
    """Assert that the judges, and by their certificate people, prefer the new model's outputs.

    Pairs whose prompts the certificate knows are left out and counted: it promises nothing there.

    Args:
        new: Outputs of the new model: a file, rows in AlpacaEval's form, or a mapping from prompt
            to output.
        old: Outputs of the old model on the same prompts.
        calibration: Id of the certificate under which the outputs are judged.
        cascade: Instead, without a promise: a configured cascade.
        min_win: The win rate that the new model needs.
        alpha: Largest probability of passing, or of failing, wrongly.
        about: `verdicts`, or `people`: with the errors that the certificate allows taken off.
        tribunal: An open client, or the address of a server; the service in this process by
            default.

    Returns:
        The result, which passed.

    Raises:
        NotPreferred: the new model is not preferred.
        NotEnoughEvidence: the outputs do not decide it, or the promise is suspended.
        OutputsInvalid: the outputs cannot be read, or are not of the same prompts.
        TribunalClientError: the service refuses, or cannot be reached.
        ValueError: the question contradicts itself, or a number is outside its range.
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
    """Return a result that passed, and raise any other."""
    if result.outcome == "failed":
        raise NotPreferred(result)
    if result.outcome == "not_enough_evidence":
        raise NotEnoughEvidence(result)
    return result
