"""Lists: newest first or turned, with pages that neither repeat nor skip a row."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.bodies.common import PageBody
from app.core.http.openapi import AnswerRoute
from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of

# these have an order of their own: of the file, and of the configuration
AS_KEPT = ("/v1/datasets/rivers/pairs", "/v1/judges", "/v1/cascades")
ROWS_OF_A_FINISH = "/v1/finishes/{finish}/rows"
LISTS = (
    "/v1/datasets", "/v1/labels", "/v1/judgments", "/v1/batches", "/v1/calibrations",
    "/v1/leaderboards", "/v1/reports", "/v1/files", "/v1/queues", "/v1/monitors",
    "/v1/finishes", "/v1/shadows", *AS_KEPT,
)  # fmt: skip
# made of verdicts that were drawn, so it is tested beside the monitors
ELSEWHERE = {"/v1/monitors/{monitor}/audits", ROWS_OF_A_FINISH}
PAIR = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": ""}


def test_every_list_is_tested_here_and_takes_an_order() -> None:
    listing = {
        route.path
        for route in create_app(Settings(workers=0)).routes
        if isinstance(route, AnswerRoute)
        and getattr(route.response_model, "__origin__", None) is PageBody
    }
    assert listing == {path.replace("rivers", "{ref}") for path in LISTS} | ELSEWHERE
    document = create_app(Settings(workers=0)).openapi()
    for path in listing:
        (order,) = (p for p in document["paths"][path]["get"]["parameters"] if p["name"] == "order")
        kept = path.replace("{ref}", "rivers") in (*AS_KEPT, ROWS_OF_A_FINISH)
        assert order["schema"]["default"] == ("asc" if kept else "desc"), path


async def make(client: httpx.AsyncClient, number: int) -> None:
    """Make one more of everything that is listed."""
    name = f"set {number}"
    await upload(client, name, labelled_rows(40, seed=number))
    pair = {**PAIR, "id": str(number)}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/judgments", "body": pair}
    file = {"file": ("f.jsonl", json.dumps(line).encode())}
    made = [
        await client.post("/v1/batches", json={"dataset": name}),
        await client.post("/v1/leaderboards", json={"dataset": name, "seed": number}),
        await client.get("/v1/reports/agreement", params={"dataset": name}),
        await client.post("/v1/judgments", json={"pairs": [pair]}),
        await client.post("/v1/files", files=file, data={"purpose": "batch"}),
        await client.post("/v1/queues", json={"name": name, "dataset": name, "labels": 3}),
        await client.post("/v1/finishes", json={"dataset": name, "max_error": 0.4}),
    ]
    failed = [answer.text for answer in made if not answer.is_success]
    assert failed == []
    certificate = await certify(client, name, target_agreement=0.6)
    watched = await client.post("/v1/monitors", json={"calibration": certificate["id"]})
    assert watched.is_success, watched.text
    candidate = {"calibration": certificate["id"], "judge": "student", "share": 0.1}
    shadowed = await client.post("/v1/shadows", json=candidate)
    assert shadowed.is_success, shadowed.text


async def pages(client: httpx.AsyncClient, path: str, **asked: Any) -> list[str]:
    """Return the ids of a list, two at a time; labels are many, and more at a time."""
    found: list[str] = []
    limit = 13 if path == "/v1/labels" else 2
    while True:
        page = (await client.get(path, params={"limit": limit, **asked})).json()
        key = "verdict_id" if path == "/v1/judgments" else "id"
        ids = [row[key] for row in page["data"]]
        assert [page["first_id"], page["last_id"]] == ([ids[0], ids[-1]] if ids else [None, None])
        found += ids
        if not page["has_more"]:
            return found
        asked["after"] = page["last_id"]


@pytest.mark.both_databases
async def test_lists_are_newest_first_and_turned_on_request(
    settings: Settings, tmp_path: Any
) -> None:
    config = tmp_path / "tribunal.toml"
    names = ("one", "two", "three")
    config.write_text(
        "".join(
            f'[judges.{name}]\nkind = "recorded"\n[cascades.{name}]\njudges = ["{name}"]\n'
            for name in names
        )
    )
    app = create_app(settings.model_copy(update={"config": config, "workers": 0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "rivers", labelled_rows(5))
        for number in range(3):
            await make(client, number)
        first_page = {}
        for path in LISTS:
            kept = path in AS_KEPT
            default = await pages(client, path)
            up = await pages(client, path, order="asc")
            down = await pages(client, path, order="desc")
            assert len(up) == len(set(up)) >= 3, path
            assert up == down[::-1], path
            assert default == (up if kept else down), path
            first_page[path] = down
        await make(client, 3)
        for path, before in first_page.items():
            # a page behind a row is the same, whatever came since
            assert await pages(client, path, order="desc", after=before[0]) == before[1:], path
            if path not in AS_KEPT:
                since = await pages(client, path, order="asc", after=before[0])
                assert since == (await pages(client, path))[: len(since)][::-1], path
                assert since, path
            assert (await client.get(path, params={"order": "up"})).status_code == 422


async def test_lists_of_files_and_labels_are_filtered_in_both_orders(service: FastAPI) -> None:
    async with client_of(service) as client:
        for number in range(2):
            await upload(client, f"set {number}", labelled_rows(3, seed=number))
        for order in ("asc", "desc"):
            own = await pages(client, "/v1/labels", dataset="set 1", order=order)
            every = await pages(client, "/v1/labels", order=order)
            assert own == [one for one in every if one in own]
            assert (len(own), len(every)) == (3, 6)
