"""The README's second example, on real human preferences and recorded verdicts of real judges."""

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
from tests.data_sets import data_dir, rows

CONFIG = """
[judges.gpt4-votes]
kind = "recorded"
members = ["GPT-4/*"]
[judges.chatgpt-votes]
kind = "recorded"
members = ["ChatGPT/*"]
[cascades.gpt4]
judges = ["student", "gpt4-votes"]
[cascades.chatgpt]
judges = ["student", "chatgpt-votes"]
"""
HALF = {"fraction": 0.5, "seed": 0}


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    data_dir()
    folder = tmp_path_factory.mktemp("acceptance")
    config = folder / "tribunal.toml"
    config.write_text(CONFIG)
    settings = Settings(database_url=f"sqlite:///{folder}/test.db", config=config)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as opened:
        yield opened


@pytest.fixture(scope="module")
async def llmbar(client: httpx.AsyncClient) -> str:
    """Natural and Adversarial: 419 pairs with an objective label."""
    chosen = [row for row in rows("llmbar") if row["subset"].startswith("LLMBar/")]
    assert len(chosen) == 419
    return str((await upload(client, "llmbar", chosen))["id"])


@pytest.fixture(scope="module")
async def mtbench(client: httpx.AsyncClient) -> str:
    dataset = await upload(client, "mtbench", list(rows("mtbench_human")))
    assert dataset["pairs"] == 1814
    assert dataset["labels"] == 3355
    assert dataset["groups"] == 80
    return str(dataset["id"])


async def certify(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post(
        "/v1/calibrations", json={"part": {**HALF, "side": "calibration"}, **body}
    )
    assert response.status_code == 201, response.text
    certificate: dict[str, Any] = response.json()
    return certificate


async def judge_other_half(
    client: httpx.AsyncClient, dataset: str, calibration: str
) -> list[dict[str, Any]]:
    created = await client.post(
        "/v1/batches",
        json={"dataset": dataset, "calibration": calibration, "part": {**HALF, "side": "test"}},
    )
    assert created.status_code == 202, created.text
    path = created.headers["location"]
    for _ in range(600):
        batch = (await client.get(path)).json()
        if batch["status"] != "in_progress":
            break
        await asyncio.sleep(0.1)
    assert batch["status"] == "completed"
    assert batch["promise"] == "certified"
    lines = (await client.get(f"{path}/results")).text.splitlines()
    return [json.loads(line) for line in lines]


async def report_on(client: httpx.AsyncClient, dataset: str, calibration: str) -> dict[str, Any]:
    response = await client.get(
        "/v1/reports/agreement",
        params={"dataset": dataset, "calibration": calibration, "part": "test:0.5:0"},
    )
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


async def test_gpt4s_votes_are_certified_and_keep_the_promise_on_the_other_half(
    client: httpx.AsyncClient, llmbar: str
) -> None:
    certificate = await certify(client, dataset=llmbar, cascade="gpt4", target_agreement=0.8)
    assert certificate["status"] == "certified"
    assert certificate["calibration"]["agreement_lower_bound"] >= 0.8
    assert certificate["calibration"]["seen_in_training"] == 0
    verdicts = await judge_other_half(client, llmbar, certificate["id"])
    given = [v for v in verdicts if v["status"] == "accepted"]
    gold = {row["id"]: row["human"][0]["label"].lower() for row in rows("llmbar")}
    agreement = sum(gold[v["id"]] == v["label"] for v in given) / len(given)
    assert agreement >= 0.8
    report = await report_on(client, llmbar, certificate["id"])
    cascade = report["cascade"]
    assert cascade["agreement"]["value"] == pytest.approx(agreement)
    assert cascade["agreement"]["n"] == len(given)
    assert cascade["coverage"]["value"] == pytest.approx(len(given) / len(verdicts))
    assert cascade["composition"]["gpt4-votes"] > 0.5
    assert sum(cascade["composition"].values()) == pytest.approx(1) or sum(
        cascade["composition"].values()
    ) == pytest.approx(cascade["coverage"]["value"])


async def test_chatgpts_votes_are_refused_with_advice(
    client: httpx.AsyncClient, llmbar: str
) -> None:
    certificate = await certify(client, dataset=llmbar, cascade="chatgpt", target_agreement=0.8)
    assert certificate["status"] == "not_certifiable"
    assert all(tier["threshold"] is None for tier in certificate["thresholds"])
    assert certificate["advice"]["certifiable_agreement"] < 0.8
    assert certificate["advice"]["labels_needed"] is None


async def test_the_student_alone_is_refused_where_it_fails(
    client: httpx.AsyncClient, llmbar: str
) -> None:
    certificate = await certify(
        client, dataset=llmbar, cascade={"judges": ["student"]}, target_agreement=0.8
    )
    assert certificate["status"] == "not_certifiable"


async def test_mt_bench_agreement_and_leaderboard(client: httpx.AsyncClient, mtbench: str) -> None:
    query = {"dataset": mtbench, "judges": "gpt-4-pair"}
    report = (await client.get("/v1/reports/agreement", params=query)).json()
    assert report["human"]["krippendorff_alpha"]["value"] == pytest.approx(0.4855, abs=1e-4)
    judge = report["judges"][0]
    assert judge["agreement"]["n"] == 1078
    assert judge["agreement"]["value"] == pytest.approx(953 / 1078, abs=1e-9)
    board = (await client.post("/v1/leaderboards", json={"dataset": mtbench})).json()
    assert [row["model"] for row in board["rows"]] == [
        "gpt-4", "claude-v1", "gpt-3.5-turbo", "vicuna-13b-v1.2", "alpaca-13b", "llama-13b",
    ]  # fmt: skip
    assert board["rows"][0]["strength"] == pytest.approx(0.340784, abs=5e-6)


async def test_mt_bench_has_few_groups_and_says_so(client: httpx.AsyncClient, mtbench: str) -> None:
    """40 questions are 40 units: either outcome is honest, a broken promise is not."""
    certificate = await certify(
        client, dataset=mtbench, cascade={"judges": ["student", "gpt-4-pair"]},
        target_agreement=0.8,
    )  # fmt: skip
    found = certificate["calibration"]
    assert found["groups"] <= 40
    assert found["pairs"] <= 40
    assert found["dropped_in_groups"] > 300
    if certificate["status"] == "not_certifiable":
        assert all(tier["threshold"] is None for tier in certificate["thresholds"])
        assert certificate["advice"]["labels_needed"] is None or (
            certificate["advice"]["labels_needed"] > 0
        )
    else:
        assert found["agreement_lower_bound"] >= 0.8


def test_the_data_folder_is_not_part_of_the_repository() -> None:
    root = Path(__file__).resolve().parents[2]
    assert not list(root.glob("**/mtbench_human")) or not data_dir().is_relative_to(root)
