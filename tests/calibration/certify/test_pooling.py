"""Evidence of all judges, pooled as a last tier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import certify_cascade, decide
from calibration.errors import InvalidArgument
from calibration.preference import pooled_preference
from tests.calibration.certify.test_certify import certified, friendly

NAN = float("nan")


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=5))
def test_swapping_the_responses_mirrors_the_pooled_preference(rows: Any) -> None:
    p_a = np.round(np.array(rows), 6)
    np.testing.assert_allclose(pooled_preference(1 - p_a), 1 - pooled_preference(p_a), atol=2e-12)


def test_pooled_preference_adds_log_odds() -> None:
    p_a = np.array([[0.8, 0.8], [0.9, NAN], [NAN, NAN], [1.0, 0.5], [0.999, 0.02]])
    odds = 16 / 1
    np.testing.assert_allclose(
        pooled_preference(p_a), [odds / (odds + 1), 0.9, NAN, 0.98, 0.5], atol=1e-12
    )


@pytest.mark.parametrize(
    ("p_a", "clip", "match"),
    [([0.5], 0.1, "p_a"), ([[1.5]], 0.1, "p_a"), ([[0.5]], 0.5, "clip"), ([[0.5]], 0.0, "clip")],
)
def test_bad_evidence_is_named(p_a: Any, clip: float, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        pooled_preference(p_a, clip=clip)


def test_pooled_evidence_is_a_last_tier_heard_after_everybody() -> None:
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.5, 0.7, (400, 2))
    correct = (rng.uniform(size=(400, 2)) < 0.5).astype(np.float64)
    pooled = np.stack([rng.uniform(0.8, 1, 400), np.ones(400)], axis=1)
    certificate = certify_cascade(
        scores,
        correct,
        target_risk=0.2,
        costs=[1, 10],
        pooled_evidence=pooled,
        pool=np.column_stack([scores, pooled[:, 0]]),
        method="strongest",
        rng=rng,
    )
    assert certificate.thresholds.shape == (3,)
    assert np.isfinite(certificate.thresholds[2])
    assert certificate.composition[2] == pytest.approx(certificate.coverage)
    assert certificate.cost_per_pair == pytest.approx(11)
    assert certificate.relative_cost == pytest.approx(1.1)
    answered = decide(np.column_stack([scores, pooled[:, 0]]), certificate.thresholds)
    assert (answered == 2).sum() == certificate.answered


def test_pooled_evidence_that_never_answers_costs_nothing() -> None:
    confidence, correct = friendly(400)
    pooled = np.full((400, 2), [NAN, 0.0])
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.2,
        costs=[0, 0, 0],
        pooled_evidence=pooled,
        rng=np.random.default_rng(0),
    )
    assert certificate.is_certified
    assert certificate.thresholds[3] == np.inf or certificate.composition[3] == 0
    assert certificate.relative_cost is None


@pytest.mark.parametrize("shape", [(400,), (399, 2), (400, 3)])
def test_pooled_evidence_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match="pooled_evidence must have shape"):
        certified(400, pooled_evidence=np.full(shape, 0.9))


def test_a_pool_must_have_the_pooled_tier_too() -> None:
    with pytest.raises(InvalidArgument, match="pool must have 4 columns"):
        certified(400, pooled_evidence=np.full((400, 2), 0.9))


def test_pooled_evidence_answers_more_where_judges_err_apart() -> None:
    rng = np.random.default_rng(4)
    truth = rng.uniform(size=(800, 1)) < 0.5
    votes = (rng.uniform(size=(800, 5)) < 0.75) == truth
    p_a = np.where(votes, 0.75, 0.25)
    pooled = pooled_preference(p_a)
    evidence = np.stack([np.maximum(pooled, 1 - pooled), (pooled > 0.5) == truth[:, 0]], axis=1)
    options: dict[str, Any] = {"target_risk": 0.15, "rng": rng}
    confidence, correct = np.full((800, 5), 0.75), (votes == truth).astype(np.float64)
    alone = certify_cascade(confidence, correct, **options)
    together = certify_cascade(confidence, correct, pooled_evidence=evidence, **options)
    assert not alone.is_certified
    assert together.coverage > 0.8
