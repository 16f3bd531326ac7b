"""Writes a certificate as a document for others, and verifies such a document.

To verify it takes the document alone, no database and no network. The signature shows who made it
and that nothing was changed since. That the certificate follows from its evidence is shown by
certifying again with the same draws and comparing all results.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from app.bodies.certificates import ChangeBody
from app.bodies.documents import (
    EvidenceBody,
    ExportedCertificateBody,
    LabelUses,
    State,
    VerificationBody,
)
from app.calibrations.evidence import EvidenceInvalid, certified, read
from app.calibrations.result import describe, status
from app.calibrations.schemas import CalibrationIn, as_asked
from app.calibrations.signing import Fault, faults_of_signature
from app.calibrations.wording import claim_of_later_use
from app.core.db import rfc3339
from app.core.errors import TribunalError
from app.core.inert import is_printable
from app.core.models import JUDGE_SETTINGS, CalibrationRow
from app.core.names import is_name, shown, storing_fault
from app.labels.sets import Uses
from calibration.errors import CalibrationError
from judges.base import JudgeSpec

KIND: Final = "exported_certificate"
# kinds of judges that the fingerprint alone identifies
_RECORDED: Final = ("recorded", "jury")
# what only the database knows
_NOT_TESTED: Final = ("label_set_hash", "label_set_uses", "label_set_plans", "changes")
_WORDS: Final = ("claim", "text", "tried", "would_help")
# what earlier versions did not say, so that their documents lack it
_LATER: Final = ("all_labelled",)
_MOST_FAULTS: Final = 50
_LONGEST_NAME: Final = 64
_LONGEST_REASON: Final = 10_000
_MOST_USES: Final = 10**9
# no service writes documents that are nested half as deeply
_MOST_DEPTH: Final = 60
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_YEARS: Final = range(1970, 3000)
_DECIDES: Final = re.compile(r"\.(uncertified_)?thresholds\.")
_LEARNED: Final = re.compile(r"\.weights\.")
_TWELVE_DIGITS: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a document is what it says.

    Attributes:
        faults: What is wrong with it, field by field; it is verified where there are none.
        notes: Differences that are no faults: the wording of another version, and last digits of
            bounds and learned weights.
        certificate: What a verified document says, in the words of this version: its own words are
            those of whoever signed it, and promise what that person likes.
    """

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    certificate: dict[str, Any] = field(default_factory=dict)


def composed(
    certificate: CalibrationRow, evidence: EvidenceBody, uses: LabelUses
) -> dict[str, Any]:
    """Return the document of a finished certificate, without a signature."""
    found = dict(certificate.body)
    settings, fingerprints = found.pop(JUDGE_SETTINGS, {}), found.pop("fingerprints")
    revoked_at, expires_at = certificate.revoked_at, certificate.expires_at
    return {
        "object": KIND,
        "format": 1,
        "id": certificate.id,
        "status": certificate.status,
        "created_at": rfc3339(certificate.created_at),
        "revoked_at": None if revoked_at is None else rfc3339(revoked_at),
        "suspended_because": certificate.suspended_because,
        "expires_at": None if expires_at is None else rfc3339(expires_at),
        "supersedes": certificate.supersedes,
        "imported": certificate.imported,
        "request": certificate.request,
        "judges": [
            {"name": name, "fingerprint": one, "configuration": settings.get(name, {})}
            for name, one in fingerprints.items()
        ],
        "certificate": found,
        "label_uses": uses,
        "evidence": evidence,
    }


def verify(document: Any, trusted: Collection[str] = ()) -> Verification:
    """Check the signature of a document, and compute its certificate again.

    Args:
        document: As it was read.
        trusted: Public keys whose signatures count; empty: any key's.
    """
    if not isinstance(document, dict) or document.get("object") != KIND:
        return Verification([Fault("object", f"is not {KIND}: this is no exported certificate")])
    if _is_deep(document):
        return Verification([Fault("object", f"is nested in more than {_MOST_DEPTH} levels")])
    faults = faults_of_signature(document, trusted) or _faults_of_shape(document)
    if faults:
        return Verification(faults)
    try:
        again = recomputed(document)
    except EvidenceInvalid as error:
        return Verification([error.fault])
    except (TribunalError, CalibrationError, ValueError, ArithmeticError) as error:
        return Verification([Fault("evidence", f"cannot be certified on: {error}")])
    return _compared(document, again)


