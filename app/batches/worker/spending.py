"""What a shard may spend, and what it may have spent when a worker dies.

A pair of a batch with a budget is judged only if all judges that it may need are covered. A cheap judge never answers a pair because money ran out for a dearer one: the promise is on the
whole cascade. The most that pairs may cost is reserved before they are judged, and replaced by what
they did cost afterwards. What a dead worker had reserved counts as spent.

With or without a budget, calls that cost money are noted before they are made: the cost of those that
were cut off is unknown, and never taken for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries
from app.batches.creating import most_of_pair
from app.batches.totals import CUT_OFF
from app.batches.worker import leases
from app.bodies.judgments import TierBody, VerdictBody
from app.core.models import Batch, Shard
from app.core.outages import in_words, outages
from app.core.runtime import Runtime
from app.core.tasks import shielded
from app.judgments.authority import Authority
from app.judgments.judging import Knowledge, Subject
from calibration.arrays import FloatArray

_log = logging.getLogger(__name__)
# pairs reserved at a time: few, so that a worker that dies ties up little
_PIECE: Final = 256
_WAIT_SECONDS: Final = 0.25
# pairs after which a soft budget reserves the mean cost of a pair instead of the most
_ENOUGH: Final = 20
_NOTHING: Final = 1e-12
_ROUNDED: Final = 1e-9


class Admitted(NamedTuple):
    """Pairs that may be judged now.

    Attributes:
        number: How many of the next pairs; 0: none.
        most: The most that each may cost in USD, by its id.
        held_usd: What of it the shard held already, for pairs that were put off.
        is_later: More may be admitted when pairs that wait for a provider's batch have cost less.
    """

    number: int
    most: dict[str, float]
    held_usd: float = 0.0
    is_later: bool = False


async def admit(
    running: Runtime,
    shard: Shard,
    authority: Authority,
    subjects: Sequence[Subject],
    held: float = 0.0,
) -> Admitted:
    """Reserve money for the next pairs of a shard; say how many of them may be judged.

    They are admitted in the order given. If what is left does not cover the first one, this waits
    while other workers hold reservations. None is admitted where the budget of the batch is spent,
    or the rest of it is held for pairs that wait for a provider. `held` is what earlier rounds of
    the shard hold for pairs that were put off then.
    """
    piece = subjects[:_PIECE]
    knowledge = Knowledge(authority, piece)
    await knowledge.load(running)
    most = np.array([most_of_pair(authority, knowledge, subject) for subject in piece])
    while True:
        async with running.db.write() as session:
            batch = await queries.locked(session, shard.batch_seq)
            admitted, usd = covered(batch, expected(batch, most), held)
            if admitted or batch.totals.get("is_exhausted"):
                own = min(usd, held)
                await leases.reserve(session, shard, usd - own)
                batch.reserved_usd += usd - own
                named = [subject.pair.id for subject in piece[:admitted]]
                costs = expected(batch, most)[:admitted].tolist()
                return Admitted(admitted, dict(zip(named, costs, strict=True)), own)
            if batch.reserved_usd <= _ROUNDED:
                next_pair = {"is_exhausted": True, "next_pair_usd": float(most[0])}
                batch.totals = {**batch.totals, **next_pair}
                return Admitted(0, {})
            if batch.reserved_usd - await queries.held_usd(session, batch.seq) <= _ROUNDED:
                return Admitted(0, {}, is_later=True)
        await asyncio.sleep(_WAIT_SECONDS)


def expected(batch: Batch, most: FloatArray) -> FloatArray:
    """Return what is reserved for pairs that cost at most `most`, in USD, shape (n,)."""
    costs = batch.totals.get("costs", {})
    if batch.budget_mode == "soft" and costs.get("pairs", 0) >= _ENOUGH:
        most = np.minimum(most, costs.get("sum", 0.0) / costs["pairs"])
    return most


def covered(batch: Batch, costs: FloatArray, held: float = 0.0) -> tuple[int, float]:
    """Return how many of the next pairs the rest of a budget covers, and what to reserve for them.

    `costs` is what to reserve for each, in USD, in the order of admission, shape (n,). `held` is what
    is reserved for such pairs already; it covers them also once the rest is spent.
    """
    is_exhausted = batch.totals.get("is_exhausted")
    if is_exhausted and not held:
        return 0, 0.0
    left = (batch.budget_usd or 0.0) - batch.spent_usd - batch.reserved_usd
    left = held if is_exhausted else left + held
    total = np.cumsum(costs)
    admitted = int(np.searchsorted(total, left + (_ROUNDED if held else _NOTHING), side="right"))
    return admitted, float(total[admitted - 1]) if admitted else 0.0


async def settle(
    running: Runtime, shard: Shard, admitted: Admitted, usd: float | None, held_usd: float = 0.0
) -> None:
    """Replace a reservation by what the pairs have cost, or by all of it if `usd` is None.

    `held_usd` is what those of them that were put off may still cost.
    """
    async with running.db.write() as session:
        batch = await queries.locked(session, shard.batch_seq)
        row = await queries.shard(session, shard.batch_seq, shard.number)
        reserved, held = row.reserved_usd, row.held_usd
        now_held = max(held - admitted.held_usd, 0.0) + held_usd
        await leases.hold(session, shard, now_held)
        batch.reserved_usd = max(batch.reserved_usd - reserved - held + now_held, 0.0)
        batch.spent_usd += reserved + admitted.held_usd if usd is None else usd


def count_as_spent(batch: Batch, reserved_usd: float) -> None:
    """Count what a dead worker had reserved as spent: its calls may have been made.

    The caller holds the lock of the batch.
    """
    batch.reserved_usd = max(batch.reserved_usd - reserved_usd, 0.0)
    batch.spent_usd += reserved_usd


#: A pair by its id, and the name of a judge that is asked about it.
Call = tuple[str, str]


class Calls:
    """The calls of a shard that cost money, stored before they are made.

    Args:
        running: The service.
        shard: The shard, as claimed.

    Attributes:
        cut_off: The calls that earlier attempts did not live to store the scores of.
        lock: Held while they are stored.
    """

    def __init__(self, running: Runtime, shard: Shard) -> None:
        self._running, self._shard = running, shard
        self.cut_off: frozenset[Call] = frozenset((one[0], one[1]) for one in shard.calls or ())
        self._pairs_cut_off = {pair for pair, _ in self.cut_off}
        self.lock = asyncio.Lock()
        # by pair
        self._open: dict[str, set[Call]] = {}
        self._stored: set[Call] = set()

    @property
    def unsettled(self) -> set[Call]:
        """Those whose cost is unknown if this attempt ends now; what is not stored was not made."""
        return self._stored.union(self.cut_off)

    async def before(self, pair: str, judge: str) -> None:
        """Note that a judge is about to be asked; calls that start together share a transaction.

        Once the shard has ended or another attempt at it has begun, this never returns: nothing more
        may be paid for, and the heartbeat of the lease ends this attempt.
        """
        call = (pair, judge)
        self._open.setdefault(pair, set()).add(call)
        while call not in self._stored:
            try:
                async with self.lock:
                    if call not in self._stored:
                        await shielded(self._store())
            except leases.LeaseLost:
                await asyncio.Event().wait()
            except outages() as error:
                _log.warning("calls cannot be noted yet: %s", in_words(error))
                await asyncio.sleep(_WAIT_SECONDS)

    async def _store(self) -> None:
        calls = {*self.cut_off, *chain.from_iterable(self._open.values())}
        async with self._running.db.write() as session:
            await leases.note_calls(session, self._shard, calls)
        self._stored = calls

    async def store_without(self, session: AsyncSession, settled: Collection[Call]) -> None:
        """Strike calls whose scores the same transaction stores; the caller holds the lock."""
        if settled:
            try:
                left = self.cut_off | self._stored.difference(settled)
                await leases.note_calls(session, self._shard, left, is_open=False)
            except leases.LeaseLost:
                # the attempt that has begun since takes them for cut off: its cost is not too low
                _log.info("shard %d has another worker", self._shard.number)

    def strike(self, settled: Collection[Call]) -> None:
        """Forget calls, after the transaction that struck them."""
        self._stored.difference_update(settled)
        for call in settled:
            # two transactions may have struck it
            about_pair = self._open.get(call[0], set())
            about_pair.discard(call)
            if not about_pair:
                self._open.pop(call[0], None)

    def of(self, pair: str) -> Collection[Call]:
        """Return the calls under way about a pair."""
        return self._open.get(pair, ())

    def marked(self, body: VerdictBody) -> VerdictBody:
        """Return a verdict whose cost is unknown if a call about its pair was cut off."""
        if body["id"] not in self._pairs_cut_off:
            return body
        tiers: list[TierBody] = []
        for tier in body["tiers"]:
            flags = [CUT_OFF] if (body["id"], tier["judge"]) in self.cut_off else []
            tiers.append({**tier, "flags": [*tier["flags"], *flags]})
        return {**body, "tiers": tiers, "cost_usd": None}
