from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from calibration.arrays import FloatArray
from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.powered import HumanLabels, PredictionPowered, prediction_powered_mean


def sample(
    n: int, n_pairs: int, seed: int = 0, *, accuracy: float = 0.8
) -> tuple[FloatArray, FloatArray]:
    """Predictions, and labels of the first n pairs."""
    rng = np.random.default_rng(seed)
    prediction = np.round(rng.uniform(size=n_pairs), 3)
    agrees = rng.uniform(size=n_pairs) < accuracy
    outcome = np.where(agrees, prediction > 0.5, prediction <= 0.5).astype(np.float64)
    return prediction, np.where(np.arange(n_pairs) < n, outcome, np.nan)


def ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def test_mean_of_predictions_is_corrected_by_what_labels_say() -> None:
    prediction, value = sample(150, 1000)
    found = prediction_powered_mean(prediction, HumanLabels(value), prediction_weight=0.7)
    rectifier = (value - 0.7 * prediction)[:150].mean()
    assert found.estimate.value == pytest.approx(0.7 * prediction.mean() + rectifier, abs=1e-12)
    assert (found.n_labelled, found.n_predicted, found.n_groups) == (150, 1000, 1000)
    assert found.estimate.n == 150
    assert found.prediction_weight == (0.7,)


def test_tuned_weight_is_that_of_the_published_formula() -> None:
    prediction, value = sample(150, 1000)
    found = prediction_powered_mean(prediction, HumanLabels(value))
    x, y, unlabelled = prediction[:150], value[:150], prediction[150:]
    # PPI++ leaves the labelled pairs out of the mean of predictions, and the variance is theirs.
    theirs = np.cov(x, y)[0, 1] / ((1 + 150 / 850) * x.var(ddof=1))
    assert found.prediction_weight[0] == pytest.approx(theirs * (1 + 150 / 850), abs=1e-12)
    expected = theirs * unlabelled.mean() + (y - theirs * x).mean()
    assert found.estimate.value == pytest.approx(expected, abs=1e-12)


def test_weight_zero_is_the_classical_mean_of_labels() -> None:
    prediction, value = sample(150, 1000)
    found = prediction_powered_mean(prediction, HumanLabels(value), prediction_weight=0)
    y = value[:150]
    error = y.std(ddof=1) / np.sqrt(150)
    assert found.standard_error == pytest.approx(error, rel=1e-12)
    reach = stats.t.ppf(0.975, 149) * error
    assert ends(found.estimate) == pytest.approx((y.mean() - reach, y.mean() + reach), abs=1e-12)
    assert found.human_only == found.estimate
    assert found.effective_labels == pytest.approx(150)


def test_perfect_judge_gives_the_mean_over_all_pairs() -> None:
    outcome = (np.random.default_rng(3).uniform(size=900) < 0.4).astype(np.float64)
    value = np.where(np.arange(900) < 150, outcome, np.nan)
    found = prediction_powered_mean(outcome, HumanLabels(value))
    assert found.prediction_weight == (1.0,)
    assert found.estimate.value == pytest.approx(outcome.mean(), abs=1e-12)
    assert found.standard_error == pytest.approx(outcome.std(ddof=1) / 30, rel=1e-9)
    # No disagreement among 150 labels leaves a rate of 3 / 150 possible.
    low, high = ends(found.estimate)
    assert found.standard_error is not None
    assert high - low == pytest.approx(
        2 * np.hypot(stats.t.ppf(0.975, 899) * found.standard_error, np.log(0.05) / 150), rel=1e-9
    )


def test_unanimous_labels_leave_room_for_rare_exceptions() -> None:
    value = np.where(np.arange(500) < 200, 1.0, np.nan)
    found = prediction_powered_mean(np.full(500, 0.5), HumanLabels(value))
    assert found.estimate.value == 1
    assert ends(found.estimate) == pytest.approx((1 + np.log(0.05) / 200, 1))
    assert found.effective_labels == pytest.approx(200)


def test_constant_predictions_say_nothing() -> None:
    _, value = sample(150, 1000)
    found = prediction_powered_mean(np.full(1000, 0.3), HumanLabels(value))
    assert found.prediction_weight == (0.0,)
    assert found.estimate == found.human_only


def test_contrary_judge_is_ignored() -> None:
    prediction, value = sample(150, 1000, accuracy=0.2)
    assert prediction_powered_mean(prediction, HumanLabels(value)).prediction_weight == (0.0,)


def test_all_pairs_labelled_need_no_predictions() -> None:
    prediction, value = sample(300, 300)
    found = prediction_powered_mean(prediction, HumanLabels(value))
    assert found.estimate == found.human_only
    assert found.estimate.value == pytest.approx(value.mean())


