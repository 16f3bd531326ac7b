"""A model that is changed under a judge's name is noticed by its canaries, through real vLLM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest

from app.core.runtime import Runtime
from app.monitors import canaries
from app.monitors.service import ask_due_canaries
from benchmarks.tiny_models import ENGINE
from examples.tiny_judge import task
from examples.tiny_judge.losses import losses, make_probes
from examples.tiny_judge.measure import WEIGHTS, ZERO_SHOT
from examples.tiny_judge.sequences import Layout, draw_sequence, template
from examples.tiny_judge.train import HIDDEN, LEARNING_RATE
from judges.types import Pair, Score
from judges.vllm.engine import EngineHost
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import EngineSettings, VllmSettings
from tests.app.monitors.test_canaries import look, monitored
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import upload
from tests.judges.vllm.conftest import LOADING_SECONDS

# four models are loaded, one after the other
pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CHANGES: Final = ("another dtype", "one training step", "another revision")
UNCHANGED_ASKS: Final = 20


class Served(PaidJudge):
    """A judge whose host may serve another model under its name."""

    def __init__(self, model: VllmJudge) -> None:
        super().__init__("served")
        self.model = model

    async def score(self, pair: Pair) -> Score:
        said = await self.model.score(pair)
        return replace(said, judge=self.name, fingerprint=self.spec.fingerprint)


def taught(folder: Path, steps: int, learning_rate: float) -> Path:
    """Write the committed model after further steps of its training."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    rng, tokenizer = np.random.default_rng(0), AutoTokenizer.from_pretrained(WEIGHTS)
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    layout, probes = Layout(tokenizer), make_probes(HIDDEN)
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate)
    for _ in range(steps):
        batch = layout.batch([draw_sequence(rng, 1) for _ in range(32)])
        found = losses(model, probes, batch, layout.label_ids, with_text=False)
        optimizer.zero_grad()
        found.total(0.0, hint_weight=0.0).backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(environment: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models as they are after a change; another dtype is of the same model."""
    return {
        "one training step": taught(tmp_path_factory.mktemp("step"), 1, LEARNING_RATE / 100),
        "another revision": taught(tmp_path_factory.mktemp("revision"), 20, LEARNING_RATE / 10),
    }


@pytest.fixture
async def models(folders: dict[str, Path]) -> AsyncIterator[Mapping[str, VllmJudge]]:
    host, found = EngineHost(), {}
    for name in ("as certified", *CHANGES):
        dtype = "bfloat16" if name == "another dtype" else ENGINE["dtype"]
        options = {**ENGINE, "max_model_len": 2048, "dtype": dtype}
        engine = host.engine(EngineSettings(str(folders.get(name, WEIGHTS)), None, options))
        settings = VllmSettings(
            "tiny", engine.settings, endpoint="completions", timeout_s=LOADING_SECONDS
        )
        found[name] = VllmJudge(settings, template(), ZERO_SHOT, engine)
    yield found
    await host.aclose()


async def certified(client: httpx.AsyncClient) -> str:
    body = {"dataset": "labelled", "target_agreement": 0.8}
    made: dict[str, Any] = (await client.post("/v1/calibrations", json=body)).json()
    while made["status"] in ("pending", "running"):
        made = (await client.get(f"/v1/calibrations/{made['id']}")).json()
    assert made["status"] == "certified", made
    return str(made["id"])


async def test_a_model_that_was_changed_is_seen_within_twenty_canaries(
    client: httpx.AsyncClient,
    running: Runtime,
    models: Mapping[str, VllmJudge],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canaries, "LOOK_SECONDS", 3_600.0)
    rng, judge = np.random.default_rng(0), Served(models["as certified"])
    install(running, judge)
    pairs = task.draw_pairs(rng, 80, "labelled")
    await upload(client, "labelled", [task.row(one, rng) for one in pairs])
    for change in CHANGES:
        judge.model, moment = models["as certified"], running.now()
        monitor = await monitored(client, await certified(client))
        running.now = lambda moment=moment: moment  # type: ignore[misc]
        await ask_due_canaries(running, rng)
        asks = 0
        for number in range(UNCHANGED_ASKS + 20):
            if number == UNCHANGED_ASKS:
                calm = await look(client, monitor)
                assert (calm["status"], calm["canaries"]["failed"]) == ("watching", 0)
                judge.model = models[change]
            moment += timedelta(hours=1)
            running.now = lambda moment=moment: moment  # type: ignore[misc]
            await ask_due_canaries(running, rng)
            asks = number - UNCHANGED_ASKS + 1
            found = await look(client, monitor)
            if found["status"] == "alarm":
                break
        before = calm["canaries"]["e_value"]
        print(f"{change}: alarm after {asks} asks, e-value {before:.3g} before")  # noqa: T201
        assert found["status"] == "alarm"
        assert found["alarm"]["reason"].startswith("judge changed: served")
        await client.post(f"/v1/monitors/{monitor['id']}/end")
