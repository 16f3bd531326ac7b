"""The requests of the service, one function for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack
from urllib.parse import quote

from app.bodies.batches import (
    BatchBody,
    BatchEstimateBody,
    FileBody,
    FileDeletedBody,
    PreferencesCardBody,
)
from app.bodies.browsing import PairDetailBody, SearchBody, SimilarBody
from app.bodies.certificates import (
    CertificateBody,
    CurveBody,
    ExperimentBody,
    ExportedCertificateBody,
    KnownPromptsBody,
    PlanBody,
)
from app.bodies.common import (
    AliveBody,
    CanariesBody,
    CascadeBody,
    CheckedBody,
    DatasetBody,
    JudgeBody,
    JudgmentsBody,
    LabelBody,
    LabelsBody,
    PageBody,
    PairBody,
    ReadyBody,
    ReplayBody,
    StoredVerdictBody,
    TriedBody,
)
from app.bodies.finishes import FinishBody, FinishedRowBody
from app.bodies.health import HealthCardBody, HistoryBody, ReportComparisonBody
from app.bodies.leaderboards import LeaderboardBody, LeaderboardComparisonBody
from app.bodies.monitors import AuditBody, AuditsBody, MonitorBody
from app.bodies.queues import AnswersBody, ClaimBody, ItemBody, QueueBody, QueueImportBody
from app.bodies.reports import ReportBody
from app.bodies.shadows import ShadowBody
from app.client.bodies_in import (
    Answer,
    AuditAnswer,
    BatchRequest,
    CanariesRequest,
    CertifyRequest,
    ExperimentRequest,
    FileQuery,
    FinishRequest,
    HealthRequest,
    HistoryQuery,
    JudgeRequest,
    Label,
    LeaderboardRequest,
    ListQuery,
    MonitorRequest,
    PlanRequest,
    QueueRequest,
    ReplayRequest,
    ReportQuery,
    SearchQuery,
    ShadowRequest,
    VerdictQuery,
    WhatIf,
)
from app.client.calls import Call, Json


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _at(collection: str, name: str, *rest: str) -> str:
    """Return the path of one thing; a slash in its name does not divide the path."""
    return "/".join([f"/v1/{collection}", quote(name, safe=""), *rest])


def carried(*, texts: bool, reasons: bool) -> dict[str, str]:
    """Return the query for what the verdicts of a batch carry beside what was judged."""
    return {**({"with": "texts"} if texts else {}), **({"include": "reasons"} if reasons else {})}


def get(path: str, **query: Any) -> Call[Json]:
    """Return what the service has at `path`."""
    return Call("GET", path, given(**query), is_repeatable=True)


def post(path: str, body: Mapping[str, Any] | None = None) -> Call[Json]:
    """Post to `path`."""
    return Call("POST", path, body=body)


def create_calibration(**request: Unpack[CertifyRequest]) -> Call[CertificateBody]:
    """Start a calibration; its status is `pending` where judges must be asked first."""
    return Call("POST", "/v1/calibrations", body=request, takes_key=True)


def calibration(calibration_id: str) -> Call[CertificateBody]:
    """Return a certificate."""
    return Call("GET", _at("calibrations", calibration_id), is_repeatable=True)


def calibration_curve(calibration_id: str) -> Call[CurveBody]:
    """Return how often a certificate's cascade is wrong as it answers more; promises nothing."""
    return Call("GET", _at("calibrations", calibration_id, "curve"), is_repeatable=True)


def revoke_calibration(calibration_id: str) -> Call[CertificateBody]:
    """Revoke a certificate; from then on its verdicts promise nothing."""
    return Call("POST", _at("calibrations", calibration_id, "revoke"), is_repeatable=True)


def export_calibration(calibration_id: str) -> Call[ExportedCertificateBody]:
    """Return a certificate with its evidence, signed: to be verified or imported elsewhere."""
    return Call("GET", _at("calibrations", calibration_id, "export"), is_repeatable=True)


def import_calibration(document: Mapping[str, Any]) -> Call[CertificateBody]:
    """Take in a certificate that was exported elsewhere; it keeps its id."""
    return Call("POST", "/v1/calibrations/import", body=document, is_repeatable=True)


def known_prompts(calibration_id: str, prompts: Sequence[str]) -> Call[KnownPromptsBody]:
    """Say which of up to 256 prompts a certificate knows: it promises nothing about them."""
    body = {"prompts": list(prompts)}
    path = _at("calibrations", calibration_id, "known-prompts")
    return Call("POST", path, body=body, is_repeatable=True)


