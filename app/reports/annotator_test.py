"""May this judge replace a person? The alternative annotator test on the people of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from app.reports.panel import People
from calibration.agreement import (
    AlternativeAnnotatorOptions,
    AlternativeAnnotatorTest,
    AnnotatorComparison,
    alternative_annotator_test,
)
from calibration.arrays import IntArray
from calibration.binomial import wilson_interval
from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap
from calibration.labels import MISSING

# both as proposed with the test: fewer say nothing of people in general, or of one of them
LEAST_ANNOTATORS: Final = 3
LEAST_UNITS: Final = 30
_MOST_CELLS: Final = 20_000_000


def annotator_test(
    people: People, label: IntArray, bootstrap: ClusterBootstrap, epsilon: float
) -> dict[str, Any]:
    """Return the test of a judge's labels, ties being a class; a person's last vote counts.

    Only people with a name can be tested: votes without one are left out. The interval of the
    winning rate is that of a share of people, each of them one trial.
    """
    table, rows, columns = _ratings(people, label)
    if table.size > _MOST_CELLS:
        return {
            "not_tested_because": f"{len(columns)} annotators on {len(rows)} pairs are too many"
        }
    options = AlternativeAnnotatorOptions(epsilon=epsilon, least_units=LEAST_UNITS)
    found = alternative_annotator_test(label[rows], table, bootstrap.take(rows), options)
    tested = [one for one in found.annotators if one.p_value is not None]
    return {
        "outcome": _outcome(found, len(tested)),
        "winning_rate": asdict(_winning_rate(tested, bootstrap.confidence_level)),
        "least_annotators": LEAST_ANNOTATORS,
        "least_units": LEAST_UNITS,
        "epsilon": found.epsilon,
        "false_discovery_rate": found.false_discovery_rate,
        "advantage": asdict(found.advantage),
        "margin": asdict(found.margin),
        "annotators": [
            {**asdict(one), "annotator": people.annotators[columns[one.annotator]]}
            for one in tested
        ],
    }


def _winning_rate(tested: Sequence[AnnotatorComparison], level: float) -> Estimate:
    n, won = len(tested), sum(one.is_rejected for one in tested)
    if n == 0:
        return Estimate(None, None, None, level, 0)
    low, high = wilson_interval(won, n, level)
    return Estimate(won / n, float(low), float(high), level, n)


def _outcome(found: AlternativeAnnotatorTest, n_tested: int) -> str:
    """Passed, failed, or neither: few units may be why a good judge does not pass."""
    if n_tested < LEAST_ANNOTATORS:
        return "not_enough_evidence"
    if found.is_passed:
        return "pass"
    highest = found.margin.high
    is_worse = highest is not None and highest < -found.epsilon
    return "fail" if is_worse else "not_enough_evidence"


def _ratings(people: People, label: IntArray) -> tuple[IntArray, IntArray, list[int]]:
    """Label codes of shape (pairs, annotators), where two named people and the judge said one."""
    votes = np.bincount(people.vote_row, minlength=len(label))
    rows = np.flatnonzero((votes >= 2) & (label != MISSING))
    place = np.full(len(label), -1)
    place[rows] = np.arange(len(rows))
    used = place[people.vote_row] >= 0
    columns = sorted({*people.vote_by[used].tolist()})
    number = np.full(len(people.annotators), -1)
    number[columns] = np.arange(len(columns))
    size = (len(rows), len(columns))
    if size[0] * size[1] > _MOST_CELLS:
        return np.broadcast_to(np.int64(MISSING), size), rows, columns
    table = np.full(size, MISSING, dtype=np.int64)
    table[place[people.vote_row[used]], number[people.vote_by[used]]] = people.vote_code[used]
    return table, rows, columns
