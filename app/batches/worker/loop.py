"""Workers: claim a shard, keep its lease while it is judged, give it up where that fails.

A worker is named `node/process/start/token`. Processes of one node see one another: if the process
does not exist any more, or another one has its number now, the worker is dead and its leases are
free at once. Workers of other nodes are known to be dead only when their leases have run out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.exc import NoResultFound
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries, service, stored
from app.batches.parquet.files import tables_of
from app.batches.parquet.shard import ParquetShard
from app.batches.provider.lines import ShardDesk
from app.batches.provider.loop import go_round_forever
from app.batches.work import work_of
from app.batches.worker import leases, spending
from app.batches.worker.checkpoints import Task
from app.batches.worker.leases import NextShard
from app.batches.worker.shard import DatabaseShard, ShardStore, judge_shard
from app.core.models import Shard
from app.core.outages import in_words, outages
from app.core.runtime import Runtime
from app.core.tasks import shielded

_log = logging.getLogger(__name__)
_PROC: Final = Path("/proc")
_LONGEST_NODE: Final = 80


def node_name(given: str | None = None) -> str:
    """Return the name of the node: the place whose processes see one another.

    By default the host, its current boot and the process namespace, so that two containers of the
    same name do not take each other's processes for dead. A restarted container is another node,
    unless it is `given` a name that stays the same.
    """
    if given:
        return given.replace("/", "_")[:_LONGEST_NODE]
    boot = _read(_PROC / "sys/kernel/random/boot_id")[:8]
    try:
        namespace = str((_PROC / "self/ns/pid").stat().st_ino)
    except OSError:
        namespace = ""
    return f"{socket.gethostname()[:40]}:{boot}:{namespace}".replace("/", "_")


def worker_name(node: str) -> str:
    """Return a unique name for a worker of a node."""
    pid = os.getpid()
    return f"{node}/{pid}/{_started(pid)}/{secrets.token_hex(4)}"


def is_dead(worker: str, node: str) -> bool:
    """Say whether a worker is known to be dead; False where that cannot be known."""
    place, _, rest = worker.partition("/")
    parts = rest.split("/")
    if place != node or len(parts) != 3 or not parts[0].isdigit():
        return False
    pid, started = int(parts[0]), parts[1]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _started(pid) != started


def _started(pid: int) -> str:
    """Return when a process started, in the kernel's own count; empty if it does not say."""
    # the second field is the program's name in brackets, which may contain spaces and brackets
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


_IDLE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 1.0
_LONGEST_BACKOFF: Final = timedelta(minutes=5)


