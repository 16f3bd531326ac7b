"""The client whose methods are awaited."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, Unpack, cast

import httpx
from anyio import Lock, sleep, to_thread

from app.api.bodies import BatchBody, DatasetBody, ReportBody, VerdictBody
from app.api.certificate_bodies import CertificateBody
from app.client import requests
from app.client.bodies_in import CertifyRequest, ImportOptions, ReportQuery
from app.client.display import batch_bar, spinner
from app.client.errors import CannotConnect, ConnectionLost, NotReady, TribunalClientError
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
from app.client.in_process import AsyncInProcessTransport
from app.client.paging import AsyncPages, AsyncVerdicts
from app.client.requests import Awaited, Call, Json
from app.client.resources import Verbs
from app.client.transfer import AsyncExports, upload_of

if TYPE_CHECKING:
    from app.core.settings import Settings


class AsyncTribunal(AsyncExports, Verbs[Awaited]):
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
            transport = AsyncInProcessTransport(settings)
        self._is_remote = bool(base_url)
        self._max_retries = max_retries
        self._stack = AsyncExitStack()
        self._opening = Lock()
        self._is_open = False
        self._http = httpx.AsyncClient(
            base_url=address, headers=headers_of(api_key), transport=transport, timeout=TIMEOUT
        )

    async def __aenter__(self) -> Self:
        """Open the client; leaving the block closes it."""
        await self._open()
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
        await self._stack.aclose()

    async def import_dataset(
        self,
        source: Path | Sequence[Path] | BinaryIO | Iterable[Mapping[str, Any]],
        *,
        name: str,
        **options: Unpack[ImportOptions],
    ) -> DatasetBody:
        """Import a file, several that belong together, or rows, as `Tribunal.import_dataset` does."""
        params = {"name": name, **options}
        with upload_of(source) as content:
            if "content" in content:
                content["content"] = _beside(content["content"])
            body = await self._send("POST", "/v1/datasets", params=params, **content)
        return cast(DatasetBody, body)

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
        """Return a certificate when it is made, as `Tribunal.wait_for_calibration` does."""
        call = requests.calibration(calibration_id)
        with spinner("calibrating", progress):
            async for body in self._looks(call, Patience(patience_s, on_lost)):
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
        """Return a batch when it has ended, as `Tribunal.wait` does."""
        patience = Patience(patience_s, on_lost)
        with batch_bar(progress) as show:
            async for body in self._looks(requests.batch(batch_id), patience):
                found = cast(BatchBody, body)
                for tell in (show, on_progress):
                    if tell is not None:
                        tell(found)
                if has_ended(found):
                    return found
        raise AssertionError("looks do not end")

    def batch_results(self, batch_id: str) -> AsyncVerdicts:
        """Return an ended batch's verdicts, to be gone through with `async for`."""
        return AsyncVerdicts(self._streamed(requests.results_of(batch_id)))

    async def report(self, **query: Unpack[ReportQuery]) -> ReportBody:
        """Return an agreement report; waits where it takes long."""
        first = await self._perform(requests.report(**query))
        if first.get("status") not in UNFINISHED:
            return cast(ReportBody, first)
        call = requests.stored_report(first["id"])
        async for found in self._looks(call, Patience(PATIENCE_S, None)):
            if found["status"] not in UNFINISHED:
                return cast(ReportBody, found)
        raise AssertionError("looks do not end")

    async def _streamed(self, path: str) -> AsyncIterator[VerdictBody]:
        await self._open()
        with explained(self._http.base_url):
            async with self._http.stream("GET", path) as response:
                if not response.is_success:
                    await response.aread()
                    checked(response)
                async for line in response.aiter_lines():
                    yield json.loads(line)

    async def _looks(self, call: Call[Any], patience: Patience) -> AsyncIterator[Json]:
        """Look at something again and again, ever more slowly."""
        pause = 0.0
        while True:
            try:
                found = await self._send(call.method, call.path, timeout=LOOK_TIMEOUT)
            except (CannotConnect, ConnectionLost, NotReady) as error:
                patience.bear(error)
            else:
                patience.renew()
                yield found
            pause = later(pause)
            await sleep(pause)

    async def _perform(self, call: Call[Any]) -> Any:
        key = uuid.uuid4().hex if call.takes_key and self._is_remote else None
        options = options_of(call, key)
        is_repeatable = call.is_repeatable or key is not None
        retries = Retries(self._max_retries)
        while True:
            try:
                return await self._send(call.method, call.path, **options)
            except TribunalClientError as error:
                await sleep(retries.pause_after(error, is_repeatable=is_repeatable))

    def _pages(self, call: Call[Any]) -> AsyncPages[Any]:
        async def fetch(after: str | None) -> Json:
            params = call.params if after is None else {**call.params, "after": after}
            return cast(Json, await self._perform(replace(call, params=params)))

        return AsyncPages(fetch)

    async def _send(self, method: str, path: str, **options: Any) -> Json:
        await self._open()
        with explained(self._http.base_url):
            return checked(await self._http.request(method, path, **options))

    async def _open(self) -> None:
        """Open the transport, once; it starts the service if that runs in this process."""
        async with self._opening:
            if not self._is_open:
                await self._stack.enter_async_context(self._http)
                self._is_open = True


async def _beside(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a body piece by piece; files are read beside the event loop."""
    while piece := await to_thread.run_sync(next, pieces, b""):
        yield piece
