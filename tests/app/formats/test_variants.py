"""Published variants of the formats that the guide names, in rows written for these tests."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.app.imports.uploads import pairs_of, upload

Row = dict[str, Any]


def talk(*texts: str) -> list[Row]:
    """Return a conversation, the user first."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def arena(number: int, winner: str | None = "model_a", **fields: Any) -> Row:
    return {
        "model_a": "m1", "model_b": "m2", "winner": winner,
        "conversation_a": talk("Same?", f"x{number}"), "conversation_b": talk("Same?", f"y{number}"),
        **fields,
    }  # fmt: skip


async def _read(client: httpx.AsyncClient, rows: list[Row], **params: Any) -> Row:
    answer = await upload(client, rows, **params)
    assert answer.status_code == 201, answer.text
    body: Row = answer.json()
    assert body["rejected"] == []
    return body


# LMArena


async def test_lmarena_with_the_id_of_each_vote_groups_by_prompt(client: httpx.AsyncClient) -> None:
    rows = [arena(n, question_id=f"q{n}", turn=1, tstamp=1.5, judge_hash="h") for n in range(3)]
    body = await _read(client, rows)
    assert (body["dialect"], body["pairs"], body["groups"], body["labels"]) == (
        "lmarena_140k", 3, 1, 3,
    )  # fmt: skip
    assert [one["id"] for one in await pairs_of(client)] == ["q0", "q1", "q2"]


async def test_lmarena_33k_is_no_mt_bench(client: httpx.AsyncClient) -> None:
    rows = [arena(n, question_id=f"q{n}", judge=f"user_{n}", anony=True, turn=1) for n in range(2)]
    body = await _read(client, rows)
    assert (body["dialect"], body["groups"], body["annotators"]) == ("lmarena_140k", 1, 2)


async def test_conversations_as_python_shows_them_are_called_so(client: httpx.AsyncClient) -> None:
    shown = "[{'content': 'Same?', 'role': 'user'}]"
    forms: list[Row] = [{}, {"question_id": 81, "judge": "expert_1", "turn": 1}]
    for more in forms:
        given = arena(0, conversation_a=shown, conversation_b=shown, **more)
        assert "as Python shows it" in (await upload(client, [given])).json()["detail"]


async def test_search_arena_has_votes_for_half_of_its_rows(client: httpx.AsyncClient) -> None:
    rows = [arena(n, winner, judge="9f2a") for n, winner in enumerate(["model_b", None])]
    for one in rows:
        one["messages_a"] = one.pop("conversation_a")
        one["messages_b"] = one.pop("conversation_b")
    body = await _read(client, rows)
    assert (body["pairs"], body["labels"], body["annotators"]) == (2, 1, 1)
    assert (await pairs_of(client))[0]["response_b"] == "y0"


async def test_conversations_in_nested_lists_are_read(client: httpx.AsyncClient) -> None:
    given = arena(0, images=[], num_turns=1)
    for name in ("conversation_a", "conversation_b"):
        given[name] = [[turn] for turn in given[name]]
    body = await _read(client, [given])
    assert (body["dialect"], body["pairs"], body["labels"]) == ("lmarena_140k", 1, 1)


# AlpacaEval


def alpaca(number: int, **fields: Any) -> Row:
    return {"instruction": f"I{number}", "output_1": "x", "output_2": "y", **fields}


@pytest.mark.parametrize("field", ["annotator", "annotator_index"])
async def test_a_number_is_a_person(client: httpx.AsyncClient, field: str) -> None:
    said = [(0, 1), (1, 2), (2, 1.5), (3, 1.2), (4, None)]
    body = await _read(client, [alpaca(0, **{field: who, "preference": p}) for who, p in said])
    assert (body["pairs"], body["labels"], body["recorded_judges"]) == (1, 4, [])
    [found] = await pairs_of(client)
    assert [(v["annotator"], v["label"]) for v in found["human"]] == [
        ("0", "a"), ("1", "b"), ("2", "tie"), ("3", "a"),
    ]  # fmt: skip
    assert found["human"][3]["preference"] == 1.2
    assert "preferences of people that are null, no votes: 1" in body["warnings"]


async def test_a_declared_person_is_one(client: httpx.AsyncClient) -> None:
    rows = [alpaca(0, annotator=who, preference=1) for who in ("ann", "weighted_gpt4")]
    body = await _read(client, rows, people="ann")
    assert (body["labels"], body["recorded_judges"]) == (1, ["weighted_gpt4"])


