"""No input causes more work than its length allows, and no refusal repeats all of its request."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from app.core.http.field_errors import field_errors
from app.core.limits import Limits, shape_fault
from app.core.runtime import Runtime
from app.formats import preferences
from judges.openai.answers import verbalized_labels
from judges.openai.replies import Reply
from judges.prompting.label_tokens import LabelMatcher
from judges.types import JudgeFailure
from tests.app.problems import assert_answered
from tests.app.rows import labelled_rows, upload

Json = dict[str, Any]
PAIR: Json = {"id": "1", "prompt": "p", "response_a": "a", "response_b": "b"}
MOST_REFUSAL_BYTES = 40_000


@contextmanager
def calls() -> Iterator[list[int]]:
    """Count the calls of Python functions inside the block: work that no clock has to measure."""
    counted = [0]

    def note(frame: Any, what: str, argument: Any) -> None:
        counted[0] += what == "call"

    sys.setprofile(note)
    try:
        yield counted
    finally:
        sys.setprofile(None)


@contextmanager
def statements(running: Runtime) -> Iterator[list[str]]:
    """List the SQL statements sent inside the block."""
    sent: list[str] = []

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    engines = {running.db.engine.sync_engine, running.db._reader.sync_engine}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield sent
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def _fields(n: int) -> Json:
    return {f"field_{number}": 1 for number in range(n)}


TOO_LARGE: dict[str, tuple[str, Callable[[], Json], str]] = {
    "unknown fields of the body": (
        "calibrations", lambda: {"dataset": "d", **_fields(30_000)}, "TRIBUNAL_MAX_FIELDS",
    ),
    "unknown fields of a pair": (
        "judgments", lambda: {"pairs": [{**PAIR, **_fields(30_000)}]}, "TRIBUNAL_MAX_FIELDS",
    ),
    "fields of metadata": (
        "judgments", lambda: {"pairs": [{**PAIR, "metadata": _fields(2_000)}]}, "TRIBUNAL_MAX_FIELDS",
    ),
    "judges of a pair": (
        "judgments",
        lambda: {"pairs": [{**PAIR, "judges": {name: {"p_a": 0.5} for name in _fields(2_000)}}]},
        "TRIBUNAL_MAX_FIELDS",
    ),
    "annotators of a record": (
        "judgments",
        lambda: {"pairs": [{**PAIR, "judges": {"j": {"annotators": [[0.5, 0.5]] * 200_000}}}]},
        "TRIBUNAL_MAX_LIST_ITEMS",
    ),
    "messages": (
        "judgments",
        lambda: {"pairs": [{"messages": [{}] * 200_000, "response_a": "", "response_b": ""}]},
        "TRIBUNAL_MAX_LIST_ITEMS",
    ),
    "labels": ("labels", lambda: {"labels": [{}] * 100_001}, "TRIBUNAL_MAX_LIST_ITEMS"),
    "lists of lists": (
        "labels", lambda: {"labels": [[[]] * 90_000] * 3}, "TRIBUNAL_MAX_BODY_OBJECTS",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_a_body_of_too_many_parts_is_refused_by_the_name_of_its_limit(
    client: httpx.AsyncClient, name: str
) -> None:
    path, body, setting = TOO_LARGE[name]
    content = json.dumps(body())
    await client.post(f"/v1/{path}", json={})  # what is made once is made now
    counted = []
    for _ in range(2):  # a worker that polls meanwhile makes calls, too
        with calls() as made:
            response = await client.post(
                f"/v1/{path}", content=content, headers={"content-type": "application/json"}
            )
        counted.append(made[0])
        assert response.status_code == 422, response.text[:300]
        assert_answered(response)
    assert setting in response.json()["detail"]
    assert len(response.content) < 2_000
    # not a step for each of the parts that are too many
    assert min(counted) < 40_000 or setting == "TRIBUNAL_MAX_BODY_OBJECTS"


@pytest.mark.parametrize("named_by", ["pair", "prompt"])
async def test_many_labels_are_read_and_stored_beside_the_event_loop(
    client: httpx.AsyncClient, named_by: str
) -> None:
    rows = labelled_rows(50)
    await upload(client, "d", rows)
    place = {"pair": "id", "prompt": "prompt"}[named_by]

    async def on_the_loop(count: int) -> int:
        labels = [
            {"dataset": "d", "annotator": f"a{count} {n}", "label": "a", named_by: row[place]}
            for n, row in zip(range(count), cycle(rows), strict=False)
        ]
        content = json.dumps({"labels": labels})
        # this counts what runs in this thread, which is the loop's
        with calls() as made:
            answer = await client.post(
                "/v1/labels", content=content, headers={"content-type": "application/json"}
            )
        assert answer.json()["accepted"] == count, answer.text
        return made[0]

    await on_the_loop(600)
    few, many = [await on_the_loop(count) for count in (600, 1_800)]
    assert (many - few) / 1_200 < 8


async def test_answers_of_another_tool_are_read_beside_the_event_loop_and_none_is_lost_unsaid(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "d", labelled_rows(10))
    await client.post("/v1/queues", json={"name": "q", "dataset": "d", "purpose": "ranking"})
    counted = []
    for count in (500, 2_500):
        body = b'{"data": {"item": "x"}}\n' * count
        with calls() as made:
            answer = await client.post(
                "/v1/queues/q/import",
                content=body,
                headers={"content-type": "application/x-ndjson"},
            )
        assert answer.status_code == 200, answer.text
        counted.append(made[0])
    assert counted[1] < counted[0] + 500
    said = answer.json()
    assert len(said["rejected"]) == 1_000
    assert "1500 more rows are rejected than are listed" in said["warnings"]


def test_the_place_of_a_large_part_is_named() -> None:
    fault = shape_fault({"pairs": [{}, {"metadata": {"task": [1, 2, 3]}}]}, Limits(list_items=2))
    assert fault is not None
    assert fault.loc == ("pairs", 1, "metadata", "task")
    assert str(fault).startswith("pairs.1.metadata.task: has 3 items, at most 2 are allowed")


def test_the_values_of_a_whole_body_are_counted() -> None:
    fault = shape_fault([[1, 2], {"a": 1, "b": 2}], Limits(body_values=5))
    assert str(fault) == "holds more values than the 5 that are allowed (TRIBUNAL_MAX_BODY_VALUES)"
    assert shape_fault([[1, 2], {"a": 1, "b": 2}], Limits(body_values=6)) is None


def test_nested_parts_are_counted_without_recursion() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    assert shape_fault(deep, Limits()) is None
    assert shape_fault(deep, Limits(body_objects=10_000)) is not None


@pytest.mark.parametrize("kind", ["string_type", "extra_forbidden"])
def test_work_on_many_faults_grows_with_their_number(kind: str) -> None:
    def work(n: int) -> int:
        body = {"labels": [{"dataset": 1}] * n}
        found = [
            {"type": kind, "loc": ("body", "labels", i, choice, "dataset"), "msg": "wrong"}
            for i in range(n)
            for choice in ("str", "int")
        ]
        with calls() as made:
            field_errors(found, body)
        return made[0]

    assert work(2_000) < 11 * work(200)


async def test_thousands_of_bad_labels_are_counted_and_the_first_are_named(
    client: httpx.AsyncClient,
) -> None:
    labels = [{"dataset": "d", "pair": "p", "annotator": "z", "label": "x" * 300}] * 5_000
    response = await client.post("/v1/labels", json={"labels": labels})
    assert_answered(response)
    assert response.status_code == 422
    body = response.json()
    assert len(response.content) < MOST_REFUSAL_BYTES
    assert body["error_count"] == 5_000
    assert 0 < len(body["errors"]) <= 100
    assert body["errors"][0]["loc"] == ["body", "labels", 0, "label"]


@pytest.mark.both_databases
async def test_many_names_of_datasets_are_looked_up_together(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await upload(client, "d", labelled_rows(5))

    async def post(n: int) -> tuple[httpx.Response, int]:
        labels = [
            {"dataset": f"other {i}", "pair": "p", "annotator": "z", "label": "a"} for i in range(n)
        ]
        with statements(running) as sent:
            response = await client.post("/v1/labels", json={"labels": labels})
        return response, len(sent)

    few, statements_for_few = await post(20)
    many, statements_for_many = await post(5_000)
    # one look-up a name would be thousands; other work of the service may be among them
    assert statements_for_many < statements_for_few + 200
    assert few.status_code == many.status_code == 404
    assert many.json()["error_count"] == 5_000
    assert "there is no dataset 'other 0'" in many.json()["detail"]
    assert len(many.content) < MOST_REFUSAL_BYTES


LONG = "x" * 300_000
LONG_REQUESTS: dict[str, tuple[str, str, Any]] = {
    "a field's name": ("POST", "/v1/calibrations", {"dataset": "d", LONG: 1}),
    "a field's name in a pair": ("POST", "/v1/judgments", {"pairs": [{**PAIR, "human": [{LONG: 1}]}]}),
    "a value": ("POST", "/v1/calibrations", {"dataset": LONG}),
    "a judge": ("POST", "/v1/calibrations", {"dataset": "d", "cascade": {"judges": [LONG] * 50}}),
    "an address": ("GET", "/v1/datasets/" + LONG[:60_000], None),
    "a query": ("GET", "/v1/datasets?limit=" + LONG[:60_000], None),
    "a parameter": ("GET", "/v1/reports/agreement?dataset=d&" + LONG[:60_000] + "=1", None),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG_REQUESTS)
async def test_a_refusal_does_not_repeat_a_long_request(
    client: httpx.AsyncClient, name: str
) -> None:
    method, path, body = LONG_REQUESTS[name]
    response = await client.request(method, path, json=body)
    assert response.status_code in (404, 422), response.text[:200]
    assert_answered(response)
    assert len(response.content) < MOST_REFUSAL_BYTES


async def test_a_refused_upload_names_its_first_rows(client: httpx.AsyncClient) -> None:
    rows = [{f"{'long' * 50}{number}": "x" * 200 for number in range(20)}] * 2_000
    response = await client.post(
        "/v1/datasets",
        params={"name": "d"},
        content="".join(json.dumps(row) + "\n" for row in rows),
        headers={"content-type": "application/x-ndjson"},
    )
    assert_answered(response)
    body = response.json()
    assert response.status_code == 422
    assert body["rejected_count"] == 2_000
    assert 0 < len(body["rejected"]) <= 100
    assert len(response.content) < MOST_REFUSAL_BYTES


def _seconds(work: Callable[[str], object], text: str) -> float:
    """Return the least processor time of a few tries."""
    found = []
    for _ in range(3):
        start = time.process_time()
        work(text)
        found.append(time.process_time() - start)
    return min(found)


@pytest.mark.parametrize("blank", ["\n", "\n\n "])
def test_blanks_between_turns_take_no_more_time_than_letters(blank: str) -> None:
    def read(filling: str) -> object:
        text = f"\n\nHuman: Hi{filling}x\n\nAssistant: Hello"
        assert preferences._is_transcript(text)
        turns = preferences._turns(text)
        assert turns[-1] == {"role": "assistant", "content": "Hello"}
        return turns

    letters, blanks = _seconds(read, "a" * 10_000), _seconds(read, blank * (10_000 // len(blank)))
    assert blanks < 50 * letters


def test_a_long_reply_is_no_label_with_a_percentage_and_costs_nothing() -> None:
    def read(text: str) -> object:
        found = verbalized_labels(Reply(text), LabelMatcher(("A", "B")))
        assert isinstance(found, JudgeFailure)
        return found

    assert _seconds(read, "-" * 1_000) < 20 * _seconds(read, "-" * 90)
