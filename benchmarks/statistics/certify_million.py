"""Certification on a million labelled pairs, against sorting one column of confidences."""

from __future__ import annotations

import numpy as np

from benchmarks.measuring import Baseline, Benchmark, Contender
from benchmarks.statistics.made_sample import COSTS, TARGET_RISK, MadeSample, made_sample
from calibration import Certificate, certify_cascade, decide
from calibration.arrays import IntArray


def prepare(*, is_small: bool) -> Benchmark:
    """Draw the pairs for three judges, and 300 unlabelled ones that fix where tests start."""
    n = 2_000 if is_small else 1_000_000
    sample = made_sample(n, np.random.default_rng(3))

    def ours() -> Certificate:
        return certify_cascade(
            sample.confidence,
            sample.correct,
            costs=COSTS,
            target_risk=TARGET_RISK,
            pool=sample.pool,
            rng=np.random.default_rng(4),
        )

    return Benchmark(
        f"certify {n:,} pairs x 3 judges",
        Baseline(
            "stable argsort of one confidence column",
            lambda: np.argsort(sample.confidence[:, 0], kind="stable"),
        ),
        (
            Contender(
                "certify_cascade",
                ours,
                lambda certificate, order: agrees(certificate, order, sample),
                wanted=20,
            ),
        ),
    )


def agrees(certificate: Certificate, order: IntArray, sample: MadeSample) -> bool:
    """The first judge answers as many pairs as its sorted confidences hold above its threshold."""
    answered_by = decide(sample.confidence, certificate.thresholds)
    ranked = sample.confidence[order, 0]
    above = len(ranked) - np.searchsorted(ranked, certificate.thresholds[0], side="left")
    return certificate.is_certified and int((answered_by == 0).sum()) == int(above)
