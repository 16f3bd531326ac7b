"""One resolver for every source of recorded scores."""

from __future__ import annotations

import pytest

from app.core.errors import Unprocessable
from app.scores.judges import Recorded, resolve
from judges.recorded import RecordedJudge, score_from_record
from judges.registry import Registry
from judges.types import Score

REGISTRY = Registry.from_config({})


def record(name: str, **fields: object) -> Score:
    return score_from_record(name, fields)


def test_a_configured_name_wins_over_a_recorded_one() -> None:
    recorded = Recorded({"student": {"one", "two"}}, "with any of the pairs")
    assert resolve(REGISTRY, ["student"], recorded) == [REGISTRY.judges["student"]]


def test_another_name_is_the_judge_that_the_records_name() -> None:
    scores = [{"j": record("j", p_a=0.2, model="m")}, {"j": record("j", p_a=None)}, {}]
    (judge,) = resolve(REGISTRY, ["j"], Recorded.with_pairs(scores, "with any of the pairs"))
    assert judge.spec.fingerprint == RecordedJudge("j", model="m").spec.fingerprint


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
        resolve(REGISTRY, ["judge"], Recorded(fingerprints, "in the first rows"))
    assert all(word in refused.value.detail for word in named)
    assert refused.value.errors[0]["loc"] == ["body", "cascade", "judges"]
