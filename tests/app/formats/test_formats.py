from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.formats import alpaca_eval, battles, mt_bench, reward_bench
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow, parse_row
from judges.types import Message
from tests.app.formats.test_detection import FURTHER, ROWS
from tests.app.formats.test_variants import said, talk
from tests.app.imports.uploads import pairs_of, refused, staged, upload


def _read(module: Any, row: dict[str, Any], line: int = 1) -> ParsedRow:
    return parse_row(module.convert(row, line), line)


# AlpacaEval


@pytest.mark.parametrize(
    ("preference", "p_a"),
    [(1, 1.0), (2, 0.0), (1.5, 0.5), (0, 0.5), (1.25, 0.75), (None, None), (float("nan"), None)],
)
def test_an_alpaca_preference_is_the_probability_of_the_first_output(
    preference: float | None, p_a: float | None
) -> None:
    [found], _ = staged([{**ROWS["alpaca_eval"], "preference": preference}])
    score = found["judges"]["judge"]
    assert score["p_a"] == p_a
    assert (score["failure"] is None) == (p_a is not None)


def test_alpaca_fields_find_their_places() -> None:
    given = {
        **ROWS["alpaca_eval"], "price_per_example": 0.01, "time_per_example": 2.5,
        "datasplit": "eval", "raw_completion": "said",
    }  # fmt: skip
    row = _read(alpaca_eval, given)
    assert row.pair is not None
    assert (row.pair.user_turns, row.pair.responses_b) == (("Name a colour.",), ("Blue",))
    assert (row.model_a, row.model_b, row.metadata) == ("m1", "m2", {"datasplit": "eval"})
    assert (row.recorded["judge"].cost_usd, row.recorded["judge"].seconds) == (0.01, 2.5)


@pytest.mark.parametrize("preference", [3, 0.5, True, [1, 2], "three"])
def test_preferences_of_which_one_is_none_are_not_read(preference: Any) -> None:
    rows = [{**ROWS["alpaca_eval"], "preference": given} for given in (1, preference)]
    assert "Nothing was stored" in refused(staged(rows)[1])[-1]


async def test_alpaca_annotators_of_the_same_outputs_are_judges_of_one_pair(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        {**ROWS["alpaca_eval"], "annotator": name, "raw_completion": name} for name in ("x", "y")
    ]
    body = (await upload(client, rows)).json()
    assert (body["pairs"], body["recorded_judges"], body["rejected"]) == (1, ["x", "y"], [])


# MT-bench


@pytest.mark.parametrize(
    ("first", "second", "p_a"),
    [
        ("model_1", "model_1", 1.0),
        ("model_1", "model_2", 0.5),
        ("tie", "model_2", 0.25),
        ("error", "model_2", 0.0),
        ("error", "error", None),
    ],
)
def test_a_judgement_counts_both_orders_and_an_error_is_a_failure(
    first: str, second: str, p_a: float | None
) -> None:
    row = _read(mt_bench, {**ROWS["mt_bench"], "g1_winner": first, "g2_winner": second})
    assert row.recorded["gpt-4/pair-v2"].p_a == p_a
    assert (row.id, row.group, row.model_a) == ("81|1|m1|m2", "81", "m1")
    assert row.metadata == {"question_id": 81, "turn": 1}


VOTE = FURTHER["mt_bench"]


def test_a_vote_is_brought_to_the_order_of_the_model_names() -> None:
    row = _read(mt_bench, VOTE)
    assert (row.id, row.model_a, row.model_b) == ("81|2|m1|m2", "m1", "m2")
    assert [(vote.annotator, vote.label) for vote in row.votes] == [("expert_1", "b")]


def test_a_flip_of_the_automatic_judge_is_an_inconsistent_record_and_not_a_vote() -> None:
    row = _read(mt_bench, {**VOTE, "judge": "gpt4_pair", "winner": "tie (inconsistent)"})
    assert row.votes == ()
    assert (row.recorded["gpt4_pair"].p_a, row.recorded["gpt4_pair"].flags) == (
        0.5, ("inconsistent",),
    )  # fmt: skip


