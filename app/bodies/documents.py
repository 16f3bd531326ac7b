"""Bodies of exported certificates, with all that is needed to compute them again."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import Doc, TypedDict

from app.bodies.certificates import ImportedBody
from app.bodies.common import JsonValue


class EvidenceVotes(TypedDict):
    """How many people say what of each pair."""

    a: list[int]
    b: list[int]
    tie: list[int]


class FirstVotesBody(TypedDict, total=False):
    """The first votes on each pair, where the promise is about a panel."""

    first_votes: Annotated[
        list[list[float | None]], Doc("first, second and third vote: 1 for a, 0 for b, 0.5 a tie")
    ]


class EvidencePairs(FirstVotesBody):
    """The labelled pairs that a certificate was made from, one entry each in every list."""

    group: Annotated[list[int], Doc("number of its group; groups are independent")]
    prompt: Annotated[list[str | None], Doc("hash of its prompt")]
    content: Annotated[list[str | None], Doc("hash of its texts")]
    votes: EvidenceVotes
    label_probability: Annotated[
        list[float] | None, Doc("probability of having been labelled; null: equal")
    ]
    slice: Annotated[list[str | None] | None, Doc("value of the field of slices")]


class JudgeScores(TypedDict):
    """What one judge says of some pairs, one entry each."""

    p_a: Annotated[list[float | None], Doc("probability that a is better; null: it failed")]
    p_tie: list[float | None]
    manner: Annotated[list[str] | None, Doc("in which it answered; null: always as usual")]


class TrafficEvidence(TypedDict):
    """What is known without labels of other traffic, and of the labelled pairs; in columns."""

    p_a: dict[str, list[float | None]] | None
    traffic_features: list[list[float | None]] | None
    features: list[list[float | None]] | None
    density_ratio: list[float | None] | None


class LeftOut(TypedDict):
    """Pairs of the dataset that did not calibrate, counted."""

    unlabelled: int
    seen_in_training: int
    held_for_examples: int


class EvidenceBody(TypedDict):
    """All that a certification reads beside its request."""

    pairs: EvidencePairs
    scores: dict[str, JudgeScores]
    costs: Annotated[dict[str, float | None], Doc("mean USD a pair; null: unknown")]
    left_out: LeftOut
    pool: Annotated[dict[str, JudgeScores] | None, Doc("of unlabelled pairs")]
    traffic: TrafficEvidence | None
    made_with: Annotated[dict[str, str], Doc("versions of what certified; empty: not known")]


class CertifiedJudge(TypedDict):
    """A judge of a certificate, from cheap to strong."""

    name: str
    fingerprint: str
    configuration: Annotated[
        dict[str, JsonValue], Doc("all that its scores depend on, and that its fingerprint hashes")
    ]


class LabelUses(TypedDict):
    """The tests that were made of the labels, this one included."""

    certificates: int
    plans: int
    failure_probability: Annotated[float | None, Doc("their sum; null where it was not kept")]


class SignatureBody(TypedDict):
    """Who signed a document, and what."""

    algorithm: Literal["Ed25519"]
    public_key: Annotated[str, Doc("64 hexadecimal digits, see `tribunal keys signing`")]
    signed_at: str
    digests: Annotated[dict[str, str], Doc("SHA-256 of each field, by its place")]
    value: Annotated[str, Doc("signature over the other fields of this object")]


class ExportedCertificateBody(TypedDict):
    """A certificate with all that is needed to compute it again, signed by the service."""

    object: Literal["exported_certificate"]
    format: Literal[1]
    id: str
    status: Literal["certified", "not_certifiable"]
    created_at: str
    revoked_at: str | None
    suspended_because: str | None
    expires_at: str | None
    supersedes: str | None
    imported: Annotated[
        ImportedBody | None, Doc("where the signer had it from, if it was imported")
    ]
    request: dict[str, JsonValue]
    judges: list[CertifiedJudge]
    certificate: Annotated[dict[str, JsonValue], Doc("what was found, as a certificate shows it")]
    label_uses: LabelUses
    evidence: EvidenceBody
    signature: SignatureBody


class DocumentFault(TypedDict):
    """What is wrong with a field of a document."""

    field: str
    reason: str


State = Literal["certified", "not_certifiable", "revoked", "suspended", "expired"]


class VerificationBody(TypedDict):
    """Whether an exported certificate is what it says."""

    object: Literal["verification"]
    verified: bool
    calibration: str | None
    signed_by: Annotated[str | None, Doc("public key")]
    signed_at: str | None
    state_at_export: Annotated[
        State | None,
        Doc("when it was signed; what came later is in a later export alone. null: not verified"),
    ]
    promises: Annotated[
        bool,
        Doc(
            "it is certified, was neither revoked nor suspended at its export, and has not expired"
        ),
    ]
    claim: str | None
    faults: list[DocumentFault]
    notes: list[str]
