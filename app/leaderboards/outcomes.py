"""Turns labels, scores and verdicts into comparisons, and measures the style of responses.

Pairs without a comparison are counted by reason; an abstention is never a tie or a loss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Unprocessable
from app.core.models import Dataset
from app.datasets.records import PairKey, Vote
from app.datasets.service import response_sides
from app.judgments.replay import Replay
from app.leaderboards.schemas import Control, Votes
from app.scores.table import ScoreTable
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.labels import MISSING, TIE, A, B, mean_sign, plurality, vote_counts
from calibration.preference import preference
from calibration.ranking import Covariates

CODES: Final = {"a": A, "b": B, "tie": TIE}
NO_VERDICT: Final = ("abstained", "failed", "missing")
_POINTS: Final = np.array([1.0, 0.0, 0.5])  # of model_a, by label code


_IN_WORDS: Final = {
    "abstained": "on which no judge was sure enough",
    "failed": "on which the judge failed",
    "missing": "that the judge was not asked about",
    "unlabelled": "without a label",
    "undecided": "whose labels have no majority",
    "without_models": "without the names of two models",
    "same_model": "of a model with itself",
    "calibration_pair": "that the certificate was made from",
    "known_to_judge": "that the judge learnt from",
}


def in_words(counts: Mapping[str, int]) -> str:
    """Name the pairs that are not ranked, by reason."""
    return ", ".join(
        f"{n} pair{'s' * (n != 1)} {_IN_WORDS[reason]}" for reason, n in counts.items() if n
    )


def no_comparison(counts: Mapping[str, int], dataset: str) -> str:
    """Say why no pair ranks models, and what to do about it."""
    why = in_words(counts)
    said = f"no comparison to rank the models by: {why or 'there are no pairs'}"
    if "missing" in counts:
        return f"{said}. {judge_first(dataset)}"
    if "unlabelled" in counts:
        return f"{said}. {label_first(dataset)}"
    return said


def judge_first(dataset: str) -> str:
    """Say how pairs are judged."""
    return f"Judge them first: tribunal batch {dataset} (POST /v1/batches)"


def label_first(dataset: str) -> str:
    """Say how labels are added."""
    return f"Add labels: tribunal label {dataset} FILE (POST /v1/labels)"


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Results on n pairs.

    `row` and `score` hold one entry a comparison: the pair it is of, and what its model a got.
    `reason` (n,) says why a pair has no comparison, empty where it has one. `no_preference` counts
    the pairs that a judge found equal: ties, on which a cascade abstains.
    """

    row: IntArray
    score: FloatArray
    reason: npt.NDArray[np.str_]
    no_preference: int = 0

    def without(self, is_out: BoolArray, why: str) -> Outcomes:
        """Leave pairs out for a reason of up to 16 letters."""
        reason = np.where(is_out, why, self.reason).astype("<U16")
        kept = ~is_out[self.row]
        return Outcomes(self.row[kept], self.score[kept], reason, self.no_preference)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """The labels of n pairs, and the probability with which each was chosen to be labelled.

    `value` (n,) is the score of model a, NaN for a pair without a label; `probability` (n,) is None
    if all pairs were equally likely to be labelled.
    """

    value: FloatArray
    probability: FloatArray | None


def labelled(keys: Sequence[PairKey], votes: Mapping[int, Sequence[Vote]], rule: Votes) -> Labelled:
    """Return one outcome for each labelled pair.

    That is the mean of its votes (`each`), or one vote by the rule; a pair without a majority is a
    tie, since leaving out labelled pairs for what they say would not leave the others alike.
    """
    rows, codes = _cast(keys, votes)
    counts = vote_counts(rows, codes, len(keys))
    n = counts.sum(axis=1)
    if rule == "each":
        value = (counts @ _POINTS) / np.maximum(n, 1)
    else:
        labels = plurality(counts) if rule == "majority" else mean_sign(counts)
        value = np.where(labels == MISSING, 0.5, _POINTS[labels])
    return Labelled(np.where(n > 0, value, np.nan), _label_probability(keys))


def _label_probability(keys: Sequence[PairKey]) -> FloatArray | None:
    declared = [key.metadata.get("label_probability", 1.0) for key in keys]
    if any(
        isinstance(p, bool) or not isinstance(p, int | float) or not 0 < p <= 1 for p in declared
    ):
        raise Unprocessable.field(
            ["dataset"], "metadata.label_probability must lie between 0 and 1 on every pair"
        )
    probability = np.array(declared, dtype=np.float64)
    return probability if probability.size and np.ptp(probability) else None


def _cast(
    keys: Sequence[PairKey], votes: Mapping[int, Sequence[Vote]]
) -> tuple[IntArray, IntArray]:
    cast = [(row, vote) for row, key in enumerate(keys) for vote in votes.get(key.seq, ())]
    rows = np.array([row for row, _ in cast], dtype=np.int64)
    return rows, np.array([CODES[vote.label] for _, vote in cast], dtype=np.int64)


