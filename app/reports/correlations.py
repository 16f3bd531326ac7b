"""Correlates what judges give with what people give: of single responses, and of pairs.

People score a response, each on one scale or on several; a judge that rates each response alone
gives it a rating. As in the benchmarks of such judges, the mean over people is correlated with the
judge's rating, or with the mean over several judges. Of a pair, the mean vote is correlated with p_a.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, TypeGuard

import numpy as np
import numpy.typing as npt

from app.core.errors import Unprocessable
from app.core.models import OVERALL
from app.core.names import shown
from app.datasets.records import PairKey
from app.formats.cje import ORACLE
from app.formats.pointwise import BY, SCORES
from app.scores.table import ScoreTable
from calibration.agreement import correlations, mean_of, weighted_mean
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.intervals import Groups

#: What `include` calls these figures.
CORRELATIONS: Final = "correlations"
_SEPARATORS: Final = (BY, "/")
_SEVERAL: Final = 2

# scores of one response in one pair, each with the person who gave it
_Said = list[tuple[str | None, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Rated:
    """Scores and ratings of the responses of n pairs, a then b; NaN where there is none.

    `response` numbers the responses, since one may stand in several pairs, shape (n, 2). `scores`
    holds people's mean for each criterion, shape (n, 2); `ratings` and `expected` those of k judges:
    ratings of responses (n, 2, k), and of pairs p_a + p_tie / 2 (n, k). `weights` are those of the
    criteria, empty for equal ones.
    """

    judges: tuple[str, ...]
    weights: Mapping[str, float]
    response: IntArray
    scores: Mapping[str, FloatArray]
    ratings: FloatArray
    expected: FloatArray

    def take(self, members: BoolArray) -> Rated:
        """Return some of the pairs."""
        scores = {name: column[members] for name, column in self.scores.items()}
        return replace(
            self, response=self.response[members], scores=scores,
            ratings=self.ratings[members], expected=self.expected[members],
        )  # fmt: skip

    @property
    def arrays(self) -> list[npt.NDArray[Any]]:
        """All numbers, for a hash."""
        own = [getattr(self, one.name) for one in fields(self) if one.name in _ARRAYS]
        return [*own, *self.scores.values()]


_ARRAYS: Final = ("response", "ratings", "expected")


def has_scores(keys: Sequence[PairKey]) -> bool:
    """Return whether people scored responses of these pairs."""
    return any(name in key.metadata for key in keys for name in SCORES)


def weights_of(texts: Sequence[str]) -> dict[str, float]:
    """Return the weights of criteria from `NAME=WEIGHT`.

    Raises:
        Unprocessable: one cannot be read, or none weighs anything.
    """
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = np.nan
        if not name.strip() or not 0 <= weight < np.inf:
            raise _refused(f"{shown(text)} is not NAME=WEIGHT with a weight of 0 or more")
        found[name.strip()] = weight
    if found and not any(found.values()):
        raise _refused("all weights are 0")
    return found


def _refused(message: str) -> Unprocessable:
    errors = [{"loc": ["query", "criterion"], "msg": message}]
    return Unprocessable(f"criterion: {message}", errors=errors)


def rated_of(keys: Sequence[PairKey], table: ScoreTable, weights: Mapping[str, float]) -> Rated:
    """Lay out the scores that pairs keep in their metadata, and the judges' ratings.

    Raises:
        Unprocessable: there is no criterion of such a name.
    """
    number: dict[object, int] = {}
    response = np.empty((len(keys), 2), dtype=np.int64)
    said: defaultdict[str, defaultdict[int, list[_Said]]] = defaultdict(lambda: defaultdict(list))
    for row, key in enumerate(keys):
        for side, model in enumerate((key.model_a, key.model_b)):
            told, scores = _scores_of(key, side)
            asked = key.prompt_hash or key.group
            known: object = told or ((row, side) if model is None else (asked, model))
            place = response[row, side] = number.setdefault(known, len(number))
            for criterion, given in scores.items():
                said[criterion][place].append(given)
    columns = {}
    for criterion, of_responses in said.items():
        means = np.full(len(number), np.nan)
        for place, of_pairs in of_responses.items():
            means[place] = _mean_score(of_pairs)
        columns[criterion] = means[response]
    for name in weights:
        if name not in columns:
            there = ", ".join(map(shown, columns)) or "none"
            raise _refused(f"people scored by no criterion {shown(name)}; there is {there}")
    return Rated(
        table.judges, weights, response, columns,
        np.stack([table.rating_a, table.rating_b], axis=1),
        table.p_a + np.nan_to_num(table.p_tie) / 2,
    )  # fmt: skip


def _scores_of(key: PairKey, side: int) -> tuple[str | None, dict[str, _Said]]:
    """Return what tells a response apart, and the scores that people gave it by criterion."""
    kept = key.metadata.get(SCORES[side])
    found: defaultdict[str, _Said] = defaultdict(list)
    if not isinstance(kept, dict):
        oracle = key.metadata.get(f"{ORACLE}_{'ab'[side]}")
        return None, {OVERALL: [(None, oracle)]} if _is_number(oracle) else {}
    given = kept.get("human")
    for one in given if isinstance(given, list) else ():
        if isinstance(one, dict) and _is_number(one.get("score")):
            who = one.get("annotator")
            found[str(one.get("criterion", OVERALL))].append((who and str(who), one["score"]))
    told = kept.get("response")
    return told if isinstance(told, str) else None, found


def _mean_score(of_pairs: Sequence[_Said]) -> float:
    """Return the mean of the scores of a response, of which each of its pairs may hold others.

    Pairs that are formed from rows of responses hold the same scores. Where pairs differ, a person
    counts by the mean over all of them, and as often as there are scores by this person in one pair.

    Example:
        >>> _mean_score([[("ann", 8.0)], [("ann", 8.0), ("bob", 6.0)]])
        7.0
    """
    first, *others = of_pairs
    if all(one == first for one in others):
        return float(np.mean([score for _, score in first]))
    by_person: defaultdict[str | None, list[float]] = defaultdict(list)
    times: Counter[str | None] = Counter()
    for given in of_pairs:
        times |= Counter(who for who, _ in given)
        for who, score in given:
            by_person[who].append(score)
    means = [float(np.mean(by_person[who])) for who in times]
    return float(np.average(means, weights=list(times.values())))


def _is_number(value: object) -> TypeGuard[float]:
    # compared, not converted: an int of 400 digits has no float
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Responses:
    """Every response once: its group, people's mean by criterion (r,), and k judges' (r, k)."""

    groups: Groups
    scores: Mapping[str, FloatArray]
    ratings: FloatArray
    names: Sequence[str]
    criteria: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, rated: Rated, groups: Groups) -> _Responses:
        flat = rated.response.reshape(-1)
        _, first, place = np.unique(flat, return_index=True, return_inverse=True)
        ratings = rated.ratings.reshape(-1, len(rated.judges))
        # a response has one rating, which may be missing in some of its pairs
        count, total = np.zeros((2, len(first), len(rated.judges)))
        np.add.at(count, place, ~np.isnan(ratings))
        np.add.at(total, place, np.nan_to_num(ratings))
        with np.errstate(invalid="ignore"):
            mean = total / count
        scores = {name: column.reshape(-1)[first] for name, column in rated.scores.items()}
        return cls(groups.take(first // 2), scores, mean, rated.judges, tuple(sorted(scores)))

    @property
    def judges(self) -> dict[str, dict[str, FloatArray]]:
        """The judges with ratings: by name without its criterion, the ratings by criterion.

        A judge without a criterion is asked for the whole: its rating stands for each criterion.
        """
        found: defaultdict[str, dict[str, FloatArray]] = defaultdict(dict)
        for name, column in zip(self.names, self.ratings.T, strict=True):
            if not np.isnan(column).all():
                base, criterion = self._parted(name)
                found[base][criterion] = column
        return {base: columns for base, own in found.items() if (columns := self._filled(own))}

    def _parted(self, name: str) -> tuple[str, str]:
        for separator in _SEPARATORS:
            base, _, criterion = name.rpartition(separator)
            if base and criterion in self.criteria:
                return base, criterion
        return name, ""

    def _filled(self, own: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        whole = own.get("", own.get(OVERALL))
        filled = {name: own.get(name, whole) for name in self.criteria}
        return {name: column for name, column in filled.items() if column is not None}


def correlation_figures(rated: Rated, votes: FloatArray, groups: Groups) -> dict[str, Any]:
    """Return every correlation of judges with people.

    Args:
        rated: Scores and ratings of n pairs.
        votes: The mean vote on each pair, 1 for a, one half for a tie, NaN without a vote, shape (n,).
        groups: The groups of the pairs.
    """
    found = _Responses.of(rated, groups)
    is_scored = (
        ~np.isnan(np.array(list(found.scores.values()))) if found.scores else np.zeros((0, 0))
    )
    weights = dict(rated.weights) or dict.fromkeys(found.criteria, 1.0)
    return {
        "responses": int(is_scored.any(axis=0).sum()),
        "weights": weights,
        "by_response": _by_response(found, weights),
        "by_pair": [
            _figures([name], None, (rated.expected[:, column], votes), groups)
            for column, name in enumerate(rated.judges)
        ],
    }


def _by_response(found: _Responses, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    judges = found.judges
    together = [[name] for name in judges]
    if len(judges) >= _SEVERAL:
        together.append(list(judges))
    rows = []
    for names in together:
        own = [judges[name] for name in names]
        for criterion in found.criteria:
            if all(criterion in columns for columns in own):
                mean = mean_of([columns[criterion] for columns in own])
                pair = (mean, found.scores[criterion])
                rows.append(_figures(names, criterion, pair, found.groups))
        weighs = [name for name, weight in weights.items() if weight]
        if len(found.criteria) >= _SEVERAL and all(
            set(weighs) <= columns.keys() for columns in own
        ):
            mean = mean_of([weighted_mean(columns, weights) for columns in own])
            people = weighted_mean(found.scores, weights)
            rows.append(_figures(names, None, (mean, people), found.groups))
    return rows


def _figures(
    judges: list[str], criterion: str | None, pair: tuple[FloatArray, FloatArray], groups: Groups
) -> dict[str, Any]:
    said, people = pair
    found = correlations(said, people, groups)
    return {
        "judges": judges,
        "criterion": criterion,
        "n": found.pearson.n,
        **{name: asdict(estimate) for name, estimate in (
            ("pearson", found.pearson), ("spearman", found.spearman), ("kendall", found.kendall)
        )},
    }  # fmt: skip
