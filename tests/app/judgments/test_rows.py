"""Posted rows are read as an import reads them, whatever format that carries texts they are in."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from app.core.http.json_bodies import LARGE_BODY
from app.formats.canonical import parse_row, to_pair
from app.formats.registry import candidates
from app.judgments.schemas import PostedPair
from tests.app.batches.test_batches import wait_for
from tests.app.problems import assert_answered
from tests.data_sets import rows

Row = dict[str, Any]
LONG, SHORT = "The primary colours of light are red, green and blue.", "colours"
PROMPT = "Name the three primary colours of light."
ROW: Row = {"prompt": PROMPT, "response_a": LONG, "response_b": SHORT}
posted = TypeAdapter(PostedPair).validate_python


def conversation(answer: str) -> list[Row]:
    return [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}]


def vote(first: str, second: str, winner: str = "model_a") -> Row:
    """A vote of MT-bench, whose import puts the model first whose name sorts first."""
    return {
        "question_id": 81, "model_a": first, "model_b": second, "winner": winner, "judge": "ann",
        "turn": 1, "conversation_a": conversation(LONG), "conversation_b": conversation(SHORT),
    }  # fmt: skip


FORMATS: dict[str, Row] = {
    "canonical": ROW,
    "with further fields": {**ROW, "question_id": 81, "turn": 1, "category": "writing"},
    "alpaca_eval": {
        "instruction": PROMPT, "output_1": LONG, "output_2": SHORT, "generator_1": "m1",
        "generator_2": "m2", "annotator": "other", "preference": 1.2,
    },
    "mt_bench in the import's order": vote("alpha", "beta"),
    "mt_bench in the other order": vote("beta", "alpha"),
    **{
        f"reward_bench {id}": {"id": id, "prompt": PROMPT, "chosen": LONG, "rejected": SHORT}
        for id in range(4)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
async def test_a_is_the_first_response_as_posted_in_every_format(
    client: httpx.AsyncClient, name: str
) -> None:
    for row, label in ((FORMATS[name], "a"), (mirror(FORMATS[name]), "b")):
        response = await client.post("/v1/judgments", json={"pairs": [row]})
        assert response.status_code == 200, response.text
        assert response.json()["verdicts"][0]["label"] == label


def mirror(row: Row) -> Row:
    """Exchange the texts of both sides, wherever they stand."""
    text = json.dumps(row).replace(LONG, "@@").replace(SHORT, LONG).replace("@@", SHORT)
    exchanged: Row = json.loads(text)
    return exchanged


def test_what_was_said_of_a_turned_row_is_turned_with_it() -> None:
    pair = posted(vote("beta", "alpha", "model_a"))
    assert (pair.model_a, pair.model_b, pair.human[0].label) == ("beta", "alpha", "a")
    gpt = posted({**vote("beta", "alpha", "model_b"), "judge": ["gpt-4", "pair-v2"]})
    assert gpt.judges["gpt-4/pair-v2"].p_a == 0
    chosen = posted({"id": 1, "prompt": "p", "chosen": LONG, "rejected": SHORT})
    assert (chosen.human[0].label, chosen.metadata["chosen_side"]) == ("a", "a")


MISSPELT: dict[str, tuple[Row, str]] = {
    "respons_a": ({"prompt": "p", "respons_a": "x", "response_b": "y"}, "response_a"),
    "Responce_B": ({"prompt": "p", "response_a": "x", "Responce_B": "y"}, "response_b"),
    "judge": ({**ROW, "judge": {"dear": {"p_a": 0.9}}}, "judges"),
    "metdata": ({**ROW, "metdata": {"task": "x"}}, "metadata"),
    "modela": ({**ROW, "modela": "m"}, "model_a"),
}


@pytest.mark.parametrize("name", MISSPELT)
async def test_a_misspelt_field_is_named_with_the_one_that_was_meant(
    client: httpx.AsyncClient, name: str
) -> None:
    row, meant = MISSPELT[name]
    response = await client.post("/v1/judgments", json={"pairs": [ROW, {"id": "2", **row}]})
    assert_answered(response)
    assert response.status_code == 422
    errors = response.json()["errors"]
    assert ["body", "pairs", 1, name] in [error["loc"] for error in errors]
    assert f"did you mean {meant}?" in response.text


BAD: dict[str, tuple[Row, str]] = {
    "two formats": ({"instruction": "i", "output_1": "x", "output_2": "y", "chosen": "x",
                     "rejected": "y"}, "several formats"),
    "a number": ({"instruction": "i", "output_1": 7, "output_2": "y"}, "alpaca_eval: response_a"),
    "no texts": ({"model_a": "x", "model_b": "y", "winner": "model_a"}, "prompt"),
    "no name": ({**FORMATS["alpaca_eval"], "annotator": None}, "annotator"),
    "several pairs": ({"prompt": PROMPT, "chosen": [LONG, SHORT], "rejected": [""]},
                      "the row holds 2 pairs: send each by itself"),
    "metadata differs": ({**ROW, "turn": 1, "metadata": {"turn": 2}}, "differs from the field"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_a_row_that_cannot_be_read_says_why(client: httpx.AsyncClient, name: str) -> None:
    row, said = BAD[name]
    response = await client.post("/v1/judgments", json={"pairs": [row]})
    assert_answered(response)
    assert response.status_code == 422
    assert said in response.text
    assert response.json()["errors"][0]["loc"][:3] == ["body", "pairs", 0]


@pytest.mark.parametrize("name", FORMATS)
async def test_any_format_becomes_a_batch_on_request(client: httpx.AsyncClient, name: str) -> None:
    headers = {"Prefer": "respond-async"}
    # a large body is read in another way
    sent = {"pairs": [{**FORMATS[name], "padding": "x" * LARGE_BODY}]}
    made = await client.post("/v1/judgments", json=sent, headers=headers)
    assert made.status_code == 202, made.text
    assert (await wait_for(client, made.json()["id"]))["request_counts"]["completed"] == 1
    listed = await client.get(f"/v1/datasets/{made.json()['dataset']}/pairs")
    stored = listed.json()["data"][0]
    assert (stored.get("response_a") or stored["responses_a"][0]) == LONG


@pytest.mark.parametrize(
    "name", ["mtbench_human", "llmbar", "tulu_human", "pandalm", "prd_vicuna80", "llmfao"]
)
def test_every_row_that_an_import_takes_is_taken_and_read_alike(name: str) -> None:
    taken = 0
    for row in islice(rows(name), 300):
        imported = parse_row(candidates(row)[0].convert(row, 1), 1)
        if imported.pair is None:
            continue
        pair = posted(row)
        assert to_pair(pair) == imported.pair
        assert pair.metadata == imported.metadata
        taken += 1
    assert taken >= 100
