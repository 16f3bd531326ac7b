from __future__ import annotations

import csv
import gzip
import io
import json
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.formats.registry import WRITERS
from tests.app.formats.hand_written import EXAMPLES, Row, content
from tests.app.imports.uploads import pairs_of


async def send(client: httpx.AsyncClient, files: dict[str, bytes], **params: Any) -> Any:
    parts = [("file", (name, body)) for name, body in files.items()]
    return await client.post("/v1/datasets", params={"name": "set", **params}, files=parts)


def files_of(name: str) -> dict[str, bytes]:
    return {file: content(file, rows) for file, rows in EXAMPLES[name].files.items()}


@pytest.mark.parametrize("name", EXAMPLES)
async def test_every_format_is_told_and_read(client: httpx.AsyncClient, name: str) -> None:
    answer = await send(client, files_of(name))
    assert answer.status_code == 201, answer.text
    body, example = answer.json(), EXAMPLES[name]
    assert (body["dialect"], body["rejected"], body["unmatched"]) == (name, [], 0)
    assert (body["pairs"], body["labels"]) == (example.pairs, example.labels)
    assert body["recorded_judges"] == list(example.judges)
    forced = await send(client, files_of(name), dialect=name)
    assert (forced.status_code, forced.json()["id"]) == (200, body["id"])


@pytest.mark.parametrize("name", EXAMPLES)
async def test_a_broken_row_is_rejected_with_its_line_and_file(
    client: httpx.AsyncClient, name: str
) -> None:
    example = EXAMPLES[name]
    files = files_of(name)
    last, rows = list(example.files.items())[-1]
    files[last] = content(last, [*rows, example.broken])
    body = (await send(client, files)).json()
    assert (body["pairs"], body["rejected_count"]) == (example.pairs, 1)
    [rejected] = body["rejected"]
    before = 1 if last.endswith(".csv") and name != "canonical" else 0
    before += 1 if name == "canonical" else 0
    assert rejected["line"] == len(rows) + 1 + before
    assert example.word in rejected["reason"]
    assert rejected.get("file") == (last if len(files) > 1 else None)


@pytest.mark.parametrize("name", ["lmarena_55k", "canonical", "judge_bench", "battles"])
async def test_a_table_in_parquet_is_the_same_dataset(client: httpx.AsyncClient, name: str) -> None:
    first = await send(client, files_of(name))
    files = {}
    for file, rows in EXAMPLES[name].files.items():
        plain = [
            {key: None if value == "" else value for key, value in row.items()} for row in rows
        ]
        if name == "canonical" and file == "pairs.csv":
            plain[0]["response_b"] = ""
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(plain), out)
        files[f"{file}.parquet"] = out.getvalue()
    again = await send(client, files)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def _pairs(client: httpx.AsyncClient, name: str, **files: bytes) -> list[Row]:
    answer = await send(client, files_of(name) | files)
    assert answer.status_code == 201, answer.text
    return await pairs_of(client)


async def test_answers_meet_on_their_instruction_in_the_order_of_the_files(
    client: httpx.AsyncClient,
) -> None:
    found = await _pairs(client, "alpaca_eval_outputs")
    assert [row["prompt"][-2] for row in found] == ["1", "2", "3"]
    assert {(row["model_a"], row["model_b"]) for row in found} == {("m1", "m2")}
    assert found[0]["response_b"] == "m2 calls it grey"
    assert found[0]["metadata"] == {"dataset": "stones"}


async def test_what_found_nothing_to_be_joined_with_is_counted(client: httpx.AsyncClient) -> None:
    rows = EXAMPLES["alpaca_eval_outputs"].files
    files = {
        "first.json": content("first.json", rows["first.json"]),
        "second.json": content("second.json", [rows["second.json"][0], rows["second.json"][0]]),
    }
    body = (await send(client, files)).json()
    assert (body["pairs"], body["unmatched"], body["rejected_count"]) == (1, 3, 3)
    assert [(each["file"], each["line"]) for each in body["rejected"]] == [
        ("first.json", 1), ("first.json", 2), ("second.json", 2),
    ]  # fmt: skip
    assert "line 1 of second.json already" in body["rejected"][2]["reason"]
    strict = await send(client, files, strict=True)
    assert (strict.status_code, strict.json()["unmatched"]) == (422, 3)


