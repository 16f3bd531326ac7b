"""From stored scores and labels to the arrays that certification takes. No database, no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.calibrations.sample import Sample
from app.calibrations.schemas import CalibrationIn
from app.datasets.service import PairKey
from app.errors import Unprocessable
from app.scoring import ScoreTable
from app.slices import slice_name
from calibration.confidence import TieRule, correctness, preference

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a certificate rests on.

    `confidence` and `correct` are (n, k), NaN where a judge failed or has no preference; `groups`
    (n,) numbers the units of exchangeability; `weights` (n,) are 1 / P(labelled), None if equal;
    `costs` (k,) are mean USD a pair, None where a judge's price is unknown.
    """

    keys: tuple[PairKey, ...]
    confidence: FloatArray
    correct: FloatArray
    groups: npt.NDArray[np.intp]
    weights: FloatArray | None
    slices: npt.NDArray[np.str_] | None
    costs: tuple[float | None, ...]
    undecided: int
    tied: int
    failures: dict[str, dict[str, int]]


def gather(request: CalibrationIn, sample: Sample, table: ScoreTable) -> Evidence:
    """Turn a sample and its scores into evidence, leaving out pairs the label rule cannot use.

    Raises:
        Unprocessable: label probabilities differ and no lower bound on them was declared.
    """
    labels, confidence = opinions(table, request.ties)
    agreed = correctness(labels, sample.counts, label_rule=request.label_rule, ties=request.ties)
    kept = np.flatnonzero(agreed.counts)
    if not kept.size:
        raise Unprocessable.field(
            ["dataset"],
            f"no pair is left to calibrate on: {sample.unlabelled} without label or text, "
            f"{agreed.undecided} without a majority, {agreed.tied} ties, "
            f"{sample.seen_in_training} known to a judge from its training, "
            f"{sample.held_for_examples} held for few-shot examples",
        )
    keys = tuple(sample.keys[i] for i in kept)
    return Evidence(
        keys=keys,
        confidence=confidence[kept],
        correct=agreed.agreement[kept],
        groups=np.unique([key.group for key in keys], return_inverse=True)[1].astype(np.intp),
        weights=_weights(request, keys),
        slices=_slices(request, keys),
        costs=mean_costs(table),
        undecided=agreed.undecided,
        tied=agreed.tied,
        failures=_failures(table, kept),
    )


def opinions(table: ScoreTable, ties: TieRule) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Return every judge's label and confidence on every pair, both (n, k)."""
    said = [
        preference(table.p_a[:, j], table.p_tie[:, j], ties=ties) for j in range(len(table.judges))
    ]
    return (
        np.column_stack([opinion.label for opinion in said]),
        np.column_stack([opinion.confidence for opinion in said]),
    )


def mean_costs(table: ScoreTable) -> tuple[float | None, ...]:
    """Return what asking each judge once costs on average, None where no price is known."""
    return tuple(
        float(np.nanmean(column)) if np.isfinite(column).any() else None
        for column in table.cost_usd.T
    )


def _weights(request: CalibrationIn, keys: Sequence[PairKey]) -> FloatArray | None:
    given = [key.metadata.get("label_probability", 1.0) for key in keys]
    if any(isinstance(p, bool) or not isinstance(p, int | float) or not 0 < p <= 1 for p in given):
        raise Unprocessable.field(
            ["dataset"], "metadata.label_probability must lie between 0 and 1 on every pair"
        )
    probability = np.array(given, dtype=float)
    if len(probability) == 0 or np.ptp(probability) == 0:
        return None
    if request.min_label_probability is None:
        raise Unprocessable.field(
            ["min_label_probability"],
            "the pairs' label probabilities differ: declare a lower bound that was fixed before "
            "the labels were seen",
        )
    return 1.0 / probability


def _slices(request: CalibrationIn, keys: Sequence[PairKey]) -> npt.NDArray[np.str_] | None:
    if request.slices is None:
        return None
    return np.array([slice_of(key.metadata, request.slices) for key in keys], dtype=str)


def slice_of(metadata: dict[str, object], field: str) -> str:
    """Return the slice a pair lies in, by a metadata field; empty where the field is absent."""
    value = metadata.get(field.removeprefix("metadata."))
    return "" if value is None else slice_name(value)


def _failures(table: ScoreTable, kept: npt.NDArray[np.intp]) -> dict[str, dict[str, int]]:
    """Return how often each judge failed, the baseline that live failures are held against."""
    failed = np.isnan(table.p_a[kept]).sum(axis=0)
    return {
        judge: {"asked": len(kept), "failed": int(count)}
        for judge, count in zip(table.judges, failed, strict=True)
    }
