"""What judges say together: the summed log-odds of those heard so far.

Judges are heard in order, and each adds its evidence to that of the judges before it: with
z_j = log(p / (1 - p)) of judge j's clipped probability that a is better, and 0 where it failed or
has no preference, tier j says the sign of S_j = z_1 + .. + z_j, with confidence expit(|S_j|), and
nothing where S_j = 0. Evidence adds up like this where judges err independently given which
response people prefer (a product of likelihood ratios). Judges are neither independent nor
calibrated, so the sums are certified like any other confidence: S_j is a fixed function of what the
judges say, and no label is needed to compute it.

The clip keeps one overconfident judge from deciding alone. It is 1e-4 on either side: a wider one
throws away what real probabilities say.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import rounded, rounded_number
from calibration.errors import InvalidArgument
from calibration.labels import MISSING, A, B
from calibration.preference import SILENT, Opinion, Preference, sides, sides_of_one

Columns = Literal["raw", "stacked", "learned"]

CLIP: Final = 1e-4


def log_odds(p_a: ArrayLike, p_tie: ArrayLike | None = None, *, clip: float = CLIP) -> FloatArray:
    """Return the clipped log-odds that a is better; swapping the responses changes the sign only.

    Args:
        p_a: Probability that a is preferred, any shape; nan where the judge failed.
        p_tie: Probability of a tie, set aside first; none means 0.
        clip: Probabilities are moved into [clip, 1 - clip] first.

    Returns:
        The shape of `p_a`; 0 where the judge failed or has no preference.

    Raises:
        InvalidArgument: A probability outside [0, 1], or clip outside (0, 1/2).

    Example:
        >>> log_odds([0.8, 0.2, 0.5, np.nan]).round(3)
        array([ 1.386, -1.386,  0.   ,  0.   ])
    """
    if not 0.0 < clip < 0.5:
        raise InvalidArgument(f"clip must lie strictly between 0 and 0.5, not {clip}")
    first, second = sides(p_a, p_tie)
    # the logarithm of contiguous arrays and that of single numbers are the same code
    low, high = (np.ascontiguousarray(np.clip(side, clip, 1.0 - clip)) for side in (first, second))
    return np.where(np.isnan(first), 0.0, np.log(low) - np.log(high))


def stacked_preference(
    p_a: ArrayLike, p_tie: ArrayLike | None = None, *, clip: float = CLIP
) -> Preference:
    """Return what the judges heard so far say together, tier by tier.

    Args:
        p_a: Shape (n, k), probability that a is preferred, judges in the order in which they are
            asked; nan where a judge failed.
        p_tie: Shape (n, k), probability of a tie; none means 0.
        clip: As for `log_odds`.

    Returns:
        Labels and confidences, shape (n, k). `is_failed` marks tiers at which every judge so far
        failed.

    Raises:
        InvalidArgument: Another shape, a probability outside [0, 1], or clip outside (0, 1/2).

    Example:
        Two judges that agree are surer than either; two that contradict each other say nothing.

        >>> said = stacked_preference([[0.8, 0.8], [0.8, 0.2], [0.8, np.nan]])
        >>> said.confidence.round(4)
        array([[0.8   , 0.9412],
               [0.8   ,    nan],
               [0.8   , 0.8   ]])
        >>> said.label
        array([[ 0,  0],
               [ 0, -1],
               [ 0,  0]])
    """
    shares = np.asarray(p_a, dtype=np.float64)
    if shares.ndim != 2 or shares.shape[1] == 0:
        raise InvalidArgument(f"p_a must have shape (pairs, judges), not {shares.shape}")
    return said_together(np.cumsum(log_odds(shares, p_tie, clip=clip), axis=1), shares)


def said_together(evidence: FloatArray, p_a: FloatArray) -> Preference:
    """Return what `stacked_preference` does, from `summed_evidence`; shapes (n, k)."""
    is_failed = np.asarray(np.logical_and.accumulate(np.isnan(p_a), axis=1))
    return _said(evidence, is_failed)


def summed_evidence(p_a: ArrayLike, p_tie: ArrayLike | None = None) -> FloatArray:
    """Return S_1 .. S_k of each pair, shape (n, k): the signs and sizes behind stacked tiers."""
    return np.cumsum(log_odds(p_a, p_tie), axis=1)


# of a pool's pairs, those on which later judges may take away more than the margin
_TAKEN_MORE = 0.1


def margins(evidence: FloatArray) -> FloatArray:
    """Return how much surer each tier must be than the last one, for judges not heard yet.

    Later judges may contradict a tier. Its margin is what they take away from it, in log-odds, on
    all but a tenth of some unlabelled pairs: the .9 quantile of -(S_k - S_j) sign(S_j), at least 0.

    Args:
        evidence: `summed_evidence` of pairs whose labels test nothing, shape (m, k).

    Returns:
        Shape (k,), 0 for the last tier.

    Example:
        The second judge contradicts the first on every other pair.

        >>> margins(np.array([[2.0, 3.0], [2.0, 1.0], [2.0, 3.0], [2.0, 1.0]]))
        array([1., 0.])
    """
    if not len(evidence):
        return np.zeros(evidence.shape[1])
    taken = (evidence - evidence[:, [-1]]) * np.sign(evidence)
    # bit for bit what np.quantile gives, which takes longer than the test of a few hundred pairs
    place = (len(taken) - 1) * (1.0 - _TAKEN_MORE)
    below, above = int(place), min(int(place) + 1, len(taken) - 1)
    ordered = np.partition(taken, (below, above), axis=0)
    apart, share = ordered[above] - ordered[below], place - below
    found = ordered[below] + apart * share
    if share >= 0.5:
        found = ordered[above] - apart * (1.0 - share)
    return np.asarray(np.maximum(found, 0.0), dtype=np.float64)


def weighted_preference(
    p_a: ArrayLike, weights: ArrayLike, p_tie: ArrayLike | None = None, *, clip: float = CLIP
) -> Preference:
    """Return what all judges say together under learned weights, shape (n, 1).

    Args:
        p_a: Shape (n, k), nan where a judge failed.
        weights: Shape (k, 2), for each judge the weight of its log-odds and that of its sign.
        p_tie: Shape (n, k).
        clip: As for `log_odds`.

    Raises:
        InvalidArgument: Shapes do not match, or values are out of range.

    Example:
        >>> weighted_preference([[0.8, 0.4]], [[1.0, 0.0], [0.0, 0.5]]).confidence.round(4)
        array([[0.7081]])
    """
    shares, worth = np.asarray(p_a, np.float64), np.asarray(weights, np.float64)
    if shares.ndim != 2 or worth.shape != (shares.shape[1], 2):
        raise InvalidArgument(
            f"p_a must have shape (pairs, judges) and weights (judges, 2), not {shares.shape} and "
            f"{worth.shape}"
        )
    evidence = log_odds(shares, p_tie, clip=clip)
    # judge by judge, as a live cascade adds it up
    total = np.zeros((len(shares), 1))
    for judge in range(shares.shape[1]):
        z = evidence[:, [judge]]
        total = total + (worth[judge, 0] * z + worth[judge, 1] * np.sign(z))
    is_failed = np.asarray(np.isnan(shares).all(axis=1, keepdims=True))
    return _said(total, is_failed)


def _said(total: FloatArray, is_failed: BoolArray) -> Preference:
    # what rounding leaves of evidence that cancels is no preference
    total = rounded(total)
    is_open = total == 0.0
    label = np.where(is_open, MISSING, np.where(total > 0, A, B))
    confidence = rounded(scipy.special.expit(np.ascontiguousarray(np.abs(total))))
    return Preference(label, np.where(is_open, np.nan, confidence), is_failed, is_open & ~is_failed)


class Stack:
    """The evidence on one pair as its judges answer one after the other.

    Gives, bit for bit, what `stacked_preference` gives on arrays; with weights, what
    `weighted_preference` gives once every judge was added.

    Example:
        >>> stack = Stack()
        >>> stack.add(0.8), stack.add(0.8)
        (Opinion(label=0, confidence=0.8), Opinion(label=0, confidence=0.941176470588))
    """

    def __init__(self, clip: float = CLIP, weights: ArrayLike | None = None) -> None:
        """Start with no evidence.

        Args:
            clip: As for `log_odds`.
            weights: Shape (k, 2), as for `weighted_preference`; every judge counts the same without.
        """
        self._clip = clip
        self._weights = None if weights is None else np.asarray(weights, np.float64).tolist()
        self._heard = 0
        self._total = 0.0

    def add(self, p_a: float | None, p_tie: float | None = None) -> Opinion:
        """Add the next judge's answer, None where it failed, and return what all say so far."""
        z = 0.0 if p_a is None else self._log_odds(p_a, p_tie)
        if self._weights is None:
            self._total += z
        else:
            weight, sign = self._weights[self._heard]
            self._total = self._total + (weight * z + sign * float(np.sign(z)))
        self._heard += 1
        total = rounded_number(self._total)
        if total == 0.0:
            return SILENT
        confidence = rounded_number(float(scipy.special.expit(abs(total))))
        return Opinion(A if total > 0 else B, confidence)

    def _log_odds(self, p_a: float, p_tie: float | None) -> float:
        first, second = sides_of_one(p_a, p_tie)
        low, high = (min(max(side, self._clip), 1.0 - self._clip) for side in (first, second))
        return float(np.log(low) - np.log(high))


