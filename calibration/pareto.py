"""Pareto testing: half of the labels choose an order of threshold vectors, the rest tests along it.

Laufer-Goldshtein, Fisch, Barzilay and Jaakkola (2023): of a grid of threshold vectors those that no
other beats in estimated risk and coverage are put in order of their estimated p-values, and a
fixed-sequence test follows that order on labels that had no part in it.
"""

from __future__ import annotations

import itertools

import numpy as np

from calibration.arrays import FloatArray, IntArray
from calibration.binomial import p_value
from calibration.learned import CascadeCells, cascade_totals, count_cells, threshold_grid
from calibration.sample import Sample

# The grid has at most this many vectors, so more judges mean fewer steps each.
_LARGEST_GRID = 4096
_MOST_STEPS = 12


def pareto_thresholds(training: Sample, costs: FloatArray, target_risk: float) -> FloatArray:
    """Threshold vectors to be tested in order on other labels, shape (u, k); u may be 0.

    Args:
        training: The pairs that choose; they may not test.
        costs: Cost of each judge, shape (k,).
        target_risk: The risk to be refuted.
    """
    k = training.n_judges
    n_steps = next(s for s in range(_MOST_STEPS, 0, -1) if (s + 1) ** k <= _LARGEST_GRID or s == 1)
    grid = threshold_grid(training.confidence, n_steps)
    cells = count_cells(training, grid, costs)
    states = np.array(list(itertools.product(range(n_steps + 1), repeat=k)), dtype=np.int64)
    front = _front(cells, states, target_risk)
    vectors: FloatArray = grid[states[front], np.arange(k)]
    return vectors


def _front(cells: CascadeCells, states: IntArray, target_risk: float) -> IntArray:
    """States no other beats, from the smallest p-value on to ever higher coverage."""
    totals = cascade_totals(cells, states)
    answered, risk = totals.answered, totals.lost / np.maximum(totals.answered, 1e-12)
    # at equal coverage the smaller risk comes first, and of equal risks the cheaper
    order = np.lexsort((-totals.saved, risk, -answered))
    order = order[answered[order] > 0]
    best_looser = np.minimum.accumulate(np.append(np.inf, risk[order]))[:-1]
    front = order[risk[order] < best_looser][::-1]
    # a beta function of sums of weights is still an order, and an order is all that is wanted
    p_values = p_value(totals.lost[front], answered[front], target_risk)
    start = int(p_values.argmin()) if front.size else 0
    return front[start:]
