"""Votes, codes, groups and options that cannot be: each error names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from calibration.agreement import (
    AlternativeAnnotatorOptions,
    accuracy_over_orders,
    agreement_by_difficulty,
    agreement_rate,
    alternative_annotator_test,
    bins_by_edges,
    bins_by_quantile,
    cohens_kappa,
    compare_with_ceiling,
    confusion,
    fleiss_kappa,
    gwets_ac1,
    krippendorffs_alpha,
    leave_one_out_agreement,
    macro_scores,
    percent_agreement,
    position_consistency,
    vote_entropy,
    vote_margin,
)
from calibration.errors import CalibrationError, InvalidArgument, UnavailableMethod
from calibration.intervals import ClusterBootstrap, GroupsLike
from calibration.labels import mean_sign, mirrored, plurality, rating_counts, vote_counts
from calibration.ranking import Comparisons, Covariates, RankingOptions, rank_models
from tests.calibration.ranking.test_bradley_terry import random_comparisons

OF_COUNTS: list[Callable[[Any], Any]] = [
    percent_agreement,
    fleiss_kappa,
    gwets_ac1,
    krippendorffs_alpha,
    leave_one_out_agreement,
    lambda counts: compare_with_ceiling([0, 1], counts),
    macro_scores,
    plurality,
    mean_sign,
    vote_margin,
    vote_entropy,
]
COUNTS: list[tuple[Any, str]] = [
    ([2, 1], "shape"),
    ([[2, -1, 0], [1, 1, 0]], "none negative"),
    ([[2.0, np.nan, 0], [1, 1, 0]], "or missing"),
    ([[0.5, 1, 0], [1, 1, 0]], "whole numbers"),
]


@pytest.mark.parametrize(("counts", "message"), COUNTS)
@pytest.mark.parametrize("statistic", OF_COUNTS)
def test_counts_that_are_none_are_refused(
    statistic: Callable[[Any], Any], counts: Any, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"counts must.*{message}"):
        statistic(counts)


OF_CODES: list[Callable[[Any, Any], Any]] = [
    agreement_rate,
    cohens_kappa,
    confusion,
    lambda one, other: accuracy_over_orders(one, other, [0, 1]),
    lambda one, other: accuracy_over_orders(one, [0, 1], other),
    lambda one, other: agreement_by_difficulty(one, other, bins_by_edges([1, 2], [1.5])),
]


@pytest.mark.parametrize("statistic", OF_CODES)
@pytest.mark.parametrize(
    ("second", "message"),
    [
        ([0], "one length: first .2,., second .1,."),
        ([[0, 1]], "vectors"),
        ([0.0, np.nan], "second must be whole numbers, none missing"),
        ([0.5, 1.0], "second must be whole numbers"),
        ([np.inf, 1.0], "second must be whole numbers"),
        ([-2, 0], "second must be codes"),
        (["a", "b"], "second must be whole numbers"),
    ],
)
def test_codes_that_are_none_are_refused(
    statistic: Callable[[Any, Any], Any], second: Any, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        statistic([0, 1], second)


def test_units_and_bins_must_be_as_many() -> None:
    with pytest.raises(InvalidArgument, match="bins"):
        agreement_by_difficulty([0, 1], [0, 1], bins_by_quantile([1, 2, 3]))


OTHER_ROWS = [0, 0, 1, 1, 2]
COUNTED = [[2, 0, 1], [1, 1, 0], [0, 3, 0]]
OF_GROUPS: list[Callable[[GroupsLike], Any]] = [
    lambda b: agreement_rate([0, 1, 1], [0, 1, 0], b),
    lambda b: cohens_kappa([0, 1, 1], [0, 1, 0], b),
    lambda b: accuracy_over_orders([0, 1, 1], [0, 1, 0], [0, 0, 0], b),
    lambda b: percent_agreement(COUNTED, b),
    lambda b: fleiss_kappa(COUNTED, b),
    lambda b: gwets_ac1(COUNTED, b),
    lambda b: krippendorffs_alpha(COUNTED, b),
    lambda b: leave_one_out_agreement(COUNTED, b),
    lambda b: compare_with_ceiling([0, 1, 1], COUNTED, b),
    lambda b: agreement_by_difficulty([0, 1, 1], [0, 1, 0], bins_by_edges([1, 2, 3], [1.5]), b),
    lambda b: alternative_annotator_test([0, 1, 1], np.zeros((3, 3)), b),
    lambda b: position_consistency([0, 1, 1], [0, 1, 0], b),
]


@pytest.mark.parametrize("statistic", OF_GROUPS)
def test_groups_of_other_rows_are_refused(statistic: Callable[[GroupsLike], Any]) -> None:
    with pytest.raises(InvalidArgument, match="of the 3 rows, not of 5"):
        statistic(OTHER_ROWS)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[1, 2], [3, 4]], "shape"),
        ([1.0, np.nan], "nan"),
        ([None, "a"], "all names or all numbers"),
    ],
)
def test_groups_that_are_none_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        percent_agreement(COUNTED, groups)


ASKED: list[tuple[Callable[[], Any], str]] = [
    (lambda: cohens_kappa([0, 1], [1, 0], weights="cubic"), "weights"),  # type: ignore[arg-type]
    (lambda: krippendorffs_alpha(COUNTED, metric="other"), "metric"),  # type: ignore[arg-type]
    (lambda: krippendorffs_alpha(COUNTED, metric="interval", values=[1, 2]), "values"),
    (lambda: krippendorffs_alpha(COUNTED, metric="interval", values=[1, 2, np.nan]), "values"),
    (lambda: krippendorffs_alpha(COUNTED, metric="ratio", values=[-1, 0, 1]), "negative"),
    (lambda: macro_scores([[1, 2, 3], [1, 2, 3]]), "square"),
    (lambda: compare_with_ceiling([3, 0], [[2, 1, 0], [1, 1, 0]]), "judge must be codes"),
    (lambda: compare_with_ceiling([0], [[2, 1, 0], [1, 1, 0]]), "number of units"),
    (lambda: plurality(np.zeros((2, 0))), "at least one category"),
    (lambda: mean_sign([[1, 2]]), "a, b and tie"),
    (lambda: mirrored([9]), "labels must be codes"),
    (lambda: vote_counts([0], [0, 1], 2), "one length"),
    (lambda: vote_counts([2], [0], 2), "unit must lie in"),
    (lambda: vote_counts([-1], [0], 2), "unit must lie in"),
    (lambda: rating_counts([1.0, 2.0]), "shape"),
    (lambda: rating_counts([[1.0, np.inf]]), "infinite"),
    (lambda: bins_by_edges([1, 2], [np.nan]), "edges"),
    (lambda: bins_by_edges([1, 2], [[1, 2]]), "edges"),
    (lambda: alternative_annotator_test([np.inf], np.zeros((1, 3))), "infinite"),
]


@pytest.mark.parametrize(("call", "message"), ASKED)
def test_what_cannot_be_answered_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        call()


@pytest.mark.parametrize(
    "options",
    [
        AlternativeAnnotatorOptions(closeness="near"),  # type: ignore[arg-type]
        AlternativeAnnotatorOptions(test="z"),  # type: ignore[arg-type]
    ],
)
def test_unknown_choices_of_the_annotator_test_are_refused(
    options: AlternativeAnnotatorOptions,
) -> None:
    with pytest.raises(InvalidArgument, match="must be"):
        alternative_annotator_test([0], np.zeros((1, 3)), None, options)


@pytest.mark.parametrize(
    "options",
    [
        RankingOptions(method="other"),  # type: ignore[arg-type]
        RankingOptions(ties="other"),  # type: ignore[arg-type]
        RankingOptions(intervals="other"),  # type: ignore[arg-type]
    ],
)
def test_unknown_choices_are_refused(options: RankingOptions) -> None:
    with pytest.raises(UnavailableMethod, match=r"must be one of .*, not other"):
        rank_models(random_comparisons(1), options)


def refusal(
    results: list[tuple[str, str, float]], longer: list[float] | None = None, **options: Any
) -> str:
    left, right, score = zip(*results, strict=True)
    played = Comparisons.between(left, right, score)
    covariates = None if longer is None else Covariates(("length",), np.array(longer)[:, None])
    with pytest.raises(CalibrationError) as caught:
        rank_models(played, RankingOptions(**options), None, covariates)
    return str(caught.value)


ROUND = [("x", "y", 1.0), ("y", "z", 1.0), ("z", "x", 1.0), ("y", "x", 1.0)]


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        (
            refusal([("A", "B", 1.0)] * 4),
            ["{A} | {B}", "{A} won every point against the others",
             "{B} won no point against the others", "method win_rate"],
        ),
        (
            refusal([("A", "B", 1.0), ("B", "A", 1.0), ("C", "D", 1.0), ("D", "C", 1.0)]),
            ["{A, B} | {C, D}", "{A, B} met no model outside", "{C, D} met no model outside"],
        ),
        (refusal([("A", "B", 0.5)] * 10, ties="exclude"), ["all 10 results are ties", "ties half"]),
        (refusal([("A", "B", 0.5)] * 10, ties="davidson"), ["all 10 results are ties", "no decided"]),
        (refusal([("A", "B", 1.0), ("A", "B", 0.5)], ties="davidson"), ["tie parameter", "ties half"]),
        (
            refusal(ROUND * 5, [1.0, 3.0, 2.0, 1.5] * 5),
            ["length alone would foretell the results", "the side with more of it won all 20",
             "without control for length"],
        ),
        (refusal(ROUND * 5, [-1.0, -3.0, -2.0, -1.5] * 5), ["the side with less of it won all 20"]),
    ],
)  # fmt: skip
def test_strengths_that_are_not_finite_say_why_and_what_to_do(said: str, parts: list[str]) -> None:
    assert [part for part in parts if part not in said] == []


def test_a_refusal_names_few_of_many_models() -> None:
    said = refusal([(f"m{n}", f"m{n + 1}", 1.0) for n in range(3_000)])
    assert "and 2991 more" in said
    assert len(said) < 2_000


OF_299 = ClusterBootstrap.over(np.arange(299), np.random.default_rng(0), n_resamples=1)


def test_groups_of_other_comparisons_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="over the 300 rows, not over 299"):
        rank_models(random_comparisons(1), None, OF_299)
