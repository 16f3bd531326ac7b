"""Certificates of slices: put together, and applied to new pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calibration.cascade import ABSTAINED, decide
from calibration.certificate import Certificate
from calibration.errors import InvalidArgument
from calibration.sample import FloatArray, IntArray


def decide_in_slices(
    certificate: Certificate, confidence: ArrayLike, slices: ArrayLike
) -> IntArray:
    """Decide each pair by the certificate of its slice; an unknown slice abstains.

    Args:
        certificate: A certificate made with slices.
        confidence: Shape (n, k).
        slices: Slice of each pair, shape (n,), compared as text.

    Raises:
        InvalidArgument: The certificate has no slices, or shapes do not match.
    """
    scores = np.asarray(confidence, dtype=np.float64)
    names = np.asarray(slices).astype(str)
    parts = [part for part in certificate.certificates if part.slice is not None]
    if not parts:
        raise InvalidArgument("this certificate was made without slices")
    if names.shape != scores.shape[:1]:
        raise InvalidArgument(f"slices must have shape {scores.shape[:1]}, not {names.shape}")
    judge = np.full(len(scores), ABSTAINED, dtype=np.int64)
    for part in parts:
        if part.target_risk == certificate.target_risk:
            rows = names == part.slice
            judge[rows] = decide(scores[rows], part.thresholds)
    return judge


def joined(
    parts: tuple[Certificate, ...],
    target_risk: float,
    failure_probability: float,
    costs: FloatArray,
) -> Certificate:
    """What the slices of one target add up to; a pair of no known slice is abstained.

    Args:
        parts: Certificates of all slices, and of all targets that were declared together.
        target_risk: The target to sum up.
        failure_probability: Of all parts together.
        costs: Cost of each judge, shape (k,).
    """
    main = [part for part in parts if part.target_risk == target_risk]
    n = sum(part.n for part in main)
    answered = sum(part.answered for part in main)
    share = np.array([part.n / n if n else 0.0 for part in main])
    mean_cost = float(share @ [part.cost_per_pair for part in main])
    agreed = sum(part.answered * (part.agreement or 0.0) for part in main)
    certified = sum(part.is_certified for part in main)
    return Certificate(
        thresholds=np.full(costs.size, np.inf),
        is_certified=certified > 0,
        is_valid=all(part.is_valid for part in main),
        target_risk=target_risk,
        failure_probability=failure_probability,
        risk_upper_bound=max((p.risk_upper_bound for p in main if p.is_certified), default=1.0),
        coverage=float(share @ [part.coverage for part in main]),
        agreement=agreed / answered if answered else None,
        n=n,
        groups=sum(part.groups for part in main),
        answered=answered,
        disagreements=sum(part.disagreements for part in main),
        composition=share @ np.array([part.composition for part in main]),
        cost_per_pair=mean_cost,
        relative_cost=mean_cost / float(costs[-1]) if costs[-1] > 0 else None,
        set_aside=sum(part.set_aside for part in main),
        dropped=sum(part.dropped for part in main),
        method=parts[0].method,
        path=None,
        p_value=max((part.p_value for part in main if part.is_certified), default=1.0),
        level=min((part.level for part in main if part.is_certified), default=0.0),
        nodes_tested=sum(part.nodes_tested for part in main),
        claim=_claim(target_risk, failure_probability, certified, len(main)),
        certificates=parts,
    )


def _claim(target_risk: float, failure_probability: float, certified: int, n: int) -> str:
    return (
        f"{certified} of {n} slices are certified at an agreement of {1 - target_risk:.4g}; with "
        f"probability at least {1 - failure_probability:.4g} all these promises hold together. "
        "Pairs of the other slices, and of unknown ones, are abstained."
    )