def calibrations(**query: Unpack[ListQuery]) -> Call[PageBody[CertificateBody]]:
    """List certificates, newest first."""
    return Call("GET", "/v1/calibrations", given(**query), is_repeatable=True)


def plan(**request: Unpack[PlanRequest]) -> Call[PlanBody]:
    """Return what could be certified at each target."""
    return Call("POST", "/v1/plans", body=request, is_repeatable=True)


def experiment(**request: Unpack[ExperimentRequest]) -> Call[ExperimentBody]:
    """Compare rules for choosing thresholds over random splits of the labels."""
    return Call("POST", "/v1/experiments", body=request, is_repeatable=True)


def canaries(**request: Unpack[CanariesRequest]) -> Call[CanariesBody]:
    """Return how often judges follow what responses tell them to do."""
    return Call("POST", "/v1/canaries", body=request)


def judge(
    pairs: Sequence[Mapping[str, Any]], **request: Unpack[JudgeRequest]
) -> Call[JudgmentsBody]:
    """Return verdicts on up to 256 pairs, with `include="reasons"` with what judges say of why."""
    query = given(include=request.pop("include", None))
    body = {"pairs": list(pairs), **request}
    return Call("POST", "/v1/judgments", query, body=body, takes_key=True)


def replay(**request: Unpack[ReplayRequest]) -> Call[ReplayBody]:
    """Return what the verdicts would be by other thresholds, judges or rules; asks no judge."""
    return Call("POST", "/v1/replays", body=request, is_repeatable=True)


def verdicts(**query: Unpack[VerdictQuery]) -> Call[PageBody[StoredVerdictBody]]:
    """List stored verdicts, newest first."""
    return Call("GET", "/v1/judgments", given(**query), is_repeatable=True)


def try_judge(name: str, pair: Mapping[str, Any]) -> Call[TriedBody]:
    """Ask a judge about one pair and return how: prompts, tokens read, cost; stores nothing."""
    return Call("POST", _at("judges", name, "try"), body={"pair": pair})


def create_batch(**request: Unpack[BatchRequest]) -> Call[BatchBody]:
    """Start judging a dataset."""
    return Call("POST", "/v1/batches", body=request, takes_key=True)


def estimate_batch(**request: Unpack[BatchRequest]) -> Call[BatchEstimateBody]:
    """Return what a batch would ask and cost; makes none."""
    return Call("POST", "/v1/batches/estimate", body=request, is_repeatable=True)


def batch(batch_id: str) -> Call[BatchBody]:
    """Return a batch as it is now."""
    return Call("GET", _at("batches", batch_id), is_repeatable=True)


def batches(**query: Unpack[ListQuery]) -> Call[PageBody[BatchBody]]:
    """List batches, newest first."""
    return Call("GET", "/v1/batches", given(**query), is_repeatable=True)


def cancel_batch(batch_id: str) -> Call[BatchBody]:
    """Stop a batch and keep what is done."""
    return Call("POST", _at("batches", batch_id, "cancel"), is_repeatable=True)


def retry_batch(batch_id: str, *, budget_usd: float | None = None) -> Call[BatchBody]:
    """Judge what an ended batch lacks, under a new budget if one is given."""
    body = given(budget_usd=budget_usd)
    return Call("POST", _at("batches", batch_id, "retry"), body=body, takes_key=True)


def results_of(batch_id: str) -> str:
    """Return the path of a batch's verdicts."""
    return _at("batches", batch_id, "results")


def preferences_of(batch_id: str) -> str:
    """Return the path of a batch's trusted preferences."""
    return _at("batches", batch_id, "preferences")


def preferences_card(
    batch_id: str, *, promise: Literal["certified", "any"] = "certified"
) -> Call[PreferencesCardBody]:
    """Return the terms of a batch's preferences."""
    path = f"{preferences_of(batch_id)}/card"
    return Call("GET", path, {"promise": promise}, is_repeatable=True)


def events_of(batch_id: str) -> str:
    """Return the path of a batch's progress."""
    return _at("batches", batch_id, "events")


def file(file_id: str) -> Call[FileBody]:
    """Return what is known of a file of requests, or of one that came of a batch."""
    return Call("GET", _at("files", file_id), is_repeatable=True)


def files(**query: Unpack[FileQuery]) -> Call[PageBody[FileBody]]:
    """List uploaded files of requests."""
    return Call("GET", "/v1/files", given(**query), is_repeatable=True)


