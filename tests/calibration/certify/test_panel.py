"""Promises about what most people would say, from two or three votes a pair."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from calibration import Certificate, certify_cascade, certify_preferences
from calibration.arrays import FloatArray
from calibration.certify import panel as panels
from calibration.certify.panel import FirstVotes, cubic_losses
from calibration.errors import InvalidArgument, UnavailableMethod
from tests.calibration.simulation import allowed_share

TARGET = 0.2
# one vote's noise where the verdict is the panel's, and where it is not; then what else is special
VALID: dict[str, tuple[float, float, str]] = {
    "no noise": (0.0, 0.0, ""),
    "even noise": (0.12, 0.12, ""),
    "noise on some pairs": (0.15, 0.15, "some pairs"),
    "less where wrong": (0.2, 0.05, ""),
    "annotators differ": (0.12, 0.12, "annotators differ"),
    "err together": (0.15, 0.15, "err together"),
    "a little more where wrong": (0.2, 0.23, ""),
}
BROKEN = (0.02, 0.48, "")


class Drawn(NamedTuple):
    p_a: FloatArray
    votes: FloatArray
    pool: FloatArray


def draw(
    world: tuple[float, float, str], n: int, votes: int, seed: int, *, risk: float = TARGET + 1e-6
) -> Drawn:
    """Draw pairs on which the panel contradicts two judges at the same rate at every confidence."""
    right, wrong, special = world
    rng = np.random.default_rng([8, seed])
    opinion = rng.integers(0, 2, n)
    is_wrong = rng.uniform(size=n) < risk
    sure = rng.uniform(0.5, 1.0, (n + 300, 2))
    side = np.append(np.where(is_wrong, 1 - opinion, opinion), rng.integers(0, 2, 300))
    p_a = np.where(side[:, None] == 1, sure, 1 - sure)
    noise = np.broadcast_to(np.where(is_wrong, wrong, right)[:, None], (n, votes)).copy()
    chance = rng.uniform(size=(n, votes))
    if special == "some pairs":
        noise *= rng.choice([0, 2], n)[:, None]
    if special == "annotators differ":
        noise *= np.resize([0, 2], votes)
    if special == "err together":
        chance[:] = chance[:, [0]]
    said = np.where(chance < noise, 1 - opinion[:, None], opinion[:, None])
    return Drawn(p_a[:n], said.astype(np.float64), p_a[n:])


def certified(drawn: Drawn, seed: int = 0, **options: Any) -> Certificate:
    asked = {"target_risk": TARGET, "costs": [1, 10], "pool": drawn.pool, "rng": seed}
    return certify_preferences(drawn.p_a, drawn.votes, label_rule="panel", **{**asked, **options})


def rates(world: tuple[float, float, str], n: int, votes: int, draws: int) -> tuple[float, float]:
    """Return how often a false promise was made, and how often one that nothing was assumed for."""
    made = [certified(draw(world, n, votes, seed), seed) for seed in range(draws)]
    tested = [one.panel is not None and one.panel.assumption == "tested" for one in made]
    false = np.array([one.is_certified for one in made])
    return float(false.mean()), float((false & tested).mean())


@pytest.mark.parametrize("votes", [2, 3])
@pytest.mark.parametrize("world", VALID)
def test_promises_hold_where_people_are_no_noisier_on_wrong_verdicts(
    world: str, votes: int
) -> None:
    assert rates(VALID[world], 200, votes, 40)[0] <= allowed_share(0.1, 40)


def test_where_they_are_much_noisier_the_promise_is_broken_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    false, shown = rates(BROKEN, 400, 3, 20)
    assert false > 0.5
    assert shown == 0
    made = certified(draw(BROKEN, 400, 2, 0))
    assert made.panel is not None
    assert made.panel.assumption == "assumed"
    assert "assumed, and not tested" in made.claim
    # the majority of three votes is no bound on the panel
    monkeypatch.setattr(panels, "_LOSSES", np.array([[0.0, 0.0, 1.0, 1.0]]))
    assert rates(BROKEN, 400, 3, 20)[1] > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("n", [150, 500])
@pytest.mark.parametrize("votes", [2, 3])
@pytest.mark.parametrize("world", [*VALID, "broken"])
def test_promises_about_panels_hold_over_many_draws(world: str, votes: int, n: int) -> None:
    false, shown = rates({**VALID, "broken": BROKEN}[world], n, votes, 2000)
    print(f"{world} | {votes} votes | n {n}: false {false:.4f}, shown falsely {shown:.4f}")  # noqa: T201
    if world == "broken":
        assert shown <= allowed_share(0.1, 2000)
    else:
        assert false <= allowed_share(0.1, 2000)


def test_a_third_vote_shows_the_promise_without_assuming_anything() -> None:
    drawn = draw((0.03, 0.03, ""), 600, 3, 1, risk=0.04)
    made = certified(drawn)
    assert made.panel is not None
    assert (made.panel.assumption, made.panel.three_votes) == ("tested", 600)
    assert "is allowed for" in made.claim
    two = certified(drawn._replace(votes=drawn.votes[:, :2]))
    assert two.panel is not None
    assert two.panel.assumption == "assumed"
    assert np.array_equal(two.thresholds, made.thresholds)


def test_it_certifies_where_one_vote_is_too_noisy() -> None:
    drawn = draw((0.1, 0.1, ""), 400, 2, 1, risk=0.02)
    one = certify_preferences(
        drawn.p_a, drawn.votes[:, 0], target_risk=0.1, pool=drawn.pool, costs=[1, 10], rng=0
    )
    assert not one.is_certified
    assert certified(drawn, target_risk=0.1).is_certified


def test_third_votes_that_were_asked_for_where_two_differ_are_left_alone() -> None:
    drawn = draw((0.15, 0.15, ""), 600, 3, 2, risk=0.04)
    votes = drawn.votes.copy()
    votes[votes[:, 0] == votes[:, 1], 2] = np.nan
    made = certified(drawn._replace(votes=votes))
    assert made.panel is not None
    assert (made.panel.assumption, made.panel.three_votes) == ("assumed", 0)
    assert made.panel.split == int(np.isfinite(votes[:, 2]).sum())


def test_votes_are_counted_and_those_that_tell_nothing_left_out() -> None:
    nan = np.nan
    votes = np.array([[1, 1, nan], [1, 0, nan], [nan, 0, 0], [1, nan, nan], [0.5, 1, 1], [nan] * 3])
    read = FirstVotes.of(votes).figures
    assert (read.two_votes, read.split, read.one_vote, read.tied) == (3, 1, 1, 1)
    drawn = draw((0.1, 0.1, ""), 400, 2, 3, risk=0.05)
    padded = np.vstack([drawn.votes, [[1.0, nan], [0.5, 1.0]]])
    p_a = np.vstack([drawn.p_a, [[0.9, 0.9], [0.9, 0.9]]])
    made, alone = certified(Drawn(p_a, padded, drawn.pool)), certified(drawn)
    assert np.array_equal(made.thresholds, alone.thresholds)
    assert made.n == alone.n == int((drawn.votes[:, 0] == drawn.votes[:, 1]).sum())


def test_without_a_pool_groups_are_set_aside_whatever_their_votes() -> None:
    drawn = draw((0.1, 0.1, ""), 400, 3, 3, risk=0.03)
    made = certified(drawn, pool=None)
    assert made.set_aside == 40
    assert made.n < int((drawn.votes[:, 0] == drawn.votes[:, 1]).sum())


def test_slices_and_menus_have_panels() -> None:
    drawn = draw((0.01, 0.01, ""), 500, 3, 4, risk=0.01)
    slices = np.arange(500) % 2
    made = certified(drawn, slices=slices, groups=np.arange(500))
    assert [part.panel and part.panel.assumption for part in made.certificates] == ["tested"] * 2
    assert made.panel is not None
    assert made.panel.assumption == "tested"
    assert made.claim.count("People are a panel here") == 1
    common = certified(drawn, slices=slices, slice_rule="common")
    assert common.is_certified
    assert common.panel is not None
    assert common.panel.assumption == "assumed"
    both = certified(drawn, menu=[0.3])
    assert [one.panel and one.panel.assumption for one in (both, *both.certificates)] == [
        "tested",
        "tested",
    ]


@pytest.mark.parametrize("touches", [0.0, 0.02, 0.1, 0.2, 0.3])
def test_cubics_bound_the_share_of_pairs_that_the_panel_contradicts(touches: float) -> None:
    p = np.linspace(0, 1, 501)
    ways = np.array([1, 3, 3, 1])
    value = sum(cubic_losses(touches)[k] * ways[k] * p**k * (1 - p) ** (3 - k) for k in range(4))
    assert np.all(value >= (p >= 0.5) - 1e-12)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scope": "dataset", "max_error": 0.1, "target_risk": None}, "whole data set"),
        ({"method": "sequential"}, "nothing about a panel"),
        ({"method": "stagewise"}, "nothing about a panel"),
        ({"target_risk": 0.5}, "below 0.5"),
        ({"ties": "half"}, "ties must be exclude"),
        ({"label_rule": "jury"}, "given or panel"),
    ],
)
def test_what_has_no_promise_about_a_panel_is_refused(
    changed: dict[str, Any], message: str
) -> None:
    drawn = draw((0.1, 0.1, ""), 60, 2, 0)
    asked = {"target_risk": TARGET, "rng": 0, "label_rule": "panel", **changed}
    label = drawn.votes if asked["label_rule"] == "panel" else drawn.votes[:, 0]
    with pytest.raises((InvalidArgument, UnavailableMethod), match=message):
        certify_preferences(drawn.p_a, label, **asked)


def test_votes_of_another_shape_or_value_are_named() -> None:
    drawn = draw((0.1, 0.1, ""), 60, 2, 0)
    for label, message in (
        (drawn.votes[:, 0], "two votes or more"),
        (drawn.votes[:, :1], "two votes or more"),
        (drawn.votes + 0.25, "must hold votes"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            certify_preferences(drawn.p_a, label, label_rule="panel", target_risk=0.1, rng=0)
    with pytest.raises(UnavailableMethod, match="certify_preferences"):
        certify_cascade(
            np.full((5, 1), 0.9), np.ones((5, 1)), target_risk=0.1, rng=0, label_rule="panel"
        )
