"""The life of one file of questions: sealed, uploaded, made into a batch, its answers fetched.

Every step is stored before the next, so any process can continue where another died. Only the
request that makes the batch costs money; before it the file is marked `creating`. If no answer comes,
the worker waits until the request must have arrived or failed. Then it looks for the mark in the
provider's list, and makes another batch only if the list has none.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries
from app.batches.provider.lines import LINES, RESOLVED
from app.core.inert import storable
from app.core.models import Batch, ProviderFile
from app.core.runtime import Runtime
from judges.openai.batches import Line, ProviderBatch, ProviderBatches, ProviderFailed
from judges.openai.judge import OpenAIJudge
from judges.types import FailureKind, JudgeFailure

_log = logging.getLogger(__name__)
#: Bytes of the bodies in one file, far below what providers take.
MOST_BYTES: Final = 64 * 2**20
_CHUNK: Final = 1_000
_LEASE: Final = timedelta(minutes=15)
_LONGEST_PAUSE: Final = timedelta(minutes=10)
# requests in a row that are refused for good, or answered with less than the provider counted
_MOST_REFUSALS: Final = 10
_MOST_SHORT: Final = 3
_TOO_MUCH_AT_A_TIME: Final = "token_limit_exceeded"


async def seal(
    session: AsyncSession, batch_seq: int, judge: str, moment: datetime, most: int
) -> int:
    """Put queued questions of a batch and a judge into a file; return their number."""
    # only one of two processes may do it
    await queries.locked(session, batch_seq)
    query = (
        select(LINES.c.shard, LINES.c.question, LINES.c.round, LINES.c.bytes)
        .where(LINES.c.batch_seq == batch_seq, LINES.c.judge == judge, LINES.c.state == "queued")
        .order_by(LINES.c.created_at, LINES.c.shard, LINES.c.question)
        .limit(most)
    )
    chosen: list[dict[str, Any]] = []
    total = 0
    for row in await session.execute(query):
        total += row.bytes
        if chosen and total > MOST_BYTES:
            break
        chosen.append({"s": row.shard, "q": row.question, "r": row.round})
    if not chosen:
        return 0
    file = ProviderFile(
        batch_seq=batch_seq,
        judge=judge,
        state="sealed",
        mark=secrets.token_hex(16),
        lines=len(chosen),
        answered=0,
        left_out=0,
        attempts=0,
        is_cancelled=False,
        next_at=moment,
        created_at=moment,
    )
    session.add(file)
    await session.flush()
    statement = (
        update(LINES)
        .where(
            LINES.c.batch_seq == batch_seq,
            LINES.c.shard == bindparam("s"),
            LINES.c.question == bindparam("q"),
            LINES.c.round == bindparam("r"),
        )
        .values(state="waiting", file_seq=file.seq)
    )
    await (await session.connection()).execute(statement, chosen)
    return len(chosen)


async def due(session: AsyncSession, moment: datetime) -> Sequence[ProviderFile]:
    """Return the files that are due, and those of batches that have ended."""
    # the list may not have a batch yet that was made a moment ago
    is_over = (
        Batch.status.not_in(queries.UNFINISHED)
        & ProviderFile.is_cancelled.is_(False)
        & (ProviderFile.state != "creating")
    )
    query = (
        select(ProviderFile)
        .join(Batch, Batch.seq == ProviderFile.batch_seq)
        .where(ProviderFile.state != "ended", or_(ProviderFile.next_at <= moment, is_over))
        .order_by(ProviderFile.seq)
    )
    return (await session.scalars(query)).all()


@dataclass(slots=True)
class Courier:
    """Takes a file from step to step.

    Attributes:
        running: The service.
        name: Of the worker that holds the file.
    """

    running: Runtime
    name: str

    async def advance(self, file: ProviderFile) -> bool:
        """Take a file as far as it goes now; return whether it has ended.

        The caller holds it.
        """
        try:
            return await self._advance(file, self._batches_of(file))
        except ProviderFailed as error:
            return await self._try_later(file, error)

    def _batches_of(self, file: ProviderFile) -> ProviderBatches:
        judge = self.running.registry.judges.get(file.judge)
        if not isinstance(judge, OpenAIJudge):
            detail = f"there is no judge {file.judge!r} behind a server any more"
            failure = JudgeFailure(FailureKind.UNAVAILABLE, detail)
            raise ProviderFailed(failure, is_passing=False)
        return judge.any_batches

    async def _advance(self, file: ProviderFile, batches: ProviderBatches) -> bool:
        is_over = await self._is_over(file)
        if file.state == "sealed":
            if is_over:
                await self._end(file, "left_out", "the batch ended before this was sent")
                return True
            await self._send(file, batches)
        elif file.state == "creating":
            found = await batches.find(file.file_id or "", file.mark)
            if found is not None:
                await self._note_sent(file, found)
            elif is_over:
                await self._end(file, "left_out", "the batch ended before this was sent")
                return True
            else:
                await self._create(file, batches)
        if file.state != "sent":
            return False
        return await self._look(file, batches, is_over=is_over)

    async def _is_over(self, file: ProviderFile) -> bool:
        async with self.running.db.read() as session:
            batch = await queries.find_by_seq(session, file.batch_seq)
        return batch is None or batch.status not in queries.UNFINISHED

    async def _send(self, file: ProviderFile, batches: ProviderBatches) -> None:
        if file.file_id is None:
            name = f"tribunal-{file.mark}.jsonl"
            file_id = await batches.upload(name, await self._content(file, batches))
            await self._note(file, file_id=file_id, attempts=0)
        await self._create(file, batches)

    async def _content(self, file: ProviderFile, batches: ProviderBatches) -> bytes:
        query = (
            select(LINES.c.shard, LINES.c.question, LINES.c.round, LINES.c.body)
            .where(LINES.c.file_seq == file.seq, LINES.c.state == "waiting")
            .order_by(LINES.c.shard, LINES.c.question)
        )
        async with self.running.db.read() as session:
            rows = (await session.execute(query)).all()
        return b"".join(
            batches.line_of(_custom_id(row.shard, row.question, row.round), row.body)
            for row in rows
        )

    async def _create(self, file: ProviderFile, batches: ProviderBatches) -> None:
        await self._note(file, state="creating", next_at=self._settled())
        try:
            made = await batches.create(file.file_id or "", file.mark)
        except ProviderFailed as error:
            if not error.is_unclear:
                # the request was refused, so there is no batch
                await self._note(file, state="sealed", next_at=self.running.now())
            raise
        await self._note_sent(file, made)

    def _settled(self) -> datetime:
        """Return when a request sent now must have arrived or failed."""
        return self.running.now() + timedelta(seconds=self.running.settings.provider_settle_seconds)

    async def _note_sent(self, file: ProviderFile, made: ProviderBatch) -> None:
        now = self.running.now()
        await self._note(
            file,
            state="sent",
            provider_id=made.id,
            status=made.status,
            sent_at=now,
            attempts=0,
            error=None,
            next_at=self._next_look(),
        )

    def _next_look(self) -> datetime:
        return self.running.now() + timedelta(seconds=self.running.settings.provider_poll_seconds)

    async def _look(self, file: ProviderFile, batches: ProviderBatches, *, is_over: bool) -> bool:
        provider_id = file.provider_id or ""
        made = await batches.get(provider_id)
        if is_over and not made.has_ended and not file.is_cancelled:
            await self._cancel(file, batches)
        if not made.has_ended:
            await self._note(file, status=made.status, attempts=0, next_at=self._next_look())
            return False
        if made.status == "failed" and not made.files:
            return await self._refused(file, made)
        if made.status != file.status:
            await self._note(file, status=made.status, attempts=0)
        return await self._fetch(file, batches, made)

    async def _cancel(self, file: ProviderFile, batches: ProviderBatches) -> None:
        try:
            await batches.cancel(file.provider_id or "")
        except ProviderFailed as error:
            if error.is_passing:
                raise
            _log.warning("file %s cannot be cancelled: %s", file.mark, error.failure.detail)
        await self._note(file, is_cancelled=True)

    async def _refused(self, file: ProviderFile, made: ProviderBatch) -> bool:
        """End a file that the provider refused; nothing was billed."""
        why = f"the provider refused the batch: {made.error or made.status}"
        if made.code == _TOO_MUCH_AT_A_TIME and not await self._is_over(file):
            # the provider has too many batches; a new one is made from this file when others end
            await self._note(
                file,
                state="sealed",
                mark=secrets.token_hex(16),
                file_id=None,
                provider_id=None,
                status=made.status,
                error=why,
                next_at=self.running.now() + _LONGEST_PAUSE,
            )
            return False
        await self._end(file, "left_out", why, made.status)
        return True

    async def _fetch(
        self, file: ProviderFile, batches: ProviderBatches, made: ProviderBatch
    ) -> bool:
        answers = _Answers()
        for file_id in made.files:
            async for line in batches.lines(file_id):
                answers.take(line)
                if len(answers.fresh) >= _CHUNK:
                    await self._keep(file, answers)
        await self._keep(file, answers)
        missing = made.answered - answers.count
        if missing > 0 and file.attempts < _MOST_SHORT:
            # reading the files again may bring answers that were paid for
            _log.warning("file %s: %d answers are missing: it is read again", file.mark, missing)
            next_at = self._next_look()
            await self._note(file, status=made.status, attempts=file.attempts + 1, next_at=next_at)
            return False
        await self._end(file, "left_out", made.error or None, made.status)
        return True

    async def _keep(self, file: ProviderFile, answers: _Answers) -> None:
        """Store answers; never replace one that is no failure."""
        rows = [
            {"b": file.batch_seq, "s": s, "q": q, "r": r, "code": line.status, "a": line.content}
            for line in answers.fresh
            for s, q, r in [_parsed(line.custom_id)]
            if q
        ]
        answers.fresh.clear()
        if not rows:
            return
        statement = (
            update(LINES)
            .where(
                LINES.c.batch_seq == bindparam("b"),
                LINES.c.shard == bindparam("s"),
                LINES.c.question == bindparam("q"),
                LINES.c.round == bindparam("r"),
                LINES.c.file_seq == file.seq,
                (LINES.c.state == "waiting") | (LINES.c.status != 200),
            )
            .values(state="answered", status=bindparam("code"), answer=bindparam("a"), body=None)
        )
        async with self.running.db.write() as session:
            await (await session.connection()).execute(statement, rows)
            await _set(session, file, {"held_until": self.running.now() + _LEASE})

    async def _end(
        self, file: ProviderFile, rest: str, error: str | None, status: str | None = None
    ) -> None:
        """End a file; the lines without an answer become `rest`."""
        async with self.running.db.write() as session:
            await session.execute(
                update(LINES)
                .where(LINES.c.file_seq == file.seq, LINES.c.state.not_in(RESOLVED))
                .values(state=rest, body=None)
            )
            counted = await session.execute(
                select(LINES.c.state, func.count().label("number"))
                .where(LINES.c.file_seq == file.seq)
                .group_by(LINES.c.state)
            )
            counts = Counter({row.state: row.number for row in counted})
            values = {
                "state": "ended",
                "answered": counts["answered"],
                "left_out": counts["left_out"] + counts["lost"],
                "ended_at": self.running.now(),
                "error": error or file.error,
                "status": status or file.status,
            }
            await _set(session, file, values)

    async def _lose(self, file: ProviderFile, why: str) -> None:
        _log.error("file %s of judge %s is lost: %s", file.mark, file.judge, why)
        was_sent = file.state in ("creating", "sent")
        await self._end(file, "lost" if was_sent else "left_out", why)

    async def _try_later(self, file: ProviderFile, error: ProviderFailed) -> bool:
        """Note why a request failed; give up the file where a retry cannot help."""
        attempts = file.attempts + 1
        _log.warning("file %s of judge %s: %s", file.mark, file.judge, error.failure.detail)
        is_final = not error.is_passing and (file.state == "sealed" or attempts >= _MOST_REFUSALS)
        if is_final:
            await self._lose(file, error.failure.detail)
            return True
        pause = timedelta(seconds=self.running.settings.provider_poll_seconds)
        next_at = self.running.now() + min(pause * 2 ** min(attempts - 1, 10), _LONGEST_PAUSE)
        await self._note(
            file,
            attempts=attempts,
            error=error.failure.detail,
            next_at=max(next_at, file.next_at),
        )
        return False

    async def put_off(self, file: ProviderFile, why: str) -> None:
        """Try a file again later that nobody knew how to advance."""
        failure = JudgeFailure(FailureKind.UNPARSEABLE, f"it could not be advanced: {why}")
        await self._try_later(file, ProviderFailed(failure, is_passing=True))

    async def _note(self, file: ProviderFile, **values: Any) -> None:
        async with self.running.db.write() as session:
            await _set(session, file, values)
        for name, value in values.items():
            setattr(file, name, value)

    async def hold(
        self, found: ProviderFile, is_dead: Callable[[str], bool]
    ) -> ProviderFile | None:
        """Take a file that no living worker holds; return its present state, None if another has it."""
        moment, holder = self.running.now(), found.holder
        is_held = found.held_until is not None and found.held_until > moment
        if holder is not None and is_held and not is_dead(holder):
            return None
        is_same = ProviderFile.holder.is_(None) if holder is None else ProviderFile.holder == holder
        async with self.running.db.write() as session:
            held = await session.execute(
                update(ProviderFile)
                .where(ProviderFile.seq == found.seq, ProviderFile.state != "ended", is_same)
                .values(holder=self.name, held_until=moment + _LEASE)
                .returning(ProviderFile.seq)
                .execution_options(synchronize_session=False)
            )
            if held.first() is None:
                return None
            # another worker may have taken it further in the meantime
            return await session.get_one(ProviderFile, found.seq, populate_existing=True)

    async def let_go(self, file: ProviderFile) -> None:
        """Free a file for any worker."""
        async with self.running.db.write() as session:
            await session.execute(
                update(ProviderFile)
                .where(ProviderFile.seq == file.seq, ProviderFile.holder == self.name)
                .values(holder=None, held_until=None)
            )


class HoldLost(Exception):
    """Another worker has taken the file, or it was deleted."""


async def _set(session: AsyncSession, file: ProviderFile, values: dict[str, Any]) -> None:
    # what a provider says may hold what no database stores
    kept = {name: storable(one) if isinstance(one, str) else one for name, one in values.items()}
    found = await session.execute(
        update(ProviderFile)
        .where(ProviderFile.seq == file.seq, ProviderFile.holder == file.holder)
        .values(**kept)
        .returning(ProviderFile.seq)
        .execution_options(synchronize_session=False)
    )
    if found.first() is None:
        raise HoldLost(f"file {file.mark}")


class _Answers:
    """Answers in the order in which they came; of several to one question a good one counts."""

    def __init__(self) -> None:
        self.fresh: list[Line] = []
        self._seen: dict[str, bool] = {}

    @property
    def count(self) -> int:
        """The number of questions that the model has answered."""
        return sum(self._seen.values())

    def take(self, line: Line) -> None:
        """Take an answer, unless one as good is there already."""
        known = self._seen.get(line.custom_id)
        if line.status is None or known or (known is not None and not line.is_good):
            return
        self._seen[line.custom_id] = line.is_good
        self.fresh.append(line)


def _custom_id(shard: int, question: str, round_: int) -> str:
    return f"{shard}-{question}-{round_}"


_CUSTOM_ID: Final = re.compile(r"(\d{1,9})-([0-9a-f]{32})-(\d{1,9})", re.ASCII)


def _parsed(custom_id: str) -> tuple[int, str, int]:
    """Return shard, key and round of a question; an empty key where the question is not ours."""
    found = _CUSTOM_ID.fullmatch(custom_id)
    return (0, "", 0) if found is None else (int(found[1]), found[2], int(found[3]))