def test_few_labels_alone_get_wilson() -> None:
    prediction, value = sample(40, 500)
    found = prediction_powered_mean(prediction, HumanLabels(value), confidence_level=0.9)
    wins = value[:40].sum()
    low, high = wilson_interval(wins, 40, 0.9)
    assert ends(found.human_only) == (float(low), float(high))
    assert found.estimate.confidence_level == found.human_only.confidence_level == 0.9
    in_groups = HumanLabels(value, groups=np.arange(500) // 2)
    assert prediction_powered_mean(prediction, in_groups).human_only != found.human_only


def test_groups_of_one_answer_are_one_observation() -> None:
    prediction, value = sample(60, 600)
    once = prediction_powered_mean(prediction, HumanLabels(value))
    thrice = prediction_powered_mean(
        np.repeat(prediction, 3), HumanLabels(np.repeat(value, 3), groups=np.arange(1800) // 3)
    )
    assert thrice.standard_error == pytest.approx(once.standard_error, rel=1e-9)
    assert ends(thrice.estimate) == pytest.approx(ends(once.estimate), abs=1e-9)
    assert thrice.prediction_weight == pytest.approx(once.prediction_weight, abs=1e-9)
    assert thrice.n_groups == 600


def test_labels_within_a_group_gain_from_its_other_predictions() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(100), 10)
    prediction = np.clip(rng.uniform(0.2, 0.8, 100)[group] + rng.normal(0, 0.1, 1000), 0, 1)
    value = np.where(np.arange(1000) % 10 == 0, prediction, np.nan)
    # People see only what differs within a prompt: the prompts' means, all known, cancel out.
    together = prediction_powered_mean(prediction, HumanLabels(value, groups=group))
    assert together.estimate.value == pytest.approx(prediction.mean(), abs=1e-12)


def test_equal_probabilities_and_one_stratum_change_nothing() -> None:
    prediction, value = sample(150, 1000)
    plain = prediction_powered_mean(prediction, HumanLabels(value))
    declared = HumanLabels(value, probability=np.full(1000, 0.15), strata=["only"] * 1000)
    assert approximate(prediction_powered_mean(prediction, declared)) == approximate(plain)


def approximate(found: PredictionPowered, digits: int = 10) -> tuple[Any, ...]:
    numbers = [
        *(getattr(one, end) for one in (found.estimate, found.human_only) for end in _ENDS),
        *found.prediction_weight,
        found.effective_labels,
    ]
    return tuple(None if number is None else round(number, digits) for number in numbers)


_ENDS = ("value", "low", "high")


def test_known_probabilities_weigh_labels() -> None:
    prediction, value = sample(150, 1000)
    probability = np.where(prediction > 0.5, 0.3, 0.1)
    labels = HumanLabels(value, probability=probability)
    found = prediction_powered_mean(prediction, labels, prediction_weight=0.5)
    weight = 1 / probability[:150]
    rectifier = np.average((value - 0.5 * prediction)[:150], weights=weight)
    assert found.estimate.value == pytest.approx(0.5 * prediction.mean() + rectifier, abs=1e-12)
    assert found.human_only.value == pytest.approx(np.average(value[:150], weights=weight))


def test_strata_are_estimated_apart_and_added_up() -> None:
    prediction, value = sample(150, 1000)
    strata = np.where(prediction > 0.7, "high", "low")
    found = prediction_powered_mean(prediction, HumanLabels(value, strata=strata))
    parts, variance = [], 0.0
    for name in ("high", "low"):
        rows = strata == name
        part = prediction_powered_mean(prediction[rows], HumanLabels(value[rows]))
        assert part.estimate.value is not None
        parts.append((rows.mean(), part.estimate.value, part.prediction_weight[0]))
        assert part.standard_error is not None
        variance += rows.mean() ** 2 * part.standard_error**2
    assert found.estimate.value == pytest.approx(sum(share * value for share, value, _ in parts))
    assert found.prediction_weight == pytest.approx(tuple(weight for *_, weight in parts))
    # Beside the parts, how many pairs belong to each stratum is chance.
    assert found.standard_error is not None
    between = parts[0][0] * parts[1][0] * (parts[0][1] - parts[1][1]) ** 2 / 1000
    assert found.standard_error**2 == pytest.approx(variance + between, rel=0.01)


def test_one_group_has_no_interval() -> None:
    prediction, value = sample(5, 20)
    found = prediction_powered_mean(prediction, HumanLabels(value, groups=np.arange(20) < 9))
    assert (found.estimate.low, found.estimate.high) == (None, None)
    assert (found.standard_error, found.effective_labels) == (None, None)
    assert found.estimate.value is not None


@st.composite
def labelled_pairs(draw: st.DrawFn) -> tuple[FloatArray, HumanLabels]:
    n = draw(st.integers(4, 40))
    shares = st.integers(0, 8).map(lambda eighths: eighths / 8)
    prediction = np.array(draw(st.lists(shares, min_size=n, max_size=n)))
    value = draw(st.lists(st.none() | st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n))
    value[0] = draw(st.sampled_from([0.0, 1.0]))
    groups = draw(st.none() | st.lists(st.integers(0, 9), min_size=n, max_size=n))
    chances = st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=n, max_size=n)
    labels = [np.nan if one is None else one for one in value]
    return prediction, HumanLabels(labels, groups, draw(st.none() | chances))


