"""Bodies of datasets that are finished."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import Doc, TypedDict

from app.bodies.common import Label, Promise

FinishStatus = Literal[
    "sampling", "calibrating", "judging", "suspended", "labelling", "completed", "not_certifiable",
    "failed",
]  # fmt: skip


class FinishBody(TypedDict):
    """A dataset on its way to a verdict on every row."""

    object: Literal["finish"]
    id: str
    status: Annotated[
        FinishStatus,
        Doc(
            "sampling: people label the pairs to certify on; calibrating; judging; suspended: judges "
            "failed, so that nothing is promised yet; labelling: people label what is left; the "
            "others are ends"
        ),
    ]
    dataset: str
    queue: Annotated[str | None, Doc("where people label now")]
    batch: str | None
    calibration: Annotated[str | None, Doc("the one certificate on the whole")]
    promise: Promise
    claim: Annotated[str | None, Doc("the promise in words")]
    max_error: float
    failure_probability: float
    pairs: int
    judged: Annotated[int, Doc("rows whose verdict is the judges'; while they judge, so far")]
    labelled: Annotated[int, Doc("rows whose verdict people gave, before or here")]
    waiting: Annotated[int, Doc("rows that wait for people")]
    unfinishable: Annotated[int, Doc("rows without texts and without a label of anybody")]
    error: Annotated[str | None, Doc("why it stands still or ended, and how to go on")]
    created_at: str
    ended_at: str | None


class FinishedRowBody(TypedDict):
    """A row with its verdict, and who gave it."""

    object: Literal["finished_row"]
    id: str
    label: Annotated[Label | None, Doc("null while the row waits for people")]
    given_by: Literal["judge", "people"] | None
    judge: Annotated[str | None, Doc("the judge that answered")]
    confidence: float | None
    votes: Annotated[dict[Label, int], Doc("what people said, counted")]
    promise: Promise
    model_a: str | None
    model_b: str | None
