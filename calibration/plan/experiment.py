"""Rules compared over many random splits, with Monte-Carlo intervals.

The experiment of Jung, Brahman and Choi, "Trust or Escalate" (ICLR 2025): draw a calibration side,
let every rule choose thresholds on it, see on the other side what they answer and how often people
agree. Splits are by group. All rules meet the same splits, so their rows can be compared.

A held-out side is small, and its agreement misses a target that the thresholds do meet now and then
by its own noise. Since the splits draw from one finite set of pairs, that set is the population of
which a calibration side is a sample, and the agreement on all of it is what a promise is about:
both are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import wilson_interval
from calibration.cascade import ABSTAINED, cascade_cost, checked_costs, decide
from calibration.errors import InvalidArgument, Rng, UnavailableMethod, as_generator
from calibration.estimate import Estimate
from calibration.plan.rules import DEFAULT_RULES, Labels, Rule, rule_of
from calibration.sample import Sample, checked_sample

# coverage, agreement, agreement on both sides, relative cost; then one share a judge
_NUMBERS = 4
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """Results of one rule at one target, averaged over splits, with Monte-Carlo intervals.

    The intervals say how far more splits of these pairs could move a number, not how far other
    pairs could.

    Attributes:
        rule: Which rule.
        target_risk: At which target.
        composition: Share of the held-out pairs that each judge answers, one a judge.
        coverage: Share of the held-out pairs that are answered.
        agreement: Agreement on what is answered; over the splits where anything is.
        success_rate: Share of splits whose held-out agreement reaches the target. A split where
            nothing is answered breaks no promise and counts as one.
        population_success_rate: The same for the agreement on all pairs of both sides.
        silent_rate: Share of splits in which no held-out pair is answered.
        relative_cost: Cost over that of asking the last judge about every pair; None where costs
            are unknown.
        unavailable: Why the rule could not be applied to these labels; its numbers are then empty.
    """

    rule: str
    target_risk: float
    composition: tuple[Estimate, ...]
    coverage: Estimate
    agreement: Estimate
    success_rate: Estimate
    population_success_rate: Estimate
    silent_rate: Estimate
    relative_cost: Estimate | None
    unavailable: str | None = None


def summarised(  # noqa: PLR0913 - what names a row, what it is made of, and how it is read
    rule: str,
    target_risk: float,
    outcomes: Sequence[FloatArray],
    *,
    n_judges: int,
    confidence_level: float,
    unavailable: str | None = None,
) -> RuleFigures:
    """Return the figures of a rule from what it did on every split.

    Args:
        rule: Which rule.
        target_risk: At which target.
        outcomes: One vector a split: coverage, agreement, agreement on both sides, relative cost
            (nan where costs are unknown), then the share that each judge answers.
        n_judges: Number of judges.
        confidence_level: Coverage of the intervals.
        unavailable: Why the rule could not be applied, if so.
    """
    rows = np.array(outcomes, dtype=np.float64).reshape(-1, _NUMBERS + n_judges)
    coverage, agreement, on_all, relative = rows[:, :_NUMBERS].T
    least, level = 1.0 - target_risk - _TOLERANCE, confidence_level
    return RuleFigures(
        rule=rule,
        target_risk=target_risk,
        composition=tuple(_mean(share, level) for share in rows[:, _NUMBERS:].T),
        coverage=_mean(coverage, level),
        agreement=_mean(agreement[np.isfinite(agreement)], level),
        success_rate=_share(~(agreement < least), level),
        population_success_rate=_share(~(on_all < least), level),
        silent_rate=_share(np.isnan(agreement), level),
        relative_cost=_mean(relative, level) if np.isfinite(relative).all() else None,
        unavailable=unavailable,
    )


def _mean(values: FloatArray, level: float) -> Estimate:
    """Return the mean over splits with Student's interval; none for fewer than two."""
    n = values.size
    if n < 2:
        return Estimate(float(values[0]) if n else None, None, None, level, n)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    half = float(scipy.stats.t.isf((1 - level) / 2, n - 1)) * spread / float(np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, level, n)


def _share(hits: BoolArray, level: float) -> Estimate:
    """Return the share of splits with Wilson's interval."""
    n = hits.size
    if not n:
        return Estimate(None, None, None, level, 0)
    low, high = wilson_interval(hits.sum(), n, level)
    return Estimate(float(hits.mean()), float(low), float(high), level, n)


