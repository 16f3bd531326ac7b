"""A service whose configuration hosts a model on a machine without vLLM: it runs and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.processes import ROOT, free_port, until

# vLLM may be installed where the tests run: the process is started without
WITHOUT_VLLM = """
import importlib.abc
import sys


class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "vllm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, Absent())

from app.cli import main

main()
"""
INSTALL = "pip install 'tribunal-judge[vllm]'"
PAIR = {"prompt": "Name a colour.", "response_a": "Red.", "response_b": "Dog."}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (tmp_path / "tribunal.toml").write_text(
        f'[judges.hosted]\nkind = "vllm"\nmodel = "{folder}"\n'
        '[cascades.both]\njudges = ["hosted", "student"]\n'
    )
    left_out = ("TRIBUNAL_CONFIG", "TRIBUNAL_SERVER", "TRIBUNAL_API_KEY")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}/test.db"}


@pytest.fixture
def address(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-c", WITHOUT_VLLM, "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: is_ready(address) or process.poll() is not None)
        assert process.poll() is None
        yield address
    finally:
        process.terminate()
        process.wait(60)


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_the_service_runs_and_says_what_to_install(address: str) -> None:
    def detail() -> str:
        return str(httpx.get(f"{address}/readyz").json()["judges"]["hosted"]["detail"])

    until(lambda: INSTALL in detail())
    judges = httpx.get(f"{address}/v1/judges").json()["data"]
    assert INSTALL in next(one["health"]["detail"] for one in judges if one["name"] == "hosted")
    body = {"pairs": [PAIR], "cascade": {"judges": ["hosted"]}}
    (alone,) = httpx.post(f"{address}/v1/judgments", json=body, timeout=60).json()["verdicts"]
    assert alone["status"] == "failed"
    assert alone["tiers"][0]["failure"]["kind"] == "unavailable"
    assert INSTALL in alone["tiers"][0]["failure"]["detail"]
    body = {"pairs": [PAIR], "cascade": "both"}
    (both,) = httpx.post(f"{address}/v1/judgments", json=body, timeout=60).json()["verdicts"]
    assert [tier["judge"] for tier in both["tiers"]] == ["hosted", "student"]
    assert both["tiers"][1]["p_a"] is not None


def test_doctor_says_it_too(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", WITHOUT_VLLM, "doctor", "--json"]
    examined = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False
    )
    assert examined.returncode == 1
    judges = {one["name"]: one for one in json.loads(examined.stdout)["judges"]}
    assert INSTALL in judges["hosted"]["detail"]
    assert judges["student"]["is_ready"]
