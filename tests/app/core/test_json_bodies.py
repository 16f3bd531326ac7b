"""Large JSON bodies are read and validated beside the event loop, and mean what small ones mean."""

from __future__ import annotations

import json
import threading
from json import scanner
from typing import Any

import httpx
import pytest
from fastapi._compat import ModelField

from app.core.http import json_bodies
from app.core.http.json_bodies import LARGE_BODY
from tests.app.rows import labelled_rows, upload

PAIR = {"id": "1", "prompt": "p", "response_a": "It is good. " * 2_000, "response_b": "b"}


async def post(client: httpx.AsyncClient, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert len(content) > LARGE_BODY
    headers = {"content-type": "application/json"}
    return await client.post(f"/v1/{path}", content=content, headers=headers)


async def test_no_step_of_reading_a_large_body_runs_on_the_event_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[tuple[str, int]] = []
    for name in ("_parse_large", "shape_fault"):
        function = getattr(json_bodies, name)

        def noted(*args: Any, name: str = name, function: Any = function) -> Any:
            readers.append((name, threading.get_ident()))
            return function(*args)

        monkeypatch.setattr(json_bodies, name, noted)
    validate = ModelField.validate

    def validated(self: Any, value: Any, *args: Any, **options: Any) -> Any:
        # what the framework itself validates on the loop is made already
        if isinstance(value, dict) and "pairs" in value:
            readers.append(("validate", threading.get_ident()))
        return validate(self, value, *args, **options)

    monkeypatch.setattr(ModelField, "validate", validated)
    answer = await post(client, "judgments", {"pairs": [PAIR]})
    assert answer.status_code == 200, answer.text
    assert [name for name, _ in readers] == ["_parse_large", "shape_fault", "validate"]
    assert threading.get_ident() not in {thread for _, thread in readers}


async def test_a_large_body_of_several_forms_is_validated_beside_the_event_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    validators: list[int] = []
    validate = ModelField.validate

    def validated(self: Any, value: Any, *args: Any, **options: Any) -> Any:
        if isinstance(value, dict):
            validators.append(threading.get_ident())
        return validate(self, value, *args, **options)

    monkeypatch.setattr(ModelField, "validate", validated)
    asked: dict[str, dict[str, Any]] = {
        "batches": {"dataset": "d", "cascade": {"judges": ["j"] * 9_000}},
        "batches/estimate": {"input_file_id": "f", "metadata": {str(n): "v" for n in range(999)}},
        "batches/b/retry": {str(n): [0] * 30 for n in range(900)},
    }
    for path, body in asked.items():
        answer = await post(client, path, {**body, "": " " * LARGE_BODY})
        assert answer.status_code == 422, (path, answer.text)
    assert len(validators) == len(asked)
    assert threading.get_ident() not in validators


async def test_the_length_of_an_object_with_too_many_fields_is_told(
    client: httpx.AsyncClient,
) -> None:
    body = {"dataset": "d", "criteria": {str(n): 1.0 for n in range(30)}}
    answer = await client.post("/v1/leaderboards", json=body)
    assert answer.json()["errors"][0]["msg"] == "holds 30 items, more than 20"


async def test_a_large_body_is_refused_and_stored_as_a_small_one_is(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "d", labelled_rows(3))
    small = {"labels": [{"dataset": "d", "pair": "p0", "annotator": 7, "label": "x"}]}
    faulty = {"labels": small["labels"] * 1_000}
    expected = (await client.post("/v1/labels", json=small)).json()["errors"][0]
    answer = await post(client, "labels", faulty)
    assert (answer.status_code, answer.json()["errors"][0]) == (422, expected)
    assert len(answer.content) < 50_000
    cut = await post(client, "judgments", json.dumps({"pairs": [PAIR]}).encode()[:-1])
    assert (cut.status_code, "is not JSON" in cut.text) == (422, True)
    missing = await post(client, "judgments", {"pairs": [PAIR], "no_such_field": 1})
    assert [one["loc"] for one in missing.json()["errors"]] == [["body", "no_such_field"]]


async def test_a_large_body_repeats_its_first_answer(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k", "content-type": "application/json"}
    first, again = [
        await client.post("/v1/judgments", content=json.dumps({"pairs": [PAIR]}), headers=headers)
        for _ in range(2)
    ]
    assert first.json() == again.json()
    other = json.dumps({"pairs": [{**PAIR, "id": "2"}]})
    assert (await client.post("/v1/judgments", content=other, headers=headers)).status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        {"x": [[1] * 900] * 60},
        {"x": [{str(n): "v" for n in range(50)}] * 1_000},
        [[{"a": []}] * 900] * 20,
    ],
    ids=["numbers", "fields", "objects"],
)
def test_reading_stops_at_the_limit_of_values(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    scan: Any = vars(scanner)["py_make_scanner"]

    def counting(decoder: Any) -> Any:
        number = decoder.parse_int

        def counted(text: str) -> Any:
            nonlocal read
            read += 1
            return number(text)

        decoder.parse_int = counted
        return scan(decoder)

    monkeypatch.setattr(scanner, "py_make_scanner", counting)
    content = json.dumps(body).encode()
    with pytest.raises(json_bodies._TooManyValues):
        json_bodies._parse_large(content, 1_000)
    assert read <= 1_000
    assert json_bodies._parse_large(content, 200_000) == body


@pytest.mark.parametrize(
    "value",
    [
        "a, b, " * 9_000,
        {"é😀": ["\\u0000", "\u2028", 1.5e300, -0.0, 10**30, True, False, None] * 900},
        [[[[]]] * 900, {}, {"": ""}],
    ],
    ids=["text", "values", "nested"],
)
@pytest.mark.parametrize("most", [10, 10**5])
def test_both_scanners_read_the_same(value: Any, most: int) -> None:
    if most == 10 and not isinstance(value, str):
        return  # commas within a text are no values
    for content in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert json_bodies._parse_large(content.encode(), most) == value


def test_a_deep_body_is_read_and_held_to_the_limits() -> None:
    deep = b"[" * 600 + b"]" * 600
    content = b'{"deep": %s, "many": [%s1], "text": "%s"}' % (deep, b"1," * 50, b"x" * 4_000)
    assert json_bodies._parse_large(content, 1_000) == json.loads(content)