def test_conversations_become_turns_and_responses_up_to_the_judged_turn() -> None:
    said = ["u1", "x1", "u2", "x2", "u3", "x3"]
    talk = [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant") * 3, said, strict=True)
    ]
    other = [{**m, "content": m["content"].replace("x", "y")} for m in talk]
    row = _read(mt_bench, {**VOTE, "conversation_a": talk, "conversation_b": other})
    assert row.pair is not None
    assert row.pair.conversation == (Message("user", "u1"), Message("user", "u2"))
    assert (row.pair.responses_a, row.pair.responses_b) == (("y1", "y2"), ("x1", "x2"))
    with pytest.raises(RowInvalid, match="conversation_b"):
        _read(mt_bench, {**VOTE, "conversation_a": talk, "conversation_b": talk[:2]})


async def test_votes_on_one_pair_are_gathered_in_either_column_order_and_none_is_lost(
    client: httpx.AsyncClient,
) -> None:
    turned = {**VOTE, "model_a": "m1", "model_b": "m2", "winner": "model_b"}
    rows = [VOTE, VOTE, turned, {**VOTE, "turn": 1}, {**VOTE, "judge": "gpt4_pair"}]
    body = (await upload(client, rows)).json()
    assert (body["pairs"], body["groups"], body["labels"], body["rejected"]) == (2, 1, 4, [])
    [found, _] = await pairs_of(client)
    assert [vote["label"] for vote in found["human"]] == ["b", "b", "b"]
    assert found["judges"] == {"gpt4_pair": {"p_a": 0.0}}
    again = await upload(client, rows)
    assert (again.status_code, again.json()["labels"]) == (200, 4)


# RewardBench


def test_the_side_of_the_chosen_answer_is_drawn_and_recorded() -> None:
    sides = []
    for number in range(200):
        row = _read(reward_bench, {**ROWS["reward_bench"], "id": number, "chosen_model": "m"})
        side = row.metadata["chosen_side"]
        assert row.pair is not None
        texts = {"a": row.pair.responses_a, "b": row.pair.responses_b}
        assert texts[side] == ("good",)
        assert {"a": row.model_a, "b": row.model_b}[side] == "m"
        assert [(vote.annotator, vote.label) for vote in row.votes] == [("gold", side)]
        sides.append(side)
    assert 70 < sides.count("a") < 130


def test_the_drawn_side_stays_the_same_for_the_same_row() -> None:
    given = ROWS["reward_bench"]
    assert _read(reward_bench, given) == _read(reward_bench, {**given, "id": "3"}, 9)
    without = {name: value for name, value in given.items() if name != "id"}
    assert _read(reward_bench, without) == _read(reward_bench, without, 9)


def test_conversations_end_in_the_two_answers() -> None:
    before = [{"role": "user", "content": "u"}]
    chosen, rejected = ([*before, {"role": "assistant", "content": t}] for t in ("good", "bad"))
    row = _read(reward_bench, {"prompt": "u", "chosen": chosen, "rejected": rejected})
    assert row.pair is not None
    assert row.pair.conversation == (Message("user", "u"),)
    assert {*row.pair.responses_a, *row.pair.responses_b} == {"good", "bad"}
    with pytest.raises(RowInvalid, match="rejected"):
        _read(reward_bench, {"prompt": "u", "chosen": chosen, "rejected": rejected[1:]})


# Battles


def test_a_battle_is_a_pair_of_its_own_under_its_line_number() -> None:
    given = {**ROWS["battles"], "id": 5, "annotator": "x", "language": "en"}
    row = _read(battles, given, 12)
    assert (row.id, row.pair, row.model_a, row.model_b) == ("12", None, "m1", "m2")
    assert row.metadata == {"source_id": 5, "language": "en"}
    assert [(vote.annotator, vote.label) for vote in row.votes] == [("x", "a")]


