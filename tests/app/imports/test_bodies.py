from __future__ import annotations

import gzip
import io
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from app.core.errors import BadRequest
from app.core.limits import Limits, Meter
from app.imports import body
from app.imports.body import rows_of
from app.imports.tables import RawRow
from app.imports.upload import UploadedFile, received
from tests.app.imports.uploads import NDJSON, ndjson, row, upload

ROWS = [row(0), row(1, prompt='with "quotes", ] and }', response_a="ü 🙂"), row(2)]


def _multipart(*parts: tuple[str, bytes]) -> bytes:
    body = b""
    for disposition, content in parts:
        body += b"--XX\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n"
        body += b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
    return body + b"--XX--\r\n"


FILE = 'name="file"; filename="rows.jsonl"'
MULTIPART = {"content-type": "multipart/form-data; boundary=XX"}
ARRAY = json.dumps(ROWS, indent=1).encode()
LINES = ndjson(ROWS)

FORMS: dict[str, tuple[bytes, dict[str, str]]] = {
    "lines": (LINES, NDJSON),
    "lines without a final break": (LINES.rstrip(), NDJSON),
    "windows lines": (LINES.replace(b"\n", b"\r\n"), NDJSON),
    "lines as text": (LINES, {"content-type": "text/plain; charset=utf-8"}),
    "jsonl": (LINES, {"content-type": "application/jsonl"}),
    "lines called json": (LINES, {"content-type": "application/json"}),
    "no content type": (LINES, {}),
    "byte order mark": (b"\xef\xbb\xbf" + LINES, NDJSON),
    "array": (ARRAY, {"content-type": "application/json"}),
    "array with a byte order mark": (b"\xef\xbb\xbf" + ARRAY, {}),
    "array in UTF-8": (json.dumps(ROWS, ensure_ascii=False).encode(), {}),
    "gzip by magic": (gzip.compress(LINES), NDJSON),
    "gzip by encoding": (gzip.compress(LINES), {**NDJSON, "content-encoding": "gzip"}),
    "gzip in two members": (gzip.compress(LINES[:700]) + gzip.compress(LINES[700:]), NDJSON),
    "gzipped array": (gzip.compress(ARRAY), {"content-type": "application/json"}),
    "multipart": (_multipart((FILE, LINES)), MULTIPART),
    "multipart array": (_multipart((FILE, ARRAY)), MULTIPART),
    "multipart gzip": (_multipart((FILE, gzip.compress(LINES))), MULTIPART),
    "multipart with other fields": (_multipart(('name="x"', b"1"), (FILE, LINES)), MULTIPART),
    "gzipped multipart": (gzip.compress(_multipart((FILE, LINES))), MULTIPART),
}


async def _read(body: bytes, headers: dict[str, str], folder: Path | None = None) -> list[RawRow]:
    async with received(_request(body, headers), folder) as uploaded:
        return list(rows_of(uploaded.files, folder))


def _request(body: bytes, headers: dict[str, str]) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
async def test_every_form_of_the_body_holds_the_same_rows(
    form: tuple[bytes, dict[str, str]],
) -> None:
    assert [each.value for each in await _read(*form)] == ROWS


