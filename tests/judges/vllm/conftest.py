"""One real engine a model for the whole run, on an event loop in a thread of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from benchmarks.hosted.tiny_models import ENGINE, ENVIRONMENT, Kind, make_tiny
from judges.prompting.examples import ExampleSets
from judges.prompting.ratings import Scale
from judges.prompting.templates import load_template
from judges.vllm.engine import EngineHost, VllmEngine
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import EngineSettings, VllmSettings

KINDS: Final[tuple[Kind, ...]] = ("qwen2", "llama")
#: For tests that start an engine: half a minute each, so that the second kind waits for the slow run.
ENGINES: Final = ["qwen2", pytest.param("llama", marks=pytest.mark.slow)]
LOADING_SECONDS: Final = 300.0

MakeJudge = Callable[..., VllmJudge]


@pytest.fixture(scope="session")
def environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def folders(environment: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: make_tiny(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture(scope="session")
def engines(portal: BlockingPortal, folders: dict[str, Path]) -> Iterator[dict[str, VllmEngine]]:
    host = EngineHost()

    async def start() -> dict[str, VllmEngine]:
        return {
            kind: host.engine(EngineSettings(str(folder), None, ENGINE))
            for kind, folder in folders.items()
        }

    yield portal.call(start)
    portal.call(host.aclose)


@pytest.fixture
def make_judge(engines: dict[str, VllmEngine]) -> MakeJudge:
    """Return a function that makes judges on the engine of a kind of model."""

    def make(
        kind: Kind = "qwen2",
        *,
        sets: ExampleSets = ((),),
        labels: tuple[str, ...] = ("A", "B"),
        template: str = "pairwise",
        scale: Scale | None = None,
        **settings: Any,
    ) -> VllmJudge:
        engine = engines[kind]
        made = VllmSettings("tiny", engine.settings, timeout_s=LOADING_SECONDS, **settings)
        return VllmJudge(made, load_template(template, labels, scale), sets, engine)

    return make
