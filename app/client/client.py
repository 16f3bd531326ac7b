"""The client whose methods are awaited."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, Unpack, cast
from weakref import WeakSet

import httpx
from anyio import sleep

from app.bodies.batches import BatchBody
from app.bodies.certificates import CertificateBody
from app.bodies.common import DatasetBody, PreviewBody, VerdictBody
from app.bodies.reports import ReportBody
from app.client import requests
from app.client.bodies_in import CertifyRequest, ImportOptions, ReportQuery
from app.client.display import batch_bar, spinner
from app.client.errors import CannotConnect, ConnectionInvalid, ConnectionLost, NotReady
from app.client.http import (
    LOOK_TIMEOUT,
    MAX_RETRIES,
    PATIENCE_S,
    TIMEOUT,
    UNFINISHED,
    OnLost,
    Patience,
    address_of,
    attempts,
    checked,
    explained,
    has_ended,
    headers_of,
    later,
    options_of,
)
from app.client.in_process import InProcessTransport
from app.client.paging import AsyncPages, AsyncVerdicts
from app.client.portal import beside, in_caller
from app.client.requests import Awaited, Call, Json
from app.client.resources import Verbs
from app.client.transfer import Source, upload_of
from judges.proxies import proxy_problem

if TYPE_CHECKING:
    from app.core.settings import Settings


class AsyncTribunal(Verbs[Awaited]):
    """The verbs of the service; each is awaited.

    The arguments are those of `Tribunal`. The service in this process starts with `async with`, or
    with the first request, on the event loop of its caller.

    Raises:
        ConnectionInvalid: the address or the key cannot be used as it is written.
    """

    def __init__(  # where, who, how: by keyword
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        settings: Settings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        address = address_of(base_url) if base_url else "http://127.0.0.1"
        if not base_url and transport is None:
            transport = InProcessTransport(settings)
        if not isinstance(transport, httpx.AsyncBaseTransport | None):
            raise TypeError("transport: must be an httpx.AsyncBaseTransport, for both clients")
        if transport is None and (problem := proxy_problem()) is not None:
            raise ConnectionInvalid(problem)
        self._is_remote = bool(base_url)
        self._max_retries = max_retries
        self._transport = transport
        self._streams: WeakSet[AsyncGenerator[list[VerdictBody], None]] = WeakSet()
        self._http = httpx.AsyncClient(
            base_url=address, headers=headers_of(api_key), transport=transport, timeout=TIMEOUT
        )

    async def __aenter__(self) -> Self:
        """Open the client; leaving the block closes it."""
        if self._transport is not None:
            await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close connections, and the service if it runs in this process."""
        await self.close()

    async def close(self) -> None:
        """Close connections, and the service if it runs in this process."""
        for stream in tuple(self._streams):
            with suppress(RuntimeError):  # another task waits for its next piece
                await stream.aclose()
        await self._http.aclose()

    async def import_dataset(
        self, source: Source, *, name: str, **options: Unpack[ImportOptions]
    ) -> DatasetBody:
        """Import a file, several that belong together, or rows as a dataset.

        Args:
            source: Rows, a data frame, an open file, a path, or a list of paths whose rows are
                joined.
            name: Of the dataset.
            **options: `dialect`, `strict`; `map` (columns by field), `coding` (labels by value),
                `delimiter`, and which annotators are `people` or `judges`.
        """
        return cast(DatasetBody, await self._upload(source, {"name": name, **options}))

    async def preview_dataset(
        self, source: Source, *, name: str = "preview", **options: Unpack[ImportOptions]
    ) -> PreviewBody:
        """Return what `import_dataset` would store, with the first rows; nothing is stored."""
        params = {"name": name, "dry_run": True, **options}
        return cast(PreviewBody, await self._upload(source, params))

    async def _upload(self, source: Source, options: Mapping[str, Any]) -> Json:
        params = {
            key: json.dumps(value) if isinstance(value, Mapping) else value
            for key, value in options.items()
        }
        with upload_of(source) as upload:
            content = {"content": upload.content(), "headers": upload.headers}
            return await self._send("POST", "/v1/datasets", params=params, **content)

    async def certify(self, **request: Unpack[CertifyRequest]) -> CertificateBody:
        """Make a certificate; waits where judges must be asked first."""
        created = await self.create_calibration(**request)
        if created["status"] not in UNFINISHED:
            return created
        return await self.wait_for_calibration(created["id"])

    async def wait_for_calibration(
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
            async for body in self._looks(call, patience_s, on_lost):
                if body["status"] not in UNFINISHED:
                    return cast(CertificateBody, body)
        raise AssertionError("looks do not end")

    async def wait(
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
            on_progress: Called with the batch at every look.
            patience_s: How long a server may be away before its absence is an error.
            on_lost: Called once whenever the server goes away.
            progress: Whether a bar on standard error shows how far it is; None: in a terminal.

        Raises:
            CannotConnect: the server was away for longer than `patience_s`.
            ConnectionLost: likewise.
            NotReady: likewise.
        """
        with batch_bar(progress) as show:
            async for body in self._looks(requests.batch(batch_id), patience_s, on_lost):
                found = cast(BatchBody, body)
                show(found)
                if on_progress is not None:
                    await in_caller(on_progress, found)
                if has_ended(found):
                    return found
        raise AssertionError("looks do not end")

    def batch_results(self, batch_id: str) -> AsyncVerdicts:
        """Return an ended batch's verdicts, as they arrive."""
        return AsyncVerdicts(self._stream(batch_id))

    async def report(self, **query: Unpack[ReportQuery]) -> ReportBody:
        """Return an agreement report; waits where it takes long."""
        first = await self._perform(requests.report(**query))
        if first.get("status") not in UNFINISHED:
            return cast(ReportBody, first)
        async for found in self._looks(requests.stored_report(first["id"]), PATIENCE_S, None):
            if found["status"] not in UNFINISHED:
                return cast(ReportBody, found)
        raise AssertionError("looks do not end")

    async def export(self, /, ref: str, target: BinaryIO, **query: Any) -> dict[str, int]:
        """Write a dataset to a binary file in the format `format`; return what it cannot hold."""
        return await self._fetch(requests.export_of(ref), target, query)

    async def preferences(self, /, batch_id: str, target: BinaryIO, **query: Any) -> Json:
        """Write a batch's trusted preferences to a binary file; return their card."""
        path = requests.preferences_of(batch_id)
        card = await self._send("GET", f"{path}/card", params=query)
        await self._fetch(path, target, query)
        return card

    async def _fetch(self, path: str, target: BinaryIO, query: Mapping[str, Any]) -> dict[str, int]:
        """Write an answer to a file; return what its format cannot hold."""
        with explained(self._http.base_url):
            async with self._http.stream("GET", path, params=dict(query)) as response:
                await _refuse(response)
                async for chunk in response.aiter_bytes():
                    await beside(target.write, chunk)
        loss: dict[str, int] = json.loads(response.headers.get("x-tribunal-loss", "{}"))
        return loss

    def _stream(self, batch_id: str) -> AsyncIterator[list[VerdictBody]]:
        stream = self._verdicts(batch_id)
        self._streams.add(stream)
        return stream

    async def _verdicts(self, batch_id: str) -> AsyncGenerator[list[VerdictBody], None]:
        """Yield the verdicts of a batch, as many at a time as have arrived."""
        with explained(self._http.base_url):
            async with self._http.stream("GET", requests.results_of(batch_id)) as response:
                await _refuse(response)
                rest = b""
                async for chunk in response.aiter_bytes():
                    *lines, rest = (rest + chunk).split(b"\n")
                    if lines:
                        yield [json.loads(line) for line in lines if line]
                if rest:
                    yield [json.loads(rest)]

    async def _looks(
        self, call: Call[Any], patience_s: float, on_lost: OnLost | None
    ) -> AsyncIterator[Json]:
        """Look at something again and again, ever more slowly."""
        patience, pause = Patience(patience_s), 0.0
        while True:
            try:
                found = await self._send(call.method, call.path, timeout=LOOK_TIMEOUT)
            except (CannotConnect, ConnectionLost, NotReady) as error:
                if patience.bear(error) and on_lost is not None:
                    await in_caller(on_lost, error)
            else:
                patience.renew()
                yield found
            pause = later(pause)
            await sleep(pause)

    async def _perform(self, call: Call[Any]) -> Any:
        key = uuid.uuid4().hex if call.takes_key and self._is_remote else None
        options = options_of(call, key)
        is_repeatable = call.is_repeatable or key is not None
        async for attempt in attempts(self._max_retries, is_repeatable=is_repeatable):
            with attempt:
                return await self._send(call.method, call.path, **options)
        raise AssertionError("the last attempt returns or raises")

    def _pages(self, call: Call[Any]) -> AsyncPages[Any]:
        async def fetch(after: str | None) -> Json:
            params = call.params if after is None else {**call.params, "after": after}
            return cast(Json, await self._perform(replace(call, params=params)))

        return AsyncPages(fetch)

    async def _send(self, method: str, path: str, **options: Any) -> Json:
        with explained(self._http.base_url):
            return checked(await self._http.request(method, path, **options))


async def _refuse(response: httpx.Response) -> None:
    """Raise what an answer that is no success says."""
    if not response.is_success:
        await response.aread()
        checked(response)