@pytest.mark.parametrize("name", ["gzipped array", "gzip by encoding", "multipart gzip"])
async def test_another_form_of_the_same_rows_is_the_same_dataset(
    client: httpx.AsyncClient, name: str
) -> None:
    first = await upload(client, ROWS)
    body, headers = FORMS[name]
    again = await upload(client, body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.json()["rejected"] == []


async def test_httpx_and_its_own_multipart_are_read(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/datasets", params={"name": "set"}, files={"file": ("r.jsonl.gz", gzip.compress(LINES))}
    )
    assert (answer.status_code, answer.json()["pairs"]) == (201, 3)


BROKEN: dict[str, tuple[bytes, dict[str, str], str]] = {
    "truncated gzip": (gzip.compress(LINES * 50)[:-12], NDJSON, "gzip"),
    "corrupt gzip": (gzip.compress(LINES)[:20] + b"\0" * 20, NDJSON, "gzip"),
    "not gzip": (LINES, {"content-encoding": "gzip"}, "not"),
    "unknown encoding": (LINES, {"content-encoding": "br"}, "gzip"),
    "truncated array": (ARRAY[:-10], {}, "array"),
    "broken array": (b'[{"a": 1}, {"b" 2}]', {}, "element 2"),
    "array with a rest": (ARRAY + b"[", {}, "follows"),
    "array not in UTF-8": (b'[{"a": "\xff"}]', {}, "UTF-8"),
    "array too deep": (b"[" + b"[" * 100_000, {}, "element 1"),
    "multipart without a boundary": (LINES, {"content-type": "multipart/form-data"}, "boundary"),
    "multipart without a file": (_multipart(('name="x"', b"1")), MULTIPART, "no file"),
    "multipart with a broken file": (_multipart((FILE, LINES), (FILE, b"[1")), MULTIPART, "array"),
    "truncated multipart": (_multipart((FILE, LINES))[:-8], MULTIPART, "early"),
    "no multipart": (LINES, MULTIPART, "multipart"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_body_that_breaks_off_is_refused_as_a_whole(
    broken: tuple[bytes, dict[str, str], str],
) -> None:
    body, headers, word = broken
    with pytest.raises(BadRequest, match=word):
        await _read(body, headers)


@pytest.mark.parametrize(
    "name", ["truncated gzip", "truncated array", "multipart with a broken file"]
)
async def test_nothing_is_kept_of_a_broken_body(client: httpx.AsyncClient, name: str) -> None:
    body, headers, _ = BROKEN[name]
    assert (await upload(client, body, headers=headers)).status_code == 400
    assert (await client.get("/v1/datasets")).json()["data"] == []


def _rows(body: bytes, media_type: str = "", **limits: int) -> list[RawRow]:
    meter = Meter(Limits(**limits), packed=len(body))
    return list(rows_of([UploadedFile(io.BytesIO(body), media_type, meter=meter)]))


def test_lines_keep_their_numbers_over_empty_ones() -> None:
    assert [(r.line, r.value) for r in _rows(b"\n1\n\n  \n2")] == [(2, 1), (5, 2)]


def test_a_line_longer_than_allowed_is_rejected_and_the_next_is_read() -> None:
    rows = _rows(b'"' + b"x" * 300_000 + b'"\n"y"\n', row_bytes=100)
    assert rows[0].reason == "the line is longer than 100 bytes (TRIBUNAL_MAX_ROW_BYTES)"
    assert rows[1] == RawRow(2, value="y")


def test_a_first_line_that_is_an_array_is_a_line_where_lines_were_announced() -> None:
    assert [r.value for r in _rows(b"[1]\n2\n", "application/x-ndjson")] == [[1], 2]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_array_elements_are_whole_however_the_body_is_cut(
    monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    values: list[Any] = [1, -12.5e3, "é🙂", {"a": [1, {"b": None}]}, [], True, "x" * 200, 123456]
    monkeypatch.setattr(body, "_WINDOW", piece)
    text = json.dumps(values, ensure_ascii=False, indent=2).encode()
    assert [r.value for r in _rows(b" \n" + text, "application/json")] == values


def test_a_gzip_bomb_of_one_line_stays_small_in_memory() -> None:
    bomb = gzip.compress(b"x" * 200 * 2**20)
    tracemalloc.start()
    rows = _rows(bomb, row_bytes=2**20, unpacked_ratio=2_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [r.line for r in rows] == [1]
    assert peak < 20 * 2**20


def test_an_array_element_longer_than_allowed_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"longer than 1000 bytes \(TRIBUNAL_MAX_ROW_BYTES\)"):
        _rows(b'["' + b"x" * 1_000_000 + b'"]', row_bytes=1000)


async def test_headers_are_read_in_any_case() -> None:
    headers = {"content-type": "Multipart/Form-Data; boundary=XX", "content-encoding": "GZIP"}
    body = gzip.compress(_multipart((FILE, LINES)))
    assert [each.value for each in await _read(body, headers)] == ROWS


async def test_a_form_gives_its_files_in_order_and_its_fields(tmp_path: Path) -> None:
    parts = (('name="x"', "ü".encode()), (FILE, b"1"), (r'name="y"; filename="C:\a\b.csv"', b"2"))
    async with received(_request(_multipart(*parts), MULTIPART), tmp_path) as uploaded:
        assert uploaded.fields == {"x": "ü"}
        files = [(file.field, file.name, file.content.read()) for file in uploaded.files]
        places = {os.readlink(f"/proc/self/fd/{file.content.fileno()}") for file in uploaded.files}
    assert files == [("file", "rows.jsonl", b"1"), ("y", "b.csv", b"2")]
    assert all(file.content.closed for file in uploaded.files)
    assert all(Path(place).is_relative_to(tmp_path) for place in places)


@pytest.mark.parametrize(
    "parts",
    [
        [(f'name="{number}"', b"x") for number in range(33)],
        [('name="x"', b"x" * (2**16 + 1))],
        [(f'name="{number}"; filename="x"', b"x") for number in range(1001)],
        [('filename="x"', b"x")],
    ],
    ids=["fields", "a long field", "files", "no name"],
)
async def test_a_form_that_holds_too_much_is_refused(parts: list[tuple[str, bytes]]) -> None:
    with pytest.raises(BadRequest, match="multipart"):
        await _read(_multipart(*parts), MULTIPART)


async def test_the_second_file_of_a_form_that_ends_early_is_missed() -> None:
    body = _multipart((FILE, LINES), (FILE, LINES))
    with pytest.raises(BadRequest, match="early"):
        await _read(body[: -len(LINES)], MULTIPART)


async def test_what_json_allows_python_reads_alike_in_lines_and_in_an_array() -> None:
    texts = [r'"\ud800 x"', "123456789012345678901234567890", "1e400", r'"a\u0000b"', "-Infinity"]
    lines = _rows("\n".join(texts).encode())
    array = _rows(f"[{', '.join(texts)}]".encode(), "application/json")
    assert [each.value for each in array] == [each.value for each in lines]
    assert all(each.reason is None for each in lines)


def test_broken_lines_keep_their_reasons() -> None:
    said = [(row.line, row.reason) for row in _rows(b'{\n\n"a": 1\n')]
    assert [line for line, _ in said] == [1, 3]
    [row] = _rows(b'{"a": x},\n')
    assert "not JSON: Expecting value at character 7" in str(row.reason)


def test_a_packed_table_is_read_from_the_disk(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = io.BytesIO()
    pq.write_table(pa.table({"n": [1, 2]}), table)
    packed = gzip.compress(table.getvalue())
    for content in (table.getvalue(), packed):
        found = list(rows_of([UploadedFile(io.BytesIO(content))], folder=tmp_path))
        assert [row.value for row in found] == [{"n": 1}, {"n": 2}]
