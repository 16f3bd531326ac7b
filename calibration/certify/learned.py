"""Paths that are learned on a part of the labels and tested on the rest.

The idea is Pareto testing (Laufer-Goldshtein, Fisch, Barzilay and Jaakkola 2023): one part of the
labels puts threshold vectors in an order, and a fixed-sequence test follows that order on labels
that had no part in it.

`learned_thresholds` orders them greedily: from "no judge answers" on, one judge at a time is
loosened where that costs the least risk for what it gains. `pareto_thresholds` orders them as
published: of a grid, those that no other beats in estimated risk and coverage, by their estimated
p-values.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from calibration.arrays import FloatArray, IntArray
from calibration.binomial import p_value
from calibration.sample import Sample, Scope

STEPS = 12
_LONGEST_MOVE = 3
_SPACING = 0.04
_SAVING_WORTH = 0.05
_MOVE_PRIOR = 4.0
_RISK_PRIOR = 10.0
# More rows than this do not sharpen an ordering of thirteen steps a judge.
_LARGEST_SEARCH = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class CascadeCells:
    """Pairs that no step can tell apart, counted.

    Attributes:
        step: First step at which each judge accepts the cell, shape (c, k).
        worth: Weight of the cell's pairs, shape (c,).
        lost: Their loss under each judge, shape (c, k).
        spent: Share of the cost of asking every judge that is spent when judge i answers, (k + 1,).
    """

    step: IntArray
    worth: FloatArray
    lost: FloatArray
    spent: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CascadeTotals:
    """Answered weight, lost weight and saved cost of some cascades, shape (m,) each."""

    answered: FloatArray
    lost: FloatArray
    saved: FloatArray


def thresholds_in_order(
    name: str,
    training: Sample,
    costs: FloatArray,
    test: tuple[float, float, Scope],
    tests_for_one: float,
) -> FloatArray:
    """Return the threshold vectors of a learned path in the order of testing, shape (nodes, k).

    Args:
        name: "learned" or "pareto".
        training: The pairs that learn; they test nothing.
        costs: Cost of each judge, shape (k,).
        test: Target risk, the level that the path will be tested at, and what the risk is a share
            of: of all pairs so few are given a wrong verdict by the strictest thresholds that the
            path begins there.
        tests_for_one: How many pairs will test for each that learns.
    """
    target_risk, level, scope = test
    if name == "learned":
        scale = tests_for_one if scope == "answered" else None
        return learned_thresholds(training, costs, target_risk, level, scale)
    return pareto_thresholds(training, costs, target_risk, scope)


def learned_thresholds(
    training: Sample, costs: FloatArray, target_risk: float, level: float, scale: float | None
) -> FloatArray:
    """Return threshold vectors to be tested in order on other labels, shape (u, k); u may be 0.

    Args:
        training: The pairs that choose; they may not test.
        costs: Cost of each judge, shape (k,).
        target_risk: The risk to be refuted.
        level: Level of the test to come.
        scale: How many times as many pairs will test as chose; None: begin at the strictest.
    """
    grid = threshold_grid(training.confidence)
    cells = count_cells(training, grid, costs)
    states = _greedy_states(cells, target_risk)
    totals = cascade_totals(cells, states)
    kept = _spaced(totals.answered / cells.worth.sum())
    pairs_each = training.n / float(cells.worth.sum())
    answered, lost = totals.answered[kept] * pairs_each, totals.lost[kept] * pairs_each
    start = 0 if scale is None else _start(answered, lost, target_risk, level, scale)
    vectors: FloatArray = grid[states[kept][start:], np.arange(training.n_judges)]
    # Tied confidences give several steps one threshold, so neighbours may be the same cascade.
    is_new = (vectors[1:] != vectors[:-1]).any(axis=1)
    return np.concatenate([vectors[:1], vectors[1:][is_new]])


def threshold_grid(confidence: FloatArray, n_steps: int = STEPS) -> FloatArray:
    """Return thresholds, shape (m + 1, k), whose step s lets a judge accept s/m of its pairs."""
    grid = np.full((n_steps + 1, confidence.shape[1]), np.inf)
    for judge, column in enumerate(confidence.T):
        ranked = np.sort(column[column > -np.inf])[::-1]
        if ranked.size:
            last = np.ceil(np.arange(1, n_steps + 1) * ranked.size / n_steps).astype(int) - 1
            grid[1:, judge] = ranked[last]
    return grid


def count_cells(training: Sample, grid: FloatArray, costs: FloatArray) -> CascadeCells:
    """Count the pairs that no step of a grid of thresholds can tell apart."""
    n, k = training.confidence.shape
    rows = np.linspace(0, n - 1, min(n, _LARGEST_SEARCH)).astype(int)
    confidence, loss = training.confidence[rows], training.loss[rows]
    weight = np.ones(len(rows)) if training.weight is None else training.weight[rows]
    # Thresholds fall with the step, so the first step that accepts is the number still above.
    step = (grid[None, :, :] > confidence[:, None, :]).sum(axis=1)
    distinct, cell = np.unique(step, axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    size = len(distinct)
    worth = np.bincount(cell, weight, size).astype(np.float64)
    lost = np.stack([np.bincount(cell, weight * loss[:, j], size) for j in range(k)], axis=1)
    total = float(costs.sum())
    spent = np.cumsum(costs) / total if total > 0 else np.ones(k)
    return CascadeCells(distinct, worth, lost.astype(np.float64), np.append(spent, 1.0))


def cascade_totals(cells: CascadeCells, states: IntArray) -> CascadeTotals:
    """Return the totals of the cascades with these steps, states of shape (m, k)."""
    accepts = cells.step[None, :, :] <= states[:, None, :]
    is_answered = accepts.any(axis=2)
    judge = np.where(is_answered, accepts.argmax(axis=2), states.shape[1])
    lost_by = np.concatenate([cells.lost, np.zeros((len(cells.lost), 1))], axis=1)
    lost = np.take_along_axis(lost_by, judge.T, axis=1).sum(axis=0)
    saved = (1.0 - cells.spent[judge]) @ cells.worth
    return CascadeTotals(is_answered @ cells.worth, lost, saved)


def _greedy_states(cells: CascadeCells, prior_risk: float) -> IntArray:
    """Return steps of all judges, from the first answer to everything loosened, shape (m, k)."""
    k = cells.step.shape[1]
    state = np.zeros(k, dtype=np.int64)
    now = cascade_totals(cells, state[None, :])
    visited: list[IntArray] = []
    moves = np.arange(1, _LONGEST_MOVE + 1)[:, None, None] * np.eye(k, dtype=np.int64)
    while (state < STEPS).any():
        ahead = (state + moves).reshape(-1, k)
        ahead = ahead[(ahead <= STEPS).all(axis=1)]
        then = cascade_totals(cells, ahead)
        gained = then.answered - now.answered + _SAVING_WORTH * (then.saved - now.saved)
        risk = (then.lost - now.lost + _MOVE_PRIOR * prior_risk) / (gained + _MOVE_PRIOR)
        best = int(risk.argmin())
        state = ahead[best]
        now = CascadeTotals(then.answered[[best]], then.lost[[best]], then.saved[[best]])
        visited.append(state)
    return np.array(visited)


def _spaced(coverage: FloatArray) -> IntArray:
    """Return indices of states at least `_SPACING` of coverage apart, the last one among them."""
    kept: list[int] = []
    reached = 0.0
    for index, covered in enumerate(coverage.tolist()):
        if covered >= reached + _SPACING or (index == coverage.size - 1 and covered > 0):
            kept.append(index)
            reached = covered
    return np.array(kept, dtype=np.int64)


def _start(
    answered: FloatArray, lost: FloatArray, target_risk: float, level: float, scale: float
) -> int:
    """Return the node most likely to pass, of those that could pass without an error."""
    if not answered.size:
        return 0
    risk = np.empty_like(answered)
    looser = lost[-1] / answered[-1]
    for node in range(answered.size - 1, -1, -1):
        looser = (lost[node] + _RISK_PRIOR * looser) / (answered[node] + _RISK_PRIOR)
        risk[node] = looser
    expected = answered * scale
    z = (target_risk - risk) * np.sqrt(expected)
    could_pass = expected * np.log1p(-target_risk) <= np.log(level)
    return int(np.where(could_pass, z, -np.inf).argmax()) if could_pass.any() else answered.size


# The grid has at most this many vectors, so more judges mean fewer steps each.
_LARGEST_GRID = 4096
_MOST_STEPS = 12


def pareto_thresholds(
    training: Sample, costs: FloatArray, target_risk: float, scope: Scope = "answered"
) -> FloatArray:
    """Return threshold vectors to be tested in order on other labels, shape (u, k); u may be 0.

    Args:
        training: The pairs that choose; they may not test.
        costs: Cost of each judge, shape (k,).
        target_risk: The risk to be refuted.
        scope: What the risk is a share of.
    """
    k = training.n_judges
    n_steps = next(s for s in range(_MOST_STEPS, 0, -1) if (s + 1) ** k <= _LARGEST_GRID or s == 1)
    grid = threshold_grid(training.confidence, n_steps)
    cells = count_cells(training, grid, costs)
    states = np.array(list(itertools.product(range(n_steps + 1), repeat=k)), dtype=np.int64)
    front = _front(cells, states, target_risk, scope)
    vectors: FloatArray = grid[states[front], np.arange(k)]
    return vectors


def _front(cells: CascadeCells, states: IntArray, target_risk: float, scope: Scope) -> IntArray:
    """Return states that no other beats, from the smallest p-value on to ever higher coverage.

    Of all pairs the strictest thresholds give the fewest a wrong verdict, and are first.
    """
    totals = cascade_totals(cells, states)
    answered, risk = totals.answered, totals.lost / np.maximum(totals.answered, 1e-12)
    if scope == "dataset":
        risk = totals.lost
    # at equal coverage the smaller risk comes first, and of equal risks the cheaper
    order = np.lexsort((-totals.saved, risk, -answered))
    order = order[answered[order] > 0]
    best_looser = np.minimum.accumulate(np.append(np.inf, risk[order]))[:-1]
    front = order[risk[order] < best_looser][::-1]
    if scope == "dataset":
        return front
    # a beta function of sums of weights is still an order, and an order is all that is wanted
    p_values = p_value(totals.lost[front], answered[front], target_risk)
    start = int(p_values.argmin()) if front.size else 0
    return front[start:]
