"""Which paths are tested, with which part of the failure probability: fixed by the method and n.

The shares and starts may depend on the number of groups but on nothing else about the labels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from calibration.arrays import BoolArray, FloatArray
from calibration.learned import learned_thresholds
from calibration.pareto import pareto_thresholds
from calibration.paths import Ground, Path, Start, shared_path
from calibration.sample import Sample, rows_of_drawn_groups

PortfolioMethod = Literal[
    "auto", "diagonal", "strongest", "learned", "pareto_testing", "sequential"
]

# Below this number of groups a third of the labels is better spent on the fixed paths.
LARGE = 600
_LEARNING_SHARE = 0.25
_ORDERING_SHARE = 0.5
_SHARES: dict[PortfolioMethod, dict[str, float]] = {
    "diagonal": {"diagonal": 1.0},
    "strongest": {"strongest": 1.0},
    "learned": {"learned": 1.0},
    "pareto_testing": {"pareto": 1.0},
}
_SHARES_SMALL = {"diagonal": 0.75, "strongest": 0.25}
_SHARES_LARGE = {"diagonal": 0.50, "strongest": 0.20, "learned": 0.30}
_STARTS_SMALL = (Start(0.50, 1.0),)
_STARTS_LARGE = (Start(0.15, 0.2), Start(0.50, 0.8))


def paths_of(  # noqa: PLR0913 - one call site; a container would only rename them
    method: PortfolioMethod,
    sample: Sample,
    pool: FloatArray,
    *,
    test: tuple[float, float],
    costs: FloatArray,
    is_coarse: bool,
    rng: np.random.Generator,
) -> list[Path]:
    """The paths of a method; those that nothing can start are left out.

    Args:
        method: The portfolio, or one of its parts.
        sample: The pairs that test, one a group unless the test is by betting over groups.
        pool: Confidences of other pairs, shape (m, k).
        test: Target risk and failure probability.
        costs: Cost of each judge, shape (k,).
        is_coarse: The test affords few nodes.
        rng: Draws the labels that learn.
    """
    shares = _shares(method, sample.n_groups, sample.n_judges)
    is_large = method != "sequential" and sample.n_groups >= LARGE
    starts = _STARTS_LARGE if is_large else _STARTS_SMALL
    judges = {
        "diagonal": np.ones(sample.n_judges, dtype=np.bool_),
        "strongest": np.arange(sample.n_judges) == sample.n_judges - 1,
    }
    ground = Ground(sample, pool, starts, is_coarse)
    paths = [
        shared_path(ground, name, shares[name], is_on_path)
        for name, is_on_path in judges.items()
        if name in shares
    ]
    if "learned" in shares:
        paths.append(_learned_path(shares["learned"], sample, test, costs, rng))
    if "pareto" in shares:
        paths.append(_pareto_path(shares["pareto"], sample, test[0], costs, rng))
    return [path for path in paths if path is not None]


def default_shares(n_judges: int) -> dict[str, float]:
    """Parts of the failure probability of the default procedure's paths on few labels."""
    return _shares("auto", 1, n_judges)


def _shares(method: PortfolioMethod, n_groups: int, n_judges: int) -> dict[str, float]:
    if method in _SHARES:
        return _SHARES[method]
    if n_judges == 1:
        return _SHARES["diagonal"]
    # a walk that may stop at any time has a plan that no number of labels changes
    if method == "sequential":
        return _SHARES_SMALL
    return _SHARES_LARGE if n_groups >= LARGE else _SHARES_SMALL


def _learned_path(
    share: float,
    sample: Sample,
    test: tuple[float, float],
    costs: FloatArray,
    rng: np.random.Generator,
) -> Path | None:
    learning = rows_of_drawn_groups(sample.group, round(_LEARNING_SHARE * sample.n_groups), rng)
    if not learning.any() or learning.all():
        return None
    target_risk, failure_probability = test
    training = sample.rows(learning)
    scale = float((~learning).sum() / learning.sum())
    thresholds = learned_thresholds(
        training, costs, target_risk, share * failure_probability, scale
    )
    return _on_the_rest("learned", share, thresholds, learning)


def _pareto_path(
    share: float, sample: Sample, target_risk: float, costs: FloatArray, rng: np.random.Generator
) -> Path | None:
    learning = rows_of_drawn_groups(sample.group, round(_ORDERING_SHARE * sample.n_groups), rng)
    if not learning.any() or learning.all():
        return None
    thresholds = pareto_thresholds(sample.rows(learning), costs, target_risk)
    return _on_the_rest("pareto", share, thresholds, learning)


def _on_the_rest(
    name: str, share: float, thresholds: FloatArray, learning: BoolArray
) -> Path | None:
    """A path that is tested on the rows that did not choose it, all of its level at the start."""
    if not len(thresholds):
        return None
    weights = np.zeros(len(thresholds))
    weights[0] = 1.0
    everyone: BoolArray = np.ones(thresholds.shape[1], dtype=np.bool_)
    return Path(name, share, thresholds, everyone, weights, np.flatnonzero(~learning))
