"""Query simulated annotators, with optional early stopping.

A judge that stops early has its own fingerprint. Its score is a fixed function of the pair, so a
certificate based on its scores is as valid as any other judge's. `replay` computes the effect of
early stopping from the stored scores of a judge that queries all annotators.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from calibration.arrays import FloatArray, IntArray
from judges.prompting.answers import AnnotatorAnswers, mean_of_answers
from judges.prompting.examples import ExampleSets, examples_hash
from judges.prompting.templates import PromptTemplate

Ask = Callable[[int], Coroutine[Any, Any, AnnotatorAnswers]]


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """Condition for skipping the remaining annotators.

    Attributes:
        annotators: Number of annotators to query first.
        confidence: Skip the rest if the mean probability of one response reaches this value; None
            with `z` alone.
        z: None: two steps, the first annotators and then all others. Else they are queried one by
            one, and the rest is skipped once neither the side of the mean nor its side of
            `confidence` can change by more than z s_j sqrt(1/j - 1/N), where s_j is the standard
            deviation of the j annotators so far: the standard error of their mean about the mean
            of all N, which are drawn without replacement (Cochran 1977, theorem 2.2).
    """

    annotators: int
    confidence: float | None
    z: float | None = None


def first_annotators(n: int, early: EarlyStop | None) -> int:
    """Return how many of `n` annotators are queried in any case."""
    return n if early is None else min(early.annotators, n)


async def ask_annotators(
    n: int,
    ask: Ask,
    early: EarlyStop | None,
    prepare: Callable[[Sequence[int]], None] | None = None,
) -> list[AnnotatorAnswers]:
    """Query `n` annotators concurrently; with `early`, query the first few before the rest.

    `prepare` is called with those that are queried next, before any of them is.
    """
    answers: list[AnnotatorAnswers] = []
    until = first_annotators(n, early)
    while True:
        which = range(len(answers), until)
        if prepare is not None:
            prepare(which)
        answers += await _asked(which, ask)
        if early is None or len(answers) >= n or is_settled(answers, early, n):
            return answers
        until = n if early.z is None else len(answers) + 1


def is_settled(answers: Sequence[AnnotatorAnswers], early: EarlyStop, n: int) -> bool:
    """Return True if no further annotators of `n` are needed, or one has failed."""
    mean = mean_of_answers(answers)
    if mean is None:
        return True
    confidence = max(mean.p_a, mean.p_b)
    if early.z is None:
        return early.confidence is not None and confidence >= early.confidence
    alone = [one for one in (mean_of_answers([each]) for each in answers) if one is not None]
    ahead = [one.p_a - one.p_b for one in alone]
    margin = _margin(ahead, n, early.z)
    return bool(
        _cannot_change(np.array(math.fsum(ahead) / len(ahead)), np.array(confidence), margin, early)
    )


def _margin(ahead: Sequence[float], n: int, z: float) -> FloatArray:
    """Return by how much the mean of the lead of a may change once all `n` are asked."""
    j = len(ahead)
    middle = math.fsum(ahead) / j
    spread = math.sqrt(math.fsum((one - middle) ** 2 for one in ahead) / max(j - 1, 1))
    return np.array(z * spread * math.sqrt(1 / j - 1 / n))


def _cannot_change(
    lead: FloatArray, confidence: FloatArray, margin: FloatArray, early: EarlyStop
) -> npt.NDArray[np.bool_]:
    """Return where neither the side of the lead nor that of the confidence can change."""
    is_fixed = np.asarray(np.round(np.abs(lead) - margin, 12) > 0)
    if early.confidence is None:
        return is_fixed
    # a lead of d is a confidence of (1 + d) / 2
    low, high = (np.round(confidence + sign * margin / 2, 12) for sign in (-1, 1))
    is_sure = np.asarray((low >= early.confidence) | (high < early.confidence))
    return is_fixed & is_sure


def replay(annotators: npt.ArrayLike, early: EarlyStop) -> tuple[FloatArray, IntArray]:
    """Compute the scores and the annotators queried under early stopping.

    Args:
        annotators: Preferences for a, shape (n pairs, N annotators, orders).
        early: The stopping condition.

    Returns:
        Mean preference for a to 12 decimals, shape (n,), and annotators queried, shape (n,).
    """
    by_annotator = np.asarray(annotators, dtype=np.float64).mean(axis=2)
    first = min(early.annotators, by_annotator.shape[1])
    if early.z is not None:
        return _replay_one_by_one(by_annotator, first, early)
    if early.confidence is None:
        raise ValueError("two steps need a confidence")
    first_ones, whole = by_annotator[:, :first].mean(axis=1), by_annotator.mean(axis=1)
    is_enough = np.round(np.maximum(first_ones, 1 - first_ones), 12) >= early.confidence
    said: FloatArray = np.round(np.where(is_enough, first_ones, whole), 12)
    return said, np.where(is_enough, first, by_annotator.shape[1]).astype(np.int64)


def _replay_one_by_one(
    by_annotator: FloatArray, first: int, early: EarlyStop
) -> tuple[FloatArray, IntArray]:
    n, most = by_annotator.shape
    asked = np.full(n, most, dtype=np.int64)
    for j in range(most - 1, first - 1, -1):
        first_ones = by_annotator[:, :j]
        mean = first_ones.mean(axis=1)
        spread = 2 * first_ones.std(axis=1, ddof=1) if j > 1 else np.zeros(n)
        margin = (early.z or 0.0) * spread * math.sqrt(1 / j - 1 / most)
        asked[_cannot_change(2 * mean - 1, np.maximum(mean, 1 - mean), margin, early)] = j
    said = np.array([row[:j].mean() for row, j in zip(by_annotator, asked, strict=True)])
    return np.round(said, 12), asked


async def _asked(which: Iterable[int], ask: Ask) -> list[AnnotatorAnswers]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(number)) for number in which]
    return [task.result() for task in tasks]


class Asked(Protocol):
    """The prompting settings that all back ends share."""

    @property
    def orders(self) -> str:
        """Response orders: both, or as posted."""
        ...

    @property
    def confidence(self) -> str:
        """Source of the confidence."""
        ...

    @property
    def early_stop(self) -> EarlyStop | None:
        """Early-stopping condition, or None to query all annotators."""
        ...


def scored_by_prompt(asked: Asked, template: PromptTemplate, sets: ExampleSets) -> dict[str, Any]:
    """Return the prompt settings that affect scores, for the fingerprint."""
    return {
        "template": template.content_hash,
        "labels": list(template.labels),
        **({} if template.criterion is None else {"criterion": template.criterion}),
        "orders": asked.orders,
        "confidence": asked.confidence,
        **({} if template.scale is None else {"scale": list(template.scale.values)}),
        "annotators": len(sets),
        **({"early_stop": _early_stop(asked.early_stop)} if asked.early_stop else {}),
        "examples": examples_hash(sets),
    }


def _early_stop(early: EarlyStop) -> dict[str, Any]:
    """Return the condition, without what it had not at first."""
    return {name: value for name, value in asdict(early).items() if name != "z" or early.z}


def prompt_notes(template: PromptTemplate, sets: ExampleSets) -> dict[str, Any]:
    """Return the descriptive prompt settings, for display."""
    return {
        "template": template.name,
        "template_version": template.version,
        "template_labels": list(template.labels),
        "template_variables": template.variables,
        "examples": len(sets[0]),
    }
