"""Asking the first annotators first: the same answers, fewer of them, still antisymmetric."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.base import JudgeSpec
from judges.prompting.annotators import EarlyStop, ask_annotators, replay
from judges.prompting.answers import AnnotatorAnswers, Answer, score_of_answers
from judges.prompting.label_tokens import LabelProbabilities
from judges.types import FailureKind, JudgeFailure, Score

SPEC = JudgeSpec("j", "openai", "m", {})
probability = st.floats(0, 1, allow_nan=False)


def answers(p_first: float, p_second: float) -> AnnotatorAnswers:
    """One annotator's preference for a, with a shown first and with a shown second."""
    said = [(p_first, 1 - p_first), (1 - p_second, p_second)]
    return AnnotatorAnswers.of_orders([Answer(LabelProbabilities(one, 0.0)) for one in said])


async def asked(rows: list[tuple[float, float]], early: EarlyStop | None) -> Score:
    async def ask(annotator: int) -> AnnotatorAnswers:
        return answers(*rows[annotator])

    return score_of_answers(SPEC, await ask_annotators(len(rows), ask, early))


@given(
    st.lists(st.tuples(probability, probability), min_size=1, max_size=5),
    st.integers(1, 4),
    st.floats(0.51, 1),
)
async def test_a_judge_that_stops_early_says_what_the_replay_says(
    rows: list[tuple[float, float]], first: int, confidence: float
) -> None:
    early = EarlyStop(first, confidence)
    score = await asked(rows, early)
    said, number = replay([rows], early)
    begun = np.mean(rows[:first])
    if abs(max(begun, 1 - begun) - confidence) > 1e-9:  # else the last digit decides
        assert len(score.annotators) == number[0]
        assert score.p_a == pytest.approx(said[0], abs=1e-11)
    mirrored = await asked([(1 - second, 1 - first) for first, second in rows], early)
    assert len(mirrored.annotators) == len(score.annotators)
    assert mirrored.p_a == pytest.approx(1 - (score.p_a or 0), abs=1e-11)


@given(
    st.lists(st.tuples(probability, probability), min_size=3, max_size=5),
    st.none() | st.floats(0.51, 1),
    st.floats(0.1, 4),
)
async def test_one_by_one_says_what_the_replay_says_and_mirrors(
    rows: list[tuple[float, float]], confidence: float | None, z: float
) -> None:
    # on the judge's own grid, so that the last digit decides alike
    rows = [(round(first, 3), round(second, 3)) for first, second in rows]
    early = EarlyStop(2, confidence, round(z, 2))
    score = await asked(rows, early)
    said, number = replay([rows], early)
    mirrored = await asked([(1 - second, 1 - first) for first, second in rows], early)
    assert len(mirrored.annotators) == len(score.annotators)
    assert mirrored.p_a == pytest.approx(1 - (score.p_a or 0), abs=1e-11)
    assert len(score.annotators) == number[0]
    assert score.p_a == pytest.approx(said[0], abs=1e-11)


async def test_one_by_one_stops_where_nothing_can_change() -> None:
    alike = [(0.9, 0.9), (0.9, 0.9), (0.1, 0.1)]
    assert len((await asked(alike, EarlyStop(2, 0.8, 2.0))).annotators) == 2
    # sure of the side, not of the threshold
    near = [(0.9, 0.9), (0.72, 0.72), (0.9, 0.9), (0.9, 0.9), (0.9, 0.9)]
    assert len((await asked(near, EarlyStop(2, 0.8, 2.0))).annotators) > 2
    assert len((await asked(near, EarlyStop(2, None, 2.0))).annotators) == 2
    # far below the threshold is settled as well
    low = [(0.6, 0.6), (0.61, 0.61), (0.6, 0.6), (0.6, 0.6), (0.6, 0.6)]
    assert len((await asked(low, EarlyStop(2, 0.8, 2.0))).annotators) == 2
    doubt = [(0.9, 0.9), (0.2, 0.2), (0.8, 0.8), (0.3, 0.3), (0.5, 0.5)]
    assert len((await asked(doubt, EarlyStop(2, 0.8, 2.0))).annotators) >= 4


def test_a_replay_in_two_steps_needs_a_confidence() -> None:
    with pytest.raises(ValueError, match="confidence"):
        replay([[(0.5, 0.5)]], EarlyStop(1, None))


async def test_everybody_is_asked_where_the_first_are_in_doubt() -> None:
    rows = [(0.9, 0.9), (0.2, 0.2), (0.9, 0.9)]
    assert len((await asked(rows, EarlyStop(2, 0.8))).annotators) == 3
    assert len((await asked(rows, EarlyStop(1, 0.8))).annotators) == 1
    assert len((await asked(rows, None)).annotators) == 3


async def test_after_a_failure_nobody_else_is_asked() -> None:
    failed = Answer(JudgeFailure(FailureKind.TIMEOUT))
    numbers: list[int] = []

    async def ask(annotator: int) -> AnnotatorAnswers:
        numbers.append(annotator)
        return AnnotatorAnswers(failed, failed)

    assert len(await ask_annotators(5, ask, EarlyStop(2, 0.9))) == 2
    assert numbers == [0, 1]
