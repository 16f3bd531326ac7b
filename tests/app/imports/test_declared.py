"""A colleague's table: its own columns, coding and delimiter; encodings; a dry run; data frames."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.client import Tribunal
from app.client.transfer import upload_of
from app.core.settings import Settings
from tests.app.imports.uploads import pairs_of, row, upload

TABLE = (
    "Nr;Frage;Antwort 1;Antwort 2;Modell 1;Modell 2;Urteil;Person;Dauer\r\n"
    '1;Größe?;"gro;ß";klein;m1;m2;1;ann;3,5\r\n'
    '1;Größe?;"gro;ß";klein;m1;m2;0;bob;2,5\r\n'
    "2;Farbe?;rot;blau;m1;m2;2;ann;1,0\r\n"
)
OPTIONS = {
    "map": "id=Nr,prompt=Frage,response_a=Antwort 1,response_b=Antwort 2,model_a=Modell 1,"
    "model_b=Modell 2,label=Urteil,annotator=Person",
    "coding": "1=a,2=b,0=tie",
}
CSV = {"content-type": "text/csv"}


async def _sent(client: httpx.AsyncClient, text: str, **params: Any) -> httpx.Response:
    return await upload(client, text.encode(), headers=CSV, **params)


async def test_a_colleagues_table_gets_through(client: httpx.AsyncClient) -> None:
    answer = await _sent(client, TABLE, **OPTIONS)
    body = answer.json()
    assert (body["pairs"], body["labels"], body["annotators"]) == (2, 3, 2), answer.text
    first, second = await pairs_of(client)
    assert (first["prompt"], first["response_a"], first["model_b"]) == ("Größe?", "gro;ß", "m2")
    assert [(v["annotator"], v["label"], v["Dauer"]) for v in first["human"]] == [
        ("ann", "a", "3,5"), ("bob", "tie", "2,5"),
    ]  # fmt: skip
    assert second["human"][0]["label"] == "b"


async def test_a_dry_run_shows_the_first_rows_and_stores_nothing(client: httpx.AsyncClient) -> None:
    answer = await _sent(client, TABLE, dry_run="true", **OPTIONS)
    body = answer.json()
    assert (answer.status_code, body["object"], body["pairs"], body["labels"]) == (
        200, "preview", 2, 3,
    )  # fmt: skip
    assert (await client.get("/v1/datasets")).json()["data"] == []
    await _sent(client, TABLE, **OPTIONS)
    assert body["rows"] == await pairs_of(client)


async def test_a_dry_run_of_recorded_scores_is_what_would_be_stored(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        row(0, judges={"j": {"label_original": "a", "label_swapped": None}, "failed": None}),
        {"id": "b", "model_a": "m1", "model_b": "m2", "human": [{"label": "a"}]},
    ]
    preview = (await upload(client, rows, dry_run="true")).json()
    await upload(client, rows)
    assert preview["rows"] == await pairs_of(client)
    assert preview["recorded_judges"] == ["failed", "j"]


async def test_a_dry_run_refuses_what_an_import_refuses(client: httpx.AsyncClient) -> None:
    answer = await _sent(client, TABLE, dry_run="true", map=OPTIONS["map"])
    assert answer.status_code == 422
    assert "label: 0/1/2 is ambiguous" in answer.json()["detail"]


async def test_a_column_that_is_not_there_is_named(client: httpx.AsyncClient) -> None:
    answer = await _sent(client, TABLE, map="prompt=Farge")
    assert answer.json()["errors"][0]["loc"] == ["query", "map"]
    assert "there is no column 'Farge'; there is 'Nr', 'Frage'" in answer.json()["detail"]


async def test_a_column_of_the_same_name_is_kept_aside(client: httpx.AsyncClient) -> None:
    text = "id,item,prompt,response_a,response_b\n7,i1,q,x,y\n"
    await _sent(client, text, map="id=item")
    [found] = await pairs_of(client)
    assert (found["id"], found["metadata"]) == ("i1", {"source_id": "7"})


async def test_json_rows_are_mapped_as_tables_are(client: httpx.AsyncClient) -> None:
    rows = [{"q": "Why?", "one": "x", "two": "y", "who": "model B"}]
    declared = json.dumps({"prompt": "q", "response_a": "one", "response_b": "two", "label": "who"})
    await upload(client, rows, map=declared)
    [found] = await pairs_of(client)
    assert (found["prompt"], found["human"][0]["label"]) == ("Why?", "b")


async def test_a_wrong_declaration_is_named(client: httpx.AsyncClient) -> None:
    answer = await _sent(client, TABLE, map="promt=Frage")
    assert answer.json()["errors"][0]["loc"] == ["query", "map"]
    assert "did you mean prompt?" in answer.json()["detail"]


PLAIN = 'id,prompt,response_a,response_b,annotator,label\n1,Größe?,"x, y",z,ann,a\n2,P,x,y,ann,b\n'


def _with(delimiter: str) -> str:
    cells = [["id", "prompt", "response_a", "response_b", "annotator", "label"],
             ["1", "Größe?", "x, y", "z", "ann", "a"], ["2", "P", "x", "y", "ann", "b"]]  # fmt: skip
    return "\n".join(delimiter.join(line) for line in cells) + "\n"


ENCODED: dict[str, tuple[str, bytes]] = {
    "comma": ("x.csv", PLAIN.encode()),
    "a byte order mark": ("x.csv", PLAIN.encode("utf-8-sig")),
    "semicolon": ("x.csv", _with(";").encode()),
    "tab": ("x.tsv", _with("\t").encode()),
    "pipe": ("x.txt", _with("|").encode()),
    "tab called csv": ("x.csv", _with("\t").encode()),
    "said": ("x.csv", b"sep=;\r\n" + _with(";").encode()),
    "said in quotes": ("x.csv", b'"sep=;"\r\n' + _with(";").encode()),
    "said to be tab": ("x.csv", b"sep=\t\r\n" + _with("\t").encode()),
    "said in utf-16": ("x.csv", ("sep=;\r\n" + _with(";")).encode("utf-16")),
    "empty lines first": ("x.csv", b"\r\n\n" + PLAIN.encode()),
    "empty cells first": ("x.csv", b";;;;;\n" + _with(";").encode()),
    "blanks after commas": (
        "x.csv",
        b"id, prompt, response_a, response_b, annotator, label\n"
        + '1, Größe?, "x, y", z, ann, a\n2, P, x, y, ann, b\n'.encode(),
    ),
    "a comma after the last row": (
        "x.json",
        b'[{"id": 1, "prompt": "Gr\\u00f6\\u00dfe?", "response_a": "x, y", "response_b": "z", '
        b'"label": "a"},\n{"id": 2, "prompt": "P", "response_a": "x", "response_b": "y", '
        b'"label": "b"},\n]\n',
    ),
    "utf-16": ("x.csv", PLAIN.encode("utf-16")),
    "utf-16 big-endian": ("x.csv", b"\xfe\xff" + _with("\t").encode("utf-16-be")),
    "utf-16 without a mark": ("x.csv", _with(";").encode("utf-16-le")),
    "utf-32": ("x.csv", PLAIN.encode("utf-32")),
    "no name": ("", _with(";").encode()),
    "a delimiter at the end of every line but the first": (
        "x.csv",
        _with(";").replace("ann;a\n", "ann;a;\n").replace("ann;b\n", "ann;b;;\n").encode(),
    ),
    "lines called csv": (
        "x.csv",
        b'{"id": 1, "prompt": "Gr\\u00f6\\u00dfe?", "response_a": "x, y", "response_b": "z", '
        b'"annotator": "ann", "label": "a"}\n{"id": 2, "prompt": "P", "response_a": "x", '
        b'"response_b": "y", "annotator": "ann", "label": "b"}\n',
    ),
    "objects over lines": (
        "x.json",
        b'{\n "id": 1, "prompt": "Gr\\u00f6\\u00dfe?",\n "response_a": "x, y", "response_b": "z",\n'
        b' "annotator": "ann", "label": "a"\n}\n{\n "id": 2, "prompt": "P", "response_a": "x",\n'
        b' "response_b": "y", "annotator": "ann", "label": "b"\n}\n',
    ),
}


@pytest.mark.parametrize("name", ENCODED)
async def test_a_table_is_read_as_it_comes(client: httpx.AsyncClient, name: str) -> None:
    file, body = ENCODED[name]
    headers = {"content-disposition": f'attachment; filename="{file}"'}
    answer = await upload(client, body, headers=headers)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["pairs"], answer.json()["labels"]) == (2, 2)
    first, _ = await pairs_of(client)
    assert (first["prompt"], first["response_a"]) == ("Größe?", "x, y")


CAUSES: dict[str, tuple[bytes, str]] = {
    "excel": (b"PK\x03\x04rest", "Excel workbook"),
    "avro": (b"Obj\x01", "Avro"),
    "a pickle": (b"\x80\x04\x95rest", "pickle"),
    "markdown": (
        b"| prompt | response_a | response_b |\n|---|:---|---:|\n| q | x | y |\n",
        "Markdown",
    ),
    "a verdict called human": (b"prompt,response_a,response_b,human\nq,x,y,a\n", "label=human"),
    "zstd": (b"\x28\xb5\x2f\xfd rest", "zstd"),
    "a web page": (b"<!DOCTYPE html>", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "latin 1": ("id;prompt;response_a;response_b\n1;Größe?;x;y\n".encode("latin-1"), "UTF-8"),
    "latin 1 header": ("id;prompt;Größe\n1;x;y\n".encode("latin-1"), "not UTF-8; save"),
    "columns of pandas": (b'{"prompt": {"0": "q"}, "response_a": {"0": "x"}}', 'orient="records"'),
    "rows in an object": (b'{"rows": [{"prompt": "q"}], "version": 1}', "'rows' holds the rows"),
    "a field twice": (
        b'{"prompt": "q", "response_a": "x", "response_b": "y", "human": [], "human": [{}]}',
        "human: the object names this field twice",
    ),
    "two names in an array": (b'[{"a": 1, "a": 2}]', "a: the object names this field twice"),
    "rows in an object in an object": (
        b'{"evalId": "e", "results": {"results": [{"vars": {"q": "Q"}}]}}',
        "'results.results' holds the rows",
    ),
    "rows in rows": (
        b'{"features": [{"name": "prompt"}], "rows": [{"row_idx": 0, "row": {"prompt": "q"}}]}',
        "'rows' holds the rows: give that list alone, with the fields of 'row' at the top",
    ),
    "a row in a field": (b'{"row": {"prompt": "q"}}', "the row stands inside its field 'row'"),
    "several objects in a line": (b'{"a": 1}{"a": 2}', "the line holds several objects"),
    "python": (b"{'prompt': 'q'}", "as Python shows it"),
    "python in an array": (b"[{'prompt': 'q'}]", "as Python shows it"),
    "a table of unknown names": (b"Frage,Eins,Zwei\nq,x,y\n", "has to be called .csv"),
    "xml": (b'<?xml version="1.0"?>', "XML"),
    "rtf": (b"{\\rtf1\\ansi", "RTF"),
    "numpy": (b"\x93NUMPY\x01\x00", "NumPy"),
    "tar": (b"rows.jsonl".ljust(257, b"\0") + b"ustar\x0000", "tar archive"),
    "a remark first": (b"# of May\nid,prompt,response_a,response_b\n1,q,x,y\n", ".csv"),
    "a delimiter that is not meant": (b"prompt;x;y;z\n1;2;3;4\n", "no known format"),
}


@pytest.mark.parametrize("name", CAUSES)
async def test_a_refusal_names_the_cause(client: httpx.AsyncClient, name: str) -> None:
    body, word = CAUSES[name]
    answer = await upload(client, body, headers={})
    assert answer.status_code in (400, 422), answer.text
    assert word in answer.json()["detail"]


async def test_a_table_that_does_not_begin_with_its_header_is_told_of(
    client: httpx.AsyncClient,
) -> None:
    answer = await _sent(client, "# of May\nid,prompt,response_a,response_b\n1,q,x,y\n")
    said = "names one column, '# of May', and a later one has 4 cells: if it is a title or a remark"
    assert said in answer.json()["detail"]
    answer = await _sent(client, 'prompt,response_a,response_b\n"q,x,y\n')
    assert "a quote in it is not closed" in answer.json()["detail"]


async def test_a_header_that_is_not_known_is_told_of(client: httpx.AsyncClient) -> None:
    titled = await _sent(client, "My votes,,,\nprompt,response_a,response_b,label\nq,x,y,a\n")
    assert "if it is a title" in titled.json()["detail"]
    table = "Prompt,Response A,Response B,Label\nq,x,y,A\n"
    refused = (await _sent(client, table)).json()["detail"]
    declared = "prompt=Prompt,response_a=Response A,response_b=Response B,label=Label"
    assert f'--map "{declared}"' in refused
    assert (await _sent(client, table, map=declared)).json()["labels"] == 1


async def test_a_delimiter_can_be_declared(client: httpx.AsyncClient) -> None:
    text = "q~one~two\nWhy?~x~y\n"
    columns = "prompt=q,response_a=one,response_b=two"
    assert (await _sent(client, text, map=columns, delimiter="~")).json()["pairs"] == 1


async def test_battles_stored_under_their_lines_are_found_again(client: httpx.AsyncClient) -> None:
    lines = b'\n{"left": "m1", "right": "m2", "winner": "left"}\n'
    first = (await upload(client, lines)).json()
    assert [one["id"] for one in await pairs_of(client)] == ["1"]
    assert (await upload(client, lines)).json()["id"] == first["id"]


async def test_battles_that_were_named_by_their_lines_are_found_again(
    client: httpx.AsyncClient,
) -> None:
    named = [
        {"id": line, "model_a": "m1", "model_b": "m2", "human": [{"label": "a", "annotator": None}]}
        for line in (2, 4)
    ]
    first = (await upload(client, named)).json()
    battle = b'\n{"left": "m1", "right": "m2", "winner": "left"}\n'
    again = await upload(client, battle * 2)
    assert (again.json()["id"], again.json()["labels"]) == (first["id"], 2)
    assert [one["id"] for one in await pairs_of(client)] == ["2", "4"]
    assert (await upload(client, battle * 3)).status_code == 409


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    return tmp_path


def _run(*words: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


def test_the_command_line_takes_the_same_declarations(folder: Path) -> None:
    (folder / "votes.csv").write_text(TABLE, encoding="utf-8")
    words = ["import", "votes.csv", "--map", OPTIONS["map"], "--delimiter", ";"]
    assert "--coding" in _run(*words, status=1)
    words += ["--coding", OPTIONS["coding"]]
    shown = _run(*words, "--dry-run")
    assert "nothing is stored: canonical, 2 pairs" in shown
    assert "prompt: Größe?" in shown
    assert "2 pairs, 2 groups, 3 labels by 2 annotators" in _run(*words)


def test_a_data_frame_is_imported(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "id": [1, 2, 3], "prompt": ["q", "r", "s"], "response_a": ["x"] * 3,
            "response_b": ["y"] * 3, "label": ["a", None, "tie"], "annotator": [5, None, 6],
            "judges": [{"j": {"p_a": 0.5}}, None, None],
            "at": pandas.to_datetime(["2024-01-01", None, "2024-01-02"]),
        }
    )  # fmt: skip
    with Tribunal(settings=Settings(database_url=f"sqlite:///{tmp_path}/x.db")) as tribunal:
        preview = tribunal.preview_dataset(frame)
        body = tribunal.import_dataset(frame, name="frame")
        found = list(tribunal.datasets.pairs("frame"))
    assert (preview["pairs"], body["labels"], body["recorded_judges"]) == (3, 2, ["j"])
    assert [vote["annotator"] for one in found for vote in one["human"]] == ["5", "6"]
    assert found[0]["metadata"]["at"] == "2024-01-01T00:00:00"


def test_a_data_frame_loses_nothing_to_its_types() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "id": pandas.array([1, None, 3], dtype="Int64"),
            "label": pandas.array(["a", None, "b"], dtype="string"),
            "n": [Decimal("12345678901234567890"), Decimal("0.5"), None],
            "raw": [b"x", None, None],
        }
    ).set_index("label")
    with upload_of(frame) as upload:
        rows = [json.loads(line) for line in b"".join(upload.pieces).splitlines()]
    assert rows == [
        {"label": "a", "id": 1, "n": 12345678901234567890, "raw": "x"},
        {"label": None, "id": None, "n": 0.5, "raw": None},
        {"label": "b", "id": 3, "n": None, "raw": None},
    ]
    with upload_of([{"when": date(2024, 1, 2)}]) as upload:
        assert b"".join(upload.pieces) == b'{"when": "2024-01-02"}\n'
    numbers = np.array([1.5, float("nan")])
    with upload_of([{"n": numbers, "id": UUID(int=1)}]) as upload:
        [row] = [json.loads(piece) for piece in upload.pieces]
    assert row == {"n": [1.5, None], "id": "00000000-0000-0000-0000-000000000001"}


def test_a_data_frame_that_would_lose_a_column_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([["P", "a", "b"]], columns=["prompt", "label", "label"])
    columns: Any = {"prompt": ["P"]}
    with pytest.raises(ValueError, match="names a column twice: label"), upload_of(frame):
        pass
    with pytest.raises(TypeError, match="give a list of rows"), upload_of(columns):
        pass
    name: Any = "rows.jsonl"
    with pytest.raises(TypeError, match="name a file by a pathlib"), upload_of(name):
        pass


def test_other_frames_are_told_by_their_methods() -> None:
    class Polars:
        def iter_rows(self, *, named: bool) -> Any:
            return iter([{"prompt": "q", "named": named}])

    class Arrow:
        def to_pylist(self) -> Any:
            return [{"prompt": "r"}]

    sent = []
    for frame in (Polars(), Arrow()):
        with upload_of(frame) as upload:  # type: ignore[arg-type]
            sent.append(b"".join(upload.pieces))
    assert sent == [b'{"prompt": "q", "named": true}\n', b'{"prompt": "r"}\n']


async def test_cells_under_no_name_are_told(client: httpx.AsyncClient) -> None:
    text = ",id,prompt,response_a,response_b,label,\n0,1,P,x,y,a,\n1,2,P,x,y,b,a note\n"
    body = (await _sent(client, text)).json()
    assert (body["pairs"], body["labels"]) == (2, 2)
    assert body["warnings"] == [
        "column 7: has no name in the header, so its cells in 1 rows are not kept"
    ]


async def test_an_empty_row_is_called_so(client: httpx.AsyncClient) -> None:
    text = "left,right,winner\nm1,m2,left\n,,\nm1,m2,right\n"
    body = (await _sent(client, text)).json()
    assert body["rejected"] == [{"line": 3, "reason": "not a row of the table: it is empty"}]
    # the row keeps its number, by which battles that were stored before are found again
    assert [one["id"] for one in await pairs_of(client)] == ["1", "3"]


async def test_lines_may_keep_the_commas_of_an_array(client: httpx.AsyncClient) -> None:
    text = "".join(json.dumps(row(number)) + ",\n\n" for number in range(3))
    answer = await upload(client, text.encode())
    assert (answer.json()["pairs"], answer.json()["rejected"]) == (3, [])


SHAPES: dict[str, tuple[Any, str]] = {
    "lists": ({"question": ["x", "y"], "answer_a": ["p", "q"], "answer_b": ["r", "s"]}, "records"),
    "by name": ({"q1": row(1), "q2": row(2)}, "give a list of the rows"),
    "split": ({"columns": ["prompt"], "index": [0], "data": [["x"]]}, "records"),
}


@pytest.mark.parametrize("name", SHAPES)
async def test_one_object_of_other_shapes_is_called_so(
    client: httpx.AsyncClient, name: str
) -> None:
    value, words = SHAPES[name]
    answer = await upload(client, json.dumps(value).encode())
    assert answer.status_code == 422
    assert "the file is one JSON object" in answer.json()["detail"]
    assert words in answer.json()["detail"]


async def test_lines_that_end_with_cr_are_called_so(client: httpx.AsyncClient) -> None:
    text = "\r".join(json.dumps(row(number)) for number in range(2))
    assert "end with CR alone" in (await upload(client, text.encode())).json()["detail"]


async def test_marked_cells_are_told_by_the_names_of_the_file(client: httpx.AsyncClient) -> None:
    text = "Nr,Q,A,B,L,marked_cells\n1,'=x,p,'-q,a,Q B\n2,'it,p,q,b,\n"
    columns = "id=Nr,prompt=Q,response_a=A,response_b=B,label=L"
    body = (await _sent(client, text, map=columns)).json()
    assert (body["pairs"], body["labels"]) == (2, 2)
    found = await pairs_of(client)
    assert [(one["prompt"], one["response_b"]) for one in found] == [("=x", "-q"), ("'it", "q")]
    assert [one["metadata"] for one in found] == [{}, {}]


def test_a_dry_run_makes_no_database(folder: Path) -> None:
    (folder / "votes.csv").write_text(PLAIN, encoding="utf-8")
    assert "nothing is stored: canonical, 2 pairs" in _run("import", "votes.csv", "--dry-run")
    assert [one.name for one in folder.iterdir()] == ["votes.csv"]