class Worker:
    """Works on one shard at a time.

    Args:
        running: The service.
        name: Unique among all workers.
        lease: How long a shard stays claimed without being renewed.
        batch_seq: The only batch to work on; None for any.
    """

    def __init__(
        self,
        running: Runtime,
        name: str | None = None,
        lease: timedelta | None = None,
        *,
        batch_seq: int | None = None,
    ) -> None:
        self._running = running
        self._node = node_name(running.settings.node)
        self.name = name or worker_name(self._node)
        self._lease = lease or timedelta(seconds=running.settings.lease_seconds)
        self._longest = leases.Longest(self._lease, _LONGEST_BACKOFF)
        self._batch_seq = batch_seq

    async def work(self, *, looks: bool = True, goes_on: bool = False) -> bool:
        """Claim a shard and judge it; return False if none was free.

        Args:
            looks: End overdue batches and free the shards of dead workers first.
            goes_on: Go on with the shards that completions claim, until it is time to look again.
        """
        claiming = asyncio.ensure_future(self.claim(looks=looks))
        try:
            shard = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # cut off, the transaction would leave the driver in disorder and perhaps a lease behind
            await self._hand_back(await claiming)
            raise
        if shard is None:
            return False
        now = asyncio.get_running_loop().time
        until = now() + (_LOOK_SECONDS if goes_on else 0.0)
        while shard is not None:
            next_shard = NextShard(self._claim_untried) if now() < until else None
            try:
                await self._running.reload_if_waiting()
                await self._judge(shard, next_shard)
            except asyncio.CancelledError:
                await self._hand_back(shard)
                await self._hand_back(next_shard.shard if next_shard else None)
                raise
            shard = next_shard.shard if next_shard else None
        return True

    async def claim(self, *, looks: bool = True) -> Shard | None:
        """Claim the next free shard that not too many workers have died over."""
        if looks and not await self._look():
            return None
        while True:
            async with self._running.db.write() as session:
                moment = await leases.ledger_time(session, self._running.now)
                shard = await leases.claim(
                    session, self.name, moment, self._lease, batch_seq=self._batch_seq
                )
            if shard is None:
                return None
            is_poison = shard.attempts > self._running.settings.max_attempts
            if is_poison or shard.reserved_usd:
                await self._account_for_the_dead(shard, is_poison=is_poison)
            if not is_poison:
                return shard

    async def _look(self) -> bool:
        """Free the shards of dead workers, end overdue batches; say whether a shard is free.

        Reads before it writes, so that an idle worker never makes the others wait.
        """
        db, now = self._running.db, self._running.now
        async with db.read() as session:
            has_dead = bool(await leases.holders(session, self._is_dead))
            has_overdue = bool(await queries.overdue(session, now(), locked=False))
            moment = await leases.ledger_time(session, now)
            has_overlong = await leases.is_any_overlong(session, moment, self._longest)
            is_free = await leases.is_any_free(session, moment, batch_seq=self._batch_seq)
        if not (has_dead or has_overdue or has_overlong):
            return is_free
        if has_dead:
            async with db.write() as session:
                freed = await leases.release(session, self._is_dead)
            _log.info("%d shards of workers that died are free again", freed)
        if has_overlong:
            _log.warning("shards are leased for longer than a lease: the clock was set back")
            async with db.write() as session:
                moment = await leases.ledger_time(session, now)
                await leases.shorten(session, moment, self._longest)
        if has_overdue:
            async with db.write() as session:
                await service.expire_overdue(session, now())
        async with db.read() as session:
            moment = await leases.ledger_time(session, now)
            return await leases.is_any_free(session, moment, batch_seq=self._batch_seq)

    def _is_dead(self, worker: str) -> bool:
        return is_dead(worker, self._node)

    async def _claim_untried(self, session: AsyncSession) -> Shard | None:
        moment = await leases.ledger_time(session, self._running.now)
        return await leases.claim_untried(
            session, self.name, moment, self._lease, batch_seq=self._batch_seq
        )

    async def _account_for_the_dead(self, shard: Shard, *, is_poison: bool) -> None:
        """Count what a dead worker had reserved as spent; set aside a shard that kills workers.

        In a transaction of its own: a batch is locked before its shards, a claim locks a shard.
        """
        error = f"{shard.attempts - 1} workers died of it"
        with suppress(leases.LeaseLost, NoResultFound):
            async with self._running.db.write() as session:
                batch = await queries.locked(session, shard.batch_seq)
                await leases.reserve(session, shard, 0.0)
                spending.count_as_spent(batch, shard.reserved_usd)
                if is_poison:
                    await leases.give_up(session, shard, error, retry_at=None)
                    moment = self._running.now()
                    await service.shard_set_aside(session, batch, shard, error, moment)
        shard.reserved_usd = 0.0

    async def _judge(self, shard: Shard, next_shard: NextShard | None) -> None:
        """Judge a shard and keep renewing its lease; after a failure, a later attempt takes it up."""
        try:
            async with asyncio.TaskGroup() as group:
                heartbeat = group.create_task(self._renew_forever(shard))
                task, store = await self._open(shard, next_shard)
                await judge_shard(task, store)
                heartbeat.cancel()
        except* leases.LeaseLost as lost:
            _log.warning("lease lost: %s", lost.exceptions[0])
        except* Exception as errors:
            await self._end_badly(shard, errors)

    async def _open(self, shard: Shard, next_shard: NextShard | None) -> tuple[Task, ShardStore]:
        """Read what is needed to judge a shard, with the pairs if they are in the database."""
        async with self._running.db.read() as session:
            work = await work_of(session, self._running.registry, shard.batch_seq)
            if (tables := tables_of(work.batch)) is None:
                task = Task(self._running, shard, work, next_shard)
                desk = await ShardDesk.open(session, shard, work.authority)
                return task, DatabaseShard(task, await work.items(session, shard), desk)
        task = Task(self._running, shard, work)
        return task, ParquetShard(task, tables)

    async def _renew_forever(self, shard: Shard) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                # a shard may be completed while this waits for the database
                await shielded(self.renew(shard), expected=leases.LeaseLost)
            except outages() as error:
                # a database that is unreachable for a moment ends no lease
                _log.warning(
                    "lease of shard %d could not be renewed yet: %s", shard.number, in_words(error)
                )

    async def renew(self, shard: Shard) -> None:
        """Extend the lease from now."""
        async with self._running.db.write() as session:
            until = await leases.ledger_time(session, self._running.now) + self._lease
            await leases.renew(session, shard, until)

    async def _end_badly(self, shard: Shard, errors: ExceptionGroup[Exception]) -> None:
        """Give up a shard, unless it was deleted while it was judged."""
        async with self._running.db.read() as session:
            is_deleted = not await leases.exists(session, shard)
        if is_deleted:
            _log.info(
                "shard %d of batch %d was deleted in the meantime", shard.number, shard.batch_seq
            )
            return
        _log.error("shard %d of batch %d failed", shard.number, shard.batch_seq, exc_info=errors)
        await self.give_up(shard, in_words(errors.exceptions[0]))

    async def give_up(self, shard: Shard, error: str) -> None:
        """Leave a shard to a later attempt, or set it aside after the last one."""
        is_last = shard.attempts >= self._running.settings.max_attempts
        # the shard may have been deleted with its batch by now
        with suppress(leases.LeaseLost, NoResultFound):
            async with self._running.db.write() as session:
                batch = await queries.locked(session, shard.batch_seq)
                moment = await leases.ledger_time(session, self._running.now)
                retry_at = None if is_last else moment + backoff(shard.attempts)
                await leases.give_up(session, shard, error, retry_at=retry_at)
                if is_last:
                    moment = self._running.now()
                    await service.shard_set_aside(session, batch, shard, error, moment)

    async def _hand_back(self, shard: Shard | None) -> None:
        """Free a shard at once, because this worker is being stopped."""
        if shard is not None:
            with suppress(leases.LeaseLost):
                async with self._running.db.write() as session:
                    await leases.hand_back(session, shard)


