"""Which thresholds are in force for a pair."""

from __future__ import annotations

import math

import pytest

from app.core.errors import Conflict
from app.core.models import CalibrationRow
from app.judgments.authority import Authority, _refuse_unusable
from judges.cascade import Tier
from judges.recorded import RecordedJudge

TIERS = (Tier(RecordedJudge("cheap"), 0.9), Tier(RecordedJudge("dear"), 0.7))


def certificate(status: str = "certified", **body: object) -> CalibrationRow:
    parts = [
        {"slice": name, "thresholds": [{"threshold": first}, {"threshold": None}]}
        for name, first in (("law", 0.8), ("code", 0.6), ("law", 0.95))
    ]
    return CalibrationRow(
        seq=1, status=status, request={"slices": "task"}, body={"certificates": parts, **body}
    )


@pytest.mark.parametrize(
    ("metadata", "thresholds"),
    [
        ({"task": "law"}, [0.8, math.inf]),  # the first of two targets
        ({"task": "code"}, [0.6, math.inf]),
        ({"task": "art"}, [math.inf, math.inf]),
        ({}, [math.inf, math.inf]),
    ],
)
def test_a_pair_has_the_tiers_of_its_slice(
    metadata: dict[str, str], thresholds: list[float]
) -> None:
    authority = Authority(TIERS, "exclude", certificate())
    cascade = authority.cascade_for(metadata)
    tiers = cascade.tiers
    assert [tier.threshold for tier in tiers] == thresholds
    assert [tier.judge for tier in tiers] == [tier.judge for tier in TIERS]
    assert authority.cascade_for(dict(metadata)) is cascade  # built once, not once a pair


def test_without_a_certificate_all_pairs_have_the_same_tiers() -> None:
    authority = Authority(TIERS, "exclude", None)
    assert authority.cascade_for({"task": "law"}) is authority.cascade
    assert not authority.is_certified


@pytest.mark.parametrize(
    ("made", "promises"),
    [
        (certificate(), True),
        (certificate(method="average"), False),
        (certificate("not_certifiable"), False),
    ],
)
def test_only_a_certificate_of_new_pairs_promises(made: CalibrationRow, *, promises: bool) -> None:
    assert Authority(TIERS, "exclude", made).is_certified is promises


@pytest.mark.parametrize("status", ["pending", "running", "failed"])
def test_a_certificate_without_thresholds_judges_nothing(status: str) -> None:
    made = certificate(status)
    made.id = "cal_1"
    with pytest.raises(Conflict, match=f"calibration cal_1 is {status}: it has no thresholds"):
        _refuse_unusable(made)
