from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.formats.base import RowInvalid
from app.formats.canonical import PairIn, ParsedRow, parse_row, to_pair
from judges.types import Message, Pair, prompt_hash


def _row(**fields: Any) -> dict[str, Any]:
    row = {"prompt": "Why?", "response_a": "x", "response_b": "y", **fields}
    return {name: value for name, value in row.items() if value is not ...}


def _pair(**fields: Any) -> Pair:
    pair = parse_row(_row(**fields), 1).pair
    assert pair is not None
    return pair


def _reason(**fields: Any) -> str:
    with pytest.raises(RowInvalid) as caught:
        parse_row(_row(**fields), 1)
    return str(caught.value)


def test_a_prompt_becomes_one_user_turn_with_its_input_after_a_blank_line() -> None:
    assert _pair().conversation == (Message("user", "Why?"),)
    assert _pair(input="Because").conversation == (Message("user", "Why?\n\nBecause"),)
    assert _pair(input="") == _pair(input=None) == _pair()


def test_turns_of_a_prompt_have_a_response_each_or_one_to_the_last() -> None:
    several = _pair(
        prompt=["1", "2"], input="i", response_a=..., response_b=...,
        responses_a=["x", "xx"], responses_b=["y", "yy"],
    )  # fmt: skip
    assert several.user_turns == ("1\n\ni", "2")
    assert several.responses_b == ("y", "yy")
    assert _pair(prompt=["1", "2"]).responses_a == ("x",)


def test_messages_are_a_conversation() -> None:
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v")]
    messages = [{"role": role, "content": text} for role, text in turns]
    pair = _pair(prompt=..., messages=messages)
    assert pair.conversation == tuple(Message(*turn) for turn in turns)
    assert pair.prompt_hash == prompt_hash("u")


def test_the_default_id_depends_on_texts_and_models_alone() -> None:
    first = parse_row(_row(metadata={"x": 1}), 1).id
    assert first == parse_row(_row(human=[{"label": "a"}]), 9).id
    others = (_row(response_a="z"), _row(model_a="m"), _row(model_b="m"), _row(criterion="c"))
    assert len({first, *(parse_row(each, 1).id for each in others)}) == 5


@pytest.mark.parametrize(
    ("fields", "group"),
    [
        ({"group": "g", "question_id": 1, "prompt_id": 2}, "g"),
        ({"question_id": 81, "prompt_id": 2}, "81"),
        ({"metadata": {"question_id": "q"}, "prompt_id": 2}, "q"),
        ({"prompt_id": "p"}, "p"),
        ({"question_id": None, "group": None}, prompt_hash("why")),
        ({"prompt": " WHY!! "}, prompt_hash("why")),
    ],
)
def test_the_group_is_told_or_follows_from_the_prompt(fields: dict[str, Any], group: str) -> None:
    assert parse_row(_row(**fields), 1).group == group


def test_integers_are_names_and_booleans_are_not() -> None:
    row = parse_row(_row(id=7, group=8, human=[{"annotator": 9, "label": "a"}]), 1)
    assert (row.id, row.group, row.votes[0].annotator) == ("7", "8", "9")
    assert _reason(id=True) == "id: True is neither a string nor an integer"


def test_a_battle_has_no_texts_and_its_line_number_for_an_id() -> None:
    row = parse_row({"model_a": "x", "model_b": "y", "human": [{"label": "LEFT"}]}, 17)
    assert (row.pair, row.id, row.group, row.votes[0].label) == (None, "17", "17", "a")
    recorded = {"id": "z", "model_a": "x", "model_b": "y", "judges": {"j": {"label": "b"}}}
    assert parse_row(recorded, 17).id == "z"
    with pytest.raises(RowInvalid):
        to_pair(PairIn.model_validate(recorded))


def test_fields_beside_the_label_are_kept_and_both_bad_is_a_tie_with_a_note() -> None:
    vote = {"annotator": "x", "label": "Both_Bad", "strength": 2, "first_shown": "B"}
    [parsed] = parse_row(_row(human=[vote]), 1).votes
    assert (parsed.label, parsed.criterion) == ("tie", "overall")
    assert parsed.details == {"strength": 2, "first_shown": "B", "both_bad": True}


def test_unknown_fields_move_into_metadata_and_may_not_contradict_it() -> None:
    row = parse_row(_row(category="c", metadata={"category": "c", "x": 1}), 1)
    assert row.metadata == {"category": "c", "x": 1}
    assert _reason(category="c", metadata={"category": "d"}).startswith("category: differs")


def test_a_request_forbids_what_an_import_keeps_aside() -> None:
    with pytest.raises(ValidationError, match="category"):
        PairIn.model_validate(_row(category="c"))


