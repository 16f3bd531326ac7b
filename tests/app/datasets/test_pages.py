"""Pages of long rows end early, and nothing is passed over."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.lists import Paging
from app.core.settings import Settings
from app.imports import exporting
from app.main import create_app
from tests.app.rows import upload
from tests.conftest import client_of

pytestmark = pytest.mark.both_databases
Json = dict[str, Any]


def _row(number: int, **fields: Any) -> Json:
    return {"id": f"p{number}", "prompt": "p", "response_a": "a", "response_b": "b", **fields}


LONG: dict[str, Json] = {
    "texts": {"prompt": "x" * 3_000},
    "metadata": {"metadata": {"note": "x" * 3_000}},
    "votes": {"human": [{"annotator": f"p{n}", "label": "a", "note": "x" * 50} for n in range(20)]},
    "scores": {"judges": {"j": {"annotators": [[0.25, 0.75]] * 200}}},
}


async def _pages(client: httpx.AsyncClient, path: str, **asked: Any) -> list[Json]:
    pages, after = [], None
    while True:
        query = {**asked, **({"after": after} if after else {})}
        page: Json = (await client.get(path, params=query)).json()
        pages.append(page)
        if not page["has_more"]:
            return pages
        after = page["last_id"]


@pytest.mark.parametrize("what", LONG)
async def test_a_page_of_long_pairs_ends_early(settings: Settings, what: str) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"max_page_bytes": 8_000}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        rows = [_row(number, **(LONG[what] if number % 3 else {})) for number in range(10)]
        await upload(client, "long", rows)
        pages = await _pages(client, "/v1/datasets/long/pairs", limit=1_000)
        assert [row["id"] for page in pages for row in page["data"]] == [f"p{n}" for n in range(10)]
        assert 1 < len(pages) < 10
        few = await _pages(client, "/v1/datasets/long/pairs", limit=1)
        assert [len(page["data"]) for page in few] == [1] * 10


async def test_a_row_larger_than_a_page_is_a_page(settings: Settings) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"max_page_bytes": 1_024}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "long", [_row(n, prompt="x" * 5_000) for n in range(3)])
        pages = await _pages(client, "/v1/datasets/long/pairs")
        assert [len(page["data"]) for page in pages] == [1, 1, 1]


async def test_other_lists_end_early_too(settings: Settings) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"max_page_bytes": 1_024}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        for number in range(4):
            rows = [_row(n, judges={"x" * 400: None}) for n in range(3)]
            await upload(client, f"d{number}", rows)
        labels = [
            {"dataset": "d0", "pair": f"p{n % 3}", "annotator": f"a{n}", "label": "a", "comment": "x" * 900}
            for n in range(6)
        ]  # fmt: skip
        assert (await client.post("/v1/labels", json={"labels": labels})).status_code == 201
        for path, count in (("/v1/datasets", 4), ("/v1/labels", 6)):
            for order in ("asc", "desc"):
                pages = await _pages(client, path, order=order)
                ids = [row["id"] for page in pages for row in page["data"]]
                assert len(ids) == len(set(ids)) == count
                assert len(pages) > 1


async def test_an_export_is_whole_though_its_pages_end_early(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "Paging", partial(Paging, most_bytes=1_000))
    await upload(client, "long", [_row(n, prompt="x" * 600) for n in range(5)])
    exported = (await client.get("/v1/datasets/long/export")).text.splitlines()
    assert [json.loads(line)["id"] for line in exported] == [f"p{n}" for n in range(5)]
