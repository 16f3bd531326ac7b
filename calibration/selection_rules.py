"""Ways of choosing a cascade's thresholds, from none at all to a certificate, to be compared.

The baselines are those of Jung, Brahman and Choi, "Trust or Escalate" (ICLR 2025): ask the
strongest judge about everything; trust a stated confidence as if it were a probability; or choose
the thresholds whose risk on the labels meets the target, without a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from calibration.arrays import FloatArray, IntArray
from calibration.certify import certify_cascade
from calibration.errors import UnavailableMethod
from calibration.preparation import METHODS
from calibration.sample import Sample

DEFAULT_RULES: Final = (
    "no_selection",
    "heuristic",
    "cascaded_heuristic",
    "point_estimate",
    "published_code",
    "auto",
)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What a rule may look at.

    Attributes:
        sample: The labelled pairs of the calibration side.
        pool: Confidences of pairs of other groups, shape (m, k), nan where a judge failed; nobody's
            labels. None: there are none.
        target_risk: Largest share of disagreeing verdicts that is wanted.
        declared: What else a certificate is made with: costs, failure probability, bounds.
    """

    sample: Sample
    pool: FloatArray | None
    target_risk: float
    declared: Mapping[str, Any]


Rule = Callable[[Labels, np.random.Generator], FloatArray]


def rule_of(name: str) -> Rule:
    """Return the rule of this name: a baseline, or a method of `certify_cascade`.

    A rule takes labels and a source of chance, and returns thresholds, shape (k,).

    Raises:
        UnavailableMethod: There is no such rule.
    """
    if name in BASELINES:
        return BASELINES[name]
    if name not in METHODS:
        offered = ", ".join((*BASELINES, *METHODS))
        raise UnavailableMethod(f"rule {name!r} is not offered; there are {offered}")
    return lambda labels, rng: _certified(name, labels, rng)


def _no_selection(labels: Labels, _: np.random.Generator) -> FloatArray:
    """The last judge answers whatever its confidence is."""
    return _last_alone(labels.sample.n_judges, 0.0)


def _heuristic(labels: Labels, _: np.random.Generator) -> FloatArray:
    """The last judge answers where its own confidence reaches the target agreement."""
    return _last_alone(labels.sample.n_judges, 1.0 - labels.target_risk)


def _cascaded_heuristic(labels: Labels, _: np.random.Generator) -> FloatArray:
    """Every judge answers where its own confidence reaches the target agreement."""
    return np.full(labels.sample.n_judges, 1.0 - labels.target_risk)


def _point_estimate(labels: Labels, _: np.random.Generator) -> FloatArray:
    """Judge after judge, the lowest threshold whose risk on the labels left meets the target."""
    sample = labels.sample
    stakes = np.ones(sample.n) if sample.stakes is None else sample.stakes
    thresholds = np.full(sample.n_judges, np.inf)
    left: IntArray = np.arange(sample.n)
    for judge in range(sample.n_judges):
        scores = sample.confidence[left, judge]
        risky = stakes[left] * sample.loss[left, judge]
        thresholds[judge] = _lowest_within(scores, risky, stakes[left], labels.target_risk)
        left = left[~(scores >= thresholds[judge])]
    return thresholds


def _certified(method: str, labels: Labels, rng: np.random.Generator) -> FloatArray:
    """What the certificate of a method would deploy."""
    sample = labels.sample
    is_scored = sample.confidence > -np.inf
    certificate = certify_cascade(
        np.where(is_scored, sample.confidence, np.nan),
        1.0 - sample.loss,
        target_risk=labels.target_risk,
        groups=sample.group,
        weights=sample.weight,
        exposure=sample.exposure,
        pool=labels.pool,
        method=method,  # type: ignore[arg-type]
        rng=rng,
        **labels.declared,
    )
    return certificate.thresholds


def _last_alone(n_judges: int, threshold: float) -> FloatArray:
    thresholds = np.full(n_judges, np.inf)
    thresholds[-1] = threshold
    return thresholds


def _lowest_within(
    scores: FloatArray, lost: FloatArray, stakes: FloatArray, target_risk: float
) -> float:
    """The lowest score down to which the share lost is at most the target; +inf if there is none."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > -np.inf]
    ranked = scores[order]
    is_end_of_ties = np.append(ranked[1:] < ranked[:-1], True)[: ranked.size]
    share = np.cumsum(lost[order]) / np.cumsum(stakes[order])
    within = np.flatnonzero(is_end_of_ties & (share <= target_risk))
    return float(ranked[within[-1]]) if within.size else np.inf


BASELINES: Final[Mapping[str, Rule]] = {
    "no_selection": _no_selection,
    "heuristic": _heuristic,
    "cascaded_heuristic": _cascaded_heuristic,
    "point_estimate": _point_estimate,
}
