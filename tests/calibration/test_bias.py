from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.bias import (
    excess_lean,
    lean_towards,
    length_lean,
    longer_side,
    position_consistency,
    position_lean,
    self_preference,
)
from calibration.labels import MISSING, TIE, A, B, mirrored
from calibration.resampling import ClusterBootstrap
from tests.calibration.recorded_votes import pairs, reference, verdicts


def test_consistency_counts_pairs_parsed_in_both_orders() -> None:
    found = position_consistency([A, B, TIE, A, MISSING], [A, A, TIE, MISSING, B])
    assert found.value == pytest.approx(2 / 3)
    assert found.n == 3


def test_judge_that_always_takes_the_first_leans_fully() -> None:
    assert position_lean([A] * 9, [B] * 9).value == 1
    assert position_lean([B] * 9, [A] * 9).value == -1
    assert position_lean([A, B, TIE], [A, B, TIE]).value == 0


def test_lean_counts_each_order_and_keeps_ties_below_the_line() -> None:
    found = position_lean([A, A, MISSING], [B, TIE, B])
    assert found.value == pytest.approx(3 / 4)
    assert found.n == 4


@settings(deadline=None)
@given(hnp.arrays(np.int64, (2, 25), elements=st.integers(-1, 2)))
def test_mirroring_the_pairs_changes_no_position_figure(labels: np.ndarray) -> None:
    original, swapped = labels
    boot = ClusterBootstrap.over(np.arange(25) // 2, np.random.default_rng(0), n_resamples=20)
    # The mirrored pair's first order is the second order of the pair as posted.
    straight = position_lean(original, swapped, boot)
    mirror = position_lean(mirrored(swapped), mirrored(original), boot)
    assert straight == mirror
    assert position_consistency(original, swapped, boot) == position_consistency(
        mirrored(swapped), mirrored(original), boot
    )


def test_length_lean_is_measured_against_people() -> None:
    difference = [10, -3, 5, 0, 7, 2]
    judge = [A, B, A, A, TIE, A]
    human = [A, A, B, A, A, TIE]
    found = length_lean(judge, human, difference)
    assert found.value == pytest.approx(1 - 1 / 3)
    assert found.n == 3
    assert longer_side(difference).tolist() == [A, B, A, MISSING, A, A]


def test_share_for_the_favoured_side_has_its_interval() -> None:
    found = lean_towards([A, A, B, TIE, A], [A, B, B, A, MISSING])
    assert found.value == pytest.approx(2 / 3)
    assert found.n == 3
    assert found.low is not None


def test_judge_that_follows_people_has_no_excess() -> None:
    labels = np.array([A, B] * 20)
    boot = ClusterBootstrap.over(np.arange(40), np.random.default_rng(0))
    found = excess_lean(labels, labels, np.zeros(40, dtype=np.int64), boot)
    assert (found.value, found.low, found.high, found.n) == (0, 0, 0, 40)


def test_self_preference_is_found_where_it_was_planted() -> None:
    rng = np.random.default_rng(1)
    human = rng.integers(0, 2, 2000)
    own = rng.integers(-1, 2, 2000)
    favours = (own != MISSING) & (rng.random(2000) < 0.3)
    judge = np.where(favours, own, human)
    found = self_preference(judge, human, own, ClusterBootstrap.over(np.arange(2000), rng))
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(0.15, abs=0.03)
    assert 0 < found.low < 0.15 < found.high


@pytest.mark.parametrize("judge", ["gpt4", "vicuna-13b"])
def test_recorded_judges_lean_as_their_flips_say(judge: str) -> None:
    rows = pairs("prd_vicuna80")
    groups = [row["question_id"] for row in rows]
    boot = ClusterBootstrap.over(groups, np.random.default_rng(0))
    original, swapped = (verdicts(rows, judge, f"label_{o}") for o in ("original", "swapped"))
    consistency = position_consistency(original, swapped, boot)
    flips = reference("prd_vicuna80", f"{judge}_order_inconsistent").value
    assert consistency.value == pytest.approx(1 - flips)
    lean = position_lean(original, swapped, boot)
    assert lean.value is not None
    assert abs(lean.value) <= flips + 1e-12
    assert lean.low is not None
    assert lean.high is not None
    assert lean.low < lean.value < lean.high
