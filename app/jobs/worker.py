"""The loop of one worker: claim a shard, work on it under a heartbeat, finish or give up."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from contextlib import suppress
from datetime import timedelta

from sqlalchemy.exc import NoResultFound

from app.batches import service as batches
from app.jobs import leases
from app.jobs.judge_shard import judge_shard
from app.models import Shard
from app.runtime import Runtime

_log = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0


def worker_name() -> str:
    """Return a name that no other worker has."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"[:128]


async def work_forever(running: Runtime) -> None:
    """Work on shards until cancelled; whatever a shard does, the loop goes on."""
    name = worker_name()
    while True:
        try:
            busy = await work_once(running, name)
        except Exception:
            # the loop's edge: a database that is away for a moment must not end the worker
            _log.exception("worker %s stumbled", name)
            busy = False
        if not busy:
            await _rest(running)


async def work_once(running: Runtime, worker: str) -> bool:
    """Work on one shard; False where none was free."""
    lease = timedelta(seconds=running.settings.lease_seconds)
    claiming = asyncio.ensure_future(_claim(running, worker, lease))
    try:
        shard = await asyncio.shield(claiming)
    except asyncio.CancelledError:
        # a transaction that is cut off leaves the driver in disorder, and perhaps a lease behind
        if (shard := await claiming) is not None:
            await _hand_back(running, shard, worker)
        raise
    if shard is None:
        return False
    await running.reload_if_waiting()
    try:
        await _work_on(running, shard, worker, lease)
    except asyncio.CancelledError:
        await _hand_back(running, shard, worker)
        raise
    return True


async def _claim(running: Runtime, worker: str, lease: timedelta) -> Shard | None:
    async with running.db.write() as session:
        await batches.expire_overdue(session, running.now())
        return await leases.claim(session, worker, running.now(), lease)


async def _work_on(running: Runtime, shard: Shard, worker: str, lease: timedelta) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            heartbeat = group.create_task(_renew_forever(running, shard, worker, lease))
            await judge_shard(running, shard, worker)
            heartbeat.cancel()
    except* leases.LeaseLost as lost:
        _log.warning("lease lost: %s", lost.exceptions[0])
    except* Exception as errors:
        await _end_badly(running, shard, worker, errors)


async def _renew_forever(running: Runtime, shard: Shard, worker: str, lease: timedelta) -> None:
    while True:
        await asyncio.sleep(lease.total_seconds() / 3)
        async with running.db.write() as session:
            await leases.renew(session, shard, worker, running.now() + lease)


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
    retry_at = None if is_last else running.now() + leases.backoff(shard.attempts)
    # it may be gone by now, with its batch
    with suppress(leases.LeaseLost, NoResultFound):
        async with running.db.write() as session:
            await batches.lock(session, shard.batch_seq)
            await leases.give_up(session, shard, worker, error[:2000], retry_at=retry_at)
            await batches.finalise_if_done(session, shard.batch_seq, running.now())


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
