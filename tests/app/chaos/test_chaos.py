"""Batches on several processes while processes and databases are killed at random moments."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.app.chaos.cases import CALLS_PER_PAIR, Core, rows
from tests.app.chaos.databases import ChaosDatabase, database
from tests.app.chaos.deployment import Deployment, JudgeProcess, deployment, slow_judge
from tests.app.chaos.losses import Losses
from tests.app.processes import until

pytestmark = pytest.mark.both_databases

WORKERS = 4
CONCURRENCY = 4
PAUSE_SECONDS = 0.1
SHARD_SIZE = 50
SETTINGS = {
    "TRIBUNAL_SHARD_SIZE": str(SHARD_SIZE),
    "TRIBUNAL_LEASE_SECONDS": "6",
    "TRIBUNAL_CHECKPOINT_SECONDS": "0.5",
    "TRIBUNAL_MAX_ATTEMPTS": "20",
    "TRIBUNAL_LOG_LEVEL": "warning",
}
UNDISTURBED = "undisturbed"
# what is said does not depend on how a batch is cut; few shards are quickly done by one process
UNDISTURBED_SETTINGS = {**SETTINGS, "TRIBUNAL_SHARD_SIZE": "1000"}
# fewer than fifty of the large rounds, where time is short
ROUNDS = "CHAOS_ROUNDS"


@dataclass(frozen=True, slots=True)
class Expected:
    """What an undisturbed run says, and what it asks the judge."""

    verdicts: dict[str, Core]
    calls: int


@dataclass(frozen=True, slots=True)
class Blow:
    """Something that is killed once a share of a round's calls has been made."""

    share: float
    strike: Callable[[], None]


class Chaos:
    """One deployment with all that strikes it; every choice comes from one seed."""

    def __init__(self, running: Deployment, seed: int) -> None:
        self.running = running
        self.losses = Losses(running.judge, running.database)
        self._rng = np.random.default_rng([6, seed])

    def blows(self, number: int, *, n: int) -> list[Blow]:
        """Return the blows of one round, in order; each kind comes first in some round."""
        kinds = [self.kill_worker, self.kill_server]
        if self.running.database.server is not None:
            kinds.append(self.crash_database)
        chosen = [kinds[number % len(kinds)]]
        chosen += [kinds[self._rng.integers(len(kinds))] for _ in range(n - 1)]
        shares = np.sort(self._rng.uniform(0.05, 0.95, n))
        return [Blow(float(share), strike) for share, strike in zip(shares, chosen, strict=True)]

    def has_come(self, calls: float, batch_id: str) -> bool:
        """Whether so many calls were made, or there is nothing left to be struck."""
        return self.running.has_ended(batch_id) or self.running.judge.total() >= calls

    def kill_worker(self) -> None:
        until(lambda: bool(self.running.working))
        name = str(self._rng.choice(self.running.working))
        self.running.kill_worker(name)
        self.losses.count([name])
        self.running.start_worker()

    def kill_server(self) -> None:
        name = self.running.kill_server()
        self.losses.count([name])
        self.running.start_server()

    def crash_database(self) -> None:
        self.running.database.crash()
        self.losses.count(self.running.callers)


