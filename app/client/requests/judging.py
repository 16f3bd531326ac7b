"""Requests about certificates, judges, verdicts, batches and their files, one function for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

from app.bodies.batches import (
    BatchBody,
    BatchEstimateBody,
    FileBody,
    FileDeletedBody,
    PreferencesCardBody,
)
from app.bodies.certificates import (
    CertificateBody,
    CurveBody,
    ExperimentBody,
    KnownPromptsBody,
    PlanBody,
)
from app.bodies.common import AliveBody, PageBody, ReadyBody
from app.bodies.documents import ExportedCertificateBody
from app.bodies.judgments import (
    CanariesBody,
    CascadeBody,
    JudgeBody,
    JudgmentsBody,
    ReplayBody,
    StoredVerdictBody,
    TriedBody,
)
from app.client.bodies_in import (
    BatchRequest,
    CanariesRequest,
    CertifyRequest,
    ExperimentRequest,
    FileQuery,
    JudgeRequest,
    ListQuery,
    PlanRequest,
    ReplayRequest,
    VerdictQuery,
)
from app.client.calls import Call
from app.client.requests.paths import at, given


def create_calibration(**request: Unpack[CertifyRequest]) -> Call[CertificateBody]:
    """Start a calibration; its status is `pending` where judges must be asked first."""
    return Call("POST", "/v1/calibrations", body=request, takes_key=True)


def calibration(calibration_id: str) -> Call[CertificateBody]:
    """Return a certificate."""
    return Call("GET", at("calibrations", calibration_id), is_repeatable=True)


def calibration_curve(calibration_id: str) -> Call[CurveBody]:
    """Return how often a certificate's cascade is wrong as it answers more; promises nothing."""
    return Call("GET", at("calibrations", calibration_id, "curve"), is_repeatable=True)


def revoke_calibration(calibration_id: str) -> Call[CertificateBody]:
    """Revoke a certificate; from then on its verdicts promise nothing."""
    return Call("POST", at("calibrations", calibration_id, "revoke"), is_repeatable=True)


def export_calibration(calibration_id: str) -> Call[ExportedCertificateBody]:
    """Return a certificate with its evidence, signed: to be verified or imported elsewhere."""
    return Call("GET", at("calibrations", calibration_id, "export"), is_repeatable=True)


def import_calibration(document: Mapping[str, Any]) -> Call[CertificateBody]:
    """Take in a certificate that was exported elsewhere; it keeps its id."""
    return Call("POST", "/v1/calibrations/import", body=document, is_repeatable=True)


def known_prompts(calibration_id: str, prompts: Sequence[str]) -> Call[KnownPromptsBody]:
    """Say which of up to 256 prompts a certificate knows: it promises nothing about them."""
    body = {"prompts": list(prompts)}
    path = at("calibrations", calibration_id, "known-prompts")
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
    return Call("POST", at("judges", name, "try"), body={"pair": pair})


def create_batch(**request: Unpack[BatchRequest]) -> Call[BatchBody]:
    """Start judging a dataset."""
    return Call("POST", "/v1/batches", body=request, takes_key=True)


def estimate_batch(**request: Unpack[BatchRequest]) -> Call[BatchEstimateBody]:
    """Return what a batch would ask and cost; makes none."""
    return Call("POST", "/v1/batches/estimate", body=request, is_repeatable=True)


def batch(batch_id: str) -> Call[BatchBody]:
    """Return a batch as it is now."""
    return Call("GET", at("batches", batch_id), is_repeatable=True)


def batches(**query: Unpack[ListQuery]) -> Call[PageBody[BatchBody]]:
    """List batches, newest first."""
    return Call("GET", "/v1/batches", given(**query), is_repeatable=True)


def cancel_batch(batch_id: str) -> Call[BatchBody]:
    """Stop a batch and keep what is done."""
    return Call("POST", at("batches", batch_id, "cancel"), is_repeatable=True)


def retry_batch(batch_id: str, *, budget_usd: float | None = None) -> Call[BatchBody]:
    """Judge what an ended batch lacks, under a new budget if one is given."""
    body = given(budget_usd=budget_usd)
    return Call("POST", at("batches", batch_id, "retry"), body=body, takes_key=True)


def results_of(batch_id: str) -> str:
    """Return the path of a batch's verdicts."""
    return at("batches", batch_id, "results")


def preferences_of(batch_id: str) -> str:
    """Return the path of a batch's trusted preferences."""
    return at("batches", batch_id, "preferences")


def preferences_card(
    batch_id: str, *, promise: Literal["certified", "any"] = "certified"
) -> Call[PreferencesCardBody]:
    """Return the terms of a batch's preferences."""
    path = f"{preferences_of(batch_id)}/card"
    return Call("GET", path, {"promise": promise}, is_repeatable=True)


def events_of(batch_id: str) -> str:
    """Return the path of a batch's progress."""
    return at("batches", batch_id, "events")


def file(file_id: str) -> Call[FileBody]:
    """Return what is known of a file of requests, or of one that came of a batch."""
    return Call("GET", at("files", file_id), is_repeatable=True)


def files(**query: Unpack[FileQuery]) -> Call[PageBody[FileBody]]:
    """List uploaded files of requests."""
    return Call("GET", "/v1/files", given(**query), is_repeatable=True)


def delete_file(file_id: str) -> Call[FileDeletedBody]:
    """Delete an uploaded file; batches made from it stay whole."""
    return Call("DELETE", at("files", file_id))


def content_of(file_id: str) -> str:
    """Return the path of a file's content."""
    return at("files", file_id, "content")


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
