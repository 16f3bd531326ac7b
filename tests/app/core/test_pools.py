"""Long work: a few at a time of each kind, refused when too much waits, ended when asked."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

import httpx
import pytest

from app.core import pools
from app.core.errors import BadRequest, NotReady
from app.core.pools import Pool, in_thread
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import labelled_rows, ndjson, upload
from tests.conftest import client_of


class Endless:
    """Work that never ends by itself."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()

    def __call__(self) -> None:
        try:
            self.began.set()
            while True:
                time.sleep(0.001)
        finally:
            self.ended.set()

    async def is_running(self) -> None:
        await asyncio.to_thread(self.began.wait)


async def test_the_result_or_the_error_comes_back() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


async def test_work_that_is_cancelled_ends_before_its_caller() -> None:
    work = Endless()
    task = asyncio.create_task(in_thread(work))
    await work.is_running()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended.is_set()


async def test_work_that_ends_while_it_is_cancelled_does_no_harm() -> None:
    for pause in range(20):
        task = asyncio.create_task(in_thread(time.sleep, 0.0005))
        await asyncio.sleep(pause / 20_000)
        task.cancel()
        with suppress(asyncio.CancelledError):  # it may have ended before
            await task
    assert await in_thread(divmod, 7, 2) == (3, 1)


async def test_no_more_run_at_a_time_than_there_is_room_for() -> None:
    pool = Pool("imports", at_once=2, waiting=10)
    running: list[int] = []
    seen: list[int] = []

    def work(number: int) -> None:
        running.append(number)
        seen.append(len(running))
        time.sleep(0.005)
        running.remove(number)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(pool.run(work, number))
    assert max(seen) <= 2
    assert len(seen) == 8


async def test_what_finds_no_place_is_refused_and_a_place_is_given_back() -> None:
    pool = Pool("imports", at_once=1, waiting=1)
    with pool.admitted(), pool.admitted():
        with (
            pytest.raises(NotReady, match="2 imports run or wait already") as refused,
            pool.admitted(),
        ):
            pass
        assert refused.value.headers == {"Retry-After": "5"}
        with pool.admitted(refuses=False):
            pass
    with pool.admitted():
        pass


async def test_the_work_of_a_client_that_has_gone_is_ended() -> None:
    pool, work, gone = Pool("imports", 1, 1), Endless(), asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    token = pools.client.set(receive)
    task = asyncio.create_task(pool.run_for_client(work))
    pools.client.reset(token)
    await work.is_running()
    gone.set()
    with pytest.raises(BadRequest, match="the client has gone"):
        await task
    assert work.ended.is_set()
    assert await pool.run(divmod, 7, 2) == (3, 1)


ASKED = {
    "imports": [("POST", "/v1/datasets?name=other"), ("POST", "/v1/files")],
    "exports": [("GET", "/v1/datasets/rivers/export")],
    "reports": [("GET", "/v1/reports/agreement?dataset=rivers"), ("POST", "/v1/leaderboards")],
    "experiments": [("POST", "/v1/plans"), ("POST", "/v1/experiments")],
}


async def test_only_the_kind_that_is_full_is_refused(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"long_work": 1, "long_work_waiting": 0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "rivers", labelled_rows(60))
        running: Runtime = app.state.runtime
        for kind, requests in ASKED.items():
            with getattr(running.pools, kind).admitted():
                for method, path in requests:
                    answer = await ask(client, method, path)
                    assert answer.status_code == 503, (path, answer.text)
                    assert answer.headers["retry-after"] == "5"
                if kind != "imports":
                    assert (await ask(client, "POST", f"/v1/datasets?name={kind}")).is_success
        assert (await ask(client, "GET", "/v1/datasets/rivers/export")).is_success


async def ask(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    if path.endswith("files"):
        line = b'{"custom_id":"1","method":"POST","url":"/v1/judgments","body":{"prompt":"?","response_a":"a","response_b":"b"}}'
        return await client.post(path, data={"purpose": "batch"}, files={"file": ("a.jsonl", line)})
    if "datasets" in path:
        kind = {"content-type": "application/x-ndjson"}
        return await client.request(method, path, content=ndjson(labelled_rows(3)), headers=kind)
    if method == "GET":
        return await client.get(path)
    body: dict[str, object] = {"dataset": "rivers"}
    if not path.endswith("leaderboards"):
        body["cascade"] = {"judges": ["cheap", "dear"]}
    return await client.post(path, json=body)