def play_round(chaos: Chaos, number: int, expected: Expected, *, blows: int) -> None:
    """Run one batch under blows, and hold it against the undisturbed run."""
    running, judge = chaos.running, chaos.running.judge
    name, pairs = f"round {number}", len(expected.verdicts)
    running.upload(name, rows(pairs, number))
    chaos.losses.in_flight = 0
    before, started = judge.total(), time.monotonic()
    batch_id = running.start_batch(name)
    for blow in chaos.blows(number, n=blows):
        due = before + blow.share * expected.calls
        until(partial(chaos.has_come, due, batch_id))
        blow.strike()
    batch = running.wait_for(batch_id)
    assert batch["status"] == "completed", batch
    assert batch["request_counts"]["total"] == pairs
    told = running.told[batch_id]
    assert told == sorted(told), "a pair counted twice, or no more"
    assert told[-1] == pairs
    assert_same(running.cores(batch_id), expected.verdicts)
    calls, in_flight = judge.total() - before, chaos.losses.in_flight
    report(
        f"{running.name}, {name}: {calls} calls, {expected.calls} needed, {in_flight} were in "
        f"flight, {time.monotonic() - started:.1f} s"
    )
    assert expected.calls <= calls <= 1.01 * expected.calls + in_flight
    look_into(running.database, name, pairs=pairs, scored=expected.calls // CALLS_PER_PAIR)


def assert_same(said: dict[str, Core], expected: dict[str, Core]) -> None:
    """Every pair has its verdict, and it is the undisturbed one."""
    assert said.keys() == expected.keys()
    differing = [(said[case], expected[case]) for case in said if said[case] != expected[case]]
    assert not differing, differing[0]


def report(line: str) -> None:
    """Print a figure for whoever runs the tests with their output."""
    print(line)  # noqa: T201 - shown on request only


def look_into(opened: ChaosDatabase, name: str, *, pairs: int, scored: int) -> None:
    """Count what is stored of one round: no verdict and no score twice, no shard left."""
    chosen = f"FROM datasets JOIN %s WHERE datasets.name = '{name}'"
    verdicts = "verdicts ON verdicts.dataset_seq = datasets.seq"
    counted = opened.select(
        "SELECT count(*), count(DISTINCT pair_seq), count(DISTINCT position) " + chosen % verdicts
    )
    assert counted == [(pairs, pairs, pairs)]
    scores = (
        "pairs ON pairs.dataset_seq = datasets.seq"
        " JOIN scores ON scores.content_hash IN (pairs.content_hash, pairs.swapped_hash)"
    )
    counted = opened.select("SELECT count(*), count(DISTINCT pairs.seq) " + chosen % scores)
    assert counted == [(scored, scored)]
    shards = (
        "batches ON batches.dataset_seq = datasets.seq"
        " JOIN shards ON shards.batch_seq = batches.seq"
    )
    states = opened.select("SELECT DISTINCT state " + chosen % shards)
    assert states == [("done",)]


def undisturbed(folder: Path, judge: JudgeProcess, *, pairs: int, rounds: int) -> list[Expected]:
    """Return what one process says where nothing happens."""
    folder.mkdir()
    found = []
    with ExitStack() as stack:
        opened = stack.enter_context(database("sqlite", folder))
        running = stack.enter_context(
            deployment(
                UNDISTURBED,
                opened,
                judge,
                folder=folder,
                settings=UNDISTURBED_SETTINGS,
                concurrency=64,
            )
        )
        running.start_server()
        for number in range(rounds):
            before = judge.total()
            running.upload(f"round {number}", rows(pairs, number))
            batch_id = running.start_batch(f"round {number}")
            assert running.wait_for(batch_id)["status"] == "completed"
            found.append(Expected(running.cores(batch_id), judge.total() - before))
    return found


def survive(
    folder: Path, kind: str, judge: JudgeProcess, expected: list[Expected], *, blows: int
) -> None:
    """Play rounds in one deployment that is struck again and again."""
    with ExitStack() as stack:
        opened = stack.enter_context(database(kind, folder))
        running = stack.enter_context(
            deployment(
                kind, opened, judge, folder=folder, settings=SETTINGS, concurrency=CONCURRENCY
            )
        )
        running.start_server()
        for _ in range(WORKERS):
            running.start_worker()
        until(lambda: len(running.working) == WORKERS)
        chaos = Chaos(running, seed=len(expected))
        for number, wanted in enumerate(expected):
            play_round(chaos, number, wanted, blows=blows)
        assert chaos.losses.largest <= SHARD_SIZE * CALLS_PER_PAIR


@pytest.fixture(scope="module")
def judge() -> Iterator[JudgeProcess]:
    with slow_judge(PAUSE_SECONDS) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(judge: JudgeProcess, tmp_path_factory: pytest.TempPathFactory) -> list[Expected]:
    folder = tmp_path_factory.mktemp("chaos") / UNDISTURBED
    return undisturbed(folder, judge, pairs=1_000, rounds=3)


@pytest.fixture(scope="module")
def expected_of_large(
    judge: JudgeProcess, tmp_path_factory: pytest.TempPathFactory
) -> list[Expected]:
    folder = tmp_path_factory.mktemp("chaos-of-large") / UNDISTURBED
    return undisturbed(folder, judge, pairs=20_000, rounds=int(os.environ.get(ROUNDS, "50")))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_batches_lose_nothing_and_pay_once_whatever_dies(
    tmp_path: Path, kind: str, judge: JudgeProcess, expected: list[Expected]
) -> None:
    survive(tmp_path, kind, judge, expected, blows=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_large_batches_lose_nothing_and_pay_once(
    tmp_path: Path, kind: str, judge: JudgeProcess, expected_of_large: list[Expected]
) -> None:
    survive(tmp_path, kind, judge, expected_of_large, blows=6)
