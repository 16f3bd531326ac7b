"""Has the outputs of two models judged: on prompts that are new to the certificate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, TypeVar

from app.client import AsyncTribunal, Tribunal
from app.client.requests import JudgeRequest
from app.gate.outputs import Answered, Outputs, side_by_side
from app.gate.results import GateResult, Question
from app.gate.weighing import Run, posted, weighed

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
