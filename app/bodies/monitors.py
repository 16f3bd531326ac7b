"""Bodies of monitors."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import Doc, TypedDict

from app.bodies.common import Estimate


class AuditCounts(TypedDict):
    """How far the audits of accepted verdicts are."""

    drawn: int
    answered: int
    disagreements: Annotated[float, Doc("sum of the losses; a tie may be half of one")]
    excluded: Annotated[int, Doc("answers that say nothing of the verdict: ties, no majority")]


class AbstainedCounts(TypedDict):
    """How far the audits of abstentions are; they are apart and raise no alarm."""

    drawn: int
    answered: int


class MonitorSlice(TypedDict):
    """A slice that is watched."""

    slice: str
    audits: int
    risk: Estimate
    e_value: float
    is_alarmed: bool


class CanaryJudge(TypedDict):
    """What canaries say of one judge."""

    judge: str
    asked: int
    failed: int
    e_value: float
    last_residual: Annotated[
        float | None, Doc("distance of its last answer from the kept one, in log-odds")
    ]


class CanaryCounts(TypedDict):
    """Canaries that were asked again: whether a judge answers otherwise than it did."""

    asked: Annotated[int, Doc("answers that were bet on")]
    e_value: Annotated[float, Doc("evidence that a judge has changed: the mean over judges")]
    status: Annotated[
        Literal["off", "starting", "asking", "alarm"],
        Doc("off: not asked for, or no judge could change; starting: first answers are fetched"),
    ]
    alarm_level: float
    failed: Annotated[int, Doc("asks without an answer; they count as nothing")]
    judges: list[CanaryJudge]


class HistoryPoint(TypedDict):
    """The state after some audits."""

    at: str
    audits: int
    e_value: float
    risk: float | None


class AlarmBody(TypedDict):
    """Why and when an alarm was raised, and how to go on."""

    id: str
    at: str
    audits: int
    reason: str
    slice: Annotated[str | None, Doc("the slice that moved, as far as the audits tell")]
    action: Literal["alarm", "suspend", "revoke"]
    recertify: str


class MonitorBody(TypedDict):
    """A monitor: what its audits say of a certificate."""

    object: Literal["monitor"]
    id: str
    calibration: str
    queue: str
    status: Literal["watching", "alarm", "ended"]
    audit_rate: float
    abstained_rate: float
    failure_probability: float
    target_risk: float
    on_alarm: Literal["alarm", "suspend", "revoke"]
    webhook: Annotated[
        str | None,
        Doc("shown whole when it is made, then without path and query, which may hold a token"),
    ]
    webhook_secret: Annotated[str | None, Doc("signs webhooks; shown when it is made, then null")]
    audits: AuditCounts
    abstained: AbstainedCounts
    risk: Estimate
    e_value: float
    alarm_level: Annotated[float, Doc("the e-value at which the alarm is raised")]
    detectable_risk: Annotated[
        float | None,
        Doc("the smallest risk that would have raised the alarm by now, in half of all cases"),
    ]
    alarm_at: str | None
    alarm: AlarmBody | None
    slices: list[MonitorSlice]
    canaries: CanaryCounts
    history: list[HistoryPoint]
    created_at: str
    ended_at: str | None


class AuditBody(TypedDict):
    """A verdict that was drawn."""

    object: Literal["audit"]
    id: str
    judgment: Annotated[str, Doc("the `verdict_id` of the stored verdict")]
    item: str
    status: str
    slice: str | None
    probability: float
    answered: bool
    loss: float | None
    drawn_at: str


class AuditsBody(TypedDict):
    """What became of answers to audits."""

    stored: int
    unchanged: int
    replaced: int
    spare: int
    monitor: MonitorBody
