from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.formats import alpaca_eval, battles, mt_bench, reward_bench
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow, parse_row
from judges.types import Message
from tests.app.formats.test_detection import FURTHER, ROWS
from tests.app.imports.uploads import pairs_of, upload


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
    row = _read(alpaca_eval, {**ROWS["alpaca_eval"], "preference": preference})
    assert row.recorded["judge"].p_a == p_a
    assert (row.recorded["judge"].failure is None) == (p_a is not None)


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


@pytest.mark.parametrize("preference", [3, 0.5, "1", True, [1]])
def test_what_is_no_alpaca_preference_is_rejected(preference: Any) -> None:
    with pytest.raises(RowInvalid, match="preference"):
        _read(alpaca_eval, {**ROWS["alpaca_eval"], "preference": preference})


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
