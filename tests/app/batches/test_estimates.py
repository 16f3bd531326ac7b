"""What a batch would cost: from stored scores, from the texts, and never by asking a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.batches import estimating
from app.batches.worker.loop import Worker
from app.core.models import Batch, CalibrationRow, Score
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.batches.test_progress import rows
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import certify, labelled_rows, ndjson, upload
from tests.conftest import client_of

CHEAP, DEAR = 0.01, 0.05
HALF = {"fraction": 0.5, "seed": 0}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"workers": 0})


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as opened:
        await upload(opened, "rivers", [{**row, "judges": {}} for row in labelled_rows(100)])
        yield opened


async def estimate(client: httpx.AsyncClient, **request: Any) -> dict[str, Any]:
    answer = await client.post("/v1/batches/estimate", json={"dataset": "rivers", **request})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def run(client: httpx.AsyncClient, running: Runtime, **request: Any) -> dict[str, Any]:
    created = await client.post("/v1/batches", json={"dataset": "rivers", **request})
    assert created.status_code == 202, created.text
    while await Worker(running, "worker").work():
        pass
    batch: dict[str, Any] = (await client.get(f"/v1/batches/{created.json()['id']}")).json()
    return batch


@pytest.mark.both_databases
async def test_what_is_scored_costs_nothing_and_tells_what_the_rest_costs(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    cheap, dear = PaidJudge("cheap", CHEAP), PaidJudge("dear", DEAR)
    install(running, cheap, dear)
    await run(client, running, part={**HALF, "side": "calibration"})
    asked = cheap.asked.total() + dear.asked.total()
    stored = await rows(running, Score)
    found = await estimate(client)
    assert cheap.asked.total() + dear.asked.total() == asked
    assert (found["pairs"], found["looked_at"], found["scored_pairs"]) == (100, 100, 50)
    assert len(found["scored_ids"]) == 50
    first, second = found["judges"]
    assert (first["judge"], first["scored"], first["basis"]) == ("cheap", 50, "stored_scores")
    assert first["pairs"]["value"] == first["pairs"]["low"] == first["pairs"]["high"] == 50
    assert first["cost_usd"]["value"] == pytest.approx(50 * CHEAP)
    assert first["prompt_tokens"]["value"] == pytest.approx(500)
    assert second["scored"] == sum(one.judge == "dear" for one in stored)
    assert 0 < second["pairs"]["low"] < second["pairs"]["value"] < second["pairs"]["high"] < 50
    assert len(await rows(running, Batch)) == 1
    assert len(await rows(running, Score)) == len(stored)
    batch = await run(client, running)
    assert found["cost_usd"]["low"] <= batch["cost_usd"] <= found["cost_usd"]["high"]
    again = await estimate(client)
    assert again["scored_pairs"] == 100
    assert again["cost_usd"]["value"] == again["cost_usd"]["high"] == 0


async def test_where_nothing_is_known_the_range_is_all_that_is_said(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("cheap", CHEAP), PaidJudge("dear", DEAR))
    found = await estimate(client)
    first, second = found["judges"]
    assert (first["pairs"]["value"], first["basis"]) == (100, "prices")
    assert (second["pairs"]["value"], second["pairs"]["low"], second["pairs"]["high"]) == (
        None,
        0,
        100,
    )
    assert found["cost_usd"]["value"] is None
    assert found["cost_usd"]["low"] == 0
    assert found["cost_usd"]["high"] == pytest.approx(100 * 2 * (CHEAP + DEAR))
    assert found["scored_pairs"] == 0


async def test_a_certificate_says_how_many_pairs_go_on(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await upload(client, "labelled", labelled_rows(300, cheap=0.7))
    certificate = await certify(client, "labelled", target_agreement=0.8)
    reached = certificate["calibration"]["failures"]
    found = await client.post(
        "/v1/batches/estimate", json={"dataset": "labelled", "calibration": certificate["id"]}
    )
    body = found.json()
    assert body["calibration"] == certificate["id"]
    # recorded judges cost nothing, and every pair has its scores
    assert [one["basis"] for one in body["judges"]] == ["free", "free"]
    assert body["scored_pairs"] == body["pairs"] == 300
    share = estimating._passed_on((await rows(running, CalibrationRow))[0])["cheap"]
    assert share.value == pytest.approx(reached["dear"]["asked"] / reached["cheap"]["asked"])


async def test_a_large_batch_is_estimated_from_a_random_sample(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap = PaidJudge("cheap", CHEAP)
    install(running, cheap)
    await run(client, running, part={**HALF, "side": "calibration"})
    monkeypatch.setattr(estimating, "MOST_LOOKED_AT", 40)
    found = await estimate(client)
    assert (found["pairs"], found["looked_at"]) == (100, 40)
    [judge] = found["judges"]
    assert judge["pairs"]["low"] < 50 < judge["pairs"]["high"]
    assert judge["pairs"]["n"] == 40
    assert judge["pairs"]["high"] <= 100


async def test_equal_pairs_are_asked_once(client: httpx.AsyncClient, running: Runtime) -> None:
    cheap = PaidJudge("cheap", CHEAP)
    install(running, cheap)
    pair = {"prompt": "Why?", "response_a": "Rain.", "response_b": "Sun."}
    await upload(client, "twins", [{**pair, "id": f"q{number}"} for number in range(5)])
    found = await estimate(client, dataset="twins")
    assert found["judges"][0]["pairs"]["value"] == 1


_CONFIG = """
[judges.dear]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
model = "judge"
price_input = 2.0
price_output = 8.0
annotators = 1
[cascades.default]
judges = ["student", "dear"]
"""


async def test_the_texts_say_what_a_judge_that_never_answered_would_read(
    settings: Settings, tmp_path: Path
) -> None:
    """The judge of this process says which pairs go on; the server is never asked."""
    asked: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(500)

    config = tmp_path / "tribunal.toml"
    config.write_text(_CONFIG)
    app = create_app(
        settings.model_copy(update={"config": config}),
        judge_transport=httpx.MockTransport(refuse),
    )
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "rivers", [{**row, "judges": {}} for row in labelled_rows(100)])
        found = await estimate(client)
        uploaded = await client.post(
            "/v1/files",
            data={"purpose": "batch"},
            files={"file": ("requests.jsonl", _requests(7))},
        )
        by_file = await client.post(
            "/v1/batches/estimate",
            json={
                "input_file_id": uploaded.json()["id"],
                "endpoint": "/v1/judgments",
                "completion_window": "24h",
            },
        )
        assert by_file.status_code == 200, by_file.text
        assert by_file.json()["pairs"] == 7
    assert not asked
    student, dear = found["judges"]
    assert (student["basis"], student["cost_usd"]["high"]) == ("free", 0)
    assert dear["basis"] == "texts"
    pairs = dear["pairs"]["value"]
    assert dear["pairs"]["low"] == dear["pairs"]["high"] == pairs
    assert 0 < pairs <= 100
    assert dear["calls"]["value"] == 2 * pairs
    tokens = dear["prompt_tokens"]
    assert 0 < tokens["low"] < tokens["value"] < tokens["high"]
    usd = tokens["value"] * 2e-6 + dear["completion_tokens"]["value"] * 8e-6
    assert dear["cost_usd"]["value"] == pytest.approx(usd)
    assert found["cost_usd"]["low"] < usd < found["cost_usd"]["high"]


_REASONING = """
[judges.thinker]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
model = "judge"
omit = ["max_tokens", "temperature", "logprobs"]
extra_body = { max_completion_tokens = 4000 }
price_input = 1.25
price_output = 10.0
budget_usd = 5.0
annotators = 1
[cascades.default]
judges = ["thinker"]
"""


def _answer(request: httpx.Request) -> httpx.Response:
    """Answer as a model that reasons does: 300 tokens for one letter."""
    reply = {"message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 200, "completion_tokens": 300, "total_tokens": 500}
    return httpx.Response(200, json={"model": "judge", "choices": [reply], "usage": usage})


async def test_output_tokens_are_assumed_aloud_until_the_judge_has_answered(
    settings: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "tribunal.toml"
    config.write_text(_REASONING)
    app = create_app(
        settings.model_copy(update={"config": config}),
        judge_transport=httpx.MockTransport(_answer),
    )
    async with app.router.lifespan_context(app), client_of(app) as client:
        unjudged = [{**row, "judges": {}} for row in labelled_rows(100)]
        await upload(client, "rivers", unjudged)
        await upload(client, "lakes", [{**one, "prompt": f"Lake: {one['id']}"} for one in unjudged])
        first = await estimate(client)
        await run(client, app.state.runtime, part={**HALF, "side": "calibration"})
        again = await estimate(client, dataset="lakes")
        part = await estimate(client, part={"fraction": 0.9, "seed": 1, "side": "test"})
    [judge] = first["judges"]
    assert judge["output"] == {
        "tokens_per_call": 400, "most_per_call": 4000, "source": "assumption", "scores": 0,
    }  # fmt: skip
    assert judge["completion_tokens"]["value"] == 200 * 400
    assert judge["completion_tokens"]["high"] == 200 * 4000
    assumed, budget = first["warnings"]
    assert "400 output tokens a call are counted with, which is an assumption" in assumed
    assert "(--part calibration:0.2:0" in assumed
    assert "its budget_usd (5 USD) may be spent: the upper bound is 8." in budget
    [judge] = again["judges"]
    assert (judge["output"]["tokens_per_call"], judge["output"]["source"]) == (300, "earlier_calls")
    assert judge["completion_tokens"]["value"] == 200 * 300
    assert "the mean over 50 stored scores of it on other pairs" in again["warnings"][0]
    assert judge["budget_usd"] == 5.0
    # what is stored of these very pairs says it all
    assert part["judges"][0]["output"] is None


def _requests(count: int) -> bytes:
    pair = {"prompt": "Why?", "response_a": "Rain.", "response_b": ""}
    lines = [
        {
            "custom_id": f"q{number}", "method": "POST", "url": "/v1/judgments",
            "body": {**pair, "id": f"q{number}"},
        }
        for number in range(count)
    ]  # fmt: skip
    return ndjson(lines)


async def test_what_cannot_be_estimated_is_refused_by_name(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    files = await client.post(
        "/v1/batches/estimate", json={"input": "x.parquet", "output": "verdicts"}
    )
    assert files.status_code == 422
    assert "import a sample" in files.text
    unknown = await client.post("/v1/batches/estimate", json={"dataset": "lakes"})
    assert unknown.status_code == 404
    strange = await client.post("/v1/batches/estimate", json={"dataset": "rivers", "cascade": "x"})
    assert strange.status_code in (404, 422)


def test_what_is_known_of_one_score_alone_is_that_score_and_unknown_prices_leave_no_sum() -> None:
    assert estimating.mean_of([3.0]) == estimating.Spread(3.0, 3.0, 3.0, 1)
    one = estimating.Spread(1.0, 0.5, 2.0)
    assert estimating._total([one, None]) is None
    total = estimating._total([one, one])
    assert total is not None
    assert (total["value"], total["low"], total["high"]) == (2.0, 1.0, 4.0)
    unpriced: Any = PaidJudge("free")
    assert estimating._at_prices(unpriced, one, one) is not None
    unpriced = SimpleNamespace(spec=replace(unpriced.spec, price_input=None))
    assert estimating._at_prices(unpriced, one, one) is None