@pytest.mark.parametrize("winner", ["model_c", None, 0, True, ["left"]])
def test_what_is_no_winner_is_rejected(winner: Any) -> None:
    with pytest.raises(RowInvalid, match="is none of left, right, tie"):
        _read(battles, {**ROWS["battles"], "winner": winner})


async def test_equal_battles_are_as_many_comparisons_in_order(client: httpx.AsyncClient) -> None:
    first = ROWS["battles"]
    rows = [first, first, {**first, "winner": "right"}, {**first, "winner": "tie (bothbad)"}]
    body = (await upload(client, rows)).json()
    assert (body["pairs"], body["labels"], body["groups"]) == (4, 4, 4)
    found = [each["human"][0] for each in await pairs_of(client)]
    assert [vote["label"] for vote in found] == ["a", "a", "b", "tie"]
    assert found[3]["both_bad"] is True


# what is refused, and why

HUGE = 10**400
ALPACA, FIRST = ROWS["alpaca_eval"], ROWS["mt_bench"]
CHOSEN = ROWS["reward_bench"]
TASK: dict[str, Any] = {"id": 1, "data": {"prompt": "Q", "left": "x", "right": "y"}}
RECORD: dict[str, Any] = {"id": 1, "fields": {"prompt": "Q", "response1": "x", "response2": "y"}}
ARENA: dict[str, Any] = {
    "model_a": "m1", "model_b": "m2", "winner": "model_a",
    "conversation_a": talk("Q", "x"), "conversation_b": talk("Q", "y"),
}  # fmt: skip
OLD_ARENA = {"prompt": '["Q"]', "response_a": '["x"]', "response_b": '["y"]',
             "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}  # fmt: skip
OUTPUT = {"pair_id": "j", "question": "Q", "response_A": "x", "response_B": "y", "label": "A>B"}
GAME = {"uid": "u", "model": "m", "baseline": "b", "judge": "j"}
SELECTIVE = {"instruction": "I", "outputs": ["x", "y"], "preferences": {}, "probs": [0.5, 0.5]}
OPINION = {"prompt": "Q", "response": "x", "model": "m"}
DRAW = {"prompt_id": 1, "prompt": "Q", "response": "x", "judge_score": 1, "policy": "m"}
GENERATED: dict[str, Any] = {"instruction": "Q", "generations": ["x", "y"]}


def annotated(*results: Any, **fields: Any) -> dict[str, Any]:
    return {**TASK, "annotations": [{"completed_by": 3, "result": list(results), **fields}]}


def answered(value: Any, **fields: Any) -> dict[str, Any]:
    return {**RECORD, "responses": {"q": [{"user_id": "u", "value": value, **fields}]}}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("argilla", {**RECORD, "fields": {**RECORD["fields"], "response3": "z"}},
     "fields: 'response3' beside two responses"),
    ("argilla", answered([5]), "responses.q: [5] does not rank"),
    ("argilla", answered([{"value": "response1", "rank": 1}, {"value": "response2"}]),
     "responses.q: {'value': 'response2'} is no rank of a response"),
    ("argilla", {**RECORD, "metadata": ["x"]}, "metadata: ['x'] is not an object"),
    ("argilla", {**RECORD, "metadata": {"tribunal": "{"}}, "metadata.tribunal: '{' is not a JSON"),
    ("argilla", {**RECORD, "metadata": {"response1_is": "c"}}, "'c' is neither a nor b"),
    ("argilla", {**RECORD, "responses": {"q": ["a"]}}, "responses.q: ['a'] is not a list of resp"),
    ("label_studio", {"data": {"text": "x"}, "annotations": []}, "data: the two texts are in none"),
    ("label_studio", {**TASK, "annotations": "none"}, "annotations: 'none' is not a list"),
    ("label_studio", {**TASK, "annotations": ["x"]}, "annotations.0: 'x' is not an object"),
    ("label_studio", annotated() | {"annotations": [{"result": "left"}]},
     "annotations.0.result: 'left' is not a list"),
    ("label_studio", annotated(*({"type": "pairwise", "value": {"selected": side}}
                                 for side in ("left", "right"))), "both sides are selected"),
    ("mt_bench", {**VOTE, "turn": 0, "conversation_a": talk("Q", "x")}, "turn: 0 is not 1, 2"),
    ("mt_bench", {**VOTE, "turn": 1, "conversation_a": talk("Q", "x"),
                  "conversation_b": talk("P", "y")}, "the user's turns differ from those"),
    ("mt_bench", {**VOTE, "turn": 1, "conversation_a": talk("Q", "x")[::-1],
                  "conversation_b": talk("Q", "y")}, "conversation_a: user and assistant do not"),
    ("mt_bench", {"question_id": 1, "model_id": "m", "choices": []}, "choices: [] is not a list"),
    ("reward_bench", {"input": "Q", "preferred_output": [], "non_preferred_output": []},
     "input: is not an object with messages"),
    ("reward_bench", {**CHOSEN, "chosen": [{"from": "cat", "value": "x"}],
                      "rejected": [{"from": "gpt", "value": "y"}]}, "chosen.0.from: 'cat' is none"),
    ("reward_bench", {**CHOSEN, "chosen": ["x"] * 40, "rejected": ["y"] * 40},
     "more than 1000 pairs in one row"),
    ("reward_bench", {"chosen": talk("Q", "x"), "rejected": "y"}, "rejected: is not a list of mess"),
    ("distilabel", {**GENERATED, "ratings": [4]}, "ratings: [4] are not 2 ratings"),
    ("alpaca_eval_outputs", {"instruction": "I", "output": ["x"]}, "output: is a list of answers"),
    ("alpaca_eval_outputs", {"instruction": "I", "output": "x"}, "generator: is missing, and the"),
    ("cje", {**DRAW, "policy": ""}, "policy: is missing, and the file has no name"),
    ("pointwise", {**OPINION, "model": "", "score": 1}, "model: is missing, and the file has no"),
    ("pointwise", {**OPINION, "human": "good"}, "human: 'good' is not a list of scores"),
    ("pointwise", {**OPINION, "score": HUGE}, "is not a number"),
    ("pointwise", {**OPINION, "human": [{"score": 1, "annotator": ["x"]}]},
     "human.0.annotator: ['x'] is neither a string nor an integer"),
    ("pointwise", {**OPINION, "judges": ["gpt-4"]}, "judges: ['gpt-4'] is not an object"),
    ("pointwise", {**OPINION, "judges": {"gpt-4": {"said": 1}}}, "judges.gpt-4: no rating in it"),
    ("lmarena_55k", {**OLD_ARENA, "winner_tie": 1}, "winner_tie: 2 of them are 1, not one"),
    ("lmarena_140k", {**ARENA, "conversation_b": talk("Q", "y")[::-1]}, "do not take turns"),
    ("lmarena_140k", {**ARENA, "conversation_a": [{"role": "system", "content": "S"}, *talk("Q", "x")]},
     "begins with a turn of the system"),
    ("lmarena_140k", {**ARENA, "conversation_b": [talk("Q")[0], {"role": "assistant", "content":
     [{"type": ["image"]}]}]}, "conversation_b.1: holds a part of type"),
    ("arena_hard", {"question_id": 1, "turns": [{"content": "P"}, {"content": "Q"}]},
     "turns: 2 turns, where Arena-Hard has one"),
    ("arena_hard", {**GAME, "games": [{"score": "A>B"}]}, "is not a list of two games"),
    ("judge_bench", {**OUTPUT, "judgments": [None] * 3}, "are not one or two judgements"),
    ("judge_bench", {**OUTPUT, "judgments": [{"decision": ["A>B"]}]}, "['A>B'] is none of"),
    ("selective_evaluation", {**SELECTIVE, "outputs": ["x"]}, "outputs: ['x'] are not two texts"),
    ("selective_evaluation", {**SELECTIVE, "probs": [HUGE, 1]}, "are not two probabilities"),
    ("canonical", {"messages": talk("Q", "x", "P"), "responses_a": ["x", "y"],
                   "responses_b": ["x", "y"]}, "several turns go with the user's turns alone"),
    ("canonical", {"model_a": "m", "model_b": "n", "human": []}, "a row without texts needs a label"),
    ("canonical", {"prompt": "Q", "response_a": "x", "response_b": "y",
                   "judges": {"j": {"p_a": 1}, "j ": {"p_a": 0}}}, "differ only by blanks"),
    ("canonical", {"id": "\ud800", "label": "a"}, "no row of the upload is a pair"),
    ("canonical", {"id": "p", "human": 5}, "human: 5 is not a list of votes"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "row", "reason"), REFUSED)