def _is_deep(document: Mapping[str, Any]) -> bool:
    """Return whether a document is nested more deeply than functions that call themselves can go."""
    level: list[Any] = [document]
    for _ in range(_MOST_DEPTH):
        inside = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for each in inside for one in each if isinstance(one, dict | list)]
        if not level:
            return False
    return True


class _Untested(TypedDict, total=False):
    """What only the database of the signer knows, and nothing can compute again."""

    label_set_hash: str | None
    label_set_uses: int
    label_set_plans: int
    changes: list[ChangeBody]


@cache
def _shape() -> TypeAdapter[ExportedCertificateBody]:
    return TypeAdapter(ExportedCertificateBody)


@cache
def _untested() -> TypeAdapter[_Untested]:
    return TypeAdapter(_Untested)


def verification_body(
    document: Any, trusted: Collection[str], moment: datetime
) -> VerificationBody:
    """Return what `verify` finds, and whether the certificate promises something at this moment."""
    found = verify(document, trusted)
    if found.faults:
        known: Mapping[str, Any] = document if isinstance(document, dict) else {}
        named, signature = known.get("id"), known.get("signature")
        signer = signature.get("public_key") if isinstance(signature, dict) else None
        return {
            "object": "verification",
            "verified": False,
            "calibration": named if isinstance(named, str) else None,
            "signed_by": signer if isinstance(signer, str) else None,
            "signed_at": None,
            "state_at_export": None,
            "promises": False,
            "claim": None,
            "faults": [{"field": one.field, "reason": one.reason} for one in found.faults],
            "notes": found.notes,
        }
    life = _of_its_life(document, moment)
    return {
        "object": "verification",
        "verified": True,
        "calibration": document["id"],
        "signed_by": document["signature"]["public_key"],
        "signed_at": document["signature"]["signed_at"],
        "state_at_export": _state_at_export(document),
        "promises": document["status"] == "certified" and not life,
        "claim": found.certificate["claim"],
        "faults": [],
        "notes": [*found.notes, *life],
    }


def _state_at_export(document: Mapping[str, Any]) -> State:
    """Return how a certificate stood when its document was signed."""
    if document["revoked_at"] is not None:
        return "revoked"
    if document["suspended_because"] is not None:
        return "suspended"
    signed_at = datetime.fromisoformat(document["signature"]["signed_at"])
    expires_at = document["expires_at"]
    if expires_at is not None and datetime.fromisoformat(expires_at) <= signed_at:
        return "expired"
    return "certified" if document["status"] == "certified" else "not_certifiable"


def _of_its_life(document: Mapping[str, Any], moment: datetime) -> list[str]:
    """Say why a certificate promises nothing any more; nothing if it does."""
    said = []
    expires_at = document["expires_at"]
    if expires_at is not None and datetime.fromisoformat(expires_at) <= moment:
        said.append(f"it expired at {expires_at}")
    because = document["suspended_because"]
    if document["revoked_at"] is not None:
        why = "" if because is None else f": {because}"
        said.append(f"it was revoked at {document['revoked_at']}{why}")
    elif because is not None:
        said.append(f"its promise was suspended: {because}")
    return said


def _faults_of_shape(document: Mapping[str, Any]) -> list[Fault]:
    try:
        _shape().validate_python(document, strict=True)
    except ValidationError as error:
        return _faults_of(error)
    said = document["certificate"]
    try:
        _untested().validate_python({k: said[k] for k in _NOT_TESTED if k in said}, strict=True)
    except ValidationError as error:
        return _faults_of(error, "certificate")
    return [
        *_faults_of_names(document),
        *_faults_of_uses(document),
        *(
            Fault(f"judges.{number}.fingerprint", "does not follow from the judge's configuration")
            for number, judge in enumerate(document["judges"])
            if not _has_its_fingerprint(judge)
        ),
    ][:_MOST_FAULTS]


