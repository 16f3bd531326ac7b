"""Asks live judges for the scores that are not stored yet, and stores them as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.datasets import service as datasets
from app.datasets.service import PairKey
from app.errors import JudgeDown
from app.models import Dataset
from app.runtime import Runtime
from app.score_store import ScoreKey, is_recorded, pair_key, score_key, store_scores, stored_scores
from judges.base import Judge
from judges.types import Pair, Score

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


async def ask_missing(
    running: Runtime, judge: Judge, dataset: Dataset, keys: Sequence[PairKey]
) -> int:
    """Ask a judge for every score it still owes; return how many it was asked for.

    Scores are stored chunk by chunk, so what was paid for survives an interruption. A failure is
    stored too, and asked again the next time.

    Raises:
        JudgeDown: the judge failed on every pair of a chunk: it is not at work, and asking on would
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
        scores = await _ask_all(judge, pairs)
        async with running.db.write() as session:
            await store_scores(session, scores, running.now())
        failures = [score.failure for _, score in scores if score.failure]
        if failures and len(failures) == len(scores) and len(scores) >= _TOO_MANY_TO_BE_CHANCE:
            raise JudgeDown(
                f"the judge {judge.spec.name!r} failed on all {len(failures)} pairs that it was "
                f"asked: {failures[0].kind.value}: {failures[0].detail}"
            )
    return len(missing)


async def _ask_all(judge: Judge, pairs: Sequence[Pair]) -> list[tuple[ScoreKey, Score]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(judge.score(pair)) for pair in pairs]
    return [
        (pair_key(judge.spec, pair), task.result()) for pair, task in zip(pairs, tasks, strict=True)
    ]
