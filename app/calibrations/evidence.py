"""Certifies on evidence, and writes the evidence, so that others can repeat the certification.

The evidence is all that a certification reads beside its request: the votes and scores of each
labelled pair, and what the judges say of unlabelled pairs. It holds no texts: hashes identify prompts
and pairs. Numbers are in columns with one entry a pair; null stands for no number.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from platform import python_version
from typing import Any, Final, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from app.bodies.documents import EvidenceBody, FirstVotesBody, JudgeScores, TrafficEvidence
from app.calibrations.draws import PROBABILITY
from app.calibrations.inputs import (
    CalibrationInputs,
    Sample,
    as_hashed,
    gather,
    opinions,
)
from app.calibrations.result import advise_on
from app.calibrations.schemas import CalibrationIn, Method
from app.calibrations.signing import Fault
from app.calibrations.traffic import Traffic
from app.calibrations.wording import Counted, Found, OtherMethod
from app.datasets.records import PairKey
from app.datasets.slices import slice_of
from app.scores.table import NO_FAILURE, ScoreTable
from calibration import Certificate, CertifyOptions, certify_cascade
from calibration.arrays import FloatArray
from calibration.certify import certify_pairs
from calibration.plan import Advice

_VOTES: Final[tuple[Literal["a", "b", "tie"], ...]] = ("a", "b", "tie")
_LARGEST_GROUP: Final = 10**9
_FIRST_VOTES: Final = 3


@dataclass(frozen=True, slots=True)
class Basis:
    """What a certification reads beside its request.

    Attributes:
        sample: The labelled pairs.
        table: Their scores.
        costs: Mean USD a pair of each judge, None where unknown.
        pool: Scores of unlabelled pairs; None without a pool.
        traffic: What is known of other traffic; None where the promise is on the pairs' own.
    """

    sample: Sample
    table: ScoreTable
    costs: tuple[float | None, ...]
    pool: ScoreTable | None
    traffic: Traffic | None

    def inputs(self, request: CalibrationIn) -> CalibrationInputs:
        """Return the arrays that are certified on.

        Raises:
            Unprocessable: the request cannot be honoured on these pairs.
        """
        return replace(gather(request, self.sample, self.table), costs=self.costs)


def hash_of_others(
    evidence: CalibrationInputs, pool: ScoreTable | None, traffic: Traffic | None = None
) -> str | None:
    """Return a hash of what a test reads of pairs beside the labelled ones; None if it reads nothing.

    The order of the pool does not matter. That of the traffic does: folds of it are drawn by row.
    """
    if pool is None and traffic is None:
        return None
    read: dict[str, FloatArray | None] = {}
    if pool is not None:
        said = as_hashed(np.hstack([pool.p_a, pool.p_tie]))
        read["pool"] = said[np.lexsort(said.T[::-1])]
    if traffic is not None:
        read |= {"traffic": traffic.p_a, "traffic_features": traffic.traffic_features}
        ours = {"features": traffic.features, "density_ratio": traffic.density_ratio}
        order = evidence.by_content
        read |= {name: None if one is None else one[order] for name, one in ours.items()}
    digest = hashlib.sha256()
    for name, numbers in read.items():
        if numbers is not None:
            digest.update(f"{name} {numbers.shape}\n".encode("ascii"))
            digest.update(as_hashed(numbers).tobytes())
    return digest.hexdigest()


def certify(
    request: CalibrationIn,
    evidence: CalibrationInputs,
    pool: ScoreTable | None,
    rng: np.random.Generator,
    traffic: Traffic | None = None,
) -> Certificate:
    """Certify a request on its evidence.

    Where a tie is a verdict of its own, judges are heard one by one: a tie has no side to stack.
    """
    pairs = evidence.pairs if evidence.voted is None else evidence.voted
    if traffic is not None:
        pairs = replace(pairs, density_ratio=traffic.density_ratio, features=traffic.features)
    costs = [cost for cost in evidence.costs if cost is not None]
    usual: dict[str, Any] = {
        "target_risk": request.promised_risk if request.scope == "answered" else None,
        "costs": costs if len(costs) == len(evidence.costs) else None,
        "failure_probability": request.failure_probability,
        "method": request.method,
        "rng": rng,
        "options": CertifyOptions(
            max_group_size=request.max_group_size,
            min_label_probability=request.min_label_probability,
            exposure=evidence.exposure,
            label_rule="given" if evidence.voted is None else "panel",
            slice_rule=request.slice_rule,
            menu=request.other_risks or None,
            max_shift=request.max_shift,
            scope=request.scope,
            max_error=request.max_error,
            traffic=None if traffic is None else traffic.p_a,
            traffic_features=None if traffic is None else traffic.traffic_features,
            max_ratio=request.max_ratio,
        ),
    }
    if request.ties != "class":
        others = (None, None) if pool is None else (pool.p_a, pool.p_tie)
        return certify_pairs(pairs, pool=others[0], pool_p_tie=others[1], **usual)
    return certify_cascade(
        evidence.confidence,
        evidence.correct,
        groups=evidence.groups,
        weights=evidence.weights,
        slices=evidence.slices,
        pool=None if pool is None else opinions(pool, request.ties)[1],
        **usual,
    )


def certified(
    request: CalibrationIn,
    evidence: CalibrationInputs,
    pool: ScoreTable | None,
    traffic: Traffic | None,
) -> Found:
    """Certify with the draws that the request's seed gives, and advise on its target."""
    certificate = certify(request, evidence, pool, np.random.default_rng(request.seed), traffic)
    has_pool = pool is not None or request.traffic is not None
    advice = advise_on(request, evidence, has_pool=has_pool)
    found = Found(certificate, advice, 0 if pool is None else len(pool.p_a), _counted(evidence))
    if certificate.is_certified or not certificate.is_valid:
        return found
    easier = _easier(
        request,
        advice,
        lambda one: certify(one, evidence, pool, np.random.default_rng(request.seed), traffic),
    )
    return replace(found, others=_others(request, evidence, pool), easier=easier)


