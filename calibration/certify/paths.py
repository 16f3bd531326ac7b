"""Paths: the sequences of threshold vectors that are walked, and which of them a method walks.

A path is fixed by confidences alone. On the *diagonal* all judges share one threshold, on the
*strongest-only* path the last judge answers alone. Their nodes are all break points below a start
that was fixed without the calibration pairs: between break points the counts do not change, so the
walk is the same as one through every real threshold, and the first bad threshold is not random.

With stacked evidence a tier keeps a *margin* for the judges that were not heard yet: it answers where
its log-odds exceed the shared threshold by what later judges usually take away. The margins are
quantiles over the pool (`calibration.stack.margins`), so they are fixed without the labels and without
the pairs that test: every threshold is still a fixed cascade, its wrong answers are binomial given
its answers, and the first bad threshold is not random. Which pairs change hands as the threshold
falls does not matter to that argument (Learn Then Test, Angelopoulos et al. 2021; fixed-sequence
testing, Maurer et al. 1995).

The shares and starts may depend on the number of groups but on nothing else about the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import rounded
from calibration.certify.columns import Layout
from calibration.certify.learned import thresholds_in_order
from calibration.sample import Sample, Scope, rows_of_drawn_groups

# Tests whose cost grows with every node look at this many, spread evenly over the pool's coverage.
_COARSE_STEP = 0.02
# Above this number of pairs a walk through every break point gains no coverage worth its sorting.
_LARGEST_EXACT = 100_000
_FINE_NODES = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A point where level enters a path: a coverage on the pool, and a share of the level.

    A coverage of 0 is a threshold of 1, which needs no pool.
    """

    coverage: float
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """The inputs for building paths with a shared threshold.

    Attributes:
        sample: The pairs that will test them.
        pool: Confidences of other pairs, shape (m, k); they fix the starts. There may be none where
            the starts need none.
        starts: Where level enters, in order of rising coverage.
        is_coarse: Take a few nodes fixed by the pool instead of every break point of the sample.
        margins: Log-odds by which each column must exceed a shared threshold, shape (c,); None where
            confidences themselves share it.
    """

    sample: Sample
    pool: FloatArray
    starts: tuple[Start, ...]
    is_coarse: bool
    margins: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Threshold vectors in the order of testing.

    Attributes:
        name: What the path is called in a certificate.
        share: Part of the failure probability that belongs to the path.
        thresholds: Shape (u, 1) where the judges on the path share a threshold, else (u, k).
        is_on_path: Shape (k,), judges that may answer.
        entry_weights: Shape (u,), part of the share that enters at each node.
        rows: Rows of the sample that test the path.
        margins: Shape (k,): `scores` share the thresholds; None where confidences do.
        is_fixed: The nodes were fixed without the pairs that test the path.
        top: Shared threshold at which most of the pool is answered, in the units of `thresholds`; None
            without a pool.
    """

    name: str
    share: float
    thresholds: FloatArray
    is_on_path: BoolArray
    entry_weights: FloatArray
    rows: IntArray
    margins: FloatArray | None = None
    is_fixed: bool = False
    top: float | None = None

    @property
    def end(self) -> int | None:
        """The first node of the range that ends the path, which labels did not fix; None without."""
        last = len(self.thresholds) - 1
        if self.is_fixed or self.thresholds.shape[1] > 1:
            return last
        if self.top is None or self.thresholds[last, 0] > self.top:
            return None
        # between break points counts are those of the break point above
        return max(int(np.searchsorted(-self.thresholds[:, 0], -self.top, side="right")) - 1, 0)

    def vector(self, node: int) -> FloatArray:
        """Return the thresholds of all judges at a node, shape (k,), +inf for judges off the path."""
        if self.margins is None:
            return np.where(self.is_on_path, self.thresholds[node], np.inf)
        reached = reaching(float(self.thresholds[node, 0]), self.margins[self.is_on_path])
        vector = np.full(self.is_on_path.size, np.inf)
        vector[self.is_on_path] = reached
        return vector


# of the pool: thresholds that answer at least this share count as the end of a path
_END = 0.9
# confidences are compared at 12 decimals; the surest counts as just below 1, so that its odds are finite
_GRID = 1e-12
_SUREST = 1.0 - _GRID


def scores(confidence: FloatArray, margins: FloatArray | None) -> FloatArray:
    """Return what shares a threshold: confidences, or their log-odds less the margins; (n, c)."""
    if margins is None:
        return confidence
    sure = np.clip(confidence, _GRID, _SUREST)
    score = np.log(sure / (1.0 - sure)) - margins
    return np.where(confidence > -np.inf, score, -np.inf)


def reaching(threshold: float, margins: FloatArray) -> FloatArray:
    """Return the smallest confidence whose score reaches a threshold, column by column, (c,).

    +inf where not even a confidence of 1 does. It decides every pair as the scores do.
    """
    about = rounded(scipy.special.expit(threshold + margins))
    # the inverse may miss the grid by rounding errors: look at its neighbours, the least first
    # no verdict has a confidence below one half
    near = np.clip(rounded(about + _GRID * np.arange(-8, 9)[:, None]), 0.5, 1.0)
    reaches = scores(near, margins) >= threshold
    first = near[reaches.argmax(axis=0), np.arange(margins.size)]
    return np.where(reaches.any(axis=0), first, np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class BreakPoints:
    """Changes of a shared threshold's counts as it falls past some values, in no order."""

    threshold: FloatArray
    more_answered: FloatArray
    more_lost: FloatArray


