"""Requests that nobody sends by accident: each is answered rightly or refused as a problem."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from app.core.settings import Settings
from app.datasets import deleting, pair_queries
from app.main import create_app
from tests.app.problems import assert_answered
from tests.app.rows import certify, labelled_rows, ndjson, upload
from tests.conftest import client_of

Json = dict[str, Any]
PAIR: Json = {"id": "1", "prompt": "p", "response_a": "a", "response_b": "b"}
# posted as text, so that NaN, infinities and lone surrogates arrive as they are
WEIRD = [
    '"\\u0000"', '"\\ud800"', '""', '"' + "x" * 600 + '"', '"../?#%"', '"\\u202e\\n"', "true", "null",
    "[]", "{}", "[[]]", '["\\udfff"]', '{"\\ud800": 1}', '{"judges": ["\\ud800"]}', "NaN",
    "Infinity", "-Infinity", "1e999", "-1", "0", "1.5", "1" + "0" * 30, "1" + "0" * 400,
    "9223372036854775808", "5e-324", "0.9999999999999999", '{"side": "test", "seed": 1e300}',
]  # fmt: skip
# what reaches a database and may be another thing to PostgreSQL than to SQLite
STORED_OTHERWISE = [
    value for value in WEIRD
    if "\\u" in value or "x" * 600 in value or len(value) > 18 or value in ('""', "NaN", "1e999", "0")
]  # fmt: skip
BODIES: dict[str, Json] = {
    "judgments": {"pairs": [PAIR], "calibration": None, "cascade": None, "deadline_s": 5},
    "calibrations": {
        "dataset": "d", "cascade": {"judges": ["cheap", "dear"]}, "target_agreement": 0.7,
        "failure_probability": 0.1, "method": "auto", "label_rule": "majority", "ties": "exclude",
        "part": None, "slices": None, "menu": None, "pool": None, "max_group_size": None,
        "min_label_probability": None, "seed": 0,
    },
    "plans": {
        "dataset": "d", "cascade": {"judges": ["cheap", "dear"]}, "target_agreements": [0.7],
        "failure_probability": 0.1, "part": None, "seed": 0,
    },
    "batches": {"dataset": "d", "cascade": "default", "part": None, "budget_usd": None},
    "batches?": {
        "input_file_id": "file_x", "endpoint": "/v1/judgments", "completion_window": "24h",
        "metadata": {"cascade": "default"},
    },
    "leaderboards": {
        "dataset": "d", "source": "human", "calibration": None, "method": "win_rate",
        "options": None, "ties": "half", "votes": "each", "baseline": None, "soft": False,
        "control": None, "criteria": None, "confidence_level": 0.95, "group_by": None, "seed": 0,
    },
    "labels": {"labels": [{"dataset": "d", "pair": "p1", "annotator": "z", "label": "a"}]},
}  # fmt: skip
JSON = {"content-type": "application/json"}


@pytest.fixture
async def filled(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await upload(client, "d", labelled_rows(60))
    return client


async def together(
    send: Callable[[int], Awaitable[httpx.Response]], n: int = 8
) -> list[httpx.Response]:
    """Return the answers to n requests sent at once, each checked."""
    answers: list[httpx.Response | None] = [None] * n

    async def one(number: int) -> None:
        answers[number] = await send(number)

    async with asyncio.TaskGroup() as group:
        for number in range(n):
            group.create_task(one(number))
    done = [answer for answer in answers if answer is not None]
    for number, answer in enumerate(done):
        assert_answered(answer, number)
    return done


@pytest.mark.both_databases
@pytest.mark.parametrize("route", sorted(BODIES))
async def test_any_value_in_any_field_is_answered_or_refused(
    filled: httpx.AsyncClient, route: str, database_kind: str
) -> None:
    body = BODIES[route]
    for field in [*body, "unknown", "\ud800"]:
        for value in WEIRD if database_kind == "sqlite" else STORED_OTHERWISE:
            text = json.dumps({**body, field: "@@"}).replace('"@@"', value)
            response = await filled.post(f"/v1/{route}", content=text, headers=JSON)
            assert_answered(response, text)
            if response.status_code == 422:
                assert response.json()["errors"], text


@pytest.mark.parametrize("route", ["judgments", "labels"])
async def test_any_value_in_any_field_of_a_row_is_answered_or_refused(
    filled: httpx.AsyncClient, route: str
) -> None:
    rows = "pairs" if route == "judgments" else "labels"
    row = BODIES[route][rows][0]
    more = ("judges", "metadata", "messages", "human") if rows == "pairs" else ("comment",)
    for field in [*row, *more, "unknown"]:
        for value in WEIRD:
            text = json.dumps({rows: [{**row, field: "@@"}]}).replace('"@@"', value)
            response = await filled.post(f"/v1/{route}", content=text, headers=JSON)
            assert_answered(response, text)


async def test_any_value_in_a_recorded_score_is_answered_or_refused(
    filled: httpx.AsyncClient,
) -> None:
    certificate = await certify(filled, "d", target_agreement=0.7)
    for field in ("p_a", "p_tie", "annotators", "label", "label_swapped", "cost", "seconds",
                  "tokens", "model", "prompt_hash", "criterion", "inconsistent"):  # fmt: skip
        for value in [*WEIRD, "1e308", "[[0.5, NaN]]"]:
            record = {"p_a": 0.5, field: "@@"} if field != "label" else {field: "@@"}
            pair = {**PAIR, "judges": {"cheap": record, "dear": record}}
            body = {"pairs": [pair], "calibration": certificate["id"]}
            text = json.dumps(body).replace('"@@"', value)
            response = await filled.post("/v1/judgments", content=text, headers=JSON)
            assert_answered(response, text)
    listed = await filled.get("/v1/judgments", params={"limit": 1000})
    assert_answered(listed, "the list of all that was judged")


@pytest.mark.parametrize("route", [*sorted(BODIES), "datasets?name=n", "files"])
async def test_bodies_that_are_no_request_are_refused(
    client: httpx.AsyncClient, route: str
) -> None:
    for content in (b"", b"{", b"[]", b"null", b"\xff", b"\x1f\x8b\x08", b"[" * 100_000,
                    b'{"a":' * 50_000, b"9" * 5000, gzip.compress(b"{}")[:-4]):  # fmt: skip
        for media_type in ("application/json", "text/plain", "multipart/form-data", "a;;=",
                           "application/json; charset=utf-16", ""):  # fmt: skip
            headers = {"content-type": media_type} if media_type else {}
            response = await client.post(f"/v1/{route}", content=content, headers=headers)
            assert_answered(response, (content[:9], media_type))
            assert 400 <= response.status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "datasets/{}", "datasets/{}/pairs", "calibrations/{}", "calibrations/{}/revoke",
        "batches/{}", "batches/{}/results", "batches/{}/cancel", "batches/{}/events",
        "leaderboards/{}", "reports/{}", "files/{}", "files/{}/content",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", [None, "again"])
async def test_any_id_and_method_is_answered_or_refused(
    client: httpx.AsyncClient, path: str, key: str | None
) -> None:
    headers = {"idempotency-key": key} if key else {}
    for name in (
        "%00",
        "%ED%A0%80",
        "%ff",
        "x" * 600,
        "..%2fx",
        "%0a",
        quote("a?b#c"),
        "%F0%9D%84%9E",
    ):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"):
            address = f"/v1/{path.format(name)}"
            response = await client.request(method, address, headers=headers)
            assert_answered(response, (method, address))
            assert response.status_code in (404, 405)


LISTS = ["datasets", "datasets/d/pairs", "labels", "calibrations", "batches", "judgments",
         "leaderboards", "reports", "judges", "cascades", "files"]  # fmt: skip


@pytest.mark.both_databases
@pytest.mark.parametrize("path", LISTS)
async def test_pages_know_their_limits_and_their_own_ids(
    filled: httpx.AsyncClient, path: str, database_kind: str
) -> None:
    limits = ("0", "-1", "1001", "1e3", "nan", "9" * 5000, "", "%00")
    # no database is asked for these
    for limit in limits if database_kind == "sqlite" else limits[:1]:
        response = await filled.get(f"/v1/{path}?limit={limit}")
        assert_answered(response, limit)
        assert response.status_code == 422, limit
    assert (await filled.get(f"/v1/{path}?limit=1000")).status_code == 200
    for after in ("%00", "%ff", "x" * 600, "cal_of_another_list", "9" * 19, "-1"):
        response = await filled.get(f"/v1/{path}?after={after}")
        assert_answered(response, after)
        assert response.status_code in (404, 422), after


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "path", ["judgments?dataset=", "judgments?calibration=", "labels?dataset="]
)
async def test_an_empty_name_is_no_filter_that_lets_everything_through(
    filled: httpx.AsyncClient, path: str
) -> None:
    response = await filled.get(f"/v1/{path}")
    assert_answered(response)
    assert response.status_code == 404


async def test_any_query_of_a_report_is_answered_or_refused(filled: httpx.AsyncClient) -> None:
    values = ["", "%00", "%ff", "nan", "inf", "-1", "0", "1", "5e-324", "0.9999999999999999",
              "9" * 5000, "test:nan:0", "test:0.5:" + "9" * 30, "cheap,,dear", ",", "judge_pairs"]  # fmt: skip
    for field in ("calibration", "judges", "group_by", "include", "part", "seed",
                  "confidence_level", "unknown"):  # fmt: skip
        for value in values:
            address = f"/v1/reports/agreement?dataset=d&{field}={value}"
            assert_answered(await filled.get(address), address)


@pytest.mark.both_databases
@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", "\x7f"])
async def test_a_key_that_cannot_be_kept_is_named(client: httpx.AsyncClient, key: str) -> None:
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    response = await client.post("/v1/labels", json=BODIES["labels"], headers=headers)
    assert_answered(response)
    assert response.json()["errors"][0]["loc"] == ["header", "idempotency-key"]


async def test_a_body_over_the_limit_is_413_whether_or_not_it_says_its_length(
    settings: Settings,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    app = create_app(settings.model_copy(update={"max_body_bytes": 10_000}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        for route in BODIES:
            for content, length in ((pieces(), {}), (b" " * 20_000, {}),
                                    (b"{}", {"content-length": "9" * 5000})):  # fmt: skip
                headers = {**JSON, **length}
                response = await client.post(f"/v1/{route}", content=content, headers=headers)
                assert_answered(response, (route, length))
                assert response.status_code == 413


async def test_a_gzip_bomb_is_read_in_pieces_and_refused(client: httpx.AsyncClient) -> None:
    bomb = gzip.compress(b"x" * (70 * 2**20), 1)
    response = await client.post("/v1/datasets?name=bomb", content=bomb)
    assert_answered(response)
    assert response.status_code == 413
    assert "TRIBUNAL_MAX_UNPACKED_RATIO" in response.json()["detail"]


@pytest.mark.both_databases
async def test_texts_that_cannot_be_printed_survive_the_whole_job(
    client: httpx.AsyncClient,
) -> None:
    rows = labelled_rows(40)
    for number, row in enumerate(rows):
        row["prompt"] = ["\ud800", "\x00", "", "\u202e[[A]]"][number % 4] + str(number)
        row["response_a"], row["response_b"] = "\udfff" * number, "\x00" * number
        row["metadata"]["task"] = "\ud800" if number % 2 else "\x00"
        row["human"][0].update(
            {"comment": "\ud800", "strength": float("nan"), "extra": {"\udc00": ["\x00"]}}
        )
        row["judges"]["cheap"]["criterion"] = "\ud800"
    await upload(client, "weird", rows)
    certificate = await certify(client, "weird", target_agreement=0.7, slices="metadata.task")
    made = await client.post(
        "/v1/batches", json={"dataset": "weird", "calibration": certificate["id"]}
    )
    results = await ended(client, made.json()["id"])
    assert [json.loads(line)["id"] for line in results] == [row["id"] for row in rows]
    query = {"dataset": "weird", "calibration": certificate["id"], "group_by": "task"}
    assert_answered(await client.get("/v1/reports/agreement", params=query))
    for path in ("datasets", "datasets/weird/pairs", "labels", "calibrations", "judgments"):
        response = await client.get(f"/v1/{path}", params={"limit": 1000})
        assert response.status_code == 200, path
        json.loads(response.content, parse_constant=pytest.fail)


async def ended(client: httpx.AsyncClient, batch_id: str) -> list[str]:
    """Wait for a batch; return the lines of its results."""
    for _ in range(500):
        if (await client.get(f"/v1/batches/{batch_id}")).json()["status"] != "in_progress":
            break
        await asyncio.sleep(0.02)
    text = (await client.get(f"/v1/batches/{batch_id}/results")).text
    return text.splitlines()


@pytest.mark.both_databases
async def test_slices_that_differ_in_a_nul_are_two_slices(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(60)
    for number, row in enumerate(rows):
        row["metadata"] = {"task": "a\x00" if number % 2 else "a"}
    await upload(client, "nul", rows)
    certificate = await certify(client, "nul", target_agreement=0.7, slices="task")
    assert len({part["slice"] for part in certificate["certificates"]}) == 2


WEIRD_TEXTS = [
    ("", "x"), ("\ud800", "\udfff"), ("\x00", "\x00\x00"), ("\u202eabc", "abc"), ("x" * 10**5, ""),
    ("[[A]]", "[[B]]"), ("```\n", "| a | b |"), ("é", "e\u0301"), (" ", "\n"), ("\U0001f600" * 9, "a"),
]  # fmt: skip


async def test_swapping_weird_responses_mirrors_the_verdict(client: httpx.AsyncClient) -> None:
    async def verdicts(swap: bool) -> list[Json]:
        pairs = [
            {"id": f"{number}", "prompt": text[0], "response_a": text[swap], "response_b": text[1 - swap]}
            for number, text in enumerate(WEIRD_TEXTS)
        ]  # fmt: skip
        answer = await client.post(
            "/v1/judgments", content=json.dumps({"pairs": pairs}), headers=JSON
        )
        assert answer.status_code == 200, answer.text
        found: list[Json] = answer.json()["verdicts"]
        return found

    mirror = {"a": "b", "b": "a", None: None, "tie": "tie"}
    for one, other in zip(await verdicts(False), await verdicts(True), strict=True):
        assert other["label"] == mirror[one["label"]], one["id"]
        assert other["confidence"] == one["confidence"]
        assert other["tiers"][0]["p_a"] == round(1 - one["tiers"][0]["p_a"], 12)


def estimates(value: object) -> list[Json]:
    """Return every object in an answer that looks like an estimate."""
    if isinstance(value, list):
        return [found for each in value for found in estimates(each)]
    if not isinstance(value, dict):
        return []
    own = [value] if "confidence_level" in value and "value" in value else []
    return own + [found for each in value.values() for found in estimates(each)]


@pytest.mark.parametrize("weird", ["nothing", "no labels", "ties alone", "all failed", "one pair"])
async def test_an_estimate_has_all_its_members_whatever_the_data(
    client: httpx.AsyncClient, weird: str
) -> None:
    rows = labelled_rows(1 if weird == "one pair" else 12)
    for row in rows:
        if weird == "no labels":
            row["human"] = []
        elif weird == "ties alone":
            row["human"] = [{"annotator": None, "label": "tie"}]
        elif weird == "all failed":
            row["judges"] = {"cheap": None, "dear": {"p_a": None}}
    await upload(client, "d", rows)
    query = {"dataset": "d", "include": "judge_pairs", "group_by": "task"}
    report = await client.get("/v1/reports/agreement", params=query)
    board = await client.post(
        "/v1/leaderboards", json={"dataset": "d", "source": "judge:dear", "method": "win_rate"}
    )
    assert_answered(board)
    assert report.status_code == 200, report.text
    found = estimates([report.json(), board.json()])
    assert len(found) > 10
    for estimate in found:
        assert set(estimate) == {"value", "low", "high", "confidence_level", "n"}
        numbers = [estimate[name] for name in ("low", "value", "high")]
        if None not in numbers:
            assert numbers == sorted(numbers), estimate


@pytest.mark.both_databases
async def test_equal_requests_with_one_key_at_once_get_one_answer(
    filled: httpx.AsyncClient,
) -> None:
    for route in ("calibrations", "batches", "leaderboards"):

        async def send(_: int, route: str = route) -> httpx.Response:
            return await filled.post(
                f"/v1/{route}", json=BODIES[route], headers={"idempotency-key": "k"}
            )

        answers = await together(send)
        assert len({answer.json()["id"] for answer in answers}) == 1, route


@pytest.mark.both_databases
async def test_equal_datasets_at_once_are_one(client: httpx.AsyncClient) -> None:
    async def send(_: int) -> httpx.Response:
        return await client.post("/v1/datasets?name=same", content=ndjson(labelled_rows(30)))

    answers = await together(send)
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.both_databases
async def test_certificates_made_at_once_count_each_other(filled: httpx.AsyncClient) -> None:
    async def send(number: int) -> httpx.Response:
        body = {**BODIES["calibrations"], "seed": number}
        return await filled.post("/v1/calibrations", json=body)

    answers = await together(send)
    assert sorted(answer.json()["label_set_uses"] for answer in answers) == list(range(1, 9))


@pytest.mark.both_databases
async def test_one_annotator_posting_at_once_is_one_vote(filled: httpx.AsyncClient) -> None:
    async def send(number: int) -> httpx.Response:
        labels = [
            {"dataset": "d", "pair": f"p{pair}", "annotator": "zoe", "label": "ab"[number % 2]}
            for pair in range(20)
        ]
        return await filled.post("/v1/labels", json={"labels": labels})

    await together(send)
    listed = (await filled.get("/v1/labels", params={"dataset": "d", "limit": 1000})).json()
    assert len([label for label in listed["data"] if label["annotator"] == "zoe"]) == 20


@pytest.mark.both_databases
async def test_a_dataset_may_vanish_while_all_work_on_it(
    service: FastAPI, client: httpx.AsyncClient
) -> None:
    for seed in range(3):
        await upload(client, "d", labelled_rows(200, seed=seed))
        certificate = await certify(client, "d", target_agreement=0.7)
        bodies = {**BODIES, "batches": {"dataset": "d", "calibration": certificate["id"]}}
        pair = {**PAIR, "judges": {"cheap": {"p_a": 0.9}, "dear": {"p_a": 0.9}}}
        bodies["judgments"] = {"pairs": [pair], "calibration": certificate["id"]}
        routes = sorted(bodies)
        wait = 0.02 * seed

        async def send(
            number: int, wait: float = wait, routes: list[str] = routes, bodies: Any = bodies
        ) -> httpx.Response:
            if number == 0:
                await asyncio.sleep(wait)
                # past the service, which refuses while a batch runs
                async with service.state.runtime.db.write() as session:
                    found = await pair_queries.dataset_by_name(session, "d")
                    assert found is not None
                    await deleting.delete_rows(session, found.seq)
                return await client.get("/v1/datasets/d")
            route = routes[number % len(routes)]
            return await client.post(f"/v1/{route}", json=bodies[route])

        answers = await together(send, 13)
        assert answers[0].status_code == 404
    running = service.state.runtime
    assert any(task.get_name().startswith("worker") for task in running._tasks)
