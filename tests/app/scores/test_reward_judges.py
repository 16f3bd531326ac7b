"""The service with a reward model behind a real server: certified, judged, batched, reported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from app.batches.worker.loop import Worker
from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import upload
from tests.app.scores.test_live_judges import certify, judge, rows
from tests.conftest import client_of
from tests.judges.reward.reward_server import RewardServer, serving


@pytest.fixture
def server() -> Iterator[RewardServer]:
    with serving(RewardServer()) as opened:
        yield opened


@pytest.fixture
def settings(settings: Settings, server: RewardServer, tmp_path: Path) -> Settings:
    config = tmp_path / "tribunal.toml"
    config.write_text(f"""
[judges.reward]
kind = "reward"
model = "rm"
base_url = "{server.base_url}"
endpoint = "score"
tau_from = "people"
tau_groups = 10
price_input = 1.0
[cascades.live]
judges = ["reward"]
""")
    return settings.model_copy(update={"config": config, "workers": 0})


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        client.runtime = app.state.runtime  # type: ignore[attr-defined]
        yield client


async def test_a_reward_model_goes_the_whole_way(
    client: httpx.AsyncClient, server: RewardServer
) -> None:
    await upload(client, "people", rows(12, "people"))
    await upload(client, "labels", [*rows(60, "label"), *rows(12, "people")])
    pair = {"id": "x", "prompt": "Which?", "response_a": "long and good", "response_b": "bad"}
    tried = await client.post("/v1/judges/reward/try", json={"pair": pair})
    assert tried.status_code == 200, tried.text
    # what tau is fitted on is no part of the try
    first, second = tried.json()["exchanges"]
    assert first["is_alone"] is second["is_alone"] is True
    assert ("long and good" in first["prompt"], "bad" in second["prompt"]) == (True, True)
    assert len(server.requests) == 2 * (10 + 1)
    certificate = await certify(client, "labels")
    assert certificate["status"] == "certified"
    # the prompts that tau was fitted on are no evidence
    assert certificate["calibration"]["seen_in_training"] == 10
    asked = len(server.requests)
    assert asked == 2 * (10 + 62) + 2
    answered = await judge(client, rows(6, "new"), calibration=certificate["id"])
    assert [one["label"] for one in answered["verdicts"]] == ["a", "b"] * 3
    assert len(server.requests) == asked + 2 * 6
    await upload(client, "more", rows(8, "more"))
    created = await client.post(
        "/v1/batches", json={"dataset": "more", "calibration": certificate["id"], "budget_usd": 1}
    )
    assert created.status_code == 202, created.text
    while await Worker(client.runtime, "worker").work():  # type: ignore[attr-defined]
        pass
    batch = (await client.get(f"/v1/batches/{created.json()['id']}")).json()
    assert batch["request_counts"]["accepted"] == 8
    assert batch["cost_usd"] == pytest.approx(8 * 20 / 1e6)
    report = (await client.get("/v1/reports/agreement", params={"dataset": "labels"})).json()
    [row] = [one for one in report["judges"] if one["judge"] == "reward"]
    assert row["agreement"]["value"] == 1.0
    [listed] = [one for one in (await client.get("/v1/judges")).json()["data"]
                if one["name"] == "reward"]  # fmt: skip
    assert listed["kind"] == "reward"
    assert listed["training_prompts"] == 10
    pair = {key: value for key, value in rows(1, "try")[0].items() if key != "human"}
    tried = (await client.post("/v1/judges/reward/try", json={"pair": pair})).json()
    assert [one["text"] for one in tried["exchanges"]] == ["1.9", "-0.5"]
