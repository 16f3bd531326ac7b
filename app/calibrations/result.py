"""Describes a certificate for users: its body, and its promise and advice in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from app.bodies.certificates import ChangeBody
from app.calibrations.inputs import CalibrationInputs, Sample, columns_of
from app.calibrations.schemas import OF_ITS_LIFE, CalibrationIn, as_asked, shown_target
from app.core.models import JUDGE_SETTINGS, CalibrationRow
from app.labels.sets import Uses
from calibration import Certificate
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import asked, decide
from calibration.certify import Heard, RiskBound, TestedPath, heard, stacked_evidence
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
        is_asked[rows] = _asked_by_part(part, evidence, rows)
    return is_asked


def _asked_by_part(part: Certificate, evidence: CalibrationInputs, rows: IntArray) -> BoolArray:
    if part.columns == "raw":
        return asked(decide(evidence.confidence[rows], part.thresholds), part.thresholds)
    heard = Heard(part.columns, part.thresholds.size, part.weights)
    return heard.decisions(evidence.p_a[rows], evidence.p_tie[rows], part.thresholds).asked


_PEOPLE = {
    "majority": "People means the annotators' majority: pairs without one, where the most frequent "
    "labels are equally frequent, are outside of the promise.",
    "random_annotator": "People means one annotator drawn at random.",
    "panel": "Pairs on which the first two votes differ tell nothing and are left out of the test.",
}
_NOT_REACHED = (
    " What these labels show is for a rule that was not reached: the tests begin at strict "
    "thresholds, which answer few pairs, and end at the first that fails."
)
# above this share of failures the judge itself needs attention first
_MANY_FAILURES = 0.2
_TIES = {
    "exclude": "Pairs on which people have no preference are outside of the promise.",
    "error": "A pair that people call a tie counts as a disagreement.",
    "half": "A pair that people call a tie counts as half a disagreement.",
    "class": "A tie is a verdict of its own, right where people call the pair a tie.",
}


class OtherMethod(NamedTuple):
    """What one more method, declared together with those asked for, would have got."""

    method: str
    coverage: float


@dataclass(frozen=True, slots=True)
class Found:
    """A certificate, the advice that goes with it, and the size of the pool it was made with."""

    certificate: Certificate
    advice: Advice
    pool: int
    others: tuple[OtherMethod, ...] = ()


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
    if request.scope == "dataset":
        advice = advise_on_dataset(
            confidence,
            correct,
            strongest=strongest,
            max_error=request.promised_risk,
            failure_probability=level,
        )
    else:
        advice = advise(
            confidence,
            correct,
            strongest=strongest,
            target_risk=request.promised_risk,
            failure_probability=level,
            has_pool=has_pool,
        )
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
            "failures": failure_rates(tuple(names), certificate, evidence),
        },
        "fingerprints": {judge.name: judge.fingerprint for judge in judges},
        JUDGE_SETTINGS: {judge.name: dict(judge.scored_by) for judge in judges},
        "advice": _advice(found, request, _failing(names, evidence)),
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


def claim(certificate: Certificate, request: CalibrationIn, evidence: CalibrationInputs) -> str:
    """Return the promise in words: also who the people are and what a tie means."""
    if not certificate.is_certified:
        return certificate.claim
    ties = _TIES[request.ties]
    if request.label_rule == "random_annotator" and request.ties == "exclude":
        ties = "Annotators who have no preference are outside of the promise."
    said = [certificate.claim, _PEOPLE[request.label_rule], ties]
    shared = evidence.prompts_in_several_groups
    if shared:
        said.append(
            f"{shared} prompts occur in several groups: the promise takes those groups as "
            "independent, as they were declared."
        )
    return " ".join(said)


def claim_of_later_use(text: str, uses: Uses, *, is_certified: bool) -> str:
    """Extend the claim of a certificate that is not the first test of its labels."""
    tests = uses.certificates + uses.plans
    if tests <= 1 or not is_certified:
        return text
    left = round(1.0 - uses.failure_probability, 9)  # a sum of tenths misses 1 by a rounding error
    together = f"with probability at least {left:.4g}" if left > 0 else "with no known probability"
    return (
        f"{text} Some or all of these labels were used before: {_counted(uses)} were made from them, "
        "this one included. Each promise holds alone: for a certificate that you would take in any "
        "case, and not for one that you choose because it came out best. "
        f"All {tests} hold at once {together}. "
        "To compare targets, declare them together as a menu, which shares the failure probability."
    )


def _counted(uses: Uses) -> str:
    counts = ((uses.certificates, "certificate"), (uses.plans, "target of a plan or experiment"))
    return " and ".join(f"{n} {_plural(what, n)}" for n, what in counts if n)


def _plural(what: str, n: int) -> str:
    first, _, rest = what.partition(" ")
    return f"{first}{'s' * (n != 1)} {rest}".rstrip()


def _failing(names: Sequence[str], evidence: CalibrationInputs) -> str:
    """Name the judges that fail so often that this matters more than any statistics."""
    n = len(evidence.has_failed)
    failed = {name: int(evidence.has_failed[:, j].sum()) for j, name in enumerate(names)}
    often = [f"{name} failed on {count} of {n} pairs" for name, count in failed.items()
             if count > _MANY_FAILURES * n]  # fmt: skip
    return f" Look at the judges first: {', '.join(often)}." if often else ""


def saved_labels(certificate: Certificate) -> dict[str, Any] | None:
    """Return the share of people's labels that a certificate of a whole data set saves."""
    saved = certificate.saved_labels
    return None if saved is None else asdict(saved)


