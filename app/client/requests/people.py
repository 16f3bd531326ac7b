"""Requests about what people are asked, and about what is watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from app.bodies.common import PageBody
from app.bodies.finishes import FinishBody, FinishedRowBody
from app.bodies.monitors import AuditBody, AuditsBody, MonitorBody
from app.bodies.queues import AnswersBody, ClaimBody, ItemBody, QueueBody, QueueImportBody
from app.bodies.shadows import ShadowBody
from app.client.bodies_in import (
    Answer,
    AuditAnswer,
    FinishRequest,
    ListQuery,
    MonitorRequest,
    QueueRequest,
    ShadowRequest,
)
from app.client.calls import Call
from app.client.requests.paths import at, given


def create_queue(**request: Unpack[QueueRequest]) -> Call[QueueBody]:
    """Make a queue of pairs that people are to label."""
    return Call("POST", "/v1/queues", body=request, takes_key=True)


def queue(queue: str) -> Call[QueueBody]:
    """Return a queue by its id or name: progress, agreement, and whose labels to look at."""
    return Call("GET", at("queues", queue), is_repeatable=True)


def queues(**query: Unpack[ListQuery]) -> Call[PageBody[QueueBody]]:
    """List queues, those made last first."""
    return Call("GET", "/v1/queues", given(**query), is_repeatable=True)


def claim(
    queue: str, *, annotator: str | None = None, n: int = 1, again: bool | None = None
) -> Call[ClaimBody]:
    """Claim pairs to label: own claims first; `again`: at last those that this person skipped."""
    body = given(annotator=annotator, n=n, again=again)
    return Call("POST", at("queues", queue, "claim"), body=body, is_repeatable=True)


def claim_from_all(
    *, annotator: str | None = None, n: int = 1, again: bool | None = None
) -> Call[ClaimBody]:
    """Claim pairs of all queues: audits first, then calibration, ranking, and what was asked for."""
    body = given(annotator=annotator, n=n, again=again)
    return Call("POST", "/v1/queues/claim", body=body, is_repeatable=True)


def answer(
    queue: str, answers: Sequence[Answer], *, annotator: str | None = None
) -> Call[AnswersBody]:
    """Say which side is better; the same answer again is the same answer."""
    body = {"answers": list(answers), **given(annotator=annotator)}
    return Call("POST", at("queues", queue, "answers"), body=body, is_repeatable=True)


def undo_answer(queue: str, item: str, *, annotator: str | None = None) -> Call[ItemBody]:
    """Take an answer back; the pair is this person's again."""
    body = {"item": item, **given(annotator=annotator)}
    return Call("POST", at("queues", queue, "undo"), body=body, is_repeatable=True)


def tasks_of(queue: str) -> str:
    """Return the path of a queue's tasks for another tool."""
    return at("queues", queue, "export")


def import_answers(queue: str, tasks: Sequence[Mapping[str, Any]]) -> Call[QueueImportBody]:
    """Take what people answered in Label Studio or Argilla; the drawn side is undone."""
    return Call("POST", at("queues", queue, "import"), body=list(tasks), is_repeatable=True)


def create_finish(**request: Unpack[FinishRequest]) -> Call[FinishBody]:
    """Finish a dataset: judges answer what they are sure of, people label the rest."""
    return Call("POST", "/v1/finishes", body=request, takes_key=True)


def finish(finish_id: str) -> Call[FinishBody]:
    """Return a finish as it is now."""
    return Call("GET", at("finishes", finish_id), is_repeatable=True)


def finishes(**query: Unpack[ListQuery]) -> Call[PageBody[FinishBody]]:
    """List finishes, those begun last first."""
    return Call("GET", "/v1/finishes", given(**query), is_repeatable=True)


def retry_finish(finish_id: str, *, people: bool = False) -> Call[FinishBody]:
    """Go on where judges failed: ask them again, or let `people` label those rows."""
    return Call("POST", at("finishes", finish_id, "retry"), body={"people": people})


def finished_rows(finish_id: str, **query: Unpack[ListQuery]) -> Call[PageBody[FinishedRowBody]]:
    """List every row with its verdict and who gave it, in the order of the dataset."""
    return Call("GET", at("finishes", finish_id, "rows"), given(**query), is_repeatable=True)


def create_monitor(**request: Unpack[MonitorRequest]) -> Call[MonitorBody]:
    """Watch a certificate; a random share of its verdicts goes to people, blind."""
    return Call("POST", "/v1/monitors", body=request, takes_key=True)


def monitor(monitor_id: str) -> Call[MonitorBody]:
    """Return a monitor as it is now."""
    return Call("GET", at("monitors", monitor_id), is_repeatable=True)


def monitors(**query: Unpack[ListQuery]) -> Call[PageBody[MonitorBody]]:
    """List monitors, those made last first."""
    return Call("GET", "/v1/monitors", given(**query), is_repeatable=True)


def audits(monitor_id: str, **query: Unpack[ListQuery]) -> Call[PageBody[AuditBody]]:
    """List the verdicts that were drawn for a monitor, those drawn last first."""
    return Call("GET", at("monitors", monitor_id, "audits"), given(**query), is_repeatable=True)


def answer_audits(monitor_id: str, answers: Sequence[AuditAnswer]) -> Call[AuditsBody]:
    """Say which response is better of verdicts that were drawn for a monitor."""
    body = {"answers": list(answers)}
    return Call("POST", at("monitors", monitor_id, "audits"), body=body, is_repeatable=True)


def end_monitor(monitor_id: str) -> Call[MonitorBody]:
    """Stop to draw audits; what was found stays."""
    return Call("POST", at("monitors", monitor_id, "end"), is_repeatable=True)


def create_shadow(**request: Unpack[ShadowRequest]) -> Call[ShadowBody]:
    """Let a candidate judge a share of a certificate's traffic; it decides nothing."""
    return Call("POST", "/v1/shadows", body=request, takes_key=True)


def shadow(shadow_id: str) -> Call[ShadowBody]:
    """Return what promoting a candidate would change, as far as is known."""
    return Call("GET", at("shadows", shadow_id), is_repeatable=True)


def shadows(**query: Unpack[ListQuery]) -> Call[PageBody[ShadowBody]]:
    """List shadows, those made last first."""
    return Call("GET", "/v1/shadows", given(**query), is_repeatable=True)


def end_shadow(shadow_id: str) -> Call[ShadowBody]:
    """Stop to ask a candidate; what is known stays."""
    return Call("POST", at("shadows", shadow_id, "end"), is_repeatable=True)
