"""A batch with a made-up judge, worked on by the service's own code."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, Final, cast

from app.batches import creating
from app.batches.schemas import BatchIn
from app.batches.worker.loop import Worker
from app.cli.operator.server import tune_interpreter
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.imports.importing import Wanted, import_dataset
from app.imports.upload import UploadedFile
from app.main import open_runtime
from judges.base import JudgeHealth, JudgeSpec
from judges.registry import Registry
from judges.types import Pair, Score

DATASET: Final = "made"


class MadeJudge:
    """Answers out of a hash of the pair's id, for nothing, at once or after so many seconds."""

    spec = JudgeSpec("made", "made", None, {"made": 1}, price_input=0.0, price_output=0.0)

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    async def score(self, pair: Pair) -> Score:
        """Return a score from 0 to 1."""
        if self._seconds:
            await asyncio.sleep(self._seconds)
        digest = hashlib.sha256(pair.id.encode()).digest()
        p_a = round(int.from_bytes(digest[:4]) / 2**32, 6)
        return Score(
            self.spec.name, self.spec.fingerprint, p_a, annotators=((p_a, p_a),), cost_usd=0.0,
            seconds=self._seconds,
        )  # fmt: skip

    async def health(self) -> JudgeHealth:
        """Say that it can answer."""
        return JudgeHealth(True)

    async def aclose(self) -> None:
        """Hold nothing."""


@asynccontextmanager
async def opened(
    url: str, *, seconds: float = 0.0, shard_size: int = 2_000
) -> AsyncIterator[Runtime]:
    """Open the service on a database as a worker does, with the made-up judge alone."""
    async with open_runtime(Settings(database_url=url, shard_size=shard_size)) as running:
        await running.registry.aclose()
        running.registry = Registry({"made": MadeJudge(seconds)}, {"default": ("made",)}, {})
        tune_interpreter()
        yield running


async def import_pairs(running: Runtime, pairs: int, *, text_length: int = 300) -> None:
    """Store a dataset of so many pairs with responses of so many characters."""
    wanted = Wanted(DATASET, "canonical", is_strict=True)
    with tempfile.TemporaryFile() as file:
        _write_rows(file, pairs, text_length)
        file.seek(0)
        files = [UploadedFile(cast(BinaryIO, file), "application/x-ndjson")]
        await import_dataset(running.db, files, wanted, running.now())


def _write_rows(file: BinaryIO, pairs: int, text_length: int) -> None:
    for number in range(pairs):
        file.write(json.dumps(made_pair(number, text_length)).encode("ascii") + b"\n")


def made_pair(number: int, text_length: int = 300) -> dict[str, Any]:
    """Return a pair as it is posted."""
    return {
        "id": f"p{number}",
        "prompt": f"question {number} {'x' * text_length}",
        "response_a": f"{'a' * text_length} {number}",
        "response_b": f"{'b' * text_length} {number}",
        "model_a": "first",
        "model_b": "second",
    }


async def create(running: Runtime) -> str:
    """Create a batch over the dataset and return its id."""
    return str((await creating.create(running, BatchIn(dataset=DATASET)))["id"])


async def work(running: Runtime) -> None:
    """Judge whatever there is, on as many shards at a time as a worker process does."""
    async with asyncio.TaskGroup() as group:
        for number in range(running.settings.workers):
            group.create_task(_work_until_idle(running, f"loop {number}"))
    while reports := [t for t in asyncio.all_tasks() if t.get_name().startswith("report of")]:
        await asyncio.wait(reports)


async def _work_until_idle(running: Runtime, name: str) -> None:
    while await Worker(running, name).work(looks=False, goes_on=True):
        pass
