"""Scores of single responses: pairs of models are formed from them, and nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.app.formats.test_files import send
from tests.app.imports.uploads import pairs_of, staged

Row = dict[str, Any]


def scored(prompt: str, model: str, **scores: float) -> Row:
    human = [{"annotator": name, "score": score} for name, score in scores.items()]
    return {"prompt": prompt, "response": f"{model} on {prompt}", "model": model, "human": human}


def ndjson(rows: list[Row]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


async def test_pairs_of_models_are_formed_and_votes_follow_from_scores(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        scored("One?", "x", ann=7, bob=3, cem=5),
        scored("One?", "y", ann=4, bob=3),
        # the same prompt, though not to the letter
        scored("one? ", "z", cem=6) | {"response": "z on One?"},
        scored("Two?", "x", ann=1),
        scored("Three?", "x", ann=1) | {"model": ""},
    ]
    rows[1]["human"].append({"annotator": "ann", "score": 9, "criterion": "style"})
    rows[0]["human"].append({"annotator": "ann", "score": 2, "criterion": "style", "why": "dull"})
    answer = (await send(client, {"s.jsonl": ndjson(rows)})).json()
    assert (answer["dialect"], answer["pairs"], answer["labels"]) == ("pointwise", 3, 4)
    # a response that is in no pair is named, with the reason
    assert [one["line"] for one in answer["rejected"]] == [4, 5]
    assert "no other model" in answer["rejected"][0]["reason"]
    assert answer["unmatched"] == 2
    assert answer["warnings"] == [
        "1 pairs have no label: no person gave scores to both responses; the scores are kept"
    ]
    found = await pairs_of(client)
    models = [(one["model_a"], one["model_b"]) for one in found]
    assert models == [("x", "y"), ("x", "z"), ("y", "z")]
    assert len({one["group"] for one in found}) == 1
    votes = [(v["annotator"], v["criterion"], v["label"]) for v in found[0]["human"]]
    assert votes == [("ann", "overall", "a"), ("bob", "overall", "tie"), ("ann", "style", "b")]
    assert found[0]["human"][0]["score_a"] == 7
    kept = found[0]["metadata"]["scores_a"]
    assert [one["score"] for one in kept["human"]] == [7, 3, 5, 2]
    assert kept["human"][3]["why"] == "dull"
    # a response is known again in each of its pairs
    assert found[1]["metadata"]["scores_a"] == kept
    assert found[2]["metadata"]["scores_a"] == found[0]["metadata"]["scores_b"]


TABLE = """Frage;Antwort;System;Person;Note;Kriterium
One?;Ja.;x;ann;7;
One?;Ja.;x;;5;
One?;Ja.;x;;6;
One?;Ja.;x;gpt-4;8;
One?;Ja.;x;gpt-4;3;style
One?;Nein.;y;ann;7;
One?;Nein.;y;;4;
One?;Nein.;y;gpt-4;6;
One?;Nein.;y;gpt-4;4;style
One?;Nein.;y;gpt-4;gut;
"""


async def test_a_table_with_a_row_for_each_score(client: httpx.AsyncClient) -> None:
    named = "prompt=Frage,response=Antwort,model=System,annotator=Person,score=Note"
    answer = await send(
        client, {"t.csv": TABLE.encode()}, map=f"{named},criterion=Kriterium"
    )  # fmt: skip
    body = answer.json()
    assert (body["pairs"], body["labels"]) == (1, 2)
    [fault] = body["rejected"]
    assert fault["line"] == 11
    assert "'gut' is not a number" in fault["reason"]
    [pair] = await pairs_of(client)
    # scores without a name are averaged and make one vote of nobody
    assert [(v["annotator"], v["label"]) for v in pair["human"]] == [("ann", "tie"), (None, "a")]
    assert pair["judges"] == {
        "gpt-4": {"p_a": 1.0, "ratings": [8.0, 6.0]},
        "gpt-4:style": {"p_a": 0.0, "ratings": [3.0, 4.0]},
    }


@pytest.mark.parametrize("as_array", [False, True])
async def test_what_is_exported_can_be_imported_again(
    client: httpx.AsyncClient, as_array: bool
) -> None:
    rows = [
        {
            "id": f"r{n}",
            **scored("One?", name, ann=n, bob=3 - n),
            "judges": {"gpt-4": {"rating": n}},
        }
        for n, name in enumerate("xyz")
    ]
    content = json.dumps(rows).encode() if as_array else ndjson(rows)
    first = (await send(client, {"s.json": content})).json()
    assert [pair["id"] for pair in await pairs_of(client)] == ["r0|r1", "r0|r2", "r1|r2"]
    exported = await client.get(
        f"/v1/datasets/{first['id']}/export", params={"format": "pointwise"}
    )
    assert exported.status_code == 200, exported.text
    again = await send(client, {"s.jsonl": exported.content})
    assert again.status_code == 200, (again.json()["detail"], exported.text)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])


async def test_ids_of_questions_name_pairs_with_their_models_and_ratings_may_contradict(
    client: httpx.AsyncClient,
) -> None:
    rows = [scored("One?", name, ann=1) | {"id": 7} for name in "xyz"]
    rows.append(rows[0] | {"judges": {"j": 4}})
    rows.append(rows[0] | {"judges": {"j": 5}})
    body = (await send(client, {"s.jsonl": ndjson(rows)})).json()
    assert [pair["id"] for pair in await pairs_of(client)] == ["7|x|y", "7|x|z", "7|y|z"]
    assert [one["reason"] for one in body["rejected"]] == [
        "judges.j: line 1 records another rating"
    ]
    # a rating of one response alone is no score of a pair, and is kept
    assert (await pairs_of(client))[0]["metadata"]["ratings_a"] == {"j": {"rating": 4.0}}


def test_scores_by_criterion_are_scores_of_the_annotator() -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "Q", "response": text, "model": text, "annotator": who, "scores": scores}
        for text, scores in (("x", {"help": 4, "truth": 2}), ("y", {"help": 1, "truth": 2}))
        for who in ("ann", "gpt-4")
    ]
    [pair], _ = staged(rows)
    assert [(vote["criterion"], vote["label"]) for vote in pair["human"]] == [
        ("help", "a"), ("truth", "tie"),
    ]  # fmt: skip
    assert {name: one["p_a"] for name, one in pair["judges"].items()} == {
        "gpt-4:help": 1.0, "gpt-4:truth": 0.5,
    }  # fmt: skip


def test_scores_that_are_none_by_criterion_are_kept_and_told() -> None:
    rows = [{"prompt": "Q", "response": t, "model": t, "scores": [n]} for n, t in enumerate("xy")]
    [pair], reader = staged(rows)
    assert pair["metadata"]["given_scores_b"] == [1]
    assert reader.warnings()[-1].startswith("scores: kept as given_scores in 2 rows")


def test_pairs_without_any_score_are_told_with_the_columns_of_numbers() -> None:
    rows = [{"prompt": "Q", "response": t, "model": t, "help": n} for n, t in enumerate("xy")]
    _, reader = staged(rows)
    assert reader.warnings() == [
        "1 pairs have no label: no row has a score; if one of the columns help holds scores, read it with "
        "--map score=... (parameter `map`)"
    ]