def test_a_row_that_cannot_be_read_says_why(dialect: str, row: dict[str, Any], reason: str) -> None:
    pairs, reader = staged([row], dialect)
    assert pairs == []
    [told] = refused(reader)
    assert reason in told


# what is read beside the plain forms


def said_of(pairs: list[dict[str, Any]]) -> list[list[tuple[Any, str]]]:
    """Return who said what of each pair."""
    return [[(vote["annotator"], vote["label"]) for vote in pair["human"]] for pair in pairs]


def test_argilla_fields_and_answers_that_are_no_verdict_are_kept_or_told() -> None:
    several = {"q": [said(["response2"])], "why": [said({"text": "x"}), said("one\ntwo", "u2")]}
    lists = [{"values": {"q": "response1", "why": None}, "user_id": "u1"}, {"values": "none"}]
    fields = {**RECORD["fields"], "source": "web"}
    rows = [
        {**RECORD, "fields": fields, "metadata": {"lang": "en"}, "responses": several},
        {**RECORD, "id": 2, "responses": lists},
        {**answered(["response2", "response1"]), "id": 3},
        {**answered("response1", status="discarded"), "id": 4},
    ]
    pairs, reader = staged(rows, "argilla")
    assert refused(reader) == []
    assert said_of(pairs) == [[("u1", "b")], [("u1", "a")], [("u", "b")], []]
    assert pairs[0]["metadata"] == {"source": "web", "lang": "en"}
    assert set(reader.warnings()) == {
        "texts written to the question 'why', not kept: 1", "discarded responses: 1",
    }  # fmt: skip


