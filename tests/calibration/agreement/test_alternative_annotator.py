from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibration.agreement import (
    AlternativeAnnotatorOptions,
    AlternativeAnnotatorTest,
    Closeness,
    alternative_annotator_test,
)
from calibration.errors import InvalidArgument
from calibration.intervals import Groups
from calibration.labels import MISSING, TIE, A, B

PUBLISHED = AlternativeAnnotatorOptions(test="t")


def panel(
    seed: int, n: int = 120, people: float = 0.75, judge: float = 0.8, annotators: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """A judge and annotators who each say the truth with a probability of their own."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    said = np.where(
        rng.random((n, annotators + 1)) < [judge, *[people] * annotators],
        truth[:, None],
        rng.integers(0, 3, (n, annotators + 1)),
    )
    return said[:, 0], said[:, 1:]


def published(
    judge: np.ndarray, ratings: np.ndarray, epsilon: float, is_numeric: bool
) -> tuple[list[float], list[float], float]:
    """P-values, advantages and winning rate as in the paper, unit by unit."""
    p_values, advantages = [], []
    for j in range(ratings.shape[1]):
        for_judge, for_person = [], []
        for said, row in zip(judge, ratings, strict=True):
            others = np.delete(row, j)
            others = others[others != MISSING]
            if row[j] == MISSING or not others.size:
                continue
            if is_numeric:
                ours, theirs = (-np.sqrt(((x - others) ** 2).mean()) for x in (said, row[j]))
            else:
                ours, theirs = ((x == others).mean() for x in (said, row[j]))
            for_judge.append(float(ours >= theirs - 1e-12))
            for_person.append(float(theirs >= ours - 1e-12))
        difference = np.array(for_person) - np.array(for_judge)
        p_values.append(float(stats.ttest_1samp(difference, epsilon, alternative="less").pvalue))
        advantages.append(float(np.mean(for_judge)))
    adjusted = stats.false_discovery_control(p_values, method="by")
    return p_values, advantages, float((adjusted <= 0.05).mean())


@pytest.mark.parametrize("closeness", ["same", "distance"])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_published_form_is_that_of_the_paper(closeness: Closeness, seed: int) -> None:
    judge, ratings = panel(seed, 60)
    if closeness == "same":
        ratings[np.random.default_rng(seed).random(ratings.shape) < 0.2] = MISSING
    options = AlternativeAnnotatorOptions(epsilon=0.1, closeness=closeness, test="t")
    found = alternative_annotator_test(judge, ratings, None, options)
    p_values, advantages, rate = published(judge, ratings, 0.1, closeness == "distance")
    assert [one.p_value for one in found.annotators] == pytest.approx(p_values, abs=1e-9)
    assert [one.judge_wins for one in found.annotators] == pytest.approx(advantages)
    assert found.winning_rate == pytest.approx(rate)
    assert found.advantage.value == pytest.approx(np.mean(advantages))
    assert found.is_passed == (rate >= 0.5)
    assert {one.test for one in found.annotators} == {"t"}


def test_a_judge_like_the_best_passes_and_one_that_guesses_fails() -> None:
    assert alternative_annotator_test(*panel(1, judge=0.95)).winning_rate == 1.0
    guessing = alternative_annotator_test(*panel(1, judge=0.0))
    assert (guessing.winning_rate, guessing.is_passed) == (0.0, False)
    assert guessing.epsilon == 0.2


def test_few_independent_units_are_tested_exactly() -> None:
    judge, ratings = panel(2, 20, judge=0.99)
    found = alternative_annotator_test(judge, ratings)
    assert {one.test for one in found.annotators} == {"exact"}
    by_t = alternative_annotator_test(judge, ratings, None, PUBLISHED)
    for one, other in zip(found.annotators, by_t.annotators, strict=True):
        assert one.p_value == pytest.approx(other.p_value, abs=0.12)


def test_units_of_one_group_are_no_further_evidence() -> None:
    judge, ratings = panel(3, 40, judge=0.9)
    again = np.repeat(np.arange(40), 3)
    bootstrap = Groups.of(again)
    once = alternative_annotator_test(judge, ratings, None, PUBLISHED)
    thrice = alternative_annotator_test(judge[again], ratings[again], bootstrap)
    assert [one.p_value for one in thrice.annotators] == pytest.approx(
        [one.p_value for one in once.annotators], abs=1e-12
    )
    assert thrice.annotators[0].test == "t"
    assert thrice.annotators[0].n == 120


def test_unanimous_groups_are_tested_by_their_number() -> None:
    """A judge that always says what everyone says: many groups prove it, few do not."""
    p_values = []
    for n_groups in (4, 60):
        groups = np.repeat(np.arange(n_groups), 2)
        bootstrap = Groups.of(groups)
        same = np.zeros(2 * n_groups)
        found = alternative_annotator_test(same, np.zeros((2 * n_groups, 3)), bootstrap)
        p_values.append(found.annotators[0].p_value)
        assert found.annotators[0].test == "exact"
    assert p_values == pytest.approx([0.8**4, 1e-4], abs=3e-4)


def test_units_without_judge_annotator_or_others_do_not_count() -> None:
    ratings = np.array([[A, B, MISSING], [A, MISSING, MISSING], [A, A, B], [B, B, B]])
    found = alternative_annotator_test([A, A, MISSING, TIE], ratings)
    assert [one.n for one in found.annotators] == [2, 2, 1]
    nobody = alternative_annotator_test([MISSING, MISSING], [[A, B], [B, B]])
    assert (nobody.winning_rate, nobody.is_passed) == (None, False)
    assert nobody.advantage.value is None
    assert nobody.annotators[0].judge_wins is None
    assert nobody.annotators[0].p_value is None


def test_numbers_may_be_missing() -> None:
    options = AlternativeAnnotatorOptions(closeness="distance")
    ratings = [[1.0, 2.0, np.nan], [4.0, 4.0, 5.0], [np.nan, np.nan, 3.0]]
    found = alternative_annotator_test([1.0, np.nan, 3.0], ratings, None, options)
    assert [one.n for one in found.annotators] == [1, 1, 0]
    assert [one.judge_wins for one in found.annotators] == [1.0, 1.0, None]
    nothing = alternative_annotator_test([1.0], [[np.nan, np.nan]], None, options)
    assert nothing.winning_rate is None


def test_one_group_of_units_tests_nothing() -> None:
    judge, ratings = panel(4, 40)
    bootstrap = Groups.of(np.zeros(40))
    found = alternative_annotator_test(judge, ratings, bootstrap)
    assert found.winning_rate is None
    assert found.annotators[0].judge_wins is not None


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_order_names_and_sides_do_not_matter(seed: int) -> None:
    judge, ratings = panel(seed, 40)
    rng = np.random.default_rng(seed)
    order, columns, names = rng.permutation(40), rng.permutation(4), rng.permutation(3)
    one = alternative_annotator_test(judge, ratings)
    two = alternative_annotator_test(names[judge][order], names[ratings][order][:, columns])
    for place, annotator in enumerate(columns):
        first, second = one.annotators[annotator], two.annotators[place]
        assert (first.n, first.judge_wins) == (second.n, second.judge_wins)
        assert first.p_value == pytest.approx(second.p_value)
    assert one.winning_rate == two.winning_rate


@pytest.mark.parametrize(
    ("judge", "ratings", "options", "message"),
    [
        ([A], [A], None, "shape"),
        ([A, B], [[A, B]], None, "shape"),
        ([A], [[A, B]], AlternativeAnnotatorOptions(epsilon=1.0), "epsilon"),
        ([A], [[A, B]], AlternativeAnnotatorOptions(false_discovery_rate=0.0), "discovery"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    judge: list[int],
    ratings: list[int] | list[list[int]],
    options: AlternativeAnnotatorOptions | None,
    message: str,
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        alternative_annotator_test(judge, ratings, None, options)


def wrong_rejections(draws: int, n: int, options: AlternativeAnnotatorOptions) -> float:
    """Share of draws that reject for a judge that is worse by epsilon, always on the same side.

    Two annotators agree with a third; the judge differs from both on a share epsilon of the units.
    """
    rejected = 0
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        judge = np.where(rng.random(n) < options.epsilon, B, A)
        found: AlternativeAnnotatorTest = alternative_annotator_test(
            judge, np.full((n, 2), A), None, options
        )
        rejected += any(one.is_rejected for one in found.annotators)
    return rejected / draws


def test_exact_test_keeps_its_level_where_students_does_not() -> None:
    draws = 600
    least = 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    options = AlternativeAnnotatorOptions(false_discovery_rate=0.05)
    assert wrong_rejections(draws, 20, options) <= least
    assert wrong_rejections(draws, 20, PUBLISHED) > least


def test_annotators_of_too_few_units_are_not_tested_but_still_heard() -> None:
    judge, ratings = panel(3, 400)
    ratings[300:, 3] = MISSING
    options = AlternativeAnnotatorOptions(least_units=320)
    found = alternative_annotator_test(judge, ratings, None, options)
    everyone = alternative_annotator_test(judge, ratings)
    assert [one.p_value is not None for one in found.annotators] == [True, True, True, False]
    assert found.annotators[0].judge_wins == everyone.annotators[0].judge_wins
    alone = alternative_annotator_test(judge, ratings[:, :3], None, options)
    assert alone.annotators[0] != found.annotators[0]
    assert found.advantage.n < everyone.advantage.n


def test_the_margin_is_the_mean_lead_over_people() -> None:
    judge, ratings = panel(4)
    bootstrap = Groups.of(np.arange(len(judge)))
    found = alternative_annotator_test(judge, ratings, bootstrap)
    leads = [(one.judge_wins or 0) - (one.annotator_wins or 0) for one in found.annotators]
    assert found.margin.value == pytest.approx(np.mean(leads))
    poor = alternative_annotator_test(
        np.random.default_rng(0).integers(0, 3, len(judge)), ratings, bootstrap
    )
    assert poor.margin.high is not None
    assert poor.margin.high < -0.2
    assert found.margin.low is not None
    assert found.margin.low > -0.2
