"""A client of the service: against a server, or against the service in this very process.

Every method returns the JSON that the server sent, typed by `client_bodies`, and
raises what `client_errors` names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, Unpack, cast
from urllib.parse import quote

import httpx

from app.client_bodies import (
    BatchBody,
    CanariesBody,
    CertificateBody,
    DatasetBody,
    JudgmentsBody,
    LeaderboardBody,
    PlanBody,
    ReportBody,
    VerdictBody,
)
from app.client_errors import (
    BadRequest,
    CannotConnect,
    Conflict,
    ConnectionInvalid,
    ConnectionLost,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotReady,
    NotTribunal,
    RequestRefused,
    ServerFailed,
    TooLarge,
    TribunalClientError,
    Unprocessable,
)
from app.client_exports import Exports
from app.client_http import Json, OnLost, Patience, address_of, checked, explained, key_of
from app.client_in_process import InProcessTransport
from app.client_requests import (
    BatchRequest,
    CanariesRequest,
    CertifyRequest,
    ImportOptions,
    JudgeRequest,
    LeaderboardRequest,
    Part,
    PlanRequest,
    ReportQuery,
)
from app.client_uploads import upload_of
from app.settings import Settings

__all__ = [
    "BadRequest",
    "CannotConnect",
    "Conflict",
    "ConnectionInvalid",
    "ConnectionLost",
    "InProcessTransport",
    "Json",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotReady",
    "NotTribunal",
    "Part",
    "RequestRefused",
    "ServerFailed",
    "TooLarge",
    "Tribunal",
    "TribunalClientError",
    "Unprocessable",
]

_TERMINAL: Final = ("completed", "failed", "expired", "cancelled")
_UNFINISHED: Final = ("pending", "running")
_PATIENCE_S: Final = 120.0
# an answer may take as long as the judges do; a look at how far they are may not
_TIMEOUT: Final = httpx.Timeout(None, connect=10)
_LOOK_TIMEOUT: Final = httpx.Timeout(30, connect=10)


class Tribunal(Exports):
    """The verbs of the service.

    Args:
        base_url: Where the server is; without a scheme `http://` is meant. None: the service runs
            in this process, on the database and judges of `settings`, and stops with the client.
        api_key: A key of the server; the service in this process needs none.
        settings: Settings of the service in this process.
        transport: Replaces the network.

    Raises:
        ConnectionInvalid: the address or the key cannot be used as it is written.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        settings: Settings | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        address = address_of(base_url) if base_url else "http://127.0.0.1"
        headers = {"Authorization": f"Bearer {key_of(api_key)}"} if api_key else {}
        if not base_url and transport is None:
            transport = InProcessTransport(settings or Settings())
        self._stack = ExitStack()
        self._http: httpx.Client = self._stack.enter_context(
            httpx.Client(base_url=address, headers=headers, transport=transport, timeout=_TIMEOUT)
        )

    def __enter__(self) -> Self:
        """Return the client; leaving the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close connections, and the service if it runs in this process."""
        self.close()

    def close(self) -> None:
        """Close connections, and the service if it runs in this process."""
        self._stack.close()

    def import_dataset(
        self,
        source: Path | Sequence[Path] | BinaryIO | Iterable[Mapping[str, Any]],
        *,
        name: str,
        **options: Unpack[ImportOptions],
    ) -> DatasetBody:
        """Import a file, several that belong together, or rows as a dataset.

        Args:
            source: Rows, an open file, a path, or a list of paths whose rows are joined.
            name: Of the dataset.
            **options: `dialect` and `strict`.
        """
        params = {"name": name, **options}
        with upload_of(source) as content:
            body = self._send("POST", "/v1/datasets", params=params, **content)
        return cast(DatasetBody, body)

    def certify(self, **request: Unpack[CertifyRequest]) -> CertificateBody:
        """Make a certificate; waits where judges must be asked first."""
        return self.wait_for_calibration(self.create_calibration(**request)["id"])

    def create_calibration(self, **request: Unpack[CertifyRequest]) -> CertificateBody:
        """Start a calibration; its status is `pending` where judges must be asked first."""
        return cast(CertificateBody, self.post("/v1/calibrations", request))

    def calibration(self, calibration_id: str) -> CertificateBody:
        """Return a certificate."""
        return cast(CertificateBody, self.get(f"/v1/calibrations/{quote(calibration_id, safe='')}"))

    def wait_for_calibration(
        self,
        calibration_id: str,
        *,
        patience_s: float = _PATIENCE_S,
        on_lost: OnLost | None = None,
    ) -> CertificateBody:
        """Return a certificate when it is made; lost connections are borne as in `wait`."""
        path = f"/v1/calibrations/{quote(calibration_id, safe='')}"
        for body in self._looks(path, Patience(patience_s, on_lost)):
            if body["status"] not in _UNFINISHED:
                return cast(CertificateBody, body)
        raise AssertionError("looks do not end")

    def plan(self, **request: Unpack[PlanRequest]) -> PlanBody:
        """Return what could be certified."""
        return cast(PlanBody, self.post("/v1/plans", request))

    def canaries(self, **request: Unpack[CanariesRequest]) -> CanariesBody:
        """Return how often judges follow what responses tell them to do."""
        return cast(CanariesBody, self.post("/v1/canaries", request))

    def judge(
        self, pairs: Sequence[Mapping[str, Any]], **request: Unpack[JudgeRequest]
    ) -> JudgmentsBody:
        """Return verdicts on up to 256 pairs."""
        body = self.post("/v1/judgments", {"pairs": list(pairs), **request})
        return cast(JudgmentsBody, body)

    def create_batch(self, **request: Unpack[BatchRequest]) -> BatchBody:
        """Start judging a dataset."""
        return cast(BatchBody, self.post("/v1/batches", request))

    def batch(self, batch_id: str) -> BatchBody:
        """Return a batch as it is now."""
        return cast(BatchBody, self.get(f"/v1/batches/{quote(batch_id, safe='')}"))

    def wait(
        self,
        batch_id: str,
        *,
        on_progress: Callable[[BatchBody], None] | None = None,
        patience_s: float = _PATIENCE_S,
        on_lost: OnLost | None = None,
    ) -> BatchBody:
        """Return a batch when it has ended; `on_progress` sees every look at it.

        Args:
            batch_id: Which batch.
            on_progress: Told of every look.
            patience_s: How long a server may be away before its absence is an error.
            on_lost: Told once whenever the server goes away.

        Raises:
            CannotConnect: the server was away for longer than `patience_s`.
            ConnectionLost: likewise.
            NotReady: likewise.
        """
        patience = Patience(patience_s, on_lost)
        for body in self._looks(f"/v1/batches/{quote(batch_id, safe='')}", patience):
            found = cast(BatchBody, body)
            if on_progress is not None:
                on_progress(found)
            if found["status"] in _TERMINAL:
                return found
        raise AssertionError("looks do not end")

    def batch_results(self, batch_id: str) -> Iterator[VerdictBody]:
        """Yield an ended batch's verdicts."""
        with (
            explained(self._http.base_url),
            self._http.stream("GET", f"/v1/batches/{quote(batch_id, safe='')}/results") as response,
        ):
            if not response.is_success:
                response.read()
                checked(response)
            for line in response.iter_lines():
                yield json.loads(line)

    def leaderboard(self, **request: Unpack[LeaderboardRequest]) -> LeaderboardBody:
        """Rank the models of a dataset."""
        return cast(LeaderboardBody, self.post("/v1/leaderboards", request))

    def report(self, **query: Unpack[ReportQuery]) -> ReportBody:
        """Return an agreement report."""
        return cast(ReportBody, self.get("/v1/reports/agreement", **query))

    def get(self, path: str, **query: Any) -> Json:
        """Return whatever the service has at `path`."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._send("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """Post to `path`."""
        if body is None:
            return self._send("POST", path)
        # in ASCII: rows may hold lone surrogates, which JSON can spell and UTF-8 cannot
        headers = {"content-type": "application/json"}
        return self._send("POST", path, content=json.dumps(body).encode("ascii"), headers=headers)

    def _looks(self, path: str, patience: Patience) -> Iterator[Json]:
        """Look at what is at `path` again and again, ever more slowly."""
        pause = 0.1
        while True:
            try:
                found = self._send("GET", path, timeout=_LOOK_TIMEOUT)
            except (CannotConnect, ConnectionLost, NotReady) as error:
                patience.bear(error)
            else:
                patience.renew()
                yield found
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    def _send(self, method: str, path: str, **options: Any) -> Json:
        with explained(self._http.base_url):
            return checked(self._http.request(method, path, **options))