def _counted(evidence: CalibrationInputs) -> Counted:
    groups = len(np.unique(evidence.groups))
    is_alone = evidence.every.groups == len(evidence.every.p_a)
    is_silent = bool(np.isnan(evidence.confidence).all())
    return Counted(evidence.every.groups, groups, is_alone, is_silent)


# from the easiest that the labels show onwards: by how much each target tried is easier than that
_EASIER: Final = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)


def _easier(
    request: CalibrationIn, advice: Advice, certified: Callable[[CalibrationIn], Certificate]
) -> Certificate | None:
    """Return what an easier target gets on the same labels; None where none better than a coin does.

    The first one tried is what the labels show at several thresholds at once, rounded down: the
    strictest that passes would be one that was chosen because it passes.
    """
    shown = advice.certifiable
    is_whole = request.scope == "dataset"
    unit = 1000 if is_whole else 100
    risk = request.promised_risk + 1 / unit
    if shown is not None:
        risk = max(risk, shown.target_risk)
    start = math.ceil(round(unit * risk, 6)) / unit
    for more in _EASIER:
        allowed = round(start + (more / 4 if is_whole else more), 9)
        if allowed >= 0.5:
            return None
        asked = {"max_error": allowed} if is_whole else {"target_agreement": round(1 - allowed, 9)}
        made = certified(request.model_copy(update=asked))
        if made.is_certified and made.answered:
            return made
    return None


_OTHERS: Final[tuple[Method, ...]] = ("auto", "auto_raw", "learned_stack")


def _others(
    request: CalibrationIn, evidence: CalibrationInputs, pool: ScoreTable | None
) -> tuple[OtherMethod, ...]:
    """Return the methods that would have certified if declared together with those asked for."""
    is_alone = request.slices is None and request.menu is None
    asked = [one for one in request.methods if one in _OTHERS]
    if not (is_alone and asked and len(asked) == len(request.methods)):
        return ()
    if request.ties == "class" or len(evidence.costs) < 2:
        return ()
    found = []
    for one in _OTHERS:
        if one not in asked:
            both = request.model_copy(update={"method": [*asked, one]})
            made = certify(both, evidence, pool, np.random.default_rng(request.seed))
            if made.is_certified and made.method == one:
                found.append(OtherMethod(one, made.coverage))
    return tuple(found)


def written(basis: Basis, request: CalibrationIn) -> EvidenceBody:
    """Return evidence as JSON."""
    sample = basis.sample
    keys = sample.keys
    groups = np.unique([key.group for key in keys], return_inverse=True)[1]
    probabilities = [key.metadata.get(PROBABILITY, 1.0) for key in keys]
    return {
        "pairs": {
            "group": groups.reshape(-1).tolist(),
            "prompt": [key.prompt_hash for key in keys],
            "content": [key.content_hash for key in keys],
            "votes": {name: sample.counts[:, i].tolist() for i, name in enumerate(_VOTES)},  # type: ignore[typeddict-item]
            **_written_first_votes(sample, request),
            "label_probability": None if set(probabilities) <= {1.0} else probabilities,
            "slice": None
            if request.slices is None
            else [slice_of(key.metadata, request.slices) or None for key in keys],
        },
        "scores": _written_scores(basis.table),
        "costs": dict(zip(basis.table.judges, basis.costs, strict=True)),
        "left_out": {
            "unlabelled": sample.unlabelled,
            "seen_in_training": sample.seen_in_training,
            "held_for_examples": sample.held_for_examples,
        },
        "pool": None if basis.pool is None else _written_scores(basis.pool),
        "traffic": None if basis.traffic is None else _written_traffic(basis),
        "made_with": made_with(),
    }