def test_argilla_tables_may_list_answers_as_objects() -> None:
    given = {"external_id": "e", "prompt": "Q", "response1": "x", "response2": "y",
             "metadata": "[1]", "preference": [{"user_id": "u", "value": "response2"}]}  # fmt: skip
    [pair], _ = staged([given])
    assert (pair["id"], said_of([pair]), pair["metadata"]) == (
        "e", [[("u", "b")]], {"metadata": [1]},
    )  # fmt: skip


def test_label_studio_answers_in_any_control_are_read() -> None:
    comment = {"type": "textarea", "from_name": "why", "value": {"text": ["dull", "long"]}}
    plain = {"type": "textarea", "from_name": "why", "value": {"text": "dull"}}
    left = {"type": "choices", "from_name": "pref", "value": {"choices": "left"}}
    odd = {"type": "choices", "from_name": "pref", "value": {"choices": 5}}
    rated = [
        {"type": "rating", "to_name": "left", "value": {"rating": HUGE}},
        {"type": "number", "from_name": "$right", "value": {"number": 3}},
        {"type": "rating", "from_name": "style", "value": {"rating": 1}},
    ]
    alone = {"type": "rating", "from_name": "answer_b", "value": {"rating": 1}}
    rows = [
        {**annotated(left, comment, tribunal={"strength": 1}), "id": 1},
        {**annotated({**left, "value": {"choices": ["right"]}}, plain), "id": 2},
        {**annotated(*rated, {"type": "pairwise"}), "id": 3},
        {**annotated(*rated), "id": 4},
        {**annotated(alone), "id": 5},
        {**annotated(odd, left), "id": 6},
        {**annotated(), "id": 7},
    ]
    pairs, reader = staged(rows, "label_studio")
    assert [one["reason"] for one in reader.rejected] == []
    assert said_of(pairs) == [
        [("3", side)] if side else [] for side in ("a", "b", "", "a", "", "a", "")
    ]
    assert pairs[0]["human"][0]["comment"] == "dull\nlong"
    assert (pairs[0]["human"][0]["strength"], pairs[1]["human"][0]["comment"]) == (1, "dull")
    told = "\n".join(reader.warnings())
    assert "annotations that rate one of the two texts alone, no votes: 1" in told
    assert "annotations without an answer: 2" in told


