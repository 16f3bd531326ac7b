"""What the benchmarks ask of the installed vLLM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.hosted.made_models import tiny
from benchmarks.hosted.tiny_models import ENVIRONMENT
from benchmarks.hosted.vllm_bench import TokenCounts, arguments, parsed, tokens_per_second
from tests.app.processes import ROOT

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]
COUNTS = TokenCounts(prompts=10, shared=150, own=60)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def test_vllm_understands_the_command_line(tmp_path: Path, environment: None) -> None:
    model = tiny(tmp_path, hidden=64)
    understood = parsed(arguments(model.folder, model.engine, COUNTS))
    assert understood.dataset_name == "prefix_repetition"
    assert understood.prefix_repetition_prefix_len == 150
    assert understood.enable_prefix_caching
    for name, value in model.engine.items():
        assert getattr(understood, name) == value
    # what the command for a GPU sets
    shape = {"load_format": "dummy", "max_model_len": 4096, "gpu_memory_utilization": 0.2}
    understood = parsed(arguments(model.folder, shape, COUNTS))
    assert (understood.load_format, understood.gpu_memory_utilization) == ("dummy", 0.2)


@pytest.mark.slow
def test_vllm_runs_it_and_says_its_rate(tmp_path: Path, environment: None) -> None:
    model = tiny(tmp_path, hidden=64)
    assert tokens_per_second(model.folder, model.engine, COUNTS) > 0


@pytest.mark.slow
def test_two_tiny_judges_go_through_a_cascade(environment: None) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.hosted.cascade_throughput",
        "--pairs",
        "4",
        "--rounds",
        "1",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, check=True, timeout=900
    )
    rows = done.stdout.decode().splitlines()
    assert [cell.strip() for cell in rows[0].split("|")[2:5]] == ["small", "large", "cascade"]
    assert any(row.startswith("| over vllm bench") for row in rows)