def _written_first_votes(sample: Sample, request: CalibrationIn) -> FirstVotesBody:
    """Return the first votes, which only a promise about a panel reads."""
    if request.label_rule != "panel" or sample.first is None:
        return {}
    return {"first_votes": [_numbers(column) for column in sample.first.T]}


def made_with() -> dict[str, str]:
    """Return the versions of the code that certifies."""
    found = {name: version(name) for name in ("numpy", "scipy")}
    return {"tribunal": version("tribunal-judge"), "python": python_version(), **found}


def _written_scores(table: ScoreTable) -> dict[str, JudgeScores]:
    return {
        judge: {
            "p_a": _numbers(table.p_a[:, j]),
            "p_tie": _numbers(table.p_tie[:, j]),
            "manner": table.manner[:, j].tolist() if any(table.manner[:, j]) else None,
        }
        for j, judge in enumerate(table.judges)
    }


def _written_traffic(basis: Basis) -> TrafficEvidence:
    traffic, judges = basis.traffic, basis.table.judges
    assert traffic is not None
    p_a, theirs, ours = traffic.p_a, traffic.traffic_features, traffic.features
    return {
        "p_a": None if p_a is None else dict(zip(judges, _columns(p_a), strict=True)),
        "traffic_features": None if theirs is None else _columns(theirs),
        "features": None if ours is None else _columns(ours),
        "density_ratio": None if traffic.density_ratio is None else _numbers(traffic.density_ratio),
    }


def _columns(array: FloatArray) -> list[list[float | None]]:
    return [_numbers(column) for column in array.T]


def _numbers(column: FloatArray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in column]


