"""The alternative annotator test.

Each annotator in turn is set against the judge: on every unit, whose label is closer to those of
the remaining annotators? The judge wins a unit if it is at least as close as the annotator, and
the annotator if it is at least as close as the judge, so both win where they are equally close.
With rho_j the share of units that the judge wins against annotator j and r_j the annotator's own
share, the hypothesis rho_j <= r_j - epsilon is tested for each annotator; epsilon is how much worse
a judge may be for being cheaper. The share of annotators against whom it is rejected, with the
false discovery rate held by the procedure of Benjamini and Yekutieli (2001), is the winning rate;
from one half on the judge passes. Calderon, Reichart, Dror, "The Alternative Annotator Test for
LLM-as-a-Judge" (2025), who propose epsilon = .2 for experts, .15 for skilled people and .1 for
crowd workers, at least three annotators and at least 30 units for each.

Their test of a mean difference is Student's, which rejects too often where almost all differences
are 0. Here it is exact for up to 100 independent units, and where units come in groups it is
Student's with the groups as the unit of chance; "t" asks for the published form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import Groups, GroupsLike, as_groups, jackknife_statistic
from calibration.labels import MISSING

_NUISANCE_LEVEL = 1e-4
_GRID = 100
_TRINOMIAL_ROUNDING = 1e-9
Closeness = Literal["same", "distance"]
Test = Literal["t", "exact"]
TestChoice = Literal["auto", "t"]
MOST_EXACT_UNITS = 100
PASSING_RATE = 0.5
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class AnnotatorComparison:
    """The judge against one annotator.

    Attributes:
        annotator: Column of the annotator.
        n: Number of units labelled by both, and by someone else.
        judge_wins: Share of them where the judge is at least as close to the others.
        annotator_wins: Share where the annotator is.
        p_value: Of "the judge is worse by epsilon or more"; None from fewer than two groups of units.
        test: How it was computed.
        is_rejected: Whether that is rejected: the judge may stand in for this annotator.
    """

    annotator: int
    n: int
    judge_wins: float | None
    annotator_wins: float | None
    p_value: float | None
    test: Test | None
    is_rejected: bool


@dataclass(frozen=True, slots=True)
class AlternativeAnnotatorTest:
    """The outcome of the test, over all annotators.

    Attributes:
        annotators: One comparison for each.
        winning_rate: Share of the tested annotators against whom the judge is not worse by epsilon
            or more; None if no one could be tested.
        advantage: Mean over annotators of the share of units that the judge wins, by which judges
            that pass may be compared; n is the number of comparisons on units.
        margin: Mean over annotators of the judge's share of wins minus the annotator's own; a
            judge whose margin is surely below -epsilon is worse than people, while one that did not
            pass may just have been tested on too few units.
        is_passed: Whether the winning rate is at least one half.
        epsilon: How much worse a judge may be.
        false_discovery_rate: Expected share of wrong rejections among all, at most.
    """

    annotators: tuple[AnnotatorComparison, ...]
    winning_rate: float | None
    advantage: Estimate
    margin: Estimate
    is_passed: bool
    epsilon: float
    false_discovery_rate: float


@dataclass(frozen=True, slots=True)
class AlternativeAnnotatorOptions:
    """Settings of the test.

    Attributes:
        epsilon: How much worse than a person a judge may be, in [0, 1).
        false_discovery_rate: Level of the procedure over annotators.
        closeness: "same": the share of the other annotators who chose the same category;
            "distance": minus the root mean square difference from the others' numbers.
        test: "auto": exact for up to 100 independent units, else Student's by groups; "t":
            Student's always.
        least_units: Annotators with fewer units in common with others are not tested and do not
            enter the advantage; their labels still count as those of others.
    """

    epsilon: float = 0.2
    false_discovery_rate: float = 0.05
    closeness: Closeness = "same"
    test: TestChoice = "auto"
    least_units: int = 1


def alternative_annotator_test(
    judge: ArrayLike,
    ratings: ArrayLike,
    groups: GroupsLike = None,
    options: AlternativeAnnotatorOptions | None = None,
) -> AlternativeAnnotatorTest:
    """Test whether a judge may replace a person.

    Args:
        judge: The judge's labels, shape (units,): codes, `MISSING` where it said nothing, or for
            "distance" numbers, nan where missing. Units without a label are left out, so that what
            is tested is the judge where it answers.
        ratings: The annotators' labels in the same form, shape (units, annotators).
        groups: Groups of the units; None tests units as independent, and gives no intervals.
        options: Epsilon, level and closeness.

    Raises:
        InvalidArgument: Shapes do not fit, a label is infinite, epsilon or the rate is out of range,
            or the closeness or the test has no such name.

    >>> people = np.tile([[0, 0, 0], [1, 1, 0]], (20, 1))
    >>> found = alternative_annotator_test(np.tile([0, 1], 20), people)
    >>> found.is_passed, found.winning_rate, found.advantage.value
    (True, 1.0, 1.0)
    """
    chosen = AlternativeAnnotatorOptions() if options is None else options
    _check(chosen)
    label, table = np.asarray(judge, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or label.shape != table.shape[:1]:
        raise InvalidArgument("judge must have the shape (units,), ratings (units, annotators)")
    if np.isinf(label).any() or np.isinf(table).any():
        raise InvalidArgument("judge and ratings must not be infinite")
    known = as_groups(groups, len(label))
    wins = _wins(label, table, chosen.closeness)
    wins = wins._replace(counted=wins.counted & _has_enough(wins.counted, chosen.least_units))
    compared = [_compare(j, wins, known, chosen) for j in range(table.shape[1])]
    rejected = _rejected(compared, chosen.false_discovery_rate)
    n_tested = sum(one.p_value is not None for one in compared)
    rate = len(rejected) / n_tested if n_tested else None
    return AlternativeAnnotatorTest(
        annotators=tuple(replace(one, is_rejected=one.annotator in rejected) for one in compared),
        winning_rate=rate,
        advantage=_advantage(wins, groups),
        margin=_margin(wins, groups),
        is_passed=rate is not None and rate >= PASSING_RATE,
        epsilon=chosen.epsilon,
        false_discovery_rate=chosen.false_discovery_rate,
    )


def _check(options: AlternativeAnnotatorOptions) -> None:
    if not 0 <= options.epsilon < 1:
        raise InvalidArgument(f"epsilon must lie in [0, 1), not {options.epsilon}")
    if not 0 < options.false_discovery_rate < 1:
        rate = options.false_discovery_rate
        raise InvalidArgument(f"false_discovery_rate must lie inside (0, 1), not {rate}")
    if options.closeness not in get_args(Closeness):
        raise InvalidArgument(f"closeness must be same or distance, not {options.closeness}")
    if options.test not in get_args(TestChoice):
        raise InvalidArgument(f"test must be auto or t, not {options.test}")


class _Wins(NamedTuple):
    """Wins of judge and annotator, and where they count; shape (units, annotators) each."""

    judge: BoolArray
    annotator: BoolArray
    counted: BoolArray


def _has_enough(counted: BoolArray, least_units: int) -> BoolArray:
    return np.asarray(counted.sum(axis=0) >= least_units, dtype=np.bool_)


def _wins(label: FloatArray, table: FloatArray, closeness: Closeness) -> _Wins:
    is_there, has_label = ~np.isnan(table), ~np.isnan(label)
    if closeness == "same":
        is_there, has_label = is_there & (table != MISSING), has_label & (label != MISSING)
    far = _misses if closeness == "same" else _squared_distances
    ours, theirs = far(label, table, is_there)
    counted = is_there & (is_there.sum(axis=1, keepdims=True) >= 2) & has_label[:, None]
    rounding = _ROUNDING * np.maximum(np.abs(ours), np.abs(theirs))
    with np.errstate(invalid="ignore"):
        return _Wins(ours <= theirs + rounding, theirs <= ours + rounding, counted)


def _misses(
    label: FloatArray, table: FloatArray, is_there: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Count, negated, the other annotators who differ from the judge, and from the annotator."""
    same_as_label = is_there & (table == label[:, None])
    ours = same_as_label.sum(axis=1, keepdims=True) - same_as_label
    theirs = np.zeros(table.shape)
    for category in np.unique(table[is_there]):
        chosen = is_there & (table == category)
        theirs += chosen * (chosen.sum(axis=1, keepdims=True) - 1)
    return -ours.astype(np.float64), -theirs