def refusal(found: Found, request: CalibrationIn) -> dict[str, Any]:
    """Say in two sentences what was tried in vain, and what would help."""
    return {
        "tried": _tried(found.certificate, request),
        "would_help": _would_help(found, request),
        "methods": [{"method": one.method, "coverage": one.coverage} for one in found.others],
    }


def _tried(certificate: Certificate, request: CalibrationIn) -> str:
    methods = " and ".join(request.methods)
    on = (
        f"on {_plural_count(certificate.n, 'pair')} of {_plural_count(certificate.groups, 'group')}"
    )
    if not certificate.nodes_tested:
        return f"Nothing could be tested by {methods} {on}."
    paths = len(certificate.paths)
    ways = f" along {_plural_count(paths, 'path')}" if paths else ""
    tried = _plural_count(certificate.nodes_tested, "choice")
    return (
        f"Tried {on}: {methods}, {tried} of thresholds{ways}, of which none was shown to be wrong "
        f"rarely enough for {request.promised}."
    )


def _plural_count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _would_help(found: Found, request: CalibrationIn) -> str:
    """Name another target, a number of labels, and methods to declare together."""
    advice, helps = found.advice, []
    certifiable = advice.certifiable
    if certifiable is not None:
        risk = certifiable.target_risk
        shown = f"{np.floor(100 * (1 - risk)) / 100:.2f}"
        if request.scope == "dataset":
            shown = f"{np.ceil(1000 * risk) / 1000:.3f}"
        if risk > request.promised_risk:
            helps.append(f"a target of {shown}, which these labels come near to showing")
    if advice.labels_needed is not None:
        helps.append(
            f"about {max(advice.labels_needed, found.certificate.groups + 1)} labelled groups in place "
            f"of {found.certificate.groups}"
        )
    for one in found.others:
        helps.append(
            f"{one.method} declared together with {' and '.join(request.methods)}, which on these "
            f"labels would have answered {one.coverage:.0%} (looked at now, it is a second test of them)"
        )
    if not helps:
        return (
            "Better judges would help: these agree with people too rarely for any number of labels."
        )
    return f"What would help: {'; or '.join(helps)}."


def _advice_on_dataset(found: Found, request: CalibrationIn, failing: str) -> dict[str, Any]:
    advice, target = found.advice, request.promised_risk
    certifiable = advice.certifiable
    if advice.labels_needed is None or advice.saving is None:
        text = (
            f"No number of labels will do for an error of {target:g} if the judges are as good as "
            "these labels say: answering a tenth of the pairs, they are wrong more often than that."
        )
    else:
        text = (
            f"About {advice.labels_needed} groups with a pair that counts (labelled, and decided "
            f"under the label rule) certify an error of {target:g} with {advice.saving:.0%} of later "
            "labels saved, with probability 0.8, if the judges are as good as these labels say."
        )
    return {
        "certifiable_agreement": None,
        "certifiable_error": certifiable.target_risk if certifiable else None,
        "certifiable_coverage": certifiable.coverage if certifiable else None,
        "labels_needed": advice.labels_needed,
        "saving": advice.saving,
        "text": text + failing,
    }


def _advice(found: Found, request: CalibrationIn, failing: str) -> dict[str, Any]:
    if request.scope == "dataset":
        return _advice_on_dataset(found, request, failing)
    advice = found.advice
    certifiable = advice.certifiable
    target = request.target_agreement
    if advice.labels_needed is None:
        text = (
            f"No number of labels will do for {target:g} if the judges are as good as these labels "
            "say: at no threshold do they agree that often."
        )
    else:
        text = (
            f"About {advice.labels_needed} groups with a pair that counts (labelled, and decided "
            f"under the label rule) certify {target:g} with probability 0.8, if the judges are as "
            "good as these labels say."
        )
    shown = 0.0 if certifiable is None else 1 - certifiable.target_risk
    if shown >= target and not found.certificate.is_certified:
        text += _NOT_REACHED
    return {
        "certifiable_agreement": 1 - certifiable.target_risk if certifiable else None,
        "certifiable_coverage": certifiable.coverage if certifiable else None,
        "labels_needed": advice.labels_needed,
        "text": text + failing,
    }


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


def changed_labels_note(calibration: str, changed: int) -> str | None:
    """Say on how many pairs of a certificate the labels changed since; None if on none.

    New labels void no certificate: its promise is about the labels that it read.
    """
    if not changed:
        return None
    pairs = "a pair" if changed == 1 else f"{changed} pairs"
    return (
        f"labels were given or replaced on {pairs} that {calibration} was made from: it rests on "
        "the labels that it read (certify again to use the present ones)"
    )


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