class EvidenceInvalid(ValueError):
    """Evidence that cannot be read; `fault` names the field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.fault = Fault(field, reason)


@cache
def _shape() -> TypeAdapter[EvidenceBody]:
    return TypeAdapter(EvidenceBody)


def read(evidence: Any, request: CalibrationIn, judges: Sequence[str]) -> Basis:
    """Return evidence that was written.

    Args:
        evidence: As JSON.
        request: What was certified on it.
        judges: From cheap to strong.

    Raises:
        EvidenceInvalid: it cannot be read; names the field.
    """
    try:
        body = _shape().validate_python(evidence, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in ("evidence", *first["loc"]))
        raise EvidenceInvalid(place, first["msg"].lower()) from None
    n = len(body["pairs"]["group"])
    table = _read_scores(body["scores"], judges, "evidence.scores", n)
    if set(body["costs"]) != set(judges):
        raise EvidenceInvalid("evidence.costs", f"must name {', '.join(judges)}, and no other")
    pool = body["pool"]
    return Basis(
        _read_sample(body, request, n),
        table,
        tuple(body["costs"][judge] for judge in judges),
        None if pool is None else _read_scores(pool, judges, "evidence.pool"),
        _read_traffic(body["traffic"], judges),
    )


def _read_sample(body: EvidenceBody, request: CalibrationIn, n: int) -> Sample:
    pairs, left_out = body["pairs"], body["left_out"]
    columns: dict[str, Sequence[Any] | None] = {
        "prompt": pairs["prompt"],
        "content": pairs["content"],
        "label_probability": pairs["label_probability"],
        "slice": pairs["slice"],
        **{f"votes.{name}": pairs["votes"][name] for name in _VOTES},
    }
    for name, column in columns.items():
        if column is not None:
            _check_length(f"evidence.pairs.{name}", column, n)
    votes = [pairs["votes"][name] for name in _VOTES]
    for place, column in (("group", pairs["group"]), *zip(_VOTES, votes, strict=True)):
        if any(not 0 <= number <= _LARGEST_GROUP for number in column):
            raise EvidenceInvalid(f"evidence.pairs: {place}", "must hold numbers from 0 on")
    if (request.slices is None) != (pairs["slice"] is None):
        raise EvidenceInvalid("evidence.pairs.slice", "goes with a request that names slices")
    return Sample(
        keys=tuple(_key(row, body, request) for row in range(n)),
        counts=np.array(votes, dtype=np.int64).reshape(len(_VOTES), n).T,
        seen_in_training=left_out["seen_in_training"],
        held_for_examples=left_out["held_for_examples"],
        unlabelled=left_out["unlabelled"],
        first=_read_first_votes(pairs.get("first_votes"), request, n),
    )


def _read_first_votes(
    columns: Sequence[Sequence[float | None]] | None, request: CalibrationIn, n: int
) -> FloatArray | None:
    place = "evidence.pairs.first_votes"
    if (columns is None) == (request.label_rule == "panel"):
        raise EvidenceInvalid(place, "goes with the label rule panel")
    if columns is None:
        return None
    if len(columns) != _FIRST_VOTES:
        raise EvidenceInvalid(place, f"must have {_FIRST_VOTES} columns")
    for column in columns:
        _check_length(place, column, n)
        if any(vote not in (None, 0.0, 0.5, 1.0) for vote in column):
            raise EvidenceInvalid(place, "must hold 1, 0, 0.5 or null")
    return _array(columns)


def _key(row: int, body: EvidenceBody, request: CalibrationIn) -> PairKey:
    pairs = body["pairs"]
    metadata: dict[str, Any] = {}
    if pairs["label_probability"] is not None:
        metadata[PROBABILITY] = pairs["label_probability"][row]
    if pairs["slice"] is not None and request.slices is not None:
        metadata[request.slices.removeprefix("metadata.")] = pairs["slice"][row]
    # groups are numbered in the order of their names, which these names keep
    group, prompt, content = (
        f"{pairs['group'][row]:010d}",
        pairs["prompt"][row],
        pairs["content"][row],
    )
    return PairKey(row, row, str(row), group, prompt, content, None, None, None, metadata)


def _read_scores(
    scores: Mapping[str, JudgeScores], judges: Sequence[str], place: str, n: int | None = None
) -> ScoreTable:
    if set(scores) != set(judges):
        raise EvidenceInvalid(place, f"must name {', '.join(judges)}, and no other")
    n = len(scores[judges[0]]["p_a"]) if n is None else n
    columns: dict[str, list[Any]] = {"p_a": [], "p_tie": [], "manner": []}
    for judge in judges:
        for name, said in columns.items():
            column = scores[judge][name]  # type: ignore[literal-required]
            column = [""] * n if column is None and name == "manner" else column
            _check_length(f"{place}.{judge}.{name}", column, n)
            said.append(column)
    p_a, p_tie = (_shares(columns[name], f"{place}: {name}") for name in ("p_a", "p_tie"))
    manner = np.array(columns["manner"], dtype=object).reshape(len(judges), n).T
    nothing = np.full(p_a.shape, np.nan)
    # a certification reads no other numbers of a score
    others = ("shown_first", "shown_second", "rating_a", "rating_b", "cost_usd")
    return ScoreTable(
        judges=tuple(judges),
        p_a=p_a,
        p_tie=p_tie,
        is_known=np.ones(p_a.shape, dtype=np.bool_),
        manner=manner,
        failure=np.full(p_a.shape, NO_FAILURE, np.int8),
        **dict.fromkeys(others, nothing),
    )


def _shares(columns: Sequence[Sequence[float | None]], place: str) -> FloatArray:
    array = _array(columns)
    if ((array < 0) | (array > 1)).any():
        raise EvidenceInvalid(place, "must hold numbers between 0 and 1")
    return array


def _array(columns: Sequence[Sequence[float | None]]) -> FloatArray:
    shape = len(columns), len(columns[0]) if columns else 0
    array: FloatArray = np.array(columns, dtype=np.float64).reshape(shape).T
    return np.ascontiguousarray(array)


def _check_length(place: str, column: Sequence[Any], n: int) -> None:
    if len(column) != n:
        raise EvidenceInvalid(place, f"has {len(column)} entries, and there are {n} pairs")


def _read_traffic(said: TrafficEvidence | None, judges: Sequence[str]) -> Traffic | None:
    if said is None:
        return None
    place, p_a = "evidence.traffic", said["p_a"]
    if p_a is not None and set(p_a) != set(judges):
        raise EvidenceInvalid(f"{place}.p_a", f"must name {', '.join(judges)}, and no other")
    named = {
        "p_a": None if p_a is None else [p_a[judge] for judge in judges],
        "traffic_features": said["traffic_features"],
        "features": said["features"],
        "density_ratio": None if said["density_ratio"] is None else [said["density_ratio"]],
    }
    arrays = {}
    for name, columns in named.items():
        for column in columns or ():
            _check_length(f"{place}.{name}", column, len((columns or [[]])[0]))
        arrays[name] = None if columns is None else _array(columns)
    ratio = arrays.pop("density_ratio")
    return Traffic(**arrays, density_ratio=None if ratio is None else ratio.reshape(-1))