async def test_one_file_of_answers_alone_makes_no_pair(client: httpx.AsyncClient) -> None:
    files = files_of("alpaca_eval_outputs")
    answer = await send(client, {"first.json": files["first.json"]})
    assert answer.status_code == 422
    assert "tribunal import a.json b.json" in answer.json()["detail"]
    assert "no other model answers" in answer.json()["rejected"][0]["reason"]


async def test_files_of_one_generator_make_no_pair_and_say_so_once_a_row(
    client: httpx.AsyncClient,
) -> None:
    content = files_of("alpaca_eval_outputs")["first.json"]
    body = (await send(client, {"first.json": content, "again.json": content})).json()
    assert "(first.json and again.json) are of the same generator, " in body["detail"]
    places = [(each["file"], each["line"]) for each in body["rejected"]]
    assert len(places) == len(set(places)) == body["rejected_count"]


async def test_a_verdict_on_a_model_that_is_no_name_is_rejected(client: httpx.AsyncClient) -> None:
    rows = EXAMPLES["mt_bench"].files
    name = next(file for file in rows if any("winner" in r or "g1_winner" in r for r in rows[file]))
    key = next(key for key in ("model_a", "model_1") if key in rows[name][0])
    bad = {**rows, name: [{**rows[name][0], key: ["m1"]}, *rows[name][1:]]}
    files = {file: content(file, some) for file, some in bad.items()}
    body = (await send(client, files)).json()
    assert [each["reason"] for each in body["rejected"]] == ["no answer of ['m1'] to its question"]


async def test_judged_turns_get_the_texts_up_to_them(client: httpx.AsyncClient) -> None:
    first, second = await _pairs(client, "mt_bench")
    assert (first["id"], first["prompt"]) == ("81|1|m1|m2", "Is bread 81 warm?")
    assert first["human"][0]["label"] == "b"
    assert first["judges"] == {"gpt-9/pair": {"annotators": [[1.0, 1.0]]}}
    assert second["prompt"] == ["Is bread 82 warm?", "And the butter?"]
    assert second["responses_b"] == ["m2 on bread 82", "m2 on butter 82"]
    assert second["judges"] == {"gpt-9/pair": {"annotators": [[0.5, None]]}}


async def test_without_verdicts_every_two_models_meet_at_every_turn(
    client: httpx.AsyncClient,
) -> None:
    files = {
        n: b
        for n, b in files_of("mt_bench").items()
        if n not in ("gpt-9_pair.jsonl", "votes.jsonl")
    }
    body = (await send(client, files)).json()
    assert (body["pairs"], body["groups"]) == (4, 2)


async def test_game_two_is_the_order_as_written(client: httpx.AsyncClient) -> None:
    first, second = await _pairs(client, "arena_hard")
    assert (first["model_a"], first["model_b"], first["group"]) == ("m1", "base", "g1")
    assert (first["prompt"], first["response_a"]) == ("Plan g1", "m1: dig")
    assert first["judges"]["gpt-9"] == {"annotators": [[1.0, 1.0]]}
    assert first["judges"]["other"] == {"annotators": [[0.0, 0.0]]}
    assert first["metadata"]["strength"] == {"gpt-9": [1, 2]}
    assert second["judges"]["gpt-9"] == {"annotators": [[0.5, None]]}


async def test_turns_in_texts_are_turns_and_a_null_is_empty_and_told(
    client: httpx.AsyncClient,
) -> None:
    answer = await send(client, files_of("lmarena_55k"))
    assert answer.json()["warnings"] == ["turns that are null, read as empty: 1"]
    [found] = await pairs_of(client)
    assert (found["prompt"], found["responses_b"]) == (["Hi", "Why?"], ["Hey", ""])
    assert found["human"] == [{"annotator": None, "label": "tie", "criterion": "overall"}]


async def test_both_bad_is_a_tie_that_says_so(client: httpx.AsyncClient) -> None:
    [found] = await _pairs(client, "lmarena_140k")
    assert (found["human"][0]["label"], found["human"][0]["both_bad"]) == ("tie", True)
    assert found["metadata"]["language"] == "en"


