"""Weights with which labelled pairs stand for other traffic: density ratios, known or estimated.

Where only the frequencies of kinds of pairs differ, and not what people say of a pair, the risk on
the traffic Q is that on the labelled pairs P with each pair counted by w = dQ/dP. Its promise is
refuted by betting on w (loss - target), as for unequal label probabilities, with w clipped at a cap
that no label decides. (Shimodaira 2000 for the weights; Waudby-Smith and Ramdas 2024 for the bets.)

An unknown ratio is estimated by telling the two sets apart: with n pairs of P and m of Q, and s the
probability that a pair x belongs to Q, w(x) = (n / m) s / (1 - s). It is cross-fitted: a pair's
weight comes from a regression that has not seen the pair's group, so that no pair is told apart by
itself. Labels take no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument, UndeclaredBound
from calibration.stack import log_odds

# clips that are tried; the first that leaves out no more than this share of the traffic is taken
_CLIPS = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0)
_CUT_AT_MOST = 0.02
_FOLDS = 5
_STEPS = 30
_PENALTY = 1.0
# no estimated probability nearer to 0 or 1 than this: a ratio of 0 would say "never"
_SUREST = 1e-3
# fewer pairs say too little of what is frequent
_FEWEST = 30


@dataclass(frozen=True, slots=True)
class Reweighting:
    """How labelled pairs stand for other traffic.

    Attributes:
        clip: Largest weight of a pair; one that is more frequent counts as if it were not.
        cut: Share of the traffic that the clip leaves out.
        effective: Number of equally weighted pairs that say as much, (sum w)^2 / sum w^2.
        is_estimated: The ratio was estimated, and what rests on it is assumed.
    """

    clip: float
    cut: float
    effective: float
    is_estimated: bool


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """Clipped weights, shape (n,), and their figures."""

    weight: FloatArray
    figures: Reweighting


def known_ratio(ratio: ArrayLike, max_ratio: float | None) -> Weighed:
    """Clip density ratios at a declared cap.

    The cap may not be read off the labelled pairs: where a kind of pair is rare among them and
    frequent in the traffic there may be none of it by chance, and all ratios at hand are small.

    Args:
        ratio: Shape (n,), how many times as frequent each pair is in the traffic.
        max_ratio: Declared clip.

    Raises:
        InvalidArgument: A ratio is negative or no number, or the clip is not above 0.
        UndeclaredBound: There is no clip.

    Example:
        >>> known_ratio([0.5] * 90 + [5.5] * 10, max_ratio=5.0).figures
        Reweighting(clip=5.0, cut=0.05, effective=33.11926605504587, is_estimated=False)
    """
    given = np.asarray(ratio, dtype=np.float64)
    if given.ndim != 1 or not np.all(np.isfinite(given) & (given >= 0)):
        raise InvalidArgument("density_ratio must be one number a pair, finite and not below 0")
    if max_ratio is None:
        raise UndeclaredBound("density_ratio needs max_ratio, declared in advance")
    if not 0.0 < max_ratio < np.inf:
        raise InvalidArgument(f"max_ratio must be above 0 and finite, not {max_ratio}")
    total = float(given.sum())
    cut = float(np.maximum(given - max_ratio, 0.0).sum()) / total if total else 0.0
    weight = np.minimum(given, max_ratio)
    return Weighed(weight, Reweighting(max_ratio, cut, _effective(weight), is_estimated=False))


def estimated_ratio(
    features: FloatArray,
    traffic: FloatArray,
    group: IntArray,
    max_ratio: float | None,
    rng: np.random.Generator,
) -> Weighed:
    """Estimate how many times as frequent each labelled pair is in the traffic, and clip it.

    Ridge logistic regression on the standardised features and their squares, in five folds. The clip
    is chosen on the traffic, so that it knows kinds of pairs that no labelled pair is of.

    Args:
        features: Of the labelled pairs, shape (n, f).
        traffic: Of unlabelled pairs of the traffic, shape (m, f).
        group: Group of each labelled pair, 0 .. n_groups - 1; pairs of a group share a fold.
        max_ratio: Declared clip; None to choose one.
        rng: Draws the folds.

    Raises:
        InvalidArgument: The columns differ, one set has fewer than 30 pairs, or the clip is below 1.
    """
    if features.shape[1] != traffic.shape[1]:
        raise InvalidArgument(
            f"the traffic has {traffic.shape[1]} features and the labelled pairs {features.shape[1]}"
        )
    if min(len(features), len(traffic)) < _FEWEST:
        raise InvalidArgument(
            f"a ratio needs {_FEWEST} labelled pairs and {_FEWEST} of the traffic: there are "
            f"{len(features)} and {len(traffic)}"
        )
    if max_ratio is not None and not 1.0 <= max_ratio < np.inf:
        raise InvalidArgument(f"max_ratio must be at least 1 and finite, not {max_ratio}")
    ours, theirs = _cross_fitted(features, traffic, group, rng)
    caps = _CLIPS if max_ratio is None else (max_ratio,)
    cuts = [float(np.maximum(1.0 - cap / theirs, 0.0).mean()) for cap in caps]
    chosen = next((i for i, cut in enumerate(cuts) if cut <= _CUT_AT_MOST), len(caps) - 1)
    weight = np.minimum(ours, caps[chosen])
    figures = Reweighting(caps[chosen], cuts[chosen], _effective(weight), is_estimated=True)
    return Weighed(weight, figures)


def _effective(weight: FloatArray) -> float:
    squares = float(weight @ weight)
    return float(weight.sum() ** 2 / squares) if squares else 0.0


def evidence_features(p_a: ArrayLike, extra: ArrayLike | None = None) -> FloatArray:
    """Return what judges say of pairs, without sides: how sure they are, and who agrees with whom.

    Swapping the responses of a pair changes nothing.

    Args:
        p_a: Shape (n, k), nan where a judge failed.
        extra: Shape (n, f), more that is known without labels, such as lengths or slices as 0 and 1.

    Raises:
        InvalidArgument: Shapes do not match, or a number is not finite.

    Example:
        >>> evidence_features([[0.9, 0.2]]).round(2)
        array([[ 2.2 ,  1.39,  0.  ,  0.  , -1.39]])
    """
    z = log_odds(p_a)
    if z.ndim != 2:
        raise InvalidArgument(f"traffic must have shape (pairs, judges), not {z.shape}")
    sure, silent = np.abs(z), (z == 0).astype(np.float64)
    agree = np.sign(z[:, 1:] * z[:, :-1]) * np.minimum(sure[:, 1:], sure[:, :-1])
    columns = [sure, silent, agree]
    if extra is not None:
        more = np.asarray(extra, dtype=np.float64)
        if more.ndim != 2 or len(more) != len(z) or not np.isfinite(more).all():
            raise InvalidArgument(f"features must be {len(z)} rows of finite numbers")
        columns.append(more)
    return np.column_stack(columns)


def _cross_fitted(
    features: FloatArray, traffic: FloatArray, group: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return the ratio at each labelled pair, and at each of the traffic, by models without it."""
    both = np.vstack([features, traffic])
    spread = both.std(axis=0)
    scaled = (both - both.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    design = np.column_stack([np.ones(len(both)), scaled, scaled**2 - 1.0])
    n = len(features)
    fold = np.append(
        (rng.permutation(int(group.max()) + 1) % _FOLDS)[group],
        rng.permutation(len(traffic)) % _FOLDS,
    )
    is_theirs = np.arange(len(both)) >= n
    ratio = np.empty(len(both))
    for left_out in range(_FOLDS):
        rest, own = fold != left_out, fold == left_out
        weights = _told_apart(design[rest], is_theirs[rest].astype(np.float64))
        share = np.clip(scipy.special.expit(design[own] @ weights), _SUREST, 1.0 - _SUREST)
        counts = (rest & ~is_theirs).sum() / (rest & is_theirs).sum()
        ratio[own] = counts * share / (1.0 - share)
    return ratio[:n], ratio[n:]


def _told_apart(design: FloatArray, is_theirs: FloatArray) -> FloatArray:
    """Return the weights of a ridge logistic regression; the intercept is not shrunk."""
    penalty = np.full(design.shape[1], _PENALTY)
    penalty[0] = 1e-6
    weights: FloatArray = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = scipy.special.expit(design @ weights)
        gradient = design.T @ (chance - is_theirs) + penalty * weights
        curvature = (design.T * (chance * (1.0 - chance))) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        # a step that overshoots is cut, so that no design makes the search run away
        weights = weights - step / max(1.0, float(np.abs(step).max()) / 2.0)
    return weights