def _faults_of(error: ValidationError, *place: str) -> list[Fault]:
    return [
        Fault(".".join(str(part) for part in (*place, *one["loc"])), one["msg"].lower())
        for one in error.errors(include_url=False, include_input=False)[:_MOST_FAULTS]
    ]


def _faults_of_names(document: Mapping[str, Any]) -> list[Fault]:
    """Return what no service writes, and none could store: a signature shows only who wrote it."""
    of_labels, because = (
        document["certificate"].get("label_set_hash"),
        document["suspended_because"],
    )
    found = []
    if _ID.fullmatch(document["id"]) is None:
        found.append(Fault("id", "is not the id of a certificate"))
    found += [
        Fault(place, "is not a moment with its time zone, as in RFC 3339")
        for place, text in (
            ("created_at", document["created_at"]),
            ("revoked_at", document["revoked_at"]),
            ("signature.signed_at", document["signature"]["signed_at"]),
        )
        if text is not None and not _is_moment(text)
    ]
    if of_labels is not None and not _is_hash(of_labels):
        found.append(Fault("certificate.label_set_hash", "is not a hash"))
    if not all(one is None or _is_hash(one) for one in document["evidence"]["pairs"]["prompt"]):
        found.append(Fault("evidence.pairs.prompt", "must hold hashes or null"))
    if because is not None and (len(because) > _LONGEST_REASON or not is_printable(because)):
        found.append(Fault("suspended_because", "is too long, or holds control characters"))
    if document["supersedes"] is not None and _ID.fullmatch(document["supersedes"]) is None:
        found.append(Fault("supersedes", "is not the id of a certificate"))
    found += [
        Fault(f"judges.{number}.{name}", why)
        for number, judge in enumerate(document["judges"])
        for name in ("name", "fingerprint")
        if (why := storing_fault(judge[name])) is not None
    ]
    return found


def _faults_of_uses(document: Mapping[str, Any]) -> list[Fault]:
    """Return which counts of the tests of the labels are none; they are part of the claim."""
    uses, said = document["label_uses"], document["certificate"]
    counts = {
        "label_uses.certificates": uses["certificates"],
        "label_uses.plans": uses["plans"],
        "certificate.label_set_uses": said.get("label_set_uses", 0),
        "certificate.label_set_plans": said.get("label_set_plans", 0),
    }
    found = [
        Fault(place, "is not a number of tests")
        for place, count in counts.items()
        if not 0 <= count <= _MOST_USES
    ]
    share = uses["failure_probability"]
    if share is not None and not 0 <= share <= _MOST_USES:
        found.append(Fault("label_uses.failure_probability", "is not a sum of probabilities"))
    return found


def _is_hash(text: str) -> bool:
    return len(text) <= _LONGEST_NAME and is_name(text)


