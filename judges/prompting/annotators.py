"""Query simulated annotators, with optional early stopping.

A judge that stops early has its own fingerprint. Its score is a fixed function of the pair, so a
certificate based on its scores is as valid as any other judge's. `replay` computes the effect of
early stopping from the stored scores of a judge that queries all annotators.
"""

from __future__ import annotations

import asyncio
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
        confidence: Skip the rest if the mean probability of one response reaches this value.
    """

    annotators: int
    confidence: float


def first_annotators(n: int, early: EarlyStop | None) -> int:
    """Return how many of `n` annotators are queried in any case."""
    return n if early is None else min(early.annotators, n)


async def ask_annotators(n: int, ask: Ask, early: EarlyStop | None) -> list[AnnotatorAnswers]:
    """Query `n` annotators concurrently; with `early`, query the first few before the rest."""
    first = first_annotators(n, early)
    answers = await _asked(range(first), ask)
    if early is None or first == n or is_settled(answers, early):
        return answers
    return answers + await _asked(range(first, n), ask)


def is_settled(answers: Sequence[AnnotatorAnswers], early: EarlyStop) -> bool:
    """Return True if no further annotators are needed: confident enough, or one has failed."""
    mean = mean_of_answers(answers)
    return mean is None or max(mean.p_a, mean.p_b) >= early.confidence


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
    begun, whole = by_annotator[:, :first].mean(axis=1), by_annotator.mean(axis=1)
    is_enough = np.round(np.maximum(begun, 1 - begun), 12) >= early.confidence
    said: FloatArray = np.round(np.where(is_enough, begun, whole), 12)
    return said, np.where(is_enough, first, by_annotator.shape[1]).astype(np.int64)


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
        "annotators": len(sets),
        **({"early_stop": asdict(asked.early_stop)} if asked.early_stop else {}),
        "examples": examples_hash(sets),
    }


def prompt_notes(template: PromptTemplate, sets: ExampleSets) -> dict[str, Any]:
    """Return the descriptive prompt settings, for display."""
    return {
        "template": template.name,
        "template_version": template.version,
        "template_labels": list(template.labels),
        "template_variables": template.variables,
        "examples": len(sets[0]),
    }
