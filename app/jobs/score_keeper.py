"""Keeps the scores that a shard has obtained before the shard is done.

A score was paid for, perhaps waited for long, and is true whoever obtained it: it is stored within
seconds, so that a worker that dies loses what is on its way and little more. The verdicts wait for
the end of the shard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.finishing import to_the_end
from app.judgments.judging import Judged
from app.runtime import Runtime
from app.score_store import Payer, ScoreKey, store_scores
from judges.types import Score

_log = logging.getLogger(__name__)


class ScoreKeeper:
    """The scores of one shard that are not stored yet."""

    def __init__(self, running: Runtime, payer: Payer) -> None:
        self._running = running
        self._payer = payer
        self._unsaved: list[tuple[ScoreKey, Score]] = []

    def add(self, judged: Judged) -> None:
        """Note what was newly obtained."""
        self._unsaved += judged.fresh

    def take(self) -> list[tuple[ScoreKey, Score]]:
        """Return what is not stored, to a transaction that stores it."""
        taken, self._unsaved = self._unsaved, []
        return taken

    def put_back(self, scores: list[tuple[ScoreKey, Score]]) -> None:
        """Note that a transaction did not store these after all."""
        self._unsaved = scores + self._unsaved

    async def save(self) -> None:
        """Store what is not stored; what cannot be stored now is kept for the next time."""
        scores = self.take()
        if not scores:
            return
        try:
            async with self._running.db.write() as session:
                await store_scores(session, scores, self._running.now(), self._payer)
        except BaseException:
            self.put_back(scores)
            raise

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Store regularly while the block runs, and what is left when it fails."""
        regularly = asyncio.create_task(self._save_regularly())
        try:
            yield
        except BaseException:
            await _settled(regularly)
            await to_the_end(self._save_or_say())
            raise
        finally:
            await _settled(regularly)

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._running.settings.checkpoint_seconds)
            # cut off in the middle, a transaction would leave the driver in disorder
            await to_the_end(self._save_or_say())

    async def _save_or_say(self) -> None:
        try:
            await self.save()
        except Exception as error:
            _log.warning("%d scores could not be stored yet: %s", len(self._unsaved), error)


async def _settled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
