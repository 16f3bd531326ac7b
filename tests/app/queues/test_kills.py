"""People label over HTTP while the server is killed again and again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.client import Tribunal
from tests.app.processes import free_port, service
from tests.app.rows import labelled_rows

Json = dict[str, Any]


@dataclass
class Sent:
    """What every person has said of every prompt, as the person remembers it."""

    said: dict[tuple[str, str], str] = field(default_factory=dict)
    answers: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, who: str, prompt: str, label: str) -> None:
        with self.lock:
            assert self.said.setdefault((who, prompt), label) == label
            self.answers += 1


@dataclass(frozen=True)
class Person:
    name: str
    address: str
    sent: Sent
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def label_all(self, queue: str) -> None:
        with self.http:
            self._label_all(queue)

    def _label_all(self, queue: str) -> None:
        rng = np.random.default_rng(len(self.name))
        while True:
            items = self._post(f"/v1/queues/{queue}/claim", {"annotator": self.name, "n": 3})
            if not items["items"] and self._is_done(queue):
                return
            for item in items["items"]:
                label = "left" if len(item["left"]) > len(item["right"]) else "right"
                label = label if rng.uniform() < 0.8 else "tie"
                self.sent.note(self.name, item["prompt"], label)
                answer = {"item": item["item"], "label": label}
                body = {"annotator": self.name, "answers": [answer]}
                self._post(f"/v1/queues/{queue}/answers", body)

    def _is_done(self, queue: str) -> bool:
        try:
            found = self.http.get(f"{self.address}/v1/queues/{queue}")
        except httpx.TransportError:
            return False
        time.sleep(0.05)
        return bool(found.is_success and found.json()["status"] == "done")

    def _post(self, path: str, body: Json) -> Json:
        """Send a request until it is answered; nobody knows whether the one before was."""
        while True:
            try:
                answer = self.http.post(f"{self.address}{path}", json=body)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            assert answer.is_success, answer.text
            found: Json = answer.json()
            return found


def _label(folder: Path, url: str, n: int, kills: int, votes: int) -> None:
    port, sent, rng = free_port(), Sent(), np.random.default_rng(0)
    address = f"http://127.0.0.1:{port}"
    settings = {"DATABASE_URL": url}
    rows = [{**row, "human": []} for row in labelled_rows(n)]
    total = n * votes
    at = np.sort(rng.choice(np.arange(1, total), kills, replace=False)).tolist()
    with ThreadPoolExecutor(2) as threads:
        labelling = []
        for number in range(kills + 1):
            with service(folder, port, workers=0, settings=settings) as running:
                if number == 0:
                    with Tribunal(address) as client:
                        client.import_dataset(rows, name="rivers")
                        client.queues.create(name="q", dataset="rivers", votes_per_pair=votes)
                    labelling = [
                        threads.submit(Person(name, address, sent).label_all, "q")
                        for name in ("ann", "robert")
                    ]
                while number < kills and sent.answers < at[number]:
                    if all(one.done() for one in labelling):
                        break
                    time.sleep(0.002)
                if number < kills:
                    running.process.kill()
                    running.process.wait()
                    continue
                for one in labelling:
                    one.result(timeout=300)
                with Tribunal(address) as client:
                    _check(client, sent, n, votes)


def _check(client: Tribunal, sent: Sent, n: int, votes: int) -> None:
    queue = client.queues.retrieve("q")
    assert (queue["done"], queue["votes"], queue["spare"]) == (n, n * votes, 0)
    stored: Counter[tuple[str, str]] = Counter()
    for row in client.datasets.pairs("rivers"):
        assert len(row["human"]) == votes
        for vote in row["human"]:
            stored[str(vote["annotator"]), str(row["prompt"])] += 1
            said = sent.said[str(vote["annotator"]), str(row["prompt"])]
            # the longer text, response b, was said to be better, or neither
            assert vote["label"] == ("tie" if said == "tie" else "b")
    assert set(stored.values()) == {1}
    # every answer that was given is stored
    assert stored.keys() == sent.said.keys()
    history = list(client.labels.list("rivers", history=True))
    assert len(history) == n * votes


@pytest.mark.both_databases
def test_no_answer_is_lost_and_none_is_stored_twice(database_url: str, tmp_path: Path) -> None:
    _label(tmp_path, database_url, n=40, kills=2, votes=1)


@pytest.mark.slow
@pytest.mark.both_databases
@pytest.mark.parametrize("votes", [1, 2])
def test_five_hundred_pairs_while_the_server_is_killed(
    database_url: str, tmp_path: Path, votes: int
) -> None:
    _label(tmp_path, database_url, n=500, kills=12, votes=votes)