NOT_TOLD = np.nan
# labels whose covariance with the predictions is 0, and came out as 3e-16 on one side
UNCORRELATED = (
    np.array([0.875, 0, 0.5, 0.375, 0.75, 0, 0, 0.75, 0, 0.5, 0, 0.375, 0, 0.375]),
    HumanLabels([1, NOT_TOLD, 1, 0, 0, 1, NOT_TOLD, 1, NOT_TOLD, 1, NOT_TOLD, 0, NOT_TOLD, 1.0]),
)


@settings(deadline=None)
@given(labelled_pairs())
@example(UNCORRELATED)
def test_swapping_the_sides_mirrors_everything(case: tuple[FloatArray, HumanLabels]) -> None:
    prediction, labels = case
    swapped = replace(labels, value=1 - np.asarray(labels.value))
    straight = prediction_powered_mean(prediction, labels)
    mirror = prediction_powered_mean(1 - prediction, swapped)
    for one, other in (
        (straight.estimate, mirror.estimate),
        (straight.human_only, mirror.human_only),
    ):
        assert one.value is not None
        assert other.value == pytest.approx(1 - one.value, abs=1e-9)
        if one.low is not None:
            low, high = ends(other)
            assert (1 - high, 1 - low) == pytest.approx(ends(one), abs=1e-9)
    assert mirror.prediction_weight == pytest.approx(straight.prediction_weight, abs=1e-9)


@settings(deadline=None)
@given(labelled_pairs(), st.integers(0, 10**6))
def test_order_of_pairs_changes_nothing(case: tuple[FloatArray, HumanLabels], seed: int) -> None:
    prediction, labels = case
    order = np.random.default_rng(seed).permutation(len(prediction))
    groups, chances = (
        None if field is None else np.asarray(field)[order]
        for field in (labels.groups, labels.probability)
    )
    shuffled = HumanLabels(np.asarray(labels.value)[order], groups, chances)
    straight = prediction_powered_mean(prediction, labels)
    mixed = prediction_powered_mean(prediction[order], shuffled)
    assert approximate(mixed, 7) == pytest.approx(approximate(straight, 7), abs=2e-6, nan_ok=True)


@settings(deadline=None)
@given(labelled_pairs())
def test_interval_lies_around_the_value_in_the_unit_interval(
    case: tuple[FloatArray, HumanLabels],
) -> None:
    found = prediction_powered_mean(*case)
    assert found.estimate.value is not None
    if found.estimate.low is not None:
        low, high = ends(found.estimate)
        assert 0 <= low <= found.estimate.value <= high <= 1


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("labels.value", {"value": [np.nan, np.nan, np.nan]}),
        ("labels.value", {"value": [1.0, 2.0, np.nan]}),
        ("labels.value", {"value": [1.0, 0.0]}),
        ("labels.groups", {"groups": [1, 2]}),
        ("labels.strata", {"strata": [1, 1, 2]}),
        ("labels.strata", {"strata": [1, 1]}),
        ("labels.probability", {"probability": [0.0, 0.5, 0.5]}),
        ("labels.probability", {"probability": [0.5, 1.5, 0.5]}),
        ("labels.probability", {"probability": [np.nan, 0.5, 0.5]}),
        ("labels.probability", {"probability": [0.5, 0.5]}),
        ("prediction", {"prediction": [0.5, 0.5, np.nan]}),
        ("prediction", {"prediction": [0.5, 0.5, 1.5]}),
        ("prediction", {"prediction": [[0.5, 0.5, 0.5]]}),
        ("prediction_weight", {"prediction_weight": 1.5}),
        ("prediction_weight", {"prediction_weight": -0.5}),
        ("confidence_level", {"confidence_level": 1.0}),
    ],
)
def test_wrong_arguments_are_named(field: str, arguments: dict[str, Any]) -> None:
    given_fields = {"value": [1.0, 0.0, np.nan], **arguments}
    options = {
        name: given_fields.pop(name)
        for name in ("prediction_weight", "confidence_level")
        if name in given_fields
    }
    prediction = given_fields.pop("prediction", [0.2, 0.4, 0.6])
    with pytest.raises(InvalidArgument, match=f"^{field}"):
        prediction_powered_mean(prediction, HumanLabels(**given_fields), **options)


def test_probabilities_of_pairs_without_labels_are_not_looked_at() -> None:
    labels = HumanLabels([1.0, 0.0, np.nan], probability=[0.5, 0.5, np.nan])
    assert prediction_powered_mean([0.2, 0.4, 0.6], labels).estimate.value is not None
