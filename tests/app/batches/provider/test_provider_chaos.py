"""The service and the provider of its judge are killed at random moments, again and again."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.app.batches.provider.fake_provider import Plan, spelt
from tests.app.processes import PATIENCE_SECONDS, ROOT, Running, free_port, tribunal, until
from tests.app.rows import ndjson
from tests.judges.model_server import PROMPT_TOKENS

CALL = (PROMPT_TOKENS + 1) * 100 / 1e6
ENDED = ("completed", "failed", "cancelled", "expired")
BAD = Plan(looks=2, dropped=0.05, failed=0.05, repeated=0.3, expired=0.2, unheard=0.3, garbled=0.02)
# whatever it is asked it answers in the end, so that no call is made directly
LOSSY = Plan(looks=2, repeated=0.3, unheard=0.5)


@dataclass
class Stage:
    """A service and a provider, as processes that can be killed."""

    folder: Path
    plan: Plan
    stack: ExitStack
    database_url: str
    lines: int
    port: int = field(default_factory=free_port)
    provider_port: int = field(default_factory=free_port)
    kills: Counter[str] = field(default_factory=Counter)
    provider: subprocess.Popen[bytes] | None = None
    service: Running | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_provider(self) -> None:
        plan = Plan(**{**vars(self.plan), "seed": self.kills["provider"]})
        state = str(self.folder / "provider.db")
        command = [sys.executable, "-m", "tests.app.batches.provider.fake_provider", state]
        self.provider = subprocess.Popen(
            [*command, str(self.provider_port), spelt(plan)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def start_service(self) -> None:
        config = self.folder / "tribunal.toml"
        config.write_text(
            f"""
            [judges.j]
            kind = "openai"
            base_url = "http://127.0.0.1:{self.provider_port}/v1"
            model = "judge"
            annotators = 1
            attempts = 20
            batch_endpoint = true
            price_input = 100.0
            price_output = 100.0
            [cascades.default]
            judges = ["j"]
            thresholds = [0.5]
            """
        )
        environment = {
            "DATABASE_URL": self.database_url,
            "TRIBUNAL_CONFIG": str(config),
            "TRIBUNAL_WORKERS": "2",
            "TRIBUNAL_SHARD_SIZE": "100",
            "TRIBUNAL_MAX_ATTEMPTS": "100",
            "TRIBUNAL_CHECKPOINT_SECONDS": "0.2",
            "TRIBUNAL_PROVIDER_POLL_SECONDS": "0.2",
            "TRIBUNAL_PROVIDER_SETTLE_SECONDS": "1",
            "TRIBUNAL_PROVIDER_LINES": str(self.lines),
            "TRIBUNAL_LOG_LEVEL": "error",
        }
        name = f"serve-{self.kills['service']}"
        arguments = ("serve", "--port", str(self.port))
        opened = tribunal(self.folder, name, *arguments, environment=environment)
        self.service = self.stack.enter_context(opened)

    def is_ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def kill(self, what: str) -> None:
        self.kills[what] += 1
        if what == "provider":
            assert self.provider is not None
            self.provider.kill()
            self.provider.wait()
            self.start_provider()
        else:
            assert self.service is not None
            self.service.process.kill()
            self.service.process.wait(PATIENCE_SECONDS)
            self.start_service()

    def batch(self, batch_id: str) -> dict[str, Any] | None:
        with suppress(httpx.TransportError):
            response = httpx.get(f"{self.url}/v1/batches/{batch_id}", timeout=30)
            if response.status_code == 200:
                shown: dict[str, Any] = response.json()
                return shown
        return None

    def has_ended(self, batch_id: str) -> bool:
        shown = self.batch(batch_id)
        return shown is not None and shown["status"] in ENDED

    @property
    def ledger(self) -> list[tuple[str | None, str]]:
        """What was billed: the batch, None for a direct call, and the question."""
        with sqlite3.connect(self.folder / "provider.db") as opened:
            return opened.execute("SELECT batch, question FROM ledger").fetchall()


@contextmanager
def stage(folder: Path, plan: Plan, database_url: str, lines: int) -> Iterator[Stage]:
    with ExitStack() as stack:
        made = Stage(folder, plan, stack, database_url, lines)
        made.start_provider()
        try:
            made.start_service()
            until(made.is_ready)
            yield made
        finally:
            assert made.provider is not None
            made.provider.kill()
            made.provider.wait()


def rows(n: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"p{i}",
            "prompt": f"Which is {i}?",
            "response_a": f"the left of {i}:" + " good" * (i % 4),
            "response_b": f"the right of {i}:" + " good" * (2 * i % 5),
        }
        for i in range(n)
    ]


def disturbed(
    made: Stage, n: int, kills: int, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Judge `n` pairs while there are so many kills, and return the verdicts and the batch."""
    rng = np.random.default_rng([16, seed])
    uploaded = httpx.post(
        f"{made.url}/v1/datasets",
        params={"name": "d"},
        content=ndjson(rows(n)),
        headers={"content-type": "application/x-ndjson"},
        timeout=PATIENCE_SECONDS,
    )
    assert uploaded.status_code == 201, uploaded.text
    created = httpx.post(f"{made.url}/v1/batches", json={"dataset": "d"}, timeout=60)
    batch_id = str(created.json()["id"])
    for _ in range(kills):
        time.sleep(float(rng.uniform(0.0, 0.8)))
        if made.has_ended(batch_id):
            break
        made.kill(str(rng.choice(["provider", "service"])))
        if made.kills["service"] and rng.random() < 0.7:
            # some are killed before they are ready, most at work
            until(made.is_ready)
    try:
        until(lambda: made.has_ended(batch_id))
    except AssertionError as error:
        said = made.service.said[-3000:] if made.service else ""
        raise AssertionError(f"{made.batch(batch_id)}\n{said}") from error
    for _ in range(20):
        # what was made at the provider is billed, whoever asks for it
        httpx.get(f"http://127.0.0.1:{made.provider_port}/v1/batches", timeout=60)
    text = httpx.get(f"{made.url}/v1/batches/{batch_id}/results", timeout=60).text
    shown = made.batch(batch_id)
    assert shown is not None
    return [json.loads(line) for line in text.splitlines()], shown