TURN = {"role": "user", "content": "u"}
REASONS: dict[str, dict[str, Any]] = {
    "prompt: is missing (or messages)": {"prompt": ...},
    "prompt: 5 is neither a string nor a list of the user's turns": {"prompt": 5},
    "prompt: [] is neither a string nor a list of the user's turns": {"prompt": []},
    "messages: give either prompt or messages, not both": {"messages": [TURN]},
    "messages: no turn of the user": {"prompt": ..., "messages": []},
    "messages: the last turn is the assistant's, but the responses continue it": {
        "prompt": ..., "messages": [TURN, {"role": "assistant", "content": "a"}],
    },
    "input: belongs to prompt, not to messages": {
        "prompt": ..., "messages": [TURN], "input": "i",
    },
    "response_a: is missing": {"response_a": ...},
    "response_b: True is not a string": {"response_b": True},
    "response_a: ['x'] is not a string": {"response_a": ["x"]},
    "responses_a: give either response_a or responses_a, not both": {"responses_a": ["x"]},
    "responses_a, responses_b: give both, or response_a and response_b": {
        "response_a": ..., "responses_a": ["x"],
    },
    "responses_a, responses_b: 1 user turns need as many responses each": {
        "response_a": ..., "response_b": ..., "responses_a": ["x", "z"], "responses_b": ["y"],
    },
    "responses_b: ['y', 1] is not a list of strings, one for each user turn": {
        "response_b": ..., "responses_b": ["y", 1],
    },
    "human.0.label: 'C' is not a label: give a, b or tie": {"human": [{"label": "C"}]},
    "human.1.label: is missing": {"human": [{"label": "a"}, {"annotator": "x"}]},
    "human.0.annotator: 1.5 is neither a string nor an integer": {
        "human": [{"annotator": 1.5, "label": "a"}],
    },
    "human: is not a list": {"human": {"label": "a"}},
    "human.0: is nested more than 50 deep": {
        "human": [{"label": "a", "x": json.loads("[" * 60 + "]" * 60)}],
    },
    "judges.j.p_a: 1.3 is not between 0 and 1": {"judges": {"j": {"p_a": 1.3}}},
    "judges: [] is not an object": {"judges": []},
    r"judges: the name of a judge 'a\x00' holds a control character": {"judges": {"a\x00": None}},
    "metadata: 'x' is not an object": {"metadata": "x"},
    "metadata: is nested more than 50 deep": {"metadata": {"x": json.loads("[" * 60 + "]" * 60)}},
    "id: must not be empty": {"id": ""},
    r"id: '\ud800' holds a lone surrogate": {"id": "\ud800"},
    r"group: 'a\x85b' holds a control character": {"group": "a\x85b"},
    "model_a: has 513 characters, at most 512 are allowed": {"model_a": "x" * 513},
    "question_id: [1] is neither a string nor an integer": {"question_id": [1]},
}  # fmt: skip


@pytest.mark.parametrize(("reason", "fields"), REASONS.items(), ids=REASONS.keys())
def test_every_reason_names_the_field_and_what_is_wrong(
    reason: str, fields: dict[str, Any]
) -> None:
    assert _reason(**fields) == reason


def test_of_many_faults_the_first_are_told_and_the_rest_counted() -> None:
    reason = _reason(human=[{"label": "C"}] * 10)
    assert reason.count("is not a label") == 3
    assert reason.endswith("and 7 more")


def test_a_reason_is_short_and_printable_whatever_the_row_holds() -> None:
    reason = _reason(model_a="\x00\ud800" * 10_000, human=[{"label": "\u202e" * 10_000}])
    assert len(reason) <= 500
    assert reason.encode("utf-8").decode().isprintable()


def test_the_schema_of_a_row_is_complete_for_the_documentation() -> None:
    schema = PairIn.model_json_schema()
    assert schema["additionalProperties"] is False
    assert {"prompt", "messages", "responses_a", "human", "judges", "metadata"} <= set(
        schema["properties"]
    )
    PairIn.model_validate(schema["examples"][0])


_names = st.sampled_from([*PairIn.model_fields, "question_id", "prompt_id", "x", ""])
_text = st.text(st.characters(codec=None), max_size=5)
_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            _text | st.sampled_from(["label", "role", "content", "p_a", "annotator", "criterion"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(fields=st.dictionaries(_names, _value, max_size=6), is_whole=st.booleans())
def test_any_row_is_read_or_rejected_with_a_printable_reason(
    fields: dict[str, Any], *, is_whole: bool
) -> None:
    row = {"prompt": "p", "response_a": "x", "response_b": "y", **fields} if is_whole else fields
    parsed: ParsedRow | None = None
    reason = ""
    try:
        parsed = parse_row(row, 3)
    except RowInvalid as error:
        reason = str(error)
    reason.encode("utf-8")
    assert len(reason) <= 500
    assert bool(reason) != bool(parsed)
    if parsed:
        assert parsed.id
        assert parsed.group
        json.dumps(parsed.metadata)