def delete_file(file_id: str) -> Call[FileDeletedBody]:
    """Delete an uploaded file; batches made from it stay whole."""
    return Call("DELETE", _at("files", file_id))


def content_of(file_id: str) -> str:
    """Return the path of a file's content."""
    return _at("files", file_id, "content")


def export_of(dataset: str) -> str:
    """Return the path of a dataset in another format."""
    return _at("datasets", dataset, "export")


def leaderboard(**request: Unpack[LeaderboardRequest]) -> Call[LeaderboardBody]:
    """Rank the models of a dataset."""
    return Call("POST", "/v1/leaderboards", body=request, takes_key=True)


def stored_leaderboard(leaderboard_id: str) -> Call[LeaderboardBody]:
    """Return a leaderboard that was made before."""
    return Call("GET", _at("leaderboards", leaderboard_id), is_repeatable=True)


def leaderboards(**query: Unpack[ListQuery]) -> Call[PageBody[LeaderboardBody]]:
    """List leaderboards, newest first."""
    return Call("GET", "/v1/leaderboards", given(**query), is_repeatable=True)


def compare_leaderboards(leaderboard_id: str, other: str) -> Call[LeaderboardComparisonBody]:
    """Say what changed from the earlier to the later of two leaderboards."""
    path = _at("leaderboards", leaderboard_id, "compare")
    return Call("GET", path, {"with": other}, is_repeatable=True)


def reweight_leaderboard(
    leaderboard_id: str,
    criteria: Mapping[str, float] | None = None,
    *,
    slice_weights: Mapping[str, float] | None = None,
    group_by: str | None = None,
    control: Sequence[str] | None = None,
) -> Call[LeaderboardBody]:
    """Rank the same verdicts by other weights, slices or control, and keep it; asks no judge."""
    path = _at("leaderboards", leaderboard_id, "reweight")
    body = given(criteria=criteria, slice_weights=slice_weights, group_by=group_by, control=control)
    return Call("POST", path, body=body, takes_key=True)


def what_if(leaderboard_id: str, **query: Unpack[WhatIf]) -> Call[LeaderboardBody]:
    """Rank the same verdicts by other weights, slices, control or source; stores nothing."""
    asked: dict[str, Any] = given(**query)
    for kind, field in (("criterion", "criteria"), ("slice", "slice_weights")):
        weights = asked.pop(field, {})
        asked |= {f"{kind}.{name}": weight for name, weight in weights.items()}
    return Call("GET", _at("leaderboards", leaderboard_id, "what-if"), asked, is_repeatable=True)


def report(**query: Unpack[ReportQuery]) -> Call[ReportBody]:
    """Return an agreement report."""
    return Call("GET", "/v1/reports/agreement", given(**query), is_repeatable=True)


def stored_report(report_id: str) -> Call[ReportBody]:
    """Return a report that was made before."""
    return Call("GET", _at("reports", report_id), is_repeatable=True)


def reports(**query: Unpack[ListQuery]) -> Call[PageBody[ReportBody]]:
    """List reports, newest first."""
    return Call("GET", "/v1/reports", given(**query), is_repeatable=True)


def compare_reports(report_id: str, other: str) -> Call[ReportComparisonBody]:
    """Say what changed from a report to another one, with intervals."""
    return Call("GET", _at("reports", report_id, "compare"), {"with": other}, is_repeatable=True)


def report_of_batch(batch_id: str) -> Call[ReportBody]:
    """Return how a batch's verdicts agree with the labels there are now."""
    return Call("GET", _at("reports", "batches", batch_id), is_repeatable=True)


def history(dataset: str, **query: Unpack[HistoryQuery]) -> Call[HistoryBody]:
    """Follow agreement and coverage over time."""
    asked = {"dataset": dataset, **given(**query)}
    return Call("GET", "/v1/reports/history", asked, is_repeatable=True)


def health(**request: Unpack[HealthRequest]) -> Call[HealthCardBody]:
    """Return a judge's health card, or the unfinished report that it waits for."""
    return Call("POST", "/v1/reports/health", body=given(**request), is_repeatable=True)


def health_of(
    report_id: str, judge: str, *, lines: Mapping[str, float | None] | None = None
) -> Call[HealthCardBody]:
    """Return the health card of a judge of a stored report; None drops a line."""
    moved = {f"line.{name}": "off" if at is None else at for name, at in (lines or {}).items()}
    path = _at("reports", report_id, "health")
    return Call("GET", path, {"judge": judge, **moved}, is_repeatable=True)


