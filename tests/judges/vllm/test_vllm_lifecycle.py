"""Engines that load, die, come back and end; the service around them stays up."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from pathlib import Path

import httpx
import pytest

from benchmarks.hosted.tiny_models import ENGINE
from judges.prompting.templates import load_template
from judges.types import FailureKind, Score
from judges.vllm.engine import EngineHost
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import EngineSettings, EngineUnavailable, VllmSettings
from tests.app.processes import Running, free_port, tribunal, until
from tests.judges.pairs import pair_of
from tests.judges.vllm.conftest import LOADING_SECONDS

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

POSTED = {"pairs": [{"prompt": "Name a colour.", "response_a": "Red.", "response_b": "Dog."}]}


async def test_an_engine_that_is_killed_fails_its_pairs_and_comes_back(
    folders: dict[str, Path],
) -> None:
    host = EngineHost()
    settings = EngineSettings(str(folders["qwen2"]), None, ENGINE)
    before = set(multiprocessing.active_children())
    engine = host.engine(settings)
    assert host.engine(EngineSettings(str(folders["qwen2"]), None, dict(ENGINE))) is engine
    judge = VllmJudge(
        VllmSettings("tiny", settings, concurrency=32, timeout_s=LOADING_SECONDS),
        load_template("pairwise"),
        ((),),
        engine,
    )
    try:
        first = await judge.score(pair_of())
        assert first.p_a is not None
        opened = await engine.wait(LOADING_SECONDS)
        async with asyncio.TaskGroup() as group:
            pairs = [pair_of(f"Question {n}?", pair_id=str(n)) for n in range(1000)]
            tasks = [group.create_task(judge.score(pair)) for pair in pairs]
            await until_some(tasks)
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
        scores = [task.result() for task in tasks]
        assert all((s.p_a is None) == (s.failure is not None) for s in scores)
        kinds = {score.failure.kind for score in scores if score.failure is not None}
        assert kinds <= {FailureKind.SERVER_ERROR, FailureKind.UNAVAILABLE}
        assert kinds
        assert 0 < sum(score.failure is None for score in scores) < 1000
        assert not (await judge.health()).is_ready
        with pytest.raises(EngineUnavailable):
            await opened.ask((1, 2), wanted=(), length=1, stop=())
        async with asyncio.timeout(LOADING_SECONDS):
            while not (await judge.health()).is_ready:  # noqa: ASYNC110 - as a probe does
                await asyncio.sleep(0.5)
        assert (await judge.score(pair_of())).p_a == pytest.approx(first.p_a, abs=1e-5)
    finally:
        await host.aclose()
    await until_ended(before)
    assert not (await judge.health()).is_ready
    with pytest.raises(EngineUnavailable, match="had ended"):
        await opened.ask((1, 2), wanted=(), length=1, stop=())


async def until_ended(before: set[multiprocessing.process.BaseProcess]) -> None:
    """Wait for the engines' processes: vLLM kills one that is slow to end, and does not wait for it."""
    async with asyncio.timeout(LOADING_SECONDS):
        while not set(multiprocessing.active_children()) <= before:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)


async def until_some(tasks: list[asyncio.Task[Score]]) -> None:
    while sum(task.done() for task in tasks) < 50:  # noqa: ASYNC110 - as a probe does
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_an_engine_sees_the_devices_that_it_was_given(folders: dict[str, Path]) -> None:
    host = EngineHost()
    before = set(multiprocessing.active_children())
    settings = EngineSettings(str(folders["qwen2"]), None, ENGINE, devices="7,3")
    try:
        await host.engine(settings).wait(LOADING_SECONDS)
        (child,) = set(multiprocessing.active_children()) - before
        assert b"CUDA_VISIBLE_DEVICES=7,3" in environment_of(child.pid)
        assert os.environ.get("CUDA_VISIBLE_DEVICES") != "7,3"
    finally:
        await host.aclose()


async def test_an_engine_that_cannot_start_says_why(folders: dict[str, Path]) -> None:
    host = EngineHost()
    engine = host.engine(EngineSettings(str(folders["qwen2"]), None, {"dtpe": "float32"}))
    try:
        async with asyncio.timeout(LOADING_SECONDS):
            while "dtpe" not in engine.detail:  # noqa: ASYNC110 - as a probe does
                await asyncio.sleep(0.1)
        assert "did you mean 'dtype'" in engine.detail
        assert "started again" in engine.detail
    finally:
        await host.aclose()


