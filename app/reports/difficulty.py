"""Pairs by how hard they were for people: the margin of their votes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import numpy as np

from calibration.agreement import (
    DifficultyBins,
    agreement_by_difficulty,
    agreement_rate,
    cohens_kappa,
    vote_margin,
)
from calibration.arrays import IntArray
from calibration.intervals import ClusterBootstrap
from calibration.labels import MISSING, TIE, A, B

# from easy to hard; one vote has no margin, and says nothing of how hard a pair is
DIFFICULTIES: Final = ("unanimous", "single_vote", "split", "no_plurality")
_UNANIMOUS, _SINGLE, _SPLIT, _OPEN = range(len(DIFFICULTIES))


def difficulty_of(counts: IntArray) -> IntArray:
    """Return each pair's place in `DIFFICULTIES`, `MISSING` without votes; counts are (n, 3)."""
    votes, margin = counts.sum(axis=1), np.nan_to_num(vote_margin(counts))
    place = np.where(margin == 1, _UNANIMOUS, np.where(margin > 0, _SPLIT, _OPEN))
    place = np.where(votes == 1, _SINGLE, place)
    return np.where(votes == 0, MISSING, place)


def by_difficulty(
    counts: IntArray, decided: IntArray, three_way: IntArray, label: IntArray,
    bootstrap: ClusterBootstrap,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return agreement with people by difficulty, without ties and with ties as a class.

    Args:
        counts: Votes for a, b and tie, shape (n, 3).
        decided: The plurality where it is a or b.
        three_way: The plurality, a tie where votes have none.
        label: What the judge said.
        bootstrap: Groups of the pairs.
    """
    place = difficulty_of(counts)
    found = []
    for number, name in enumerate(DIFFICULTIES):
        rows = place == number
        people, ours, resamples = decided[rows], label[rows], bootstrap.take(rows)
        without_ties = np.where(ours == TIE, MISSING, ours)
        classes = three_way[rows]
        found.append(
            {
                "difficulty": name,
                "pairs": int(rows.sum()),
                "agreement": asdict(agreement_rate(people, ours, resamples, among=(A, B))),
                "agreement_three_way": asdict(agreement_rate(classes, ours, resamples)),
                "cohens_kappa": asdict(cohens_kappa(people, without_ties, resamples)),
                "cohens_kappa_three_way": asdict(cohens_kappa(classes, ours, resamples)),
            }
        )
    return found


def fall_of_agreement(
    counts: IntArray, decided: IntArray, label: IntArray, bootstrap: ClusterBootstrap
) -> dict[str, Any]:
    """Return agreement on unanimous pairs minus that on split ones, ties left out."""
    place = difficulty_of(counts)
    number = np.where(place == _UNANIMOUS, 0, np.where(place == _SPLIT, 1, MISSING))
    bins = DifficultyBins(number, np.zeros(1))
    return asdict(agreement_by_difficulty(decided, label, bins, bootstrap, among=(A, B)).fall)


def by_votes(
    counts: IntArray, decided: IntArray, label: IntArray, bootstrap: ClusterBootstrap
) -> list[dict[str, Any]]:
    """Return agreement by the number of votes and of those for the plurality, ties left out."""
    votes, top = counts.sum(axis=1), counts.max(axis=1, initial=0)
    counted = (decided != MISSING) & np.isin(label, (A, B))
    found = []
    for total, most in sorted({*zip(votes[counted].tolist(), top[counted].tolist(), strict=True)}):
        rows = counted & (votes == total) & (top == most)
        agreement = agreement_rate(decided[rows], label[rows], bootstrap.take(rows))
        found.append({"votes": total, "for_plurality": most, "agreement": asdict(agreement)})
    return found
