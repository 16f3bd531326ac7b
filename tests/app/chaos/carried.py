"""A world in which a dear judge carries a cheap one, and what outages and budgets do to a run there.

The cheap judge errs more often than the target where it is sure, the dear judge rarely, so that only
both together keep the promise. Short pairs are the harder ones: whoever admits what is cheap first
admits what is often wrong. Risks are the populations' own, never estimated from labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.batches.worker.spending import covered, expected
from app.core.models import Batch
from app.judgments.promise import AnswerCounts, suspended_because
from calibration.arrays import BoolArray, FloatArray
from calibration.cascade import decide
from calibration.certify import certify_cascade

BudgetMode = Literal["hard", "soft"]

TARGET_RISK, FAILURE_PROBABILITY = 0.2, 0.1
LABELS = 1_000
COSTS = (1.0, 100.0)
# of the dear judge, on an ordinary day
_ORDINARY_FAILURES = 0.03
_NAMES = ("cheap", "dear")
_SHARD = 100


class Pairs(NamedTuple):
    """Confidences and probabilities of disagreeing with people, shape (n, 2); lengths, shape (n,)."""

    confidence: FloatArray
    error_probability: FloatArray
    length: FloatArray


class Given(NamedTuple):
    """What a run gives as certified: the share of its pairs, and their risk (nan for none)."""

    share: float
    risk: float

    @property
    def is_broken(self) -> bool:
        """Whether the promise is broken."""
        return self.share > 0 and self.risk >= TARGET_RISK


def draw(n: int, rng: np.random.Generator) -> Pairs:
    """Draw pairs independently."""
    is_sure = rng.uniform(size=n) < 0.5
    confidence = 0.6 + 0.4 * rng.uniform(size=(n, 2))
    confidence[~is_sure, 0] = 0.5 + 0.05 * rng.uniform(size=int((~is_sure).sum()))
    confidence[rng.uniform(size=n) < _ORDINARY_FAILURES, 1] = np.nan
    is_hard = rng.uniform(size=n) < 0.5
    cheap = np.where(is_sure, np.where(is_hard, 0.34, 0.18), 0.42)
    dear = np.where(is_hard, 0.08, 0.04)
    length = rng.lognormal(np.where(is_hard, -0.5, 0.5), 0.3)
    return Pairs(confidence, np.stack([cheap, dear], axis=1), length)


@dataclass(frozen=True, slots=True, eq=False)
class Certified:
    """Thresholds from freshly drawn labels, and how the judges turned up for them."""

    thresholds: FloatArray
    calibrated: dict[str, dict[str, Any]]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Certified:
        """Draw calibration pairs with labels, and certify."""
        pairs = draw(LABELS, rng)
        wrong = rng.uniform(size=(LABELS, 1)) < pairs.error_probability
        certificate = certify_cascade(
            pairs.confidence,
            1.0 - wrong,
            costs=COSTS,
            target_risk=TARGET_RISK,
            failure_probability=FAILURE_PROBABILITY,
            rng=rng,
        )
        thresholds = certificate.thresholds
        seen = answer_counts(pairs.confidence, thresholds)
        calibrated = {
            name: {"asked": seen.asked[name], "failed": seen.failed[name], "manners": {}}
            for name in _NAMES
        }
        return cls(thresholds, calibrated)

    @property
    def leans_on_both(self) -> bool:
        """Whether the cheap judge answers, so that the dear one has something to carry."""
        return bool(np.isfinite(self.thresholds).all())

    def is_suspended(self, confidence: FloatArray) -> bool:
        """Whether the service suspends a run with these confidences, nan where a judge failed."""
        seen = answer_counts(confidence, self.thresholds)
        return suspended_because(self.calibrated, seen) is not None


def answer_counts(confidence: FloatArray, thresholds: FloatArray) -> AnswerCounts:
    """Count as the service does: a judge is asked where it may answer and nobody before it did."""
    return AnswerCounts.of(_tiers(row, thresholds) for row in confidence)


def _tiers(confidence: FloatArray, thresholds: FloatArray) -> list[dict[str, Any]]:
    tiers: list[dict[str, Any]] = []
    for name, sure, threshold in zip(_NAMES, confidence, thresholds, strict=True):
        if threshold == np.inf:
            continue
        has_failed = bool(np.isnan(sure))
        failure = {"kind": "server_error", "detail": ""} if has_failed else None
        tiers.append({"judge": name, "failure": failure, "flags": []})
        if sure >= threshold:
            break
    return tiers


def given(pairs: Pairs, answered_by: NDArray[np.int64]) -> Given:
    """Return share and risk of the verdicts that are given; -1 for none."""
    is_given = answered_by >= 0
    if not is_given.any():
        return Given(0.0, np.nan)
    risks = np.take_along_axis(pairs.error_probability, np.maximum(answered_by, 0)[:, None], 1)
    return Given(float(is_given.mean()), float(risks[is_given].mean()))


NOTHING = Given(0.0, np.nan)


class Outcome(NamedTuple):
    """One run under three rules.

    `kept`: ours. `cheap_stands`: who cannot ask the dear judge abstains, all other verdicts count as
    certified. `cheap_answers`: the cheap judge answers instead.
    """

    kept: Given
    cheap_stands: Given
    cheap_answers: Given


def under_outage(
    certified: Certified, pairs: Pairs, share: float, rng: np.random.Generator
) -> Outcome:
    """Let a share of the calls to the dear judge fail."""
    confidence = pairs.confidence.copy()
    is_away = rng.uniform(size=len(confidence)) < share
    confidence[is_away, 1] = np.nan
    answered_by = decide(confidence, certified.thresholds)
    stands = given(pairs, answered_by)
    is_left = (answered_by < 0) & np.isnan(confidence[:, 1])
    answers = given(pairs, np.where(is_left, 0, answered_by))
    kept = NOTHING if certified.is_suspended(confidence) else stands
    return Outcome(kept, stands, answers)


def under_budget(
    certified: Certified,
    pairs: Pairs,
    share: float,
    rng: np.random.Generator,
    mode: BudgetMode = "hard",
) -> Outcome:
    """Give a run a share of the money that it would spend in full."""
    answered_by = decide(pairs.confidence, certified.thresholds)
    way = np.array(COSTS) * np.isfinite(certified.thresholds)
    costs = pairs.length[:, None] * way
    spent = np.where(answered_by == 0, costs[:, 0], costs.sum(axis=1))
    budget = share * float(spent.sum())
    order = rng.permutation(len(spent))
    is_admitted = admitted(costs.sum(axis=1), spent, budget, order, mode)
    # the naive way asks everybody the cheap judge, and the dear one in the order of the input
    left = budget - float(costs[:, 0].sum())
    is_paid = np.cumsum(np.where(answered_by == 0, 0.0, costs[:, 1])) <= left
    is_broke = (answered_by != 0) & ~is_paid
    return Outcome(
        given(pairs, np.where(is_admitted, answered_by, -1)),
        given(pairs, np.where(is_broke, -1, answered_by)),
        given(pairs, np.where(is_broke, 0, answered_by)),
    )


def admitted(
    way_up: FloatArray,
    spent: FloatArray,
    budget: float,
    order: NDArray[np.int64],
    mode: BudgetMode,
) -> BoolArray:
    """Let the service's own rule admit pairs in a random order until the next one is not covered.

    To go on with shorter pairs would admit them for being short, which is not at random.
    """
    batch = Batch(budget_usd=budget, budget_mode=mode, spent_usd=0.0, reserved_usd=0.0, totals={})
    is_admitted = np.zeros(len(way_up), dtype=bool)
    for first in range(0, len(order), _SHARD):
        waiting = order[first : first + _SHARD]
        while len(waiting):
            count, _ = covered(batch, expected(batch, way_up[waiting]))
            if not count:
                return is_admitted
            is_admitted[waiting[:count]] = True
            batch.spent_usd += float(spent[waiting[:count]].sum())
            waiting = waiting[count:]
        # what pairs have cost is known of whole shards
        done = {"pairs": int(is_admitted.sum()), "sum": batch.spent_usd}
        batch.totals = {"costs": done}
    return is_admitted
