"""A client of the service: against a server, or against the service in this very process.

    TribunalClientError
    +-- CannotConnect     nobody answers at this address
    +-- ConnectionLost    the server went away in the middle of an answer
    +-- RequestRefused    the server answered with a problem; `.status` and `.problem` hold it

Every method returns the JSON that the server sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from app.settings import Settings

Json = dict[str, Any]
Part = Mapping[str, Any]
_TERMINAL = ("completed", "failed", "expired", "cancelled")
_CHUNK_BYTES = 1 << 20
_PATIENCE_S = 60.0


class TribunalClientError(Exception):
    """Any error of this client."""


class CannotConnect(TribunalClientError):
    """Nobody answers at this address."""


class ConnectionLost(TribunalClientError):
    """The server went away in the middle of an answer; what it had stored is kept."""


class RequestRefused(TribunalClientError):
    """The server refused a request; `problem` is its RFC 9457 body."""

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(f"{status}: {problem.get('detail') or problem.get('title')}")
        self.status = status
        self.problem = problem


class Tribunal:
    """The verbs of the service.

    Args:
        base_url: Where the server is. None: the service runs in this process, on the database and
            judges of `settings`, and stops with the client.
        api_key: A key of the server.
        settings: Settings of the service in this process.
        transport: Replaces the network.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        settings: Settings | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._stack = ExitStack()
        if base_url is None and transport is None:
            transport = self._stack.enter_context(InProcessTransport(settings or Settings()))
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = self._stack.enter_context(
            httpx.Client(
                base_url=_with_scheme(base_url or "127.0.0.1"),
                headers=headers,
                transport=transport,
                timeout=httpx.Timeout(None, connect=10),
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
        self, source: Path | BinaryIO | Iterable[Mapping[str, Any]], *, name: str, **options: Any
    ) -> Json:
        """Import a file or rows as a dataset; `options` are `dialect` and `strict`."""
        headers = {"content-type": "application/x-ndjson"}
        if isinstance(source, Path):
            with source.open("rb") as opened:
                return self.import_dataset(opened, name=name, **options)
        params = {"name": name, **options}
        return self._send(
            "POST", "/v1/datasets", params=params, content=_chunks(source), headers=headers
        )

    def certify(self, **request: Any) -> Json:
        """Make a certificate; waits where judges must be asked first."""
        certificate = self._send("POST", "/v1/calibrations", json=request)
        while certificate["status"] in ("pending", "running"):
            time.sleep(0.5)
            certificate = self.get(f"/v1/calibrations/{certificate['id']}")
        return certificate

    def plan(self, **request: Any) -> Json:
        """Return what could be certified."""
        return self._send("POST", "/v1/plans", json=request)

    def judge(self, pairs: Sequence[Mapping[str, Any]], **request: Any) -> Json:
        """Return verdicts on up to 256 pairs."""
        return self._send("POST", "/v1/judgments", json={"pairs": list(pairs), **request})

    def create_batch(self, **request: Any) -> Json:
        """Start judging a dataset."""
        return self._send("POST", "/v1/batches", json=request)

    def wait(
        self,
        batch_id: str,
        *,
        on_progress: Callable[[Json], None] | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> Json:
        """Return a batch when it has ended; `on_progress` sees every look at it.

        A server that goes away may come back within `patience_s`: the batch goes on from where it
        was.

        Raises:
            TribunalClientError: the server stayed away, or refused.
        """
        pause = 0.1
        away_since: float | None = None
        while True:
            try:
                batch = self.get(f"/v1/batches/{batch_id}")
            except (CannotConnect, ConnectionLost):
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > patience_s:
                    raise
                time.sleep(min(1.0, patience_s / 10))
                continue
            away_since = None
            if on_progress is not None:
                on_progress(batch)
            if batch["status"] in _TERMINAL:
                return batch
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    def batch_results(self, batch_id: str) -> Iterator[Json]:
        """Yield an ended batch's verdicts."""
        try:
            with self._http.stream("GET", f"/v1/batches/{batch_id}/results") as response:
                if response.status_code >= 400:
                    response.read()
                    _checked(response)
                for line in response.iter_lines():
                    yield json.loads(line)
        except httpx.TransportError as error:
            raise ConnectionLost(
                f"the connection was lost while reading the results of {batch_id}: {error}"
            ) from error

    def leaderboard(self, **request: Any) -> Json:
        """Rank the models of a dataset."""
        return self._send("POST", "/v1/leaderboards", json=request)

    def report(self, **query: Any) -> Json:
        """Return an agreement report."""
        return self.get("/v1/reports/agreement", **query)

    def get(self, path: str, **query: Any) -> Json:
        """Return whatever the service has at `path`."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._send("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """Post to `path`."""
        return self._send("POST", path, json=body)

    def _send(self, method: str, path: str, **options: Any) -> Json:
        try:
            response = self._http.request(method, path, **options)
        except httpx.ConnectError as error:
            raise CannotConnect(f"nobody answers at {self._http.base_url}: {error}") from error
        except httpx.TransportError as error:
            raise ConnectionLost(
                f"the connection to {self._http.base_url} was lost: {error or type(error).__name__}"
            ) from error
        return _checked(response)


def _with_scheme(address: str) -> str:
    """Take an address without a scheme for http."""
    return address if "://" in address else f"http://{address}"


def _checked(response: httpx.Response) -> Json:
    try:
        body: Json = response.json()
    except ValueError:
        body = {"detail": response.text[:500]}
    if response.status_code >= 400:
        raise RequestRefused(response.status_code, body)
    return body


def _chunks(source: BinaryIO | Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    read = getattr(source, "read", None)
    if read is None:
        for row in source:
            yield json.dumps(row).encode() + b"\n"
        return
    while chunk := read(_CHUNK_BYTES):
        yield chunk


class InProcessTransport(httpx.BaseTransport):
    """Serves requests by the service itself, on an event loop in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._asgi: httpx.ASGITransport | None = None

    def __enter__(self) -> Self:
        """Start the service."""
        from app.main import create_app  # the client of a remote server needs none of this

        app = create_app(self._settings)
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._stack.enter_context(
            self._portal.wrap_async_context_manager(app.router.lifespan_context(app))
        )
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
        return self

    def close(self) -> None:
        """Stop the service."""
        self._stack.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        assert self._portal is not None
        return self._portal.call(self._handle, request)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        assert self._asgi is not None
        inner = httpx.Request(
            request.method, request.url, headers=request.headers, stream=_Body(request.stream)
        )
        response = await self._asgi.handle_async_request(inner)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


class _Body(httpx.AsyncByteStream):
    """A request body that is read chunk by chunk, so that a large file never is in memory."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> Any:
        for chunk in self._stream:
            yield chunk