async def test_judges_that_may_be_people_are_told(client: httpx.AsyncClient) -> None:
    rows = [alpaca(0, annotator=who, preference=1) for who in ("alice", "gpt-4", 3.0)]
    body = await _read(client, rows, judges="3")
    assert (body["labels"], body["recorded_judges"]) == (0, ["3", "alice", "gpt-4"])
    assert "annotator: taken for judges: alice, 3; if this is wrong" in body["warnings"][0]


@pytest.mark.parametrize("column", ["label", "winner"])
async def test_a_label_instead_of_a_preference_is_a_vote(
    client: httpx.AsyncClient, column: str
) -> None:
    models = {"generator_1": "m1", "generator_2": "m2"}
    said = [("output_1", None), ("m2", "ann"), ("tie", "gpt-4")]
    rows = [
        alpaca(n, annotator=who, **models, **{column: value}) for n, (value, who) in enumerate(said)
    ]
    body = await _read(client, rows)
    assert (body["dialect"], body["labels"], body["recorded_judges"]) == (
        "alpaca_eval",
        2,
        ["gpt-4"],
    )
    found = await pairs_of(client)
    assert [vote["label"] for one in found for vote in one["human"]] == ["a", "b"]


async def test_preferences_of_0_and_1_alone_are_told_and_may_have_a_coding(
    client: httpx.AsyncClient,
) -> None:
    rows = [alpaca(n, annotator="gpt-4", preference=n % 2) for n in range(3)]
    body = await _read(client, rows)
    assert "preference: holds 0 and 1 and nothing else" in body["warnings"][0]
    body = await _read(client, rows, name="coded", coding="0=a,1=b")
    assert body["warnings"] == []
    judged = [one["judges"]["gpt-4"]["p_a"] for one in await pairs_of(client, "coded")]
    assert judged == [1, 0, 1]


async def test_preferences_in_words_or_digits_are_read(client: httpx.AsyncClient) -> None:
    said = ["1", "1.5", "output_2", 2.0]
    rows = [alpaca(n, annotator="gpt-4", preference=value) for n, value in enumerate(said)]
    await _read(client, rows)
    judged = [one["judges"]["gpt-4"]["p_a"] for one in await pairs_of(client)]
    assert judged == [1, 0.5, 0, 0]


async def test_an_input_alone_is_the_prompt(client: httpx.AsyncClient) -> None:
    rows = [{"input": f"I{n}", "output_1": "x", "output_2": "y", "label": n} for n in (1, 2)]
    body = await _read(client, rows, coding="1=a,2=b")
    assert (body["pairs"], body["labels"]) == (2, 2)
    assert [one["prompt"] for one in await pairs_of(client)] == ["I1", "I2"]


async def test_an_input_belongs_to_the_prompt(client: httpx.AsyncClient) -> None:
    await _read(client, [alpaca(0, input="of wood")])
    assert (await pairs_of(client))[0]["prompt"] == "I0\n\nof wood"


async def test_scores_of_another_judge_are_kept_though_other_fields_differ(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        alpaca(0, annotator=j, preference=1.0, tokens=n) for n, j in enumerate(["claude", "gpt4"])
    ]
    body = await _read(client, rows)
    assert (body["pairs"], body["recorded_judges"]) == (1, ["claude", "gpt4"])
    assert body["warnings"] == [
        "tokens: differs from an earlier row on the same pair in 1 rows; the first value is kept"
    ]


async def test_prompts_that_differ_in_case_and_blanks_are_joined_and_told(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        {"instruction": text, "output": f"{model} says", "generator": model}
        for model, text in (("m1", "Why?"), ("m2", "why? "), ("m1", "Who?"), ("m2", "Who?"))
    ]
    body = await _read(client, rows)
    assert (body["pairs"], body["unmatched"]) == (2, 0)
    assert body["warnings"] == [
        "prompts that differ only in case or blanks between the files, joined: 1"
    ]


async def test_prompts_of_one_model_that_differ_in_case_stay_apart(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        {"instruction": text, "output": f"{model} on {text}", "generator": model}
        for model in ("m1", "m2")
        for text in ("polish?", "Polish?")
    ]
    body = await _read(client, rows)
    assert (body["pairs"], body["warnings"]) == (2, [])
    found = await pairs_of(client)
    assert {(one["prompt"], one["response_b"]) for one in found} == {
        ("polish?", "m2 on polish?"), ("Polish?", "m2 on Polish?"),
    }  # fmt: skip