async def test_a_file_is_its_judge_and_a_judge_without_probabilities_failed(
    client: httpx.AsyncClient,
) -> None:
    first, second = await _pairs(client, "selective_evaluation")
    assert first["judges"] == {"dear": {"p_a": 0.9}, "small": {"p_a": 0.75}}
    assert second["judges"] == {"dear": {"p_a": 0.25}, "small": None}
    assert [(v["annotator"], v["label"]) for v in first["human"]] == [("ann", "a"), ("bob", "b")]


async def test_scores_of_single_responses_become_the_sign_of_their_difference(
    client: httpx.AsyncClient,
) -> None:
    first, second, third = await _pairs(client, "cje")
    assert (first["model_a"], first["model_b"], first["group"]) == ("base", "new", "w1")
    assert [row["human"][0]["label"] for row in (first, second)] == ["b", "tie"]
    assert third["human"] == []
    assert [row["judges"]["judge_score"] for row in (first, second, third)] == [
        {"p_a": 0.0}, None, {"p_a": 0.0},
    ]  # fmt: skip
    assert third["metadata"]["oracle_label_b"] == 0.2


async def test_the_left_side_is_undone_and_cancelled_annotations_are_told(
    client: httpx.AsyncClient,
) -> None:
    answer = await send(client, files_of("label_studio"))
    assert answer.json()["warnings"] == ["cancelled annotations: 1"]
    [found] = await pairs_of(client)
    assert (found["response_a"], found["response_b"]) == ("long", "round")
    assert [(v["annotator"], v["label"]) for v in found["human"]] == [
        ("3", "b"), ("bo@x", "a"), ("5", "tie"),
    ]  # fmt: skip


async def test_the_smaller_rank_wins_and_drafts_are_told(client: httpx.AsyncClient) -> None:
    answer = await send(client, files_of("argilla"))
    assert answer.json()["warnings"] == ["draft responses: 1"]
    first, second = await pairs_of(client)
    assert [row["human"][0]["label"] for row in (first, second)] == ["b", "tie"]


async def test_votes_in_long_form_are_all_kept(client: httpx.AsyncClient) -> None:
    first, second = await _pairs(client, "canonical")
    assert (first["prompt"], first["response_a"], first["response_b"]) == (
        'Say "a, b"',
        "a,\nb",
        "",
    )
    assert [(v["annotator"], v["label"]) for v in first["human"]] == [
        ("ann", "a"), (None, "b"), (None, "b"),
    ]  # fmt: skip
    assert second["human"] == []


async def test_a_vote_on_no_pair_is_counted(client: httpx.AsyncClient) -> None:
    votes = b"id,annotator,label\nc1,x,a\nc9,x,b\n"
    body = (await send(client, files_of("canonical") | {"votes.csv": votes})).json()
    assert (body["labels"], body["unmatched"]) == (1, 1)
    assert body["rejected"] == [
        {"line": 3, "reason": "no pair has the id 'c9'", "file": "votes.csv"}
    ]


async def test_a_packed_table_by_itself(client: httpx.AsyncClient) -> None:
    body = gzip.compress(files_of("battles")["arena.csv"])
    answer = await client.post(
        "/v1/datasets?name=set", content=body, headers={"content-type": "text/csv"}
    )
    assert (answer.status_code, answer.json()["pairs"]) == (201, 2)


