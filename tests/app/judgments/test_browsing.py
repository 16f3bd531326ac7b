"""Lists of pairs by what was said of them: windows, confidences, pairs between others."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.judgments import browsing
from tests.app.rows import labelled_rows, upload

Json = dict[str, Any]
SURE = (0.6, 0.95, None, 0.5, 0.7, 0.8, 0.2)


@pytest.fixture
async def rivers(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Pairs on which a judge is more or less sure, failed, or prefers nothing."""
    rows = labelled_rows(len(SURE))
    for row, p_a in zip(rows, SURE, strict=True):
        row["judges"] = {"x": None if p_a is None else {"p_a": p_a}}
    rows[0]["human"] = []
    rows[1]["human"] = [{"annotator": "anna", "label": "tie"}]
    rows[4]["human"] = [{"annotator": "anna", "label": "a"}]
    rows[5]["human"] = [{"annotator": "anna", "label": "b"}]
    await upload(client, "rivers", rows)
    return client


async def found(client: httpx.AsyncClient, **asked: Any) -> Json:
    answer = await client.get("/v1/datasets/rivers/search", params={"judge": "x", **asked})
    assert answer.status_code == 200, answer.text
    page: Json = answer.json()
    return page


def ids(page: Json) -> list[str]:
    return [row["id"] for row in page["data"]]


async def test_pairs_are_sorted_by_how_sure_a_judge_is(rivers: httpx.AsyncClient) -> None:
    surest = await found(rivers, sort="surest")
    assert ids(surest)[:5] == ["p1", "p5", "p6", "p4", "p0"]
    # where the judge failed, or prefers neither, there is no confidence to sort by
    assert {"p2", "p3"}.isdisjoint(ids(surest))
    said = {row["id"]: row["said"] for row in (await found(rivers))["data"]}
    for name in ("p2", "p3"):
        assert said[name] is None or (said[name]["label"], said[name]["confidence"]) == (None, None)
    least = await found(rivers, sort="least_sure", limit=2)
    assert ids(least)[0] == "p0"


@pytest.mark.parametrize(
    ("people", "names"),
    [
        ("unlabelled", {"p0"}),
        ("agree", {"p4"}),
        ("disagree", {"p5"}),
        ("undecided", {"p1"}),
    ],
)
async def test_pairs_are_found_by_what_people_say(
    rivers: httpx.AsyncClient, people: str, names: set[str]
) -> None:
    some = {"p0", "p1", "p4", "p5"}
    assert set(ids(await found(rivers, people=people))) & some == names


async def test_a_search_looks_window_by_window_and_so_far(
    rivers: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ids(await found(rivers, least=0.6))
    monkeypatch.setattr(browsing, "_WINDOW", 2)
    assert ids(await found(rivers, least=0.6)) == whole == ["p0", "p1", "p4", "p5", "p6"]
    first = await found(rivers, least=0.6, limit=2)
    assert (ids(first), first["has_more"]) == (whole[:2], True)
    rest = await found(rivers, least=0.6, after=first["last_id"])
    assert ids(rest) == whole[2:]
    beside = (
        await rivers.get("/v1/datasets/rivers/pairs/p5", params={"judge": "x", "least": 0.6})
    ).json()
    assert (beside["previous"], beside["next"]) == ("p4", "p6")
    monkeypatch.setattr(browsing, "_LOOK", 4)
    page = await found(rivers, least=0.6)
    assert (ids(page), page["looked_at"], page["has_more"]) == (["p0", "p1"], 4, True)


async def test_a_pair_that_a_sorted_search_does_not_find_has_none_before_it(
    rivers: httpx.AsyncClient,
) -> None:
    asked: Json = {"judge": "x", "sort": "surest", "least": 0.9}
    beside = (await rivers.get("/v1/datasets/rivers/pairs/p4", params=asked)).json()
    assert (beside["previous"], beside["next"]) == (None, "p1")
