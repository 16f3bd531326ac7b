from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.powered import (
    AbstentionBounds,
    HumanLabels,
    PredictionPowered,
    audited_win_rate,
    prediction_powered_mean,
    win_rate_bounds,
)
from tests.calibration.worlds.preferences import draw_pairs, known, three_judges, true_win_rate


def ends(interval: Estimate | AbstentionBounds) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


PREDICTION = np.array([0.9, 0.8, 0.7, np.nan, np.nan, 0.2, 0.1, 0.3, np.nan, 0.6])
VALUE = np.array([1.0, 1.0, 0.0, 1.0, np.nan, 0.0, 0.0, np.nan, 0.0, np.nan])


def test_audited_abstention_is_no_preference() -> None:
    found = audited_win_rate(PREDICTION, HumanLabels(VALUE))
    plain = prediction_powered_mean(np.nan_to_num(PREDICTION, nan=0.5), HumanLabels(VALUE))
    assert (found.estimate, found.human_only) == (plain.estimate, plain.human_only)
    assert (found.n_abstained, plain.n_abstained) == (3, 0)


def test_missing_prediction_is_never_dropped_silently() -> None:
    with pytest.raises(InvalidArgument, match=r"^prediction is nan.*audited_win_rate"):
        prediction_powered_mean(PREDICTION, HumanLabels(VALUE))


def test_bounds_take_unknown_pairs_as_lost_and_as_won() -> None:
    found = win_rate_bounds(PREDICTION, HumanLabels(VALUE), prediction_weight=0.5)
    answered = ~np.isnan(PREDICTION)
    inner = prediction_powered_mean(
        PREDICTION[answered], HumanLabels(VALUE[answered]), prediction_weight=0.5
    )
    assert inner.estimate.value is not None
    # Seven answered pairs, one abstained pair known as won, one as lost, one not known.
    lowest = (7 * inner.estimate.value + 1) / 10
    assert found.ends.lowest.value == pytest.approx(lowest)
    assert found.ends.highest.value == pytest.approx(lowest + 0.1)
    assert (found.low, found.high) == (found.ends.lowest.low, found.ends.highest.high)
    assert (found.n_abstained, found.n_unknown, found.n_labelled) == (3, 1, 7)
    assert found.prediction_weight == (0.5,)
    people = win_rate_bounds(PREDICTION, HumanLabels(VALUE), prediction_weight=0)
    assert found.human_only == people.ends


def test_bounds_without_abstention_are_the_estimate() -> None:
    answered = ~np.isnan(PREDICTION)
    prediction, labels = PREDICTION[answered], HumanLabels(VALUE[answered])
    found = win_rate_bounds(prediction, labels)
    plain = prediction_powered_mean(prediction, labels)
    assert found.ends.lowest == found.ends.highest == plain.estimate


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_swapping_the_sides_mirrors_the_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction = np.where(rng.uniform(size=60) < 0.3, np.nan, rng.uniform(size=60))
    value = np.where(rng.uniform(size=60) < 0.5, np.nan, rng.integers(0, 2, 60))
    value[np.flatnonzero(~np.isnan(prediction))[:2]] = 1.0
    straight = win_rate_bounds(prediction, HumanLabels(value))
    mirror = win_rate_bounds(1 - prediction, HumanLabels(1 - value))
    low, high = ends(straight)
    assert ends(mirror) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_abstentions_that_were_not_audited_are_found_out() -> None:
    prediction = np.where(np.arange(400) < 100, np.nan, 0.5)
    value = np.where(np.arange(400) % 4 == 3, 1.0, np.nan)
    audited_win_rate(prediction, HumanLabels(value))
    value[:100] = np.nan
    with pytest.raises(InvalidArgument, match=r"^labels\.value: no abstained pair is labelled"):
        audited_win_rate(prediction, HumanLabels(value))
    # Declared unequal chances may have been small on abstained pairs.
    chance = np.where(np.arange(400) < 200, 0.01, 0.5)
    assert audited_win_rate(prediction, HumanLabels(value, probability=chance)).n_abstained == 100