async def test_a_generator_may_be_a_number(client: httpx.AsyncClient) -> None:
    rows = [{"instruction": "Why?", "output": f"{m}", "generator": m} for m in (1, 2)]
    await _read(client, rows)
    assert (await pairs_of(client))[0]["model_b"] == "2"


# chosen and rejected


def chosen_of(found: Row) -> tuple[Any, Any]:
    """Return the prompt or messages, and the chosen response."""
    side = found["metadata"]["chosen_side"]
    return found.get("prompt") or found.get("messages"), found[f"response_{side}"]


async def test_several_answers_make_a_pair_each_in_one_group(client: httpx.AsyncClient) -> None:
    rows = [
        {"id": "t", "prompt": "A prime?", "chosen": ["2", "3"], "rejected": ["4", "6"],
         "models": ["a", "b", "c", "d"], "subset": "Ties"},
        {"id": "s", "prompt": "A square?", "chosen": ["4"], "rejected": ["5"], "subset": "Math"},
    ]  # fmt: skip
    body = await _read(client, rows)
    assert (body["pairs"], body["groups"], body["labels"]) == (5, 2, 5)
    found = await pairs_of(client)
    assert [one["id"] for one in found] == ["t|0|0", "t|0|1", "t|1|0", "t|1|1", "s"]
    sides = found[1]["metadata"]["chosen_side"]
    assert (found[1][f"model_{sides}"], found[1][f"response_{sides}"]) == ("a", "2")


async def test_a_list_on_one_side_alone_is_refused(client: httpx.AsyncClient) -> None:
    answer = await upload(client, [{"prompt": "q", "chosen": ["x"], "rejected": "y"}])
    assert "chosen: is a list of answers, but rejected is not" in answer.json()["detail"]


