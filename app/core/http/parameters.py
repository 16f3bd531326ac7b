"""What endpoints take beside their own fields: the runtime, and the page of a list."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from app.core.errors import NotReady
from app.core.lists import Order, Paging
from app.core.runtime import Runtime


def get_runtime(request: Request) -> Runtime:
    """Return the runtime of the app that serves this request."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def _runtime(request: Request) -> Runtime:
    # FastAPI would run a plain function in a thread
    return get_runtime(request)


Running = Annotated[Runtime, Depends(_runtime)]


async def refuse_while_opening(running: Running) -> None:
    """Refuse requests until the fingerprints of all judges are known.

    Raises:
        NotReady: the judges are still being opened.
    """
    if running.opening is not None:
        raise NotReady(running.opening, headers={"retry-after": "5"})


Limit = Annotated[int, Query(ge=1, le=1000, description="rows on this page")]
After = Annotated[str | None, Query(max_length=512, description="id of the last row already seen")]


async def _newest_first(
    running: Running,
    limit: Limit = 100,
    after: After = None,
    order: Annotated[Order, Query(description="desc: newest first; asc: oldest first")] = "desc",
) -> Paging:
    return Paging(limit, after, order, running.settings.max_page_bytes)


async def _as_kept(
    running: Running,
    limit: Limit = 100,
    after: After = None,
    order: Annotated[
        Order, Query(description="asc: as in the file or the configuration; desc: turned round")
    ] = "asc",
) -> Paging:
    return Paging(limit, after, order, running.settings.max_page_bytes)


NewestFirst = Annotated[Paging, Depends(_newest_first)]
AsKept = Annotated[Paging, Depends(_as_kept)]
