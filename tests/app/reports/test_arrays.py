from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from app.datasets.records import PairKey, Vote
from app.labels.sets import label_set_hash
from app.reports.agreement import judge_pairs
from app.reports.cascade import abstention, cascade_agreement
from app.reports.panel import Cascade, Judged, Panel, People
from calibration.agreement import agreement_rate, cohens_kappa
from calibration.arrays import BoolArray, IntArray
from calibration.intervals import ClusterBootstrap, Groups
from calibration.labels import MISSING, TIE


def _panel(agreeing_where_abstained: float, groups: int = 60) -> Panel:
    """Two pairs a group with two votes each: one answered (.9 agree), one abstained."""
    rng = np.random.default_rng(1)
    n = 2 * groups
    answered = np.arange(n) % 2 == 0
    agrees = rng.random(n) < np.where(answered, 0.9, agreeing_where_abstained)
    counts = np.where(agrees[:, None], [2, 0, 0], [1, 1, 0])
    return _with_cascade(np.repeat(np.arange(groups), 2), counts, answered)


def _with_cascade(group: IntArray, counts: IntArray, answered: BoolArray) -> Panel:
    """A cascade of one judge that says a wherever it answers."""
    n = len(group)
    nothing = np.zeros(0, dtype=np.int64)
    false = np.zeros((n, 0), dtype=np.bool_)
    codes = np.zeros((n, 0), dtype=np.int64)
    unknown = np.full(n, np.nan)
    return Panel(
        groups=group.astype(np.str_),
        people=People(counts, nothing, nothing, nothing, ()),
        judged=Judged(
            (),
            codes,
            codes,
            codes,
            np.zeros((n, 0)),
            false,
            false,
            false,
            false,
            false,
            codes.astype(np.int8),
            np.zeros((n, 0)),
            codes,
        ),
        cascade=Cascade(
            ("only",),
            np.where(answered, 0, -1),
            np.where(answered, 0, MISSING),
            np.zeros(n, dtype=np.bool_),
            np.zeros(n, dtype=np.bool_),
            unknown,
            unknown,
        ),
    )


def _p_value(panel: Panel) -> float:
    bootstrap = ClusterBootstrap.over(panel.groups, np.random.default_rng(0))
    found = abstention(panel, bootstrap)
    assert found is not None
    p_value: float = found["p_value"]
    return p_value


def test_abstaining_where_people_differ_is_significant() -> None:
    assert _p_value(_panel(0.4)) < 0.01


def test_abstaining_at_random_is_not() -> None:
    assert _p_value(_panel(0.9)) > 0.05


@pytest.mark.parametrize("alike", [0.0, 0.3])
@pytest.mark.parametrize(("n_groups", "size"), [(20, 1), (20, 4), (50, 1), (50, 4)])
def test_intervals_of_a_report_s_cascade_cover(n_groups: int, size: int, alike: float) -> None:
    """Coverage .8 and agreement .9, by group more or less; through the report's own figures."""
    _covers(n_groups, size, alike, draws=60)


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.0, 0.3])
@pytest.mark.parametrize(("n_groups", "size"), [(20, 1), (20, 4), (50, 1), (50, 4), (20, 15)])
def test_intervals_of_a_report_s_cascade_cover_over_many_draws(
    n_groups: int, size: int, alike: float
) -> None:
    _covers(n_groups, size, alike, draws=1_000)


def _covers(n_groups: int, size: int, alike: float, draws: int) -> None:
    group, truth = np.repeat(np.arange(n_groups), size), {"coverage": 0.8, "agreement": 0.9}
    held, width = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0.0)
    for draw in range(draws):
        rng = np.random.default_rng([draw, n_groups, size])
        answered, agrees = (_drawn(mean, alike, group, rng) for mean in truth.values())
        panel = _with_cascade(group, np.where(agrees[:, None], [2, 0, 0], [0, 2, 0]), answered)
        found = cascade_agreement(panel, ClusterBootstrap.over(panel.groups, draw, n_resamples=9))
        assert found is not None
        for name, value in truth.items():
            held[name] += found[name]["low"] <= value <= found[name]["high"]
            width[name] += (found[name]["high"] - found[name]["low"]) / draws
    print(n_groups, size, alike, {n: (h / draws, round(width[n], 3)) for n, h in held.items()})  # noqa: T201
    least = 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws)
    assert min(held.values()) / draws >= least


def _drawn(mean: float, alike: float, group: IntArray, rng: np.random.Generator) -> BoolArray:
    """Outcomes of this rate, with this correlation within a group."""
    rate = np.full(group[-1] + 1, mean)
    if alike:
        spread = (1 - alike) / alike
        rate = rng.beta(mean * spread, (1 - mean) * spread, len(rate))
    return np.asarray(rng.random(len(group)) < rate[group])


def test_judge_pairs_are_those_of_two_raters() -> None:
    rng = np.random.default_rng(3)
    n, k = 200, 12  # 66 couples: more than one block
    label = rng.integers(-1, 3, size=(n, k))
    label[:, 1] = np.where(rng.random(n) < 0.8, label[:, 0], label[:, 1])
    names = tuple(f"judge{j}" for j in range(k))
    flags = np.zeros((n, k), dtype=np.bool_)
    numbers = np.zeros((n, k))
    judged = Judged(
        names,
        label,
        label,
        label,
        numbers,
        flags,
        flags,
        flags,
        flags,
        flags,
        label.astype(np.int8),
        numbers,
        label,
    )
    groups = Groups.of(rng.integers(40, size=n))
    found = judge_pairs(judged, groups)
    assert len(found) == 66
    decided = np.where(label == TIE, MISSING, label)
    for row in found:
        one, other = (decided[:, names.index(name)] for name in row["judges"])
        share, kappa = agreement_rate(one, other, groups), cohens_kappa(one, other, groups)
        assert row["agreement"] == pytest.approx(asdict(share))
        assert row["cohens_kappa"] == pytest.approx(asdict(kappa))


def _key(seq: int, content_hash: str | None, name: str = "p") -> PairKey:
    return PairKey(seq, seq, name, "g", None, content_hash, None, None, None, {})


def test_a_label_set_is_the_same_in_any_order_and_under_any_number() -> None:
    one, two = Vote("ann", "a", {}), Vote(None, "b", {})
    first = label_set_hash([_key(1, "x"), _key(2, "y")], {1: [one, two], 2: [two]})
    again = label_set_hash([_key(9, "y"), _key(7, "x")], {7: [two, one], 9: [two]})
    assert first == again


@pytest.mark.parametrize(
    "votes",
    [
        [Vote("ann", "b", {})],
        [Vote("bob", "a", {})],
        [Vote(None, "a", {})],
        [Vote("ann", "a", {}, "style")],
        [Vote("ann", "a", {}), Vote("ann", "a", {})],
        [],
    ],
)
def test_another_label_makes_another_set(votes: list[Vote]) -> None:
    keys = [_key(1, "x")]
    assert label_set_hash(keys, {1: votes}) != label_set_hash(keys, {1: [Vote("ann", "a", {})]})


def test_battles_are_told_apart_by_their_ids() -> None:
    votes = {1: [Vote("ann", "a", {})]}
    one, other = (label_set_hash([_key(1, None, name)], votes) for name in "12")
    assert one != other
