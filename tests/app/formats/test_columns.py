"""Columns of tables: what is a text, a model, a voter, and which side a column's name means."""

from __future__ import annotations

from typing import Any

import pytest

from app.formats.columns.declared import Declared, Layout
from app.imports.reading import Reader
from tests.app.formats.test_variants import talk
from tests.app.imports.uploads import refused, staged

Row = dict[str, Any]


def mapped(row: Row, columns: str, **declared: Any) -> tuple[list[Row], Reader]:
    """Read a row of a file whose columns are declared."""
    layout = Layout(Declared.read([columns] if columns else []))
    return staged([layout.row(row)], columns=[columns] if columns else [], **declared)


X, Y = (
    "One answer that is long enough to be a text.",
    "Another one that says something else than it does.",
)
WON: Row = {"model_a": "m1", "model_b": "m2", "winner": "model_a"}
ASKED: Row = {"prompt": "Q", "response_a": "x", "response_b": "y"}


@pytest.mark.parametrize(
    "texts",
    [
        {"article": X, "summary_a": "Short.", "summary_b": "Too."},
        {"story_A": X, "story_B": Y},
        {"source": X, "translation1": "x", "translation2": "y"},
        {"outcome_of_a": X, "outcome_of_b": Y},
        {"prompt_text": "Why?"},
        {"task": "What is a tree, and where does it grow?"},
        {"conversation": {"user": "Why?"}},
        {"a long tale": "one\ntwo", "poem a": "rose", "poem b": "red"},
    ],
)
@pytest.mark.parametrize(
    "base",
    [
        WON,
        {"left": "m1", "right": "m2", "winner": "left"},
        {**WON, "question_id": 1, "judge": "expert_1", "turn": 1},
        {"model_a": "m1", "model_b": "m2", "human": [{"label": "a"}]},
    ],
)
def test_a_row_with_texts_is_no_battle(base: Row, texts: Row) -> None:
    pairs, reader = staged([{**base, **texts}])
    assert pairs == []
    [told] = refused(reader)
    assert "the row has texts (" in told
    assert f"'{list(texts)[-1]}'" in told
    assert "a battle of two models has no texts: leave them out" in told


def test_sides_of_battles_that_are_texts_are_no_models() -> None:
    pairs, reader = staged([{"left": X, "right": Y, "winner": "left"}])
    assert pairs == []
    assert "the row has texts ('left', 'right')" in refused(reader)[0]


@pytest.mark.parametrize(
    "more",
    [
        {"task": "open-ended writing", "topic": "trees", "language": "en", "org_a": "One of them"},
        {"comment": X, "reason_a": X, "explanation_b": Y, "judge_note": X},
        {"url_a": "x" * 200, "data": X, "conv_metadata": {"a": 1}, "question_type": "why"},
    ],
)
def test_a_battle_may_have_remarks_and_short_details(more: Row) -> None:
    [pair], _ = staged([{**WON, **more}])
    assert (pair["content"], pair["metadata"]) == (None, more)


def test_votes_of_mt_bench_with_texts_in_columns_are_pairs() -> None:
    given = {**WON, "question_id": 81, "judge": "expert_1", "turn": 1}
    for texts in ({"question": "Q", "answer_1": "x", "answer_2": "y"}, ASKED):
        [pair], _ = staged([{**given, **texts}])
        assert (pair["content"]["responses_a"], pair["group_key"]) == (["x"], "81")
        assert [vote["annotator"] for vote in pair["human"]] == ["expert_1"]


@pytest.mark.parametrize(
    "row",
    [
        {**ASKED, "uid": "u1", "label": "a"},
        {"uid": "u1", "prompt": "Q", "response_1": "x", "response_2": "y", "label": "a"},
        {"uid": "u1", "prompt": "Q", "chosen": "x", "rejected": "y"},
        {"prompt": "Q", "response_0": "x", "response_1": "y", "winner": "response_0"},
        {"prompt": "Q", "answer_0": "x", "answer_1": "y", "label": ["A"]},
        {"prompt": [{"role": "user", "content": "Q"}], "answer_a": "x", "answer_b": "y",
         "label": "a"},
        {"context": [{"role": "user", "content": "Q"}], "response1": "x", "response2": "y",
         "preference": "response1"},
        {"question": "Q", "response_A": "x", "response_B": "y", "label": "A", "annotator": "ann"},
        {"messages": [{"from": "human", "value": "Q"}], "output_1": {"from": "gpt", "value": "x"},
         "output_2": {"from": "gpt", "value": "y"}, "winner": "output_1"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}],
         "response_a": "x", "response_b": "y", "label": "a"},
        {"prompt": "Q", "response_a": [{"role": "assistant", "content": "x"}],
         "response_b": [{"role": "assistant", "content": "y"}], "label": "a"},
        {"id": 1, "prompt": None, "response_a": talk("Q", "x"), "response_b": talk("Q", "y"),
         "label": "a"},
    ],
)  # fmt: skip
def test_a_prompt_with_two_answers_is_a_pair(row: Row) -> None:
    [pair], reader = staged([row])
    assert refused(reader) == []
    assert pair["content"]["conversation"] == [["user", "Q"]]
    [vote] = pair["human"]
    assert pair["content"][f"responses_{vote['label']}"] == ["x"]
    assert {*pair["content"]["responses_a"], *pair["content"]["responses_b"]} == {"x", "y"}
    assert vote["annotator"] == row.get("annotator", "gold" if "chosen" in row else None)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"response_a": talk("Q", "x"), "response_b": talk("P", "y")}, "the turns before the last"),
        ({"response_a": talk("Q", "x"), "response_b": talk("Q", "y")}, "holds turns before the"),
    ],
)
def test_conversations_that_do_not_go_together_are_refused(row: Row, told: str) -> None:
    assert told in refused(staged([{"prompt": "Q", **row}])[1])[0]


