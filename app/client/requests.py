"""What the client asks of the service: one function a request, which sends nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack
from urllib.parse import quote

from app.client.bodies import (
    BatchBody,
    CanariesBody,
    DatasetBody,
    JudgmentsBody,
    LeaderboardBody,
    ReportBody,
    VerdictBody,
)
from app.client.certificate_bodies import (
    CertificateBody,
    ExperimentBody,
    KnownPromptsBody,
    PlanBody,
)
from app.client.listed_bodies import (
    CascadeBody,
    CheckedBody,
    JudgeBody,
    LabelBody,
    LabelsBody,
    PairBody,
)
from app.client.requests import (
    BatchRequest,
    CanariesRequest,
    CertifyRequest,
    ExperimentRequest,
    JudgeRequest,
    Label,
    LeaderboardRequest,
    ListQuery,
    PlanRequest,
    ReportQuery,
    VerdictQuery,
)
from app.client.verbs import Call, Json, PageBody, given


def _at(collection: str, name: str, *rest: str) -> str:
    """Return the path of one thing; whatever its name holds is no path."""
    return "/".join([f"/v1/{collection}", quote(name, safe=""), *rest])


def get(path: str, **query: Any) -> Call[Json]:
    """Return whatever the service has at `path`."""
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


def revoke_calibration(calibration_id: str) -> Call[CertificateBody]:
    """Revoke a certificate; its verdicts promise nothing from then on."""
    return Call("POST", _at("calibrations", calibration_id, "revoke"), is_repeatable=True)


def known_prompts(calibration_id: str, prompts: Sequence[str]) -> Call[KnownPromptsBody]:
    """Say which of up to 256 prompts a certificate knows: its promise is for others."""
    body = {"prompts": list(prompts)}
    path = _at("calibrations", calibration_id, "known-prompts")
    return Call("POST", path, body=body, is_repeatable=True)


def calibrations(**query: Unpack[ListQuery]) -> Call[PageBody[CertificateBody]]:
    """List certificates in order of creation."""
    return Call("GET", "/v1/calibrations", given(**query), is_repeatable=True)


def plan(**request: Unpack[PlanRequest]) -> Call[PlanBody]:
    """Return what could be certified."""
    return Call("POST", "/v1/plans", body=request, is_repeatable=True)


def experiment(**request: Unpack[ExperimentRequest]) -> Call[ExperimentBody]:
    """Return how rules for choosing thresholds fare over random splits of the labels."""
    return Call("POST", "/v1/experiments", body=request, is_repeatable=True)


def canaries(**request: Unpack[CanariesRequest]) -> Call[CanariesBody]:
    """Return how often judges follow what responses tell them to do."""
    return Call("POST", "/v1/canaries", body=request)


def judge(
    pairs: Sequence[Mapping[str, Any]], **request: Unpack[JudgeRequest]
) -> Call[JudgmentsBody]:
    """Return verdicts on up to 256 pairs."""
    body = {"pairs": list(pairs), **request}
    return Call("POST", "/v1/judgments", body=body, takes_key=True)


def verdicts(**query: Unpack[VerdictQuery]) -> Call[PageBody[VerdictBody]]:
    """List stored verdicts, oldest first."""
    return Call("GET", "/v1/judgments", given(**query), is_repeatable=True)


def create_batch(**request: Unpack[BatchRequest]) -> Call[BatchBody]:
    """Start judging a dataset."""
    return Call("POST", "/v1/batches", body=request, takes_key=True)


def batch(batch_id: str) -> Call[BatchBody]:
    """Return a batch as it is now."""
    return Call("GET", _at("batches", batch_id), is_repeatable=True)


def batches(**query: Unpack[ListQuery]) -> Call[PageBody[BatchBody]]:
    """List batches in order of creation."""
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


def leaderboard(**request: Unpack[LeaderboardRequest]) -> Call[LeaderboardBody]:
    """Rank the models of a dataset."""
    return Call("POST", "/v1/leaderboards", body=request, takes_key=True)


def stored_leaderboard(leaderboard_id: str) -> Call[LeaderboardBody]:
    """Return a leaderboard that was made before."""
    return Call("GET", _at("leaderboards", leaderboard_id), is_repeatable=True)


def leaderboards(**query: Unpack[ListQuery]) -> Call[PageBody[LeaderboardBody]]:
    """List leaderboards in order of creation."""
    return Call("GET", "/v1/leaderboards", given(**query), is_repeatable=True)


def report(**query: Unpack[ReportQuery]) -> Call[ReportBody]:
    """Return an agreement report."""
    return Call("GET", "/v1/reports/agreement", given(**query), is_repeatable=True)


def stored_report(report_id: str) -> Call[ReportBody]:
    """Return a report that was made before."""
    return Call("GET", _at("reports", report_id), is_repeatable=True)


def reports(**query: Unpack[ListQuery]) -> Call[PageBody[ReportBody]]:
    """List reports in order of creation."""
    return Call("GET", "/v1/reports", given(**query), is_repeatable=True)


def dataset(dataset: str) -> Call[DatasetBody]:
    """Return a dataset by its id or name."""
    return Call("GET", _at("datasets", dataset), is_repeatable=True)


def datasets(**query: Unpack[ListQuery]) -> Call[PageBody[DatasetBody]]:
    """List datasets in the order they were imported."""
    return Call("GET", "/v1/datasets", given(**query), is_repeatable=True)


def pairs(dataset: str, **query: Unpack[ListQuery]) -> Call[PageBody[PairBody]]:
    """List the pairs of a dataset as canonical rows, in the order of the file."""
    return Call("GET", _at("datasets", dataset, "pairs"), given(**query), is_repeatable=True)


def delete_dataset(dataset: str, *, force: bool = False) -> Call[None]:
    """Delete a dataset with all that hangs on it; `force` also where certificates rest on it."""
    return Call("DELETE", _at("datasets", dataset), {"force": str(force).lower()})


def add_labels(labels: Sequence[Label]) -> Call[LabelsBody]:
    """Store what people said of pairs, all or nothing."""
    return Call("POST", "/v1/labels", body={"labels": list(labels)}, takes_key=True)


def check_labels(labels: Sequence[Label]) -> Call[CheckedBody]:
    """Refuse what `add_labels` would refuse; nothing is stored."""
    return Call("POST", "/v1/labels/check", body={"labels": list(labels)}, is_repeatable=True)


def labels(
    dataset: str | None = None, *, history: bool = False, **query: Unpack[ListQuery]
) -> Call[PageBody[LabelBody]]:
    """List labels in the order they came; `history`: replaced ones, too."""
    asked = given(dataset=dataset, history=str(history).lower(), **query)
    return Call("GET", "/v1/labels", asked, is_repeatable=True)


def judges(**query: Unpack[ListQuery]) -> Call[PageBody[JudgeBody]]:
    """List the configured judges, with prices and health."""
    return Call("GET", "/v1/judges", given(**query), is_repeatable=True)


def cascades(**query: Unpack[ListQuery]) -> Call[PageBody[CascadeBody]]:
    """List the configured cascades, judges from cheap to strong."""
    return Call("GET", "/v1/cascades", given(**query), is_repeatable=True)
