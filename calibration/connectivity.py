"""Whether Bradley-Terry strengths exist: which models are linked by chains of points won.

The likelihood has a finite maximum exactly if every model can be reached from every other along
points won (Ford 1957); a tie counts for both sides.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from calibration.arrays import BoolArray, IntArray
from calibration.comparisons import PairTotals
from calibration.errors import CalibrationError

# A smaller share of the points of a pair is a residue of rounding and links nothing.
_SMALLEST_LINK = 1e-12


class NoFiniteStrengths(CalibrationError):
    """The likelihood has no maximum, or one too far out to be computed."""


class DisconnectedComparisons(NoFiniteStrengths):
    """Some set of models never won a point from the others, or never lost one to them.

    Attributes:
        components: Names of the models by strongly connected component, largest first.
    """

    def __init__(self, components: tuple[tuple[str, ...], ...]) -> None:
        self.components = components
        named = " | ".join("{" + ", ".join(names) + "}" for names in components)
        super().__init__(
            "strengths are not finite: every model must be linked to every other by a chain of "
            f"points won (a tie counts for both sides), but these sets are not: {named}"
        )


def check_connected(totals: PairTotals, models: tuple[str, ...]) -> None:
    """Refuse totals (of one resample) whose strengths are not finite.

    Raises:
        DisconnectedComparisons: Not every model is linked to every other.
    """
    components = connected_components(totals, models)
    if len(components) > 1:
        raise DisconnectedComparisons(components)


def connected_components(
    totals: PairTotals, models: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    """Sets of models that are linked both ways by points won, largest first."""
    count, label = _components(totals)
    sets = [tuple(np.array(models)[label == k].tolist()) for k in range(count)]
    return tuple(sorted(sets, key=lambda names: (-len(names), names)))


def has_finite_maximum(totals: PairTotals, *, has_tie_parameter: bool) -> BoolArray:
    """In which resamples the likelihood has a finite maximum, shape (resamples,)."""
    is_linked: BoolArray = _holds_backbone(totals)
    for row in np.flatnonzero(~is_linked):
        is_linked[row] = _components(totals.resamples([row]))[0] == 1
    if not has_tie_parameter:
        return is_linked
    both_won = ((totals.first_wins > 0) & (totals.second_wins > 0)).any(axis=1)
    is_finite: BoolArray = is_linked & (both_won | (totals.ties.sum(axis=1) == 0))
    for row in np.flatnonzero(is_linked & ~is_finite):
        is_finite[row] = _wins_oppose_ties(totals.resamples([row]))
    return is_finite


def _holds_backbone(totals: PairTotals) -> BoolArray:
    """Which resamples keep, both ways, a tree of pairs that links all models: surely linked."""
    first, second = totals.first_points, totals.second_points
    least = _SMALLEST_LINK * (first + second)
    common = np.minimum(first.sum(axis=0), second.sum(axis=0))
    number = np.flatnonzero(common > 0)
    if not len(number):
        return np.zeros(len(first), dtype=np.bool_)
    shape = (totals.n_models, totals.n_models)
    where = (totals.first[number], totals.second[number])
    tree = csgraph.minimum_spanning_tree(sparse.csr_array((1 / common[number], where), shape=shape))
    if tree.nnz < totals.n_models - 1:
        return np.zeros(len(first), dtype=np.bool_)
    pair = sparse.csr_array((number + 1, where), shape=shape)
    kept = np.asarray(pair[tree.nonzero()]).reshape(-1) - 1
    both = (first[:, kept] > least[:, kept]) & (second[:, kept] > least[:, kept])
    return np.asarray(both.all(axis=1), dtype=np.bool_)


def _components(totals: PairTotals) -> tuple[int, IntArray]:
    points, against = totals.first_points[0], totals.second_points[0]
    least = _SMALLEST_LINK * (points + against)
    won, lost = points > least, against > least
    tail = np.concatenate([totals.first[won], totals.second[lost]])
    head = np.concatenate([totals.second[won], totals.first[lost]])
    shape = (totals.n_models, totals.n_models)
    graph = sparse.csr_array((np.ones(len(tail)), (tail, head)), shape=shape)
    count, label = csgraph.connected_components(graph, connection="strong")
    return int(count), np.asarray(label, dtype=np.int64)


def _wins_oppose_ties(totals: PairTotals) -> bool:
    """Whether log nu has a finite maximum beside finite or infinite strengths.

    It runs off to infinity exactly if some shift d of the log-strengths has d_i - d_j >= 1 for
    every win of i over j and |d_i - d_j| <= 1 for every tie: a system of difference constraints,
    which can be met exactly if its graph has no negative cycle.
    """
    steps = np.full((totals.n_models, totals.n_models), np.inf)
    tied = totals.ties[0] > 0
    steps[totals.first[tied], totals.second[tied]] = 1
    steps[totals.second[tied], totals.first[tied]] = 1
    won, lost = totals.first_wins[0] > 0, totals.second_wins[0] > 0
    steps[totals.first[won], totals.second[won]] = -1
    steps[totals.second[lost], totals.first[lost]] = -1
    try:
        csgraph.bellman_ford(steps, indices=[0])  # infinity is "no edge"
    except csgraph.NegativeCycleError:
        return True
    return False