@pytest.mark.parametrize(
    ("answers", "columns", "winner", "label"),
    [
        (("response_0", "response_1"), "", "response_1", "b"),
        (("response_0", "response_1"), "", "Response 0", "a"),
        (("answer_2", "answer_1"), "response_a=answer_2,response_b=answer_1", "answer_1", "b"),
        (("right", "left"), "response_a=right,response_b=left", "Left", "b"),
        (("Answer X", "Answer Y"), "response_a=Answer X,response_b=Answer Y", "answer-y", "b"),
        (("answer_2", "answer_1"), "response_a=answer_2,response_b=answer_1", "response_b", "b"),
        (("answer_2", "answer_1"), "response_a=answer_2,response_b=answer_1", "tie", "tie"),
    ],
)
def test_a_verdict_that_names_a_column_means_what_stands_in_it(
    answers: tuple[str, str], columns: str, winner: str, label: str
) -> None:
    row = {"prompt": "Q", answers[0]: "x", answers[1]: "y", "winner": winner}
    [pair], _ = mapped(row, columns)
    assert pair["content"]["responses_a"] == ["x"]
    assert pair["human"][0]["label"] == label


def test_a_verdict_that_names_the_column_of_a_model_is_that_model() -> None:
    row = {"model_1": "m1", "model_2": "m2", "winner": "model_1"}
    [pair], _ = mapped(row, "model_a=model_2,model_b=model_1")
    assert (pair["model_b"], pair["human"][0]["label"]) == ("m1", "b")


def test_a_number_is_not_read_where_columns_are_counted_from_0() -> None:
    row = {"prompt": "Q", "answer_0": "x", "answer_1": "y", "winner": "output 1"}
    assert "means one side and names the other" in refused(staged([row])[1])[0]


@pytest.mark.parametrize("winner", ["A", "the first one", "right", "response 1"])
def test_a_word_for_a_side_is_not_read_where_columns_stand_crosswise(winner: str) -> None:
    row = {"prompt": "Q", "answer_2": "x", "answer_1": "y", "winner": winner}
    columns = "response_a=answer_2,response_b=answer_1"
    pairs, reader = mapped(row, columns)
    assert pairs == []
    assert "or of the other's column" in reader.heard.faults()[0]
    [pair], _ = mapped(row, columns, coding=[f"{winner}=b"])
    assert pair["human"][0]["label"] == "b"


@pytest.mark.parametrize("names", [("model_1", "model_2"), ("generator_a", "generator_b")])
def test_models_in_other_columns_are_the_models(names: tuple[str, str]) -> None:
    row = {**ASKED, names[0]: "m1", names[1]: "m2", "winner": names[1]}
    [pair], reader = staged([row])
    assert (pair["model_a"], pair["model_b"], pair["human"][0]["label"]) == ("m1", "m2", "b")
    assert reader.warnings() == [f"{names[0]} and {names[1]} are read as the two models in 1 rows"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"response_c": "z"},
            "response_c: is a further response and is kept as metadata in 1 rows",
        ),
        (
            {"response_3": "z"},
            "response_3: is a further response and is kept as metadata in 1 rows",
        ),
        ({"context": "Oaks."}, "context: looks like a text that belongs to the prompt"),
        ({"system_prompt": "In French."}, "system_prompt: looks like a text that belongs to the"),
        ({"rater": "ann"}, "rater: looks like the name of who voted and is kept as metadata in 1"),
        ({"Worker ID": 7}, "Worker ID: looks like the name of who voted"),
        ({"annotator": "gpt-4o"}, "annotator: taken for people: gpt-4o; if this is wrong"),
        ({"judge": ["gpt-4", "pair"]}, "judge: taken for judges: gpt-4/pair; if this is wrong"),
        (
            {"judges": {"j": {"p_a": 0.5, "why": "both good"}}},
            "judges: 'why' is not kept, in 1 rec",
        ),
    ],
)
def test_what_no_one_would_see_is_told(more: Row, said: str) -> None:
    _, reader = staged([{**ASKED, "label": "a", **more}])
    [told] = reader.warnings()
    assert told.startswith(said)


