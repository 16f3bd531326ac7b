"""The requests of the service, one function for each.

A `Verb` turns a function that describes a request into a method. On a blocking client the method
returns the answer, on an asynchronous one an awaitable of it; a `Listing` likewise returns pages.
Type checkers see which.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, overload
from urllib.parse import quote

from app.bodies.batches import BatchBody
from app.bodies.certificates import CertificateBody, ExperimentBody, KnownPromptsBody, PlanBody
from app.bodies.common import (
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
    VerdictBody,
)
from app.bodies.leaderboards import LeaderboardBody
from app.bodies.reports import ReportBody
from app.client.bodies_in import (
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
from app.client.paging import AsyncPages, Pages

Json = dict[str, Any]
P = ParamSpec("P")
AnswerT = TypeVar("AnswerT")
RowT = TypeVar("RowT")
ModeT = TypeVar("ModeT")


class Blocking:
    """Marks clients whose methods return answers."""


class Awaited:
    """Marks clients whose methods return awaitables."""


@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT]):
    """A request, before anything is sent.

    Attributes:
        method: The HTTP method.
        path: Below the server's address.
        params: The query of the address.
        body: Sent as JSON, if there is one.
        is_repeatable: Sending it twice has the effect of sending it once, so that it is sent again
            where the answer was lost.
        takes_key: The server keeps its answer under an `Idempotency-Key`.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    is_repeatable: bool = False
    takes_key: bool = False


class Performs(Generic[ModeT]):
    """Sends what calls describe."""

    def _perform(self, call: Call[Any]) -> Any:
        raise NotImplementedError

    def _pages(self, call: Call[Any]) -> Any:
        raise NotImplementedError


class Resource(Performs[ModeT]):
    """A group of verbs, sent by a client."""

    def __init__(self, client: Performs[ModeT]) -> None:
        self._client = client

    def _perform(self, call: Call[Any]) -> Any:
        return self._client._perform(call)

    def _pages(self, call: Call[Any]) -> Any:
        return self._client._pages(call)


class Verb(Generic[P, AnswerT]):
    """A method whose request a function describes."""

    def __init__(self, describe: Callable[P, Call[AnswerT]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Verb[P, AnswerT]: ...
    @overload
    def __get__(self, client: Performs[Blocking], owner: type) -> Callable[P, AnswerT]: ...
    @overload
    def __get__(
        self, client: Performs[Awaited], owner: type
    ) -> Callable[P, Coroutine[Any, Any, AnswerT]]: ...
    def __get__(self, client: Performs[Any] | None, owner: type) -> Any:
        """Return the method of a client."""
        if client is None:
            return self

        @wraps(self.describe)
        def send(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client._perform(self.describe(*args, **kwargs))

        return send


class Listing(Generic[P, RowT]):
    """A method that returns a list, page by page; a function describes its first page."""

    def __init__(self, describe: Callable[P, Call[PageBody[RowT]]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Listing[P, RowT]: ...
    @overload
    def __get__(self, client: Performs[Blocking], owner: type) -> Callable[P, Pages[RowT]]: ...
    @overload
    def __get__(self, client: Performs[Awaited], owner: type) -> Callable[P, AsyncPages[RowT]]: ...
    def __get__(self, client: Performs[Any] | None, owner: type) -> Any:
        """Return the method of a client."""
        if client is None:
            return self

        @wraps(self.describe)
        def turn(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client._pages(self.describe(*args, **kwargs))

        return turn


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _at(collection: str, name: str, *rest: str) -> str:
    """Return the path of one thing; a slash in its name does not divide the path."""
    return "/".join([f"/v1/{collection}", quote(name, safe=""), *rest])


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


def revoke_calibration(calibration_id: str) -> Call[CertificateBody]:
    """Revoke a certificate; from then on its verdicts promise nothing."""
    return Call("POST", _at("calibrations", calibration_id, "revoke"), is_repeatable=True)


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
    """Return verdicts on up to 256 pairs."""
    body = {"pairs": list(pairs), **request}
    return Call("POST", "/v1/judgments", body=body, takes_key=True)


def verdicts(**query: Unpack[VerdictQuery]) -> Call[PageBody[VerdictBody]]:
    """List stored verdicts, newest first."""
    return Call("GET", "/v1/judgments", given(**query), is_repeatable=True)


def create_batch(**request: Unpack[BatchRequest]) -> Call[BatchBody]:
    """Start judging a dataset."""
    return Call("POST", "/v1/batches", body=request, takes_key=True)


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


def report(**query: Unpack[ReportQuery]) -> Call[ReportBody]:
    """Return an agreement report."""
    return Call("GET", "/v1/reports/agreement", given(**query), is_repeatable=True)


def stored_report(report_id: str) -> Call[ReportBody]:
    """Return a report that was made before."""
    return Call("GET", _at("reports", report_id), is_repeatable=True)


def reports(**query: Unpack[ListQuery]) -> Call[PageBody[ReportBody]]:
    """List reports, newest first."""
    return Call("GET", "/v1/reports", given(**query), is_repeatable=True)


def dataset(dataset: str) -> Call[DatasetBody]:
    """Return a dataset by its id or name."""
    return Call("GET", _at("datasets", dataset), is_repeatable=True)


def datasets(**query: Unpack[ListQuery]) -> Call[PageBody[DatasetBody]]:
    """List datasets, those imported last first."""
    return Call("GET", "/v1/datasets", given(**query), is_repeatable=True)


def pairs(dataset: str, **query: Unpack[ListQuery]) -> Call[PageBody[PairBody]]:
    """List the pairs of a dataset as canonical rows, in the order of the file."""
    return Call("GET", _at("datasets", dataset, "pairs"), given(**query), is_repeatable=True)


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


def judges(**query: Unpack[ListQuery]) -> Call[PageBody[JudgeBody]]:
    """List the configured judges, with prices and health."""
    return Call("GET", "/v1/judges", given(**query), is_repeatable=True)


def cascades(**query: Unpack[ListQuery]) -> Call[PageBody[CascadeBody]]:
    """List the configured cascades, judges from cheap to strong."""
    return Call("GET", "/v1/cascades", given(**query), is_repeatable=True)
