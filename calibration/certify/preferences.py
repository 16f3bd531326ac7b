"""Certificates from what judges prefer: `certify_preferences`, and what its certificate decides.

`certify_cascade` reads how sure each judge is and whether it was right. Here the probabilities
themselves are read, so that judges can be heard together: by default each tier says what all judges
up to it say (`calibration.stack`), and the last judge alone is tested beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import checked_costs
from calibration.certify.certificate import Certificate
from calibration.certify.certify import USUAL, CertifyOptions, RareArguments, certify_sample
from calibration.certify.columns import Heard
from calibration.certify.prepare import Method, Request
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.labels import MISSING, A
from calibration.sample import (
    Sample,
    checked_confidence,
    checked_groups,
    checked_sample,
    rows_of_drawn_groups,
)
from calibration.stack import CLIP, Columns, learned_weights, log_odds, summed_evidence

OutcomeTies = Literal["exclude", "error", "half"]
# of the groups, those that teach a learned stack
_LEARNING_SHARE = 0.25


def certify_preferences(  # noqa: PLR0913 - the published interface, keyword-only but for the data
    p_a: ArrayLike,
    label: ArrayLike,
    *,
    target_risk: float,
    rng: Rng,
    p_tie: ArrayLike | None = None,
    ties: OutcomeTies = "exclude",
    costs: ArrayLike | None = None,
    failure_probability: float = 0.1,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    slices: ArrayLike | None = None,
    pool: ArrayLike | None = None,
    method: Method = "auto",
    options: CertifyOptions = USUAL,
    **rare: Unpack[RareArguments],
) -> Certificate:
    """Choose thresholds so that the verdicts given agree with people, or certify nothing.

    The promise and its assumptions are those of `certify_cascade`.

    Args:
        p_a: Shape (n, k), each judge's probability that a is better, judges from cheap to strong;
            nan where a judge failed, .5 where it has no preference.
        label: Shape (n,), the outcome that people gave: 1 where a is better, 0 where b is, .5 for a
            tie; other shares say how many of the annotators preferred a.
        target_risk: Largest share of disagreeing verdicts promised, in (0, 1).
        rng: A Generator, a seed, or None for draws that cannot be repeated.
        p_tie: Shape (n, k), each judge's probability of a tie, set aside first; none means 0.
        ties: What a label of .5 means: "exclude" leaves the pair out of the promise, "error" counts
            it against either verdict, "half" counts it as half a disagreement.
        costs: Cost of asking each judge, shape (k,).
        failure_probability: Probability that the promise is broken, in (0, 1).
        groups: Shape (n,), as for `certify_cascade`.
        weights: Shape (n,), 1 / the known probability that the pair was chosen for labelling.
        slices: Shape (n,); each slice gets a certificate of its own.
        pool: Shape (m, k), probabilities on pairs of other groups, without labels.
        method: "auto" walks stacked evidence and the last judge alone; "auto_raw" is the "auto" of
            `certify_cascade`, bit for bit; "learned_stack" weighs the judges by what a quarter of the
            groups teach, which then test nothing; the others are those of `certify_cascade`.
        options: Rare arguments, kept together.
        rare: The same one by one; they win over `options`.

    Raises:
        InvalidArgument: An array has the wrong shape, or a value is out of its range.
        UnavailableMethod: The method or variant is not offered.
        UndeclaredBound: As for `certify_cascade`.

    Example:
        Two judges that err independently are surer together.

        >>> chance = np.random.default_rng(0)
        >>> label = chance.integers(0, 2, 400)
        >>> right = chance.uniform(size=(400, 2)) < [0.75, 0.85]
        >>> p_a = np.where(right == (label == 1)[:, None], [0.75, 0.85], [0.25, 0.15])
        >>> found = certify_preferences(p_a, label, target_risk=0.1, costs=[1, 10], rng=0)
        >>> found.columns, found.is_certified
        ('stacked', True)
        >>> said = found.decide([[0.25, 0.15], [0.75, 0.15]])
        >>> said.label, said.answered_by
        (array([ 0, -1]), array([ 1, -1]))
    """
    shares, outcome = np.asarray(p_a, np.float64), np.asarray(label, np.float64)
    if shares.ndim != 2 or shares.shape[1] == 0:
        raise InvalidArgument(f"p_a must have shape (pairs, judges), not {shares.shape}")
    if outcome.shape != (len(shares),) or not np.all((outcome >= 0) & (outcome <= 1)):
        raise InvalidArgument(
            f"label must be {len(shares)} numbers in [0, 1], one a row of p_a: 1 for a, 0 for b, .5 "
            "for a tie"
        )
    if ties not in ("exclude", "error", "half"):
        raise InvalidArgument(f"ties must be one of exclude, error, half, not {ties!r}")
    is_tied = outcome == 0.5
    agreement = np.column_stack([outcome, 1.0 - outcome])
    if ties == "error":
        agreement[is_tied] = 0.0
    options = replace(options, **rare)
    pairs = Pairs.of(shares, agreement, p_tie, groups, weights, slices, options.exposure)
    return certify_pairs(
        pairs.rows(~is_tied) if ties == "exclude" else pairs,
        target_risk=target_risk,
        rng=rng,
        costs=costs,
        failure_probability=failure_probability,
        pool=pool,
        method=method,
        options=options,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Labelled pairs by the agreement that either verdict would meet.

    Attributes:
        p_a: Shape (n, k).
        agreement: Shape (n, 2), in [0, 1]: how far people agree with the verdict a, and with b.
        p_tie: Shape (n, k); None where no judge calls ties.
        groups: Shape (n,); None where every pair is one.
        weights: Shape (n,), 1 / probability of having been labelled.
        slices: Shape (n,).
        exposure: Shape (n,), as for `CertifyOptions`.
    """

    p_a: FloatArray
    agreement: FloatArray
    p_tie: FloatArray | None = None
    groups: NDArray[np.generic] | None = None
    weights: FloatArray | None = None
    slices: NDArray[np.generic] | None = None
    exposure: FloatArray | None = None

    @classmethod
    def of(cls, *columns: ArrayLike | None) -> Self:
        """Return pairs of these columns, in the order of the attributes.

        Raises:
            InvalidArgument: A column has another length than the first.
        """
        arrays = [None if column is None else np.asarray(column) for column in columns]
        assert arrays[0] is not None
        for field, array in zip(fields(cls), arrays, strict=False):
            if array is not None and array.shape[:1] != arrays[0].shape[:1]:
                raise InvalidArgument(
                    f"{field.name} must have {len(arrays[0])} rows, not shape {array.shape}"
                )
        return cls(*arrays)  # type: ignore[arg-type]

    def rows(self, chosen: BoolArray | IntArray) -> Pairs:
        """Return some of the pairs."""
        columns = [getattr(self, field.name) for field in fields(self)]
        return Pairs.of(*[None if column is None else column[chosen] for column in columns])


