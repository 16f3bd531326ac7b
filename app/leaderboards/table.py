"""Everything that rows are made of; the rows of one slice are a subset of the pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from app.leaderboards.comparing import NO_VERDICT, Outcomes
from app.leaderboards.gathering import Inputs
from app.leaderboards.schemas import LeaderboardIn
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap
from calibration.ranking import Comparisons, with_baseline

# what a pair without a comparison may be counted under
REASONS: Final = (
    *NO_VERDICT, "unlabelled", "undecided", "without_models", "same_model", "calibration_pair",
    "known_to_judge",
)  # fmt: skip
# these are no part of what is ranked, whether a verdict is known or not
OUT_OF_SCOPE: Final = ("without_models", "same_model", "calibration_pair", "known_to_judge")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Pairs as arrays.

    Attributes:
        inputs: Where they come from; outcomes are of pairs between two models.
        request: What is asked.
        models: Names of all models.
        left: Number of model a of each pair, -1 where it has none.
        right: Number of model b.
        reason: Why a pair has no comparison by any criterion, empty where it has one.
        bootstrap: Resamples of the groups of all pairs.
    """

    inputs: Inputs
    request: LeaderboardIn
    models: tuple[str, ...]
    left: IntArray
    right: IntArray
    reason: npt.NDArray[np.str_]
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
        bootstrap = ClusterBootstrap.over(
            [key.group for key in keys] or np.zeros(0, dtype=np.int64),
            np.random.default_rng(request.seed),
            confidence_level=request.confidence_level,
        )
        made = Inputs(
            keys,
            outcomes,
            inputs.labelled,
            inputs.covariates,
            inputs.promise,
            inputs.rests_on,
        )
        return cls(made, request, tuple(names), left, right, _reason(outcomes), bootstrap)

    def comparisons(self, outcomes: Outcomes, members: BoolArray) -> tuple[Comparisons, IntArray]:
        """Return the comparisons of some pairs, and the pair that each is of.

        Raises:
            InvalidArgument: There is none; says why.
        """
        chosen = members[outcomes.row]
        rows = outcomes.row[chosen]
        if rows.size == 0:
            counts = Counter(outcomes.reason[members].tolist())
            why = ", ".join(f"{n} {reason}" for reason, n in counts.items()) or "there are no pairs"
            advice = ": judge them first, with a batch" if set(counts) == {"missing"} else ""
            raise InvalidArgument(f"no comparison to rank the models by ({why}){advice}")
        return self.between(rows, outcomes.score[chosen]), rows

    def between(self, rows: IntArray, score: FloatArray) -> Comparisons:
        """Return comparisons with these results, of these pairs; models that met alone."""
        met = np.unique(np.concatenate([self.left[rows], self.right[rows]]))
        place = np.zeros(len(self.models), dtype=np.int64)
        place[met] = np.arange(len(met))
        models = tuple(self.models[code] for code in met.tolist())
        return Comparisons(
            models, place[self.left[rows]], place[self.right[rows]], score, np.ones(len(rows))
        )

    def counts(self, members: BoolArray) -> dict[str, int]:
        """Count pairs, comparisons and what gave none."""
        reasons = Counter(self.reason[members].tolist())
        comparisons = sum(int(members[one.row].sum()) for one in self.inputs.outcomes.values())
        return {
            "pairs": reasons[""],
            "comparisons": comparisons,
            **{reason: reasons[reason] for reason in REASONS},
        }

    def distinct_pairs(self, compared: Iterable[tuple[Comparisons, IntArray]]) -> Counter[str]:
        """Count by model the pairs that its comparisons are of, however many each pair gave."""
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


def _reason(outcomes: dict[str, Outcomes]) -> npt.NDArray[np.str_]:
    first, *others = [one.reason for one in outcomes.values()]
    reason = first.copy()
    for other in others:
        reason[other == ""] = ""
    return reason
