"""One resolver for every source of recorded scores."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from app.core.errors import Unprocessable
from app.scores.judges import PairScores, judges_with, resolve
from judges.recorded import RecordedJudge, score_from_record
from judges.registry import Registry
from judges.types import Score

REGISTRY = Registry.from_config({"cascades": {"both": {"judges": ["student", "j"]}}})


class Order(NamedTuple):
    judges: list[str]


def record(name: str, **fields: object) -> Score:
    return score_from_record(name, fields)


def test_a_configured_name_wins_over_a_recorded_one() -> None:
    recorded = {"student": {"one", "two"}}
    assert resolve(REGISTRY, ["student"], recorded, "here") == [REGISTRY.judges["student"]]


def test_another_name_is_the_judge_that_the_records_name() -> None:
    scores = [{"j": record("j", p_a=0.2, model="m")}, {"j": record("j", p_a=None)}, {}]
    (judge,) = judges_with(REGISTRY, Order(["j"]), PairScores(scores, "with the pairs"))
    assert judge.spec.fingerprint == RecordedJudge("j", model="m").spec.fingerprint


def test_only_a_configured_cascade_may_name_a_judge_that_no_pair_records() -> None:
    everything = PairScores([{}], "with the pairs")
    assert [judge.spec.name for judge in judges_with(REGISTRY, "both", everything)][1] == "j"
    for cascade, scores in (
        ("both", everything._replace(is_sample=True)),
        (Order(["student", "j"]), everything),
    ):
        with pytest.raises(Unprocessable, match="'j' is neither"):
            judges_with(REGISTRY, cascade, scores)


@pytest.mark.parametrize(
    ("fingerprints", "named"),
    [
        ({"jude": {"f"}}, ["'judge'", "in the first rows", "'jude'"]),
        ({"judge": {"f", "g"}}, ["'judge'", "in the first rows", "2 different"]),
    ],
)
def test_a_name_that_is_no_single_judge_is_refused(
    fingerprints: dict[str, set[str]], named: list[str]
) -> None:
    with pytest.raises(Unprocessable) as refused:
        resolve(REGISTRY, ["judge"], fingerprints, "in the first rows")
    assert all(word in refused.value.detail for word in named)
    assert refused.value.errors[0]["loc"] == ["body", "cascade", "judges"]
