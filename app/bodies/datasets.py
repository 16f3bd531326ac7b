"""Bodies of datasets, of their pairs, and of the labels of people."""

from __future__ import annotations

from typing import Annotated, Final, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.common import JsonValue, Label


class Rejected(TypedDict):
    """A row that was not kept."""

    line: Annotated[int, Doc("number of the line, or of the element of a JSON array, from 1")]
    reason: str
    file: NotRequired[Annotated[str | None, Doc("which file, where an upload had several")]]


class DatasetBody(TypedDict):
    """A dataset: what it holds, and what was rejected when it was imported."""

    object: Literal["dataset"]
    id: str
    name: str
    dialect: str
    pairs: int
    groups: Annotated[int, Doc("units of exchangeability: pairs of one group go together")]
    labels: Annotated[int, Doc("current labels, all criteria")]
    annotators: Annotated[int, Doc("known persons; unknown ones are not counted")]
    recorded_judges: Annotated[list[str], Doc("judges whose scores came with the rows")]
    rejected: Annotated[list[Rejected], Doc("the first 1,000 rows that were not kept")]
    rejected_count: int
    unmatched: Annotated[int, Doc("of this upload's rejected rows: nothing to join with")]
    warnings: Annotated[list[str], Doc("of this upload, in sentences; empty when read later")]
    created_at: str


class PartBody(TypedDict):
    """One side of a split by group."""

    fraction: float
    seed: int
    side: Literal["calibration", "test"]


class VoteBody(TypedDict):
    """What one person said, with further fields as they came."""

    annotator: str | None
    label: Label
    criterion: str


class TokensBody(TypedDict):
    """Tokens that a score took."""

    prompt: int
    completion: int
    cached: NotRequired[int]


class RecordBody(TypedDict, total=False):
    """What a judge said of a pair: of each annotator in both orders, or `p_a`, or a label."""

    annotators: list[list[float | list[float | None] | None]]
    ratings: Annotated[list[float], Doc("of a and of b, by a judge that rates each alone")]
    p_a: float | None
    p_tie: float | None
    label: Literal["tie"]
    inconsistent: bool
    cost: float
    seconds: float
    tokens: TokensBody
    criterion: str


class MessageBody(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class PairBody(TypedDict):
    """A pair as a row that would import it again; a battle has no texts."""

    id: str
    prompt: NotRequired[str | list[str]]
    messages: NotRequired[list[MessageBody]]
    response_a: NotRequired[str]
    response_b: NotRequired[str]
    responses_a: NotRequired[list[str]]
    responses_b: NotRequired[list[str]]
    model_a: NotRequired[str]
    model_b: NotRequired[str]
    criterion: NotRequired[str]
    group: str
    human: list[VoteBody]
    judges: dict[str, RecordBody | None]
    metadata: dict[str, JsonValue]


class PreviewBody(TypedDict):
    """What an import would store; nothing was stored."""

    object: Literal["preview"]
    name: str
    dialect: Annotated[str, Doc("row format")]
    pairs: int
    groups: int
    labels: int
    annotators: int
    recorded_judges: list[str]
    rows: Annotated[list[PairBody], Doc("the first three pairs, as they would be stored")]
    rejected: list[Rejected]
    rejected_count: int
    unmatched: int
    warnings: list[str]


_TURNED: Final = (
    "labels that name the two models or responses the other way round than the pair is stored, and "
    "were exchanged"
)


class OutcomesBody(TypedDict):
    """How many labels say what, of the pairs as they are stored."""

    a: int
    b: int
    tie: int


class LabelsBody(TypedDict):
    """What became of posted labels."""

    accepted: Annotated[int, Doc("labels that stand now, those that stood before included")]
    replaced: Annotated[int, Doc("earlier labels of the same annotators, kept in history")]
    unchanged: Annotated[int, Doc("labels that repeat what their annotator said before")]
    contradicted: Annotated[
        int,
        Doc(
            "pairs on which this request has labels of one annotator that differ: the last one "
            "stands, the others are in history"
        ),
    ]
    labels: OutcomesBody
    turned: Annotated[int, Doc(_TURNED)]


class CheckedBody(TypedDict):
    """Labels that could be posted as they are."""

    checked: Annotated[int, Doc("labels that were looked at; none was stored")]
    contradicted: Annotated[int, Doc("pairs on which labels of one annotator differ")]
    labels: OutcomesBody
    turned: Annotated[int, Doc(_TURNED)]
    rows: Annotated[
        list[dict[str, JsonValue]], Doc("the first three labels as they would be stored")
    ]


class LabelBody(TypedDict):
    """What one person said of a pair."""

    object: Literal["label"]
    id: str
    dataset: str
    pair: str
    annotator: str | None
    label: Label
    criterion: str
    created_at: str
    replaced_at: str | None
    strength: NotRequired[float | None]
    first_shown: NotRequired[Literal["a", "b"] | None]
    comment: NotRequired[str | None]