def test_flat_label_studio_answers_may_be_objects_and_lack_ids() -> None:
    base = {"id": 5, "prompt": "Q", "left": "x", "right": "y", "annotator": 1, "lead_time": 1.0}
    rows = [
        {**base, "annotation_id": 7, "pw": {"choices": ["left"]}, "checked": True},
        {**base, "annotation_id": None, "annotator": 2, "pw": "right", "checked": True},
    ]
    [pair], _ = staged(rows, "label_studio")
    assert said_of([pair]) == [[("1", "a"), ("2", "b")]]
    assert (pair["human"][0]["annotation_id"], "annotation_id" in pair["human"][1]) == (7, False)
    assert pair["metadata"] == {"checked": True}


def test_scores_of_one_model_and_repeated_rows_make_no_further_pair() -> None:
    first = {**OPINION, "id": "i", "group": "g", "criterion": "c",
             "human": [{"score": 2, "annotator": "ann"}],
             "judges": {"j": {"rating": 5, "cost": 0.25, "seconds": 1}}}  # fmt: skip
    other = {**first, "model": "n", "response": "y", "human": [{"score": 1, "annotator": "ann"}]}
    pairs, reader = staged([first, first, other, {**first, "response": "z"}], "pointwise")
    assert refused(reader) == []
    assert [(one["model_a"], one["model_b"], one["group_key"]) for one in pairs] == [
        ("m", "n", "g"), ("n", "m", "g"),
    ]  # fmt: skip
    # an id of the question does not tell two responses of one model apart
    assert not any(pair["id"].startswith("i|") for pair in pairs)
    assert [pair["content"]["criterion"] for pair in pairs] == ["c", "c"]
    assert said_of(pairs) == [[("ann", "a")], [("ann", "b")]]
    assert [(one["judges"]["j"]["cost_usd"], one["judges"]["j"]["seconds"]) for one in pairs] == [
        (0.5, 2), (0.5, 2),
    ]  # fmt: skip


def test_mt_bench_fields_of_votes_are_kept() -> None:
    rows: list[dict[str, Any]] = [
        {**VOTE, "turn": 1, "category": "maths", "winner": "tie (bothbad)"},
        {**VOTE, "turn": 2, "judge": ["gpt-4", "pair"], "winner": "tie (inconsistent)"},
        {**FIRST, "question_id": 82, "g1_winner": None},
    ]
    pairs, _ = staged(rows, "mt_bench")
    assert pairs[0]["human"][0]["both_bad"] is True
    assert pairs[0]["metadata"]["category"] == "maths"
    assert pairs[1]["judges"]["gpt-4/pair"]["flags"] == '["inconsistent"]'
    assert pairs[2]["judges"]["gpt-4/pair-v2"]["p_a"] == 0.5


def mt_answer(model: str, *turns: str) -> dict[str, Any]:
    return {"question_id": 1, "model_id": model, "choices": [{"turns": list(turns)}]}