def human_outcomes(
    keys: Sequence[PairKey], votes: Mapping[int, Sequence[Vote]], rule: Votes
) -> Outcomes:
    """Return one comparison for each vote, or one for each pair by majority or mean vote."""
    rows, codes = _cast(keys, votes)
    counts = vote_counts(rows, codes, len(keys))
    reason = np.where(counts.sum(axis=1) == 0, "unlabelled", "").astype("<U16")
    if rule == "each":
        return Outcomes(rows, _POINTS[codes], reason)
    labels = plurality(counts) if rule == "majority" else mean_sign(counts)
    reason[(labels == MISSING) & (reason == "")] = "undecided"
    return _one_a_pair(labels, _POINTS[labels], reason)


def judge_outcomes(table: ScoreTable, *, is_soft: bool) -> Outcomes:
    """Return one comparison for each pair that the one judge of a table scored."""
    p_a, p_tie = table.p_a[:, 0], np.nan_to_num(table.p_tie[:, 0])
    failed = np.isnan(p_a)
    reason = np.where(failed, np.where(table.is_known[:, 0], "failed", "missing"), "")
    labels = verdict_codes(p_a, table.p_tie[:, 0])
    score = np.nan_to_num(p_a + p_tie / 2) if is_soft else _POINTS[labels]
    made = _one_a_pair(labels, score, reason.astype("<U16"))
    said = preference(p_a, table.p_tie[:, 0])
    return replace(made, no_preference=int(said.has_no_preference.sum()))


def cascade_outcomes(verdicts: Replay, table: ScoreTable, *, is_soft: bool) -> Outcomes:
    """Return one comparison for each pair that the cascade answered."""
    # a tier that was skipped because its score is not stored may still change the verdict
    answered = (verdicts.answered_by >= 0) & ~verdicts.is_missing
    # as in a batch: a pair whose judges all failed was not abstained on
    has_score = (verdicts.is_asked & ~np.isnan(table.p_a)).any(axis=1)
    has_failed = verdicts.is_asked.any(axis=1) & ~has_score
    open_because = np.where(has_failed, "failed", "abstained")
    reason = np.where(answered, "", np.where(verdicts.is_missing, "missing", open_because))
    labels = np.where(answered, verdicts.label, MISSING)
    score = _POINTS[labels]
    if is_soft:
        score = np.nan_to_num(verdicts.p_a + verdicts.p_tie / 2)
    return _one_a_pair(labels, score, reason.astype("<U16"))


def verdict_codes(p_a: FloatArray, p_tie: FloatArray) -> IntArray:
    """Return label codes: the most probable of a, b and tie, a tie also where a equals b.

    `MISSING` where the judge gave no probability.
    """
    return preference(p_a, p_tie, ties="class").label_or_tie


def _one_a_pair(labels: IntArray, score: FloatArray, reason: npt.NDArray[np.str_]) -> Outcomes:
    compared = np.flatnonzero(labels != MISSING)
    return Outcomes(compared, score[compared], reason)


_HEADING = re.compile(r"^ {0,3}#{1,6} +\S", re.MULTILINE)
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)]) +\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")

FEATURES: Final[dict[Control, tuple[str, ...]]] = {
    "length": ("length",),
    "style": ("headings", "list_items", "bold"),
}


def measure(turns: Sequence[str]) -> dict[str, int]:
    """Count characters, headings, list items and bold words over the turns of a response."""
    return {
        "length": sum(map(len, turns)),
        "headings": sum(len(_HEADING.findall(turn)) for turn in turns),
        "list_items": sum(len(_LIST_ITEM.findall(turn)) for turn in turns),
        "bold": sum(len(_BOLD.findall(turn)) for turn in turns),
    }


async def covariates(
    session: AsyncSession,
    dataset: Dataset,
    keys: Sequence[PairKey],
    control: Sequence[Control],
) -> Covariates:
    """Return how the two responses of each pair differ; texts are read a page at a time.

    A battle, which has no texts, has no difference; `refuse_battles` keeps those out.
    """
    names = tuple(dict.fromkeys(name for one in control for name in FEATURES[one]))
    amounts: FloatArray = np.zeros((2, len(keys), len(names)))
    row_of = {key.seq: row for row, key in enumerate(keys)}
    async for seq, sides in response_sides(session, dataset):
        row = row_of.get(seq)
        if row is not None:
            for side, turns in enumerate(sides):
                counted = measure(turns)
                amounts[side, row] = [counted[name] for name in names]
    return Covariates.between(names, amounts[0], amounts[1])


def refuse_battles(keys: Sequence[PairKey]) -> None:
    """Refuse pairs without texts.

    Raises:
        Unprocessable: some pairs have none.
    """
    n = sum(key.content_hash is None for key in keys)
    if n:
        message = f"{n} of {len(keys)} pairs have no texts whose length and style could be compared"
        raise Unprocessable.field(["control"], message)
