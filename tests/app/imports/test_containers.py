"""The same rows are the same pairs, labels and scores, whatever file they stand in."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.core.errors import TribunalError
from app.formats.base import RowInvalid
from app.formats.tables import cell_values, column_values
from app.imports.body import rows_of
from app.imports.columns import StagedRow
from app.imports.reading import Reader, stage
from app.imports.staging import Staging
from app.imports.upload import UploadedFile
from tests.app.formats.hand_written import EXAMPLES
from tests.app.imports.uploads import pairs_of, row
from tests.data_sets import data_dir, rows

Row = Mapping[str, Any]
CASES: Final = Path(__file__).resolve().parents[4] / "shared" / "cases" / "data"


def _names(given: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for one in given for name in one))


def _cell(value: Any) -> Any:
    """Return a cell of a table in text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _separated(given: Sequence[Row], delimiter: str) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter=delimiter)
    table.writerow(_names(given))
    table.writerows([[_cell(one.get(name)) for name in _names(given)] for one in given])
    return text.getvalue()


def _parquet(given: Sequence[Row]) -> bytes:
    """Return a table of flat columns; nested values are JSON in texts."""
    columns = {}
    for name in _names(given):
        values = [one.get(name) for one in given]
        kinds = {type(value) for value in values if value is not None}
        is_flat = len(kinds) == 1 and kinds <= {str, int, float, bool}
        columns[name] = values if is_flat else [None if v is None else _cell(v) for v in values]
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def _ndjson(given: Sequence[Row]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in given)


CONTAINERS: Final[dict[str, Callable[[Sequence[Row]], bytes]]] = {
    "rows.json": lambda given: json.dumps(given, indent=1).encode(),
    "rows.csv": lambda given: _separated(given, ",").encode(),
    "rows-semicolon.csv": lambda given: _separated(given, ";").encode(),
    "excel.csv": lambda given: b"\xef\xbb\xbfsep=;\r\n" + _separated(given, ";").encode(),
    "rows.tsv": lambda given: _separated(given, "\t").encode(),
    "unicode.txt": lambda given: _separated(given, "\t").encode("utf-16"),
    "wide.jsonl": lambda given: _ndjson(given).decode().encode("utf-16"),
    "rows.jsonl.gz": lambda given: gzip.compress(_ndjson(given)),
    "rows.csv.gz": lambda given: gzip.compress(_separated(given, ",").encode()),
    "rows.parquet": _parquet,
}


def _staged(name: str, body: bytes) -> list[StagedRow] | str:
    """Return the pairs of a file, or why it is refused, without the number of the line."""
    staging, reader = Staging.open(Path(":memory:")), Reader()
    try:
        stage(staging, reader, rows_of([UploadedFile(io.BytesIO(body), "", name)]))
        return [found for chunk in staging.chunks() for found in chunk]
    except TribunalError as error:
        return str(error)
    finally:
        staging.close()


def _said(found: list[StagedRow] | str) -> Any:
    """Return what pairs say: who they are, what they hold, votes and scores; no metadata."""
    if isinstance(found, str):
        return found
    return [
        (
            {name: value for name, value in one.pair.items() if name != "metadata"},
            [(vote.annotator, vote.label, vote.criterion) for vote in one.votes],
            one.recorded,
        )
        for one in found
    ]


def _files() -> Iterator[Any]:
    found = sorted(CASES.glob("*/*.jsonl")) + sorted(CASES.glob("*/*.json"))
    for path in found:
        if not path.read_bytes().startswith(b"\xff\xfe"):
            yield pytest.param(path, id=f"{path.parent.name}/{path.name}")


def _rows_in(path: Path) -> list[Row]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        found: list[Row] = json.loads(text)
        return found
    return [json.loads(line) for line in text.splitlines() if line.strip()]


