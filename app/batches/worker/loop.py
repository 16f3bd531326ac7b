"""Claim, heartbeat, finish; who a worker is.

A worker is named `node/process/start/token`. Processes of one node see one another: where the
process is gone, or another one has its number by now, the worker is dead and its leases are free at
once. Of workers on other nodes only the end of a lease tells.
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

from sqlalchemy.exc import DBAPIError, NoResultFound

from app.batches import queries, service
from app.batches import service as batches
from app.batches.worker import leases, spending
from app.batches.worker.shard import Following, judge_shard
from app.core.models import Shard
from app.core.runtime import Runtime
from app.core.tasks import to_the_end

_PROC: Final = Path("/proc")
_LONGEST_NODE: Final = 80


def node_name(given: str | None = None) -> str:
    """Return the name of the place whose processes see one another.

    By default the host, this boot of it and the process namespace: two containers of the same name
    do not take each other's processes for dead. A container that is started anew is another node,
    unless it is `given` a name that stays.
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
    """Return a name that no other worker has."""
    pid = os.getpid()
    return f"{node}/{pid}/{_started(pid)}/{secrets.token_hex(4)}"


def is_dead(worker: str, node: str) -> bool:
    """Whether a worker is known to be dead; False where that cannot be known."""
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
    """When a process was started, in the kernel's own count; empty where it does not say."""
    # the second field is the program's name in brackets, which may hold anything
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


_log = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0
_LOOK_SECONDS = 1.0


async def work_forever(running: Runtime) -> None:
    """Work on shards until cancelled; whatever a shard does, the loop goes on."""
    name = worker_name(node_name(running.settings.node))
    now = asyncio.get_running_loop().time
    busy, looked = False, now()
    while True:
        looks = not busy or now() - looked > _LOOK_SECONDS
        looked = now() if looks else looked
        try:
            busy = await work_once(running, name, looks=looks, goes_on=True)
        except Exception:
            # the loop's edge: a database that is away for a moment must not end the worker
            _log.exception("worker %s stumbled", name)
            busy = False
        if not busy:
            await _rest(running)


async def work_until_ended(running: Runtime, batch_id: str) -> None:
    """Work on the shards of one batch, on several at a time, until it has ended or is deleted.

    Raises:
        NotFound: no batch has this id.
    """
    async with running.db.read() as session:
        batch = await batches.require(session, batch_id)
    async with asyncio.TaskGroup() as group:
        for number in range(max(running.settings.workers, 1)):
            group.create_task(_until_ended(running, batch.seq), name=f"worker {number}")


async def _until_ended(running: Runtime, batch_seq: int) -> None:
    name = worker_name(node_name(running.settings.node))
    while True:
        try:
            busy = await work_once(running, name, batch_seq, goes_on=True)
            if not busy and await _has_ended(running, batch_seq):
                return
        except (DBAPIError, OSError):
            _log.exception("worker %s stumbled", name)
            busy = False
        if not busy:
            await _rest(running)


async def _has_ended(running: Runtime, batch_seq: int) -> bool:
    async with running.db.read() as session:
        batch = await queries.find_by_seq(session, batch_seq)
    return batch is None or batch.status not in queries.UNFINISHED


async def work_in_parallel(running: Runtime) -> None:
    """Work on as many shards at a time as the settings say, until cancelled.

    While the last pairs of one shard wait for the dear judge, the first of the next keep the cheap
    one busy.
    """
    async with asyncio.TaskGroup() as group:
        for number in range(max(running.settings.workers, 1)):
            group.create_task(work_forever(running), name=f"worker {number}")


async def work_once(
    running: Runtime,
    worker: str,
    batch_seq: int | None = None,
    *,
    looks: bool = True,
    goes_on: bool = False,
) -> bool:
    """Work on one shard, of this batch if one is given; False where none was free.

    Args:
        running: The service.
        worker: Who works.
        batch_seq: The only batch to work on; None: any.
        looks: For batches whose time is up and workers that died, before a shard is taken.
        goes_on: With further shards until it is time to look again; shards that take longer than
            that come one by one.
    """
    lease = timedelta(seconds=running.settings.lease_seconds)
    claiming = asyncio.ensure_future(_claim_any(running, worker, lease, batch_seq, looks=looks))
    try:
        shard = await asyncio.shield(claiming)
    except asyncio.CancelledError:
        # a transaction that is cut off leaves the driver in disorder, and perhaps a lease behind
        if (shard := await claiming) is not None:
            await _hand_back(running, shard, worker)
        raise
    if shard is None:
        return False
    now = asyncio.get_running_loop().time
    until = now() + (_LOOK_SECONDS if goes_on else 0.0)
    while shard is not None:
        following = Following(running, worker, lease, batch_seq) if now() < until else None
        try:
            await running.reload_if_waiting()
            await _work_on(running, shard, worker, lease, following)
        except asyncio.CancelledError:
            await _hand_back(running, shard, worker)
            if following is not None and following.shard is not None:
                await _hand_back(running, following.shard, worker)
            raise
        shard = following.shard if following is not None else None
    return True


