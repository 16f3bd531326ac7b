"""Computes the agreement of people, of judges with people, and of judges with one another."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Final

import numpy as np
import scipy

from app.core.limits import Limits
from app.reports.cascade import abstention, cascade_agreement
from app.reports.correlations import correlation_figures
from app.reports.judge_details import (
    DIFFICULTIES,
    difficulty_of,
    is_right,
    judge_details,
)
from app.reports.panel import (
    LABELS,
    Judged,
    Panel,
    People,
    Votes,
    confusion_of,
    said_without_plurality,
)
from app.reports.schemas import AgreementIn
from calibration.agreement import (
    agreement_rate,
    annotator_quality,
    cohens_kappa,
    fleiss_kappa,
    gwets_ac1,
    krippendorffs_alpha,
    leave_one_out_agreement,
    percent_agreement,
    position_consistency,
)
from calibration.arrays import IntArray
from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap, Groups, estimate_share
from calibration.labels import MISSING, N_LABELS, TIE, A, B, mirrored, vote_counts
from calibration.reliability import measure_reliability

# an interval from fewer pairs in common tells nothing, and there may be thousands of such couples
LEAST_FOR_INTERVAL = 5


def human_agreement(people: People, groups: Groups, most_couples: int) -> dict[str, Any]:
    """Return agreement among annotators, with a, b and tie as three classes.

    Kappas of two annotators with fewer than `LEAST_FOR_INTERVAL` pairs in common have no interval.
    At most `most_couples` of them are listed.
    """
    counts = people.counts
    return {
        "annotators": int(np.unique(people.vote_by).size),
        "labels": int(counts.sum()),
        "labelled_pairs": int((counts.sum(axis=1) > 0).sum()),
        "percent_agreement": asdict(percent_agreement(counts, groups)),
        "percent_agreement_without_ties": asdict(percent_agreement(counts[:, :2], groups)),
        "leave_one_out_agreement": asdict(leave_one_out_agreement(counts, groups)),
        "krippendorff_alpha": asdict(krippendorffs_alpha(counts, groups)),
        "fleiss_kappa": asdict(fleiss_kappa(counts, groups)),
        "gwets_ac1": asdict(gwets_ac1(counts, groups)),
        "krippendorff_alpha_without_ties": asdict(krippendorffs_alpha(counts[:, :2], groups)),
        "fleiss_kappa_without_ties": asdict(fleiss_kappa(counts[:, :2], groups)),
        "gwets_ac1_without_ties": asdict(gwets_ac1(counts[:, :2], groups)),
        "confusion": _confusion(counts),
        "difficulty": _difficulty(counts),
        "plurality": _by_plurality(people),
        **_annotator_pairs(people, groups, most_couples),
    }


# every two of these may share pairs, so that work is bounded by this number times that of votes
MOST_COMPARED: Final = 500


def _annotator_pairs(people: People, groups: Groups, most_couples: int) -> dict[str, Any]:
    """Return kappa of two annotators with common pairs; a person's last vote counts.

    Those with the most votes are compared with one another, and the couples with the most pairs in
    common are listed; how many are left out is counted, if any are.
    """
    votes = people.last_votes()
    is_shared = np.bincount(votes.row, minlength=len(people.counts)) >= 2
    common = np.bincount(votes.by[is_shared[votes.row]], minlength=len(people.annotators))
    in_company = np.flatnonzero(common)
    by_votes = in_company[np.argsort(-common[in_company], kind="stable")]
    compared = np.sort(by_votes[:MOST_COMPARED])
    couples, n_couples = _couples(votes, compared, len(people.counts), most_couples)
    left_out = {
        "annotator_pairs_left_out": n_couples - len(couples),
        "annotators_not_compared": len(in_company) - len(compared),
    }
    return {
        "annotator_pairs": [_couple(people, votes, groups, *couple) for couple in couples],
        **{name: count for name, count in left_out.items() if count},
    }


def _couples(
    votes: Votes, compared: IntArray, n_pairs: int, most: int
) -> tuple[list[tuple[int, int]], int]:
    """Return the couples of these annotators with the most pairs in common, and how many there are."""
    place = np.searchsorted(compared, votes.by)
    place[place == len(compared)] = 0
    is_compared = compared[place] == votes.by if len(compared) else np.zeros(len(place), np.bool_)
    cells = (place[is_compared], votes.row[is_compared])
    seen = scipy.sparse.csr_array(
        (np.ones(len(cells[0]), np.int64), cells), shape=(len(compared), n_pairs)
    )
    shared = scipy.sparse.triu(seen @ seen.T, k=1).tocoo()
    order = np.lexsort((shared.col, shared.row, -shared.data))[:most]
    first, second = (compared[index[order]].tolist() for index in (shared.row, shared.col))
    return sorted(zip(first, second, strict=True)), int(shared.nnz)


def _couple(people: People, votes: Votes, groups: Groups, one: int, other: int) -> dict[str, Any]:
    """Compare two annotators on the pairs that both labelled."""
    (rows, labels), (other_rows, other_labels) = votes.of(one), votes.of(other)
    both, place, other_place = np.intersect1d(
        rows, other_rows, assume_unique=True, return_indices=True
    )
    shared_groups = groups.take(both) if len(both) >= LEAST_FOR_INTERVAL else None
    first, second = labels[place], other_labels[other_place]
    figures = {
        "cohens_kappa": cohens_kappa(first, second, shared_groups),
        "agreement": agreement_rate(first, second, shared_groups),
        "agreement_without_ties": agreement_rate(first, second, shared_groups, among=(A, B)),
    }
    level = groups.confidence_level
    shown = {name: {**asdict(e), "confidence_level": level} for name, e in figures.items()}
    names = [people.annotators[one], people.annotators[other]]
    return {"annotators": names, "n": len(both), **shown}


# work grows with this number times that of votes, and a longer list is not read
MOST_PEOPLE: Final = 100
# fewer labels say nothing of a person
_FEWEST_LABELS: Final = 20


def by_annotator(people: People, groups: Groups) -> list[dict[str, Any]]:
    """Return how each person agrees with the others; a person's last vote on a pair counts.

    Those with the most votes are told, the others count as others. Who certainly agrees less than
    the rest is named, and said to click through where no agreement beyond chance is seen.
    """
    votes = people.last_votes()
    if not len(votes.by):
        return []
    n_votes = np.bincount(votes.by, minlength=len(people.annotators))
    chosen = np.argsort(-n_votes, kind="stable")[:MOST_PEOPLE]
    place = np.full(len(people.annotators), len(chosen))
    place[chosen] = np.arange(len(chosen))
    unknown = np.full(len(votes.by), np.nan)
    found = annotator_quality(votes.row, place[votes.by], votes.code, unknown, unknown)
    counts = vote_counts(votes.row, votes.code, len(people.counts))
    return [
        _person(people.annotators[code], *votes.of(code), counts, groups, quality.concerns)
        for code, quality in zip(chosen.tolist(), found, strict=False)
        if n_votes[code]
    ]


def _person(  # noqa: PLR0913  # what one person said, and what it is held against
    name: str, row: IntArray, code: IntArray, counts: IntArray, groups: Groups, concerns: list[str]
) -> dict[str, Any]:
    others = counts[row].copy()
    others[np.arange(len(row)), code] -= 1
    n_others = others.sum(axis=1)
    same = others[np.arange(len(row)), code] / np.maximum(n_others, 1)
    has_majority = 2 * others.max(axis=1, initial=0) > n_others
    majority = np.where(has_majority & (n_others > 0), others.argmax(axis=1), MISSING)
    near = groups.take(row)
    kappa = cohens_kappa(code, majority, near)
    concerns = list(concerns)
    by_chance = kappa.low is not None and kappa.low <= 0 and kappa.n >= _FEWEST_LABELS
    if concerns and by_chance:
        concerns.append("may have clicked through: agrees no more than chance would")
    return {
        "annotator": name,
        "labels": len(row),
        "with_others": asdict(estimate_share(same, n_others > 0, near)),
        "with_majority": asdict(estimate_share(code == majority, majority != MISSING, near)),
        "cohens_kappa": asdict(kappa),
        "concerns": concerns,
    }


def _confusion(counts: IntArray) -> dict[str, dict[str, int]]:
    """Count two people's votes on the same pair, as (one, other) and as (other, one)."""
    together = counts.T @ counts - np.diag(counts.sum(axis=0))
    return {
        name: dict(zip(LABELS, map(int, row), strict=True))
        for name, row in zip(LABELS, together, strict=True)
    }