PREFERENCES: dict[str, tuple[Row, Any]] = {
    "explicit": (
        {"prompt": talk("Q"), "chosen": talk("Q", "x")[1:], "rejected": talk("Q", "y")[1:]},
        "Q",
    ),
    "implicit": ({"chosen": talk("Q", "x"), "rejected": talk("Q", "y")}, "Q"),
    "both": ({"prompt": "Q", "chosen": talk("Q", "x"), "rejected": talk("Q", "y")}, "Q"),
    "transcripts": (
        {"chosen": "\n\nHuman: Q\n\nAssistant: x", "rejected": "\n\nHuman: Q\n\nAssistant: y"},
        "Q",
    ),
    "a transcript and its ends": (
        {"prompt": "\n\nHuman: Q\n\nAssistant:", "chosen": "x", "rejected": "y"},
        "Q",
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Q"}],
         "chosen": {"from": "gpt", "value": "x"}, "rejected": {"from": "gpt", "value": "y"}},
        "Q",
    ),
    "instruction": (
        {"instruction": "Q", "input": "", "chosen": "x", "rejected": "y"},
        "Q",
    ),
    "instruction with an input": (
        {"instruction": "Q", "input": "of two", "chosen": "x", "rejected": "y"},
        "Q\n\nof two",
    ),
    "a system prompt": (
        {"system": "Be brief.", "question": "Q", "chosen": "x", "rejected": "y"},
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"}],
    ),
    "preference fine-tuning of OpenAI": (
        {"input": {"messages": talk("Q")}, "preferred_output": talk("Q", "x")[1:],
         "non_preferred_output": talk("Q", "y")[1:]},
        "Q",
    ),
    "a history": (
        {"instruction": "Q", "history": [["u", "v"]], "chosen": "x", "rejected": "y"},
        [*talk("u", "v"), {"role": "user", "content": "Q"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PREFERENCES)
async def test_a_preference_has_its_prompt_and_its_answers(
    client: httpx.AsyncClient, name: str
) -> None:
    given, prompt = PREFERENCES[name]
    body = await _read(client, [given])
    assert (body["dialect"], body["labels"]) == ("reward_bench", 1)
    [found] = await pairs_of(client)
    assert chosen_of(found) == (prompt, "x")
    assert {found["response_a"], found["response_b"]} == {"x", "y"}


async def test_all_ways_to_give_one_prompt_are_one_group(client: httpx.AsyncClient) -> None:
    rows = [row for row, prompt in PREFERENCES.values() if prompt == "Q"]
    answer = await upload(client, rows)
    # which answer comes first is drawn from the row, so that one pair may stand there both ways
    assert (answer.json()["groups"], answer.json()["rejected"]) == (1, [])


@pytest.mark.parametrize("prompt", ["SYSTEM: in French.\nQ", "Another", talk("Another")])
async def test_a_prompt_that_the_conversation_contradicts_is_refused(
    client: httpx.AsyncClient, prompt: Any
) -> None:
    given = {"prompt": prompt, "chosen": talk("Q", "x"), "rejected": talk("Q", "y")}
    assert (
        "is not what the turns before the answers"
        in (await upload(client, [given])).json()["detail"]
    )


async def test_a_contradiction_is_told_by_its_name(client: httpx.AsyncClient) -> None:
    rows = [{"prompt": f"Q{n}", "chosen": "x", "rejected": "y"} for n in range(8)]
    turned = [{**one, "chosen": "y", "rejected": "x"} for one in rows]
    body = (await upload(client, [*rows, *rows, *turned])).json()
    assert (body["pairs"], body["labels"]) == (8, 8)
    assert [(one["line"], one["reason"]) for one in body["rejected"]] == [
        (n + 17, f"chosen and rejected of line {n + 1} the other way round") for n in range(8)
    ]


async def test_lists_as_python_shows_them_are_told_of(client: httpx.AsyncClient) -> None:
    turns = "[{'role': 'user', 'content': 'Q'}, {'role': 'assistant', 'content': '%s'}]"
    given = {"prompt": "Q", "chosen": turns % "x", "rejected": turns % "y"}
    answer = await upload(client, [given])
    assert "is a list of messages; it is written as Python shows it" in answer.json()["detail"]
    body = await _read(client, [{"prompt": "Q", "chosen": "['x']", "rejected": "['y', 'z']"}])
    assert body["warnings"] == [
        "chosen and rejected are lists as Python shows them in 1 rows, and are kept as the texts that "
        "they are: use json.dumps"
    ]


async def test_an_answer_that_is_chosen_and_rejected_is_told(client: httpx.AsyncClient) -> None:
    body = await _read(client, [{"prompt": "Q", "chosen": "x", "rejected": "x"}])
    assert body["warnings"] == ["the chosen answer is the rejected one, too, in 1 rows"]


async def test_better_and_worse_answers_may_have_any_names(client: httpx.AsyncClient) -> None:
    given = {"question": "Q", "better": "x", "worse": "y"}
    body = await _read(client, [given], map="chosen=better,rejected=worse")
    assert (body["dialect"], body["labels"]) == ("reward_bench", 1)
    assert chosen_of((await pairs_of(client))[0]) == ("Q", "x")


async def test_answers_marked_one_by_one_are_no_pairs(client: httpx.AsyncClient) -> None:
    answer = await upload(client, [{"prompt": "q", "completion": "x", "label": True}])
    assert "KTO" in answer.json()["detail"]


async def test_generations_are_rated_by_a_model(client: httpx.AsyncClient) -> None:
    given = {
        "instruction": "Q", "generations": ["x", "y", "z"], "ratings": [4, "2", None],
        "generation_models": ["m1", "m2", "m3"], "labelling_model": "gpt-9",
    }  # fmt: skip
    body = await _read(client, [given])
    assert (body["dialect"], body["pairs"], body["groups"]) == ("distilabel", 3, 1)
    assert [one["judges"] for one in await pairs_of(client)] == [
        {"gpt-9": {"p_a": 1.0}}, {"gpt-9": None}, {"gpt-9": None},
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["{}-model", "{}_generator", "model_{}"])
async def test_models_of_the_chosen_and_the_rejected_answer_are_read(
    client: httpx.AsyncClient, name: str
) -> None:
    rows = [
        {"prompt": "Q", "chosen": "x", "rejected": "y",
         name.format("chosen"): "m1", name.format("rejected"): "m2"}
    ]  # fmt: skip
    await _read(client, rows)
    [found] = await pairs_of(client)
    side, other = ("a", "b") if found["metadata"]["chosen_side"] == "a" else ("b", "a")
    assert (found[f"model_{side}"], found[f"model_{other}"]) == ("m1", "m2")


async def test_a_prompt_that_is_a_transcript_is_the_prompt_in_it(client: httpx.AsyncClient) -> None:
    answers = [{"answer": text, "model": text, "rank": n} for n, text in enumerate("xy", 1)]
    rows = [{"prompt": p, "answers": answers} for p in ("\n\nHuman: Q\n\nAssistant: ", "Q")]
    body = await _read(client, rows)
    assert (body["pairs"], body["groups"]) == (1, 1)


# Arena-Hard v0.1, JudgeBench outputs, MT-bench


def hard_answer(model: str) -> Row:
    turns = [{"content": f"{model} says", "token_len": 2}]
    return {"question_id": "u1", "answer_id": model, "model_id": model,
            "choices": [{"index": 0, "turns": turns}], "tstamp": 1.0}  # fmt: skip


async def test_arena_hard_v01_is_joined_with_its_baseline(client: httpx.AsyncClient) -> None:
    rows = [
        {"question_id": "u1", "category": "hard", "cluster": "plots", "turns": [{"content": "Plan"}]},
        hard_answer("m1"), hard_answer("gpt-4-0314"),
        {"question_id": "u1", "model": "m1", "judge": "gpt-4",
         "games": [{"score": "B>>A"}, {"score": "A>B"}]},
    ]  # fmt: skip
    body = await _read(client, rows)
    assert (body["dialect"], body["pairs"], body["recorded_judges"]) == ("arena_hard", 1, ["gpt-4"])
    assert "taken as against gpt-4-0314" in body["warnings"][0]
    [found] = await pairs_of(client)
    assert (found["prompt"], found["response_a"], found["model_b"]) == (
        "Plan", "m1 says", "gpt-4-0314",
    )  # fmt: skip
    assert found["judges"]["gpt-4"] == {"annotators": [[1.0, 1.0]]}
    assert found["metadata"]["cluster"] == "plots"


async def test_judge_bench_outputs_hold_a_judge_in_both_orders(client: httpx.AsyncClient) -> None:
    base: Row = {"pair_id": "j1", "question": "1 + 1?", "response_A": "2", "response_B": "3",
            "label": "A>B"}  # fmt: skip
    said = [{"judgment": {"judge_model": "gpt-9"}, "decision": d} for d in ("A>B", "A>B")]
    rows: list[Row] = [{**base, "judge_name": "vanilla", "judgments": said},
            {**base, "judge_name": "other", "judgments": [None, said[0]]}]  # fmt: skip
    body = await _read(client, rows)
    assert (body["labels"], body["recorded_judges"]) == (1, ["other/gpt-9", "vanilla/gpt-9"])
    [found] = await pairs_of(client)
    assert found["judges"]["vanilla/gpt-9"] == {"annotators": [[1.0, 0.0]]}


async def test_fields_that_a_judgement_loses_are_told(client: httpx.AsyncClient) -> None:
    given = {"question_id": 1, "model_1": "m1", "model_2": 2, "g1_winner": "model_1",
             "g2_winner": "model_1", "judge": ["gpt", "p"], "turn": 1, "tstamp": 2.0}  # fmt: skip
    body = await _read(client, [given])
    assert body["warnings"] == ["1 judgements have fields that are not kept (tstamp)"]


# Label Studio


def task(*results: Row, **fields: Any) -> Row:
    annotation = {"completed_by": 3, "result": list(results), "was_cancelled": False}
    return {"id": 1, "data": {"prompt": "Q", "left": "x", "right": "y"},
            "annotations": [annotation], **fields}  # fmt: skip


def choice(value: str, name: str = "pref") -> Row:
    return {"type": "choices", "from_name": name, "value": {"choices": [value]}}


def stars(side: str, value: int) -> Row:
    return {"type": "rating", "from_name": f"stars_{side}", "to_name": side,
            "value": {"rating": value}}  # fmt: skip


@pytest.mark.parametrize(
    ("results", "label"),
    [
        ([choice("left")], "a"),
        ([choice("Response B")], "b"),
        ([choice("Tie")], "tie"),
        ([stars("left", 2), stars("right", 4)], "b"),
        ([stars("left", 2), stars("right", 2)], "tie"),
        ([{"type": "pairwise", "value": {"selected": "right"}}, stars("left", 5)], "b"),
        ([{"type": "textarea", "from_name": "which", "value": {"text": ["Right"]}}], "b"),
        (
            [{"type": "labels", "from_name": "marks", "value": {"labels": ["x"]}}, choice("left")],
            "a",
        ),
    ],
)
async def test_an_answer_of_label_studio_is_a_vote(
    client: httpx.AsyncClient, results: list[Row], label: str
) -> None:
    await _read(client, [task(*results)])
    [found] = await pairs_of(client)
    assert [(v["annotator"], v["label"]) for v in found["human"]] == [("3", label)]


async def test_what_models_say_in_labelling_tools_is_told(client: httpx.AsyncClient) -> None:
    predicted = [{"result": [{"type": "pairwise", "value": {"selected": "left"}}]}]
    body = await _read(client, [task(annotations=[], predictions=predicted)])
    assert body["warnings"] == [
        "Label Studio tasks with predictions of a model, which are not read: 1"
    ]
    fields = {"prompt": "Q", "response1": "x", "response2": "y"}
    suggested = {"fields": fields, "responses": [], "suggestions": [{"value": "response1"}]}
    body = await _read(client, [suggested], name="other")
    assert body["warnings"] == [
        "Argilla records with suggestions of a model, which are not read: 1"
    ]


async def test_a_control_that_is_understood_in_part_is_refused(client: httpx.AsyncClient) -> None:
    rows = [{**task(choice(said)), "id": n} for n, said in enumerate(["Tie", "Antwort 1", "Tie"])]
    answer = await upload(client, rows)
    assert answer.status_code == 422
    assert (
        "the control 'pref': not every value is a verdict or the name of one of the two models: 'Antwort 1'"
        in answer.json()["detail"]
    )
    assert (await upload(client, rows, coding="Antwort 1=a")).json()["labels"] == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (task({"type": "ranker", "from_name": "order", "value": {"ranker": {"rank": ["left"]}}}),
         "answers of the control 'order' (ranker), a kind that is not read: 1"),
        (task({"type": "taxonomy", "from_name": "kind", "value": {"taxonomy": [["Left"]]}}),
         "answers of the control 'kind' (taxonomy), a kind that is not read: 1"),
        (task({"type": "textarea", "from_name": "why", "value": {"text": "because " * 20}}),
         "texts written to the control 'why', not kept, as there is no vote with them: 1"),
        (task(annotations=[], drafts=[{"result": [choice("left")]}]),
         "Label Studio tasks with drafts, which no one submitted and which are not read: 1"),
        ({"data": {"prompt": "Q", "left": "x", "right": "y", "label": "a"}},
         "label: looks like a verdict and is kept as metadata in 1 rows; if it says which response is "
         "better, write the rows with prompt, response_a, response_b and label, as the verdicts of this "
         "format stand elsewhere"),
    ],
)  # fmt: skip
async def test_answers_of_label_studio_that_are_no_votes_are_told(
    client: httpx.AsyncClient, given: Row, said: str
) -> None:
    body = await _read(client, [given])
    assert (body["labels"], body["warnings"]) == (0, [said])