def shared_path(ground: Ground, name: str, share: float, is_on_path: BoolArray) -> Path | None:
    """Build the path on which the chosen judges share one falling threshold.

    Args:
        ground: What the path is built from.
        name: What it is called.
        share: Part of the failure probability that belongs to it.
        is_on_path: Judges on it, shape (k,).

    Returns:
        The path; None where no judge on it has any confidence in the pool. A judge without any is
        left off: a threshold that it never met would let it answer untested where it comes back.
        Without a pool the sample may not say who is on the path, but it may say that nothing is
        certified: None where some judge has no confidence in it.
    """
    has_pool = len(ground.pool) > 0
    seen = ground.pool if has_pool else ground.sample.confidence
    is_met = np.asarray((seen > -np.inf).any(axis=0))
    if not has_pool and (ground.starts[0].coverage > 0 or not is_met[is_on_path].all()):
        return None
    is_on_path = is_on_path & is_met
    if not is_on_path.any():
        return None
    margins = None if ground.margins is None else ground.margins[is_on_path]
    largest = np.sort(scores(ground.pool[:, is_on_path], margins).max(axis=1))[::-1]
    pool_size = largest.size
    largest = largest[largest > -np.inf]
    entries = [
        _threshold_at(largest, start.coverage, pool_size) if start.coverage else 1.0
        for start in ground.starts
    ]
    sample = ground.sample
    if ground.is_coarse:
        steps = np.arange(ground.starts[0].coverage, 1.0 + _COARSE_STEP / 2, _COARSE_STEP)
        inner = np.array([_threshold_at(largest, step, pool_size) for step in steps])
    elif sample.n > _LARGEST_EXACT and has_pool:
        inner = _between(largest, lowest=0.0 if margins is None else float(largest[-1]))
    else:
        inner = _takeovers(scores(sample.confidence[:, is_on_path], margins))
    nodes = np.unique(np.append(inner[inner <= entries[0]], entries))[::-1]
    weights = np.zeros(nodes.size)
    for entry, start in zip(entries, ground.starts, strict=True):
        weights[np.searchsorted(-nodes, -entry)] += start.weight
    rows = np.arange(sample.n)
    return Path(
        name, share, nodes[:, None], is_on_path, weights, rows, ground.margins, ground.is_coarse,
        _top(scores(ground.pool[:, is_on_path], margins)),
    )  # fmt: skip


def thresholds_at(pool: FloatArray, coverages: FloatArray) -> list[float]:
    """Find shared thresholds that answer these shares of a pool, shape (m, k), or none."""
    largest = np.sort(pool.max(axis=1, initial=-np.inf))[::-1]
    pool_size = largest.size
    largest = largest[largest > -np.inf]
    if not largest.size:
        return []
    return [_threshold_at(largest, coverage, pool_size) for coverage in coverages.tolist()]


def _between(largest: FloatArray, *, lowest: float) -> FloatArray:
    """Return thresholds spaced evenly by coverage from the pool's surest pair to the lowest."""
    inner = np.interp(
        np.linspace(0, largest.size - 1, _FINE_NODES), np.arange(largest.size), largest
    )
    return np.append(rounded(inner), lowest)


def _threshold_at(largest: FloatArray, coverage: float, pool_size: int) -> float:
    """Return the threshold that answers this share of the pool, or all that can be answered."""
    rank = int(np.ceil(coverage * pool_size - 1e-9)) - 1
    return float(largest[min(max(rank, 0), largest.size - 1)])


def _takeovers(confidence: FloatArray) -> FloatArray:
    """Return the thresholds of `break_points`, in another order."""
    surest_before = np.full_like(confidence, -np.inf)
    np.maximum.accumulate(confidence[:, :-1], axis=1, out=surest_before[:, 1:])
    return np.asarray(confidence[confidence > surest_before], dtype=np.float64)


