"""A service whose hosted models are in large folders: it is up while those are hashed."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.settings import Settings
from app.main import create_app
from judges.registry import HASHING
from judges.vllm.weights import folder_hash
from tests.conftest import client_of

PATIENCE_SECONDS = 60.0
PAIR = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": ""}


@pytest.fixture
def configured(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a hosted judge; its engine would only be in the way here."""
    monkeypatch.setitem(sys.modules, "vllm", None)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    config = tmp_path / "tribunal.toml"
    config.write_text(f'[judges.large]\nkind = "vllm"\nmodel = "{folder}"\n')
    return settings.model_copy(update={"config": config})


class SlowHasher:
    """Hashes a folder when it is told that it may."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, folder: Path) -> str:
        self.began.set()
        assert self.may_end.wait(PATIENCE_SECONDS)
        return folder_hash(folder)


@asynccontextmanager
async def opened(settings: Settings, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings, **options)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def until(client: httpx.AsyncClient, is_so: Callable[[httpx.Response], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so(await client.get("/readyz")):  # noqa: ASYNC110 - as a probe does
            await asyncio.sleep(0.01)


async def test_the_service_says_that_it_hashes_and_goes_on_answering(configured: Settings) -> None:
    hasher = SlowHasher()
    async with opened(configured, hash_folder=hasher) as client:
        assert await asyncio.to_thread(hasher.began.wait, PATIENCE_SECONDS)
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["detail"]) == (503, HASHING)
        assert ready.json()["judges"]["large"] == {"ready": False, "detail": HASHING}
        early = await client.post("/v1/judgments", json={"pairs": [PAIR]})
        assert (early.status_code, early.json()["detail"]) == (503, HASHING)
        assert int(early.headers["retry-after"]) > 0
        hasher.may_end.set()
        await until(client, lambda answer: answer.status_code == 200)
        (judge,) = [
            one for one in (await client.get("/v1/judges")).json()["data"] if one["name"] == "large"
        ]
        assert judge["fingerprint"].startswith("vllm:")
        assert (await client.post("/v1/judgments", json={"pairs": [PAIR]})).status_code == 200


async def test_a_service_inside_another_process_opens_when_it_has_hashed(
    configured: Settings,
) -> None:
    async with opened(configured, loads_models=False) as client:
        judges = (await client.get("/v1/judges")).json()["data"]
        assert {one["name"]: one["fingerprint"].partition(":")[0] for one in judges} == {
            "large": "vllm",
            "student": "student",
        }


async def test_a_folder_that_cannot_be_read_costs_its_judge_alone(configured: Settings) -> None:
    def refused(folder: Path) -> str:
        raise PermissionError(13, "Permission denied", str(folder))

    async with opened(configured, hash_folder=refused) as client:
        await until(client, lambda answer: answer.status_code == 200)
        judges = (await client.get("/readyz")).json()["judges"]
        assert judges["student"]["ready"]
        assert judges["large"]["detail"].startswith("judges.large.model: [Errno 13] Permission")