def test_mt_bench_answers_are_joined_by_their_question_and_turn() -> None:
    question = {"question_id": 1, "turns": ["P", "Q"]}
    answers = [mt_answer("m", "x", "x2"), mt_answer("n", "y")]
    pairs, reader = staged([question, *answers], "mt_bench")
    assert [(pair["metadata"], pair["content"]["responses_b"]) for pair in pairs] == [
        ({"question_id": 1, "turn": 1}, ["y"])
    ]
    assert refused(reader) == []
    verdict = {**FIRST, "question_id": 1, "model_1": "m", "model_2": "n", "turn": 2}
    pairs, reader = staged([question, *answers, verdict], "mt_bench", "f")
    assert "turn 2 is not in the question and in both answers" in refused(reader)[0]
    [pair], _ = staged([verdict], "mt_bench", "f")
    assert pair["judges"]["gpt-4/pair-v2"]["p_a"] == 0.75
    pairs, reader = staged(answers, "mt_bench")
    assert [pairs, "makes a pair with it (question_id)" in refused(reader)[0]] == [[], True]


def test_two_alone_are_a_pair_of_arena_hard() -> None:
    def by(model: Any, *before: dict[str, Any]) -> dict[str, Any]:
        last = {"role": "assistant", "content": f"{model} says"}
        return {"uid": "u", "model": model, "messages": [*before, last]}

    asked = {"role": "user", "content": "Q"}
    [pair], _ = staged([by(1, asked), by("n", asked)])
    assert (pair["model_a"], pair["content"]["conversation"]) == ("1", [["user", "Q"]])
    system = {"role": "system", "content": "Be brief."}
    [pair], _ = staged([by("m", system, asked), by("n", system, asked)])
    assert pair["content"]["conversation"] == [["system", "Be brief."], ["user", "Q"]]
    [pair], _ = staged([by("m"), by("n"), {"uid": "u", "prompt": "P"}])
    assert pair["content"]["conversation"] == [["user", "P"]]
    [pair], reader = staged([{"question_id": 1, "model": "m", "judge": "j", "baseline": "own",
                              "games": [{"score": "A>B"}, {"score": "A>B"}]}])  # fmt: skip
    assert (pair["model_b"], reader.warnings()) == ("own", [])


def test_judges_are_told_from_people_by_their_names() -> None:
    battle = {**ROWS["battles"], "judge": "gpt-4"}
    arena = {**ARENA, "judge": "gpt-4"}
    texts = {"prompt": "Q", "response_a": "x", "response_b": "y", "label": "a"}
    for row in (battle, arena, {**texts, "judge": "gpt-4"}):
        [pair], _ = staged([row])
        assert (pair["human"], list(pair["judges"]), pair["judges"]["gpt-4"]["p_a"]) == (
            [], ["gpt-4"], 1,
        )  # fmt: skip
    [pair], _ = staged([{**texts, "judge": "ann", "label": "both bad"}])
    assert (said_of([pair]), pair["metadata"]) == ([[("ann", "tie")]], {})
    assert pair["human"][0]["both_bad"] is True
    _, reader = staged([{**texts, "judge": "gpt-4", "judges": ["j"]}])
    assert refused(reader) == ["judges: ['j'] is not an object"]


def test_preferences_keep_what_they_cannot_use() -> None:
    human = "\n\nHuman: Q\n\nAssistant:"
    rows: list[dict[str, Any]] = [
        {"prompt": f"{human} x\n\nHuman: R", "chosen": "x", "rejected": "y"},
        {"prompt": "P", "chosen": f"{human} x", "rejected": f"{human} y"},
        {"input": "I", "chosen": "x", "rejected": "y"},
        {"prompt": "Q", "history": [["u"]], "chosen": "x", "rejected": "y"},
        {"prompt": "R", "chosen": ["x", "y"], "rejected": ["z"]},
        {"prompt": human, "chosen": f"{human} x", "rejected": f"{human} y"},
    ]
    pairs, reader = staged(rows, "reward_bench")
    asked = [pair["content"]["conversation"][-1][1] for pair in pairs]
    assert asked == [f"{human} x\n\nHuman: R", "I", "Q", "R", "R", "Q"]
    assert "prompt: 'P' is not what the turns before the answers" in refused(reader)[0]
    assert pairs[2]["metadata"]["history"] == [["u"]]
    named = {**GENERATED, "id": "g", "ratings": [HUGE, 1]}
    answers = {"prompt": "Q", "answers": [{"answer": "x"}, {"answer": "y"}]}
    (first, second), _ = staged([named, answers], "distilabel")
    assert (first["id"], first["group_key"], second["judges"]) == ("g|0|1", "g", {})


