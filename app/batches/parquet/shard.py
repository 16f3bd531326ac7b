"""One shard of a batch over files: rows in, one Parquet part out, sums into the database.

Verdicts are written piece by piece beside the parts, so that a worker that dies loses one piece at
most; the next attempt takes the scores of finished pieces and asks only for the others. The part is
put in place inside the transaction that completes the shard: without its lease, a worker puts
nothing in place.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from app.batches.parquet.batch import keep_summary
from app.batches.parquet.files import (
    HAS_MODELS,
    HAS_REASONS,
    USAGE,
    EarlierRows,
    Row,
    Tables,
    join_pieces,
    piece_path,
    pieces,
    write_piece,
)
from app.batches.worker.checkpoints import Checkpoints, Task, commit_patiently
from app.batches.worker.shard import Portion
from app.bodies.judgments import VerdictBody
from app.datasets.score_columns import score_from_row, score_values
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow
from app.formats.joining import Piece
from app.imports.reading import Reader, named_dialect
from app.imports.tables import RawRow
from app.judgments.judging import Judged, Subject, unasked
from app.judgments.reasons import reason_body
from app.judgments.verdicts import verdict_body
from app.scores.store import Kept
from judges.types import Score


class ParquetShard:
    """A shard of Parquet files; its scores and verdicts become one file."""

    def __init__(self, task: Task, source: Tables) -> None:
        shard = task.shard
        self._task, self._tables, self._slice = task, source, source.slice_of(shard)
        self._checkpoints = Checkpoints(task)
        # of one piece, by the number of the row
        self._judged: dict[str, tuple[Judged, VerdictBody]] = {}
        attempt = f"{shard.attempts:04d}-{(shard.worker or '').rpartition('/')[2]}"
        self._folder = source.pieces(shard.number) / attempt
        self._owner = f"{task.work.batch.id}/{shard.number}"
        self._part, self._temporary = source.part(shard.number), self._folder / "part.tmp"
        self._is_in_place = False

    async def items(self) -> AsyncGenerator[Portion, None]:
        """Yield the rows piece by piece; write each when it is judged, and join all at the end."""
        earlier = EarlierRows(await asyncio.to_thread(self._attempts), self._part, self._owner)
        rows = pieces(self._slice)
        done: list[Path] = []
        while piece := await asyncio.to_thread(next, rows, None):
            kept = await asyncio.to_thread(self._kept, earlier, len(done))
            read = await asyncio.to_thread(_read, self._tables.dialect, piece)
            subjects = [_subject(raw, row) for raw, row in zip(piece, read, strict=True)]
            self._judged = {}
            before = self._checkpoints.calls.before
            yield Portion([one for one in subjects if one is not None], before, kept=kept)
            done.append(piece_path(self._folder, len(done)))
            await asyncio.to_thread(
                write_piece,
                done[-1],
                self._verdicts(piece, read),
                **self._columns,
            )
            await self._settle()
        await asyncio.to_thread(join_pieces, done, self._temporary, self._owner, **self._columns)

    def _kept(self, earlier: EarlierRows, number: int) -> dict[tuple[str, str], Kept]:
        """Return the scores of earlier attempts without failures: those judges are asked again."""
        since = self._checkpoints.payer.since
        counted = earlier.of_piece(number, since) if since is not None else ()
        paid = {key for key, _ in _answers(counted)}
        return {
            key: Kept(_score(stored), stored["obtained"], is_counted=key in paid)
            for key, stored in _answers(earlier.of_piece(number))
        }

    async def _settle(self) -> None:
        """Strike the calls whose scores are in a finished piece."""
        self._checkpoints.settle(one for one, _ in self._judged.values())
        await self._checkpoints.save()

    @property
    def _columns(self) -> dict[str, bool]:
        """Which further columns the parts of this run have."""
        tables = self._tables
        return {HAS_MODELS: tables.has_models, HAS_REASONS: tables.has_reasons}

    def _attempts(self) -> list[Path]:
        self._folder.mkdir(parents=True, exist_ok=True)
        return sorted(self._folder.parent.iterdir(), reverse=True)

    async def keep(self, judged: Judged) -> None:
        """Take one judged pair of the piece; it is written with the piece."""
        work = self._task.work
        is_known = work.known is not None and judged.pair.prompt_hash in work.known.prompts
        body = verdict_body(judged, work.authority, self._task.promise, is_known=is_known)
        # under the number of its row, as its calls are noted
        body = self._checkpoints.calls.marked(body)
        self._checkpoints.add(body, judged)
        self._judged[judged.verdict.id] = judged, body

    def saving(self) -> AbstractAsyncContextManager[None]:
        """Store counts while the block runs; of an attempt only the finished pieces are kept."""
        return self._checkpoints.saving()

    def spent(self) -> dict[str, Any]:
        """Return the counts of what was spent so far, without verdicts."""
        return self._checkpoints.spent()

    def _verdicts(self, piece: Sequence[RawRow], read: Sequence[ParsedRow | str]) -> list[Row]:
        """Return the verdicts on a judged piece."""
        return [
            self._failed(raw, row) if isinstance(row, str) else self._row(raw, row)
            for raw, row in zip(piece, read, strict=True)
        ]

    def _row(self, raw: RawRow, row: ParsedRow) -> Row:
        one, body = self._judged[str(raw.line)]
        own, told = [score for _, score in one.obtained], one.explained
        return {
            **body, "id": row.id, "file": self._slice.file.path, "row": raw.line,
            "content_hash": one.subject.content_hash, "reason": None,
            "model_a": one.pair.model_a, "model_b": one.pair.model_b,
            "explanation": None if told is None else reason_body(told.reason, body["label"]),
            "scores": [
                {**_stored(tier.score), "obtained": any(tier.score is score for score in own)}
                for tier in one.verdict.tiers
            ],
        }  # fmt: skip

    def _failed(self, raw: RawRow, reason: str) -> Row:
        """Return the verdict on a row that is not a pair: no judge was asked."""
        named = raw.value.get("id") if isinstance(raw.value, dict) else None
        verdict = unasked("", "failed")
        body = verdict_body(verdict, self._task.work.authority, self._task.promise)
        self._checkpoints.add(body)
        return {
            **body, "id": None if named is None else str(named), "file": self._slice.file.path,
            "row": raw.line, "content_hash": None, "reason": reason, "scores": [],
            "model_a": None, "model_b": None, "explanation": None,
        }  # fmt: skip

    async def complete(self) -> None:
        """Complete the shard and put its part in place, or neither."""
        await commit_patiently(self._task, self._commit)
        self._checkpoints.count_in_metrics(self._checkpoints.counts)
        await asyncio.to_thread(shutil.rmtree, self._folder.parent, ignore_errors=True)
        if self._task.is_last:
            await keep_summary(self._task.running, self._task.work.batch.id, self._tables)

    async def _commit(self) -> None:
        self._checkpoints.settle_all()
        async with self._checkpoints.transaction(is_last=True) as session:
            await self._task.finish(session, self._checkpoints.counts)
            if not self._is_in_place:
                self._temporary.replace(self._part)
                self._is_in_place = True


def _read(dialect: str, piece: Sequence[RawRow]) -> list[ParsedRow | str]:
    """Return every row as parsed, or why it cannot be judged."""
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
    """Return what to judge, by the number of its row: ids may repeat; None where nothing can be."""
    if isinstance(row, str) or row.pair is None:
        return None
    return Subject.of(replace(row.pair, id=str(raw.line)), row.metadata)


def _answers(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for row in rows:
        for stored in row["scores"]:
            if stored["failure"] is None:
                yield (str(row["row"]), stored["fingerprint"]), stored


def _stored(score: Score) -> dict[str, Any]:
    values = score_values(score)
    return {**values, "usage": {name: values["usage"].get(name, 0) for name in USAGE}}


def _score(stored: Mapping[str, Any]) -> Score:
    row: Any = SimpleNamespace(**stored)
    return score_from_row(row)
