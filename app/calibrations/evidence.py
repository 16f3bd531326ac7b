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
from app.slices import refuse_unknown_field, slice_name, slice_names
from calibration.arrays import BoolArray, FloatArray
from calibration.preference import TieRule, correctness, preference


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a certificate rests on.

    `confidence` and `correct` are (n, k), NaN where a judge failed or has no preference; `groups`
    (n,) numbers the units of exchangeability; `weights` (n,) are 1 / P(labelled), None if equal;
    `exposure` (n,) is the share of each pair's labels that the promise is about; `costs` (k,) are
    mean USD a pair, None where a judge's price is unknown; `has_failed` and `manner` (n, k) say
    where judges failed and how they answered.
    """

    keys: tuple[PairKey, ...]
    confidence: FloatArray
    correct: FloatArray
    groups: npt.NDArray[np.intp]
    weights: FloatArray | None
    exposure: FloatArray
    slices: npt.NDArray[np.str_] | None
    costs: tuple[float | None, ...]
    undecided: int
    tied: int
    has_failed: BoolArray
    manner: npt.NDArray[np.object_]

    @property
    def prompts_in_several_groups(self) -> int:
        """Prompts that occur in more than one group, which are taken as independent."""
        groups: dict[str | None, set[str]] = {}
        for key in self.keys:
            groups.setdefault(key.prompt_hash, set()).add(key.group)
        return sum(len(own) > 1 for prompt, own in groups.items() if prompt)


def gather(request: CalibrationIn, sample: Sample, table: ScoreTable) -> Evidence:
    """Turn a sample and its scores into evidence, leaving out pairs the label rule cannot use.

    Raises:
        Unprocessable: label probabilities differ and no lower bound on them was declared.
    """
    labels, confidence = opinions(table, request.ties)
    agreed = correctness(labels, sample.counts, label_rule=request.label_rule, ties=request.ties)
    kept = np.flatnonzero(agreed.counts)
    left_out = sample.unlabelled + sample.seen_in_training + sample.held_for_examples
    if not sample.keys and not left_out:
        raise Unprocessable.field(["dataset"], "none of its pairs has a label")
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
        exposure=agreed.exposure[kept],
        slices=_slices(request, keys),
        costs=mean_costs(table),
        undecided=agreed.undecided,
        tied=agreed.tied,
        has_failed=np.isnan(table.p_a[kept]),
        manner=table.manner[kept],
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
    if len(probability) == 0:
        return None
    if request.min_label_probability is None:
        if np.ptp(probability) == 0:
            return None
        raise Unprocessable.field(
            ["min_label_probability"],
            "the pairs' label probabilities differ: declare a lower bound that was fixed before "
            "the labels were seen",
        )
    return 1.0 / probability


def _slices(request: CalibrationIn, keys: Sequence[PairKey]) -> npt.NDArray[np.str_] | None:
    if request.slices is None:
        return None
    names = slice_names(keys, request.slices)
    refuse_unknown_field(names, request.slices, ("body", "slices"))
    return np.array([name or "" for name in names], dtype=str)


def slice_of(metadata: dict[str, object], field: str) -> str:
    """Return the slice a pair lies in, by a metadata field; empty where the field is absent."""
    value = metadata.get(field.removeprefix("metadata."))
    return "" if value is None else slice_name(value)