def certify_pairs(  # noqa: PLR0913 - as certify_preferences
    pairs: Pairs,
    *,
    target_risk: float,
    rng: Rng,
    costs: ArrayLike | None = None,
    failure_probability: float = 0.1,
    pool: ArrayLike | None = None,
    pool_p_tie: ArrayLike | None = None,
    method: Method = "auto",
    options: CertifyOptions = USUAL,
) -> Certificate:
    """Certify as `certify_preferences` does, from the agreement that either verdict would meet.

    Args:
        pairs: The labelled pairs.
        target_risk: As for `certify_preferences`, like all that is not named here.
        rng: Source of every draw.
        costs: Shape (k,).
        failure_probability: In (0, 1).
        pool: Shape (m, k).
        pool_p_tie: Shape (m, k).
        method: How thresholds are chosen and tested.
        options: Rare arguments; their exposure is not read, the pairs have their own.

    Raises:
        InvalidArgument: An array has the wrong shape, or a value is out of its range.
        UnavailableMethod: The method is not offered, or not together with an option.
        UndeclaredBound: As for `certify_cascade`.
    """
    chance = as_generator(rng)
    if options.pooled_evidence is not None:
        raise InvalidArgument("pooled_evidence goes with certify_cascade: stacks are made here")
    n_judges = pairs.p_a.shape[1]
    heard, learning = Heard(_COLUMNS.get(method, "raw") if n_judges > 1 else "raw", n_judges), 0
    prices = checked_costs(costs, n_judges)
    if heard.columns == "learned":
        group = checked_groups(pairs.groups, len(pairs.p_a))
        is_learning = rows_of_drawn_groups(group, _n_learning(group), chance)
        heard, learning = _taught(heard, pairs.rows(is_learning), chance), int(is_learning.sum())
        pairs = pairs.rows(~is_learning)
    others = others_evidence = None
    if pool is not None:
        unlabelled = _checked_pool(pool, n_judges)
        others = checked_confidence("pool", heard.said(unlabelled, pool_p_tie)[1])
        others_evidence = _evidence(heard, unlabelled, pool_p_tie)
    request = Request(
        target_risk,
        failure_probability,
        method,
        prices,
        heard.layout,
        others,
        options.max_group_size,
        options.min_label_probability,
        options.randomized,
        pairs.slices is not None and options.slice_rule == "common",
        pairs.groups is not None,
        options.max_shift,
        others_evidence,
    )
    found = certify_sample(_sample(heard, pairs), request, pairs.slices, options, chance)
    return _with_columns(found, heard.weights, learning)


