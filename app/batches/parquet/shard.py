"""One shard of a batch over files: rows in, one Parquet part out, sums into the database.

What is judged is kept in pieces beside the parts, so that a worker that dies loses little; the next
attempt reads their scores and asks only for what is missing. The part takes its place inside the
transaction that completes the shard: a worker that has lost its lease puts nothing in place.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from app.batches import service
from app.batches.parquet import batch
from app.batches.parquet.files import (
    EarlierRows,
    Row,
    Tables,
    join_pieces,
    piece_path,
    pieces,
    write_piece,
)
from app.batches.totals import added, shard_counts
from app.batches.work import Work
from app.batches.worker import leases
from app.batches.worker.leases import store_patiently
from app.core.models import Shard
from app.core.runtime import Runtime
from app.core.tasks import to_the_end
from app.datasets.score_columns import score_from_row, score_values
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow
from app.formats.joining import Piece
from app.imports.reading import Reader, named_dialect
from app.imports.tables import RawRow
from app.judgments.judging import Judged, Subject, count_verdicts, judge_subjects, show
from app.judgments.service import promise_of
from app.scores.store import Kept
from judges.types import Score

_OF_USAGE = ("prompt", "completion", "cached", "calls")


async def judge_table_shard(
    running: Runtime, shard: Shard, worker: str, work: Work, source: Tables
) -> None:
    """Judge the rows of a shard, write its part, and complete it.

    Raises:
        LeaseLost: the shard is not this worker's any more; its part is not put in place.
    """
    task = _Task(running, shard, worker, work, source)
    try:
        await task.judge()
        await store_patiently(running, shard, worker, task.store)
    except (leases.LeaseLost, asyncio.CancelledError):
        await to_the_end(service.count_cost_of_cancelled(running.db, shard, worker, task.spent))
        raise
    await asyncio.to_thread(task.clean_up)
    if task.is_last:
        await batch.keep_summary(running, work.batch.id, source)


class _Task:
    """A shard at work."""

    def __init__(
        self, running: Runtime, shard: Shard, worker: str, work: Work, source: Tables
    ) -> None:
        self.running, self.shard, self.worker, self.work = running, shard, worker, work
        self.tables, self.slice = source, source.slice_of(shard)
        self.promise = promise_of(work.authority, None)
        self.counts: dict[str, Any] = {}
        self.spent = shard_counts((), ())
        self.is_last = False
        folder = source.pieces(shard.number)
        self.own = folder / f"{shard.attempts:04d}-{worker.rpartition('/')[2]}"
        self.part = source.part(shard.number)
        self.owner = f"{work.batch.id}/{shard.number}"
        self.temporary = self.own / "part.tmp"
        self.is_in_place = False

    async def judge(self) -> None:
        """Judge the rows piece by piece, and join the pieces."""
        earlier = EarlierRows(await asyncio.to_thread(self._attempts), self.part, self.owner)
        rows = pieces(self.slice)
        done: list[Path] = []
        while piece := await asyncio.to_thread(next, rows, None):
            known = await asyncio.to_thread(earlier.of_piece, len(done))
            judged = await self._judge(piece, known)
            done.append(piece_path(self.own, len(done)))
            await asyncio.to_thread(write_piece, done[-1], judged)
        await asyncio.to_thread(join_pieces, done, self.temporary, self.owner)

    def _attempts(self) -> list[Path]:
        self.own.mkdir(parents=True, exist_ok=True)
        return sorted(self.own.parent.iterdir(), reverse=True)

    async def _judge(self, piece: Sequence[RawRow], known: Sequence[Row]) -> list[Row]:
        read = await asyncio.to_thread(_read, self.tables.dialect, piece)
        subjects = [_subject(raw, row) for raw, row in zip(piece, read, strict=True)]
        judged: dict[str, Judged] = {}

        async def take(one: Judged) -> None:
            judged[one.pair.id] = one

        wanted = [subject for subject in subjects if subject is not None]
        await judge_subjects(self.running, self.work.authority, wanted, take, kept=_kept(known))
        rows = [
            self._failed(raw, row) if isinstance(row, str) else self._row(raw, row, judged)
            for raw, row in zip(piece, read, strict=True)
        ]
        shown = [{**row, "promise": self.promise} for row in rows]
        obtained = [
            (score.judge, score.cost_usd) for one in judged.values() for _, score in one.obtained
        ]
        self.counts = added(self.counts, shard_counts(shown, obtained))
        self.spent = added(self.spent, shard_counts((), obtained))
        count_verdicts(shown, is_settled=False)
        return rows

    def _row(self, raw: RawRow, row: ParsedRow, judged: Mapping[str, Judged]) -> Row:
        one = judged[str(raw.line)]
        known = self.work.known
        is_known = known is not None and one.pair.prompt_hash in known.prompts
        body = show(one, self.work.authority, self.promise, is_known=is_known)
        del body["promise"]
        own = [score for _, score in one.obtained]
        return {
            **body, "id": row.id, "file": self.slice.file.path, "row": raw.line,
            "content_hash": one.subject.content_hash, "reason": None,
            "scores": [
                {**_stored(tier.score), "obtained": any(tier.score is score for score in own)}
                for tier in one.verdict.tiers
            ],
        }  # fmt: skip

    def _failed(self, raw: RawRow, reason: str) -> Row:
        """The verdict on a row that is no pair: nobody was asked."""
        named = raw.value.get("id") if isinstance(raw.value, dict) else None
        certificate = self.work.authority.certificate
        return {
            "id": None if named is None else str(named), "status": "failed", "label": None,
            "confidence": None, "judge": None, "tiers": [],
            "calibration": certificate.id if certificate else None, "calibration_pair": False,
            "cost_usd": 0.0, "cached": False, "file": self.slice.file.path, "row": raw.line,
            "content_hash": None, "reason": reason, "scores": [],
        }  # fmt: skip

    async def store(self) -> None:
        """Complete the shard and put its part in place, or neither."""
        async with self.running.db.write() as session:
            batch = await service.locked(session, self.shard.batch_seq)
            await leases.finish(session, self.shard, self.worker, self.counts)
            await service.shard_done(session, batch, self.counts, self.running.now())
            if not self.is_in_place:
                self.temporary.replace(self.part)
                self.is_in_place = True
            # before the commit: a connection that breaks after it tells of nothing any more
            self.is_last = not batch.open_shards

    def clean_up(self) -> None:
        """Remove the pieces of every attempt."""
        shutil.rmtree(self.own.parent, ignore_errors=True)


def _read(dialect: str, piece: Sequence[RawRow]) -> list[ParsedRow | str]:
    """Return what every row says, or why it cannot be judged."""
    reader = Reader(named_dialect(dialect))
    return [_read_one(reader, raw) for raw in piece]


def _read_one(reader: Reader, raw: RawRow) -> ParsedRow | str:
    try:
        row = reader.read(raw)
    except RowInvalid as error:
        return str(error)
    if isinstance(row, Piece):
        return "is not a pair by itself: import it with the rows it belongs to"
    return row if row.pair is not None else "it has no texts to judge"


def _subject(raw: RawRow, row: ParsedRow | str) -> Subject | None:
    """An id may stand in several rows, its row's number in one."""
    if isinstance(row, str) or row.pair is None:
        return None
    return Subject.of(replace(row.pair, id=str(raw.line)), row.metadata)


def _kept(rows: Sequence[Row]) -> dict[tuple[str, str], Kept]:
    """Return the scores of earlier attempts; whoever failed is asked again."""
    return {
        (str(row["row"]), stored["fingerprint"]): Kept(_score(stored), stored["obtained"])
        for row in rows
        for stored in row["scores"]
        if stored["failure"] is None
    }


def _stored(score: Score) -> dict[str, Any]:
    values = score_values(score)
    return {**values, "usage": {name: values["usage"].get(name, 0) for name in _OF_USAGE}}


def _score(stored: Mapping[str, Any]) -> Score:
    row: Any = SimpleNamespace(**stored)
    return score_from_row(row)
