"""What an upload may unpack to, and that the work of reading it grows with its length alone."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core import limits
from app.core.errors import BadRequest, TooLarge
from app.core.limits import Limits, Meter
from app.core.settings import Settings
from app.imports import parquet
from app.imports.body import rows_of
from app.imports.columns import StagedRow
from app.imports.reading import Reader, stage
from app.imports.staging import Staging
from app.imports.tables import RawRow
from app.imports.upload import UploadedFile
from app.main import create_app
from tests.app.api.test_limits import calls
from tests.app.problems import assert_answered
from tests.conftest import client_of

CSV = "text/csv"
NDJSON = "application/x-ndjson"
MIB = 2**20
PAIR: dict[str, Any] = {"id": "1", "prompt": "p", "response_a": "a", "response_b": "b"}


def _rows(body: bytes, media_type: str = "", **limits: int) -> list[RawRow]:
    meter = Meter(Limits(**limits), packed=len(body))
    return list(rows_of([UploadedFile(io.BytesIO(body), media_type, meter=meter)]))


def _staged(body: bytes, media_type: str = "", **limits: int) -> tuple[list[StagedRow], Reader]:
    meter = Meter(Limits(**limits), packed=len(body))
    staging, reader = Staging.open(Path(":memory:"), meter.limits), Reader(meter=meter)
    stage(staging, reader, rows_of([UploadedFile(io.BytesIO(body), media_type, meter=meter)]))
    found = [row for chunk in staging.chunks() for row in chunk]
    staging.close()
    return found, reader


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def _send(
    client: httpx.AsyncClient, body: bytes, media_type: str = NDJSON, name: str = "d"
) -> httpx.Response:
    return await client.post(
        "/v1/datasets", params={"name": name}, content=body, headers={"content-type": media_type}
    )


def _form(files: dict[str, bytes]) -> bytes:
    parts = [
        b'--XX\r\ncontent-disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), body)
        for name, body in files.items()
    ]
    return b"".join([*parts, b"--XX--\r\n"])


FORM = "multipart/form-data; boundary=XX"


def _bombs() -> dict[str, tuple[bytes, str]]:
    newlines = gzip.compress(b"\n" * 80 * MIB)
    return {
        "gzip of newlines": (newlines, NDJSON),
        "gzip of one long line": (gzip.compress(b"x" * 80 * MIB), NDJSON),
        "gzip of gzip of newlines": (gzip.compress(newlines), NDJSON),
        "a form of newlines": (_form({"a.jsonl": newlines}), FORM),
        "a packed form of zeros": (gzip.compress(_form({"a.jsonl": b"\0" * 80 * MIB})), FORM),
        "a packed form of gzip of newlines": (gzip.compress(_form({"a.jsonl": newlines})), FORM),
    }


BOMBS = _bombs()


@pytest.mark.parametrize("name", BOMBS)
async def test_what_unpacks_to_far_more_than_its_size_is_refused_by_name(
    client: httpx.AsyncClient, name: str
) -> None:
    body, media_type = BOMBS[name]
    response = await _send(client, body, media_type)
    assert_answered(response)
    assert response.status_code == 413, response.text
    setting = "TRIBUNAL_MAX_UNPACKED_RATIO" if "newlines" not in name else "TRIBUNAL_MAX_"
    assert setting in response.json()["detail"]
    assert (await client.get("/v1/datasets")).json()["data"] == []


def test_what_comes_out_of_all_files_and_layers_is_counted_together() -> None:
    meter = Meter(Limits(unpacked_bytes=3 * MIB), packed=MIB)
    file = gzip.compress(b"\n" * MIB)
    files = [UploadedFile(io.BytesIO(file), NDJSON, meter=meter) for _ in range(5)]
    with pytest.raises(TooLarge, match="TRIBUNAL_MAX_UNPACKED_BYTES"):
        list(rows_of(files))
    assert meter.unpacked <= 4 * MIB


def test_empty_lines_are_skipped_together_and_still_counted() -> None:
    body = b"1\n" + b"\n" * 2_000_000 + b" \r\n" * 10 + b"2\n\n3"
    with calls() as made:
        rows = _rows(body, NDJSON)
    assert [(row.line, row.value) for row in rows] == [(1, 1), (2_000_012, 2), (2_000_014, 3)]
    assert made[0] < 20_000


@pytest.mark.parametrize("media_type", [NDJSON, CSV, "application/json"])
def test_more_rows_than_allowed_are_refused(media_type: str) -> None:
    body = {
        NDJSON: b"1\n" * 20,
        CSV: b"a\n" + b"1\n" * 20,
        "application/json": b"[1" + b",1" * 20 + b"]",
    }
    with pytest.raises(TooLarge, match="TRIBUNAL_MAX_ROWS"):
        _rows(body[media_type], media_type, rows=10)
    assert len(_rows(body[media_type], media_type, rows=30)) >= 20


@pytest.mark.parametrize("media_type", [NDJSON, CSV])
def test_more_empty_lines_than_allowed_are_refused(media_type: str) -> None:
    with pytest.raises(TooLarge, match="TRIBUNAL_MAX_ROWS"):
        _rows(b"a\n" + b"\n" * 5_000, media_type, rows=2_500)


def test_a_table_of_too_many_columns_is_refused_by_name() -> None:
    header = ",".join(f"c{number}" for number in range(100_000)).encode()
    with calls() as made, pytest.raises(BadRequest, match="TRIBUNAL_MAX_FIELDS"):
        _rows(header + b"\n1\n", CSV)
    assert made[0] < 1_000


def test_a_column_named_twice_is_found_among_many() -> None:
    header = ",".join(f"c{number}" for number in range(900)).encode()
    with pytest.raises(BadRequest, match="names a column twice: 'c7'"):
        _rows(header + b",c7\n1\n", CSV)


def test_a_quote_that_is_never_closed_ends_the_reading_where_it_is_too_long() -> None:
    body = b'id,prompt\n1,x\n2,"y\n' + b"word\n" * 2_000
    with pytest.raises(BadRequest, match=r"line 3: .*TRIBUNAL_MAX_ROW_BYTES.*not closed"):
        _rows(body, CSV, row_bytes=1_024)
    with pytest.raises(BadRequest, match=r"line 2: .*TRIBUNAL_MAX_ROW_BYTES"):
        _rows(b"id,prompt\n" + b"x" * 5_000, CSV, row_bytes=1_024)


def test_a_cell_up_to_the_limit_is_read() -> None:
    [row] = _rows(b'id,prompt\n1,"' + b"x\n" * 400 + b'"\n', CSV, row_bytes=1_024)
    assert row.value["prompt"] == "x\n" * 400


@pytest.mark.parametrize("media_type", [NDJSON, "application/json"])
def test_a_row_of_too_many_parts_is_rejected_and_the_rest_is_kept(media_type: str) -> None:
    large = [
        {**PAIR, **{f"field_{number}": 1 for number in range(2_000)}},
        {**PAIR, "human": [{"label": "a"}] * 150_000},
        {**PAIR, "metadata": {"deep": {str(number): 1 for number in range(2_000)}}},
    ]
    rows = [*large, PAIR]
    body = _lines(rows) if media_type == NDJSON else json.dumps(rows).encode()
    found = _rows(body, media_type)
    assert [row.reason is None for row in found] == [False, False, False, True]
    assert "TRIBUNAL_MAX_FIELDS" in (found[0].reason or "")
    assert "human: has 150000 items" in (found[1].reason or "")
    assert "metadata.deep: has 2000 fields" in (found[2].reason or "")


@pytest.mark.parametrize(
    "fields", [{}, {"metadata": {"x": "y" * 10_000}}, {"prompt": "p" * 10_000}]
)
def test_work_on_the_rows_of_one_id_grows_with_their_number(fields: dict[str, Any]) -> None:
    """Neither votes nor scores nor texts that are there already are read again for each row."""

    def read(n: int) -> int:
        first = {**PAIR, **fields, "human": [{"annotator": "z", "label": "a"}] * 2_000}
        votes = [
            {**PAIR, **fields, "human": [{"annotator": f"p{i}", "label": "a"}],
             "judges": {f"j{i % 500}": {"p_a": 0.5}}}
            for i in range(n)
        ]  # fmt: skip
        steps = 0

        def note() -> int:
            nonlocal steps
            steps += 1
            return 0

        body = _lines([first, *votes])
        staging, reader = Staging.open(Path(":memory:")), Reader()
        staging.connection.set_progress_handler(note, 20)
        with calls() as made:
            stage(staging, reader, rows_of([UploadedFile(io.BytesIO(body), NDJSON)]))
        [[row]] = staging.chunks()
        assert len(row.votes) == 2_000 + n
        staging.close()
        return made[0] + steps

    few, many = read(20), read(200)
    few, many = few - read(0), many - read(0)
    assert many < 15 * few


def test_rows_of_one_id_add_up_as_they_did() -> None:
    said = [
        {"annotator": "x", "label": "a"}, {"annotator": "y", "label": "b"},
        {"annotator": "x", "label": "a"},
    ]  # fmt: skip
    rows = [
        {**PAIR, "human": said, "judges": {"b": {"p_a": 0.25}}},
        {**PAIR, "human": [said[0]], "judges": {"a": {"p_a": 0.5}}},
        {**PAIR, "human": [said[1], said[1]], "judges": {"b": {"p_a": 0.25}}},
        {**PAIR, "judges": {"b": {"p_a": 0.75}}},
        {"id": "1", "annotator": "z", "label": "tie"},
        {"id": "1", "annotator": "z", "label": "tie"},
    ]
    [row], reader = _staged(_lines(rows))
    votes = [(vote.annotator, vote.label) for vote in row.votes]
    assert votes == [("x", "a"), ("y", "b"), ("x", "a"), ("y", "b"), ("z", "tie"), ("z", "tie")]
    assert [score["judge"] for score in row.recorded] == ["a", "b"]
    [rejected] = reader.rejected
    assert rejected == {"line": 4, "reason": "judges.b: line 1 records another score of this pair"}


def test_the_content_hash_of_rows_that_add_up_is_that_of_one_row() -> None:
    scores = {"b": {"p_a": 0.25, "cost": 0.1}, "a": {"p_a": 0.5}}
    whole = [{**PAIR, "judges": scores}]
    parts = [{**PAIR, "judges": {name: score}} for name, score in scores.items()]

    def hash_of(rows: list[dict[str, Any]]) -> str:
        staging = Staging.open(Path(":memory:"))
        stage(staging, Reader(), rows_of([UploadedFile(io.BytesIO(_lines(rows)), NDJSON)]))
        found = staging.content_hash()
        staging.close()
        return found

    assert hash_of(whole) == hash_of(parts)


def test_more_recorded_judges_than_allowed_are_rejected_by_name() -> None:
    rows = [{**PAIR, "id": str(n), "judges": {f"j{n}": {"p_a": 0.5}}} for n in range(60)]
    found, reader = _staged(_lines(rows), fields=50)
    assert len(found) == 50
    assert reader.rejected_count == 10
    assert "TRIBUNAL_MAX_FIELDS" in reader.rejected[0]["reason"]


def test_answers_that_join_to_far_more_than_they_are_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "ALWAYS_BYTES", MIB)
    answers = [{"instruction": "p", "output": "o" * 50, "generator": f"m{n}"} for n in range(2_000)]
    with pytest.raises(TooLarge, match="TRIBUNAL_MAX_UNPACKED_RATIO"):
        _staged(_lines(answers), unpacked_ratio=5)


async def test_settings_are_the_limits_of_uploads(tmp_path: Path) -> None:
    settings = Settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/x.db", spool_dir=tmp_path, workers=0,
        max_rows=3, max_row_bytes=1_024, max_fields=50,
    )  # fmt: skip
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        rows = [{**PAIR, "id": str(n)} for n in range(4)]
        refused = await _send(client, _lines(rows))
        assert (refused.status_code, "TRIBUNAL_MAX_ROWS" in refused.text) == (413, True)
        kept = await _send(client, _lines([PAIR, {**PAIR, "id": "2", "prompt": "x" * 2_000}]))
        assert kept.status_code == 201
        assert "TRIBUNAL_MAX_ROW_BYTES" in kept.json()["rejected"][0]["reason"]
        assert settings.limits.fields == 50


def _parquet(**columns: Any) -> bytes:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()


def _repeated(value: Any, times: int) -> Any:
    import pyarrow as pa

    return pa.array([value]).take(pa.array([0] * times))


def _tables() -> dict[str, Any]:
    text = "x" * 2**18
    return {
        "a text that repeats": lambda: _repeated(text, 400),
        "a list of a text that repeats": lambda: _repeated([text], 400),
        "an object of a text that repeats": lambda: _repeated({"deep": [text]}, 400),
        "a list of very many values": lambda: _repeated([None] * 2**15, 200),
    }


SMALL_TABLES = _tables()


@pytest.mark.parametrize("name", SMALL_TABLES)
async def test_a_small_parquet_file_of_very_many_bytes_is_refused(
    client: httpx.AsyncClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    column = SMALL_TABLES[name]()
    body = _parquet(prompt=column, response_a=_repeated("a", len(column)))
    assert len(body) < 2**19
    monkeypatch.setattr(limits, "ALWAYS_BYTES", 8 * MIB)
    response = await _send(client, body, "application/vnd.apache.parquet")
    assert_answered(response)
    assert response.status_code == 413, response.text
    assert "TRIBUNAL_MAX_UNPACKED_RATIO" in response.json()["detail"]


def test_texts_that_repeat_are_read_a_few_rows_at_a_time() -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    body = _parquet(prompt=_repeated("x" * 2**18, 200), number=list(range(200)))
    meter = Meter(Limits(unpacked_ratio=10**6), packed=len(body))
    file = UploadedFile(io.BytesIO(body), "application/vnd.apache.parquet", meter=meter)
    rows = rows_of([file])
    numbers = [next(rows).value["number"] for _ in range(10)]
    assert numbers == list(range(10))
    # 50 MiB in all
    assert meter.unpacked < 20 * MIB
    assert [row.value["number"] for row in rows] == list(range(10, 200))


def test_a_parquet_file_of_too_many_columns_is_refused_by_name() -> None:
    body = _parquet(**{f"c{number}": [1] for number in range(60)})
    with pytest.raises(BadRequest, match="TRIBUNAL_MAX_FIELDS"):
        _rows(body, "application/vnd.apache.parquet", fields=50)


def _nested(n: int) -> list[dict[str, Any]]:
    return [
        {"number": k, "human": [{"annotator": f"p{k}", "label": "ab"[k % 2] * (k % 900)}]}
        for k in range(n)
    ]


def _written(rows: list[dict[str, Any]], **options: Any) -> bytes:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


def test_nested_columns_of_several_dictionaries_are_read_whole() -> None:
    rows = _nested(2_000)
    body = _written(rows, row_group_size=900, dictionary_pagesize_limit=2_000, data_page_size=1_000)
    found = _rows(body, "application/vnd.apache.parquet")
    assert [row.value for row in found] == rows


def test_where_dictionaries_cannot_be_kept_the_rest_is_read_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = _nested(700)
    body = _written(rows, row_group_size=350)
    import pyarrow as pa
    import pyarrow.parquet as pq

    read = pq.ParquetFile.iter_batches

    def fail(self: Any, batch_size: int, row_groups: Sequence[int]) -> Any:
        for number, batch in enumerate(read(self, batch_size=batch_size, row_groups=row_groups)):
            if batch_size == 100 and number == 1:
                raise pa.ArrowNotImplementedError("nested")
            yield batch

    monkeypatch.setattr(parquet, "_BATCH_ROWS", 100)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fail)
    found = _rows(body, "application/vnd.apache.parquet")
    assert [row.value for row in found] == rows


def test_a_long_column_whose_dictionary_is_not_seen_is_read_a_few_rows_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"text": str(number) * 6_000} for number in range(1_000)]
    body = _written(rows, use_dictionary=False, compression="none")
    assert len(body) > 4 * MIB
    import pyarrow.parquet as pq

    read, sizes = pq.ParquetFile.iter_batches, []

    def noted(self: Any, batch_size: int, **options: Any) -> Any:
        sizes.append(batch_size)
        return read(self, batch_size=batch_size, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    found = _rows(body, "application/vnd.apache.parquet")
    assert [row.value for row in found] == rows
    assert max(sizes) <= 16


def test_rows_that_are_joined_on_one_key_must_fit_in_memory() -> None:
    answers = [{"instruction": "p", "output": "o" * 80, "generator": f"m{n}"} for n in range(9)]
    with pytest.raises(TooLarge, match="joined with line 5 are more than 4 times"):
        _staged(_lines(answers), row_bytes=150)


def test_a_long_column_with_a_dictionary_is_read_many_rows_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pyarrow.parquet as pq

    rows = [{"text": str(number) * 6_000} for number in range(1_000)]
    read, sizes = pq.ParquetFile.iter_batches, []

    def noted(self: Any, batch_size: int, **options: Any) -> Any:
        sizes.append(batch_size)
        return read(self, batch_size=batch_size, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    found = _rows(_written(rows, compression="none"), "application/vnd.apache.parquet")
    assert [row.value for row in found] == rows
    assert max(sizes) > 16


def test_of_very_many_columns_some_are_told_of_and_all_are_kept() -> None:
    words = {f"w{number}": "a" for number in range(120)}
    codes = {f"c{number}": number % 2 for number in range(120)}
    named = {f"label_{number}": "x" for number in range(120)}
    [found], reader = _staged(_lines([{**PAIR, **words, **codes, **named}]))
    assert len(json.loads(found.pair["metadata"])) == 360
    told = reader.warnings()
    assert 100 < len(told) < 110
    assert "w99: the columns hold nothing but verdicts" in "\n".join(told)
