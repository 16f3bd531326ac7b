from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of


@pytest.mark.both_databases
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


@pytest.mark.parametrize("path", ["judges", "cascades"])
async def test_what_is_configured_comes_in_pages(
    settings: Settings, tmp_path: Path, path: str
) -> None:
    config = tmp_path / "tribunal.toml"
    config.write_text(
        "".join(
            f'[judges.{name}]\nkind = "recorded"\n[cascades.{name}]\njudges = ["{name}"]\n'
            for name in ("one", "two", "three")
        )
    )
    app = create_app(settings.model_copy(update={"config": config}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        whole = (await client.get(f"/v1/{path}")).json()
        names: list[str] = []
        after: str | None = None
        for _ in whole["data"]:
            behind = f"&after={after}" if after else ""
            page = (await client.get(f"/v1/{path}?limit=1{behind}")).json()
            assert page["first_id"] == page["last_id"] == page["data"][0]["id"]
            assert page["has_more"] == (len(names) + 1 < len(whole["data"]))
            names.append(after := page["last_id"])
        assert names == [row["id"] for row in whole["data"]]
        past = (await client.get(f"/v1/{path}", params={"after": after})).json()
        assert (past["data"], past["has_more"], past["first_id"]) == ([], False, None)
        unknown = await client.get(f"/v1/{path}", params={"after": "zzz"})
        datasets = await client.get("/v1/datasets", params={"after": "zzz"})
        assert (unknown.status_code, unknown.json()["detail"]) == (404, datasets.json()["detail"])


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


@pytest.mark.parametrize(("path", "loaded"), [("/docs", 3), ("/redoc", 2)])
async def test_the_pages_load_nothing_from_elsewhere(
    client: httpx.AsyncClient, path: str, loaded: int
) -> None:
    page = await client.get(path)
    assert page.status_code == 200
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(addresses) == loaded
    for address in addresses:
        assert address.startswith("/")
        assert (await client.get(address)).status_code == 200
    assert (await client.get("/static/unknown.js")).status_code == 404
    if path == "/redoc":
        assert page.headers["content-security-policy"] == (
            "img-src 'self' data:; frame-ancestors 'none'"
        )
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text)


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def moments(body: object) -> Iterator[object]:
    """Yield every moment of an answer."""
    if isinstance(body, dict):
        for name, value in body.items():
            if (name.endswith("_at") or name == "as_of") and value is not None:
                yield value
            yield from moments(value)
    elif isinstance(body, list):
        for value in body:
            yield from moments(value)


@pytest.mark.both_databases
async def test_moments_of_our_own_endpoints_have_one_spelling(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(60))
    made = await certify(client, "rivers", target_agreement=0.6)
    pair = {"id": "x", "prompt": "?", "response_a": "a", "response_b": "b"}
    said = {"dataset": "rivers", "pair": "p0", "annotator": "new", "label": "a"}
    posts: dict[str, Any] = {
        "labels": {"labels": [said]},
        "judgments": {"pairs": [pair]},
        "leaderboards": {"dataset": "rivers"},
        f"calibrations/{made['id']}/revoke": {},
    }
    for path, body in posts.items():
        assert (await client.post(f"/v1/{path}", json=body)).status_code in (200, 201)
    assert (await client.get("/v1/reports/agreement?dataset=rivers")).status_code == 200
    for path in ("datasets", "labels", "calibrations", "judgments", "leaderboards", "reports"):
        found = list(moments((await client.get(f"/v1/{path}")).json()))
        assert found, path
        assert [one for one in found if not _MOMENT.fullmatch(str(one))] == []