def test_texts_beside_a_preference_that_no_judge_sees_are_told() -> None:
    given = {"prompt": "Q", "chosen": "x", "rejected": "y", "context": "Oaks."}
    _, reader = staged([given])
    assert reader.warnings()[0].startswith("context: looks like a text that belongs to the prompt")


@pytest.mark.parametrize("name", ["count", "weight", "num_battles", "N"])
@pytest.mark.parametrize("base", [WON, {**ASKED, "label": "a"}])
def test_a_row_that_may_stand_for_several_votes_is_told(base: Row, name: str) -> None:
    _, reader = staged([{**base, name: 5}, {**base, "id": "other", name: 1}])
    assert f"{name}: does not count votes, in 1 rows" in reader.warnings()[0]


@pytest.mark.parametrize("base", [WON, {**WON, "question_id": 1, "turn": 1}])
def test_an_empty_name_of_a_judge_is_none(base: Row) -> None:
    [pair], _ = staged([{**base, "judge": " "}])
    assert [vote["annotator"] for vote in pair["human"]] == [None]


def test_a_battle_without_an_annotator_tells_of_who_may_be_one() -> None:
    _, reader = staged([{**WON, "labeled_by": "ann"}])
    assert reader.warnings()[0].startswith("labeled_by: looks like the name of who voted")
    [pair], _ = staged([{**WON, "judge": ["gpt-4", "pair"]}])
    assert (pair["human"], list(pair["judges"])) == ([], ["gpt-4/pair"])


@pytest.mark.parametrize(
    "row",
    [
        {**ASKED, "annotator": "gpt-4", "label": "a"},
        {**ASKED, "human": [{"annotator": "gpt-4", "label": "a"}]},
        {**WON, "annotator": "gpt-4"},
        {"data": {"prompt": "Q", "left": "x", "right": "y"},
         "annotations": [{"completed_by": "gpt-4", "result": [
             {"type": "pairwise", "value": {"selected": "left"}}]}]},
        {"fields": {"prompt": "Q", "response1": "x", "response2": "y"},
         "responses": {"q": [{"user_id": "gpt-4", "value": "response1"}]}},
    ],
)  # fmt: skip
def test_a_declared_judge_is_none_of_the_people_in_any_format(row: Row) -> None:
    [pair], reader = staged([row], judges=["gpt*"])
    assert (pair["human"], pair["judges"]["gpt-4"]["p_a"]) == ([], 1.0)
    assert reader.warnings()[-1].startswith("annotator: taken for judges: gpt-4")
    [pair], reader = staged([row], people=["gpt-4"])
    assert [vote["annotator"] for vote in pair["human"]] == ["gpt-4"]


def test_verdicts_of_a_declared_judge_by_criterion_are_told_apart() -> None:
    votes = [
        {"annotator": "j", "label": x, "criterion": c} for x, c in (("a", "style"), ("b", None))
    ]
    [pair], _ = staged([{**ASKED, "human": votes}], judges=["j"])
    assert {name: one["p_a"] for name, one in pair["judges"].items()} == {"j:style": 1, "j": 0}
    twice = {**ASKED, "human": [{"annotator": "j", "label": label} for label in "ab"]}
    assert refused(staged([twice], judges=["j"])[1]) == [
        "judges: 'j' has two verdicts on this pair"
    ]
    vote = {"id": "p", "annotator": "j", "label": "a"}
    told = refused(staged([{**ASKED, "id": "p"}, vote], judges=["j"])[1])
    assert told[0].startswith("annotator: 'j' is declared to be a judge")


def test_groups_and_criteria_that_are_nearly_alike_are_told() -> None:
    rows = [
        {**ASKED, "response_a": name, "group": name, "criterion": name, "label": "a"}
        for name in ("Q1", "q1 ", "q1")
    ]
    told = staged(rows)[1].warnings()
    for what in ("groups", "criteria"):
        assert (
            f"{what} whose names differ only by case or blanks are kept apart: 'Q1' and 'q1'"
            in told
        )


def test_models_are_the_same_with_blanks_that_no_one_sees() -> None:
    scores = [
        {"prompt": "Q", "response": text, "model": model, "score": 1, "annotator": "ann"}
        for text, model in (("x", "m1"), ("y", "m1\u200b "), ("z", "m2"))
    ]
    pairs, _ = staged(scores)
    assert [(one["model_a"], one["model_b"]) for one in pairs] == [("m1", "m2"), ("m1", "m2")]
    said = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "x"}]
    hard: list[Row] = [
        {"uid": "u", "model": "m1 ", "messages": said}, {"uid": "u", "model": "base", "messages": said},
        {"uid": "u", "judge": "j", "model": "m1", "baseline": "base",
         "games": [{"score": "A>B"}, {"score": "A>B"}]},
    ]  # fmt: skip
    assert refused(staged(hard)[1]) == []