def _is_moment(text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    return moment.tzinfo is not None and moment.year in _YEARS


def _has_its_fingerprint(judge: Mapping[str, Any]) -> bool:
    kind = judge["fingerprint"].partition(":")[0]
    if kind in _RECORDED or not judge["configuration"]:
        return True
    spec = JudgeSpec(judge["name"], kind, None, judge["configuration"])
    return bool(spec.fingerprint == judge["fingerprint"])


def recomputed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a certification on the evidence of a document finds, with its status.

    Raises:
        EvidenceInvalid: a field cannot be read; names it.
        TribunalError: the request cannot be honoured.
        CalibrationError: likewise, by the statistics.
    """
    request = _request_of(document)
    names = [judge["name"] for judge in document["judges"]]
    if not names or len(set(names)) != len(names):
        raise EvidenceInvalid("judges", "must have at least one, and different names")
    basis = read(document["evidence"], request, names)
    evidence = basis.inputs(request)
    found = certified(request, evidence, basis.pool, basis.traffic)
    specs = [
        JudgeSpec(
            judge["name"],
            judge["fingerprint"].partition(":")[0],
            None,
            judge["configuration"],
            certified_fingerprint=judge["fingerprint"],
        )
        for judge in document["judges"]
    ]
    body = describe(request, specs, basis.sample, evidence, found)
    uses = Uses(**{"failure_probability": 1.0, **_known(document["label_uses"])})
    is_certified = found.certificate.is_certified
    body["claim"] = claim_of_later_use(body["claim"], uses, is_certified=is_certified)
    del body[JUDGE_SETTINGS], body["fingerprints"]
    return {"status": status(found.certificate), "certificate": json.loads(json.dumps(body))}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _request_of(document: Mapping[str, Any]) -> CalibrationIn:
    try:
        return as_asked(document["request"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in ("request", *first["loc"]))
        raise EvidenceInvalid(place, first["msg"].lower()) from None


def _compared(document: Mapping[str, Any], again: Mapping[str, Any]) -> Verification:
    """Compare what a document says with what was computed again."""
    said = {
        name: value for name, value in document["certificate"].items() if name not in _NOT_TESTED
    }
    # where their share was not kept, earlier versions told of earlier tests in other words
    made_by = document["evidence"]["made_with"].get("tribunal")
    is_ours = (
        made_by == version("tribunal-judge")
        and document["label_uses"]["failure_probability"] is not None
        and said.get("calibration", {}).keys() >= {*_LATER}
    )
    found = Verification(_faults_of_life(document))
    if document["status"] != again["status"]:
        found.faults.append(_differs("status", document["status"], again["status"]))
    last_digits = []
    for place, old, new in _differences(said, again["certificate"], "certificate"):
        if _is_rounding(place, old, new):
            last_digits.append(place)
        elif is_ours or place.rpartition(".")[2] not in _WORDS or not isinstance(old, str):
            found.faults.append(_differs(place, old, new))
        else:
            found.notes.append(f"{place}: another version of Tribunal words it otherwise")
    del found.faults[_MOST_FAULTS:]
    if not found.faults:
        kept = {
            name: document["certificate"][name]
            for name in _NOT_TESTED
            if name in document["certificate"]
        }
        found.certificate.update(_in_our_words(said, again["certificate"]) | kept)
    if last_digits:
        found.notes.append(
            f"{len(last_digits)} computed bounds or weights are the same to 12 digits: other versions of "
            "numpy and scipy, and other processors, round otherwise"
        )
    return found


def _in_our_words(said: Any, again: Any) -> Any:
    """Return what a document says as it was computed again, with its own numbers and our words."""
    if isinstance(said, dict) and isinstance(again, dict):
        return {
            name: again[name]
            if name in _WORDS and isinstance(value, str)
            else _in_our_words(value, again[name])
            for name, value in said.items()
            if name in again
        }
    if isinstance(said, list) and isinstance(again, list):
        return [_in_our_words(one, other) for one, other in zip(said, again, strict=True)]
    return said


def _is_rounding(place: str, old: object, new: object) -> bool:
    """Return whether two numbers differ by no more than how functions and sums round.

    Thresholds must be the same to the last bit: confidences, which have 12 decimals, are compared
    with them. Learned weights come from sums of products, whose order depends on the processor, so
    a weight near 0 may differ in more of its digits.
    """
    if not isinstance(old, float) or not isinstance(new, float) or _DECIDES.search(place):
        return False
    smallest = _TWELVE_DIGITS if _LEARNED.search(place) else 0.0
    return math.isclose(old, new, rel_tol=_TWELVE_DIGITS, abs_tol=smallest)


def _faults_of_life(document: Mapping[str, Any]) -> list[Fault]:
    """Return where a document contradicts its request on when it ends or what it renews."""
    request, made = as_asked(document["request"]), datetime.fromisoformat(document["created_at"])
    until = request.expires_at(made)
    asked = {
        "expires_at": None if until is None else rfc3339(until),
        "supersedes": request.supersedes,
    }
    return [
        Fault(name, f"is {shown(document[name])}, and asked for was {shown(value)}")
        for name, value in asked.items()
        if document[name] != value
    ]


def _differs(place: str, old: object, new: object) -> Fault:
    return Fault(place, f"is {shown(old)}, and computed again {shown(new)}")


def _differences(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}.difference(() if old.keys() & _LATER else _LATER)):
            yield from _differences(old.get(name), new.get(name), f"{place}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{place}.{number}")
    elif old != new:
        yield place, old, new
