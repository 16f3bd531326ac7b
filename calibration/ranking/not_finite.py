"""Why a fit of strengths runs off to infinity: which models or features, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.errors import CalibrationError
from calibration.ranking.comparisons import Comparisons, PairTotals

_MOST_SETS = 10
_MOST_MODELS = 20
_ELSE = "or use the method win_rate, which needs no strengths"


class NoFiniteStrengths(CalibrationError):
    """The likelihood has no maximum, or one too far out to be computed."""

    def __init__(self, because: str) -> None:
        super().__init__(f"strengths are not finite: {because}")


class DisconnectedComparisons(NoFiniteStrengths):
    """Some set of models never won a point from the others, or never lost one to them.

    Attributes:
        components: Names of the models by strongly connected component, largest first.
    """

    def __init__(self, components: tuple[tuple[str, ...], ...], findings: Sequence[str]) -> None:
        self.components = components
        some = [_set(names) for names in components[:_MOST_SETS]]
        more = len(components) - len(some)
        named = " | ".join([*some, *([f"and {more} more"] if more else [])])
        super().__init__(
            "every model must be linked to every other by a chain of points won (a tie counts for "
            f"both sides), but these sets are not: {named}. "
            + "".join(f"{finding}. " for finding in findings)
            + f"Add comparisons between the sets, {_ELSE}"
        )


def _set(names: Sequence[str]) -> str:
    some, more = names[:_MOST_MODELS], len(names) - _MOST_MODELS
    return "{" + ", ".join(some) + (f" and {more} more" if more > 0 else "") + "}"


def disconnected(
    components: Sequence[IntArray],
    totals: PairTotals,
    is_link: tuple[BoolArray, BoolArray],
    models: tuple[str, ...],
) -> DisconnectedComparisons:
    """Return the error for sets of models that points won do not link.

    Args:
        components: Numbers of the models of each set.
        totals: Results by pair of models, of one resample.
        is_link: Whether the first model of each pair won points, and whether the second did.
        models: Names of the models.
    """
    named = [tuple(models[number] for number in members) for members in components]
    order = sorted(range(len(named)), key=lambda k: (-len(named[k]), named[k]))
    findings = []
    for k in order[:_MOST_SETS]:
        finding = _finding(components[k], totals, is_link)
        if finding:
            findings.append(f"{_set(named[k])} {finding}")
    return DisconnectedComparisons(tuple(named[k] for k in order), findings)


def _finding(
    members: IntArray, totals: PairTotals, is_link: tuple[BoolArray, BoolArray]
) -> str | None:
    """Say how a set stands to the others; None where it won some points and lost some."""
    is_first, is_second = np.isin(totals.first, members), np.isin(totals.second, members)
    first_won, second_won = is_link
    crosses = is_first != is_second
    won = (crosses & np.where(is_first, first_won, second_won)).any()
    lost = (crosses & np.where(is_first, second_won, first_won)).any()
    if won and lost:
        return None
    if not won and not lost:
        return "met no model outside"
    return "won every point against the others" if won else "won no point against the others"


def only_ties(n: int) -> NoFiniteStrengths:
    """Return the error of Davidson's model where no result is decided."""
    return NoFiniteStrengths(
        f"all {n} results are ties: no decided one, which Davidson's model needs. Count ties as "
        "half a win (ties half) instead"
    )


def unopposed_ties() -> NoFiniteStrengths:
    """Return the error of Davidson's model where ties are not contradicted by enough results."""
    return NoFiniteStrengths(
        "beside the ties no decided result goes against another, so that the results fit best at "
        "infinity: Davidson's tie parameter has no bound. Count ties as half a win (ties half) "
        "instead"
    )


def too_far_apart() -> NoFiniteStrengths:
    """Return the error of strengths whose differences cannot be computed."""
    return NoFiniteStrengths(
        "the results fit best at infinity: some model won nearly every point of so many that its "
        f"strength has no number. Add comparisons that it loses, {_ELSE}"
    )


def settled_by_features(
    comparisons: Comparisons, difference: FloatArray, reach: FloatArray, names: Sequence[str]
) -> NoFiniteStrengths:
    """Return the error of features that tell the results completely.

    Args:
        comparisons: n comparisons.
        difference: How much more of each feature the left side has, shape (n, features).
        reach: The largest log-odds that each feature makes.
        names: Names of the features.
    """
    guilty = np.flatnonzero(reach >= reach.max() / 2).tolist()
    listed = " and ".join(names[number] for number in guilty)
    findings = [_one_way(comparisons, difference[:, number]) for number in guilty]
    found = f" ({findings[0]})" if len(guilty) == 1 and findings[0] else ""
    return NoFiniteStrengths(
        f"{listed} alone would foretell the results{found}, so that the results fit best at infinity: "
        "the effect has no bound, and nothing is left to tell the models apart. Rank without "
        f"control for {listed}, or add results that go the other way"
    )


def _one_way(comparisons: Comparisons, difference: FloatArray) -> str | None:
    """Say that the side with more of a feature, or with less, won always; None where it did not."""
    is_told = (difference != 0) & ~comparisons.is_tie & (comparisons.weight > 0)
    more_won = (difference > 0) == (comparisons.score > 0.5)
    n = int(is_told.sum())
    if n == 0 or (more_won[is_told].any() and not more_won[is_told].all()):
        return None
    which = "more" if more_won[is_told].all() else "less"
    return f"the side with {which} of it won all {n} decided comparisons that differ in it"