# a pool fixes one or two quantiles: more pairs than this sharpen nothing, fewer are noise
_POOL_AT_MOST, _POOL_AT_LEAST = 1_000, 30


@dataclass(frozen=True, slots=True)
class Design:
    """The design of an experiment.

    Attributes:
        n_splits: Number of random splits.
        calibration_share: Share of the groups on the calibration side, in (0, 1).
        calibration_pairs: Instead: whole groups until this many pairs would be exceeded.
        confidence_level: Coverage of the Monte-Carlo intervals.
    """

    n_splits: int = 1_000
    calibration_share: float = 0.5
    calibration_pairs: int | None = None
    confidence_level: float = 0.95


@dataclass(frozen=True, slots=True)
class Experiment:
    """The figures of all rules at all targets, and how large the sides were.

    Attributes:
        figures: By target, then by rule, in the order given.
        n_splits: Number of splits.
        calibration_pairs: Mean number of pairs on the calibration side.
        test_pairs: Mean number of held-out pairs.
    """

    figures: tuple[RuleFigures, ...]
    n_splits: int
    calibration_pairs: float
    test_pairs: float


def compare_rules(  # noqa: PLR0913 - the arguments of `certify_cascade`, for many splits
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    target_risks: Sequence[float],
    rng: Rng,
    design: Design | None = None,
    rules: Sequence[str] = DEFAULT_RULES,
    costs: ArrayLike | None = None,
    failure_probability: float = 0.1,
    groups: ArrayLike | None = None,
    max_group_size: int | None = None,
    weights: ArrayLike | None = None,
    min_label_probability: float | None = None,
    exposure: ArrayLike | None = None,
) -> Experiment:
    """Let rules choose thresholds on random splits, and measure the outcomes.

    Args:
        confidence: Shape (n, k), judges from cheap to strong, nan where a judge failed.
        correct: Agreement with people, shape (n, k), 0/1 or a share.
        target_risks: Largest shares of disagreeing verdicts, each an experiment on the same splits.
        rng: Source of chance; every split has a stream of its own, whatever rules there are.
        design: How many splits, of what size.
        rules: Baselines (`no_selection`, `heuristic`, `cascaded_heuristic`, `point_estimate`) and
            methods of `certify_cascade`, which get the held-out confidences as their pool.
        costs: Cost of asking each judge, shape (k,); None: no relative cost is given.
        failure_probability: Probability with which a certificate may break its promise.
        groups: Shape (n,); a group is never split. Each pair is one by default.
        max_group_size: As for `certify_cascade`.
        weights: As for `certify_cascade`; the figures count pairs by them, too.
        min_label_probability: As for `certify_cascade`.
        exposure: As for `certify_cascade`.

    Raises:
        InvalidArgument: An array has the wrong shape, or a number is out of its range.
        UnavailableMethod: There is no rule of that name.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (400, 2))
        >>> correct = chance.uniform(size=(400, 2)) < confidence
        >>> found = compare_rules(
        ...     confidence,
        ...     correct,
        ...     target_risks=[0.2],
        ...     rules=["cascaded_heuristic", "auto"],
        ...     rng=0,
        ...     design=Design(n_splits=20),
        ... )
        >>> [(one.rule, one.success_rate.value, one.silent_rate.value) for one in found.figures]
        [('cascaded_heuristic', 1.0, 0.0), ('auto', 0.85, 0.0)]
    """
    design = design or Design()
    sample = checked_sample(confidence, correct, groups, weights, exposure)
    _check(design, sample, target_risks)
    if costs is not None:
        costs = checked_costs(costs, sample.n_judges)
    declared = {
        "costs": costs,
        "failure_probability": failure_probability,
        "max_group_size": max_group_size,
        "min_label_probability": min_label_probability,
    }
    cells = [_Cell(name, rule_of(name), risk) for risk in target_risks for name in rules]
    sizes = []
    for stream in as_generator(rng).spawn(design.n_splits):
        split = _drawn(sample, design, stream)
        sizes.append(int(split.labelled.n))
        for cell in cells:
            cell.meet(sample, split, declared)
    calibration_pairs = float(np.mean(sizes))
    return Experiment(
        tuple(cell.figures(sample.n_judges, design.confidence_level) for cell in cells),
        design.n_splits,
        calibration_pairs,
        sample.n - calibration_pairs,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    """The labelled side, the rows of the other, its confidences, and where a rule's chance starts."""

    labelled: Sample
    test: IntArray
    pool: FloatArray | None
    seed: int


class _Cell:
    """One rule at one target, and what it did on every split so far."""

    def __init__(self, name: str, rule: Rule, target_risk: float) -> None:
        self.name = name
        self.target_risk = target_risk
        self.outcomes: list[FloatArray] = []
        self.unavailable: str | None = None
        self._rule = rule

    def meet(self, sample: Sample, split: _Split, declared: Mapping[str, Any]) -> None:
        """Apply the rule to one split, unless it cannot be applied to such labels."""
        if self.unavailable is not None:
            return
        labels = Labels(split.labelled, split.pool, self.target_risk, declared)
        try:
            thresholds = self._rule(labels, np.random.default_rng(split.seed))
        except UnavailableMethod as error:
            self.unavailable = str(error)
            return
        self.outcomes.append(_outcome(sample, split.test, thresholds, declared["costs"]))

    def figures(self, n_judges: int, confidence_level: float) -> RuleFigures:
        """Return what it did, over all splits."""
        return summarised(
            self.name,
            self.target_risk,
            [] if self.unavailable is not None else self.outcomes,
            n_judges=n_judges,
            confidence_level=confidence_level,
            unavailable=self.unavailable,
        )


def _drawn(sample: Sample, design: Design, rng: np.random.Generator) -> _Split:
    """Draw one side of the groups; the rest is held out, and its confidences are the pool."""
    order = rng.permutation(sample.n_groups)
    if design.calibration_pairs is None:
        wanted = round(design.calibration_share * sample.n_groups)
    else:
        filled = np.cumsum(np.bincount(sample.group)[order])
        wanted = int(np.searchsorted(filled, design.calibration_pairs, side="right"))
    is_drawn = np.zeros(sample.n_groups, dtype=np.bool_)
    is_drawn[order[: min(max(wanted, 1), sample.n_groups - 1)]] = True
    is_calibration = is_drawn[sample.group]
    test = np.flatnonzero(~is_calibration)
    pool = sample.confidence[rng.permutation(test)[:_POOL_AT_MOST]]
    return _Split(
        sample.rows(is_calibration),
        test,
        np.where(pool > -np.inf, pool, np.nan) if len(pool) >= _POOL_AT_LEAST else None,
        int(rng.integers(2**63)),
    )


def _outcome(
    sample: Sample, test: IntArray, thresholds: FloatArray, costs: FloatArray | None
) -> FloatArray:
    """Return what thresholds do on the held-out rows, as a row of a cell's outcomes."""
    answered_by = decide(sample.confidence, thresholds)
    lost = np.take_along_axis(sample.loss, np.maximum(answered_by, 0)[:, None], axis=1)[:, 0]
    stakes = (answered_by != ABSTAINED).astype(np.float64)
    if sample.stakes is not None:
        stakes *= sample.stakes
    weight = None if sample.weight is None else sample.weight[test]
    cost = cascade_cost(answered_by[test], thresholds, costs, weight)
    relative = cost.relative if costs is not None and cost.relative is not None else np.nan
    return np.array(
        [
            cost.composition.sum(),
            _agreement(stakes[test], lost[test]),
            _agreement(stakes, lost),
            relative,
            *cost.composition,
        ]
    )


def _agreement(stakes: FloatArray, loss: FloatArray) -> float:
    total = stakes.sum()
    return float(1.0 - stakes @ loss / total) if total > 0 else np.nan


def _check(design: Design, sample: Sample, target_risks: Sequence[float]) -> None:
    if design.n_splits < 1:
        raise InvalidArgument(f"n_splits must be positive, not {design.n_splits}")
    for name in ("calibration_share", "confidence_level"):
        if not 0.0 < getattr(design, name) < 1.0:
            raise InvalidArgument(f"{name} must lie inside (0, 1), not {getattr(design, name)}")
    if not target_risks or not all(0.0 < risk < 1.0 for risk in target_risks):
        raise InvalidArgument("target_risks must be numbers inside (0, 1), at least one")
    if sample.n_groups < 2:
        raise InvalidArgument("a split needs pairs of at least two groups")
    pairs = design.calibration_pairs
    if pairs is not None and not 1 <= pairs < sample.n:
        raise InvalidArgument(
            f"calibration_pairs must leave some of the {sample.n} pairs, not be {pairs}"
        )
