"""The lease ledger under schedules that no one would think of: nothing is lost, nothing ends twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from app.core.db import Database
from app.core.models import Batch, Shard
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import open_runtime
from tests.app.chaos.ledger import LEASE, RETRY, Clock, Ledger, batch_of

pytestmark = pytest.mark.both_databases

SHARDS = 3
WORKERS = ("one", "two", "three")
STEPS = ("claim", "claim", "renew", "finish", "give up", "set aside", "hand back", "wait", "cancel")


class Step(NamedTuple):
    """One step of a schedule; `choice` picks among the shards that the worker thinks it has."""

    kind: str
    worker: str
    choice: int
    seconds: float


steps = st.builds(
    Step,
    st.sampled_from(STEPS),
    st.sampled_from(WORKERS),
    st.integers(0, 3),
    st.sampled_from([1.0, RETRY.total_seconds() + 1, LEASE.total_seconds() + 1]),
)


@dataclass(slots=True)
class Play:
    """One schedule, with what must be true of the ledger whatever the order of steps is.

    A worker whose lease ran out does not know it: it keeps the shard in hand and goes on.
    """

    ledger: Ledger
    batch: Batch
    in_hand: dict[str, list[Shard]] = field(default_factory=dict)
    leased_until: dict[int, tuple[str, float]] = field(default_factory=dict)
    is_cancelled: bool = False

    @property
    def seconds(self) -> float:
        return self.ledger.clock().timestamp()

    @property
    def ended(self) -> set[int]:
        return {*self.ledger.finished, *self.ledger.set_aside}

    async def step(self, step: Step) -> None:
        if step.kind == "wait":
            self.ledger.clock.advance(step.seconds)
        elif step.kind == "cancel":
            await self.cancel(step)
        elif step.kind == "claim":
            await self.claim(step.worker)
        elif held := self.in_hand.get(step.worker):
            await self.use(step, held[step.choice % len(held)])

    async def cancel(self, step: Step) -> None:
        """Rarely, and only what still runs."""
        is_over = self.is_cancelled or len(self.ended) == SHARDS
        if step.choice == 0 and not is_over:
            await self.ledger.cancel(self.batch)
            self.is_cancelled = True

    async def claim(self, worker: str) -> None:
        free = {
            number
            for number in range(SHARDS)
            if number not in self.ended
            and self.leased_until.get(number, ("", -1.0))[1] < self.seconds
        }
        shard = await self.ledger.claim(worker)
        if shard is None:
            assert self.is_cancelled or not free, f"{free} are free and nobody may have them"
            return
        assert not self.is_cancelled, "a cancelled batch is worked on"
        assert shard.number in free, f"{shard.number} is taken from who has it or has ended"
        self.in_hand.setdefault(worker, []).append(shard)
        self.leased_until[shard.number] = (worker, self.seconds + LEASE.total_seconds())

    async def use(self, step: Step, shard: Shard) -> None:
        worker, number = step.worker, shard.number
        is_holder = self.leased_until.get(number, ("", 0.0))[0] == worker
        succeeded = await self._done(step.kind, shard)
        assert not (succeeded and self.is_cancelled), "a cancelled shard came to an end"
        assert not succeeded or is_holder, "who lost a lease may end the shard"
        if succeeded and step.kind == "renew":
            self.leased_until[number] = (worker, self.seconds + LEASE.total_seconds())
            return
        if succeeded:
            rest = RETRY.total_seconds() if step.kind == "give up" else -1.0
            self.leased_until[number] = ("", self.seconds + rest)
        if succeeded or step.kind != "renew":
            self.in_hand[worker].remove(shard)

    async def _done(self, kind: str, shard: Shard) -> bool:
        if kind == "renew":
            return await self.ledger.renew(shard)
        if kind == "finish":
            return await self.ledger.finish(shard)
        if kind == "hand back":
            return await self.ledger.hand_back(shard)
        return await self.ledger.give_up(shard, for_good=kind == "set aside")

    async def drain(self) -> None:
        """Whoever died, one that lives on can finish all that is left."""
        self.ledger.clock.advance(10 * LEASE.total_seconds())
        while (shard := await self.ledger.claim("last")) is not None:
            assert shard.number not in self.ended
            assert await self.ledger.finish(shard)

    async def check_the_end(self) -> None:
        finished, set_aside = self.ledger.finished, self.ledger.set_aside
        assert len(finished) == len(set(finished)), "a shard was finished twice"
        assert not set(finished) & set(set_aside)
        states = await self.ledger.states(self.batch)
        open_ones = set(range(SHARDS)) - self.ended
        assert {n for n, state in states.items() if state == "done"} == set(finished)
        assert {n for n, state in states.items() if state == "failed"} == set(set_aside)
        assert {n for n, state in states.items() if state == "cancelled"} == open_ones
        assert not open_ones or self.is_cancelled, f"{open_ones} are lost"
        ended_as = "cancelled" if self.is_cancelled else "completed" if finished else "failed"
        assert await self.ledger.status(self.batch) == ended_as


async def play(ledger: Ledger, schedule: list[Step]) -> None:
    """Play a schedule to its end and beyond."""
    batch = await batch_of(ledger.db, ledger.clock(), SHARDS)
    played = Play(ledger, batch)
    for step in schedule:
        await played.step(step)
    await played.drain()
    await played.check_the_end()


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_no_schedule_ends_a_shard_twice_or_loses_it(
    empty_database_url: str, loop: asyncio.Runner
) -> None:
    clock = Clock()

    async def opened(stack: AsyncExitStack) -> Runtime:
        settings = Settings(database_url=empty_database_url, workers=0)
        runtime = await stack.enter_async_context(open_runtime(settings, loads_models=False))
        runtime.now = clock
        return runtime

    stack = AsyncExitStack()
    running = loop.run(opened(stack))

    @drawn(
        max_examples=50,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(steps, max_size=25))
    def hold(schedule: list[Step]) -> None:
        loop.run(play(Ledger(running.db, clock, running), schedule))

    try:
        hold()
    finally:
        loop.run(stack.aclose())


MANY = 40


async def work(ledger: Ledger, batch: Batch, name: str, rng: np.random.Generator) -> None:
    """Work as processes do that stall, fail, stop and die, until the batch has ended."""
    for _ in range(30 * MANY):
        shard = await ledger.claim(name)
        if shard is not None:
            await befall(ledger, shard, str(rng.choice(FATES, p=CHANCES)))
        elif await ledger.status(batch) != "in_progress":
            return
        ledger.clock.advance(float(rng.uniform(0, 2)))
        await asyncio.sleep(float(rng.uniform(0, 0.003)))
    raise AssertionError("the batch never ends")


FATES, CHANCES = ("finish", "stall", "fail", "stop", "die"), (0.4, 0.2, 0.1, 0.1, 0.2)


async def befall(ledger: Ledger, shard: Shard, fate: str) -> None:
    """End the work on a shard in one of the ways in which it can end."""
    if fate == "stall":
        # longer than the lease, while others work: then it goes on as if nothing had happened
        ledger.clock.advance(LEASE.total_seconds() + 1)
        await asyncio.sleep(0.005)
    if fate in ("finish", "stall"):
        await ledger.finish(shard)
    elif fate == "fail":
        await ledger.give_up(shard, for_good=False)
    elif fate == "stop":
        await ledger.hand_back(shard)


async def test_workers_at_once_end_every_shard_exactly_once(db: Database) -> None:
    """Each has connections of its own, as processes have."""
    clock = Clock()
    batch = await batch_of(db, clock(), MANY)
    finished: list[int] = []
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for number in range(5):
            own = Database(db.url)
            stack.push_async_callback(own.aclose)
            ledger = Ledger(own, clock, finished=finished)
            rng = np.random.default_rng([6, number])
            group.create_task(work(ledger, batch, f"worker {number}", rng))
    assert sorted(finished) == list(range(MANY))
    ledger = Ledger(db, clock)
    assert set((await ledger.states(batch)).values()) == {"done"}
    assert await ledger.status(batch) == "completed"
