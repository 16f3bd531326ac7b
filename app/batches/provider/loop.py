"""Sends questions to providers and fetches their answers, in every process that works on batches.

What a file waits for is stored with it, so no process has to live as long as the wait. No worker
holds a shard that waits: workers go on with other shards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from app.batches.provider import files, lines
from app.batches.provider.files import Courier, HoldLost
from app.batches.provider.salvage import overdue, salvage
from app.core.models import ProviderFile
from app.core.outages import in_words, outage, outages
from app.core.runtime import Runtime

_log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 1.0


class Rounds:
    """Rounds over all files and shards that wait.

    Args:
        running: The service.
        name: The name of the worker.
        is_dead: Says whether a worker is known to be dead.
    """

    def __init__(self, running: Runtime, name: str, is_dead: Callable[[str], bool]) -> None:
        self._running, self._name, self._is_dead = running, name, is_dead
        self._woken_at: datetime | None = None
        # by judge: a provider that hangs, or says what nobody can read, keeps no other waiting
        self._going: dict[str, asyncio.Task[bool]] = {}

    async def go(self) -> None:
        """Send the questions that are ripe, check every file that is due, and free the shards with answers.

        Files that take long are left to themselves, and the next rounds leave out their judges.
        """
        running = self._running
        moment = running.now()
        await self._seal(moment)
        async with running.db.read() as session:
            due = await files.due(session, moment)
        ended = await self._advance_all(due)
        poll = timedelta(seconds=running.settings.provider_poll_seconds)
        if ended or self._woken_at is None or moment - self._woken_at >= poll:
            self._woken_at = moment
            await self._wake()
            await self._salvage(moment)

    async def _seal(self, moment: datetime) -> None:
        settings = self._running.settings
        long_ago = moment - timedelta(seconds=settings.provider_collect_seconds)
        async with self._running.db.read() as session:
            ripe = await lines.ripe(session, long_ago, settings.provider_lines)
        for batch_seq, judge in ripe:
            async with self._running.db.write() as session:
                count = await files.seal(session, batch_seq, judge, moment, settings.provider_lines)
            _log.info("%d questions of judge %s go to its provider", count, judge)

    async def _advance_all(self, due: Sequence[ProviderFile]) -> bool:
        """Advance files, those of each judge in turn; return whether some have ended since the last time."""
        by_judge: dict[str, list[ProviderFile]] = {}
        for file in due:
            by_judge.setdefault(file.judge, []).append(file)
        for judge, own in by_judge.items():
            if judge not in self._going:
                work = self._advance_files(own)
                self._going[judge] = self._running.start(work, f"files of {judge}")
        if not self._going:
            return False
        done, _ = await asyncio.wait(self._going.values(), timeout=_LOOK_SECONDS)
        self._going = {name: task for name, task in self._going.items() if task not in done}
        return any(not task.cancelled() and task.result() for task in done)

    async def _advance_files(self, own: Sequence[ProviderFile]) -> bool:
        ended = False
        for file in own:
            try:
                ended |= await self._advance(file)
            except outages() as error:
                _log.warning("files for providers have to wait: %s", in_words(error))
            except Exception:
                _log.exception("worker %s stumbled over file %s", self._name, file.mark)
        return ended

    async def _advance(self, found: ProviderFile) -> bool:
        courier = Courier(self._running, self._name)
        file = await courier.hold(found, self._is_dead)
        if file is None:
            return False
        try:
            return await courier.advance(file)
        except HoldLost as lost:
            _log.warning("%s is another worker's now", lost)
            return False
        except Exception as error:
            if outage(error) is None:
                await courier.put_off(file, in_words(error))
            raise
        finally:
            await courier.let_go(file)

    async def _salvage(self, moment: datetime) -> None:
        """Store what came for batches that have ended, once no worker holds their shards."""
        long_ago = moment - timedelta(seconds=3 * self._running.settings.lease_seconds)
        async with self._running.db.read() as session:
            left = await overdue(session, long_ago)
        for batch_seq, number in left:
            await salvage(self._running, batch_seq, number)

    async def _wake(self) -> None:
        async with self._running.db.read() as session:
            is_needed = await lines.is_any_to_wake(session)
        if not is_needed:
            return
        async with self._running.db.write() as session:
            woken = await lines.wake(session)
        if woken:
            self._running.wake_workers.set()


async def go_round_forever(running: Runtime, name: str, is_dead: Callable[[str], bool]) -> None:
    """Repeat rounds until cancelled; an error ends a round, not the loop."""
    rounds = Rounds(running, name, is_dead)
    pause = min(_LOOK_SECONDS, running.settings.provider_poll_seconds)
    while True:
        try:
            await rounds.go()
        except outages() as error:
            _log.warning("files for providers have to wait: %s", in_words(error))
        except Exception:
            _log.exception("worker %s stumbled over files for providers", name)
        await asyncio.sleep(pause)