def test_draws_and_probabilities_may_be_missing() -> None:
    draws = [{**DRAW, "policy": name, "response": name} for name in "mn"]
    pairs, reader = staged([*draws, {**DRAW, "policy": "o", "prompt": "P"}], "cje")
    assert ([pair["id"] for pair in pairs], refused(reader)) == (
        ["1|m|n"], ["prompt: differs from that of line 1 of "],
    )  # fmt: skip
    bare = [{k: v for k, v in one.items() if k != "prompt"} for one in draws]
    assert [pair["content"] for pair in staged(bare, "cje")[0]] == [None]
    given = {**SELECTIVE, "preferences": {"ann": 1}, "probs": None, "judge": "j"}
    [pair], _ = staged([given])
    assert pair["judges"]["j"]["failure"] is not None
    outputs = [{"instruction": "I", "output": model} for model in "mn"]
    _, reader = staged([outputs[0], {**outputs[1], "generator": "n"}])
    assert "generator: is missing" in refused(reader)[0]


def test_a_conversation_in_any_case_is_one_prompt_of_scores() -> None:
    rows = [
        {"messages": talk(asked), "response": model, "model": model, "score": n, "annotator": "u"}
        for n, (model, asked) in enumerate([("m", "Why?"), ("n", "why? ")])
    ]
    [pair], _ = staged(rows)
    assert said_of([pair]) == [[("u", "b")]]


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ([{**FIRST, "g1_winner": said} for said in ("model_1", "model_3")], "g1_winner"),
        ([{**GAME, "games": [{"score": "A>B"}, {"score": said}]} for said in ("A>B", "C")],
         "games.score"),
        ([{**OUTPUT, "judgments": [{"decision": said}]} for said in ("A>B", "C")],
         "judgments.decision"),
        ([{**SELECTIVE, "instruction": str(said), "preferences": {"ann": said}}
          for said in (1, 2, "C")], "preferences"),
        ([{"pair_id": said, "question": "Q", "response_A": "x", "response_B": "y", "label": said}
          for said in ("A>B", "A", "C")], "label"),
    ],
)  # fmt: skip
def test_verdicts_of_which_one_is_none_are_not_read(rows: list[dict[str, Any]], place: str) -> None:
    told = refused(staged(rows)[1])[-1]
    assert told.startswith(f"{place}: not every value is a verdict")


def test_verdicts_in_other_words_than_the_formats_are_read() -> None:
    [pair], _ = staged([{**FIRST, "g1_winner": "model_a", "g2_winner": "Both bad"}])
    assert [one["annotators"] for one in pair["judges"].values()] == ["[[1.0,0.5]]"]
    [pair], _ = staged([{**OUTPUT, "judgments": [{"decision": "A"}, {"decision": "[[B]]"}]}])
    assert [one["annotators"] for one in pair["judges"].values()] == ["[[1.0,1.0]]"]
    said = {"ann": "A", "bob": 2, "cid": None, "dan": "tie"}
    [pair], _ = staged([{**SELECTIVE, "preferences": said}])
    assert [vote["label"] for vote in pair["human"]] == ["a", "b", "tie"]
    [pair], _ = staged([{**SELECTIVE, "preferences": {"ann": 1}}], coding=["0=a,1=b"])
    assert [vote["label"] for vote in pair["human"]] == ["b"]
    game = {**GAME, "judge": ["j", "p"], "games": [{"score": "[[B > A]]"}, {"score": "A<B"}]}
    [pair], _ = staged([game])
    assert {name: one["annotators"] for name, one in pair["judges"].items()} == {
        "j/p": "[[0.0,1.0]]"
    }