def backoff(attempts: int) -> timedelta:
    """Return the pause of a shard after so many failed attempts."""
    return min(timedelta(seconds=2.0 ** min(attempts, 16)), _LONGEST_BACKOFF)


async def work_forever(running: Runtime) -> None:
    """Work on shards until cancelled, whatever happens to one of them."""
    worker = Worker(running)
    now = asyncio.get_running_loop().time
    busy, looked = False, now()
    while True:
        looks = not busy or now() - looked > _LOOK_SECONDS
        looked = now() if looks else looked
        try:
            busy = await worker.work(looks=looks, goes_on=True)
        except Exception:
            # an unreachable database must not end the worker
            _log.exception("worker %s stumbled", worker.name)
            busy = False
        if not busy:
            await _rest(running)


async def work_in_parallel(running: Runtime) -> None:
    """Work on as many shards at a time as the settings say, until cancelled.

    While the last pairs of one shard wait for a dear judge, the first of the next keep the cheap
    one busy.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(go_round(running), name="files for providers")
        for number in range(max(running.settings.workers, 1)):
            group.create_task(work_forever(running), name=f"worker {number}")


async def work_until_ended(running: Runtime, batch_id: str) -> None:
    """Work on several shards of one batch at a time, until it has ended or is deleted."""
    async with running.db.read() as session:
        batch = await stored.require(session, batch_id)
    going_round = asyncio.create_task(go_round(running), name="files for providers")
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(max(running.settings.workers, 1)):
                group.create_task(_until_ended(running, batch.seq), name=f"worker {number}")
    finally:
        going_round.cancel()
        await asyncio.wait([going_round])


async def go_round(running: Runtime) -> None:
    """Take questions to the judges' providers and answers back, until cancelled."""
    node = node_name(running.settings.node)
    await go_round_forever(running, worker_name(node), lambda worker: is_dead(worker, node))


async def _until_ended(running: Runtime, batch_seq: int) -> None:
    worker = Worker(running, batch_seq=batch_seq)
    while True:
        try:
            busy = await worker.work(goes_on=True)
            if not busy and await _has_ended(running, batch_seq):
                return
        except outages():
            _log.exception("worker %s stumbled", worker.name)
            busy = False
        if not busy:
            await _rest(running)


async def _has_ended(running: Runtime, batch_seq: int) -> bool:
    async with running.db.read() as session:
        batch = await queries.find_by_seq(session, batch_seq)
    return batch is None or batch.status not in queries.UNFINISHED


async def _rest(running: Runtime) -> None:
    """Wait until this process has new work, or a while: other processes cannot wake this one."""
    with suppress(TimeoutError):
        await asyncio.wait_for(running.wake_workers.wait(), _IDLE_SECONDS)
    running.wake_workers.clear()
