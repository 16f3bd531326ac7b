"""Certificates for other traffic: known and estimated density ratios."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration import Certificate, certify_cascade, certify_preferences
from calibration.certify.traffic import estimated_ratio, evidence_features, known_ratio
from calibration.errors import InvalidArgument, UnavailableMethod, UndeclaredBound
from tests.calibration.simulation import allowed_share
from tests.calibration.worlds.shifted import SHIFTED_WORLDS, Drawn, ShiftedWorld

TARGET = 0.2


def certified(
    world: ShiftedWorld, drawn: Drawn, traffic: Drawn, kind: str, target: float = TARGET
) -> Certificate:
    every: dict[str, dict[str, Any]] = {
        "unweighted": {},
        "known": {
            "method": "weighted",
            "density_ratio": drawn.ratio,
            "max_ratio": world.largest,
            "pool": traffic.p_a,
        },
        "estimated": {
            "method": "weighted",
            "traffic": traffic.p_a,
            "features": drawn.kind[:, None],
            "traffic_features": traffic.kind[:, None],
        },
    }
    return certify_preferences(drawn.p_a, drawn.label, target_risk=target, rng=0, **every[kind])


def broken(world: str, kind: str, n: int, draws: int) -> int:
    made = SHIFTED_WORLDS[world](TARGET)
    found = 0
    for draw in range(draws):
        rng = np.random.default_rng([3, draw])
        drawn, traffic = made.draw(n, rng), made.draw(400, rng, of_traffic=True)
        found += certified(made, drawn, traffic, kind).is_certified
    return found


@pytest.mark.parametrize("kind", ["known", "estimated"])
@pytest.mark.parametrize("world", SHIFTED_WORLDS)
def test_promises_on_other_traffic_hold(world: str, kind: str) -> None:
    assert broken(world, kind, 200, 60) / 60 <= allowed_share(0.1, 60)


@pytest.mark.slow
@pytest.mark.parametrize("n", [150, 500])
@pytest.mark.parametrize("kind", ["known", "estimated"])
@pytest.mark.parametrize("world", SHIFTED_WORLDS)
def test_promises_on_other_traffic_hold_over_many_draws(world: str, kind: str, n: int) -> None:
    rate = broken(world, kind, n, 2000) / 2000
    print(f"{world} | {kind} | n {n}: {rate:.4f}")  # noqa: T201
    assert rate <= allowed_share(0.1, 2000)


def test_the_harness_flags_labels_that_are_taken_as_they_are() -> None:
    assert broken("two kinds", "unweighted", 200, 60) / 60 > 0.5


def test_a_clip_below_the_ratio_breaks_the_promise() -> None:
    """As one read off a sample would, in which the rare kind does not occur."""
    world = replace(SHIFTED_WORLDS["rare kind"](TARGET), largest=1.0)
    found = 0
    for draw in range(60):
        rng = np.random.default_rng([4, draw])
        drawn = world.draw(100, rng)
        made = certify_preferences(
            drawn.p_a,
            drawn.label,
            target_risk=TARGET,
            rng=0,
            method="weighted",
            density_ratio=np.minimum(drawn.ratio, 1.0),
            max_ratio=1.0,
        )
        found += made.is_certified
    assert found / 60 > 0.5


@pytest.mark.parametrize("kind", ["known", "estimated"])
def test_easy_traffic_is_certified_and_says_on_what_it_rests(kind: str) -> None:
    world = SHIFTED_WORLDS["two kinds"](TARGET)
    rng = np.random.default_rng(0)
    drawn, traffic = world.draw(800, rng), world.draw(600, rng, of_traffic=True)
    found = certified(world, drawn, traffic, kind, target=0.3)
    assert found.is_certified
    assert found.coverage > 0.5
    assert found.traffic is not None
    assert 400 < found.traffic.effective < 800
    assert found.traffic.is_estimated == (kind == "estimated")
    assert ("assumed" in found.claim) == (kind == "estimated")
    assert "traffic that was given" in found.claim
    again = certified(world, drawn, traffic, kind, target=0.3)
    assert np.array_equal(found.thresholds, again.thresholds)


def test_the_coverage_is_that_on_the_traffic() -> None:
    """The judges are sure of the kind that the traffic has less of."""
    rng = np.random.default_rng(1)
    hard = rng.uniform(size=2_000) < 0.2
    sure = np.where(hard, 0.6, 0.95) + rng.uniform(-0.03, 0.03, 2_000)
    label = rng.integers(0, 2, 2_000).astype(float)
    is_right = rng.uniform(size=2_000) < np.where(hard, 0.5, 0.97)
    p_a = np.where(is_right == (label == 1), sure, 1 - sure)[:, None]
    ratio = np.where(hard, 2.5, 0.625)
    found = certify_preferences(
        p_a, label, target_risk=0.1, rng=0, method="weighted", density_ratio=ratio, max_ratio=2.5
    )
    assert found.is_certified
    assert found.coverage == pytest.approx(0.5, abs=0.06)


def test_few_effective_labels_are_refused_with_their_number() -> None:
    drawn = SHIFTED_WORLDS["two kinds"](TARGET).draw(60, np.random.default_rng(0))
    ratio = np.where(np.arange(60) < 2, 30.0, 0.1)
    found = certify_preferences(
        drawn.p_a,
        drawn.label,
        target_risk=0.1,
        rng=0,
        method="weighted",
        density_ratio=ratio,
        max_ratio=30.0,
    )
    assert not found.is_certified
    assert found.traffic is not None
    assert found.n == 60
    assert f"{found.traffic.effective:.1f} pairs" in found.claim
    assert "22 would be needed" in found.claim


def test_traffic_of_kinds_without_labels_is_refused() -> None:
    rng = np.random.default_rng(0)
    world = SHIFTED_WORLDS["two kinds"](TARGET)
    drawn, traffic = world.draw(300, rng), world.draw(300, rng, of_traffic=True)
    known = drawn.kind == 0
    found = certify_preferences(
        drawn.p_a[known],
        drawn.label[known],
        target_risk=TARGET,
        rng=0,
        method="weighted",
        traffic=traffic.p_a,
        features=drawn.kind[known][:, None],
        traffic_features=traffic.kind[:, None],
    )
    assert not found.is_certified
    assert found.traffic is not None
    assert 0.3 < found.traffic.cut < 0.6
    assert "these do not have" in found.claim


def test_one_pair_of_a_group_is_drawn_or_all_are_bet_on() -> None:
    rng = np.random.default_rng(0)
    drawn = SHIFTED_WORLDS["two kinds"](TARGET).draw(900, rng)
    given: dict[str, Any] = {
        "target_risk": 0.35,
        "rng": 0,
        "method": "weighted",
        "density_ratio": drawn.ratio,
        "max_ratio": 2.5,
        "groups": np.arange(900) // 3,
    }
    one = certify_preferences(drawn.p_a, drawn.label, **given)
    assert (one.dropped, one.n + one.set_aside) == (600, 300)
    assert "one drawn at random from each group" in one.claim
    every = certify_preferences(drawn.p_a, drawn.label, **given, max_group_size=3)
    assert (every.dropped, every.groups + every.set_aside // 3) == (0, 300)


def test_label_probabilities_go_with_the_ratio() -> None:
    rng = np.random.default_rng(0)
    drawn = SHIFTED_WORLDS["two kinds"](TARGET).draw(2_000, rng)
    probability = np.where(drawn.kind == 1, 0.9, 0.3)
    kept = rng.uniform(size=2_000) < probability
    given: dict[str, Any] = {
        "target_risk": 0.3,
        "rng": 0,
        "method": "weighted",
        "density_ratio": drawn.ratio[kept],
        "max_ratio": 2.5,
        "weights": 1 / probability[kept],
    }
    with pytest.raises(UndeclaredBound, match="min_label_probability"):
        certify_preferences(drawn.p_a[kept], drawn.label[kept], **given)
    found = certify_preferences(
        drawn.p_a[kept], drawn.label[kept], **given, min_label_probability=0.3
    )
    assert found.is_certified


@pytest.mark.parametrize(
    ("given", "error", "named"),
    [
        ({}, InvalidArgument, "density_ratio or traffic"),
        (
            {"density_ratio": np.ones(100), "traffic": np.full((40, 2), 0.6)},
            InvalidArgument,
            "either",
        ),
        ({"density_ratio": np.ones(100)}, UndeclaredBound, "max_ratio"),
        ({"density_ratio": np.ones(100), "max_ratio": 0.0}, InvalidArgument, "max_ratio"),
        ({"density_ratio": -np.ones(100), "max_ratio": 2.0}, InvalidArgument, "density_ratio"),
        ({"density_ratio": np.ones(9), "max_ratio": 2.0}, InvalidArgument, "density_ratio"),
        ({"traffic": np.full((9, 2), 0.6)}, InvalidArgument, "30 of the traffic"),
        ({"traffic": np.full((40, 3), 0.6)}, InvalidArgument, "features"),
        ({"traffic": np.full((40, 2), 0.6), "max_ratio": 0.5}, InvalidArgument, "max_ratio"),
        (
            {"traffic": np.full((40, 2), 0.6), "features": np.full((100, 1), np.nan)},
            InvalidArgument,
            "features",
        ),
        (
            {"density_ratio": np.ones(100), "max_ratio": 2.0, "slices": ["x"] * 100},
            UnavailableMethod,
            "slices",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    given: dict[str, Any], error: type[Exception], named: str
) -> None:
    drawn = SHIFTED_WORLDS["two kinds"](TARGET).draw(100, np.random.default_rng(0))
    with pytest.raises(error, match=named):
        certify_preferences(
            drawn.p_a, drawn.label, target_risk=0.2, rng=0, method="weighted", **given
        )


def test_weights_need_preferences() -> None:
    with pytest.raises(UnavailableMethod, match="certify_preferences"):
        certify_cascade([[0.9]], [[1]], target_risk=0.2, method="weighted", rng=0)


def test_features_know_no_sides() -> None:
    p_a = np.random.default_rng(0).uniform(size=(50, 3))
    p_a[::7, 1], p_a[::5, 2] = np.nan, 0.5
    np.testing.assert_allclose(evidence_features(p_a), evidence_features(1 - p_a))


def test_an_estimated_ratio_is_near_the_true_one() -> None:
    rng = np.random.default_rng(0)
    world = SHIFTED_WORLDS["gradient"](TARGET)
    drawn, traffic = world.draw(2_000, rng), world.draw(2_000, rng, of_traffic=True)
    found = estimated_ratio(drawn.kind[:, None], traffic.kind[:, None], np.arange(2_000), None, rng)
    is_common = np.abs(drawn.kind) < 1.5
    np.testing.assert_allclose(found.weight[is_common], drawn.ratio[is_common], rtol=0.3)
    assert found.weight.mean() == pytest.approx(1.0, abs=0.1)
    assert found.figures.cut <= 0.02


def test_a_known_ratio_is_clipped_where_declared() -> None:
    found = known_ratio([1.0, 2.0, 7.0], max_ratio=5.0)
    assert found.weight.tolist() == [1.0, 2.0, 5.0]
    assert found.figures.cut == pytest.approx(0.2)
