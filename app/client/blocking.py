"""A client of the service: against a server, or against the service in this very process.

`Tribunal` blocks, `AsyncTribunal` is awaited; both have the same verbs, by themselves and in groups
(`client.datasets.list()`). They return the JSON that the server sent, typed by `bodies`,
and raise what `errors` names. Lists are fetched page by page while they are gone through.
What a server was too busy for, or never got, is asked again.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, Unpack, cast

import httpx

from app.api.bodies import BatchBody, DatasetBody, ReportBody, VerdictBody
from app.api.certificate_bodies import CertificateBody
from app.client import requests
from app.client.bodies_in import CertifyRequest, ImportOptions, ReportQuery
from app.client.display import batch_bar, spinner
from app.client.errors import (
    CannotConnect,
    ConnectionLost,
    NotReady,
    TribunalClientError,
)
from app.client.http import (
    LOOK_TIMEOUT,
    MAX_RETRIES,
    PATIENCE_S,
    TIMEOUT,
    UNFINISHED,
    OnLost,
    Patience,
    Retries,
    address_of,
    checked,
    explained,
    has_ended,
    headers_of,
    later,
    options_of,
)
from app.client.in_process import InProcessTransport
from app.client.paging import Pages, Verdicts
from app.client.requests import Blocking, Call, Json
from app.client.resources import Verbs
from app.client.transfer import Exports, upload_of

if TYPE_CHECKING:
    from app.core.settings import Settings


class Tribunal(Exports, Verbs[Blocking]):
    """The verbs of the service; each returns when it is done.

    Args:
        base_url: Where the server is; without a scheme `http://` is meant. None: the service runs
            in this process, on the database and judges of `settings`, and stops with the client.
        api_key: A key of the server; the service in this process needs none.
        settings: Settings of the service in this process.
        transport: Replaces the network.
        max_retries: How often a request is sent again that a server was too busy for (429, 503) or
            never got. What a server may have done already is sent again only where that does no
            harm.

    Raises:
        ConnectionInvalid: the address or the key cannot be used as it is written.
    """

    def __init__(  # where, who, how: by keyword
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        settings: Settings | None = None,
        transport: httpx.BaseTransport | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        address = address_of(base_url) if base_url else "http://127.0.0.1"
        if not base_url and transport is None:
            transport = InProcessTransport(settings)
        self._is_remote = bool(base_url)
        self._max_retries = max_retries
        self._stack = ExitStack()
        self._http: httpx.Client = self._stack.enter_context(
            httpx.Client(
                base_url=address, headers=headers_of(api_key), transport=transport, timeout=TIMEOUT
            )
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
        created = self.create_calibration(**request)
        if created["status"] not in UNFINISHED:
            return created
        return self.wait_for_calibration(created["id"])

    def wait_for_calibration(
        self,
        calibration_id: str,
        *,
        patience_s: float = PATIENCE_S,
        on_lost: OnLost | None = None,
        progress: bool | None = None,
    ) -> CertificateBody:
        """Return a certificate when it is made; `progress` and lost connections are as in `wait`."""
        call = requests.calibration(calibration_id)
        with spinner("calibrating", progress):
            for body in self._looks(call, Patience(patience_s, on_lost)):
                if body["status"] not in UNFINISHED:
                    return cast(CertificateBody, body)
        raise AssertionError("looks do not end")

    def wait(
        self,
        batch_id: str,
        *,
        on_progress: Callable[[BatchBody], None] | None = None,
        patience_s: float = PATIENCE_S,
        on_lost: OnLost | None = None,
        progress: bool | None = None,
    ) -> BatchBody:
        """Return a batch when it has ended.

        Args:
            batch_id: Which batch.
            on_progress: Told of every look.
            patience_s: How long a server may be away before its absence is an error.
            on_lost: Told once whenever the server goes away.
            progress: Whether a bar on standard error shows how far it is; None: in a terminal.

        Raises:
            CannotConnect: the server was away for longer than `patience_s`.
            ConnectionLost: likewise.
            NotReady: likewise.
        """
        patience = Patience(patience_s, on_lost)
        with batch_bar(progress) as show:
            for body in self._looks(requests.batch(batch_id), patience):
                found = cast(BatchBody, body)
                for tell in (show, on_progress):
                    if tell is not None:
                        tell(found)
                if has_ended(found):
                    return found
        raise AssertionError("looks do not end")

    def batch_results(self, batch_id: str) -> Verdicts:
        """Return an ended batch's verdicts, as they arrive."""
        return Verdicts(self._streamed(requests.results_of(batch_id)))

    def report(self, **query: Unpack[ReportQuery]) -> ReportBody:
        """Return an agreement report; waits where it takes long."""
        first = self._perform(requests.report(**query))
        if first.get("status") not in UNFINISHED:
            return cast(ReportBody, first)
        for found in self._looks(requests.stored_report(first["id"]), Patience(PATIENCE_S, None)):
            if found["status"] not in UNFINISHED:
                return cast(ReportBody, found)
        raise AssertionError("looks do not end")

    def _streamed(self, path: str) -> Iterator[VerdictBody]:
        with explained(self._http.base_url), self._http.stream("GET", path) as response:
            if not response.is_success:
                response.read()
                checked(response)
            for line in response.iter_lines():
                yield json.loads(line)

    def _looks(self, call: Call[Any], patience: Patience) -> Iterator[Json]:
        """Look at something again and again, ever more slowly."""
        pause = 0.0
        while True:
            try:
                found = self._send(call.method, call.path, timeout=LOOK_TIMEOUT)
            except (CannotConnect, ConnectionLost, NotReady) as error:
                patience.bear(error)
            else:
                patience.renew()
                yield found
            pause = later(pause)
            time.sleep(pause)

    def _perform(self, call: Call[Any]) -> Any:
        key = uuid.uuid4().hex if call.takes_key and self._is_remote else None
        options = options_of(call, key)
        is_repeatable = call.is_repeatable or key is not None
        retries = Retries(self._max_retries)
        while True:
            try:
                return self._send(call.method, call.path, **options)
            except TribunalClientError as error:
                time.sleep(retries.pause_after(error, is_repeatable=is_repeatable))

    def _pages(self, call: Call[Any]) -> Pages[Any]:
        def fetch(after: str | None) -> Json:
            params = call.params if after is None else {**call.params, "after": after}
            return cast(Json, self._perform(replace(call, params=params)))

        return Pages(fetch)

    def _send(self, method: str, path: str, **options: Any) -> Json:
        with explained(self._http.base_url):
            return checked(self._http.request(method, path, **options))
