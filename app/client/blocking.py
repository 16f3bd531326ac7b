"""The client whose methods block: each runs the awaited one of the same name.

Its event loop runs in a thread of its own, so that it works beside any other loop, such as that
of a notebook, and may be used by several threads.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from itertools import chain
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from app.bodies.batches import BatchBody
from app.client.calls import Blocking, Call
from app.client.client import AsyncTribunal
from app.client.http import MAX_RETRIES
from app.client.paging import Pages, Verdicts
from app.client.portal import Portal
from app.client.requests import paths
from app.client.resources import Verbs

if TYPE_CHECKING:
    from app.core.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


def blocking(
    awaited: Callable[Concatenate[AsyncTribunal, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Tribunal, P], T]:
    """Return a function that takes the blocking client, and returns when the awaited one does."""

    @wraps(awaited)
    def run(client: Tribunal, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._portal().run(awaited, client._awaited, *args, **kwargs)

    return run


class Tribunal(Verbs[Blocking]):
    """The verbs of the service; each returns when it is done.

    The client opens with `with`, or with the first request, and closes at the latest when the
    interpreter exits. Several threads may use it; another process needs one of its own.

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
        transport: httpx.AsyncBaseTransport | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        self._awaited = AsyncTribunal(
            base_url, api_key=api_key, settings=settings, transport=transport,
            max_retries=max_retries,
        )  # fmt: skip
        self._opening = Lock()
        self._opened: Portal | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        """Open the client; leaving the block closes it."""
        self._portal()
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
        self._is_closed = True
        if self._opened is not None:
            self._opened.close()

    import_dataset = blocking(AsyncTribunal.import_dataset)
    preview_dataset = blocking(AsyncTribunal.preview_dataset)
    certify = blocking(AsyncTribunal.certify)
    wait_for_calibration = blocking(AsyncTribunal.wait_for_calibration)
    wait = blocking(AsyncTribunal.wait)
    report = blocking(AsyncTribunal.report)
    export = blocking(AsyncTribunal.export)
    export_queue = blocking(AsyncTribunal.export_queue)
    preferences = blocking(AsyncTribunal.preferences)
    health_card = blocking(AsyncTribunal.health_card)
    upload_file = blocking(AsyncTribunal.upload_file)
    file_content = blocking(AsyncTribunal.file_content)
    metrics = blocking(AsyncTribunal.metrics)

    def batch_events(self, batch_id: str) -> Iterator[BatchBody]:
        """Yield a batch whenever more of it is judged, until it has ended.

        A stream of the server that breaks off is taken up again.
        """
        return chain.from_iterable(self._iterate(self._awaited._events(batch_id)))

    write_results = blocking(AsyncTribunal.write_results)

    def batch_results(
        self, batch_id: str, *, texts: bool = False, reasons: bool = False
    ) -> Verdicts:
        """Return an ended batch's verdicts as they arrive.

        Args:
            batch_id: Which batch.
            texts: Whether each carries the texts of its pair.
            reasons: Whether they carry the reasons that judges gave.
        """
        query = paths.carried(texts=texts, reasons=reasons)
        return Verdicts(self._iterate(self._awaited._stream(batch_id, query)))

    def _perform(self, call: Call[Any]) -> Any:
        return self._portal().run(self._awaited._perform, call)

    def _pages(self, call: Call[Any]) -> Pages[Any]:
        awaited = self._awaited._pages(call)
        return Pages(lambda: self._iterate(awaited.pages()))

    def _iterate(self, pieces: AsyncIterator[list[T]]) -> Iterator[list[T]]:
        """Yield the pieces one by one; the loop closes what no one asks for any more."""
        while (piece := self._portal().run(_next, pieces)) is not None:
            yield piece

    def _portal(self) -> Portal:
        """Return the portal; it opens with the first use."""
        if self._opened is not None:
            return self._opened
        with self._opening:
            if self._opened is None:
                if self._is_closed:
                    raise RuntimeError("this client is closed")
                portal = Portal(self._awaited.close)
                try:
                    portal.run(self._awaited.__aenter__)
                except BaseException:
                    self._is_closed = True
                    portal.close()
                    raise
                # a client that is thrown away closes too, without anyone waiting for it
                weakref.finalize(self, portal.stop).atexit = False
                self._opened = portal
        return self._opened


async def _next(pieces: AsyncIterator[list[T]]) -> list[T] | None:
    return await anext(pieces, None)