@pytest.mark.parametrize(("labelled", "words"), [(3, "only 3 abstained"), (90, "90 abstained")])
def test_abstentions_labelled_by_other_chances_are_found_out(labelled: int, words: str) -> None:
    index = np.arange(400)
    prediction = np.where(index < 100, np.nan, 0.5)
    value = np.where((index < labelled) | (index >= 300), 1.0, np.nan)
    with pytest.raises(InvalidArgument, match=rf"^labels\.value: {words} pairs are labelled where"):
        audited_win_rate(prediction, HumanLabels(value))
    # Strata declare just that.
    found = audited_win_rate(prediction, HumanLabels(value, strata=index < 100))
    assert (found.n_abstained, found.n_labelled) == (100, labelled + 100)


def test_one_large_group_of_labels_is_no_proof_of_another_choice() -> None:
    groups = np.concatenate([np.zeros(300), np.arange(1, 101)])
    prediction = np.where(groups > 0, np.nan, 0.5)
    value = np.where(np.isin(groups, [0, 7, 20]), 1.0, np.nan)
    assert audited_win_rate(prediction, HumanLabels(value, groups=groups)).n_abstained == 100


def test_few_abstentions_may_be_missed_by_chance() -> None:
    prediction = np.where(np.arange(400) < 3, np.nan, 0.5)
    value = np.where(np.arange(400) >= 300, 1.0, np.nan)
    assert audited_win_rate(prediction, HumanLabels(value)).n_abstained == 3


def test_bounds_need_a_label_on_a_pair_with_a_verdict() -> None:
    value = np.where(np.isnan(PREDICTION), 1.0, np.nan)
    with pytest.raises(InvalidArgument, match=r"^labels\.value: a stratum has no labelled pair"):
        win_rate_bounds(PREDICTION, HumanLabels(value))


Rule = Callable[[FloatArray, HumanLabels], Estimate | AbstentionBounds]


def audited(prediction: FloatArray, labels: HumanLabels) -> Estimate:
    return audited_win_rate(prediction, labels).estimate


def dropped(prediction: FloatArray, labels: HumanLabels) -> Estimate:
    """Wrong: as if the cascade had never seen the pairs on which it abstains."""
    kept = ~np.isnan(prediction)
    found: PredictionPowered = prediction_powered_mean(
        prediction[kept], HumanLabels(np.asarray(labels.value)[kept])
    )
    return found.estimate


def share_covered(rule: Rule, n: int, *, is_audited: bool, draws: int) -> float:
    """A cascade that abstains where the second side is the better one, on a third of the pairs."""
    hits = 0
    for draw in range(draws):
        rng = np.random.default_rng([11, n, draw])
        pairs = draw_pairs(three_judges, 2_000, rng)
        is_abstained = (pairs.margin < 0) & (rng.uniform(size=2_000) < 0.7)
        among = np.arange(2_000) if is_audited else np.flatnonzero(~is_abstained)
        value = known(pairs, rng.choice(among, n, replace=False))
        prediction = np.where(is_abstained, np.nan, pairs.prediction)
        low, high = ends(rule(prediction, HumanLabels(value, groups=pairs.group)))
        hits += low <= true_win_rate() <= high
    return hits / draws


def test_dropped_abstentions_are_wrong_and_audited_or_bounded_ones_right() -> None:
    assert share_covered(dropped, 300, is_audited=True, draws=100) < 0.02
    assert share_covered(audited, 300, is_audited=True, draws=200) >= 0.904
    assert share_covered(win_rate_bounds, 300, is_audited=False, draws=100) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300])
def test_audited_abstentions_cover_as_promised(n: int) -> None:
    right = share_covered(audited, n, is_audited=True, draws=2_000)
    wrong = share_covered(dropped, n, is_audited=True, draws=2_000)
    bounded = share_covered(win_rate_bounds, n, is_audited=False, draws=2_000)
    print(f"n={n}: audited {right}, dropped {wrong}, bounds {bounded}")  # noqa: T201
    assert 0.93 <= right <= 0.97
    assert wrong < 0.05
    assert bounded >= 0.95