def _squared_distances(
    label: FloatArray, table: FloatArray, is_there: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Sum squared differences from the other annotators, of the judge and of the annotator."""
    middle = table[is_there].mean() if is_there.any() else 0.0
    numbers = np.where(is_there, table - middle, 0.0)
    n, first, second = (each.sum(axis=1, keepdims=True) for each in (is_there, numbers, numbers**2))
    n, first, second = n - is_there, first - numbers, second - numbers**2
    ours, theirs = label[:, None] - middle, numbers
    return n * ours**2 - 2 * ours * first + second, n * theirs**2 - 2 * theirs * first + second


def _compare(
    annotator: int, wins: _Wins, groups: Groups, options: AlternativeAnnotatorOptions
) -> AnnotatorComparison:
    rows = wins.counted[:, annotator]
    judge, person = (each[rows, annotator].astype(np.float64) for each in wins[:2])
    p_value, test = _test(person - judge, groups.take(rows), options)
    n = int(rows.sum())
    return AnnotatorComparison(
        annotator=annotator,
        n=n,
        judge_wins=float(judge.mean()) if n else None,
        annotator_wins=float(person.mean()) if n else None,
        p_value=p_value,
        test=test,
        is_rejected=False,
    )


class _Tested(NamedTuple):
    p_value: float | None
    test: Test | None


def _test(difference: FloatArray, groups: Groups, options: AlternativeAnnotatorOptions) -> _Tested:
    """Return the p-value of "the mean difference, annotator minus judge, is at least epsilon"."""
    n, n_groups = len(difference), groups.n_groups
    if n_groups == n and 0 < n <= MOST_EXACT_UNITS and options.test == "auto":
        below, zero, above = (int((difference == value).sum()) for value in (-1, 0, 1))
        return _Tested(mean_p_value(below, zero, above, options.epsilon), "exact")
    if n_groups < 2:
        return _Tested(None, None)
    mean = float(difference.mean())
    residual = groups.sums(difference - mean)
    error = float(np.sqrt(n_groups / (n_groups - 1) * (residual**2).sum())) / n
    if error <= _ROUNDING:
        return _Tested(_of_unanimous_groups(mean, n_groups, options.epsilon), "exact")
    return _Tested(float(scipy.stats.t.cdf((mean - options.epsilon) / error, n_groups - 1)), "t")


def _of_unanimous_groups(mean: float, n_groups: int, epsilon: float) -> float:
    """Return a p-value with each group as one trial, its difference rounded against the judge."""
    whole = int(np.ceil(mean - _ROUNDING))
    below, zero, above = (n_groups * (whole == value) for value in (-1, 0, 1))
    return mean_p_value(below, zero, above, epsilon)


def _rejected(compared: list[AnnotatorComparison], rate: float) -> set[int]:
    """Mark the annotators that the step-up procedure of Benjamini and Yekutieli rejects."""
    tested = sorted((one.p_value, one.annotator) for one in compared if one.p_value is not None)
    share = rate / (len(tested) * sum(1 / k for k in range(1, len(tested) + 1))) if tested else 0
    passed = [k for k, (p_value, _) in enumerate(tested, start=1) if p_value <= k * share]
    return {annotator for _, annotator in tested[: max(passed, default=0)]}


def _advantage(wins: _Wins, groups: GroupsLike) -> Estimate:
    return _mean_over_annotators(wins, wins.judge.astype(np.float64), groups, is_share=True)


def _margin(wins: _Wins, groups: GroupsLike) -> Estimate:
    lead = wins.judge.astype(np.float64) - wins.annotator
    return _mean_over_annotators(wins, lead, groups, is_share=False)


def _mean_over_annotators(
    wins: _Wins, amount: FloatArray, groups: GroupsLike, *, is_share: bool
) -> Estimate:
    asked = wins.counted.any(axis=0)
    counted = wins.counted[:, asked].astype(np.float64)
    parts = np.hstack([amount[:, asked] * counted, counted])

    def mean_rate(sums: FloatArray) -> FloatArray:
        won, total = np.split(sums, 2, axis=1)
        return (won / total).mean(axis=1) if won.shape[1] else np.full(len(sums), np.nan)

    return jackknife_statistic(parts, mean_rate, int(counted.sum()), groups, is_share=is_share)


def mean_p_value(n_below: int, n_zero: int, n_above: int, mean: float) -> float:
    """Return the largest probability of so small a result, if the true mean is at least `mean`.

    Results are ordered by how many standard errors their mean lies below `mean`, made monotone: a
    result is no larger than another with more values of 1 and fewer of -1. Therefore a mean of just
    `mean` is the least favourable one for each probability p0 of a 0. The largest probability over
    an exact interval of p0 is taken, and the probability that the interval is wrong is added
    (Berger and Boos 1994), so that the p-value is valid whatever p0 is.

    Time and memory grow with the square of the number of differences.

    Args:
        n_below: Number of differences of -1.
        n_zero: Number of differences of 0.
        n_above: Number of differences of 1.
        mean: Mean under the hypothesis, in [0, 1).

    >>> round(mean_p_value(n_below=8, n_zero=30, n_above=2, mean=0.2), 4)
    0.0002
    """
    n = n_below + n_zero + n_above
    half = _NUISANCE_LEVEL / 2
    low = float(scipy.stats.beta.ppf(half, n_zero, n - n_zero + 1)) if n_zero else 0.0
    high = float(scipy.stats.beta.isf(half, n_zero + 1, n - n_zero)) if n_zero < n else 1.0
    if low > 1 - mean:
        return _NUISANCE_LEVEL
    order = _order(n, mean)
    above, below = np.nonzero(order <= order[n_above, n_below] + _TRINOMIAL_ROUNDING)
    zero = np.linspace(low, min(high, 1 - mean), _GRID)[:, None]
    logs = scipy.special.xlogy(above, (1 - zero + mean) / 2) + scipy.special.xlogy(
        n - above - below, zero
    )
    logs += scipy.special.xlogy(below, np.maximum(1 - zero - mean, 0) / 2)
    ways = scipy.special.gammaln(n + 1) - scipy.special.gammaln([above + 1, below + 1]).sum(axis=0)
    ways -= scipy.special.gammaln(n - above - below + 1)
    return min(1.0, float(np.exp(logs + ways).sum(axis=1).max()) + _NUISANCE_LEVEL)


def _order(n: int, mean: float) -> FloatArray:
    """Rank every result, by its numbers of 1 and of -1; infinite if they exceed n."""
    above, below = np.mgrid[: n + 1, : n + 1]
    found = (above - below) / n
    spread = (above + below + 1) / (n + 1) - found**2 + 1 / n
    place = np.where(above + below <= n, (found - mean) / np.sqrt(spread), np.inf)
    fewer_above = np.minimum.accumulate(place[::-1], axis=0)[::-1]
    monotone = np.minimum.accumulate(fewer_above, axis=1)
    return np.where(above + below <= n, monotone, np.inf)
