from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.gate import weigh_preference
from tests.calibration.simulation import allowed_share

DRAWS = 1_000
Drawn = tuple[FloatArray, IntArray | None]
scores = st.lists(st.sampled_from([0.0, 0.5, 1.0, float("nan")]), min_size=1, max_size=60)


def share(
    outcome: str, draw: Callable[[np.random.Generator], Drawn], *, error_share: float = 0.0
) -> float:
    """How often a gate at alpha .1 gives an outcome."""
    found = 0
    for number in range(DRAWS):
        score, groups = draw(np.random.default_rng([7, number]))
        evidence = weigh_preference(score, groups=groups, error_share=error_share)
        found += evidence.outcome == outcome
    return found / DRAWS


def independent(n: int, chances: list[float]) -> Callable[[np.random.Generator], Drawn]:
    return lambda rng: (rng.choice([0.0, 0.5, 1.0], n, p=chances), None)


def clustered(n_groups: int, size: int) -> Callable[[np.random.Generator], Drawn]:
    """Prompts on which half of the outputs go the same way; the win rate is one half."""

    def draw(rng: np.random.Generator) -> Drawn:
        shared = rng.uniform(size=(n_groups, 1)) < 0.5
        own = rng.uniform(size=(n_groups, size)) < 0.5
        is_shared = rng.uniform(size=(n_groups, size)) < 0.7
        won = np.where(is_shared, shared, own).astype(np.float64)
        return won.ravel(), np.repeat(np.arange(n_groups), size)

    return draw


def abstaining_where_lost(rng: np.random.Generator) -> Drawn:
    """A cascade that mostly says nothing where the new one would lose; the win rate is one half."""
    won = (rng.uniform(size=200) < 0.5).astype(np.float64)
    is_silent = rng.uniform(size=200) < np.where(won == 0, 0.3, 0.05)
    return np.where(is_silent, np.nan, won), None


@pytest.mark.parametrize("outcome", ["passed", "failed"])
@pytest.mark.parametrize(
    "draw",
    [
        independent(20, [0.5, 0.0, 0.5]),
        independent(100, [0.5, 0.0, 0.5]),
        independent(100, [0.35, 0.3, 0.35]),
        clustered(15, 5),
        clustered(60, 3),
        abstaining_where_lost,
    ],
)
def test_a_gate_is_wrong_as_rarely_as_it_says(
    draw: Callable[[np.random.Generator], Drawn], outcome: str
) -> None:
    assert share(outcome, draw) <= allowed_share(0.1, DRAWS)


def test_what_the_tests_above_would_catch() -> None:
    """Pairs of one prompt taken as independent, and abstentions left out, pass far too often."""
    assert share("passed", lambda rng: (clustered(15, 5)(rng)[0], None)) > 0.15

    def dropping(rng: np.random.Generator) -> Drawn:
        score, _ = abstaining_where_lost(rng)
        return score[~np.isnan(score)], None

    assert share("passed", dropping) > 0.5


def test_a_gate_finds_what_is_there() -> None:
    assert share("passed", independent(400, [0.4, 0.0, 0.6])) > 0.98
    assert share("failed", independent(400, [0.6, 0.0, 0.4])) > 0.98


def test_about_people_a_judge_that_favours_the_new_one_does_not_pass_it() -> None:
    """People are even; 15% of the verdicts are wrong, all of them for the new one."""

    def draw(rng: np.random.Generator) -> Drawn:
        return (rng.uniform(size=300) < 0.65).astype(np.float64), None

    assert share("passed", draw) > 0.9, "the verdicts do prefer it"
    assert share("passed", draw, error_share=0.15) <= allowed_share(0.1, DRAWS)


@given(scores, st.floats(0.0, 0.5))
def test_swapping_the_models_mirrors_the_bounds(score: list[float], error_share: float) -> None:
    one = weigh_preference(score, error_share=error_share)
    other = weigh_preference(1.0 - np.array(score), error_share=error_share)
    assert one.low == pytest.approx(1.0 - other.high)
    assert one.high == pytest.approx(1.0 - other.low)
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert one.wins + one.losses + one.ties + one.abstained == one.pairs == len(score)
    assert 0.0 <= one.low <= one.high <= 1.0


@given(scores)
def test_no_answer_can_lift_a_bound_above_that_of_a_win(score: list[float]) -> None:
    """An abstention is worth no more than a loss below, and no less than a win above."""
    silent = np.append(score, np.nan)
    lost, won = np.append(score, 0.0), np.append(score, 1.0)
    assert weigh_preference(silent).low == pytest.approx(weigh_preference(lost).low)
    assert weigh_preference(silent).high == pytest.approx(weigh_preference(won).high)


def test_so_many_pairs_as_are_needed_do_pass() -> None:
    score = np.tile([1.0, 1.0, 1.0, 0.0, 0.0], 4)
    evidence = weigh_preference(score)
    assert evidence.outcome == "not_enough_evidence"
    assert evidence.pairs_needed is not None
    enough = np.tile(score, -(-evidence.pairs_needed // 20))
    assert weigh_preference(enough).outcome == "passed"
    assert weigh_preference(score[: evidence.pairs_needed // 20 * 10]).outcome != "passed"
    assert weigh_preference([0.0, 1.0]).pairs_needed is None


def test_pairs_of_one_prompt_alone_are_little_evidence() -> None:
    evidence = weigh_preference(np.ones(100), groups=np.zeros(100))
    assert (evidence.groups, evidence.outcome) == (1, "not_enough_evidence")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"score": []}, "at least one pair"),
        ({"score": [[1.0]]}, "vector"),
        ({"score": [1.5]}, "lie in"),
        ({"groups": [1]}, "groups"),
        ({"min_win": 1.0}, "min_win"),
        ({"alpha": 0.5}, "alpha"),
        ({"error_share": 1.0}, "error_share"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, object], said: str) -> None:
    given: dict[str, object] = {"score": [1.0, 0.0], **options}
    with pytest.raises(InvalidArgument, match=said):
        weigh_preference(**given)  # type: ignore[arg-type]
