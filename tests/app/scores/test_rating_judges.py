"""The service with a judge that rates each response alone: certified, judged, batched, reported."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app.batches.worker.loop import Worker
from app.core.settings import Settings
from tests.app.rows import upload
from tests.app.scores.test_live_judges import certify, judge, rows
from tests.judges.model_server import PROMPT_TOKENS, ModelServer, expected_shares


@pytest.fixture
def settings(settings: Settings, server: ModelServer, tmp_path: Path) -> Settings:
    config = tmp_path / "tribunal.toml"
    config.write_text(f"""
[judges.rater]
kind = "openai"
base_url = "{server.base_url}"
model = "judge"
confidence = "rating"
scale = [1, 5]
annotators = 2
examples = 2
examples_from = "shots"
attempts = 1
price_input = 1.0
price_output = 0.0
[cascades.live]
judges = ["rater"]
""")
    return settings.model_copy(update={"config": config, "workers": 0})


async def test_a_rating_judge_goes_the_whole_way(
    client: httpx.AsyncClient, service: FastAPI, server: ModelServer
) -> None:
    await upload(client, "shots", rows(12, "shot"))
    await upload(client, "labels", rows(40, "label"))
    certificate = await certify(client, "labels")
    assert certificate["status"] == "certified"
    assert len(server.requests) == 40 * 2 * 2
    new = rows(2, "new")
    for body in ({"calibration": certificate["id"]}, {"cascade": "live"}):
        answered = (await judge(client, new, **body))["verdicts"]
        assert [one["label"] for one in answered] == ["a", "b"]
        better, worse = (
            float(np.arange(1, 6) @ expected_shares(text, 5, 2))
            for text in ("good " * 3, "plain")
        )  # fmt: skip
        first, second = (one["tiers"][0] for one in answered)
        assert first["ratings"] == pytest.approx({"a": better, "b": worse}, abs=2e-12)
        # the stored score of a pair serves the pair with its responses exchanged
        assert second["ratings"] == {"a": first["ratings"]["b"], "b": first["ratings"]["a"]}
        assert second["p_a"] == pytest.approx(1 - first["p_a"], abs=1e-12)
        assert "orders" not in first
    asked = len(server.requests)
    assert asked == (40 + 2) * 2 * 2  # what is stored is not asked again
    turned = {**new[0], "response_a": new[0]["response_b"], "response_b": new[0]["response_a"]}
    [mirrored] = (await judge(client, [turned], cascade="live"))["verdicts"]
    assert mirrored["label"] == "b"
    assert mirrored["cached"]
    assert len(server.requests) == asked
    await upload(client, "more", rows(4, "more"))
    created = await client.post(
        "/v1/batches", json={"dataset": "more", "calibration": certificate["id"], "budget_usd": 1}
    )
    while await Worker(service.state.runtime, "worker").work():
        pass
    batch = (await client.get(f"/v1/batches/{created.json()['id']}")).json()
    assert batch["request_counts"]["accepted"] == 4
    assert batch["cost_usd"] == pytest.approx(4 * 4 * PROMPT_TOKENS / 1e6)
    report = (await client.get("/v1/reports/agreement", params={"dataset": "labels"})).json()
    [row] = [one for one in report["judges"] if one["judge"] == "rater"]
    assert row["agreement"]["value"] == 1.0
    assert row["position_consistency"]["value"] is None
    # people's scores of single responses beside the ratings that the service obtained
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
    assert (by_response["judges"], by_response["n"]) == (["rater"], 4)
    assert by_response["kendall"]["value"] == pytest.approx(1.0)
    # fewer annotators would have had another mean distribution, which is not kept
    replay = {"dataset": "labels", "calibration": certificate["id"], "annotators": 1}
    replayed = (await client.post("/v1/replays", json=replay)).json()
    assert replayed["missing_scores"] == 40
    tried = (
        await client.post("/v1/judges/rater/try", json={"pair": new[0] | {"human": []}})
    ).json()
    assert [(one["shown_first"], one["is_alone"]) for one in tried["exchanges"]] == [
        ("a", True), ("b", True)
    ] * 2  # fmt: skip
    assert {read["label"] for read in tried["exchanges"][0]["read"]} == set("12345")
    assert tried["ratings"] == first["ratings"]
