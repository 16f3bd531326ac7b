from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.agreement import (
    excess_lean,
    lean_given_quality,
    lean_towards,
    length_lean,
    length_lean_given_quality,
    longer_side,
    position_consistency,
    position_flips,
    position_lean,
    self_preference,
    self_preference_given_quality,
)
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import Groups
from calibration.labels import MISSING, TIE, A, B, mirrored
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
    boot = Groups.of(np.arange(25) // 2)
    # The mirrored pair's first order is the second order of the pair as posted.
    straight = position_lean(original, swapped, boot)
    mirror = position_lean(mirrored(swapped), mirrored(original), boot)
    assert straight == mirror
    assert position_consistency(original, swapped, boot) == position_consistency(
        mirrored(swapped), mirrored(original), boot
    )


def test_flips_tell_where_a_judge_leans() -> None:
    original, swapped = [A, A, B, A, B, TIE, A, MISSING], [B, B, A, A, B, A, TIE, A]
    found = position_flips(original, swapped)
    assert found.to_first.value == pytest.approx(2 / 7)
    assert (found.to_first.n, found.first_among_flips.n) == (7, 3)
    assert (found.to_second.value, found.through_tie.value) == pytest.approx((1 / 7, 2 / 7))
    assert found.first_among_flips.value == pytest.approx(2 / 3)
    assert position_flips([A, B], [A, B]).first_among_flips.value is None


@settings(deadline=None)
@given(hnp.arrays(np.int64, (2, 25), elements=st.integers(-1, 2)))
def test_consistency_and_flips_add_to_one_and_explain_the_lean(labels: np.ndarray) -> None:
    original, swapped = labels
    boot = Groups.of(np.arange(25) // 2)
    flips = position_flips(original, swapped, boot)
    shares = [flips.to_first, flips.to_second, flips.through_tie]
    consistent = position_consistency(original, swapped, boot)
    if consistent.value is not None:
        assert sum(share.value or 0 for share in shares) + consistent.value == pytest.approx(1)
    mirror = position_flips(mirrored(swapped), mirrored(original), boot)
    assert mirror == flips
    if flips.through_tie.value == 0:
        lean = position_lean(original, swapped, boot).value
        assert lean == pytest.approx((flips.to_first.value or 0) - (flips.to_second.value or 0))


@settings(deadline=None)
@given(hnp.arrays(np.int64, (3, 25), elements=st.integers(-1, 2)))
def test_mirroring_the_pairs_changes_no_lean(labels: np.ndarray) -> None:
    boot = Groups.of(np.arange(25) // 2)
    judge, human, side = labels
    turned = [mirrored(column) for column in labels]
    for lean in (excess_lean, lean_given_quality):
        assert lean(judge, human, side, boot) == lean(turned[0], turned[1], turned[2], boot)
    assert lean_towards(judge, side, boot) == lean_towards(turned[0], turned[2], boot)


@settings(deadline=None)
@given(hnp.arrays(np.int64, (3, 25), elements=st.integers(-1, 2)))
def test_other_side_has_the_opposite_lean(labels: np.ndarray) -> None:
    judge, human, side = labels
    for lean in (excess_lean, lean_given_quality):
        towards, away = lean(judge, human, side), lean(judge, human, mirrored(side))
        assert (towards.value is None) == (away.value is None)
        if towards.low is not None and away.high is not None:
            assert (towards.value or 0) + (away.value or 0) == pytest.approx(0)
            assert towards.low == pytest.approx(-away.high, abs=1e-9)


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
    boot = Groups.of(np.arange(40))
    found = excess_lean(labels, labels, np.zeros(40, dtype=np.int64), boot)
    # Not seeing a difference on forty pairs does not prove that there is none.
    assert (found.value, found.n) == (0, 40)
    assert found.low == pytest.approx(-(1.96**2) / (40 + 1.96**2), abs=1e-4)
    assert found.high == pytest.approx(1.96**2 / (40 + 1.96**2), abs=1e-4)


def test_self_preference_is_found_where_it_was_planted() -> None:
    rng = np.random.default_rng(1)
    human = rng.integers(0, 2, 2000)
    own = rng.integers(-1, 2, 2000)
    favours = (own != MISSING) & (rng.random(2000) < 0.3)
    judge = np.where(favours, own, human)
    found = self_preference(judge, human, own, Groups.of(np.arange(2000)))
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(0.15, abs=0.03)
    assert 0 < found.low < 0.15 < found.high


def test_preference_for_good_answers_is_no_self_preference() -> None:
    rng = np.random.default_rng(2)
    own = rng.integers(0, 2, 3000)
    # Its own answer is better in eight of ten pairs, and it errs on one in five of any kind.
    human = np.where(rng.random(3000) < 0.8, own, 1 - own)
    fair = np.where(rng.random(3000) < 0.2, 1 - human, human)
    boot = Groups.of(np.arange(3000) // 3)
    inside = self_preference_given_quality(fair, human, own, boot)
    assert holds(inside, 0.0)
    # Errors on either side pull its share of own answers towards one half.
    assert holds(self_preference(fair, human, own, boot), 0.8 * 0.8 + 0.2 * 0.2 - 0.8)
    partial = np.where(rng.random(3000) < 0.3, own, fair)
    found = self_preference_given_quality(partial, human, own, boot)
    assert holds(found, (0.3 + 0.7 * 0.8) - 0.7 * 0.8)
    assert found.low is not None
    assert found.low > 0.2


def test_length_lean_given_quality_looks_at_both_kinds_of_pairs() -> None:
    difference = [1, 2, 3, 4, -1, -2, 0]
    human = [A, A, A, B, B, A, A]
    judge = [A, A, B, B, B, B, A]
    # longer better: 3 of 4 right (the last one b, b longer); shorter better: 1 of 2
    found = length_lean_given_quality(judge, human, difference)
    assert found.value == pytest.approx(3 / 4 - 1 / 2)
    assert found.n == 6


def test_people_of_one_opinion_give_no_lean_by_quality() -> None:
    assert lean_given_quality([A, B], [A, A], [A, A]).value is None


def test_labels_of_other_pairs_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        position_consistency([A, B], [A])


def holds(found: Estimate, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


@pytest.mark.parametrize("judge", ["gpt4", "vicuna-13b"])
def test_recorded_judges_lean_as_their_flips_say(judge: str) -> None:
    rows = pairs("prd_vicuna80")
    groups = [row["question_id"] for row in rows]
    boot = Groups.of(groups)
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
    split = position_flips(original, swapped, boot)
    parts = (split.to_first.value, split.to_second.value, split.through_tie.value)
    assert sum(part or 0 for part in parts) == pytest.approx(flips)


def test_pairs_of_unknown_length_are_left_out() -> None:
    assert length_lean([A, B, A], [B, B, A], [1.0, np.nan, 0.0]).n == 1
