"""Pair totals in every resample of the groups: what a bootstrap of a leaderboard is made from.

One pass over the resamples serves all statistics of a leaderboard. No loop is over comparisons:
sums by group times multiplicities is a sparse matrix product, and where groups of one comparison
each differ in the result alone, how often each result is drawn is multinomial.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from calibration.arrays import FloatArray
from calibration.comparisons import PairLayout, PairTotals
from calibration.resampling import ClusterBootstrap

_BLOCK_CELLS = 4_000_000
_AT_ONCE = 32  # so many resamples of all sums stay in a processor's cache


def resampled_totals(layout: PairLayout, bootstrap: ClusterBootstrap) -> Iterator[PairTotals]:
    """Yield blocks of resamples of the pair totals of the bootstrap's comparisons."""
    by_group = layout.by_group(bootstrap.group, bootstrap.n_groups)
    blocks = _multinomial if _is_one_result_a_group(by_group) else _products
    for sums in blocks(by_group, bootstrap):
        yield layout.totals(sums)


def _is_one_result_a_group(by_group: sparse.csr_array[Any]) -> bool:
    is_single = bool((np.diff(by_group.indptr) <= 1).all())
    return is_single and by_group.nnz > 0 and bool((by_group.data == by_group.data[0]).all())


def _multinomial(
    by_group: sparse.csr_array[Any], bootstrap: ClusterBootstrap
) -> Iterator[FloatArray]:
    """Draw how often each result occurs; groups without a comparison are one more outcome."""
    n_groups, n_sums = by_group.shape
    met, sizes = np.unique(by_group.indices, return_counts=True)
    chances = np.append(sizes, n_groups - by_group.nnz) / n_groups
    rng = np.random.default_rng(bootstrap.seed)
    step = max(1, _BLOCK_CELLS // n_sums)
    for start in range(0, bootstrap.n_resamples, step):
        size = min(step, bootstrap.n_resamples - start)
        sums = np.zeros((size, n_sums))
        sums[:, met] = rng.multinomial(n_groups, chances, size=size)[:, :-1]
        yield sums * by_group.data[0]


def _products(by_group: sparse.csr_array[Any], bootstrap: ClusterBootstrap) -> Iterator[FloatArray]:
    n_sums = by_group.shape[1]
    by_sum = by_group.T
    for drawn in bootstrap.multiplicities(n_sums):
        sums = np.empty((len(drawn), n_sums))
        for start in range(0, len(drawn), _AT_ONCE):
            some = drawn[start : start + _AT_ONCE]
            sums[start : start + _AT_ONCE] = (by_sum @ some.T.astype(np.float64)).T
        yield sums
