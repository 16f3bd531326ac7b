"""The service with a reward model behind a real server: certified, judged, batched, reported."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.batches.worker.loop import Worker
from app.core.settings import Settings
from tests.app.rows import upload
from tests.app.scores.test_live_judges import certify, judge, rows
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


async def test_a_reward_model_goes_the_whole_way(
    client: httpx.AsyncClient, service: FastAPI, server: RewardServer
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
    while await Worker(service.state.runtime, "worker").work():
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
    assert tried["ratings"] == pytest.approx({"a": 1.9, "b": -0.5})
    assert tried["p_a"] == pytest.approx(1 / (1 + math.exp(-2.4 / tried["tau"])))
    # each response is scored alone: there is no order, and rewards go with people's scores
    tier = answered["verdicts"][0]["tiers"][0]
    assert set(tier["ratings"]) == {"a", "b"}
    assert "orders" not in tier
    assert row["position_consistency"]["value"] is None
    scores = [
        {"prompt": "Which?", "response": "good " * n, "model": f"m{n}",
         "human": [{"annotator": "ann", "score": n}]}
        for n in range(4)
    ]  # fmt: skip
    await upload(client, "scored", scores)
    await client.post("/v1/batches", json={"dataset": "scored", "cascade": "live"})
    while await Worker(service.state.runtime, "worker").work():
        pass
    found = (await client.get("/v1/reports/agreement", params={"dataset": "scored"})).json()
    [by_response] = found["correlations"]["by_response"]
    assert (by_response["judges"], by_response["n"]) == (["reward"], 4)
    assert by_response["pearson"]["value"] == pytest.approx(1.0)
