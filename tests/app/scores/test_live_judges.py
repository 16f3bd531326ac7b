"""The service with a judge behind HTTP: a real server on this machine that can misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import upload
from tests.conftest import client_of
from tests.judges.model_server import ModelServer

GOOD, BAD = "good", "plain"


@pytest.fixture
def settings(settings: Settings, server: ModelServer, tmp_path: Path) -> Settings:
    config = tmp_path / "tribunal.toml"
    config.write_text(f"""
[judges.live]
kind = "openai"
base_url = "{server.base_url}"
model = "judge"
annotators = 2
examples = 2
examples_from = "shots"
attempts = 1
timeout_s = 30
price_input = 1.0
price_output = 1.0
[cascades.default]
judges = ["student", "live"]
[cascades.live]
judges = ["live"]
""")
    return settings.model_copy(update={"config": config})


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service with the few-shot examples already imported."""
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "shots", rows(12, "shot"))
        yield client


def rows(n: int, name: str) -> list[dict[str, Any]]:
    """Pairs that the server's model tells apart by the number of good words."""
    made = []
    for i in range(n):
        better, worse = f"{GOOD} {GOOD} {GOOD} answer {i}", f"{BAD} answer {i}"
        is_a = i % 2 == 0
        made.append({
            "id": f"{name}{i}", "prompt": f"{name} question {i}?",
            "response_a": better if is_a else worse, "response_b": worse if is_a else better,
            "human": [{"annotator": "anna", "label": "a" if is_a else "b"}],
        })  # fmt: skip
    return made


async def certify(client: httpx.AsyncClient, dataset: str) -> dict[str, Any]:
    created = await client.post(
        "/v1/calibrations",
        json={"dataset": dataset, "cascade": "live", "target_agreement": 0.8},
    )
    assert created.status_code == 202, created.text
    assert created.json()["status"] in ("pending", "running")
    for _ in range(600):
        certificate: dict[str, Any] = (await client.get(created.headers["location"])).json()
        if certificate["status"] not in ("pending", "running"):
            return certificate
        await asyncio.sleep(0.05)
    raise AssertionError(certificate)


