"""The shard that a worker goes on with, taken in the transaction that ends the one before.

On SQLite those who write wait for each other. A worker that asked for its next shard by itself would
stand behind the results of others, and while they are stored nobody would judge.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.jobs import leases
from app.models import Shard
from app.runtime import Runtime


class Following:
    """Takes a shard that nobody has tried yet, of this batch if one is given."""

    def __init__(
        self, running: Runtime, worker: str, lease: timedelta, batch_seq: int | None
    ) -> None:
        self._running, self._worker, self._lease = running, worker, lease
        self._batch_seq = batch_seq
        self.shard: Shard | None = None

    async def claim(self, session: AsyncSession) -> None:
        """Take the next shard, if there is one, as part of the caller's transaction."""
        self.shard = None
        moment = await leases.ledger_time(session, self._running.now)
        self.shard = await leases.claim_untried(
            session, self._worker, moment, self._lease, batch_seq=self._batch_seq
        )

    def forget(self) -> None:
        """The transaction was rolled back, and the shard is not ours."""
        self.shard = None
