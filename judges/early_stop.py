"""Asking all simulated annotators only where the first of them leave a doubt.

The result is a judge of its own, with a fingerprint of its own: what it says of a pair is a fixed
function of the pair, so a certificate made on its scores holds as for any other judge. Where the
scores of the judge that always asks everybody are stored, `replay` says what stopping would have
cost and saved before anybody is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.arrays import FloatArray, IntArray
from judges.answers import AnnotatorAnswers, mean_of_answers

Ask = Callable[[int], Coroutine[Any, Any, AnnotatorAnswers]]


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """When the first annotators are enough.

    Attributes:
        annotators: How many are asked first.
        confidence: Their mean probability of one response from which on the others are not asked.
    """

    annotators: int
    confidence: float


async def ask_annotators(n: int, ask: Ask, early: EarlyStop | None) -> list[AnnotatorAnswers]:
    """Ask `n` annotators, all at once or, with `early`, the first of them first."""
    first = n if early is None else min(early.annotators, n)
    answers = await _asked(range(first), ask)
    if early is None or first == n or is_settled(answers, early):
        return answers
    return answers + await _asked(range(first, n), ask)


def is_settled(answers: Sequence[AnnotatorAnswers], early: EarlyStop) -> bool:
    """Whether nobody else need be asked: the answers are sure, or one has failed already."""
    mean = mean_of_answers(answers)
    return mean is None or max(mean.p_a, mean.p_b) >= early.confidence


def replay(annotators: npt.ArrayLike, early: EarlyStop) -> tuple[FloatArray, IntArray]:
    """Return what a judge would have said if it had stopped early, and whom it would have asked.

    Args:
        annotators: Preferences for a, shape (n pairs, N annotators, orders).
        early: When to stop.

    Returns:
        Mean preference for a to 12 decimals, shape (n,), and annotators asked, shape (n,).
    """
    by_annotator = np.asarray(annotators, dtype=np.float64).mean(axis=2)
    first = min(early.annotators, by_annotator.shape[1])
    begun, whole = by_annotator[:, :first].mean(axis=1), by_annotator.mean(axis=1)
    is_enough = np.round(np.maximum(begun, 1 - begun), 12) >= early.confidence
    said: FloatArray = np.round(np.where(is_enough, begun, whole), 12)
    return said, np.where(is_enough, first, by_annotator.shape[1]).astype(np.int64)


async def _asked(which: Iterable[int], ask: Ask) -> list[AnnotatorAnswers]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(number)) for number in which]
    return [task.result() for task in tasks]