def check(
    made: Stage,
    verdicts: list[dict[str, Any]],
    batch: dict[str, Any],
    n: int,
    *,
    may_ask: bool,
) -> None:
    """One verdict a pair, no line of a file paid for twice, and costs as in the provider's own ledger.

    The cost of a pair is what all its lines in the ledger come to, or it is marked as unknown.
    """
    assert sorted(int(v["id"][1:]) for v in verdicts) == list(range(n))
    ledger = made.ledger
    in_batches = Counter(question for file, question in ledger if file is not None)
    directly = Counter(question for file, question in ledger if file is None)
    assert max(in_batches.values()) == 1
    assert in_batches.keys().isdisjoint(directly)
    billed: defaultdict[int, float] = defaultdict(float)
    for file, question in ledger:
        billed[int(_PAIR.findall(question)[-1])] += CALL * (1.0 if file is None else 0.5)
    unknown = [v["id"] for v in verdicts if v["cost_usd"] is None]
    for verdict in verdicts:
        if verdict["cost_usd"] is not None:
            assert verdict["cost_usd"] == pytest.approx(billed[int(verdict["id"][1:])]), verdict
    # a direct call that the service or the provider was killed over may have been billed or not
    flags = {v["id"]: {flag for tier in v["tiers"] for flag in tier["flags"]} for v in verdicts}
    assert all(flags[pair] & {"no_usage", "cut_off"} for pair in unknown)
    # a kill cuts off what was asked directly since the last checkpoint, some tens of pairs
    assert len(unknown) < 0.2 * n
    known = sum(v["cost_usd"] or 0.0 for v in verdicts)
    of_unknown = sum(billed[int(pair[1:])] for pair in unknown)
    assert known + of_unknown == pytest.approx(sum(billed.values()))
    assert (batch["cost_usd"] is None) == bool(unknown)
    if not unknown:
        assert batch["cost_usd"] == pytest.approx(known)
    cut_off = sum("cut_off" in flags[pair] for pair in flags)
    assert sum(tier.get("cut_off", 0) for tier in batch["progress"]["tiers"]) == cut_off
    if not may_ask:
        assert not directly
        assert sum(v["cost_usd"] for v in verdicts) == pytest.approx(CALL / 2 * len(ledger))


_PAIR = re.compile(r"the left of (\d+):")


def test_kills_of_service_and_provider_lose_nothing_and_pay_for_no_line_twice(
    database_url: str, tmp_path: Path
) -> None:
    n = 300
    with stage(tmp_path, BAD, database_url, lines=150) as made:
        verdicts, batch = disturbed(made, n, kills=6, seed=1)
        check(made, verdicts, batch, n, may_ask=True)
        assert sum(made.kills.values()) >= 3


@pytest.mark.slow
@pytest.mark.both_databases
@pytest.mark.parametrize(("plan", "may_ask"), [(BAD, True), (LOSSY, False)], ids=["bad", "lossy"])
def test_many_pairs_and_many_kills(
    database_url: str, tmp_path: Path, plan: Plan, may_ask: bool
) -> None:
    n = 5_000
    with stage(tmp_path, plan, database_url, lines=700) as made:
        verdicts, batch = disturbed(made, n, kills=60, seed=2)
        check(made, verdicts, batch, n, may_ask=may_ask)
        assert min(made.kills["service"], made.kills["provider"]) >= 10
