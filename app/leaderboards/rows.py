"""The rows of a leaderboard, its counts, and its CSV form."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import StringIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.core.inert import inert
from app.datasets.records import PairKey
from app.datasets.slices import slice_names
from app.leaderboards.gathering import Inputs
from app.leaderboards.outcomes import NO_VERDICT, Outcomes, in_words, no_comparison
from app.leaderboards.schemas import LeaderboardIn
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap, Groups
from calibration.powered import PoweredRow
from calibration.ranking import Comparisons, ModelRating, with_baseline

Body = Mapping[str, Any]

_PLAIN: Final = (
    "rank", "rank_low", "rank_high", "rank_text", "model", "strength", "pairs", "distinct_pairs", "wins", "losses",
    "ties", "asked", "abstained", "failed", "missing", "abstained_share", "labelled",
)  # fmt: skip
_ESTIMATES: Final = ("rating", "win_rate", "human_only")
COLUMNS: Final = (
    "group",
    "criterion",
    *_PLAIN,
    *(f"{name}{end}" for name in _ESTIMATES for end in ("", "_low", "_high")),
    "confidence_level",
    "method",
    "source",
    "rankable",
    "promise",
    "leaderboard",
)


def as_csv(body: Body) -> str:
    """Return a leaderboard as CSV with a header; unknown values are empty.

    Names that look like formulas are marked.
    """
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for line in _lines(body):
        writer.writerow({k: inert(v) if isinstance(v, str) else v for k, v in line.items()})
    return text.getvalue()


def _lines(body: Body) -> Iterator[dict[str, Any]]:
    whole = {
        "method": body["method"],
        "source": body["source"],
        "promise": body.get("promise"),
        "leaderboard": body["id"],
        "confidence_level": body["confidence_level"],
    }
    scopes = [("", body), *((part["group"], part) for part in body["groups"])]
    for group, scope in scopes:
        own = {**whole, "group": group, "rankable": scope.get("rankable")}
        yield from ({**own, **_cells(row)} for row in scope["rows"])
        for one in scope.get("by_criterion", ()):
            named = {**own, "criterion": one["criterion"]}
            yield from ({**named, **_cells(row)} for row in one["rows"])


def _cells(row: Body) -> dict[str, Any]:
    cells = {name: row.get(name) for name in _PLAIN}
    for name in _ESTIMATES:
        estimate = row.get(name) or {}
        for end, key in (("", "value"), ("_low", "low"), ("_high", "high")):
            cells[f"{name}{end}"] = estimate.get(key)
    return cells


# reasons for which a pair has no comparison
REASONS: Final = (
    *NO_VERDICT, "unlabelled", "undecided", "without_models", "same_model", "calibration_pair",
    "known_to_judge",
)  # fmt: skip
TIES_LEFT_OUT: Final = "ties_left_out"
# reasons for which a pair is not ranked, whether or not its verdict is known
OUT_OF_SCOPE: Final = ("without_models", "same_model", "calibration_pair", "known_to_judge")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Pairs as arrays.

    Attributes:
        inputs: Their source; outcomes are of pairs between two models.
        request: The request.
        models: Names of all models.
        left: Number of model a of each pair, -1 if it names no model.
        right: Number of model b.
        reason: Why a pair has no comparison by any criterion; empty if it has one.
        weight: How much the comparisons of each pair count.
        bootstrap: Resamples of the groups of all pairs.
    """

    inputs: Inputs
    request: LeaderboardIn
    models: tuple[str, ...]
    left: IntArray
    right: IntArray
    reason: npt.NDArray[np.str_]
    weight: FloatArray
    bootstrap: ClusterBootstrap

    @classmethod
    def of(cls, inputs: Inputs, request: LeaderboardIn) -> Table:
        """Number the models and leave out pairs that are not between two of them."""
        keys = inputs.keys
        names = sorted({name for key in keys for name in (key.model_a, key.model_b) if name})
        number = {name: code for code, name in enumerate(names)}
        code = partial(np.fromiter, dtype=np.int64, count=len(keys))
        left = code(number.get(key.model_a or "", -1) for key in keys)
        right = code(number.get(key.model_b or "", -1) for key in keys)
        is_nameless = (left < 0) | (right < 0)
        outcomes = {
            name: one.without(is_nameless, "without_models").without(
                ~is_nameless & (left == right), "same_model"
            )
            for name, one in inputs.outcomes.items()
        }
        groups = [key.group for key in keys] or np.zeros(0, dtype=np.int64)
        bootstrap = ClusterBootstrap.over(Groups.of(groups, request.confidence_level), request.seed)
        made = Inputs(
            keys,
            outcomes,
            inputs.labelled,
            inputs.covariates,
            inputs.promise,
            inputs.rests_on,
        )
        weight = _slice_weights(keys, request)
        return cls(made, request, tuple(names), left, right, _reason(outcomes), weight, bootstrap)

    def comparisons(self, outcomes: Outcomes, members: BoolArray) -> tuple[Comparisons, IntArray]:
        """Return the comparisons of some pairs, and the pair that each is of.

        Raises:
            InvalidArgument: No pair has a comparison; says why.
        """
        chosen = members[outcomes.row]
        rows = outcomes.row[chosen]
        if rows.size == 0:
            counts = Counter(outcomes.reason[members].tolist())
            raise InvalidArgument(no_comparison(counts, str(self.inputs.rests_on.get("dataset"))))
        return self.between(rows, outcomes.score[chosen]), rows

    def between(self, rows: IntArray, score: FloatArray) -> Comparisons:
        """Return comparisons with these results, of these pairs, among the models that met."""
        met = np.unique(np.concatenate([self.left[rows], self.right[rows]]))
        place = np.zeros(len(self.models), dtype=np.int64)
        place[met] = np.arange(len(met))
        models = tuple(self.models[code] for code in met.tolist())
        return Comparisons(
            models, place[self.left[rows]], place[self.right[rows]], score, self.weight[rows]
        )

    def counts(self, members: BoolArray) -> dict[str, int]:
        """Count pairs, comparisons, and pairs without a comparison."""
        reasons = Counter(self.reason[members].tolist())
        outcomes = self.inputs.outcomes.values()
        comparisons = sum(int(members[one.row].sum()) for one in outcomes)
        ties = sum(int((members[one.row] & (one.score == 0.5)).sum()) for one in outcomes)
        return {
            "pairs": reasons[""],
            "comparisons": comparisons,
            **({TIES_LEFT_OUT: ties} if self.request.ties == "exclude" else {}),
            **{reason: reasons[reason] for reason in REASONS},
        }

    def distinct_pairs(self, compared: Iterable[tuple[Comparisons, IntArray]]) -> Counter[str]:
        """Count, by model, the different pairs of its comparisons."""
        is_compared = np.zeros(len(self.reason), dtype=np.bool_)
        for comparisons, rows in compared:
            counts = with_baseline(comparisons, self.request.baseline)
            if self.request.ties == "exclude":
                counts = counts & ~comparisons.is_tie
            is_compared[rows[counts]] = True
        return self.by_model(is_compared)

    def by_model(self, members: BoolArray) -> Counter[str]:
        """Count some pairs by the models in them."""
        found = np.zeros(len(self.models), dtype=np.int64)
        for side in (self.left, self.right):
            codes = side[members]
            found += np.bincount(codes[codes >= 0], minlength=len(self.models))
        return Counter(dict(zip(self.models, found.tolist(), strict=True)))


