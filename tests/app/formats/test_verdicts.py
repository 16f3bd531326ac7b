"""Verdicts in columns: their coding, names of models as winners, who is a person."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.formats.canonical import ParsedRow
from app.formats.columns.declared import DeclarationInvalid, Declared, code_of
from app.formats.columns.verdicts import Heard, spelt
from app.imports.reading import Reader
from app.imports.tables import RawRow
from tests.app.imports.uploads import pairs_of, refused, row, staged, upload

NUMBERS = [{"left": "m1", "right": "m2", "winner": code} for code in (0, 0, 1, 2, 0)]


def texts(number: int, **fields: Any) -> dict[str, Any]:
    """Return a pair with texts and without a vote."""
    found = row(number, **fields)
    del found["human"]
    return found


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("a", "a"), ("B", "b"), ("model_a", "a"), ("Response B", "b"), ("left", "a"),
        ("the second response", "b"), ("response1", "a"), ("output_2", "b"), ("[[A]]", "a"),
        ("A>B", "a"), ("B>>A", "b"), ("A=B", "tie"), ("Tie", "tie"), ("draw", "tie"),
        ("tie (bothbad)", "both_bad"), ("both_bad", "both_bad"), ("A is better", "a"),
        ("A++", "a"), ("B+", "b"), ("B is significantly better", "b"), ("Strongly prefer A", "a"),
        ("prefer response B", "b"), ("About the same", "tie"), ("both are bad", "both_bad"),
        ("A slightly better", "a"), ("Response 2 wins", "b"), ("output 1 is much better", "a"),
        ("About equal", "tie"), ("A ≈ B", "tie"), ("\uff22", "b"), ("no difference", "tie"),
        ("a better", "a"), ("better", None), ("1 wins", None), ("A+B", None), ("prefer neither", None), ("C", None), ("yes", None), ("", None), ("aa", None), (1, None), (True, None), (None, None),
    ],
)  # fmt: skip
def test_a_verdict_is_told_by_its_spelling(text: Any, label: str | None) -> None:
    assert spelt(text) == label


@pytest.mark.parametrize("field", ["label", "winner", "preference"])
@pytest.mark.parametrize("container", ["lines", "csv"])
async def test_a_column_that_says_who_won_is_a_vote_in_every_container(
    client: httpx.AsyncClient, field: str, container: str
) -> None:
    if container == "lines":
        answer = await upload(client, [texts(n, **{field: "ab"[n % 2]}) for n in range(4)])
    else:
        lines = [f"id,prompt,response_a,response_b,{field}"]
        lines += [f"p{n},Q{n},x,y,{'ab'[n % 2]}" for n in range(4)]
        answer = await upload(
            client, "\n".join(lines).encode(), headers={"content-type": "text/csv"}
        )
    body = answer.json()
    assert (body["pairs"], body["labels"], body["rejected"]) == (4, 4, [])
    assert [one["human"][0]["label"] for one in await pairs_of(client)] == ["a", "b", "a", "b"]


async def test_a_coding_with_numbers_is_refused_as_a_whole(client: httpx.AsyncClient) -> None:
    answer = await upload(client, NUMBERS)
    assert answer.status_code == 422
    assert "winner: 0/1/2 is ambiguous, say which is which" in answer.json()["detail"]
    assert "--coding" in answer.json()["detail"]
    assert answer.json()["errors"][0]["loc"] == ["query", "coding"]
    assert (await client.get("/v1/datasets/set")).status_code == 404


async def test_a_declared_coding_is_read(client: httpx.AsyncClient) -> None:
    body = (await upload(client, NUMBERS, coding="0=a,1=tie,2=b")).json()
    assert (body["labels"], body["rejected"], body["warnings"]) == (5, [], [])
    labels = [one["human"][0]["label"] for one in await pairs_of(client)]
    assert labels == ["a", "a", "tie", "b", "a"]


@pytest.mark.parametrize("value", [1, "1", 1.0, "1.0", " 1 "])
async def test_spellings_of_one_number_are_one_value(client: httpx.AsyncClient, value: Any) -> None:
    await upload(client, [texts(0, label=value)], coding="1=b")
    [found] = await pairs_of(client)
    assert found["human"][0]["label"] == "b"


async def test_a_coding_may_say_that_a_value_is_no_vote(client: httpx.AsyncClient) -> None:
    rows = [texts(0, label="skip"), texts(1, label="a")]
    body = (await upload(client, rows, coding="skip=none")).json()
    assert (body["pairs"], body["labels"], body["rejected"]) == (2, 1, [])


async def test_numbers_in_lists_of_votes_need_a_coding_too(client: httpx.AsyncClient) -> None:
    rows = [row(n, human=[{"annotator": "x", "label": n}]) for n in (0, 1)]
    assert (await upload(client, rows)).status_code == 422
    body = (await upload(client, rows, coding="0=a,1=b")).json()
    assert (body["labels"], body["rejected"]) == (2, [])


async def test_half_of_a_coding_in_words_is_not_read(client: httpx.AsyncClient) -> None:
    rows = [texts(n, winner=said) for n, said in enumerate(["A", "B", "C", "A"])]
    answer = await upload(client, rows)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert "winner: not every value is a verdict or the name of one of the two models" in detail
    assert "'C' (1 times)" in detail
    assert (await upload(client, rows, coding="C=tie")).json()["labels"] == 4


@pytest.mark.parametrize("field", ["winner", "label"])
async def test_a_vote_may_name_the_model_of_a_pair_in_another_row(
    client: httpx.AsyncClient, field: str
) -> None:
    pairs = [texts(n, model_a="m1", model_b="m2") for n in range(3)]
    pairs[1].update(model_a="m2", model_b="m1")
    said = zip(pairs, ("m1", "m1", "tie"), strict=True)
    votes = [{"id": pair["id"], "annotator": "ann", field: label} for pair, label in said]
    body = (await upload(client, [*votes, *pairs])).json()
    assert (body["pairs"], body["labels"], body["rejected"]) == (3, 3, [])
    labels = [one["human"][0]["label"] for one in await pairs_of(client)]
    assert labels == ["a", "b", "tie"]

    unknown = [*pairs, {"id": pairs[0]["id"], "annotator": "ann", field: "m3"}]
    answer = await upload(client, unknown, name="unknown")
    assert answer.status_code == 422
    assert "the name of one of the two models: 'm3'" in answer.json()["detail"]
    lost = [*pairs, {"id": "other", "annotator": "ann", field: "m1"}]
    [rejected] = (await upload(client, lost, name="lost")).json()["rejected"]
    assert rejected["reason"] == "no pair has the id 'other'"


async def test_a_winner_by_name_is_that_model(client: httpx.AsyncClient) -> None:
    battles = [{"left": "B", "right": "A", "winner": w} for w in ("B", "B", "A", "left")]
    assert (await upload(client, battles)).json()["labels"] == 4
    assert [one["human"][0]["label"] for one in await pairs_of(client)] == ["a", "a", "b", "a"]
    twins = [{"left": "m", "right": "m", "winner": "m"}]
    assert "winner" in (await upload(client, twins, name="twins")).json()["detail"]


async def test_a_coding_that_no_column_uses_is_told(client: httpx.AsyncClient) -> None:
    body = (await upload(client, [row(0)], coding="9=a")).json()
    assert body["warnings"] == ["coding: no value of a verdict column was read with it"]


async def test_a_row_with_texts_is_no_battle(client: httpx.AsyncClient) -> None:
    given = [{"model_a": "m1", "model_b": "m2", "winner": "model_a", "prompt": "Same?",
              "output_a": f"x{n}", "output_b": f"y{n}"} for n in range(3)]  # fmt: skip
    body = (await upload(client, given)).json()
    assert (body["pairs"], body["groups"], body["labels"]) == (3, 1, 3)
    assert (await pairs_of(client))[0]["response_a"] == "x0"
    forced = await upload(client, given, name="forced", dialect="battles")
    assert "the row has texts ('prompt', 'output_a', 'output_b')" in forced.json()["detail"]


async def test_texts_under_unknown_names_are_asked_for(client: httpx.AsyncClient) -> None:
    given = {"model_a": "m1", "model_b": "m2", "winner": "a", "prompt": "q", "completion_x": "r"}
    said = (await upload(client, [given])).json()["detail"]
    assert "the row has texts ('prompt', 'completion_x')" in said
    assert "--map prompt=...,response_a=...,response_b=...,label=winner" in said


async def test_who_is_a_person_is_told_and_can_be_declared(client: httpx.AsyncClient) -> None:
    judges = ["expert_1", "gpt4_pair", "claude-v1", "GPTina"]
    votes = [
        {"question_id": n, "model_a": "m1", "model_b": "m2", "winner": "model_a", "judge": judge}
        for n, judge in enumerate(judges)
    ]
    body = (await upload(client, votes)).json()
    assert (body["annotators"], body["recorded_judges"]) == (2, ["claude-v1", "gpt4_pair"])
    assert (
        "taken for people: expert_1, GPTina; for judges: gpt4_pair, claude-v1"
        in (body["warnings"][0])
    )
    declared: dict[str, Any] = {"people": ["gpt4*", "claude-v1"], "judges": "GPT*,expert_1"}
    body = (await upload(client, votes, name="other", **declared)).json()
    assert (body["annotators"], body["recorded_judges"]) == (2, ["GPTina", "expert_1"])


@pytest.mark.parametrize(
    "field", ["preferred", "rating", "judgments", "human_choice", "a_wins", "evaluations", "raters"]
)
async def test_a_verdict_that_was_not_read_is_told(client: httpx.AsyncClient, field: str) -> None:
    body = (await upload(client, [texts(0, **{field: "a"}), texts(1, **{field: "b"})])).json()
    assert body["labels"] == 0
    assert f"{field}: looks like a verdict and is kept as metadata in 2 rows" in body["warnings"][0]
    assert f"--map label={field}" in body["warnings"][0]


async def test_a_label_beside_votes_is_told(client: httpx.AsyncClient) -> None:
    body = (await upload(client, [row(0, winner="b")])).json()
    assert body["warnings"] == ["winner: kept as metadata in 1 rows, beside the votes in human"]


async def test_what_differs_from_vote_to_vote_is_kept_with_the_vote(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        {**texts(0), "annotator": who, "label": "a", "seconds": n, "task": "fruit"}
        for n, who in enumerate(["ann", "bob"])
    ]
    body = (await upload(client, [*rows, rows[1]])).json()
    assert (body["pairs"], body["labels"], body["rejected"]) == (1, 2, [])
    [found] = await pairs_of(client)
    assert [vote["seconds"] for vote in found["human"]] == [0, 1]
    assert found["metadata"] == {"task": "fruit"}
    assert any("differ in them: seconds" in said for said in body["warnings"])
    assert any("1 votes repeat one" in said for said in body["warnings"])


async def test_names_are_trimmed_and_those_nearly_alike_are_told(client: httpx.AsyncClient) -> None:
    rows = [row(0, model_a=" GPT-4 ", model_b=7), row(1, model_a="gpt-4", model_b="gpt- 4")]
    rows[0]["human"] = [{"annotator": "ann ", "label": "a"}]
    body = (await upload(client, rows)).json()
    assert body["annotators"] == 1
    assert body["warnings"] == [
        "models whose names differ only by case or blanks are kept apart: 'GPT-4' and 'gpt- 4' and "
        "'gpt-4'"
    ]
    found = await pairs_of(client)
    assert (found[0]["model_a"], found[0]["model_b"]) == ("GPT-4", "7")


def test_the_id_of_a_request_stays_as_it_came() -> None:
    body = {"prompt": "q", "response_a": "x", "response_b": "y"}
    value = {"custom_id": " x ", "method": "POST", "url": "/v1/judgments", "body": body}
    parsed = Reader().read(RawRow(1, value))
    assert isinstance(parsed, ParsedRow)
    assert parsed.id == " x "


async def test_one_prompt_in_several_groups_is_told(client: httpx.AsyncClient) -> None:
    body = (await upload(client, [row(0, group="x"), row(1, group="y")])).json()
    assert any("1 prompts stand in several groups" in said for said in body["warnings"])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"columns": ["promt=x"]}, "did you mean prompt"),
        ({"columns": ["prompt"]}, "field=column"),
        ({"columns": ["prompt=x,prompt=y"]}, "two columns"),
        ({"columns": ["{"]}, "JSON"),
        ({"columns": ['{"prompt": ["a"]}']}, "is not a name"),
        ({"coding": ["1=c"]}, "none of a, b, tie, none"),
        ({"coding": ["1=a,1.0=b"]}, "two meanings"),
        ({"delimiter": "ab"}, "one character"),
    ],
)
def test_a_declaration_that_cannot_be_read_is_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(DeclarationInvalid, match=word):
        Declared.read(**options)


def test_declarations_are_lists_or_objects() -> None:
    said = Declared.read(['"prompt=a, b",id=n', '{"group": "g=1"}'], ['{"0": "tie", "x": null}'])
    assert said.columns == {"prompt": "a, b", "id": "n", "group": "g=1"}
    assert said.coding == {"0": "tie", "x": None}


@pytest.mark.parametrize("human", [None, []])
async def test_a_label_is_read_where_the_list_of_votes_is_empty(
    client: httpx.AsyncClient, human: Any
) -> None:
    answer = await upload(client, [texts(0, human=human, label="b")])
    assert (answer.status_code, answer.json()["labels"]) == (201, 1)


@pytest.mark.parametrize("field", ["label", "label_original", "label_swapped"])
async def test_numbers_in_recorded_labels_need_a_coding(
    client: httpx.AsyncClient, field: str
) -> None:
    rows = [texts(n, judges={"gpt": {field: code}}) for n, code in enumerate([0, 1])]
    answer = await upload(client, rows)
    assert answer.status_code == 422
    assert f"judges.{field}: 0/1 is ambiguous" in answer.json()["detail"]
    answer = await upload(client, rows, coding="0=a,1=b")
    assert answer.json()["rejected"] == []
    records = [one["judges"]["gpt"] for one in await pairs_of(client)]
    orders = [one["annotators"][0] if "annotators" in one else [one["p_a"]] for one in records]
    assert [[p for p in order if p is not None] for order in orders] == [[1.0], [0.0]]


async def test_a_further_verdict_beside_a_vote_is_told(client: httpx.AsyncClient) -> None:
    body = (await upload(client, [texts(0, label="a", label_bob="b", score_of_bob=3)])).json()
    assert body["labels"] == 1
    assert ["label_bob: looks like a further verdict" in said for said in body["warnings"]] == [
        True
    ]


async def test_a_winner_by_name_needs_two_names(client: httpx.AsyncClient) -> None:
    rows = [texts(0, model_b="m1", winner="m1"), texts(1, winner="m2")]
    body = (await upload(client, rows)).json()
    assert (body["labels"], body["rejected"][0]["reason"]) == (
        1, "winner: 'm1' is the name of both models",
    )  # fmt: skip


async def test_names_in_another_form_of_unicode_are_the_same_winner_and_told(
    client: httpx.AsyncClient,
) -> None:
    one, other = "caf\u00e9", "cafe\u0301"
    rows = [texts(0, model_a=one, winner=other), texts(1, model_a=other, winner="b")]
    body = (await upload(client, rows)).json()
    assert body["warnings"] == [
        "models whose names differ only by case, blanks or Unicode form are kept apart: "
        "'cafe\\u0301' and 'caf\\xe9'"
    ]
    assert [one["human"][0]["label"] for one in await pairs_of(client)] == ["a", "b"]


async def test_what_reads_like_no_value_is_told(client: httpx.AsyncClient) -> None:
    rows = [texts(0, label="a", annotator="nan"), texts(1, label="b", model_a="N/A")]
    rows.append(texts(2, label="b", group="None", response_b="null"))
    said = " ".join((await upload(client, rows)).json()["warnings"])
    for words in ("annotators named 'nan'", "models named 'N/A'", "groups named 'None'",
                  "response_b: reads like a missing value"):  # fmt: skip
        assert words in said
    answer = await upload(client, [texts(0, label="a"), texts(1, label="nan")], "other")
    assert "for example nan=none" in answer.json()["detail"]


async def test_truth_values_are_refused_with_their_coding(client: httpx.AsyncClient) -> None:
    for yes, no in ((True, False), ("True", "False")):
        answer = await upload(client, [texts(0, label=yes), texts(1, label=no)])
        assert answer.status_code == 422
        assert f"for example {yes!s}=a,{no!s}=b".lower() in answer.json()["detail"].lower()


async def test_numbers_with_gaps_are_names_without_a_fraction(client: httpx.AsyncClient) -> None:
    nan = float("nan")
    rows = [
        texts(0, id=1.0, annotator=3.0, label="a", model_a=nan),
        texts(1, id=2.5, annotator=nan, label="a"),
    ]
    body = (await upload(client, rows)).json()
    assert body["rejected"][0]["reason"] == "id: 2.5 is neither a string nor an integer"
    [found] = await pairs_of(client)
    assert (found["id"], found["human"][0]["annotator"], found.get("model_a")) == ("1", "3", None)


async def test_battles_beside_texts_are_told(client: httpx.AsyncClient) -> None:
    rows = [row(0), {"id": "v", "model_a": "m1", "model_b": "m2", "winner": "a"}]
    assert (await upload(client, rows)).json()["warnings"] == [
        "1 rows have no texts and are kept as battles, beside 1 pairs with texts"
    ]


CROSSED = {"model_a": "B", "model_b": "A"}


async def test_a_vote_that_names_a_model_is_never_the_other_side(
    client: httpx.AsyncClient,
) -> None:
    votes: list[dict[str, Any]] = [
        {"id": "p0", "annotator": "u", "label": "B"},
        {"id": "p0", "annotator": "v", "winner": "A"},
        {"id": "p0", "annotator": "w", "winner": "model_b"},
        {"id": 1.0, "annotator": "u", "label": "left"},
        {"id": "1.0", "annotator": "v", "label": "tie (bothbad)"},
    ]
    rows = [texts(0, **CROSSED), texts(1, id=1), row(2, human=[{"label": "A"}], **CROSSED)]
    recorded = texts(3, judges={"j": {"label": "B"}, "k": {"label": "b"}}, **CROSSED)
    answer = await upload(client, [*votes, *rows, recorded])
    assert (answer.status_code, answer.json()["rejected"]) == (201, [])
    found = await pairs_of(client)
    said = [[vote["label"] for vote in one["human"]] for one in found]
    assert said == [["a", "b", "b"], ["a", "tie"], ["b"], []]
    assert [found[3]["judges"][name]["p_a"] for name in "jk"] == [1, 0]


@pytest.mark.parametrize(
    ("rows", "coding"),
    [
        ([texts(0, winner="b", **CROSSED)], {}),
        ([{**CROSSED, "winner": "a"}], {}),
        ([texts(0, model_a="m", model_b="Tie", winner="tie")], {}),
        ([texts(0, model_a="2", model_b="1", winner=1)], {"coding": "1=a,2=b"}),
        ([texts(0, **CROSSED), {"id": "p0", "winner": "b"}], {}),
        ([{"left": "right", "right": "left", "winner": "left"}], {}),
        ([texts(0, model_a="tie", model_b="m", winner="tie")], {}),
    ],
)
async def test_a_value_that_means_one_side_and_names_the_other_is_refused(
    client: httpx.AsyncClient, rows: list[dict[str, Any]], coding: dict[str, Any]
) -> None:
    answer = await upload(client, rows, **coding)
    assert answer.status_code == 422
    assert "is the name of the model of the other" in answer.json()["detail"]


def test_one_number_has_one_code_however_it_is_written() -> None:
    declared = Declared.read(coding=["-1=a,0=none,0.5=tie,1=b"])
    said = {"-1": "a", "-1.0": "a", 0: None, "-0.0": None, "0,0": None, "0.50": "tie", "0,5": "tie",
            "+1": "b", "1.": "b", 1.0: "b"}  # fmt: skip
    assert {value: declared.coding[code_of(value)] for value in said} == said


async def test_columns_of_verdicts_are_told_of_whatever_they_are_called(
    client: httpx.AsyncClient,
) -> None:
    rows = [texts(n, ann="a", bob="tie", kind="b" if n else "c", first_shown="a") for n in range(2)]
    told = (await upload(client, rows)).json()["warnings"]
    [line] = [one for one in told if one.startswith("ann, bob: the columns hold nothing but verd")]
    assert 'tribunal label DATASET FILE --voters "ann,bob"' in line
    rows = [texts(n, annotator1=1, rater_2=0) for n in range(2)]
    told = (await upload(client, rows, "numbers")).json()["warnings"]
    for name in ("annotator1", "rater_2"):
        assert any(line.startswith(f"{name}: looks like a verdict") for line in told)


async def test_truth_values_are_told_of_where_there_is_no_verdict_at_all(
    client: httpx.AsyncClient,
) -> None:
    rows = [texts(n, second=bool(n % 3)) for n in range(6)]
    [said] = (await upload(client, rows)).json()["warnings"]
    assert "second hold nothing but -1, 0, 1, 2, true or false" in said


async def test_columns_of_codes_are_told_of_where_there_is_no_verdict_at_all(
    client: httpx.AsyncClient,
) -> None:
    rows = [texts(n, ann=n % 3, bob=str(n % 2), level=n) for n in range(6)]
    [said] = (await upload(client, rows)).json()["warnings"]
    assert "ann, bob hold nothing but" in said
    body = (await upload(client, rows, name="read", map="label=ann", coding="0=tie,1=a,2=b")).json()
    assert (body["labels"], body["warnings"]) == (6, [])


async def test_what_a_row_calls_metadata_is_no_further_verdict(client: httpx.AsyncClient) -> None:
    rows = [row(n, metadata={"constructed_label": "a", "ann": "b"}) for n in range(2)]
    assert (await upload(client, rows)).json()["warnings"] == []


def test_a_value_declared_as_no_vote_is_none_wherever_it_stands() -> None:
    rows = [
        row(0, human=[{"label": "skip"}, {"label": "a"}]),
        {"id": "p0", "label": "skip"},
        {"id": "p0", "label": 1, "annotator": "ann"},
        {"id": "p0", "human": [{"label": "a", "criterion": None}]},
    ]
    [pair], reader = staged(rows, coding=["skip=none,1=b"])
    assert refused(reader) == []
    assert [(vote["annotator"], vote["label"]) for vote in pair["human"]] == [
        (None, "a"), ("ann", "b"), (None, "a"),
    ]  # fmt: skip


def test_the_pair_of_a_vote_may_be_called_so() -> None:
    [pair], reader = staged([row(0), {"pair": "p0", "annotator": "ann", "label": "b"}])
    assert (refused(reader), [vote["label"] for vote in pair["human"]]) == ([], ["a", "b"])
    _, reader = staged([{"pair": "p0", "label": "b"}])
    assert "no row of the upload is a pair" in refused(reader)[0]


def test_of_very_many_values_and_names_some_are_told_and_all_counted() -> None:
    fields = {"prompt": "Q", "response1": "x", "response2": "y"}
    rows = [
        {"id": n, "fields": fields, "responses": {"q": [{"value": f"{n} stars" if n else ""}]}}
        for n in range(31)
    ]
    _, reader = staged(rows, "argilla")
    assert reader.warnings()[0].startswith("30 answers of the question 'q' (")
    heard = Heard()
    for n in range(1_001):
        heard.note_who("judge", f"n{n}", is_model=False)
    assert "n4 and at least 995 more" in heard.sentences()[0]


TEXTS = {"Prompt": "Q", "Response A": "x", "Response B": "y"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"columns": ["id"], "data": [[1]]}, "one JSON object of columns and data"),
        ({"id;label": "1;a"}, "separated by ';'"),
        ({"id\tlabel": "1"}, "separated by tab"),
        ({"id^prompt^label": "1"}, "separated by '^': say so with --delimiter"),
        ({"id::prompt::label": "1"}, "separated by '::': a separator is one character"),
        ({"id": 1}, "the fields are those of no known format: 'id'"),
        (
            {"choice": 0, "summaries": [{"text": "x"}, {"text": "y"}]},
            "the answers stand in the list 'summaries': write them as two columns",
        ),
        (
            {"text": "Q", "options": [{"id": "A", "text": "x"}, {"id": "B", "text": "y"}]},
            "the answers stand in the list 'options'",
        ),
        ({"prompt": "Q", "completion": "x", "label": "True"}, "(KTO)"),
        (
            {"question_id": 1, "model": "m", "judge": ["gpt-4", "single"], "score": 8, "turn": 1},
            "a judge's score of one answer without the answer",
        ),
        (
            {"instruction": "I", "output": "A", "orig_response_A": "x", "orig_response_B": "y"},
            "the row has texts ('instruction', 'output', 'orig_response_A', 'orig_response_B')",
        ),
        (
            {
                "history": "Q",
                "human_ref_A": "one two three four five six seven eight",
                "human_ref_B": "y\nz",
                "labels": 1,
            },
            "the row has texts ('human_ref_A', 'human_ref_B')",
        ),
        (
            {"instruction": "Q", "generations": "['x', 'y']", "ratings": "[1, 2]"},
            "'generations' is a list; it is written as Python shows it: use json.dumps",
        ),
        ({"prompt": "Q", "accepted": "x", "rejected": "y"}, '"chosen=accepted,rejected=rejected"'),
        ({"question": "Q", "better": "x", "worse": "y"}, '"chosen=better,rejected=worse"'),
        (
            {"model_1": "m1", "model_2": "m2", "winner": "m1"},
            '"model_a=model_1,model_b=model_2,winner=winner"',
        ),
        (
            {"player_a": "m1", "player_b": "m2", "result": 1},
            '"model_a=player_a,model_b=player_b,winner=result"',
        ),
        ({"winner": "m1", "loser": "m2"}, "a battle has two models and who won"),
        ({"prompt": "Q", "response": "x", "helpfulness": 3}, "needs its model"),
        (
            {"id": 1, "text": "Q, A: x, B: y", "label": "A"},
            "is a label, and no row of the upload is a pair",
        ),
        ({**TEXTS, "Winner": "a"}, "response_b=Response B,label=Winner"),
        (TEXTS, "response_b=Response B"),
    ],
)
def test_a_row_of_no_known_format_says_what_it_may_be(row: dict[str, Any], told: str) -> None:
    _, reader = staged([row])
    assert told in refused(reader)[0]


@pytest.mark.parametrize(
    ("codes", "example"),
    [
        ((-3, -1, 0, 2), "-3=a,-1=a,0=tie,2=b"), ((0, 1), "0=a,1=b"), ((1, 2, 3), "1=a,2=tie,3=b"),
        ((1, 2, 4, 5), "1=a,2=a,4=b,5=b"), ((10, 9, 8), "8=a,9=tie,10=b"), ((3,), "3=a"),
        (("linkes", "gleich", "links!"), "gleich=tie,linkes=?,links!=a"),
    ],
)  # fmt: skip
def test_an_example_of_a_coding_says_what_values_seem_to_mean(
    codes: tuple[int | str, ...], example: str
) -> None:
    _, reader = staged([texts(n, label=code) for n, code in enumerate(codes)])
    assert f"for example {example}. Nothing" in reader.heard.faults()[0]


def test_a_name_that_cannot_be_declared_is_not_proposed() -> None:
    odd = {"Prompt": "Q", "Response A": "x", "Response\nB": "y"}
    [told] = refused(staged([odd])[1])
    assert "are with --map prompt=...,response_a=...,response_b=..." in told