async def judge(
    client: httpx.AsyncClient, pairs: list[dict[str, Any]], **body: Any
) -> dict[str, Any]:
    bare = [{key: value for key, value in pair.items() if key != "human"} for pair in pairs]
    response = await client.post("/v1/judgments", json={"pairs": bare, **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.both_databases
async def test_a_judge_waits_for_its_examples_and_then_answers(
    settings: Settings, server: ModelServer
) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        waiting = await judge(client, rows(1, "early"), cascade="live")
        assert waiting["verdicts"][0]["status"] == "failed"
        assert waiting["verdicts"][0]["tiers"][0]["failure"]["kind"] == "unavailable"
        await upload(client, "shots", rows(12, "shot"))
        answered = await judge(client, rows(1, "early"), cascade="live")
        assert answered["verdicts"][0]["label"] == "a"
    assert len(server.requests) == 4, "two annotators in both orders"


async def test_certify_judge_and_repeat_without_another_call(
    opened: httpx.AsyncClient, server: ModelServer
) -> None:
    await upload(opened, "labels", [*rows(60, "label"), *rows(4, "shot")])
    certificate = await certify(opened, "labels")
    assert certificate["status"] == "certified"
    found = certificate["calibration"]
    held = found["held_for_examples"]
    assert 1 <= held <= 4, "two annotators of two examples each"
    assert found["cost_per_pair"] > 0
    calls = len(server.requests)
    assert calls == (64 - held) * 4
    again = await opened.post(
        "/v1/calibrations",
        json={"dataset": "labels", "cascade": "live", "target_agreement": 0.75},
    )
    assert again.status_code == 201, "every score is stored"
    new = rows(10, "new")
    first = await judge(opened, new, calibration=certificate["id"])
    second = await judge(opened, new, calibration=certificate["id"])
    assert len(server.requests) == calls + 40
    assert {v["promise"] for v in first["verdicts"]} == {"certified"}
    assert [v["label"] for v in first["verdicts"]] == ["a", "b"] * 5
    assert [v["label"] for v in second["verdicts"]] == ["a", "b"] * 5
    assert {v["cached"] for v in second["verdicts"]} == {True}
    assert sum(v["cost_usd"] for v in second["verdicts"]) == 0 < first["verdicts"][0]["cost_usd"]


async def test_an_outage_escalates_suspends_and_heals(
    opened: httpx.AsyncClient, server: ModelServer
) -> None:
    await upload(opened, "labels", rows(60, "label"))
    certificate = await certify(opened, "labels")
    new = rows(6, "new")
    server.plan.extend(["500"] * 24)
    broken = await judge(opened, new, calibration=certificate["id"])
    assert "live" in broken["suspended_because"]
    assert {v["status"] for v in broken["verdicts"]} == {"failed"}
    assert {v["promise"] for v in broken["verdicts"]} == {"suspended"}
    server.plan.clear()
    healed = await judge(opened, new, calibration=certificate["id"])
    assert healed["suspended_because"] is None
    assert {v["status"] for v in healed["verdicts"]} == {"accepted"}


async def test_a_deadline_gives_typed_failures_and_keeps_the_scores(
    opened: httpx.AsyncClient, server: ModelServer
) -> None:
    await upload(opened, "labels", rows(60, "label"))
    certificate = await certify(opened, "labels")
    new = rows(2, "slow")
    server.plan.extend(["hang"] * 8)
    cut = await judge(opened, new, calibration=certificate["id"], deadline_s=0.3)
    assert {v["status"] for v in cut["verdicts"]} == {"failed"}
    assert {v["tiers"][0]["failure"]["kind"] for v in cut["verdicts"]} == {"deadline"}
    assert "deadline" in cut["suspended_because"]
    assert {v["promise"] for v in cut["verdicts"]} == {"suspended"}


async def test_a_failure_before_the_deadline_is_the_cause_that_is_told(
    opened: httpx.AsyncClient, server: ModelServer
) -> None:
    # the first call is refused, and then none is answered
    server.plan.extend(["429", *["hang"] * 40])
    cut = await judge(opened, rows(1, "refused"), cascade={"judges": ["live"]}, deadline_s=0.5)
    failures = [v["tiers"][0]["failure"] for v in cut["verdicts"]]
    assert {failure["kind"] for failure in failures} == {"deadline"}
    for failure in failures:
        assert failure["detail"].startswith("not answered before the deadline")
        assert "rate_limited" in failure["detail"]
        assert "slow down" in failure["detail"]


@pytest.mark.both_databases
async def test_a_calibration_goes_on_after_a_restart_and_pays_only_for_the_rest(
    settings: Settings, server: ModelServer
) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "shots", rows(12, "shot"))
        await upload(client, "labels", rows(60, "label"))
        server.pause_seconds = 5.0
        created = await client.post(
            "/v1/calibrations",
            json={"dataset": "labels", "cascade": "live", "target_agreement": 0.8},
        )
        assert created.status_code == 202
        path = created.headers["location"]
    server.reset()
    again = create_app(settings)
    async with again.router.lifespan_context(again), client_of(again) as client:
        for _ in range(600):
            certificate = (await client.get(path)).json()
            if certificate["status"] not in ("pending", "running"):
                break
            await asyncio.sleep(0.05)
    assert certificate["status"] == "certified"
    assert len(server.requests) <= 60 * 4


async def test_another_model_behind_the_name_is_refused_with_409(
    opened: httpx.AsyncClient, server: ModelServer, settings: Settings
) -> None:
    await upload(opened, "labels", rows(60, "label"))
    certificate = await certify(opened, "labels")
    document = (await opened.get(f"/v1/calibrations/{certificate['id']}/export")).json()
    assert settings.config is not None
    changed = settings.config.read_text().replace('model = "judge"', 'model = "newer"')
    settings.config.write_text(changed)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        response = await client.post(
            "/v1/judgments",
            json={"pairs": rows(1, "new")[:1], "calibration": certificate["id"]},
        )
        imported = await client.post("/v1/calibrations/import", json=document)
    assert (response.status_code, imported.status_code) == (409, 409)
    assert imported.json()["changed"] == response.json()["changed"]
    [changed_judge] = response.json()["changed"]
    assert changed_judge["judge"] == "live"
    assert changed_judge["differences"] == [{"field": "model", "old": "'judge'", "new": "'newer'"}]
    assert "live changed (model: judge -> newer)" in response.json()["detail"]
    assert "live changed (model: judge -> newer)" in imported.json()["detail"]


async def test_more_labels_on_the_examples_change_no_fingerprint(
    opened: httpx.AsyncClient, settings: Settings
) -> None:
    async def fingerprint(client: httpx.AsyncClient) -> str:
        judges = (await client.get("/v1/judges")).json()["data"]
        return str(next(one for one in judges if one["name"] == "live")["fingerprint"])

    before = await fingerprint(opened)
    labels = [
        {"dataset": "shots", "pair": f"shot{i}", "annotator": "anna", "label": "tie"}
        for i in range(12)
    ]
    assert (await opened.post("/v1/labels", json={"labels": labels})).status_code == 201
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert await fingerprint(client) == before


@pytest.mark.both_databases
async def test_a_live_batch_survives_a_restart_and_pays_once(
    settings: Settings, server: ModelServer
) -> None:
    settings = settings.model_copy(update={"shard_size": 15})
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "shots", rows(12, "shot"))
        await upload(client, "pairs", rows(45, "pair"))
        created = await client.post("/v1/batches", json={"dataset": "pairs", "cascade": "live"})
        path = created.headers["location"]
        for _ in range(400):
            batch = (await client.get(path)).json()
            if batch["request_counts"]["completed"] >= 15:
                break
            await asyncio.sleep(0.02)
    again = create_app(settings)
    async with again.router.lifespan_context(again), client_of(again) as client:
        for _ in range(1200):
            batch = (await client.get(path)).json()
            if batch["status"] == "completed":
                break
            await asyncio.sleep(0.05)
        assert batch["request_counts"]["completed"] == 45
        lines = (await client.get(f"{path}/results")).text.splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 45
    at_most_one_shard_twice = 45 * 4 + 15 * 4
    assert 45 * 4 <= len(server.requests) <= at_most_one_shard_twice


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[judges.x]\nkind = 'openai'\nmodle = 'y'\n", "model"),
        ("[judges.x]\nkind = 'magic'\n", "kind"),
        ("[cascades.x]\njudges = []\n", "judges"),
        ("not toml", "tribunal.toml"),
    ],
)
async def test_a_wrong_configuration_is_said_at_start(
    settings: Settings, text: str, named: str
) -> None:
    from app.core.errors import ConfigurationInvalid

    assert settings.config is not None
    settings.config.write_text(text)
    app = create_app(settings)
    with pytest.raises(ConfigurationInvalid, match=named):
        async with app.router.lifespan_context(app):
            pass