def dataset(dataset: str) -> Call[DatasetBody]:
    """Return a dataset by its id or name."""
    return Call("GET", _at("datasets", dataset), is_repeatable=True)


def datasets(**query: Unpack[ListQuery]) -> Call[PageBody[DatasetBody]]:
    """List datasets, those imported last first."""
    return Call("GET", "/v1/datasets", given(**query), is_repeatable=True)


def pairs(dataset: str, **query: Unpack[ListQuery]) -> Call[PageBody[PairBody]]:
    """List the pairs of a dataset as canonical rows, in the order of the file."""
    return Call("GET", _at("datasets", dataset, "pairs"), given(**query), is_repeatable=True)


def search(dataset: str, **query: Unpack[SearchQuery]) -> Call[SearchBody]:
    """Find pairs by what people, a judge or a cascade said of them; see `SearchQuery`."""
    return Call("GET", _at("datasets", dataset, "search"), given(**query), is_repeatable=True)


def pair(dataset: str, pair_id: str) -> Call[PairDetailBody]:
    """Return all that is known of one pair."""
    path = _at("datasets", dataset, "pairs", quote(pair_id, safe=""))
    return Call("GET", path, is_repeatable=True)


def similar_pairs(dataset: str, pair_id: str) -> Call[SimilarBody]:
    """List pairs of the prompt or group of one pair, then those with the nearest features."""
    path = _at("datasets", dataset, "pairs", quote(pair_id, safe=""), "similar")
    return Call("GET", path, is_repeatable=True)


def delete_dataset(dataset: str, *, force: bool = False) -> Call[None]:
    """Delete a dataset and all that refers to it; `force` also where certificates rest on it."""
    return Call("DELETE", _at("datasets", dataset), {"force": str(force).lower()})


def add_labels(labels: Sequence[Label]) -> Call[LabelsBody]:
    """Store the labels of people, all or none."""
    return Call("POST", "/v1/labels", body={"labels": list(labels)}, takes_key=True)


def check_labels(labels: Sequence[Label]) -> Call[CheckedBody]:
    """Check labels as `create` does, and store none."""
    return Call("POST", "/v1/labels/check", body={"labels": list(labels)}, is_repeatable=True)


def labels(
    dataset: str | None = None, *, history: bool = False, **query: Unpack[ListQuery]
) -> Call[PageBody[LabelBody]]:
    """List labels, those that came last first, with `history` also replaced ones."""
    asked = given(dataset=dataset, history=str(history).lower(), **query)
    return Call("GET", "/v1/labels", asked, is_repeatable=True)


def create_queue(**request: Unpack[QueueRequest]) -> Call[QueueBody]:
    """Make a queue of pairs that people are to label."""
    return Call("POST", "/v1/queues", body=request, takes_key=True)


def queue(queue: str) -> Call[QueueBody]:
    """Return a queue by its id or name: progress, agreement, and whose labels to look at."""
    return Call("GET", _at("queues", queue), is_repeatable=True)


def queues(**query: Unpack[ListQuery]) -> Call[PageBody[QueueBody]]:
    """List queues, those made last first."""
    return Call("GET", "/v1/queues", given(**query), is_repeatable=True)


def claim(queue: str, *, annotator: str | None = None, n: int = 1) -> Call[ClaimBody]:
    """Claim pairs to label; what this person has claimed already comes first."""
    body = given(annotator=annotator, n=n)
    return Call("POST", _at("queues", queue, "claim"), body=body, is_repeatable=True)


def claim_from_all(*, annotator: str | None = None, n: int = 1) -> Call[ClaimBody]:
    """Claim pairs of all queues: audits first, then calibration, ranking, and what was asked for."""
    body = given(annotator=annotator, n=n)
    return Call("POST", "/v1/queues/claim", body=body, is_repeatable=True)


def answer(
    queue: str, answers: Sequence[Answer], *, annotator: str | None = None
) -> Call[AnswersBody]:
    """Say which side is better; the same answer again is the same answer."""
    body = {"answers": list(answers), **given(annotator=annotator)}
    return Call("POST", _at("queues", queue, "answers"), body=body, is_repeatable=True)


def undo_answer(queue: str, item: str, *, annotator: str | None = None) -> Call[ItemBody]:
    """Take an answer back; the pair is this person's again."""
    body = {"item": item, **given(annotator=annotator)}
    return Call("POST", _at("queues", queue, "undo"), body=body, is_repeatable=True)


def tasks_of(queue: str) -> str:
    """Return the path of a queue's tasks for another tool."""
    return _at("queues", queue, "export")


