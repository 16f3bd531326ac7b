"""Loads stored scores as arrays, and fetches missing ones from the judges.

A recorded judge (or a jury of them) answers from the scores that came with the pair; no score of it
is ever missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from glob import escape
from sys import intern
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import JudgeDown
from app.core.models import Dataset
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets import stored_pairs
from app.datasets.records import PairKey
from app.scores.store import ScoreKey, is_recorded, pair_key, score_key, store_scores, stored_scores
from calibration.arrays import BoolArray, FloatArray
from judges.base import Judge, JudgeSpec
from judges.cascade import Pause, answer, bounded_map
from judges.types import FailureKind, Pair, Score

_CHUNK = 500
NO_FAILURE = -1
_FAILURES = tuple(FailureKind)
_NUMBERS = ("p_a", "p_tie", "shown_first", "shown_second", "rating_a", "rating_b", "cost_usd")


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Scores of n pairs by k judges as arrays of shape (n, k).

    `p_a` and `p_tie` are NaN where there is no number; `is_known` says that the judge was asked or
    recorded, so `is_known & isnan(p_a)` is a failure. `shown_first` and `shown_second` are the
    mean preference for a by the place it was shown in, NaN where an order is missing, and for a
    judge that rates each response alone: it has `rating_a` and `rating_b`, others NaN. `cost_usd`
    is NaN where unknown. `manner` says how the answer came about, see `judges.types.Score`.
    `failure` is the number of the failure's kind among `FailureKind`, `NO_FAILURE` without one.
    """

    judges: tuple[str, ...]
    p_a: FloatArray
    p_tie: FloatArray
    is_known: BoolArray
    manner: npt.NDArray[np.object_]
    shown_first: FloatArray
    shown_second: FloatArray
    rating_a: FloatArray
    rating_b: FloatArray
    cost_usd: FloatArray
    failure: npt.NDArray[np.int8]

    def rows(self, index: npt.ArrayLike) -> ScoreTable:
        """Return the scores of some pairs, by a mask or an array of indices."""
        return self._taken(self.judges, np.asarray(index))

    def columns(self, index: Sequence[int]) -> ScoreTable:
        """Return the scores of some judges."""
        taken = list(index)
        return self._taken(tuple(self.judges[column] for column in taken), np.s_[:, taken])

    def _taken(self, judges: tuple[str, ...], index: Any) -> ScoreTable:
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "judges"}
        return ScoreTable(judges=judges, **arrays)

    @property
    def has_failed(self) -> BoolArray:
        """Say where a judge was asked and gave no number, shape (n, k)."""
        return self.is_known & np.isnan(self.p_a)


async def load_table(  # noqa: PLR0913 - whose scores, of what, and how they are read
    session: AsyncSession,
    dataset: Dataset,
    keys: Sequence[PairKey],
    judges: Sequence[Judge],
    *,
    with_failures: bool = False,
    annotators: int | None = None,
) -> ScoreTable:
    """Return the stored scores of these judges on these pairs of one dataset; ask no judge.

    Only the scores of a few hundred pairs are in memory at a time, the rest as arrays.

    Args:
        session: A transaction.
        dataset: Whose pairs.
        keys: The pairs.
        judges: The judges.
        with_failures: Whether a live judge that failed on a pair counts as asked about it.
        annotators: Only the first so many simulated annotators of each judge are heard.
    """
    recorded = _recorded_names(dataset, judges)
    names = tuple(judge.spec.name for judge in judges)
    parts = []
    for start in range(0, max(len(keys), 1), _CHUNK):
        some = keys[start : start + _CHUNK]
        found = await stored_pairs.scores_on(session, [key.seq for key in some], recorded)
        columns = [
            await _recorded_column(judge, some, found)
            if is_recorded(judge.spec)
            else await _live_column(session, judge.spec, some, with_failures=with_failures)
            for judge in judges
        ]
        if annotators is not None:
            columns = [[_first(score, annotators) for score in column] for column in columns]
        parts.append(_table(names, columns, len(some)))
    return _joined(parts)


def _first(score: Score | None, annotators: int) -> Score | None:
    """Return a score as its first annotators alone would have made it, at their share of the cost.

    None for ratings: their probability is of the mean distributions, which are not kept.
    """
    if score is None or score.p_a is None or len(score.annotators) <= annotators:
        return score
    if score.ratings is not None:
        return None
    kept = score.annotators[:annotators]
    said = [value for row in kept for value in row[:2] if value is not None]
    share = annotators / len(score.annotators)
    return replace(
        score,
        annotators=kept,
        p_a=sum(said) / len(said) if said else None,
        cost_usd=None if score.cost_usd is None else score.cost_usd * share,
    )


def _joined(parts: Sequence[ScoreTable]) -> ScoreTable:
    arrays: dict[str, Any] = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(ScoreTable)
        if f.name != "judges"
    }
    return ScoreTable(judges=parts[0].judges, **arrays)


def _recorded_names(dataset: Dataset, judges: Sequence[Judge]) -> list[str]:
    """Return the recorded judges whose scores these judges, or juries, answer from."""
    patterns = [
        pattern
        for judge in judges
        if is_recorded(judge.spec)
        for pattern in judge.spec.scored_by.get("members", [escape(judge.spec.name)])
    ]
    return datasets.matching(dataset, patterns)