_FOLDS = 5
# by their log loss, few pairs that teach favour smaller ones now and then, and those weigh noise
_PENALTIES = (10.0, 30.0, 100.0)
_STEPS = 25
# of the log-odds in the penalty: from here on they say more than the sign beside them
_LOG_ODDS_UNIT = 3.0


def learned_weights(
    evidence: ArrayLike, agreement: ArrayLike, rng: np.random.Generator
) -> FloatArray:
    """Learn how much each judge's log-odds and sign count, for `weighted_preference`.

    A ridge logistic regression without intercept, so that swapping the responses mirrors the
    result. The penalty is chosen by five-fold cross-validation on these pairs, by log loss.

    Args:
        evidence: Shape (n, k), `log_odds` of the pairs that teach.
        agreement: Shape (n, 2), how far people agree with the verdict a, and with b.
        rng: Draws the folds.

    Returns:
        Shape (k, 2), the weights of log-odds and sign.

    Example:
        The second judge is always right, the first never.

        >>> evidence = np.tile([[2.0, 2.0], [-2.0, 2.0]], (20, 1))
        >>> people = np.tile([[1.0, 0.0]], (40, 1))
        >>> weights = learned_weights(evidence, people, np.random.default_rng(0))
        >>> bool(weights[1].sum() > weights[0].sum())
        True
    """
    z = np.asarray(evidence, dtype=np.float64)
    share = np.asarray(agreement, dtype=np.float64)
    total = share.sum(axis=1)
    taught = total > 0
    features = np.column_stack([z, np.sign(z)])[taught]
    first = share[taught, 0] / total[taught]
    fold = rng.permutation(len(features)) % _FOLDS
    losses = [_held_out_loss(features, first, fold, penalty) for penalty in _PENALTIES]
    fitted = _fit(features, first, _PENALTIES[int(np.argmin(losses))])
    return np.column_stack(np.split(fitted, 2))


def _held_out_loss(
    features: FloatArray, first: FloatArray, fold: IntArray, penalty: float
) -> float:
    loss = 0.0
    for left_out in range(_FOLDS):
        rest = fold != left_out
        total = features[~rest] @ _fit(features[rest], first[rest], penalty)
        loss += float(np.sum(np.logaddexp(0.0, total) - first[~rest] * total))
    return loss


def _fit(features: FloatArray, first: FloatArray, penalty: float) -> FloatArray:
    """Return the weights that minimise log loss plus penalty, by Newton steps."""
    scale = np.repeat([_LOG_ODDS_UNIT, 1.0], features.shape[1] // 2)
    scaled = features / scale
    weights: FloatArray = np.zeros(scale.size)
    for _ in range(_STEPS):
        chance = scipy.special.expit(scaled @ weights)
        gradient = scaled.T @ (chance - first) + penalty * weights
        curvature = (scaled.T * (chance * (1.0 - chance))) @ scaled + penalty * np.eye(scale.size)
        weights = weights - np.linalg.solve(curvature, gradient)
    return np.asarray(weights / scale)
