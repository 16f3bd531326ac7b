"""Describes a certificate for users: its body, with the words of `wording.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from app.bodies.certificates import ChangeBody
from app.calibrations.inputs import CalibrationInputs, Every, Sample, columns_of
from app.calibrations.schemas import OF_ITS_LIFE, CalibrationIn, as_asked, shown_target
from app.calibrations.wording import Found, advice_in_words, claim, failing_judges, refusal
from app.core.models import JUDGE_SETTINGS, CalibrationRow
from calibration import Certificate
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import ABSTAINED, asked, decide
from calibration.certify import (
    Heard,
    RiskBound,
    TestedPath,
    heard,
    risk_before_shift,
    stacked_evidence,
)
from calibration.plan import Advice, advise, advise_on_dataset
from judges.base import JudgeSpec


def failure_rates(
    judges: tuple[str, ...], certificate: Certificate, evidence: CalibrationInputs
) -> dict[str, dict[str, Any]]:
    """Return per judge the pairs `asked`, those `failed`, and its `manners` of answering, counted.

    Only pairs that reach the judge under the certificate's own thresholds count, as in later runs;
    where nothing is certified, all pairs do.
    """
    is_asked = _is_asked(certificate, evidence)
    found = {}
    for column, judge in enumerate(judges):
        rows = is_asked[:, column]
        answered = rows & ~evidence.has_failed[:, column]
        manners = Counter(evidence.manner[answered, column].tolist())
        found[judge] = {
            "asked": int(rows.sum()),
            "failed": int((rows & evidence.has_failed[:, column]).sum()),
            "manners": {manner: count for manner, count in sorted(manners.items()) if manner},
        }
    return found


def _is_asked(certificate: Certificate, evidence: CalibrationInputs) -> BoolArray:
    """Return which judges are asked about which pairs, shape (n, k)."""
    if not certificate.is_certified:
        return np.ones_like(evidence.has_failed)
    is_asked = np.zeros_like(evidence.has_failed)
    for part, rows in certificate.in_force(evidence.slices, len(is_asked)):
        is_asked[rows] = _decided(part, evidence, rows)[1]
    return is_asked


def _decided(
    part: Certificate, said: CalibrationInputs | Every, rows: IntArray
) -> tuple[IntArray, BoolArray]:
    """Return which judge answers each of these pairs, -1 for none, and which ones are asked."""
    if part.columns == "raw":
        judge = decide(said.confidence[rows], part.thresholds)
        return judge, asked(judge, part.thresholds)
    stack = Heard(part.columns, part.thresholds.size, part.weights)
    found = stack.decisions(said.p_a[rows], said.p_tie[rows], part.thresholds)
    return found.answered_by, found.asked


def _of_all_labelled(certificate: Certificate, every: Every) -> dict[str, int] | None:
    """Count the answered among all labelled pairs with scores; None where nothing is certified."""
    if not certificate.is_certified:
        return None
    n = len(every.p_a)
    answered = [
        int((_decided(part, every, rows)[0] != ABSTAINED).sum())
        for part, rows in certificate.in_force(every.slices, n)
    ]
    return {"pairs": n, "answered": sum(answered)}


def advise_on(request: CalibrationIn, evidence: CalibrationInputs, *, has_pool: bool) -> Advice:
    """Estimate what these labels can certify and how many the target needs, one pair a group.

    Targets of a menu share the failure probability, and so do slices that hold together; each slice
    needs labels of its own.
    """
    slices = 1 if evidence.slices is None else len(np.unique(evidence.slices))
    tests = 1 + len(request.menu or ())
    if request.slice_rule == "joint":
        tests *= slices
    order = np.random.default_rng(request.seed).permutation(len(evidence.groups))
    drawn = order[np.unique(evidence.groups[order], return_index=True)[1]]
    confidence, correct, strongest = _tiers(request, evidence, drawn)
    level = request.failure_probability / tests
    # what must be shown on the labelled traffic, so that the promise survives the declared change
    risk = risk_before_shift(request.promised_risk, request.max_shift)
    if request.scope == "dataset":
        advice = advise_on_dataset(
            confidence,
            correct,
            strongest=strongest,
            max_error=risk,
            failure_probability=level,
        )
    else:
        advice = advise(
            confidence,
            correct,
            strongest=strongest,
            target_risk=risk,
            failure_probability=level,
            has_pool=has_pool,
        )
    if evidence.weights is not None or request.method == "weighted":
        # bounds that count every pair alike are about other pairs than the promise
        advice = replace(advice, certifiable=None)
    if advice.labels_needed is None:
        return advice
    return replace(advice, labels_needed=advice.labels_needed * slices)


def _tiers(
    request: CalibrationIn, evidence: CalibrationInputs, rows: IntArray
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray] | None]:
    """Return confidence and correctness of the tiers, and of the last judge alone beside a stack."""
    raw = evidence.confidence[rows], evidence.correct[rows]
    if columns_of(request, raw[0].shape[1]) == "raw":
        return *raw, None
    confidence, correct = stacked_evidence(evidence.pairs.rows(rows))
    return confidence, correct, (raw[0][:, [-1]], raw[1][:, [-1]])


def describe(
    request: CalibrationIn,
    judges: Sequence[JudgeSpec],
    sample: Sample,
    evidence: CalibrationInputs,
    found: Found,
) -> dict[str, Any]:
    """Return the body of a certificate, all but what only the database knows."""
    names = [judge.name for judge in judges]
    certificate = found.certificate
    body = {
        **request.target,
        "failure_probability": request.failure_probability,
        "method": certificate.method,
        "methods": list(certificate.methods) or None,
        "claim": claim(certificate, request, evidence),
        "thresholds": _thresholds(names, certificate),
        **_columns(names, certificate),
        "max_shift": certificate.max_shift,
        "shift_margin": certificate.shift_margin,
        "saved_labels": saved_labels(certificate),
        "traffic": _traffic(request, certificate),
        "panel": None if certificate.panel is None else asdict(certificate.panel),
        "contributes": contributions(names, certificate, evidence),
        "calibration": {
            **_outcome(names, certificate, evidence.costs),
            **_counts(sample, evidence, found),
            "all_labelled": _of_all_labelled(certificate, evidence.every),
            "failures": failure_rates(tuple(names), certificate, evidence),
        },
        "fingerprints": {judge.name: judge.fingerprint for judge in judges},
        JUDGE_SETTINGS: {judge.name: dict(judge.scored_by) for judge in judges},
        "advice": advice_in_words(found, request, failing_judges(names, evidence)),
        "refusal": None if certificate.is_certified else refusal(found, request),
    }
    if certificate.certificates:
        body["certificates"] = [
            _part(names, part, evidence.costs) for part in _every(certificate, request)
        ]
    if not certificate.is_valid:
        body["uncertified_thresholds"] = _numbers(names, certificate.thresholds)
    return body


def contributions(
    names: Sequence[str], certificate: Certificate, evidence: CalibrationInputs
) -> list[dict[str, Any]] | None:
    """Return what each judge adds to a stack, judges whose own tier is closed, too.

    Each is left out in turn, as if it had failed, under the same thresholds. These are figures of the
    labelled pairs and no promise. None where judges are heard one at a time, or slice by slice.
    """
    if certificate.columns == "raw" or not certificate.is_certified or certificate.has_slices:
        return None
    thresholds = certificate.thresholds
    stack = Heard(certificate.columns, thresholds.size, certificate.weights)
    said = stack.decisions(evidence.p_a, evidence.p_tie, thresholds)
    found = []
    for column, name in enumerate(names):
        p_a = evidence.p_a.copy()
        p_a[:, column] = np.nan
        without = stack.decisions(p_a, evidence.p_tie, thresholds)
        agreement = _agreement_of(without.label, evidence)
        found.append(
            {
                "judge": name,
                "answers": bool(np.isfinite(thresholds[column])),
                "asked": float(said.asked[:, column].mean()),
                "coverage_without": float((without.label >= 0).mean()),
                "agreement_without": agreement,
            }
        )
    return found


def _agreement_of(label: IntArray, evidence: CalibrationInputs) -> float | None:
    rows = np.flatnonzero(label >= 0)
    if not rows.size:
        return None
    return float(evidence.agreement[rows, 1 - label[rows]].mean())


def _traffic(request: CalibrationIn, certificate: Certificate) -> dict[str, Any] | None:
    """Return how the labelled pairs stand for other traffic; None where they stand for their own."""
    weighting = certificate.traffic
    if weighting is None:
        return None
    return {
        "dataset": request.traffic,
        "ratio": "estimated" if weighting.is_estimated else "known",
        "assumed": weighting.is_estimated,
        "max_ratio": weighting.clip,
        "left_out": weighting.cut,
        "effective_pairs": weighting.effective,
    }


def status(certificate: Certificate) -> str:
    """Return the status of a certificate: whether it promises anything."""
    return "certified" if certificate.is_certified else "not_certifiable"


def saved_labels(certificate: Certificate) -> dict[str, Any] | None:
    """Return the share of people's labels that a certificate of a whole data set saves."""
    saved = certificate.saved_labels
    return None if saved is None else asdict(saved)


