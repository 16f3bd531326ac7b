"""Labels that name a pair by its prompt and models."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.imports.uploads import ndjson, pairs_of, row, upload


def _rows() -> list[dict[str, Any]]:
    return [
        row(0, prompt="What is 2+2?", human=[]),
        row(1, prompt="What is 2-2?", human=[]),
        row(2, prompt="Name a tree.", human=[]),
        row(3, prompt="Name a tree.", model_b="m3", human=[]),
        row(4, prompt=["Hi", "And?"], response_a=None, response_b=None,
            responses_a=["x", "y"], responses_b=["u", "v"], human=[]),
    ]  # fmt: skip


async def _post(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    label = {"dataset": "set", "annotator": "ann", "label": "a", **fields}
    if label["label"] is None:
        del label["label"]
    return await client.post("/v1/labels", json={"labels": [label]})


async def _votes(client: httpx.AsyncClient) -> dict[str, list[str]]:
    return {
        one["id"]: [vote["label"] for vote in one["human"]]
        for one in await pairs_of(client)
        if one["human"]
    }


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("fields", "votes"),
    [
        ({"prompt": "What is 2+2?"}, {"p0": ["a"]}),
        ({"prompt": " what is 2-2? \n"}, {"p1": ["a"]}),
        ({"prompt": "Name a tree.", "model_a": "m1", "model_b": "m3"}, {"p3": ["a"]}),
        ({"prompt": "Name a tree.", "model_a": "m2 ", "model_b": "m1"}, {"p2": ["b"]}),
        ({"prompt": ["Hi", "And?"]}, {"p4": ["a"]}),
        ({"prompt": "Hi"}, {"p4": ["a"]}),
        (
            {"prompt": "Name a tree.", "response_a": "Pear 3", "response_b": "Apple 3"},
            {"p3": ["b"]},
        ),
        ({"pair": "p0", "response_a": "pear 0 ", "response_b": "Apple 0"}, {"p0": ["b"]}),
        ({"pair": "p0", "model_a": "m2", "model_b": "m1"}, {"p0": ["b"]}),
        ({"pair": "p0", "response_a": "Apple 0", "response_b": "Pear 0"}, {"p0": ["a"]}),
        ({"pair": "p0", "label": None, "winner": "m2"}, {"p0": ["b"]}),
        (
            {
                "prompt": "What is 2+2?",
                "model_a": "m2",
                "model_b": "m1",
                "label": None,
                "winner": "m2",
            },
            {"p0": ["b"]},
        ),
        (
            {
                "prompt": "What is 2+2?",
                "model_a": "m2",
                "model_b": "m1",
                "label": None,
                "winner": "left",
            },
            {"p0": ["b"]},
        ),
        ({"pair": " p1 ", "label": None, "winner": "both bad"}, {"p1": ["tie"]}),
    ],
)
async def test_a_label_finds_its_pair(
    client: httpx.AsyncClient, fields: dict[str, Any], votes: dict[str, list[str]]
) -> None:
    await upload(client, _rows())
    answer = await _post(client, **fields)
    assert answer.status_code == 201, answer.text
    assert await _votes(client) == votes


async def test_the_side_that_was_shown_first_is_turned_with_the_label(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, _rows())
    models = {"model_a": "m2", "model_b": "m1"}
    await _post(client, prompt="What is 2+2?", first_shown="a", **models)
    first, *_ = await pairs_of(client)
    assert (first["human"][0]["label"], first["human"][0]["first_shown"]) == ("b", "b")


@pytest.mark.parametrize(
    ("fields", "place", "word"),
    [
        ({"prompt": "Name a tree."}, "prompt", "2 pairs have this prompt: name the models"),
        ({"prompt": "What is 2*2?"}, "prompt", "no pair of the dataset has the prompt"),
        ({"prompt": "Name a tree.", "model_a": "m1", "model_b": "m9"}, "prompt",
         "no pair of this prompt is of m1 and m9; there is m1 and m2, m1 and m3"),
        ({"pair": "p9"}, "pair", "no pair 'p9'"),
        ({"pair": "p0", "response_a": "x", "response_b": "y"}, "pair", "not those of this pair"),
        ({"prompt": "Name a tree.", "response_a": "x", "response_b": "y"}, "prompt",
         "no pair of this prompt has these two responses"),
        ({"pair": "p0", "label": None, "winner": "m3"}, "winner",
         "'m3' is not a label: give a, b or tie (or the name of a model, m1, m2)"),
        ({"pair": "p0", "label": None, "winner": "M1"}, "winner", "'M1' is not a label"),
    ],
)  # fmt: skip
async def test_a_label_that_finds_none_or_several_is_refused(
    client: httpx.AsyncClient, fields: dict[str, Any], place: str, word: str
) -> None:
    await upload(client, _rows())
    answer = await _post(client, **fields)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "labels", 0, place]
    assert word in error["msg"]


@pytest.mark.parametrize(
    "fields",
    [{}, {"pair": "p0", "prompt": "q"}, {"prompt": "q", "model_a": "m"},
     {"pair": "p0", "model_a": "m", "model_b": "n"}, {"pair": "p0", "response_a": "x"},
     {"pair": "p0", "winner": "a"}, {"pair": "p0", "label": None}],
)  # fmt: skip
async def test_a_label_names_its_pair_in_one_way(
    client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    await upload(client, _rows())
    assert (await _post(client, **fields)).status_code == 422


def test_the_command_line_reads_a_colleagues_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    Path("pairs.jsonl").write_bytes(ndjson(_rows()))
    Path("labels.csv").write_text(
        "Frage;links;rechts;Urteil;Dauer\nWhat is 2+2?;m1;m2;1;3\nName a tree.;m3;m1;2;4\n"
        "Name a tree.;m1;m2;9;5\nWhat is 2-2?;m1;m2;0;6\n"
    )
    run = CliRunner().invoke
    assert run(app, ["import", "pairs.jsonl", "--name", "set"]).exit_code == 0
    words = ["label", "set", "labels.csv", "--by", "prompt", "--annotator", "ann", "--map",
             "prompt=Frage,model_a=links,model_b=rechts,label=Urteil"]  # fmt: skip
    assert run(app, words).exit_code == 2
    result = run(app, [*words, "--coding", "1=a,2=b,0=tie,9=none", "--json"])
    assert result.exit_code == 0, result.output
    assert '"accepted": 3' in result.stdout
    assert "kept with each label: Dauer" in result.stderr
    exported = run(app, ["export", "set", "--format", "canonical"]).stdout
    kept = [vote.get("Dauer") for one in exported.splitlines() for vote in json.loads(one)["human"]]
    assert sorted(kept) == ["3", "4", "6"]
    wrong = run(app, ["label", "set", "labels.csv", "--map", "label=Urteil,prompt=Frage"])
    assert "names no annotator (give --annotator" in wrong.output


def test_labels_are_read_from_tables_of_all_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    Path("pairs.jsonl").write_bytes(ndjson(_rows()))
    run = CliRunner().invoke
    assert run(app, ["import", "pairs.jsonl", "--name", "set"]).exit_code == 0
    Path("x.csv").write_text("id;annotator;label\np0;u;a\n")
    Path("y.tsv").write_text("id\tannotator\tlabel\np0\tv\tb\n", encoding="utf-16")
    Path("z.json").write_text('[{"id": "p0", "annotator": "w", "label": "tie"}]')
    for file in ("x.csv", "y.tsv", "z.json"):
        result = run(app, ["label", "set", file])
        assert result.exit_code == 0, result.output
        assert "1 label for set" in result.output


def test_numbers_as_labels_need_a_coding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    Path("pairs.jsonl").write_bytes(ndjson(_rows()))
    run = CliRunner().invoke
    assert run(app, ["import", "pairs.jsonl", "--name", "set"]).exit_code == 0
    Path("x.csv").write_text("id,annotator,label\np0,u,1\np1,u,A>B\n")
    Path("y.jsonl").write_text('{"id": "p0", "annotator": NaN, "label": 2}\n')
    result = run(app, ["label", "set", "x.csv"])
    assert result.exit_code == 2, result.output
    assert "label: 1 means nothing without a coding" in result.output
    for file, count in (("x.csv", "2 labels"), ("y.jsonl", "1 label")):
        result = run(app, ["label", "set", file, "--coding", "1=a,2=b"])
        assert result.exit_code == 0, result.output
        assert f"{count} for set" in result.output


def test_an_exported_table_may_come_back_with_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    pairs = [row(n, id=str(n), model_a="B", model_b="A", human=[]) for n in range(4)]
    Path("pairs.jsonl").write_bytes(ndjson([{**pairs[0], "response_a": ""}, *pairs[1:]]))
    run = CliRunner().invoke
    assert run(app, ["import", "pairs.jsonl", "--name", "set"]).exit_code == 0
    assert run(app, ["export", "set", "--format", "csv", "-o", "out.csv"]).exit_code == 0
    with Path("out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for cells, winner in zip(table, ("left", "B", "b", ""), strict=True):
        cells["winner"] = winner
    # the third person saw the responses the other way round, and the ids went through a spreadsheet
    table[2]["response_a"], table[2]["response_b"] = table[2]["response_b"], table[2]["response_a"]
    with Path("back.csv").open("w", newline="") as file:
        back = csv.DictWriter(file, [*table[0]])
        back.writeheader()
        back.writerows({**cells, "id": f"{cells['id']}.0"} for cells in table)
    result = run(app, ["label", "set", "back.csv", "--annotator", "ann"])
    assert result.exit_code == 0, result.output
    assert "rows without a label, left out: 1" in result.output
    exported = run(app, ["export", "set", "--format", "canonical"]).stdout
    votes = [json.loads(line)["human"] for line in exported.splitlines()]
    assert [[vote["label"] for vote in one] for one in votes] == [["a"], ["a"], ["a"], []]


def test_labels_in_another_encoding_are_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    file = tmp_path / "labels.csv"
    file.write_bytes("id,annotator,label\np0,J\xfcrgen,a\n".encode("latin-1"))
    result = CliRunner().invoke(app, ["label", "set", str(file)])
    assert result.exit_code == 2
    assert "save it as UTF-8" in result.output