async def test_a_control_about_something_else_is_told(client: httpx.AsyncClient) -> None:
    rows = [task(choice("harmless", "safety"), choice("left"))]
    body = await _read(client, rows)
    assert body["labels"] == 1
    assert (
        "1 answers of the control 'safety' ('harmless') say of neither response"
        in (body["warnings"][0])
    )


async def test_completions_of_before_version_1_are_votes(client: httpx.AsyncClient) -> None:
    given = task({"type": "pairwise", "value": {"selected": "left"}})
    given["completions"] = given.pop("annotations")
    assert (await _read(client, [given]))["labels"] == 1


async def test_flat_rows_of_label_studio_are_votes_of_one_task(client: httpx.AsyncClient) -> None:
    rows = [
        {"id": 5, "prompt": "Q", "left": "x", "right": "y", "pw": said, "annotator": n,
         "annotation_id": 40 + n, "lead_time": n + 0.5, "topic": "maths"}
        for n, said in enumerate(["left", "right"])
    ]  # fmt: skip
    body = await _read(client, rows)
    assert (body["dialect"], body["pairs"], body["labels"]) == ("label_studio", 1, 2)
    [found] = await pairs_of(client)
    assert [(v["label"], v["lead_time"]) for v in found["human"]] == [("a", 0.5), ("b", 1.5)]
    assert found["metadata"] == {"topic": "maths"}


