"""Slices: joint, each alone, and by common thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration import certify_cascade, decide, decide_in_slices
from calibration.errors import InvalidArgument, UnavailableMethod

NAN = float("nan")


def _sliced(rule: Any, bad: float = 0.05, **options: Any) -> Any:
    rng = np.random.default_rng(6)
    names = np.array(["one", "two", "three"])[rng.integers(0, 3, 900)]
    risk = np.where(names == "two", bad, 0.05)
    confidence = rng.uniform(0.5, 1, (900, 2))
    correct = np.repeat(rng.uniform(size=(900, 1)) >= risk[:, None], 2, axis=1)
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.2,
        slices=names,
        slice_rule=rule,
        rng=np.random.default_rng(0),
        **options,
    )
    return certificate, confidence, names


def test_common_thresholds_hold_in_every_slice() -> None:
    certificate, confidence, names = _sliced("common")
    assert certificate.is_certified
    assert [part.slice for part in certificate.certificates] == ["one", "three", "two"]
    for part in certificate.certificates:
        np.testing.assert_array_equal(part.thresholds, certificate.thresholds)
        assert part.level <= 0.1
    assert sum(part.answered for part in certificate.certificates) == certificate.answered
    judge = decide_in_slices(certificate, confidence, names)
    np.testing.assert_array_equal(judge, decide(confidence, certificate.thresholds))
    assert "same thresholds" in certificate.claim


def test_one_bad_slice_leaves_no_common_thresholds() -> None:
    certificate, _, _ = _sliced("common", bad=0.4)
    assert not certificate.is_certified
    assert not any(part.is_certified for part in certificate.certificates)
    each, _, _ = _sliced("each", bad=0.4)
    assert [part.is_certified for part in each.certificates] == [True, True, False]


def test_slices_alone_have_the_whole_failure_probability() -> None:
    each, _, _ = _sliced("each")
    joint, _, _ = _sliced("joint")
    assert {part.failure_probability for part in each.certificates} == {0.1}
    assert {round(part.failure_probability, 9) for part in joint.certificates} == {
        round(0.1 / 3, 9)
    }
    assert "holds alone" in each.claim
    assert "hold together" in joint.claim


def test_common_thresholds_of_a_menu() -> None:
    certificate, _, _ = _sliced("common", menu=[0.3])
    assert len(certificate.certificates) == 6
    assert {part.target_risk for part in certificate.certificates} == {0.2, 0.3}


def test_common_thresholds_of_a_learned_path() -> None:
    certificate, _, _ = _sliced("common", method="learned")
    assert certificate.is_certified


def test_common_thresholds_need_a_path() -> None:
    with pytest.raises(UnavailableMethod, match="common to slices"):
        _sliced("common", method="simultaneous")


def test_an_unknown_rule_for_slices_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"slice_rule.*joint, each, common"):
        _sliced("all")
