"""Reasons through the service: asked for, stored, shown, paid for, and never part of a verdict."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI

from app.batches.worker.loop import Worker
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import upload
from tests.conftest import client_of
from tests.judges.model_server import PROMPT_TOKENS, REASON_TOKENS, ModelServer

CONFIG = """
[judges.live]
kind = "openai"
base_url = "{url}"
model = "judge"
examples = 0
annotators = 1
attempts = 1
reasons = true
reasons_for = "{wanted}"
reason_tokens = 60
price_input = 1.0
price_output = 1.0
[judges.silent]
kind = "openai"
base_url = "{url}"
model = "judge"
examples = 0
annotators = 1
orders = "as_posted"
attempts = 1
[cascades.default]
judges = ["live"]
thresholds = [0.8]
[cascades.silent]
judges = ["silent"]
[cascades.two]
judges = ["silent", "live"]
thresholds = [1.0, 0.8]
"""
SCORE_USD = (2 * PROMPT_TOKENS + 2) / 1e6
REASON_USD = (PROMPT_TOKENS + 30 + REASON_TOKENS) / 1e6


@pytest.fixture
def wanted() -> str:
    return "all"


@pytest.fixture
def settings(settings: Settings, server: ModelServer, tmp_path: Path, wanted: str) -> Settings:
    config = tmp_path / "tribunal.toml"
    config.write_text(CONFIG.format(url=server.base_url, wanted=wanted))
    return settings.model_copy(update={"config": config, "workers": 0, "shard_size": 5})


def pair(number: int = 0, a: str = "good good good good", b: str = "bad") -> dict[str, Any]:
    return {"id": f"p{number}", "prompt": f"Say {number}.", "response_a": a, "response_b": b}


async def judged(
    client: httpx.AsyncClient, *pairs: dict[str, Any], query: str = "?include=reasons", **body: Any
) -> list[dict[str, Any]]:
    response = await client.post(f"/v1/judgments{query}", json={"pairs": list(pairs), **body})
    assert response.status_code == 200, response.text
    verdicts: list[dict[str, Any]] = response.json()["verdicts"]
    return verdicts


def asked_why(server: ModelServer) -> int:
    return sum(one["messages"][-2]["role"] == "assistant" for one in server.requests)


@pytest.mark.both_databases
async def test_a_reason_is_stored_shown_on_request_and_not_asked_for_twice(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    [first] = await judged(client, pair())
    assert first["reason"] == {
        "judge": "live",
        "text": "A has more good words, so A is better.",
        "flags": [],
    }
    assert first["cost_usd"] == pytest.approx(SCORE_USD + REASON_USD)
    assert not first["cached"]
    [again] = await judged(client, pair())
    assert again["reason"] == first["reason"]
    assert again["cost_usd"] == 0
    assert again["cached"]
    assert asked_why(server) == 1
    [plain] = await judged(client, pair(), query="")
    assert "reason" not in plain
    listed = (await client.get("/v1/judgments?include=reasons")).json()["data"]
    assert [one["reason"] for one in listed] == [first["reason"]] * 3
    assert "reason" not in (await client.get("/v1/judgments")).json()["data"][0]
    metrics = (await client.get("/metrics")).text
    assert 'tribunal_reasons_total{judge="live",outcome="ok"}' in metrics


async def test_the_mirror_image_has_words_of_its_own(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    [one] = await judged(client, pair())
    [other] = await judged(client, pair(a="bad", b="good good good good"))
    assert one["label"] == "a"
    assert other["label"] == "b"
    assert "B is better" in other["reason"]["text"]
    # one score serves both orders, a reason does not
    assert len(server.requests) - asked_why(server) == 2
    assert asked_why(server) == 2


@pytest.mark.parametrize("wanted", ["disagreements", "answered", "abstained", "sample:0.5"])
async def test_only_verdicts_that_somebody_reads_get_one(
    client: httpx.AsyncClient, server: ModelServer, wanted: str
) -> None:
    sure, unsure = pair(1), pair(2, a="good", b="bad")
    many = [pair(number, a="good good good good", b=f"bad {number}") for number in range(3, 23)]
    verdicts = await judged(client, sure, unsure, *many)
    assert [one["status"] for one in verdicts[:2]] == ["accepted", "abstained"]
    told = ["reason" in one for one in verdicts]
    if wanted == "sample:0.5":
        assert 4 <= sum(told) <= 18
        return
    assert told[0] == (wanted == "answered")
    assert told[1] == (wanted != "answered")
    assert asked_why(server) == sum(told)


@pytest.mark.parametrize("wanted", ["disagreements"])
async def test_judges_that_differ_are_worth_a_reason(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    # what is shown first has an advantage, which one order alone does not take out
    leaning = pair(1, a="good " * 8, b="good " * 8 + "good")
    same = pair(2)
    verdicts = await judged(client, leaning, same, cascade="two")
    labels = [[tier["p_a"] > 0.5 for tier in one["tiers"]] for one in verdicts]
    assert labels[0] in ([True, False], [False, False])
    assert "reason" not in verdicts[1]
    assert ("reason" in verdicts[0]) == (
        len(set(labels[0])) > 1 or verdicts[0]["status"] == "abstained"
    )


async def test_a_reason_that_does_not_come_costs_no_verdict(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    server.faults = {"why?": "500"}
    [verdict] = await judged(client, pair())
    assert verdict["status"] == "accepted"
    assert verdict["reason"] == {"judge": "live", "text": None, "flags": ["failed:server_error"]}
    server.faults = {}
    [again] = await judged(client, pair())
    assert again["reason"]["text"] is not None


async def test_reasons_change_no_score(
    client: httpx.AsyncClient, service: FastAPI, tmp_path: Path
) -> None:
    [with_reason] = await judged(client, pair())
    config = service.state.runtime.settings.config
    config.write_text(config.read_text().replace("reasons = true\n", "").replace(
        'reasons_for = "all"\nreason_tokens = 60\n', ""
    ))  # fmt: skip
    runtime: Runtime = service.state.runtime
    other = runtime.settings.model_copy(
        update={"database_url": f"sqlite+aiosqlite:///{tmp_path}/other.db"}
    )
    app = create_app(other)
    async with app.router.lifespan_context(app), client_of(app) as plain:
        judges = {
            j["name"]: j["fingerprint"] for j in (await plain.get("/v1/judges")).json()["data"]
        }
        [without] = await judged(plain, pair())
    mine = {j["name"]: j["fingerprint"] for j in (await client.get("/v1/judges")).json()["data"]}
    assert judges == mine
    assert without["tiers"][0]["p_a"] == with_reason["tiers"][0]["p_a"]
    assert "reason" not in without


@pytest.mark.both_databases
async def test_a_batch_counts_stores_and_exports_reasons(
    client: httpx.AsyncClient, service: FastAPI, server: ModelServer, tmp_path: Path
) -> None:
    rows = [pair(number, b=f"bad {number}") for number in range(12)]
    server.faults = {"why? ": "ok"}
    await upload(client, "twelve", rows)
    created = await client.post("/v1/batches", json={"dataset": "twelve", "budget_usd": 1.0})
    assert created.status_code == 202, created.text
    runtime: Runtime = service.state.runtime
    while await Worker(runtime, "worker").work():
        pass
    batch = (await client.get(f"/v1/batches/{created.json()['id']}")).json()
    assert batch["request_counts"]["accepted"] == 12
    assert batch["cost_usd"] == pytest.approx(12 * (SCORE_USD + REASON_USD))
    assert batch["spent_usd"] == pytest.approx(batch["cost_usd"])
    [tier] = batch["progress"]["tiers"]
    assert (tier["obtained"], tier["reasons"]) == (12, 12)
    assert (tier["reasons_contradicting"], tier["reasons_failed"]) == (0, 0)
    assert tier["cost_usd"] == pytest.approx(batch["cost_usd"])
    path = f"/v1/batches/{batch['id']}/results"
    lines = [json.loads(line) for line in (await client.get(path)).text.splitlines()]
    assert not any("reason" in line for line in lines)
    query = {"include": "reasons"}
    told = [json.loads(x) for x in (await client.get(path, params=query)).text.splitlines()]
    assert [one["reason"]["text"] for one in told] == [
        "A has more good words, so A is better."
    ] * 12
    known = (await client.get(f"/v1/datasets/twelve/pairs/{rows[0]['id']}")).json()
    assert known["verdicts"][0]["reason"] == told[0]["reason"]
    shown = await client.get(f"/pairs/twelve/{rows[0]['id']}")
    assert "A has more good words, so A is better." in shown.text
    as_csv = await client.get(path, params=query, headers={"accept": "text/csv"})
    cells = list(csv.DictReader(io.StringIO(as_csv.text)))
    assert json.loads(cells[0]["reason"])["judge"] == "live"
    parquet = await client.get(
        path, params=query, headers={"accept": "application/vnd.apache.parquet"}
    )
    (tmp_path / "told.parquet").write_bytes(parquet.content)
    table = pq.read_table(tmp_path / "told.parquet").to_pylist()
    assert table[3]["reason"]["text"].startswith("A has more")


async def test_a_budget_covers_the_reasons_too(
    client: httpx.AsyncClient, service: FastAPI, server: ModelServer
) -> None:
    rows = [pair(number, b=f"bad {number}") for number in range(30)]
    await upload(client, "thirty", rows)
    cap = 0.01
    await client.post("/v1/batches", json={"dataset": "thirty", "budget_usd": cap})
    runtime: Runtime = service.state.runtime
    while await Worker(runtime, "worker").work():
        pass
    [batch] = (await client.get("/v1/batches")).json()["data"]
    counts = batch["request_counts"]
    assert 0 < counts["accepted"] < 30
    assert counts["not_admitted"] == 30 - counts["accepted"]
    assert batch["spent_usd"] == pytest.approx(counts["accepted"] * (SCORE_USD + REASON_USD))
    assert batch["spent_usd"] <= cap


@pytest.mark.parametrize(
    ("wanted", "share"), [("all", 1.0), ("sample:0.5", 0.5), ("answered", None)]
)
async def test_an_estimate_counts_reasons(
    client: httpx.AsyncClient, wanted: str, share: float | None
) -> None:
    await upload(client, "thirty", [pair(number) for number in range(3)])
    found = await client.post("/v1/batches/estimate", json={"dataset": "thirty"})
    [judge] = found.json()["judges"]
    pairs = judge["pairs"]["value"]
    if share is None:
        assert judge["cost_usd"]["value"] is None
        assert judge["calls"]["high"] == pytest.approx(3 * pairs)
    else:
        assert judge["calls"]["value"] == pytest.approx((2 + share) * pairs)
        assert judge["completion_tokens"]["value"] == pytest.approx((2 + 60 * share) * pairs)


async def test_contradictions_are_counted_for_the_judge(
    client: httpx.AsyncClient, service: FastAPI, server: ModelServer
) -> None:
    await upload(client, "one", [pair()])
    server.plan = ["ok", "ok", "says It is short, so B is better."]
    await client.post("/v1/batches", json={"dataset": "one"})
    runtime: Runtime = service.state.runtime
    while await Worker(runtime, "worker").work():
        pass
    [batch] = (await client.get("/v1/batches")).json()["data"]
    [tier] = batch["progress"]["tiers"]
    assert tier["reasons_contradicting"] == 1
    [verdict] = (await client.get("/v1/judgments?include=reasons")).json()["data"]
    assert verdict["reason"]["flags"] == ["contradicts"]


async def test_a_batch_over_files_writes_the_reasons_beside_its_verdicts(
    settings: Settings, server: ModelServer, tmp_path: Path
) -> None:
    app = create_app(settings.model_copy(update={"tables_dir": tmp_path}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        rows = [pair(1), pair(2, a="bad", b="good good good good"), {"id": "p3", "prompt": "none"}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
        body = {"input": "in.parquet", "output": "out", "cascade": "default"}
        created = await client.post("/v1/batches", json=body)
        assert created.status_code == 202, created.text
        while await Worker(app.state.runtime, "worker").work():
            pass
        [part] = (tmp_path / "out").glob("part-*.parquet")
        first, second, third = pq.read_table(part).to_pylist()
        assert first["explanation"] == {
            "judge": "live", "text": "A has more good words, so A is better.", "flags": []
        }  # fmt: skip
        assert "B is better" in second["explanation"]["text"]
        # `reason` says why a row is no pair
        assert third["explanation"] is None
        assert third["reason"]
        silent = {**body, "output": "quiet", "cascade": "silent"}
        await client.post("/v1/batches", json=silent)
        while await Worker(app.state.runtime, "worker").work():
            pass
        [part] = (tmp_path / "quiet").glob("part-*.parquet")
        assert "explanation" not in pq.read_schema(part).names


async def test_an_export_of_a_dataset_has_the_reasons_that_were_given_for_its_pairs(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await upload(client, "told", [pair(1), pair(2)])
    await judged(client, pair(1))

    async def exported(form: str, status: int = 200, **query: str) -> httpx.Response:
        asked = {"format": form, **query}
        answer = await client.get("/v1/datasets/told/export", params=asked)
        assert answer.status_code == status, answer.text
        return answer

    reason = {
        "judge": "live", "text": "A has more good words, so A is better.", "flags": [],
        "label": "a",
    }  # fmt: skip
    plain = [json.loads(one) for one in (await exported("canonical")).text.splitlines()]
    assert not any("reasons" in one for one in plain)
    told = (await exported("canonical", include="reasons")).text.splitlines()
    assert [json.loads(one).get("reasons") for one in told] == [[reason], None]
    table = (await exported("csv", include="reasons")).text
    cells = [one["reasons"] for one in csv.DictReader(io.StringIO(table))]
    assert (json.loads(cells[0]), cells[1]) == ([reason], "")
    (tmp_path / "t.parquet").write_bytes((await exported("parquet", include="reasons")).content)
    read = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert json.loads(read[0]["reasons"]) == [reason]
    refused = await exported("cje", 422, include="reasons")
    assert refused.json()["errors"][0]["loc"] == ["query", "include"]


async def test_a_reason_says_where_all_judges_together_prefer_another_response(
    client: httpx.AsyncClient,
) -> None:
    rng = np.random.default_rng(16)

    def of(number: int, p_a: float, goods: tuple[int, int]) -> dict[str, Any]:
        texts = [f"{number} {'good ' * count}" for count in goods]
        return {**pair(number, *texts), "judges": {"half": {"p_a": p_a}}}

    rows = []
    for number in range(120):
        p_a, goods = float(rng.choice([0.1, 0.25, 0.75, 0.9])), rng.integers(0, 4, 2).tolist()
        lead = math.log(p_a / (1 - p_a)) + 0.7 * (goods[0] - goods[1])
        label = "a" if rng.random() < 1 / (1 + math.exp(-2 * lead)) else "b"
        rows.append({**of(number, p_a, goods), "human": [{"annotator": "ann", "label": label}]})
    await upload(client, "labels", rows)
    body = {"dataset": "labels", "cascade": {"judges": ["half", "live"]}, "target_agreement": 0.85}
    asked = await client.post("/v1/calibrations", json=body)
    while (made := (await client.get(asked.headers["location"])).json())["status"] == "running":  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    assert made["columns"] == "stacked"
    # the recorded judge is surer of a than the live one is of b
    [verdict] = await judged(client, of(999, 0.8, (0, 1)), calibration=made["id"])
    assert (verdict["label"], verdict["tiers"][1]["p_a"] < 0.5) == ("a", True), (verdict, made)
    assert verdict["reason"]["flags"] == ["verdict_differs"]
    assert "B is better" in verdict["reason"]["text"]
    [listed] = (await client.get("/v1/judgments?include=reasons")).json()["data"]
    assert listed["reason"] == verdict["reason"]