def _difficulty(counts: IntArray) -> dict[str, int]:
    """Return how many pairs are how hard, by the margin of the votes."""
    place = difficulty_of(counts)
    return {name: int((place == number).sum()) for number, name in enumerate(DIFFICULTIES)}


def _by_plurality(people: People) -> dict[str, int]:
    """Return how many pairs people call a, b and a tie, and on how many no label leads."""
    label, is_open = people.three_way, people.has_no_plurality
    counted = {name: int(((label == n) & ~is_open).sum()) for n, name in enumerate(LABELS)}
    return {**counted, "none": int(is_open.sum())}


def judge_agreement(panel: Panel, column: int, bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """Return the figures of one judge; an estimate without a single case has the value None."""
    people, judged = panel.people, panel.judged
    label, decided, groups = judged.label[:, column], people.decided, bootstrap.groups
    three_way, among = people.three_way, (A, B)
    lost = {"failed": judged.has_failed[:, column]}
    n = int((label != MISSING).sum())
    return {
        "judge": judged.names[column],
        "n": n,
        "agreement": asdict(agreement_rate(decided, label, groups, among=among)),
        "agreement_three_way": asdict(agreement_rate(three_way, label, groups)),
        **_by_order(panel, column, bootstrap),
        "cohens_kappa": asdict(cohens_kappa(decided, _without_ties(label), groups)),
        "cohens_kappa_three_way": asdict(cohens_kappa(three_way, label, groups)),
        "coverage": n / len(label) if len(label) else None,
        **_reliability(people, judged, column),
        "neither": int((label == TIE).sum()),
        "same_responses": int((panel.is_same & (label != MISSING)).sum()),
        "confusion": confusion_of(three_way, label, lost),
        "no_plurality": said_without_plurality(people, label, lost),
        "failures": int(judged.has_failed[:, column].sum()),
        "seen_in_training": int(judged.was_trained[:, column].sum()),
    }


def _by_order(panel: Panel, column: int, bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """Return figures that need both orders: consistency, and agreement with people by each order."""
    people, judged = panel.people, panel.judged
    first, second = judged.first[:, column], judged.second[:, column]
    flags = judged.is_flagged[:, column]
    if flags.any() and (first == MISSING).all() and (second == MISSING).all():
        return _by_flag(panel, column, bootstrap)
    same, groups = np.where(first == second, first, MISSING), bootstrap.groups
    agreement = agreement_rate(people.decided, same, groups, among=(A, B))
    return {
        "agreement_consistent": asdict(agreement),
        "accuracy_mean_of_orders": asdict(_mean_of_orders(people, judged, column, bootstrap)),
        "fleiss_kappa_with_human": asdict(_fleiss_on_screen(people, first, second, groups)),
        "position_consistency": asdict(position_consistency(first, second, groups)),
    }


def _by_flag(panel: Panel, column: int, bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """Measure records that hold only the common label of both orders, or that they differed."""
    people, judged = panel.people, panel.judged
    label, flags = judged.label[:, column], judged.is_flagged[:, column]
    known = label != MISSING
    common = np.where(flags, MISSING, label)
    agreement = agreement_rate(people.decided, common, bootstrap.groups, among=(A, B))
    unknown = estimate_share(flags, np.zeros_like(flags), bootstrap.groups)
    return {
        "agreement_consistent": asdict(agreement),
        "accuracy_mean_of_orders": asdict(unknown),
        "fleiss_kappa_with_human": asdict(unknown),
        "position_consistency": asdict(estimate_share(~flags, known, bootstrap.groups)),
    }


def _mean_of_orders(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> Estimate:
    """Return the share of one-order labels equal to the mean vote's sign; unparsed are wrong."""
    orders = [order[:, column] for order in (judged.first, judged.second)]
    asked = [order for order in orders if (order != MISSING).any()]
    was_asked = (judged.label[:, column] != MISSING) | judged.has_failed[:, column]
    counted = was_asked & (people.side != MISSING)
    hits = [order == people.side for order in asked]
    rows = np.tile(np.arange(len(counted)), len(asked))
    return estimate_share(
        np.concatenate([*hits, np.zeros(0, dtype=np.bool_)]),
        counted[rows],
        bootstrap.groups.take(rows),
    )


def _fleiss_on_screen(
    people: People, first: IntArray, second: IntArray, groups: Groups
) -> Estimate:
    """Return Fleiss' kappa of (verdict, person); units are orders, labels screen positions."""
    judge = np.concatenate([first, mirrored(second)])
    human = np.concatenate([people.side, mirrored(people.side)])
    counts = np.zeros((len(judge), N_LABELS), dtype=np.int64)
    units = np.flatnonzero((judge != MISSING) & (human != MISSING))
    np.add.at(counts, (units, judge[units]), 1)
    np.add.at(counts, (units, human[units]), 1)
    rows = np.tile(np.arange(len(first)), 2)
    return fleiss_kappa(counts, groups.take(rows))


def _reliability(people: People, judged: Judged, column: int) -> dict[str, Any]:
    """Compare confidence with agreement on decided pairs; no preference is .5 and wrong."""
    counted = (people.decided != MISSING) & (judged.label[:, column] != MISSING)
    correct = is_right(people, judged, column)[counted]
    figures = measure_reliability(judged.confidence[counted, column], correct)
    return {
        "expected_calibration_error": figures.expected_calibration_error,
        "brier_score": figures.brier_score,
        "auroc": figures.auroc,
        "auprc": figures.auprc,
    }


def _without_ties(label: IntArray) -> IntArray:
    return np.where(label == TIE, MISSING, label)


def judge_pairs(judged: Judged, groups: Groups) -> list[dict[str, Any]]:
    """Return agreement and Cohen's kappa of every two judges, and what each said of what.

    `*_three_way` has ties as a class; in `confusion` the outer label is that of the first judge.
    """
    return [
        _judge_pair(judged, one, other, groups)
        for one, other in combinations(range(len(judged.names)), 2)
    ]


def _judge_pair(judged: Judged, one: int, other: int, groups: Groups) -> dict[str, Any]:
    first, second = judged.label[:, one], judged.label[:, other]
    ours, theirs = (np.where(label == TIE, MISSING, label) for label in (first, second))
    return {
        "judges": [judged.names[one], judged.names[other]],
        "agreement": asdict(agreement_rate(ours, theirs, groups)),
        "cohens_kappa": asdict(cohens_kappa(ours, theirs, groups)),
        "agreement_three_way": asdict(agreement_rate(first, second, groups)),
        "cohens_kappa_three_way": asdict(cohens_kappa(first, second, groups)),
        "confusion": confusion_of(first, second, {}),
    }


@dataclass(frozen=True, slots=True)
class _Depth:
    """The figures wanted besides the agreement of each judge."""

    has_details: bool
    has_judge_pairs: bool
    epsilon: float
    most_couples: int


def agreement_report(panel: Panel, request: AgreementIn, limits: Limits) -> dict[str, Any]:
    """Return every figure of a report; slices share the resamples of the whole."""
    bootstrap = bootstrap_of(panel, request)
    has_judge_pairs = "judge_pairs" in request.include
    whole = _Depth(True, has_judge_pairs, request.epsilon, limits.couples)
    by_slice = replace(whole, has_details="group_details" in request.include)
    found = _figures(panel, bootstrap, whole)
    found["human"]["by_annotator"] = by_annotator(panel.people, bootstrap.groups)
    return {**found, "groups": _groups(panel, bootstrap, by_slice)}


def bootstrap_of(panel: Panel, request: AgreementIn) -> ClusterBootstrap:
    """Return the resamples of a report's groups."""
    return ClusterBootstrap.over(Groups.of(panel.groups, request.confidence_level), request.seed)


def _groups(panel: Panel, bootstrap: ClusterBootstrap, depth: _Depth) -> list[dict[str, Any]]:
    if panel.slices is None:
        return []
    found = []
    for name in sorted({name for name in panel.slices if name is not None}):
        members = panel.slices == name
        part, resamples = panel.take(members), bootstrap.take(members)
        found.append({"group": name, **_figures(part, resamples, depth)})
    return found


def _figures(panel: Panel, bootstrap: ClusterBootstrap, depth: _Depth) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if panel.rated is not None:
        votes = panel.people.mean_vote
        found["correlations"] = correlation_figures(panel.rated, votes, bootstrap.groups)
    return found | {
        "pairs": len(panel),
        "human": human_agreement(panel.people, bootstrap.groups, depth.most_couples),
        "judges": [
            _judge(panel, column, bootstrap, depth) for column in range(len(panel.judged.names))
        ],
        "judge_pairs": judge_pairs(panel.judged, bootstrap.groups)
        if depth.has_judge_pairs
        else None,
        "cascade": cascade_agreement(panel, bootstrap),
        "abstention": abstention(panel, bootstrap),
    }


def _judge(panel: Panel, column: int, bootstrap: ClusterBootstrap, depth: _Depth) -> dict[str, Any]:
    found = judge_agreement(panel, column, bootstrap)
    if depth.has_details:
        found |= judge_details(panel, column, bootstrap, depth.epsilon)
    return found