def break_points(confidence: FloatArray, loss: FloatArray) -> BreakPoints:
    """Changes of the counts: a judge takes a pair over at its confidence, from a later judge.

    Judge i answers a pair at some shared threshold only if it is surer than every judge before it;
    it then takes over from the next such judge after it.
    """
    surest_before = np.maximum.accumulate(confidence, axis=1)
    is_answered = np.zeros(len(confidence), dtype=np.bool_)
    current = np.zeros(len(confidence))
    thresholds: list[FloatArray] = []
    more_answered: list[FloatArray] = []
    more_lost: list[FloatArray] = []
    for judge in range(confidence.shape[1] - 1, -1, -1):
        scores = confidence[:, judge]
        takes_over = scores > (surest_before[:, judge - 1] if judge else -np.inf)
        thresholds.append(scores[takes_over])
        more_answered.append((~is_answered[takes_over]).astype(np.float64))
        more_lost.append(loss[takes_over, judge] - current[takes_over])
        is_answered |= takes_over
        current = np.where(takes_over, loss[:, judge], current)
    return BreakPoints(
        np.concatenate(thresholds), np.concatenate(more_answered), np.concatenate(more_lost)
    )


PortfolioMethod = Literal[
    "auto",
    "auto_raw",
    "diagonal",
    "strongest",
    "learned",
    "pareto_testing",
    "sequential",
    "learned_stack",
    "weighted",
]

# Below this number of groups a third of the labels is better spent on the fixed paths.
LARGE = 600
# of the groups, those that put the thresholds of a path in order
LEARNING_SHARES = {"learned": 0.25, "pareto": 0.5}
_SHARES: dict[PortfolioMethod, dict[str, float]] = {
    "diagonal": {"diagonal": 1.0},
    "strongest": {"strongest": 1.0},
    "learned": {"learned": 1.0},
    "pareto_testing": {"pareto": 1.0},
    "learned_stack": {"diagonal": 1.0},
}
_SHARES_SMALL = {"diagonal": 0.75, "strongest": 0.25}
_SHARES_SMALL_STACKED = {"diagonal": 0.70, "strongest": 0.30}
_SHARES_LARGE = {"diagonal": 0.50, "strongest": 0.20, "learned": 0.30}
_STARTS_SMALL = (Start(0.50, 1.0),)
STARTS_LARGE = (Start(0.15, 0.2), Start(0.50, 0.8))
# of all pairs hardly any are given a wrong verdict where hardly any are given one: every walk passes
# its first nodes, so it begins at the strictest
_STARTS_DATASET = (Start(0.0, 1.0),)


def paths_of(  # noqa: PLR0913 - one call site; a container would only rename them
    method: PortfolioMethod,
    sample: Sample,
    pool: FloatArray,
    *,
    test: tuple[float, float],
    costs: FloatArray,
    layout: Layout,
    is_coarse: bool,
    margins: FloatArray | None,
    scope: Scope,
    rng: np.random.Generator,
) -> list[Path]:
    """Return the paths of a method; those that nothing can start are left out.

    Args:
        method: The portfolio, or one of its parts.
        sample: The pairs that test, one a group unless the test is by betting over groups.
        pool: Confidences of other pairs, shape (m, c).
        test: Target risk and failure probability.
        costs: Cost of each judge, shape (k,).
        layout: What the columns of sample and pool are.
        is_coarse: The test affords few nodes.
        margins: As for `Ground`, shape (c,).
        scope: What the risk is a share of.
        rng: Draws the labels that learn.
    """
    # bets afford few nodes, weights and whole data sets have walks of their own
    if is_coarse or method != "auto" or scope != "answered":
        margins = None
    has_margins = margins is not None
    shares = _shares(method, sample.n_groups, layout, has_margins=has_margins)
    starts = _starts(method, sample.n_groups, scope, has_margins=has_margins)
    is_shared = layout.of(layout.main)
    columns = {
        "diagonal": (is_shared, margins),
        "strongest": (np.arange(sample.n_judges) == sample.n_judges - 1, None),
    }
    paths = [
        shared_path(
            Ground(sample, pool, starts[name], is_coarse, own), name, shares[name], is_on_path
        )
        for name, (is_on_path, own) in columns.items()
        if name in shares
    ]
    top = _top(pool) if pool.shape[1] == 1 else None
    paths += [
        _learned(
            name, shares[name], sample, (*test, scope), (costs, is_shared, is_coarse, top), rng
        )
        for name in LEARNING_SHARES
        if name in shares
    ]
    return [path for path in paths if path is not None]


