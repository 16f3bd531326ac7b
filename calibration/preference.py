"""What a judge prefers and how sure it is, and whether people agree.

Confidence is the probability of the preferred label (Jung, Brahman, Choi 2025, section 2.2). It is
rounded to 12 decimals, so that the same pair with its two responses swapped gets the mirrored
preference with the very same confidence, and thresholds meet their break points.

`preference` reads arrays. `opinion` reads one pair, as its answer comes from a live judge: an array
of one element would cost more than some judges do. Its numbers are those of the arrays, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import CONFIDENCE_DECIMALS, rounded, rounded_number
from calibration.errors import InvalidArgument
from calibration.labels import MISSING, N_LABELS, TIE, A, B

TieRule = Literal["exclude", "error", "half", "class"]
LabelRule = Literal["majority", "random_annotator"]

_GRID = 10.0**-CONFIDENCE_DECIMALS
_SCALE: Final = 10.0**CONFIDENCE_DECIMALS
_WHOLE: Final = round(1.0 / _GRID)
_TIE_RULES = ("exclude", "error", "half", "class")
_LABEL_RULES = ("majority", "random_annotator")
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Preference:
    """Preferences and confidences of judges; all arrays have the shape of the input.

    Attributes:
        label: Codes of `calibration.labels`: 0 for a, 1 for b, 2 for a tie, -1 (`MISSING`) where
            the judge gave no verdict.
        confidence: Probability of the label, nan where the judge gave no verdict.
        is_failed: The judge gave no probability at all.
        has_no_preference: It gave probabilities that favour neither response.
    """

    label: IntArray
    confidence: FloatArray
    is_failed: BoolArray
    has_no_preference: BoolArray

    @property
    def label_or_tie(self) -> IntArray:
        """The labels, with a tie where the judge has no preference; `MISSING` where it failed."""
        return np.where(self.has_no_preference, TIE, self.label)


class Opinion(NamedTuple):
    """A code of `calibration.labels` and the label's probability; nan without a verdict."""

    label: int
    confidence: float