BAD_TABLES = {
    "no header": (b"", "text/csv", "no header"),
    "a column twice": (b"id,id\n1,2\n", "text/csv", "twice"),
    "no parquet": (b"PAR1 and no more", "application/octet-stream", "Parquet"),
    "lines called parquet": (b"{}\n", "application/vnd.apache.parquet", "Parquet"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
async def test_a_table_that_is_none_is_refused(client: httpx.AsyncClient, name: str) -> None:
    body, media_type, word = BAD_TABLES[name]
    answer = await client.post(
        "/v1/datasets?name=set", content=body, headers={"content-type": media_type}
    )
    assert answer.status_code in (400, 422), answer.text
    assert word in answer.json()["detail"]


async def test_bad_lines_of_a_table_are_rejected_and_the_rest_is_kept(
    client: httpx.AsyncClient,
) -> None:
    lines = [
        b"left,right,winner", b"m1,m2,left", b"m1,m2", b"m1,m2,\xff", b'm1,m2,"left"x',
        b"m1,m2,right",
    ]  # fmt: skip
    answer = await client.post(
        "/v1/datasets?name=set", content=b"\n".join(lines), headers={"content-type": "text/csv"}
    )
    body = answer.json()
    assert body["pairs"] == 2
    assert [each["line"] for each in body["rejected"]] == [3, 4, 5]
    assert "2 cells, the header 3" in body["rejected"][0]["reason"]
    assert "winner: not UTF-8" in body["rejected"][1]["reason"]


async def test_a_misspelt_field_is_told(client: httpx.AsyncClient) -> None:
    row = {"prompt": "q", "response_a": "x", "response_b": "y", "humans": [], "model_A": "m"}
    body = content("rows.jsonl", [row, {**row, "prompt": "r", "task": "t"}])
    answer = await client.post("/v1/datasets?name=set", content=body)
    assert answer.json()["warnings"] == [
        "humans: kept as metadata in 2 rows; did you mean human?",
        "model_A: kept as metadata in 2 rows; did you mean model_a?",
    ]


async def test_parquet_columns_of_structs_are_read(client: httpx.AsyncClient) -> None:
    rows = [
        {"id": 1, "prompt": "q", "response_a": "x", "response_b": "y", "turn": 1.0,
         "judges": {"g": {"p_a": 0.5}, "h": None}, "human": [{"annotator": "n", "label": "a"}]},
        {"id": 2, "prompt": "r", "response_a": "x", "response_b": "y", "turn": None,
         "judges": {"g": {"p_a": None}, "h": {"p_a": 0.25}}, "human": []},
    ]  # fmt: skip
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    answer = await client.post("/v1/datasets?name=set", content=out.getvalue())
    assert answer.status_code == 201, answer.text
    first, second = await pairs_of(client)
    # in a column of structs a judge that is null is one that was not asked
    assert first["judges"] == {"g": {"p_a": 0.5}}
    assert second["judges"] == {"g": None, "h": {"p_a": 0.25}}
    assert (first["metadata"], second["metadata"]) == ({"turn": 1}, {})


def strict(text: str) -> Any:
    """Read JSON as RFC 8259 has it."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def strictly_read(form: str, content: bytes) -> None:
    writer = WRITERS[form]
    if writer.form == "lines":
        [strict(line) for line in content.decode().splitlines()]
    elif writer.form == "array":
        strict(content.decode())
    else:
        rows = (
            list(csv.DictReader(io.StringIO(content.decode(), newline="")))
            if writer.form == "csv"
            else pq.read_table(io.BytesIO(content)).to_pylist()
        )
        for row in rows:
            for name in ("metadata", "human", "judges"):
                strict(row.get(name) or "null")


@pytest.mark.both_databases
async def test_numbers_that_json_does_not_have_are_null_in_every_export(
    client: httpx.AsyncClient,
) -> None:
    row = (
        '{"id": "p", "prompt": "q", "response_a": "x", "response_b": "y", "model_a": "m",'
        '"model_b": "n", "human": [{"annotator": "u", "label": "a", "strength": NaN}],'
        '"judges": {"j": {"p_a": 0.7, "annotators": null}}, "metadata": {"s": NaN, "t": [-Infinity]}}'
    )
    assert (await send(client, {"rows.jsonl": row.encode()})).status_code == 201
    [pair] = await pairs_of(client)
    assert pair["metadata"] == {"s": None, "t": [None]}
    for form in WRITERS:
        answer = await client.get(
            "/v1/datasets/set/export", params={"format": form, "labels": True}
        )
        assert answer.status_code == 200
        strictly_read(form, answer.content)
        assert "JSON does not have" in answer.headers["x-tribunal-loss"]
    exported = await client.get("/v1/datasets/set/export", params={"format": "canonical"})
    [kept] = [strict(line) for line in exported.text.splitlines()]
    assert (kept["metadata"], kept["human"]) == (pair["metadata"], pair["human"])
