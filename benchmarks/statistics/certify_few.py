"""Certification on a few hundred labelled pairs, against a direct grid and root search."""

from __future__ import annotations

import numpy as np
from scipy import stats

from benchmarks.measuring import Baseline, Benchmark, Contender
from benchmarks.statistics.grid_search import GridSearch, grid_search
from benchmarks.statistics.made_sample import COSTS, FAILURE_PROBABILITY, TARGET_RISK, made_sample
from benchmarks.statistics.memos import forget
from calibration import Certificate, certify_cascade, certify_preferences
from calibration.binomial import upper_bound


def prepare(*, is_small: bool) -> Benchmark:
    """Draw 500 pairs for three judges."""
    n, points = (200, 40) if is_small else (500, 5_000)
    sample = made_sample(n, np.random.default_rng(1))

    def direct() -> GridSearch:
        return grid_search(
            sample.confidence,
            sample.correct,
            target_risk=TARGET_RISK,
            failure_probability=FAILURE_PROBABILITY,
            n_points=points,
        )

    def ours() -> Certificate:
        return certify_cascade(
            sample.confidence,
            sample.correct,
            costs=COSTS,
            target_risk=TARGET_RISK,
            failure_probability=FAILURE_PROBABILITY,
            rng=np.random.default_rng(2),
        )

    p_a = np.where(sample.correct > 0, sample.confidence, 1 - sample.confidence)

    def together() -> Certificate:
        """Judges are heard together, on pairs of which people prefer the first response."""
        return certify_preferences(
            p_a,
            np.ones(n),
            costs=COSTS,
            target_risk=TARGET_RISK,
            failure_probability=FAILURE_PROBABILITY,
            rng=np.random.default_rng(2),
        )

    def warmed() -> None:
        """Fill the memos again, which the contender before has emptied."""
        together()

    return Benchmark(
        f"certify {n} pairs x 3 judges",
        Baseline(f"{points:,} thresholds, brentq on binom.cdf", direct),
        (
            Contender("certify_cascade, warm", ours, agrees, loops=20, wanted=0.001),
            Contender("certify_cascade, cold", ours, agrees, before=forget),
            Contender(
                "certify_preferences, warm", together, agrees, warmed, loops=20, wanted=0.0015
            ),
        ),
    )


def agrees(certificate: Certificate, search: GridSearch) -> bool:
    """The bounds of the grid are the library's, and the certificate's p-value is scipy's.

    The thresholds themselves differ: the direct search tests judge by judge.
    """
    expected = upper_bound(search.errors, search.answered, FAILURE_PROBABILITY)
    tail = stats.binom.cdf(certificate.disagreements, certificate.answered, TARGET_RISK)
    return (
        certificate.is_certified
        and bool(np.isfinite(search.thresholds).any())
        and np.allclose(search.bounds, expected, rtol=0, atol=1e-9)
        and bool(np.isclose(certificate.p_value, tail, rtol=1e-9))
    )