def _every(certificate: Certificate, request: CalibrationIn) -> tuple[Certificate, ...]:
    """Return every part; with a menu the first target has a row of its own, like the others."""
    parts = certificate.certificates
    return parts if request.slices else (certificate, *parts)


def _part(names: Sequence[str], part: Certificate, costs: Sequence[float | None]) -> dict[str, Any]:
    return {
        "slice": part.slice,
        **shown_target(part.target_risk, part.scope),
        "status": status(part),
        "claim": part.claim,
        "thresholds": _thresholds(names, part),
        **_columns(names, part),
        "shift_margin": part.shift_margin,
        "saved_labels": saved_labels(part),
        **({} if part.panel is None else {"panel": asdict(part.panel)}),
        "calibration": _outcome(names, part, costs),
    }


def _thresholds(names: Sequence[str], certificate: Certificate) -> list[dict[str, Any]]:
    if not certificate.is_certified:
        return [{"judge": name, "threshold": None} for name in names]
    return _numbers(names, certificate.thresholds)


def _numbers(names: Sequence[str], thresholds: FloatArray) -> list[dict[str, Any]]:
    return [
        {"judge": name, "threshold": float(value) if np.isfinite(value) else None}
        for name, value in zip(names, thresholds, strict=True)
    ]


def _columns(names: Sequence[str], certificate: Certificate) -> dict[str, Any]:
    """Return what the thresholds are compared with."""
    weights = certificate.weights
    return {
        "columns": certificate.columns,
        "clip": certificate.clip,
        "weights": None
        if weights is None
        else [
            {"judge": name, "log_odds": float(odds), "sign": float(sign)}
            for name, (odds, sign) in zip(names, weights, strict=True)
        ],
    }