def _slice_weights(keys: Sequence[PairKey], request: LeaderboardIn) -> FloatArray:
    weights = request.slice_weights
    if not weights or request.group_by is None:
        return np.ones(len(keys))
    names = slice_names(keys, request.group_by)
    return np.array([1.0 if name is None else weights.get(name, 1.0) for name in names])


def _reason(outcomes: dict[str, Outcomes]) -> npt.NDArray[np.str_]:
    first, *others = [one.reason for one in outcomes.values()]
    reason = first.copy()
    for other in others:
        reason[other == ""] = ""
    return reason


@dataclass(frozen=True, slots=True)
class Unanswered:
    """By model: the pairs in scope, and those without a verdict by reason."""

    asked: Counter[str]
    by_reason: dict[str, Counter[str]]

    @classmethod
    def of(cls, table: Table, members: BoolArray) -> Unanswered:
        """Count over some pairs."""
        is_open = np.isin(table.reason, NO_VERDICT)
        asked = table.by_model(members & (is_open | (table.reason == "")))
        return cls(
            asked,
            {name: table.by_model(members & (table.reason == name)) for name in NO_VERDICT},
        )

    def unresolved(self, model: str) -> int:
        """Return how many pairs of a model have no verdict."""
        return sum(counts[model] for counts in self.by_reason.values())

    def share(self, model: str) -> float | None:
        """Return the share of the pairs of a model that have no verdict; None without pairs."""
        asked = self.asked[model]
        return self.unresolved(model) / asked if asked else None

    def of_model(self, model: str) -> dict[str, Any]:
        """Return the counts that are shown beside the figures of a model."""
        asked = self.asked[model]
        abstained = self.by_reason["abstained"][model]
        return {
            "asked": asked,
            **{name: counts[model] for name, counts in self.by_reason.items()},
            "abstained_share": abstained / asked if asked else None,
            "unresolved": self.unresolved(model),
            "unresolved_share": self.share(model),
        }

    def warning(self) -> str | None:
        """Return a warning if some pairs have no verdict, which may change the ranking; else None."""
        shares = {model: self.share(model) or 0.0 for model in self.asked}
        if not any(shares.values()):
            return None
        least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        whose = f"{shares[least]:.1%} of those of {least}, {shares[most]:.1%} of those of {most}"
        if shares[least] == shares[most]:
            whose = f"{shares[least]:.1%} of those of every model"
        return (
            f"pairs without a verdict are not counted: {whose}. They are the hard ones, so answered pairs "
            "alone may favour some models. How far, say the win rates if all such pairs were lost, or "
            "won; where people label such pairs, a prediction-powered ranking corrects it"
        )