@pytest.mark.parametrize(
    "said",
    ["left", ["left"], {"choices": ["left"]}, {"selected": "left"}, '{"selected": "left"}', "Left"],
)
async def test_an_answer_in_a_flat_row_may_be_written_in_many_ways(
    client: httpx.AsyncClient, said: Any
) -> None:
    given = {"id": 5, "prompt": "Q", "left": "x", "right": "y", "pw": said, "annotator": 1,
             "annotation_id": 4, "lead_time": 1.0}  # fmt: skip
    assert (await _read(client, [given]))["labels"] == 1
    assert (await pairs_of(client))[0]["human"][0]["label"] == "a"


async def test_flat_rows_without_an_answer_say_what_to_do(client: httpx.AsyncClient) -> None:
    given = {"id": 5, "prompt": "Q", "left": "x", "right": "y", "r1": 4, "r2": 2, "annotator": 1,
             "annotation_id": 4, "lead_time": 1.0}  # fmt: skip
    body = await _read(client, [given])
    assert body["labels"] == 0
    assert "export the project as JSON" in body["warnings"][0]


# Argilla


def record(responses: Any, number: int = 0, **fields: Any) -> Row:
    texts = {"prompt": f"Q{number}", "response1": "x", "response2": "y"}
    return {"id": f"r{number}", "fields": {**texts, **fields}, "responses": responses}