@pytest.mark.skipif(not CASES.is_dir(), reason="the folder of cases is not here")
@pytest.mark.parametrize("path", list(_files()) if CASES.is_dir() else [])
def test_a_case_is_the_same_in_every_container(path: Path) -> None:
    given = _rows_in(path)
    first = _said(_staged("rows.jsonl", _ndjson(given)))
    for name, made in CONTAINERS.items():
        assert _said(_staged(name, made(given))) == first, name


SHARED: Final = ("mtbench_human", "prd_vicuna80", "llmfao", "llmbar", "pandalm", "tulu_human")


@pytest.mark.parametrize("name", SHARED)
def test_published_pairs_are_the_same_in_every_container(name: str) -> None:
    every = list(rows(name))
    # from all over the set, since neighbours are much alike
    given = [dict(one) for one in every[:: max(1, len(every) // 60)]]
    first = _said(_staged("rows.jsonl", _ndjson(given)))
    assert first
    for container, made in CONTAINERS.items():
        assert _said(_staged(container, made(given))) == first, container


@pytest.mark.parametrize("name", ["human", "gpt4_pair"])
def test_published_votes_are_the_same_in_every_container(name: str) -> None:
    lines = (data_dir() / "mtbench_human" / f"{name}.jsonl").read_text().splitlines()[:200]
    given = [json.loads(line) for line in lines]
    first = _said(_staged("rows.jsonl", _ndjson(given)))
    assert first
    for container, made in CONTAINERS.items():
        assert _said(_staged(container, made(given))) == first, container


VARIED: Final[list[Row]] = [
    row(0, judges={"j": {"p_a": 0.25}}),
    row(1, human=[{"annotator": "x", "label": "tie"}, {"annotator": None, "label": "b"}]),
    row(2, prompt='["looks", "like a list"]', response_a="[1]", response_b='{"a": 1}', human=[]),
    row(3, metadata={"deep": [1, None]}, human=[]),
]


@pytest.mark.parametrize("name", [name for name in EXAMPLES if len(EXAMPLES[name].files) == 1])
def test_every_format_is_the_same_in_every_container(name: str) -> None:
    [given] = EXAMPLES[name].files.values()
    first = _said(_staged("rows.jsonl", _ndjson(given)))
    assert not isinstance(first, str)
    for container, made in CONTAINERS.items():
        assert _said(_staged(container, made(given))) == first, container


def test_canonical_rows_are_the_same_in_every_container() -> None:
    first = _said(_staged("rows.jsonl", _ndjson(VARIED)))
    for container, made in CONTAINERS.items():
        assert _said(_staged(container, made(VARIED))) == first, container


async def test_the_same_file_in_another_container_is_the_same_dataset(
    client: httpx.AsyncClient,
) -> None:
    battles = [{"left": "m1", "right": "m2", "winner": w} for w in ("left", "right", "tie")]
    ids = set()
    for name, made in {"rows.jsonl": _ndjson, **CONTAINERS}.items():
        answer = await client.post("/v1/datasets?name=set", files={"file": (name, made(battles))})
        assert answer.status_code in (200, 201), answer.text
        ids.add(answer.json()["id"])
    assert len(ids) == 1
    assert [one["id"] for one in await pairs_of(client)] == ["1", "2", "3"]


def test_a_parquet_table_loses_nothing_to_its_types() -> None:

    table = {
        "id": pa.array([Decimal(1), Decimal(12345678901234567890), None], pa.decimal128(38, 0)),
        "prompt": pa.array(["P", "Q", "R"]).dictionary_encode(),
        "response_a": pa.array(["x", "", "z"], pa.large_string()),
        "response_b": ["1", "2", "3"],
        "judges": pa.array(
            [[("J", {"p_a": 0.3})], [], None],
            pa.map_(pa.string(), pa.struct([("p_a", pa.float64())])),
        ),
        "question_id": [1.0, float("nan"), 2.0],
        "exact": pa.array([Decimal("0.1"), Decimal("1234567890123456789.5"), None]),
        "at": pa.array([datetime.time(1, 2)] * 3),
        "took": pa.array([datetime.timedelta(seconds=1.5), None, None]),
    }
    out = io.BytesIO()
    pq.write_table(pa.table(table), out)
    found = _staged("set.parquet", out.getvalue())
    assert not isinstance(found, str), found
    assert [one.pair["id"] for one in found][:2] == ["1", "12345678901234567890"]
    assert [[score["p_a"] for score in one.recorded] for one in found] == [[0.3], [], []]
    assert [one.pair["group_key"] for one in found][::2] == ["1", "2"]
    metadata = [json.loads(one.pair["metadata"]) for one in found]
    assert [one.get("exact") for one in metadata] == [0.1, "1234567890123456789.5", None]
    assert (metadata[0]["at"], metadata[0]["took"]) == ("01:02:00", 1.5)


KEYS: dict[str, tuple[pa.DataType, Any, Any]] = {
    "text": (pa.string(), "k", {"k": 1}),
    "bytes": (pa.binary(), b"k", {"k": 1}),
    "date": (pa.date32(), datetime.date(2020, 1, 2), {"2020-01-02": 1}),
    "decimal": (pa.decimal128(5, 2), Decimal("1.50"), {"1.5": 1}),
    "number": (pa.int64(), 7, {"7": 1}),
    "truth": (pa.bool_(), True, {"true": 1}),
    "struct": (pa.struct([("x", pa.int64())]), {"x": 2}, [[{"x": 2}, 1]]),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_map_of_a_parquet_table_may_have_any_keys(name: str) -> None:
    kind, key, expected = KEYS[name]
    maps = pa.array([[(key, 1)]], pa.map_(kind, pa.int64()))
    texts = {column: [column] for column in ("id", "prompt", "response_a", "response_b")}
    out = io.BytesIO()
    pq.write_table(pa.table({**texts, "extra": maps}), out)
    found = _staged("set.parquet", out.getvalue())
    assert not isinstance(found, str), found
    assert json.loads(found[0].pair["metadata"]) == {"extra": expected}


def test_a_moment_that_python_does_not_know_is_kept_as_text() -> None:
    out = io.BytesIO()
    texts = {column: ["1", "2"] for column in ("id", "prompt", "response_a", "response_b")}
    texts["response_b"] = ["x", "y"]
    far = pa.array([0, 400_000_000_000], pa.int64()).cast(pa.timestamp("s"))
    pq.write_table(pa.table({**texts, "at": far}), out)
    found = _staged("set.parquet", out.getvalue())
    assert not isinstance(found, str), found
    said = [json.loads(one.pair["metadata"])["at"] for one in found]
    assert said == ["1970-01-01 00:00:00.000", "14645-06-30 15:06:40.000"]
    nested = pa.array([[0], [400_000_000_000]], pa.list_(pa.int64()))
    out = io.BytesIO()
    table = pa.table({**texts, "at": nested.cast(pa.list_(pa.timestamp("s")))})
    pq.write_table(table, out)
    assert "a value that cannot be read" in str(_staged("set.parquet", out.getvalue()))


def test_a_file_that_was_packed_twice_is_named() -> None:
    packed = gzip.compress(gzip.compress(b"id,prompt,response_a,response_b\n1,q,x,y\n"))
    assert "packed with gzip twice" in str(_staged("set.csv.gz", packed))


def test_values_of_tables_that_are_no_texts_are_told_or_kept() -> None:
    found = column_values(
        {"prompt": float("nan"), "n": Decimal("NaN"), "x": None, "m": {"k": b"v"}}
    )
    assert (found["prompt"], found["m"], "x" in found) == (None, {"k": "v"}, False)
    assert math.isnan(found["n"])
    with pytest.raises(RowInvalid, match="n: a value of type complex is neither text nor number"):
        column_values({"n": 1j})
    cells = ["1", "[Q", "[x"]
    header = ["id", "turns", "metadata"]
    places = [(name, at) for at, name in enumerate(header)]
    assert cell_values(header[:2], cells[:2], places[:2])["turns"] == "[Q"
    with pytest.raises(RowInvalid, match=r"metadata: .* is not JSON"):
        cell_values(header, cells, places)