def _top(pool: FloatArray) -> float | None:
    """Return the shared threshold that ends paths on these columns; None where it answers nothing."""
    found = thresholds_at(pool, np.array([_END]))
    return found[0] if found else None


def stacked_starts(n_groups: int) -> dict[str, float]:
    """Return the coverage on the pool at which each walk beside stacked evidence starts.

    Few labels show a small risk only where many of them are answered; many labels show it at a
    strict threshold, from which the walk may go on. The last judge alone is the weaker evidence: its
    walk starts where more pairs are answered.

    Example:
        >>> [round(stacked_starts(n)["diagonal"], 2) for n in (50, 100, 250, 500, 5_000)]
        [0.6, 0.52, 0.38, 0.3, 0.2]
    """
    own = float(np.clip(2.4 * max(n_groups, 1) ** (-1 / 3), 0.2, 0.6))
    return {"diagonal": own, "strongest": min(1.6 * own, 0.6)}


def _starts(
    method: PortfolioMethod, n_groups: int, scope: Scope, *, has_margins: bool
) -> dict[str, tuple[Start, ...]]:
    """Return where the level of each path with a shared threshold enters; fixed by n alone."""
    if has_margins:
        starts = stacked_starts(n_groups)
        return {name: (Start(coverage, 1.0),) for name, coverage in starts.items()}
    is_large = method not in ("sequential", "weighted") and n_groups >= LARGE
    same = STARTS_LARGE if is_large else _STARTS_SMALL
    if scope == "dataset":
        same = _STARTS_DATASET
    return {"diagonal": same, "strongest": same}


def default_shares(
    n_judges: int, *, is_stacked: bool = False, n_groups: int = 1, has_margins: bool | None = None
) -> dict[str, float]:
    """Return each path's part of the failure probability in the default procedure.

    Args:
        n_judges: Number of judges.
        is_stacked: Judges are heard together.
        n_groups: Number of labelled groups; by default few.
        has_margins: Stacked tiers keep a margin, as by default; not for whole data sets.

    Example:
        >>> default_shares(3)
        {'diagonal': 0.75, 'strongest': 0.25}
    """
    layout = (Layout.stacked if is_stacked else Layout.raw)(n_judges)
    with_margins = is_stacked if has_margins is None else has_margins
    return _shares("auto", n_groups, layout, has_margins=with_margins)


def _shares(
    method: PortfolioMethod, n_groups: int, layout: Layout, *, has_margins: bool
) -> dict[str, float]:
    if method in _SHARES:
        return _SHARES[method]
    if len(layout.kind) == 1:
        return _SHARES["diagonal"]
    # a walk that may stop at any time has a plan that no number of labels changes
    if method == "sequential":
        return _SHARES_SMALL
    # bets look at few nodes, and a path that is learned costs labels that they need; with margins an
    # order has nothing to learn that is worth the labels which teach it
    if method == "weighted" or has_margins:
        return _SHARES_SMALL_STACKED
    if n_groups >= LARGE:
        return _SHARES_LARGE
    return _SHARES_SMALL_STACKED if layout.main == "stacked" else _SHARES_SMALL


def _learned(  # noqa: PLR0913 - what both learned paths have in common
    name: str,
    share: float,
    sample: Sample,
    test: tuple[float, float, Scope],
    judges: tuple[FloatArray, BoolArray, bool, float | None],
    rng: np.random.Generator,
) -> Path | None:
    """Return a path learned on drawn groups and tested on the rest, all of its level at the start.

    `judges` are the judges' costs, the columns of the sample that may be on the path, whether tests
    afford few nodes, and the threshold that ends a path on one column.
    """
    costs, is_on_path, is_coarse, top = judges
    n_learning = round(LEARNING_SHARES[name] * sample.n_groups)
    learning = rows_of_drawn_groups(sample.group, n_learning, rng)
    if not learning.any() or learning.all():
        return None
    training = sample.rows(learning)
    target_risk, failure_probability, scope = test
    thresholds = thresholds_in_order(
        name,
        training.columns(is_on_path),
        costs,
        (target_risk, share * failure_probability, scope),
        tests_for_one=float((~learning).sum() / learning.sum()),
    )
    if not len(thresholds):
        return None
    weights = np.zeros(len(thresholds))
    weights[0] = 1.0
    wide = np.full((len(thresholds), sample.n_judges), np.inf)
    wide[:, is_on_path] = thresholds
    rows = np.flatnonzero(~learning)
    return Path(name, share, wide, is_on_path, weights, rows, None, is_coarse, top)