def said(value: Any, who: str = "u1", status: str = "submitted") -> Row:
    return {"value": value, "user_id": who, "status": status}


@pytest.mark.parametrize(
    ("responses", "labels"),
    [
        ({"preference": [said("response1"), said("response2", "u2")]}, ["a", "b"]),
        ({"preference": [said("tie"), said("response1", "u2", "draft")]}, ["tie"]),
        ({"rating1": [said(5)], "rating2": [said(2)]}, ["a"]),
        ({"quality-a": [said(1), said(3, "u2")], "quality-b": [said(2), said(3, "u2")]},
         ["b", "tie"]),
        ([{"user_id": "u", "values": {"preference": {"value": "response2"}}}], ["b"]),
        ({"preference": [said([{"value": "response1", "rank": 2},
                               {"value": "response2", "rank": 1}])]}, ["b"]),
        ({"preference": [said("response1")], "faults": [said(["long", "wrong"])]}, ["a"]),
        ({"preference": [said("response2")],
          "marks": [said([{"start": 0, "end": 1, "label": "odd"}])]}, ["b"]),
    ],
)  # fmt: skip
async def test_an_answer_of_argilla_is_a_vote(
    client: httpx.AsyncClient, responses: Any, labels: list[str]
) -> None:
    assert (await _read(client, [record(responses)]))["labels"] == len(labels)
    [found] = await pairs_of(client)
    assert [vote["label"] for vote in found["human"]] == labels


async def test_other_answers_of_argilla_are_told(client: httpx.AsyncClient) -> None:
    rows = [record({"overall": [said(n)], "why": [said("because " * 20)]}, n) for n in (1, 4)]
    body = await _read(client, rows)
    assert body["labels"] == 0
    assert (
        "2 answers of the question 'overall' (1, 4) say of neither response"
        in (body["warnings"][0])
    )
    assert "texts written to the question 'why', not kept: 2" in body["warnings"]
    assert (await upload(client, rows, name="coded", coding="1=a,4=b")).json()["labels"] == 2


async def test_a_record_with_generations_and_their_ratings(client: httpx.AsyncClient) -> None:
    given = {
        "id": "r", "fields": {"instruction": "Q", "generation-0": "x", "generation-1": "y"},
        "responses": {"generation-0-rating": [said(4)], "generation-1-rating": [said(2)]},
    }  # fmt: skip
    assert (await _read(client, [given]))["labels"] == 1
    assert (await pairs_of(client))[0]["prompt"] == "Q"


async def test_records_as_a_table_are_read(client: httpx.AsyncClient) -> None:
    new = {
        "id": "r", "prompt": "Q", "response_a": "x", "response_b": "y", "_server_id": "s",
        "preference.responses": ["response_b"], "preference.responses.users": ["u"],
        "preference.responses.status": ["submitted"], "preference.suggestion": "response1",
    }  # fmt: skip
    old = {
        "prompt": "P", "response1": "x", "response2": "y", "external_id": "e", "metadata": "{}",
        "preference": {"user_id": ["u"], "value": ["response1"], "status": ["submitted"]},
    }  # fmt: skip
    body = await _read(client, [new, old])
    assert (body["dialect"], body["labels"], body["annotators"]) == ("argilla", 2, 1)
    found = await pairs_of(client)
    assert [one["human"][0]["label"] for one in found] == ["b", "a"]