async def _claim_any(
    running: Runtime, worker: str, lease: timedelta, batch_seq: int | None, *, looks: bool
) -> Shard | None:
    if looks:
        await _release_the_dead(running)
        await _expire_overdue(running)
        if not await _is_any_free(running, batch_seq):
            return None
    while (shard := await _claim(running, worker, lease, batch_seq)) is not None:
        is_poison = shard.attempts > running.settings.max_attempts
        if is_poison or shard.reserved_usd:
            await _bury(running, shard, worker, is_poison=is_poison)
        if not is_poison:
            return shard
    return None


async def _bury(running: Runtime, shard: Shard, worker: str, *, is_poison: bool) -> None:
    """Account for a worker that died over a shard; set aside one that too many died over.

    In a transaction of its own: whoever changes a batch locks the batch first, then its shards.
    """
    error = f"{shard.attempts - 1} workers died of it"
    with suppress(leases.LeaseLost, NoResultFound):
        async with running.db.write() as session:
            batch = await service.locked(session, shard.batch_seq)
            await leases.reserve(session, shard, worker, 0.0)
            spending.count_as_spent(batch, shard.reserved_usd)
            if is_poison:
                await leases.give_up(session, shard, worker, error, retry_at=None)
                await service.shard_set_aside(session, batch, shard, error, running.now())
    shard.reserved_usd = 0.0


async def _release_the_dead(running: Runtime) -> None:
    """Free what workers of this node held that are no more: nobody need wait for their leases."""
    node = node_name(running.settings.node)
    async with running.db.read() as session:
        if not await leases.held_by(session, lambda worker: is_dead(worker, node)):
            return
    async with running.db.write() as session:
        freed = await leases.release(session, lambda worker: is_dead(worker, node))
    _log.info("%d shards of workers that died are free again", freed)


async def _expire_overdue(running: Runtime) -> None:
    async with running.db.read() as session:
        if not await service.is_any_overdue(session, running.now()):
            return
    async with running.db.write() as session:
        await service.expire_overdue(session, running.now())


async def _is_any_free(running: Runtime, batch_seq: int | None) -> bool:
    """Look before writing: an idle worker must not stand in the way of those that work."""
    async with running.db.read() as session:
        moment = await leases.ledger_time(session, running.now)
        return await leases.is_any_free(session, moment, batch_seq=batch_seq)


async def _claim(
    running: Runtime, worker: str, lease: timedelta, batch_seq: int | None
) -> Shard | None:
    async with running.db.write() as session:
        moment = await leases.ledger_time(session, running.now)
        return await leases.claim(session, worker, moment, lease, batch_seq=batch_seq)


async def _work_on(
    running: Runtime, shard: Shard, worker: str, lease: timedelta, following: Following | None
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            heartbeat = group.create_task(_renew_forever(running, shard, worker, lease))
            await judge_shard(running, shard, worker, following)
            heartbeat.cancel()
    except* leases.LeaseLost as lost:
        _log.warning("lease lost: %s", lost.exceptions[0])
    except* Exception as errors:
        await _end_badly(running, shard, worker, errors)


async def _renew_forever(running: Runtime, shard: Shard, worker: str, lease: timedelta) -> None:
    while True:
        await asyncio.sleep(lease.total_seconds() / 3)
        try:
            # of a shard that is done while this waits for the database there is nothing to renew
            await to_the_end(_renew(running, shard, worker, lease), expected=leases.LeaseLost)
        except (DBAPIError, OSError) as error:
            # a database that is away for a moment takes the lease from nobody
            _log.warning("lease of shard %d could not be renewed yet: %s", shard.number, error)


async def _renew(running: Runtime, shard: Shard, worker: str, lease: timedelta) -> None:
    async with running.db.write() as session:
        until = await leases.ledger_time(session, running.now) + lease
        await leases.renew(session, shard, worker, until)


async def _end_badly(
    running: Runtime, shard: Shard, worker: str, errors: ExceptionGroup[Exception]
) -> None:
    """Leave a shard to a later attempt; one that was deleted under our hands needs none."""
    async with running.db.read() as session:
        is_there = await leases.is_there(session, shard)
    if not is_there:
        _log.info("shard %d of batch %d was deleted meanwhile", shard.number, shard.batch_seq)
        return
    _log.error("shard %d of batch %d failed", shard.number, shard.batch_seq, exc_info=errors)
    await _give_up(running, shard, worker, repr(errors.exceptions[0]))


async def _give_up(running: Runtime, shard: Shard, worker: str, error: str) -> None:
    is_last = shard.attempts >= running.settings.max_attempts
    rest = leases.backoff(shard.attempts)
    # it may be gone by now, with its batch
    with suppress(leases.LeaseLost, NoResultFound):
        async with running.db.write() as session:
            batch = await service.locked(session, shard.batch_seq)
            moment = await leases.ledger_time(session, running.now)
            retry_at = None if is_last else moment + rest
            await leases.give_up(session, shard, worker, error[:2000], retry_at=retry_at)
            if is_last:
                await service.shard_set_aside(session, batch, shard, error[:2000], running.now())


async def _hand_back(running: Runtime, shard: Shard, worker: str) -> None:
    """A worker that is stopped in good order lets go of its shard at once."""
    with suppress(leases.LeaseLost):
        async with running.db.write() as session:
            await leases.hand_back(session, shard, worker)


async def _rest(running: Runtime) -> None:
    """Wait for new work; other processes cannot wake us, so look again after a while."""
    with suppress(TimeoutError):
        await asyncio.wait_for(running.wake_workers.wait(), _IDLE_SECONDS)
    running.wake_workers.clear()
