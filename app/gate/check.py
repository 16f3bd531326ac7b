"""Assert_preferred.

NotPassed (AssertionError)
+-- NotPreferred         the new model is not preferred
+-- NotEnoughEvidence    the outputs at hand tell neither, or the promise is suspended
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any, Final, TypeVar

from app.client import AsyncTribunal, Tribunal
from app.client.bodies_in import JudgeRequest
from app.gate.outputs import Answered, Outputs, side_by_side
from app.gate.results import About, GateResult, Question, Run, posted, weighed
from app.gate.wording import explanation

_MOST_AT_ONCE: Final = 256
ItemT = TypeVar("ItemT")


def check_preferred(client: Tribunal, new: Outputs, old: Outputs, question: Question) -> GateResult:
    """Judge two models' outputs on the same prompts, and say whether the new one is preferred.

    Args:
        client: An open client.
        new: Outputs of the new model: a file, rows in the form of AlpacaEval, or a mapping.
        old: Outputs of the old one on the same prompts.
        question: What is asked, and how sure the answer must be.

    Raises:
        OutputsInvalid: the outputs cannot be read, or are not of the same prompts.
        TribunalClientError: the service refuses, or cannot be reached.
    """
    answered = side_by_side(new, old)
    certificate, known = None, []
    if question.calibration is not None:
        certificate = client.calibration(question.calibration)
        asked = client.calibrations.known_prompts
        known = [asked(question.calibration, prompts)["known"] for prompts in _prompts(answered)]
    fresh = _fresh(answered, known)
    answers = [client.judge(pairs, **_authority(question)) for pairs in _differing(fresh)]
    return weighed(answered, fresh, question, Run(answers, certificate))


async def check_preferred_async(
    client: AsyncTribunal, new: Outputs, old: Outputs, question: Question
) -> GateResult:
    """Do what `check_preferred` does, with a client whose methods are awaited."""
    answered = side_by_side(new, old)
    certificate, known = None, []
    if question.calibration is not None:
        certificate = await client.calibration(question.calibration)
        asked = client.calibrations.known_prompts
        known = [
            (await asked(question.calibration, prompts))["known"] for prompts in _prompts(answered)
        ]
    fresh = _fresh(answered, known)
    answers = [await client.judge(pairs, **_authority(question)) for pairs in _differing(fresh)]
    return weighed(answered, fresh, question, Run(answers, certificate))


def _prompts(answered: Sequence[Answered]) -> Iterator[Sequence[str]]:
    return _requests([one.prompt for one in answered])


def _fresh(answered: Sequence[Answered], known: Sequence[Sequence[bool]]) -> list[Answered]:
    """Leave out what the certificate knows, identical outputs too, or the rest would be unlike."""
    if not known:
        return list(answered)
    is_known = chain.from_iterable(known)
    return [one for one, is_out in zip(answered, is_known, strict=True) if not is_out]


def _differing(fresh: Sequence[Answered]) -> Iterator[list[dict[str, Any]]]:
    """Return what is to be judged, a request at a time."""
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