def test_a_service_hosts_a_model_and_leaves_no_process_behind(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/hosted.db")
    for name in ("TRIBUNAL_CONFIG", "TRIBUNAL_SERVER", "TRIBUNAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tribunal.toml").write_text(
        table("tiny", folders["qwen2"]) + table("nowhere", tmp_path / "nowhere")
    )
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with tribunal(tmp_path, "serve", "serve", "--port", str(port)) as running:
        until(lambda: is_up(address))
        judges = httpx.get(f"{address}/readyz", timeout=60).json()["judges"]
        assert judges["student"]["ready"]
        assert "load" in judges["tiny"]["detail"] or judges["tiny"]["ready"]
        assert "no folder" in judges["nowhere"]["detail"]
        until(lambda: httpx.get(f"{address}/readyz", timeout=60).json()["judges"]["tiny"]["ready"])
        body = {**POSTED, "cascade": {"judges": ["nowhere", "tiny"]}}
        answer = httpx.post(f"{address}/v1/judgments", json=body, timeout=120).json()
        (verdict,) = answer["verdicts"]
        assert verdict["status"] == "accepted"
        assert [tier["judge"] for tier in verdict["tiers"]] == ["nowhere", "tiny"]
        assert set(asyncio.run(posted_at_once(address, 200))) == {(200, "accepted")}
        assert failure_of_a_megabyte(address)["kind"] == "context_overflow"
        children = family(running)
        assert children
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(60)
        until(lambda: not any(is_alive(pid) for pid in children))


def test_a_service_that_is_killed_takes_its_engines_along(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/killed.db")
    (tmp_path / "tribunal.toml").write_text(table("tiny", folders["qwen2"]))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with tribunal(tmp_path, "serve", "serve", "--port", str(port)) as running:
        until(lambda: is_up(address))
        until(lambda: httpx.get(f"{address}/readyz", timeout=60).json()["judges"]["tiny"]["ready"])
        children = family(running)
        assert children
        running.process.kill()
        until(lambda: not any(is_alive(pid) for pid in children))


async def posted_at_once(address: str, clients: int) -> list[tuple[int, str]]:
    """Let so many clients post a pair each at the same moment; their answers' statuses."""
    timeout, limits = httpx.Timeout(120), httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=timeout, limits=limits) as client:

        async def post(number: int) -> tuple[int, str]:
            pair = {**POSTED["pairs"][0], "prompt": f"Name colour {number}."}
            body = {"pairs": [pair], "cascade": {"judges": ["tiny"]}}
            response = await client.post(f"{address}/v1/judgments", json=body)
            return response.status_code, response.json()["verdicts"][0]["status"]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(post(number)) for number in range(clients)]
    return [task.result() for task in tasks]


def failure_of_a_megabyte(address: str) -> dict[str, str]:
    """Post a pair with a response of 1 MB, and return why it has no score; the service stays up."""
    pair = {**POSTED["pairs"][0], "response_a": "word " * 200_000}
    body = {"pairs": [pair], "cascade": {"judges": ["tiny"]}}
    answer = httpx.post(f"{address}/v1/judgments", json=body, timeout=120)
    (verdict,) = answer.json()["verdicts"]
    assert (answer.status_code, verdict["status"]) == (200, "failed")
    assert is_up(address)
    failure: dict[str, str] = verdict["tiers"][0]["failure"]
    return failure


def table(name: str, folder: Path) -> str:
    engine = ", ".join(f"{key} = {json.dumps(value)}" for key, value in ENGINE.items())
    return f'[judges.{name}]\nkind = "vllm"\nmodel = "{folder}"\nengine = {{ {engine} }}\n'


def is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def family(running: Running) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    found: list[int] = []
    waiting = [running.process.pid]
    while waiting:
        pid = waiting.pop()
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = [int(word) for word in (task / "children").read_text().split()]
            found += children
            waiting += children
    return found


def environment_of(pid: int | None) -> list[bytes]:
    """Return the variables that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
