"""CPU time of a replay, against reading the scores that it needs."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np

from app.bodies.common import ReplayBody
from app.calibrations import service as calibrations
from app.calibrations.schemas import CalibrationIn
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.datasets import service as datasets
from app.imports.importing import Wanted, import_dataset
from app.imports.upload import UploadedFile
from app.judgments.authority import of_certificate
from app.judgments.replaying import ReplayIn, replay
from app.main import open_runtime
from app.scores.table import load_table
from benchmarks.measuring import Baseline, Benchmark, Contender

_PAIRS, _FEW, _LABELLED = 100_000, 600, 400
_DATASET: Final = "replayed"
_WANTED: Final = 3.0


def prepare(*, is_small: bool) -> Benchmark:
    """Store pairs with the scores of two judges, and certify on a few of them."""
    n = _FEW if is_small else _PAIRS
    url = f"sqlite:///{Path(tempfile.mkdtemp(prefix='tribunal-replay-'))}/one.db"
    calibration = _run(url, lambda running: _fill(running, n))
    other = {"cheap": 0.9, "dear": 0.7}
    asked: dict[str, dict[str, Any]] = {
        "by its certificate": {},
        "other thresholds": {"thresholds": other},
        "one judge less": {"judges": ["dear"]},
    }
    contenders = [
        Contender(
            f"replay, {name}",
            lambda more=more: _run(url, lambda running: _replayed(running, calibration, more)),  # type: ignore[misc]
            lambda ours, theirs: ours == theirs,
            wanted=_WANTED,
        )
        for name, more in asked.items()
    ]
    baseline = Baseline(
        "reading the scores", lambda: _run(url, lambda running: _read(running, calibration))
    )
    return Benchmark(f"{n:,} stored pairs x 2 judges", baseline, tuple(contenders))


def _run(url: str, work: Callable[[Runtime], Awaitable[Any]]) -> Any:
    async def opened() -> Any:
        async with open_runtime(Settings(database_url=url, log_level="error")) as running:
            return await work(running)

    return asyncio.run(opened())


async def _fill(running: Runtime, n: int) -> str:
    """Return the certificate."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryFile() as file:
        for number in range(n):
            file.write(json.dumps(_row(number, rng)).encode("ascii") + b"\n")
        file.seek(0)
        files = [UploadedFile(cast(BinaryIO, file), "application/x-ndjson")]
        wanted = Wanted(_DATASET, "canonical", is_strict=True)
        await import_dataset(running.db, files, wanted, running.now())
    asked = {"dataset": _DATASET, "cascade": {"judges": ["cheap", "dear"]}}
    request = CalibrationIn.model_validate({**asked, "target_agreement": 0.8})
    made = await calibrations.create(running, request)
    return made.id


def _row(number: int, rng: np.random.Generator) -> dict[str, Any]:
    sure = {"cheap": rng.uniform(0.55, 0.95), "dear": rng.uniform(0.8, 0.99)}
    judges = {
        name: {"p_a": round(p if rng.uniform() < p else 1 - p, 6), "cost": 0.001}
        for name, p in sure.items()
    }
    human = [{"annotator": "ann", "label": "a"}] if number < _LABELLED else []
    return {
        "id": f"p{number}",
        "prompt": f"question {number}",
        "response_a": f"yes {number}",
        "response_b": f"no {number}",
        "human": human,
        "judges": judges,
    }


async def _read(running: Runtime, calibration: str) -> int:
    """Return how many pairs have scores."""
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, _DATASET)
        keys = await datasets.pair_keys(session, dataset)
        authority = await of_certificate(session, running.registry, calibration)
        judges = [tier.judge for tier in authority.tiers]
        table = await load_table(session, dataset, keys, judges)
    return int(table.is_known.all(axis=1).sum())


async def _replayed(running: Runtime, calibration: str, more: dict[str, Any]) -> int:
    """Return how many pairs got a verdict."""
    request = ReplayIn.model_validate({"dataset": _DATASET, "calibration": calibration, **more})
    body: ReplayBody = await replay(running, request)
    return sum(body["verdicts"].values())  # type: ignore[arg-type]
