from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.recorded import Jury, RecordedJudge, score_from_record
from judges.types import FailureKind, Pair, Score
from tests.data_sets import rows
from tests.judges.pairs import pair_of, probability


def recorded_pair(records: dict[str, Any]) -> Pair:
    return pair_of(recorded={name: score_from_record(name, r) for name, r in records.items()})


def kind_of(score: Score) -> FailureKind | None:
    return None if score.failure is None else score.failure.kind


async def test_a_recorded_judge_answers_with_the_record() -> None:
    pair = recorded_pair({"gpt-4": {"p_a": 0.9}, "other": {"p_a": 0.1}})
    score = await RecordedJudge("gpt-4").score(pair)
    assert score is pair.recorded["gpt-4"]
    assert score.fingerprint == RecordedJudge("gpt-4").spec.fingerprint


async def test_no_record_is_a_failure_of_its_own_kind() -> None:
    score = await RecordedJudge("gpt-4").score(pair_of())
    assert kind_of(score) is FailureKind.NOT_RECORDED
    assert score.fingerprint == RecordedJudge("gpt-4").spec.fingerprint


async def test_a_record_of_another_model_is_not_this_judge_s_and_says_so() -> None:
    pair = recorded_pair({"gpt-4": {"p_a": 0.9, "model": "gpt-4-0613"}})
    assert kind_of(await RecordedJudge("gpt-4", model="gpt-4-0613").score(pair)) is None
    score = await RecordedJudge("gpt-4", model="gpt-4-1106").score(pair)
    assert kind_of(score) is FailureKind.NOT_RECORDED
    assert score.failure is not None
    assert pair.recorded["gpt-4"].fingerprint in score.failure.detail
    assert "gpt-4-1106" in score.failure.detail


JURY = Jury("gpt4-votes", ["GPT-4/*", "extra"])


async def test_a_jury_is_the_mean_of_the_members_whose_names_match() -> None:
    pair = recorded_pair(
        {
            "GPT-4/CoT": {"label_original": "a", "label_swapped": "a"},
            "GPT-4/Plain": {"label_original": "a", "label_swapped": "b"},
            "extra": {"label_original": "b", "label_swapped": "b"},
            "ChatGPT/CoT": {"label": "b"},
            "gpt-4/CoT": {"label": "b"},
        }
    )
    score = await JURY.score(pair)
    assert score.p_a == 0.5
    assert score.annotators == ((1.0, 1.0), (1.0, 0.0), (0.0, 0.0))
    assert score.flags == ("members:3",)


async def test_a_failed_member_is_left_out_and_counted() -> None:
    pair = recorded_pair({"GPT-4/CoT": {"label": "a"}, "GPT-4/Plain": {"label": None}})
    score = await JURY.score(pair)
    assert score.p_a == 1.0
    assert score.flags == ("members:1", "members_failed:1")
    assert score.manner == "members:1"


async def test_a_jury_all_of_whose_members_failed_has_failed() -> None:
    pair = recorded_pair({"GPT-4/CoT": {"p_a": None}, "GPT-4/Plain": None})
    assert kind_of(await JURY.score(pair)) is FailureKind.RECORDED


async def test_a_jury_without_members_is_not_recorded() -> None:
    pair = recorded_pair({"ChatGPT/CoT": {"p_a": 0.3}})
    assert kind_of(await JURY.score(pair)) is FailureKind.NOT_RECORDED


async def test_the_members_costs_add_up_where_all_are_known() -> None:
    known = {"p_a": 0.4, "cost": 0.5, "seconds": 2, "tokens": 3}
    pair = recorded_pair({"GPT-4/a": known, "GPT-4/b": known})
    score = await JURY.score(pair)
    assert (score.cost_usd, score.seconds, score.usage.prompt) == (1.0, 2.0, 6)
    partly = recorded_pair({"GPT-4/a": known, "GPT-4/b": {"p_a": 0.4}})
    assert (await JURY.score(partly)).cost_usd is None


async def test_a_member_with_several_annotators_has_one_vote_and_one_row() -> None:
    many = {"annotators": [[0.8, 0.6], [0.4, 0.2], [0.6, 0.4]]}
    tied = {"annotators": [[0.5, 0.3, 0.2], [0.5, 0.3, 0.4]]}
    score = await JURY.score(recorded_pair({"GPT-4/a": many, "extra": {"annotators": [[1, 1]]}}))
    assert score.p_a == 0.75
    assert score.annotators == ((0.6, 0.4), (1.0, 1.0))
    with_ties = await JURY.score(recorded_pair({"GPT-4/a": tied}))
    assert with_ties.annotators == ((0.5, 0.3, 0.3, 0.3),)
    assert with_ties.p_tie == 0.3


def test_a_jury_s_fingerprint_is_of_its_members() -> None:
    assert Jury("x", ["b", "a", "a"]).spec.fingerprint == Jury("y", ["a", "b"]).spec.fingerprint
    assert Jury("x", ["a"]).spec.fingerprint != Jury("x", ["b"]).spec.fingerprint


@given(st.lists(st.one_of(st.none(), st.tuples(probability, probability)), min_size=1, max_size=6))
async def test_a_jury_mirrors(members: list[tuple[float, float] | None]) -> None:
    records = {f"GPT-4/{i}": {"annotators": m and [m]} for i, m in enumerate(members)}
    pair = recorded_pair(records)
    swapped = await JURY.score(pair.swapped())
    assert swapped == (await JURY.score(pair)).mirrored()


@pytest.mark.parametrize("name", ["llmbar", "prd_vicuna80", "mtbench_human", "llmfao", "pandalm"])
def test_every_record_of_the_public_sets_can_be_read(name: str) -> None:
    kinds = {
        kind_of(score_from_record(judge, record))
        for row in rows(name)
        for judge, record in row["judges"].items()
    }
    assert kinds <= {None, FailureKind.RECORDED}
    assert None in kinds