def _outcome(
    names: Sequence[str], certificate: Certificate, costs: Sequence[float | None]
) -> dict[str, Any]:
    is_priced = _is_priced(certificate, costs)
    is_whole = certificate.scope == "dataset"
    risk = certificate.risk_upper_bound if certificate.is_certified else None
    return {
        "pairs": certificate.n,
        "groups": certificate.groups,
        "answered": certificate.answered,
        "disagreements": certificate.disagreements,
        "coverage": certificate.coverage,
        "agreement": certificate.agreement,
        "agreement_lower_bound": None if risk is None or is_whole else 1 - risk,
        "error_upper_bound": risk if is_whole else None,
        "composition": dict(zip(names, map(float, certificate.composition), strict=True)),
        "cost_per_pair": certificate.cost_per_pair if is_priced else None,
        "relative_cost": certificate.relative_cost if is_priced else None,
        "path": certificate.path,
        "p_value": certificate.p_value,
        "level": certificate.level,
        "nodes_tested": certificate.nodes_tested,
        "set_aside": certificate.set_aside,
        "dropped_in_groups": certificate.dropped,
        "learning": certificate.learning,
        "paths": [_path(names, path) for path in certificate.paths],
        "bounds": [_bound(names, bound, is_whole=is_whole) for bound in certificate.bounds],
    }


def _path(names: Sequence[str], path: TestedPath) -> dict[str, Any]:
    return {
        "path": path.name,
        "columns": path.columns,
        "share": path.share,
        "nodes": path.nodes,
        "tested": path.tested,
        "thresholds": None if path.thresholds is None else _numbers(names, path.thresholds),
        "answered": path.answered,
        "disagreements": path.disagreements,
        "p_value": path.p_value,
        "level": path.level,
    }


def _bound(names: Sequence[str], bound: RiskBound, *, is_whole: bool) -> dict[str, Any]:
    return {
        "thresholds": _numbers(names, bound.thresholds),
        "answered": bound.answered,
        "disagreements": bound.disagreements,
        "coverage": bound.coverage,
        "agreement_lower_bound": None if is_whole else 1.0 - bound.upper_bound,
        "error_upper_bound": bound.upper_bound if is_whole else None,
    }


def _is_priced(certificate: Certificate, costs: Sequence[float | None]) -> bool:
    """Return whether every judge that is asked has a price, and the last, the reference, too."""
    may_answer = np.isfinite(heard(certificate.rule))
    return costs[-1] is not None and all(
        cost is not None or not may for cost, may in zip(costs, may_answer, strict=True)
    )


def _counts(sample: Sample, evidence: CalibrationInputs, found: Found) -> Mapping[str, Any]:
    return {
        "pool": found.pool,
        "labelled": len(sample.keys) + sample.held_for_examples + sample.seen_in_training,
        "unlabelled": sample.unlabelled,
        "undecided": evidence.undecided,
        "ties_left_out": evidence.tied,
        "held_for_examples": sample.held_for_examples,
        "seen_in_training": sample.seen_in_training,
        "prompts_in_several_groups": evidence.prompts_in_several_groups,
    }


_COMPARED = ("pairs", "answered", "disagreements", "coverage", "agreement", "agreement_lower_bound")


def changes(
    before: CalibrationRow, request: CalibrationIn, body: Mapping[str, Any]
) -> list[ChangeBody]:
    """Return in which fields a certificate differs from the one that it supersedes."""
    earlier = as_asked(before.request)
    old, new = _comparable(earlier, before.body), _comparable(request, body)
    return [
        {"field": name, "old": old.get(name), "new": new.get(name)}
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _comparable(request: CalibrationIn, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two certificates are compared by: the request, the judges, labels, and figures."""
    asked = request.model_dump(mode="json")
    found = body.get("calibration", {})
    return {
        **{f"request.{name}": asked[name] for name in asked if name not in OF_ITS_LIFE},
        **{f"judges.{name}.fingerprint": one for name, one in body.get("fingerprints", {}).items()},
        **dict(_leaves("judges", body.get(JUDGE_SETTINGS, {}))),
        "label_set_hash": body.get("label_set_hash"),
        **{f"thresholds.{one['judge']}": one["threshold"] for one in body.get("thresholds", [])},
        **{f"calibration.{name}": found.get(name) for name in _COMPARED},
    }


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inside in value.items():
            yield from _leaves(f"{place}.{name}", inside)
    elif not isinstance(value, dict):
        yield place, value