_COLUMNS: dict[str, Columns] = {"auto": "stacked", "learned_stack": "learned"}


def _sample(heard: Heard, pairs: Pairs) -> Sample:
    label, confidence = heard.said(pairs.p_a, pairs.p_tie)
    correct = _correct(label, pairs)
    sample = checked_sample(confidence, correct, pairs.groups, pairs.weights, pairs.exposure)
    return replace(sample, evidence=_evidence(heard, pairs.p_a, pairs.p_tie))


def _evidence(heard: Heard, p_a: FloatArray, p_tie: ArrayLike | None) -> FloatArray | None:
    return summed_evidence(p_a, p_tie) if heard.columns == "stacked" else None


def stacked_evidence(pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    """Return confidence and correctness of the stacked tiers, shape (n, k) each."""
    n_judges = pairs.p_a.shape[1]
    label, confidence = Heard("stacked", n_judges).said(pairs.p_a, pairs.p_tie)
    correct = _correct(label, pairs)
    return confidence[:, :n_judges], correct[:, :n_judges]


def _correct(label: IntArray, pairs: Pairs) -> FloatArray:
    of_a, of_b = pairs.agreement[:, [0]], pairs.agreement[:, [1]]
    return np.where(label == MISSING, np.nan, np.where(label == A, of_a, of_b))


def _n_learning(group: IntArray) -> int:
    return round(_LEARNING_SHARE * (int(group.max()) + 1)) if group.size else 0


def _taught(heard: Heard, pairs: Pairs, rng: np.random.Generator) -> Heard:
    evidence = log_odds(pairs.p_a, pairs.p_tie)
    return replace(heard, weights=learned_weights(evidence, pairs.agreement, rng))


def _checked_pool(pool: ArrayLike, n_judges: int) -> FloatArray:
    values = np.asarray(pool, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != n_judges:
        raise InvalidArgument(f"pool must have {n_judges} columns, not shape {values.shape}")
    return values


def _with_columns(found: Certificate, weights: FloatArray | None, learning: int) -> Certificate:
    parts = tuple(_with_columns(part, weights, learning) for part in found.certificates)
    if found.columns == "raw":
        return replace(found, certificates=parts)
    return replace(found, clip=CLIP, weights=weights, learning=learning, certificates=parts)