async def _recorded_column(
    judge: Judge, keys: Sequence[PairKey], recorded: Mapping[int, Mapping[str, Score]]
) -> list[Score | None]:
    """Ask a recorded judge, with pairs that carry nothing but their records."""
    return [
        await judge.score(Pair(key.id, (), ("",), ("",), recorded=recorded.get(key.seq, {})))
        for key in keys
    ]


async def _live_column(
    session: AsyncSession, spec: JudgeSpec, keys: Sequence[PairKey], *, with_failures: bool
) -> list[Score | None]:
    wanted = [
        score_key(spec, key.content_hash, key.swapped_hash)
        if key.content_hash and key.swapped_hash
        else None
        for key in keys
    ]
    found = await stored_scores(
        session,
        spec.fingerprint,
        list({key.content_hash for key in wanted if key}),
        with_failures=with_failures,
    )
    column: list[Score | None] = []
    for key in wanted:
        stored = found.get(key.content_hash) if key else None
        score = stored.score if stored else None
        column.append(score.mirrored() if score and key and key.is_mirrored else score)
    return column


def _table(
    judges: tuple[str, ...], columns: Sequence[Sequence[Score | None]], n: int
) -> ScoreTable:
    shape = (n, len(judges))
    numbers = {name: np.full(shape, np.nan) for name in _NUMBERS}
    is_known = np.zeros(shape, dtype=bool)
    manner = np.full(shape, "", dtype=object)
    failure = np.full(shape, NO_FAILURE, dtype=np.int8)
    for j, column in enumerate(columns):
        for i, score in enumerate(column):
            if score is None or _is_absent(score):
                continue
            is_known[i, j] = True
            manner[i, j] = intern(score.manner)
            if score.failure is not None:
                failure[i, j] = _FAILURES.index(score.failure.kind)
            for name, value in _numbers(score).items():
                numbers[name][i, j] = np.nan if value is None else value
    return ScoreTable(judges=judges, is_known=is_known, manner=manner, failure=failure, **numbers)


def _is_absent(score: Score) -> bool:
    """Return whether a recorded judge has no record: it was never asked, so it did not fail."""
    return score.failure is not None and score.failure.kind is FailureKind.NOT_RECORDED


def _numbers(score: Score) -> dict[str, float | None]:
    ratings = score.ratings
    rows = score.annotators if ratings is None else ()
    return {
        "p_a": score.p_a,
        "p_tie": score.p_tie,
        "shown_first": _mean([row[0] for row in rows if row]),
        "shown_second": _mean([row[1] for row in rows if len(row) > 1]),
        "rating_a": ratings[0] if ratings else None,
        "rating_b": ratings[1] if ratings else None,
        "cost_usd": score.cost_usd,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


_ASKED_AT_ONCE = 200
_TOO_MANY_TO_BE_CHANCE = 10


async def missing_scores(running: Runtime, judge: Judge, keys: Sequence[PairKey]) -> list[PairKey]:
    """Return the pairs that a live judge has no stored score for; none for a recorded judge."""
    if is_recorded(judge.spec):
        return []
    wanted = {
        score_key(judge.spec, key.content_hash, key.swapped_hash).content_hash: key
        for key in keys
        if key.content_hash and key.swapped_hash
    }
    async with running.db.read() as session:
        found = await stored_scores(session, judge.spec.fingerprint, list(wanted))
    return [key for content_hash, key in wanted.items() if content_hash not in found]


async def fetch_missing(
    running: Runtime, judge: Judge, dataset: Dataset, keys: Sequence[PairKey]
) -> int:
    """Fetch every missing score of a judge; return how many it was asked for.

    Scores are stored chunk by chunk, so what was paid for survives an interruption. A failure is
    stored too; the next call asks again.

    Raises:
        JudgeDown: the judge failed on every pair of a chunk: it is down, and more questions would
            tell nothing about its answers.
    """
    missing = await missing_scores(running, judge, keys)
    for start in range(0, len(missing), _ASKED_AT_ONCE):
        chunk = missing[start : start + _ASKED_AT_ONCE]
        async with running.db.read() as session:
            pairs = [
                pair
                for _, pair in await datasets.read_pairs(
                    session, dataset, seqs=[key.seq for key in chunk]
                )
            ]
        scores = await _ask_all(judge, pairs, running.courtesy.pause)
        async with running.db.write() as session:
            await store_scores(session, scores, running.now())
        failures = [score.failure for _, score in scores if score.failure]
        if failures and len(failures) == len(scores) and len(scores) >= _TOO_MANY_TO_BE_CHANCE:
            raise JudgeDown(
                f"the judge {judge.spec.name!r} failed on all {len(failures)} pairs that it was "
                f"asked: {failures[0].kind.value}: {failures[0].detail}"
            )
    return len(missing)


async def _ask_all(
    judge: Judge, pairs: Sequence[Pair], pause: Pause
) -> list[tuple[ScoreKey, Score]]:
    scores: dict[str, Score] = {}

    async def ask(pair: Pair) -> None:
        scores[pair.id] = await answer(judge, pair)

    await bounded_map(pairs, ask, _ASKED_AT_ONCE, pause)
    return [(pair_key(judge.spec, pair), scores[pair.id]) for pair in pairs]
