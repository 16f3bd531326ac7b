"""A whole deployment as processes: a judge model, a server, workers; and what can befall it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.app.chaos.cases import Core, configuration, core
from tests.app.chaos.databases import ChaosDatabase
from tests.app.processes import PATIENCE_SECONDS, ROOT, Running, free_port, tribunal, until
from tests.app.rows import ndjson

ENDED = ("completed", "failed", "cancelled", "expired")
# looking must not cost the service what judging needs
_LOOK_SECONDS = 0.2
_AT_WORK = "working on the batches"


@dataclass(frozen=True, slots=True)
class JudgeProcess:
    """The address of a running slow judge, and a connection to it."""

    url: str
    client: httpx.Client

    def address_of(self, caller: str) -> str:
        """Return the address under which the calls of one process are counted."""
        return f"{self.url}/{caller}/v1"

    def calls(self) -> dict[str, Counter[str]]:
        """Return the calls so far, per caller and case."""
        counted = self.client.get(f"{self.url}/calls").json()
        return {caller: Counter(calls) for caller, calls in counted.items()}

    def total(self) -> int:
        """Return the number of calls so far."""
        return int(self.client.get(f"{self.url}/total").json())


@contextmanager
def slow_judge(pause_seconds: float) -> Iterator[JudgeProcess]:
    """Run the slow judge until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "tests.app.chaos.slow_judge", str(port), str(pause_seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, env=environment)
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        judge = JudgeProcess(f"http://127.0.0.1:{port}", client)
        try:
            until(lambda: _answers(client, f"{judge.url}/total"))
            yield judge
        finally:
            process.kill()
            process.communicate()


@dataclass(slots=True)
class Deployment:
    """Processes that share one database; every process has a name of its own, used once."""

    name: str
    folder: Path
    database: ChaosDatabase
    judge: JudgeProcess
    settings: Mapping[str, str]
    stack: ExitStack
    concurrency: int
    port: int = field(default_factory=free_port)
    workers: dict[str, Running] = field(default_factory=dict)
    server: tuple[str, Running] | None = None
    # how many pairs a batch said were judged, at every look
    told: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> httpx.Client:
        """The client that asks every process of the deployment."""
        return self.judge.client

    @property
    def callers(self) -> tuple[str, ...]:
        """The names of the living processes that may ask the judge."""
        return (*self.workers, *([self.server[0]] if self.server else []))

    @property
    def working(self) -> list[str]:
        """The names of the workers that have got as far as working, in order."""
        return sorted(name for name, one in self.workers.items() if _AT_WORK in one.said)

    def start_worker(self) -> None:
        """Start one worker process."""
        name = f"{self.name}-worker{next(self._numbers)}"
        self.workers[name] = self._started(name, "worker")

    def start_server(self, workers: int = 1) -> None:
        """Start the server and wait until it answers."""
        name = f"{self.name}-server{next(self._numbers)}"
        running = self._started(name, "serve", "--port", str(self.port), workers=workers)
        self.server = (name, running)
        until(
            lambda: (
                _answers(self.client, f"{self.url}/readyz") or running.process.poll() is not None
            )
        )
        assert running.process.poll() is None, running.said

    def kill_worker(self, name: str) -> None:
        """Kill a worker process without a word."""
        _kill(self.workers.pop(name))

    def kill_server(self) -> str:
        """Kill the server without a word, and return the name that it had."""
        assert self.server is not None
        name, running = self.server
        _kill(running)
        self.server = None
        return name

    def upload(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Import rows as a dataset."""
        headers = {"content-type": "application/x-ndjson"}
        url, params = f"{self.url}/v1/datasets", {"name": name}
        response = self.client.post(url, params=params, content=ndjson(rows), headers=headers)
        assert response.status_code == 201, response.text

    def start_batch(self, dataset: str) -> str:
        """Start a batch and return its id."""
        response = self.client.post(f"{self.url}/v1/batches", json={"dataset": dataset})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def batch(self, batch_id: str) -> dict[str, Any] | None:
        """Return a batch, None while the server or its database is away."""
        with suppress(httpx.TransportError):
            response = self.client.get(f"{self.url}/v1/batches/{batch_id}")
            if response.status_code < 500:
                shown: dict[str, Any] = response.json()
                counts = shown["request_counts"]
                self.told[batch_id].append(counts["completed"] + counts["failed"])
                return shown
        return None

    def wait_for(self, batch_id: str) -> dict[str, Any]:
        """Wait for the end of a batch."""
        try:
            until(lambda: self.has_ended(batch_id))
        except AssertionError as error:
            raise AssertionError(f"{self.batch(batch_id)}\n{self.said()}") from error
        batch = self.batch(batch_id)
        assert batch is not None
        return batch

    def has_ended(self, batch_id: str) -> bool:
        """Whether nothing more will happen to a batch."""
        time.sleep(_LOOK_SECONDS)
        batch = self.batch(batch_id)
        return batch is not None and batch["status"] in ENDED

    def verdicts(self, batch_id: str) -> list[dict[str, Any]]:
        """Return a batch's results."""
        response = self.client.get(f"{self.url}/v1/batches/{batch_id}/results")
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]

    def cores(self, batch_id: str) -> dict[str, Core]:
        """Return what the verdicts say, by pair; each pair must have one."""
        verdicts = self.verdicts(batch_id)
        by_id = {verdict["id"]: core(verdict) for verdict in verdicts}
        assert len(by_id) == len(verdicts), "a pair has two verdicts"
        return by_id

    def said(self) -> str:
        """Return the end of what the living processes have said."""
        living = {**self.workers, **dict([self.server] if self.server else [])}
        return "\n".join(f"== {name}: {one.said[-2000:]}" for name, one in living.items())

    def _started(self, name: str, *verb: str, workers: int = 0) -> Running:
        config = self.folder / f"{name}.toml"
        config.write_text(configuration(self.judge.address_of(name), self.concurrency))
        environment = {
            **self.settings,
            "DATABASE_URL": self.database.url,
            "TRIBUNAL_CONFIG": str(config),
            "TRIBUNAL_WORKERS": str(workers),
        }
        opened = tribunal(self.folder, name, *verb, environment=environment)
        return self.stack.enter_context(opened)


@contextmanager
def deployment(
    name: str,
    database: ChaosDatabase,
    judge: JudgeProcess,
    *,
    folder: Path,
    settings: Mapping[str, str],
    concurrency: int,
) -> Iterator[Deployment]:
    """Open a deployment without processes; at the end none is left.

    `concurrency` is that of each process towards the judge, which knows the processes by names
    that begin with the deployment's.
    """
    with ExitStack() as stack:
        yield Deployment(name, folder, database, judge, settings, stack, concurrency)


def _kill(running: Running) -> None:
    running.process.kill()
    running.process.wait(PATIENCE_SECONDS)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