def left_out_note(counts: Mapping[str, int]) -> str | None:
    """Return a note on what is not in the ranking, by reason; None if all pairs are."""
    ties = counts.get(TIES_LEFT_OUT, 0)
    said = [in_words({reason: counts[reason] for reason in REASONS})]
    said += [f"{ties} ties (ties exclude)"] if ties else []
    listed = ", ".join(one for one in said if one)
    return f"left out: {listed}" if listed else None


def rank_text(low: int, high: int) -> str:
    """Say which ranks a model may have: `2nd`, or `tied for 2nd-4th`."""
    return ordinal(low) if low == high else f"tied for {ordinal(low)}-{ordinal(high)}"


def ordinal(number: int) -> str:
    """Return an ordinal number: 1st, 2nd, 3rd, 4th, 11th."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def row_of(
    rating: ModelRating, unanswered: Unanswered, distinct: Mapping[str, int], *, has_baseline: bool
) -> dict[str, Any]:
    """Return the row of a rating from comparisons of so many `distinct` pairs."""
    bounds = None if has_baseline else _bounds(rating, unanswered.unresolved(rating.model))
    return {
        **_place(rating),
        "pairs": rating.n,
        "distinct_pairs": distinct[rating.model],
        "wins": rating.wins,
        "losses": rating.losses,
        "ties": rating.ties,
        **unanswered.of_model(rating.model),
        "win_rate_bounds": bounds,
    }


def powered_row_of(row: PoweredRow, unanswered: Unanswered) -> dict[str, Any]:
    """Return the row of a rating from predictions and labels."""
    return {
        **_place(row),
        "human_only": None if row.human_only is None else asdict(row.human_only),
        "pairs": row.n_predicted,
        "distinct_pairs": row.n_predicted,
        "labelled": row.rating.n,
        "wins": row.wins,
        "losses": row.losses,
        "ties": row.ties,
        **unanswered.of_model(row.model),
        "win_rate_bounds": None,
    }


def _place(row: ModelRating | PoweredRow) -> dict[str, Any]:
    return {
        "model": row.model,
        "rating": asdict(row.rating),
        "strength": row.strength,
        "win_rate": asdict(row.win_rate),
        "rank": row.rank,
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "rank_text": rank_text(row.rank_low, row.rank_high),
    }


def _bounds(rating: ModelRating, unresolved: int) -> dict[str, float] | None:
    """Return the win rates if every unresolved pair were lost, and if every one were won."""
    value = rating.win_rate.value
    if unresolved == 0 or value is None:
        return None
    points, total = value * rating.n, rating.n + unresolved
    return {"low": points / total, "high": (points + unresolved) / total}
