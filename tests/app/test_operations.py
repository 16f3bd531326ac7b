from __future__ import annotations

import httpx
import pytest


async def test_ready_with_nothing_configured(client: httpx.AsyncClient) -> None:
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["judges"]["student"]["ready"]
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_configured_judges_and_cascades_are_listed(client: httpx.AsyncClient) -> None:
    judges = (await client.get("/v1/judges")).json()
    assert judges["object"] == "list"
    student = judges["data"][0]
    assert student["name"] == "student"
    assert student["fingerprint"].startswith("student:")
    assert student["training_prompts"] > 300
    cascades = (await client.get("/v1/cascades")).json()["data"]
    assert {
        "id": "default",
        "object": "cascade",
        "name": "default",
        "judges": ["student"],
    } in cascades


async def test_metrics_count_verdicts(client: httpx.AsyncClient) -> None:
    pair = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": ""}
    await client.post("/v1/judgments", json={"pairs": [pair]})
    text = (await client.get("/metrics")).text
    assert "tribunal_verdicts_total" in text
    assert 'route="/v1/judgments"' in text


async def test_a_request_id_is_kept_or_made(client: httpx.AsyncClient) -> None:
    given = await client.get("/healthz", headers={"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    made = await client.get("/healthz", headers={"x-request-id": "no good\t"})
    assert made.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/nothing", "/v1/calibrations/cal_none", "/v1/batches/none", "/v1/leaderboards/none",
        "/v1/reports/none", "/v1/datasets/none", "/v1/batches/none/results",
    ],
)  # fmt: skip
async def test_what_is_not_there_is_a_404_problem(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json()["status"] == 404


@pytest.mark.parametrize("path", ["/v1/calibrations", "/v1/batches", "/v1/judgments"])
@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 10**30}, {"limit": "x"}, {"after": "?"}])
async def test_bad_pages_are_4xx_problems(
    client: httpx.AsyncClient, path: str, query: dict[str, str | int]
) -> None:
    response = await client.get(path, params=query)
    assert response.status_code in (404, 422)
    assert response.headers["content-type"].startswith("application/problem+json")


async def test_the_api_describes_itself(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    assert {"/v1/judgments", "/v1/calibrations", "/v1/batches", "/v1/plans"} <= set(schema["paths"])
    assert (await client.get("/docs")).status_code == 200
