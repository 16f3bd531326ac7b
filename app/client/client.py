"""The client whose methods are awaited."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, Unpack, cast
from weakref import WeakSet

import httpx
from anyio import sleep

from app.bodies.batches import BatchBody, FileBody
from app.bodies.certificates import CertificateBody
from app.bodies.datasets import DatasetBody, PreviewBody
from app.bodies.health import HealthCardBody
from app.bodies.judgments import ResultBody
from app.bodies.reports import ReportBody
from app.client.bodies_in import CertifyRequest, HealthRequest, ImportOptions, ReportQuery
from app.client.calls import Awaited, Call, Json
from app.client.display import batch_bar, spinner
from app.client.errors import (
    CannotConnect,
    ConnectionInvalid,
    ConnectionLost,
    NotReady,
    TribunalClientError,
)
from app.client.http import (
    LISTENING,
    LOOK_TIMEOUT,
    MAX_RETRIES,
    PATIENCE_S,
    RESULT_FORMS,
    TIMEOUT,
    UNFINISHED,
    LastEvent,
    OnLost,
    Patience,
    ResultForm,
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
from app.client.requests import boards, data, judging, paths, people
from app.client.resources import Verbs
from app.client.transfer import Source, requests_of, upload_of
from judges.proxies import certificates, proxy_problem

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
        self._streams: WeakSet[AsyncGenerator[list[ResultBody], None]] = WeakSet()
        self._http = httpx.AsyncClient(
            base_url=address,
            headers=headers_of(api_key),
            transport=transport,
            timeout=TIMEOUT,
            verify=True if transport else certificates(),
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
            try:
                return await self._send("POST", "/v1/datasets", params=params, **content)
            except TribunalClientError as error:
                for failure in upload.failures:
                    raise failure from error
                raise

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
        call = judging.calibration(calibration_id)
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
            async for body in self._looks(judging.batch(batch_id), patience_s, on_lost):
                found = cast(BatchBody, body)
                show(found)
                if on_progress is not None:
                    await in_caller(on_progress, found)
                if has_ended(found):
                    return found
        raise AssertionError("looks do not end")

    def batch_events(self, batch_id: str) -> AsyncIterator[BatchBody]:
        """Yield a batch whenever more of it is judged, until it has ended.

        A stream of the server that breaks off is taken up again.
        """
        return (batch async for [batch] in self._events(batch_id))

    def batch_results(
        self, batch_id: str, *, texts: bool = False, reasons: bool = False
    ) -> AsyncVerdicts:
        """Return an ended batch's verdicts as they arrive.

        Args:
            batch_id: Which batch.
            texts: Whether each carries the texts of its pair.
            reasons: Whether they carry the reasons that judges gave.
        """
        return AsyncVerdicts(self._stream(batch_id, paths.carried(texts=texts, reasons=reasons)))

    async def write_results(
        self,
        batch_id: str,
        target: BinaryIO,
        *,
        form: ResultForm = "ndjson",
        texts: bool = False,
        reasons: bool = False,
    ) -> None:
        """Write an ended batch's verdicts to a binary file, in a form and with what is wanted."""
        query = paths.carried(texts=texts, reasons=reasons)
        headers = {"accept": RESULT_FORMS[form]}
        await self._fetch(judging.results_of(batch_id), target, query, headers)

    async def report(self, **query: Unpack[ReportQuery]) -> ReportBody:
        """Return an agreement report; waits where it takes long."""
        first = await self._perform(boards.report(**query))
        if first.get("status") not in UNFINISHED:
            return cast(ReportBody, first)
        return await self._finished_report(first["id"])

    async def health_card(self, **request: Unpack[HealthRequest]) -> HealthCardBody:
        """Return the health card of a judge; waits where its report takes long.

        Args:
            **request: `dataset` and `judge`; `lines` moves lines of the card, or drops one that is
                None.
        """
        first = await self._perform(boards.health(**request))
        if first.get("status") not in UNFINISHED:
            return cast(HealthCardBody, first)
        report = await self._finished_report(first["id"])
        card = boards.health_of(report["id"], request["judge"], lines=request.get("lines"))
        return cast(HealthCardBody, await self._perform(card))

    async def _finished_report(self, report_id: str) -> ReportBody:
        async for found in self._looks(boards.stored_report(report_id), PATIENCE_S, None):
            if found["status"] not in UNFINISHED:
                return cast(ReportBody, found)
        raise AssertionError("looks do not end")

    async def upload_file(self, source: Path | BinaryIO) -> FileBody:
        """Upload a file of requests, for a batch in OpenAI's form."""
        with requests_of(source) as upload:
            content = {"content": upload.content(), "headers": upload.headers}
            return cast(FileBody, await self._send("POST", "/v1/files", **content))

    async def file_content(self, file_id: str, target: BinaryIO) -> None:
        """Write a file to a binary file: one that was uploaded, or one that came of a batch."""
        await self._fetch(judging.content_of(file_id), target, {})

    async def metrics(self) -> str:
        """Return the metrics of the service in the Prometheus text format."""
        text = BytesIO()
        await self._fetch("/metrics", text, {})
        return text.getvalue().decode()

    async def export(self, /, ref: str, target: BinaryIO, **query: Any) -> dict[str, int]:
        """Write a dataset to a binary file in the format `format`; return what it cannot hold."""
        return await self._fetch(data.export_of(ref), target, query)

    async def export_queue(
        self,
        queue: str,
        target: BinaryIO,
        *,
        format: Literal["label_studio", "argilla"] = "label_studio",
    ) -> None:
        """Write what is left to label to a binary file as tasks of another tool, blind."""
        await self._fetch(people.tasks_of(queue), target, {"format": format})

    async def preferences(self, /, batch_id: str, target: BinaryIO, **query: Any) -> Json:
        """Write a batch's trusted preferences to a binary file; return their card."""
        path = judging.preferences_of(batch_id)
        card = await self._send("GET", f"{path}/card", params=query)
        await self._fetch(path, target, query)
        return card

    async def _fetch(
        self,
        path: str,
        target: BinaryIO,
        query: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, int]:
        """Write an answer to a file; return what its format cannot hold."""
        with explained(self._http.base_url):
            async with self._http.stream(
                "GET", path, params=dict(query), headers=headers
            ) as response:
                await _refuse(response)
                async for chunk in response.aiter_bytes():
                    await beside(target.write, chunk)
        loss: dict[str, int] = json.loads(response.headers.get("x-tribunal-loss", "{}"))
        return loss

    def _stream(self, batch_id: str, query: dict[str, str]) -> AsyncIterator[list[ResultBody]]:
        stream = self._verdicts(batch_id, query)
        self._streams.add(stream)
        return stream

    async def _verdicts(
        self, batch_id: str, query: dict[str, str]
    ) -> AsyncGenerator[list[ResultBody], None]:
        """Yield the verdicts of a batch, as many at a time as have arrived."""
        path = judging.results_of(batch_id)
        with explained(self._http.base_url):
            async with self._http.stream("GET", path, params=query) as response:
                await _refuse(response)
                rest = b""
                async for chunk in response.aiter_bytes():
                    *lines, rest = (rest + chunk).split(b"\n")
                    if lines:
                        yield [json.loads(line) for line in lines if line]
                if rest:
                    yield [json.loads(rest)]

    async def _events(self, batch_id: str) -> AsyncIterator[list[BatchBody]]:
        last: BatchBody | None = None
        async for batch in self._heard(batch_id) if self._is_remote else self._seen(batch_id):
            if batch != last:
                yield [batch]
            last = batch
            if has_ended(batch):
                return

    async def _seen(self, batch_id: str) -> AsyncIterator[BatchBody]:
        """Look at a batch of the service in this process, which hands over whole answers only."""
        async for found in self._looks(judging.batch(batch_id), PATIENCE_S, None):
            yield cast(BatchBody, found)

    async def _heard(self, batch_id: str) -> AsyncIterator[BatchBody]:
        """Listen to a batch of a server, and again where the stream breaks off."""
        patience, heard, pause = Patience(PATIENCE_S), LastEvent(), 0.0
        while True:
            try:
                with explained(self._http.base_url):
                    async with self._http.stream(
                        "GET",
                        judging.events_of(batch_id),
                        headers=heard.headers,
                        timeout=LISTENING,
                    ) as response:
                        await _refuse(response)
                        async for line in response.aiter_lines():
                            if (data := heard.take(line)) is not None:
                                patience.renew()
                                pause = 0.0
                                yield json.loads(data)
            except (CannotConnect, ConnectionLost, NotReady) as error:
                patience.bear(error)
            pause = later(pause)
            await sleep(pause)

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