SILENT: Final = Opinion(MISSING, math.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Correctness:
    """Agreement of verdicts with people under one declared rule.

    Attributes:
        agreement: Shape (n, k), in [0, 1]; nan where the judge gave no verdict or the pair does
            not count.
        counts: Shape (n,), pairs that the rule keeps.
        unlabelled: Number of pairs without any human label.
        undecided: Number of pairs left out because two or more labels are equally frequent.
        tied: Number of pairs left out because people called them ties and the rule excludes ties.
        exposure: Shape (n,), share of a pair's labels that the rule counts: below 1 only where one
            annotator drawn at random may have no preference and ties are excluded.
    """

    agreement: FloatArray
    counts: BoolArray
    unlabelled: int
    undecided: int
    tied: int
    exposure: FloatArray


def preference(
    p_a: ArrayLike, p_tie: ArrayLike | None = None, *, ties: TieRule = "exclude"
) -> Preference:
    """Turn probabilities into preferences and confidences.

    With `ties="class"` the label is the most probable of a, b and tie; between a tie and a response
    that are equally probable the response wins. Otherwise the mass on a tie is set aside and the
    rest renormalised over a and b. Equal probabilities of a and b are no preference.

    Args:
        p_a: Probability that a is preferred, any shape; nan where the judge failed.
        p_tie: Probability of a tie, so that b has 1 - p_a - p_tie; none means 0.
        ties: The declared tie rule.

    Raises:
        InvalidArgument: Probabilities outside [0, 1] or adding to more than 1, of different
            shapes; unknown rule.

    Example:
        Surely a, rather b, no preference, failed.

        >>> said = preference([0.9, 0.3, 0.5, np.nan])
        >>> said.label, said.confidence
        (array([ 0,  1, -1, -1]), array([0.9, 0.7, nan, nan]))
    """
    _check_choice("ties", ties, _TIE_RULES)
    first, second, tie = _three_probabilities(p_a, p_tie)
    is_failed = np.isnan(first)
    if ties != "class":
        first, second = _without_tie(first, tie)
        tie = np.zeros_like(first)
    first, second, tie = rounded(first), rounded(second), rounded(tie)
    best = np.maximum(first, second)
    label = np.where(first > second, A, B)
    label = np.where(tie > best, TIE, label)
    is_open = ~is_failed & (first == second) & (tie <= best)
    is_silent = is_failed | is_open
    confidence = np.where(is_silent, np.nan, np.maximum(best, tie))
    return Preference(np.where(is_silent, MISSING, label), confidence, is_failed, is_open)


def sides(p_a: ArrayLike, p_tie: ArrayLike | None = None) -> tuple[FloatArray, FloatArray]:
    """Return the probabilities of a and of b with the mass on a tie set aside, rounded.

    Args:
        p_a: Probability that a is preferred, any shape; nan where the judge failed.
        p_tie: Probability of a tie; none means 0.

    Raises:
        InvalidArgument: As for `preference`.

    Example:
        >>> first, second = sides([0.6], [0.25])
        >>> first, second
        (array([0.8]), array([0.2]))
    """
    first, _, tie = _three_probabilities(p_a, p_tie)
    first, second = _without_tie(first, tie)
    return rounded(first), rounded(second)


def sides_of_one(p_a: float, p_tie: float | None = None) -> tuple[float, float]:
    """Return the two probabilities of one answer, bit for bit as `sides` returns those of arrays."""
    return _scalar_without_tie(p_a, p_tie or 0.0)


def opinion(p_a: float, p_tie: float | None = None, *, ties: TieRule = "exclude") -> Opinion:
    """Return what a judge prefers and how sure it is.

    Args:
        p_a: Probability that a is preferred, in [0, 1].
        p_tie: Probability of a tie; b has what is left.
        ties: The declared tie rule, see `preference`.

    Example:
        >>> opinion(0.3)
        Opinion(label=1, confidence=0.7)
        >>> opinion(0.3, 0.5, ties="class")
        Opinion(label=2, confidence=0.5)
    """
    tie = p_tie or 0.0
    if ties == "class":
        first, second = rounded_number(p_a), rounded_number(max(1.0 - p_a - tie, 0.0))
        tie = rounded_number(tie)
    else:
        first, second = _scalar_without_tie(p_a, tie)
        tie = 0.0
    best = max(first, second)
    if tie > best:
        return Opinion(TIE, tie)
    if first == second:
        return SILENT
    return Opinion(A if first > second else B, best)


def pooled_preference(p_a: ArrayLike, *, clip: float = 0.02) -> FloatArray:
    """Return the probability that a is preferred, from the summed clipped log-odds of all judges.

    Judges that err independently, given which response people prefer, are pooled without loss by
    adding their log-odds. Judges are neither independent nor calibrated, so a pooled preference is
    certified like that of any other judge; clipping keeps a single overconfident one from deciding
    alone. Swapping the responses of every judge gives 1 minus the result.

    Args:
        p_a: Shape (n, k), probabilities that a is preferred; nan where a judge failed, which then
            has no say.
        clip: Probabilities are moved into [clip, 1 - clip] first.

    Returns:
        Shape (n,); nan where every judge failed.

    Raises:
        InvalidArgument: Another shape, a probability outside [0, 1], or clip outside (0, 1/2).

    Example:
        Two judges that are fairly sure of a make it surer; one that failed has no say.

        >>> pooled_preference([[0.8, 0.8], [0.8, np.nan]]).round(4)
        array([0.9412, 0.8   ])
    """
    shares = rounded(p_a)
    if shares.ndim != 2 or np.any((shares < 0) | (shares > 1)):
        raise InvalidArgument("p_a must have shape (pairs, judges) and lie in [0, 1]")
    if not 0.0 < clip < 0.5:
        raise InvalidArgument(f"clip must lie strictly between 0 and 0.5, not {clip}")
    # log(p / (1 - p)) of p and of 1 - p are the same number but for the sign
    low, high = (np.clip(each, clip, 1.0 - clip) for each in (shares, 1.0 - shares))
    is_heard = ~np.isnan(shares)
    total = np.where(is_heard, np.log(low) - np.log(high), 0.0).sum(axis=1)
    return np.where(is_heard.any(axis=1), rounded(scipy.special.expit(total)), np.nan)


def correctness(
    label: ArrayLike, human_counts: ArrayLike, *, label_rule: LabelRule, ties: TieRule
) -> Correctness:
    """Return the agreement of judges with people, and which pairs count.

    `majority` compares with the most frequent human label; `random_annotator` gives the share of
    annotators who agree. They are different promises. Ties: `exclude` conditions on people having
    a preference, `error` counts a tie against either verdict, `half` counts it one half, `class`
    treats it as a label that a judge may give.

    Args:
        label: Judges' labels, shape (n, k): codes of `calibration.labels`.
        human_counts: Votes for a, b and tie, shape (n, 3).
        label_rule: What a verdict is compared with.
        ties: The declared tie rule.

    Raises:
        InvalidArgument: Shapes do not match, unknown rules or labels, a verdict "tie" under a rule
            that knows none, negative counts.

    Example:
        People said a twice and b once; one judge says a, the other b.

        >>> correctness([[A, B]], [[2, 1, 0]], label_rule="majority", ties="exclude").agreement
        array([[1., 0.]])
        >>> shares = correctness([[A, B]], [[2, 1, 0]], label_rule="random_annotator", ties="error")
        >>> shares.agreement.round(3)
        array([[0.667, 0.333]])
    """
    _check_choice("label_rule", label_rule, _LABEL_RULES)
    verdicts, votes = _checked_labels(label, human_counts, ties)
    is_labelled = votes.sum(axis=1) > 0
    is_undecided = np.zeros(len(votes), dtype=np.bool_)
    if label_rule == "majority":
        is_top = votes == votes.max(axis=1, keepdims=True)
        is_undecided = is_labelled & (is_top.sum(axis=1) > 1)
        votes = is_top.astype(np.float64)
    given = votes.sum(axis=1)
    if ties == "exclude":
        votes = votes * np.array([1.0, 1.0, 0.0])
    total = votes.sum(axis=1)
    is_tied = is_labelled & ~is_undecided & (total == 0)
    counts = is_labelled & ~is_undecided & ~is_tied
    shares = votes / np.where(total > 0, total, 1.0)[:, None]
    values = _agreement(verdicts, shares, ties)
    values[~counts] = np.nan
    return Correctness(
        values,
        counts,
        int((~is_labelled).sum()),
        int(is_undecided.sum()),
        int(is_tied.sum()),
        np.where(counts, total / np.where(given > 0, given, 1.0), 0.0),
    )


def _without_tie(first: FloatArray, tie: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the shares of a and b without ties; swapping a and b mirrors them exactly."""
    # On the grid of the decimals compared the differences are whole numbers, so that both orders
    # of the responses meet the same lead.
    on_a = np.round(first / _GRID)
    if not tie.any():
        # the shares are the grid's own points
        return on_a / _SCALE, (_WHOLE - on_a) / _SCALE
    on_tie = np.round(tie / _GRID)
    on_b = np.maximum(np.round(1.0 / _GRID) - on_a - on_tie, 0.0)
    decided = on_a + on_b
    lead = np.divide(np.abs(on_a - on_b), decided, out=np.zeros_like(first), where=decided > 0)
    larger = np.where(np.isnan(first), np.nan, (1.0 + lead) / 2.0)
    return np.where(on_a > on_b, larger, 1.0 - larger), np.where(on_a > on_b, 1.0 - larger, larger)


def _scalar_without_tie(first: float, tie: float) -> tuple[float, float]:
    if not tie:
        # the shares are the grid's own points
        on_a = round(first / _GRID)
        return on_a / _SCALE, (_WHOLE - on_a) / _SCALE
    on_a, on_tie = round(first / _GRID), round(tie / _GRID)
    on_b = max(_WHOLE - on_a - on_tie, 0)
    decided = on_a + on_b
    larger = (1.0 + (abs(on_a - on_b) / decided if decided else 0.0)) / 2.0
    high, low = rounded_number(larger), rounded_number(1.0 - larger)
    return (high, low) if on_a > on_b else (low, high)


def _three_probabilities(
    p_a: ArrayLike, p_tie: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    first = np.asarray(p_a, dtype=np.float64)
    _check_probabilities("p_a", first)
    if p_tie is None:
        return first, 1.0 - first, np.zeros_like(first)
    tie = np.asarray(p_tie, dtype=np.float64)
    if tie.shape not in ((), first.shape):
        raise InvalidArgument(f"p_tie must have the shape of p_a, {first.shape}, not {tie.shape}")
    tie = np.broadcast_to(tie, first.shape)
    _check_probabilities("p_tie", tie)
    if np.any(first + tie > 1.0 + _TOLERANCE):
        raise InvalidArgument("p_a + p_tie must not exceed 1")
    # A judge that gives p_a and no p_tie on a pair cannot call ties there.
    tie = np.where(np.isnan(tie), 0.0, tie)
    return first, np.maximum(1.0 - first - tie, 0.0), tie


def _agreement(verdicts: IntArray, shares: FloatArray, ties: TieRule) -> FloatArray:
    if ties == "half":
        shares = shares + shares[:, [TIE]] / 2
    agrees = np.take_along_axis(shares, np.maximum(verdicts, 0), axis=1)
    return np.where(verdicts == MISSING, np.nan, agrees)


def _checked_labels(
    label: ArrayLike, human_counts: ArrayLike, ties: TieRule
) -> tuple[IntArray, FloatArray]:
    _check_choice("ties", ties, _TIE_RULES)
    verdicts = np.asarray(label)
    votes = np.asarray(human_counts, dtype=np.float64)
    if votes.ndim != 2 or votes.shape[1] != N_LABELS:
        raise InvalidArgument(f"human_counts must have shape (n, 3), not {votes.shape}")
    if verdicts.ndim != 2 or len(verdicts) != len(votes):
        raise InvalidArgument(f"label must have shape ({len(votes)}, k), not {verdicts.shape}")
    if not np.all((votes >= 0) & np.isfinite(votes)):
        raise InvalidArgument("human_counts must be finite, and not negative")
    known = [MISSING, A, B] + ([TIE] if ties == "class" else [])
    if not np.isin(verdicts, known).all():
        raise InvalidArgument(f"label must be one of {known} with ties={ties!r}")
    return verdicts.astype(np.int64), votes


def _check_probabilities(name: str, values: FloatArray) -> None:
    if np.any((values < 0) | (values > 1)):
        raise InvalidArgument(f"{name} must lie in [0, 1] (nan where the judge failed)")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidArgument(f"{name} must be one of {', '.join(choices)}, not {value!r}")
