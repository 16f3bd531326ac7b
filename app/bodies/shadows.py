"""Bodies of shadow judges."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import Doc, TypedDict

from app.bodies.common import Estimate


class ShadowBody(TypedDict):
    """What promoting a candidate would change, as far as its share of the traffic tells."""

    object: Literal["shadow"]
    id: str
    status: Annotated[
        Literal["watching", "spent", "ended"],
        Doc("spent: its budget is used up; it draws and asks no more"),
    ]
    calibration: Annotated[str, Doc("the certificate whose traffic is judged")]
    judges: Annotated[list[str], Doc("the candidate's, from cheap to strong")]
    share: float
    drawn: Annotated[int, Doc("pairs drawn, audited ones included")]
    pairs: Annotated[int, Doc("pairs that the candidate has judged")]
    waiting: int
    failed: Annotated[int, Doc("pairs on which every judge of the candidate failed")]
    labelled: Annotated[int, Doc("judged pairs of which people said something")]
    coverage: Annotated[Estimate, Doc("share of the pairs that the candidate answers")]
    coverage_change: Annotated[Estimate, Doc("the candidate's less the present one")]
    agreement: Annotated[Estimate, Doc("of the candidate's answers, those people agree with")]
    agreement_change: Estimate
    cost_change: Annotated[Estimate, Doc("USD a pair, as if no score were stored")]
    same: Annotated[Estimate, Doc("share of the pairs that both answer and answer alike")]
    enough: Annotated[
        bool, Doc("both changes, of coverage and of agreement, are known to within the precision")
    ]
    precision: float
    labels_needed: Annotated[int | None, Doc("about so many labels are needed for that in all")]
    notes: list[str]
    spent_usd: float | None
    budget_usd: float | None
    error: str | None
    created_at: str
    ended_at: str | None