def import_answers(queue: str, tasks: Sequence[Mapping[str, Any]]) -> Call[QueueImportBody]:
    """Take what people answered in Label Studio or Argilla; the drawn side is undone."""
    return Call("POST", _at("queues", queue, "import"), body=list(tasks), is_repeatable=True)


def create_finish(**request: Unpack[FinishRequest]) -> Call[FinishBody]:
    """Finish a dataset: judges answer what they are sure of, people label the rest."""
    return Call("POST", "/v1/finishes", body=request, takes_key=True)


def finish(finish_id: str) -> Call[FinishBody]:
    """Return a finish as it is now."""
    return Call("GET", _at("finishes", finish_id), is_repeatable=True)


def finishes(**query: Unpack[ListQuery]) -> Call[PageBody[FinishBody]]:
    """List finishes, those begun last first."""
    return Call("GET", "/v1/finishes", given(**query), is_repeatable=True)


def retry_finish(finish_id: str, *, people: bool = False) -> Call[FinishBody]:
    """Go on where judges failed: ask them again, or let `people` label those rows."""
    return Call("POST", _at("finishes", finish_id, "retry"), body={"people": people})


def finished_rows(finish_id: str, **query: Unpack[ListQuery]) -> Call[PageBody[FinishedRowBody]]:
    """List every row with its verdict and who gave it, in the order of the dataset."""
    return Call("GET", _at("finishes", finish_id, "rows"), given(**query), is_repeatable=True)


def create_monitor(**request: Unpack[MonitorRequest]) -> Call[MonitorBody]:
    """Watch a certificate; a random share of its verdicts goes to people, blind."""
    return Call("POST", "/v1/monitors", body=request, takes_key=True)


def monitor(monitor_id: str) -> Call[MonitorBody]:
    """Return a monitor as it is now."""
    return Call("GET", _at("monitors", monitor_id), is_repeatable=True)


def monitors(**query: Unpack[ListQuery]) -> Call[PageBody[MonitorBody]]:
    """List monitors, those made last first."""
    return Call("GET", "/v1/monitors", given(**query), is_repeatable=True)


def audits(monitor_id: str, **query: Unpack[ListQuery]) -> Call[PageBody[AuditBody]]:
    """List the verdicts that were drawn for a monitor, those drawn last first."""
    return Call("GET", _at("monitors", monitor_id, "audits"), given(**query), is_repeatable=True)


def answer_audits(monitor_id: str, answers: Sequence[AuditAnswer]) -> Call[AuditsBody]:
    """Say which response is better of verdicts that were drawn for a monitor."""
    body = {"answers": list(answers)}
    return Call("POST", _at("monitors", monitor_id, "audits"), body=body, is_repeatable=True)


def end_monitor(monitor_id: str) -> Call[MonitorBody]:
    """Stop to draw audits; what was found stays."""
    return Call("POST", _at("monitors", monitor_id, "end"), is_repeatable=True)


def create_shadow(**request: Unpack[ShadowRequest]) -> Call[ShadowBody]:
    """Let a candidate judge a share of a certificate's traffic; it decides nothing."""
    return Call("POST", "/v1/shadows", body=request, takes_key=True)


def shadow(shadow_id: str) -> Call[ShadowBody]:
    """Return what promoting a candidate would change, as far as is known."""
    return Call("GET", _at("shadows", shadow_id), is_repeatable=True)


def shadows(**query: Unpack[ListQuery]) -> Call[PageBody[ShadowBody]]:
    """List shadows, those made last first."""
    return Call("GET", "/v1/shadows", given(**query), is_repeatable=True)


def end_shadow(shadow_id: str) -> Call[ShadowBody]:
    """Stop to ask a candidate; what is known stays."""
    return Call("POST", _at("shadows", shadow_id, "end"), is_repeatable=True)


def judges(**query: Unpack[ListQuery]) -> Call[PageBody[JudgeBody]]:
    """List the configured judges, with prices and health."""
    return Call("GET", "/v1/judges", given(**query), is_repeatable=True)


def cascades(**query: Unpack[ListQuery]) -> Call[PageBody[CascadeBody]]:
    """List the configured cascades, judges from cheap to strong."""
    return Call("GET", "/v1/cascades", given(**query), is_repeatable=True)


def alive() -> Call[AliveBody]:
    """Say that the service is up."""
    return Call("GET", "/healthz", is_repeatable=True)


def ready() -> Call[ReadyBody]:
    """Say whether the database answers and at least one judge can."""
    return Call("GET", "/readyz", is_repeatable=True)