async def test_a_text_classification_of_argilla_is_a_vote(client: httpx.AsyncClient) -> None:
    base = {
        "inputs": {"prompt": "Q", "response_a": "x", "response_b": "y"},
        "annotation_agent": "u",
    }
    rows: list[Row] = [
        {**base, "id": "1", "annotation": "response_b", "status": "Validated"},
        {**base, "id": "2", "annotation": None, "status": "Default"},
        {**base, "id": "3", "annotation": "response_a", "status": "Discarded",
         "prediction": [{"label": "response_a", "score": 0.9}]},
    ]  # fmt: skip
    body = await _read(client, rows)
    assert (body["dialect"], body["pairs"], body["labels"]) == ("argilla", 3, 1)
    assert (await pairs_of(client))[0]["human"][0]["label"] == "b"
    assert "Discarded responses: 1" in body["warnings"]
    assert "Argilla records with suggestions of a model, which are not read: 1" in body["warnings"]


async def test_a_record_may_have_any_two_texts_of_one_name(client: httpx.AsyncClient) -> None:
    said_of = {"chosen": "rejected", "generation-0": "generation-1", "output_a": "output_b"}
    rows = [
        {
            "id": str(n),
            "fields": {"prompt": "Q", a: "x", b: "y"},
            "responses": {"better": [said(b)]},
        }
        for n, (a, b) in enumerate(said_of.items())
    ]
    assert (await _read(client, rows))["labels"] == 3
    assert [one["human"][0]["label"] for one in await pairs_of(client)] == ["b", "b", "b"]


async def test_a_record_without_two_responses_names_its_fields(client: httpx.AsyncClient) -> None:
    answer = await upload(client, [{"id": 1, "fields": {"text": "x"}, "responses": {}}])
    assert "the fields of this Argilla record ('text')" in answer.json()["detail"]


async def test_answers_as_objects_in_a_list_are_generations(client: httpx.AsyncClient) -> None:
    answers = [
        {"model": model, "response": text, "overall_score": score, "critique": f"of {text}"}
        for model, text, score in (("A", "x", 8.5), ("B", "y", 3), ("C", "z", 3))
    ]
    body = await _read(client, [{"instruction": "Q", "models": ["A"], "completions": answers}])
    assert (body["dialect"], body["pairs"], body["groups"]) == ("distilabel", 3, 1)
    found = await pairs_of(client)
    assert [one["judges"]["overall_score"]["p_a"] for one in found] == [1, 1, 0.5]
    first = found[0]
    assert (first["model_a"], first["model_b"], first["response_b"]) == ("A", "B", "y")
    assert (first["metadata"]["critique_a"], first["metadata"]["models"]) == ("of x", ["A"])
    ranked = [{"answer": text, "model": text, "rank": n} for n, text in enumerate("xy", 1)]
    await _read(client, [{"prompt": "Q", "answers": ranked}], name="nectar")
    [one] = await pairs_of(client, "nectar")
    assert one["judges"]["rank"]["p_a"] == 1


async def test_details_of_a_row_of_generations_are_its_metadata(client: httpx.AsyncClient) -> None:
    answers = [{"response": text, "score": n, "note": text} for n, text in enumerate("xy")]
    rows: list[Row] = [
        {"instruction": "Q", "generations": ["x", "y"], "details": {"source": "s"}},
        {"instruction": "R", "completions": answers, "details": "d", "labelling_model": "m"},
    ]
    await _read(client, rows)
    first, second = await pairs_of(client)
    assert first["metadata"]["details"] == {"source": "s"}
    assert (second["metadata"]["details"], second["metadata"]["note_b"]) == ("d", "y")
    assert list(second["judges"]) == ["m"]


async def test_texts_that_are_lists_in_json_are_told_of(client: httpx.AsyncClient) -> None:
    text = 'id,prompt,response_a,response_b\n1,"[""Q""]","[""x""]","[""y""]"\n'
    body = (await upload(client, text.encode(), headers={"content-type": "text/csv"})).json()
    assert any("are lists in JSON in 1 rows" in line for line in body["warnings"])
