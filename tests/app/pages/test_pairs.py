"""The pair browser, one pair a screen, and that what people and models wrote is shown as text."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import event

from app.core.settings import Settings
from app.main import create_app
from app.pages.frame import part
from tests.app.pages.markup import Page, check
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<svg onload="alert(1)"><a xlink:href="javascript:alert(1)">x</a></svg>',
    "[click](javascript:alert(1))",
    "<style>*{display:none}</style><link rel=stylesheet href=//elsewhere.test/x.css>",
    "</textarea></td></table><h1>another heading</h1>",
    '"><iframe src="https://elsewhere.test"></iframe>',
    "{{ 7 * 7 }} {% raw %}",
    "\u202egnp.exe\u202c \u0000 \ud800 \u2028",
    "نص عربي 中文文本 🙂👩‍👩‍👧‍👦",
]


async def judged(client: httpx.AsyncClient, name: str, n: int) -> list[dict[str, Any]]:
    """Import rows and judge them in a batch; return the rows."""
    rows = labelled_rows(n)
    await upload(client, name, rows)
    certificate = await certify(client, name, target_agreement=0.7)
    await finished(client, {"dataset": name, "calibration": certificate["id"]})
    return rows


async def finished(client: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    """Make a batch, and return it when it has ended."""
    made = await client.post("/v1/batches", json=asked)
    assert made.status_code == 202, made.text
    async for line in _lines(client, made.json()["id"]):
        assert line
    found: dict[str, Any] = (await client.get(f"/v1/batches/{made.json()['id']}")).json()
    return found


async def _lines(client: httpx.AsyncClient, batch: str) -> Any:
    async with client.stream("GET", f"/v1/batches/{batch}/events") as stream:
        async for line in stream.aiter_lines():
            yield line or "-"


def _disagrees(row: dict[str, Any], judge: str) -> bool:
    return bool((row["judges"][judge]["p_a"] > 0.5) != (row["human"][0]["label"] == "a"))


async def test_pairs_are_found_by_what_was_said_of_them(client: httpx.AsyncClient) -> None:
    rows = await judged(client, "rivers", 100)

    async def found(**query: Any) -> list[str]:
        answer = await client.get("/v1/datasets/rivers/search", params={"limit": 200, **query})
        assert answer.status_code == 200, answer.text
        page = check(await client.get("/datasets/rivers/pairs", params={"limit": 200, **query}))
        ids = [one["id"] for one in answer.json()["data"]]
        links = {one for one in page.links if one.startswith("/pairs/rivers/")}
        assert {one.split("?")[0] for one in links} == {f"/pairs/rivers/{one}" for one in ids}
        return ids

    assert await found() == [row["id"] for row in rows]
    wrong = [row for row in rows if _disagrees(row, "cheap")]
    assert await found(judge="cheap", people="disagree") == [row["id"] for row in wrong]
    wrong.sort(key=lambda row: -max(p := row["judges"]["cheap"]["p_a"], 1 - p))
    assert await found(judge="cheap", people="disagree", sort="surest") == [
        row["id"] for row in wrong
    ]
    sure = [row["id"] for row in rows if max(p := row["judges"]["dear"]["p_a"], 1 - p) >= 0.95]
    assert await found(judge="dear", least=0.95) == sure
    assert await found(slice="task=lakes") == [f"p{n}" for n in range(0, 100, 2)]
    assert await found(slice="metadata.task=none") == []
    assert await found(text="NUMBER 99") == ["p99"]
    assert await found(judge="student", status="unjudged") == [row["id"] for row in rows]
    answers = (await client.get("/v1/judgments", params={"dataset": "rivers"})).json()["data"]
    for status in ("accepted", "abstained", "failed"):
        wanted = {one["id"] for one in answers if one["status"] == status}
        assert set(await found(status=status)) == wanted
    assert await found(status="unjudged") == []
    # one found pair leads to the next, and back
    wrong_cheap: dict[str, Any] = {"judge": "cheap", "people": "disagree"}
    for more in ({}, {"text": "number"}, {"sort": "surest"}, {"sort": "least_sure", "after": "p9"}):
        asked = {**wrong_cheap, **more}
        ids = await found(**asked)
        for place in (0, 1, len(ids) - 1):
            beside = [
                ids[place - 1] if place else None,
                ids[place + 1] if ids[place + 1 :] else None,
            ]
            answer = await client.get(f"/v1/datasets/rivers/pairs/{ids[place]}", params=asked)
            assert [answer.json()[name] for name in ("previous", "next")] == beside
            page = check(await client.get(f"/pairs/rivers/{ids[place]}", params=asked))
            query = urlencode({name: text for name, text in asked.items() if name != "after"})
            links = [one for one in page.links if one.startswith("/pairs/rivers/")]
            assert {one.split("?")[0][14:] for one in links if query in one} >= set(beside) - {None}
    # a pair that is not found itself has neighbours, too
    right = next(row["id"] for row in rows if not _disagrees(row, "cheap"))
    detail = (await client.get(f"/v1/datasets/rivers/pairs/{right}", params=wrong_cheap)).json()
    ids = await found(**wrong_cheap)
    assert detail["next"] == min(
        (one for one in ids if int(one[1:]) > int(right[1:])), key=lambda one: int(one[1:])
    )


async def test_a_search_says_where_it_stopped(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(30))
    seen: list[str] = []
    query: dict[str, Any] = {"slice": "task=lakes", "limit": 4}
    while True:
        answer = (await client.get("/v1/datasets/rivers/search", params=query)).json()
        seen += [one["id"] for one in answer["data"]]
        if not answer["has_more"]:
            break
        query["after"] = answer["last_id"]
    assert seen == [f"p{n}" for n in range(0, 30, 2)]


async def test_a_search_counts_the_pairs_that_have_an_answer(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(120)
    for row in rows[:30]:
        row["judges"] = {"dear": row["judges"]["dear"]}
    await upload(client, "rivers", rows)
    half = {"side": "test", "fraction": 0.5, "seed": 0}
    asked = {"dataset": "rivers", "cascade": {"judges": ["cheap", "dear"]}, "part": half}
    judged = (await finished(client, asked))["request_counts"]["total"]
    assert 0 < judged < 120
    for query, n, what in (
        ({}, judged, "a verdict"),
        ({"people": "disagree", "sort": "surest"}, judged, "a verdict"),
        ({"judge": "cheap"}, 90, "a score of cheap"),
    ):
        asked_for = {**query, "limit": "200"}
        found = (await client.get("/v1/datasets/rivers/search", params=asked_for)).json()
        assert (found["looked_at"], found["with_answer"]) == (120, n)
        page = check(await client.get("/datasets/rivers/pairs", params=asked_for))
        said = f"{len(found['data'])} pairs shown. {n} pairs of the 120 searched have {what}."
        assert said in page.text_of("p")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"judge": "nobody"}, 404), ({"after": "nothing"}, 404), ({"slice": "task"}, 422),
        ({"least": "2"}, 422), ({"sort": "random"}, 422), ({"unknown": "x"}, 422),
    ],
)  # fmt: skip
async def test_a_search_that_cannot_be_made_names_the_field(
    client: httpx.AsyncClient, query: dict[str, str], status: int
) -> None:
    await upload(client, "rivers", labelled_rows(3))
    answer = await client.get("/v1/datasets/rivers/search", params=query)
    assert answer.status_code == status
    assert next(iter(query)) in answer.json()["detail"]
    page = await client.get("/datasets/rivers/pairs", params=query)
    assert page.status_code == status
    assert next(iter(query)) in check(page).text_of("main")


async def test_a_pair_page_shows_all_that_is_known(client: httpx.AsyncClient) -> None:
    await judged(client, "rivers", 60)
    labels = [{"dataset": "rivers", "pair": "p3", "annotator": "anna", "label": "tie"}]
    assert (await client.post("/v1/labels", json={"labels": labels})).status_code == 201
    detail = (await client.get("/v1/datasets/rivers/pairs/p3")).json()
    assert (detail["previous"], detail["next"], detail["people"]) == ("p2", "p4", "tie")
    assert detail["labels"][0]["label"] == "tie"
    assert detail["labels"][1]["replaced_at"] is not None
    assert {one["judge"] for one in detail["scores"]} == {"cheap", "dear"}
    [verdict] = detail["verdicts"]
    page = check(await client.get("/pairs/rivers/p3"))
    assert {"/pairs/rivers/p2", "/pairs/rivers/p4"} <= page.links
    assert f"/calibrations/{verdict['calibration']}" in page.links
    assert "/v1/datasets/rivers/pairs/p3" in page.links
    assert "tie" in page.text_of("strong")
    marked = check(await client.get("/pairs/rivers/p3?marked=true"))
    assert "The answer to" in marked.text_of("del")
    assert "after some thought" in marked.text_of("ins")
    first, last = [check(await client.get(f"/pairs/rivers/{one}")) for one in ("p0", "p59")]
    assert "Previous k" not in first.text_of("a")
    assert "Next j" not in last.text_of("a")


async def test_words_that_differ_are_marked_with_the_space_between(
    client: httpx.AsyncClient,
) -> None:
    row = {**labelled_rows(1)[0], "response_a": "a red big cat", "response_b": "a blue dog cat"}
    await upload(client, "cats", [row])
    shown = (await client.get(f"/pairs/cats/{row['id']}?marked=true")).text
    assert "a <del>red big</del> cat" in shown
    assert "a <ins>blue dog</ins> cat" in shown


async def test_pairs_with_the_nearest_features_are_similar(client: httpx.AsyncClient) -> None:
    long, short = "First, the Nile.\n\n- It is long.\n- It is old.\n" * 8, "The Nile."
    texts = [(long, short), (short, short[:5]), (short, long + "- And wide.\n"), (short[:6], short)]
    rows = [
        {**row, "prompt": f"{row['prompt']} {row['id']}", "response_a": a, "response_b": b}
        for row, (a, b) in zip(labelled_rows(4), texts, strict=True)
    ]
    await upload(client, "rivers", rows)
    for pair, nearest in (("p0", "p2"), ("p1", "p3")):
        answer = (await client.get(f"/v1/datasets/rivers/pairs/{pair}/similar")).json()
        assert answer["data"][0] == {
            "id": nearest, "position": int(nearest[1:]), "why": "similar features",
            "model_a": "left", "model_b": "right",
        }  # fmt: skip


async def test_similar_pairs_share_prompt_or_group(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(4)
    rows[1]["prompt"] = rows[0]["prompt"]
    rows[2]["group"] = rows[3]["group"] = "own"
    await upload(client, "rivers", rows)
    for pair, other in (("p0", "p1"), ("p3", "p2")):
        answer = (await client.get(f"/v1/datasets/rivers/pairs/{pair}/similar")).json()
        assert answer["data"][0]["id"] == other
        assert answer["data"][0]["why"] in ("same prompt", "same group")
        others = [one["id"] for one in answer["data"][1:]]
        assert sorted([pair, other, *others]) == ["p0", "p1", "p2", "p3"]
        page = check(await client.get(f"/pairs/rivers/{pair}/similar"))
        assert f"/pairs/rivers/{other}" in page.links


@pytest.mark.parametrize("path", ["/datasets/none", "/datasets/none/pairs", "/pairs/none/x"])
async def test_what_is_not_there_is_said(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert "none" in check(answer).text_of("main")


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_models_and_people_wrote_is_text(client: httpx.AsyncClient, text: str) -> None:
    name = text.replace("\u0000", "").replace("\ud800", "").replace("\u2028", "").replace("\u202e", "").replace("\u202c", "")  # fmt: skip
    row = {
        "id": name, "prompt": text, "response_a": text, "response_b": f"{text} and more",
        "model_a": name, "model_b": "plain", "group": name, "metadata": {name: text, "n": [text]},
        "human": [{"annotator": name, "label": "a", "comment": text}],
        "judges": {name: {"annotators": [[0.9, 0.8], [0.7, 0.6]]}},
    }  # fmt: skip
    await upload(client, name, [row])
    ref = (await client.get("/v1/datasets")).json()["data"][0]["id"]
    pair = (await client.get(f"/v1/datasets/{ref}/pairs")).json()["data"][0]
    pages: list[Page] = [
        check(await client.get(path))
        for path in (
            "/", "/datasets", f"/datasets/{ref}", f"/datasets/{part(name)}/pairs?text=x",
            f"/datasets/{ref}/pairs", f"/pairs/{ref}/{part(pair['id'])}?marked=true",
            f"/pairs/{ref}/{part(pair['id'])}", f"/pairs/{ref}/{part(pair['id'])}/similar",
        )
    ]  # fmt: skip
    shown = pages[-2].text_of("section")
    for word in ("alert(1)", "elsewhere.test", "7 * 7", "中文文本"):
        assert (word in shown) == (word in text)


async def test_a_battle_has_a_page(client: httpx.AsyncClient) -> None:
    row = {"model_a": "x", "model_b": "y", "human": [{"annotator": "anna", "label": "a"}]}
    await upload(client, "battles", [row])
    assert "A battle" in check(await client.get("/pairs/battles/1")).text_of("main")
    assert "no texts" in check(await client.get("/datasets/battles/pairs")).text_of("td")


PATHS = (
    "/datasets/x", "/datasets/x/pairs", "/pairs/x/p5", "/pairs/x/p5/similar", "/", "/judges",
    "/calibrations", "/batches", "/leaderboards", "/reports", "/datasets",
)  # fmt: skip


async def test_the_work_of_a_page_does_not_grow_with_the_verdicts(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    """Counts statements; and none may read a table of many rows from end to end."""
    await judged(client, "few", 60)
    await judged(client, "many", 220)
    said: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        said.append(statement)

    # workers would look for work in between
    quiet = create_app(settings.model_copy(update={"workers": 0}))
    async with quiet.router.lifespan_context(quiet), client_of(quiet) as reader:
        check(await reader.get("/"))
        # what writes, such as the purging of old answers, is another engine's
        engine = quiet.state.runtime.db._reader.sync_engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            counts, plans = {}, set()
            for name in ("few", "many"):
                for path in PATHS:
                    tried = []
                    for _ in range(3):
                        said.clear()
                        check(await reader.get(path.replace("/x", f"/{name}")))
                        tried.append(len(said))
                        plans |= {one for one in said if one.lstrip().startswith("SELECT")}
                    # what the service does besides may say more
                    counts[name, path] = min(tried)
        finally:
            event.remove(engine, "before_cursor_execute", note)
        for (_, path), count in counts.items():
            assert 0 < count == counts["few", path] <= 40, counts
        async with quiet.state.runtime.db.read() as session:
            connection = await session.connection()
            for statement in plans:
                await _refuse_whole_scans(connection, statement)


async def _refuse_whole_scans(connection: Any, statement: str) -> None:
    values = tuple(None for _ in range(statement.count("?")))
    plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    for row in plan:
        for table in ("verdicts", "pairs", "labels", "recorded_scores", "scores"):
            assert row[3] != f"SCAN {table}", f"{statement}\n{row[3]}"
            # nor all pairs of a dataset
            is_whole = row[3].startswith(f"SEARCH {table} ") and row[3].endswith("(dataset_seq=?)")
            assert not is_whole, f"{statement}\n{row[3]}"
