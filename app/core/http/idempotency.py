"""`Idempotency-Key`: the same key and body get the first answer again, another body gets 409.

An answer belongs to the caller that it was made for. Before a request is answered, its key is
claimed in the database, so that of several servers one alone answers; the others wait for its
answer. A claim whose holder has died is taken over.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import quote

from fastapi import Request, Response
from sqlalchemy import CursorResult, delete, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from app.core.auth import Scope
from app.core.db import Database
from app.core.errors import Conflict, Unprocessable
from app.core.http.access import caller_of
from app.core.http.json_bodies import LARGE_BODY
from app.core.http.openapi import AnswerRoute
from app.core.http.parameters import get_runtime
from app.core.http.problems import TextsResponse
from app.core.models import IdempotencyKey
from app.core.names import fault_of
from app.core.pools import in_thread
from app.core.runtime import Runtime
from app.core.tasks import shielded

_LONGEST: Final = 255
_PURGED_AT_ONCE: Final = 1_000
_LONGEST_PAUSE_S: Final = 3_600.0
# answers that an earlier version stored name no caller
_ANY_ADMIN: Final = "*"
_PLACE: Final = (IdempotencyKey.caller, IdempotencyKey.key, IdempotencyKey.path)
_log = logging.getLogger(__name__)


class IdempotentRoute(AnswerRoute):
    """A route that remembers its answers under the keys that callers send."""

    # the key was used with another body
    refuses_posts_with = (409,)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler; requests without a key pass through."""
        handle = super().get_route_handler()

        async def remember(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if key is None or request.method != "POST":
                return await handle(request)
            _check(key)
            body_hash = await _hash(await request.body())
            return await answer_once(request, body_hash, lambda: handle(request))

        return remember


async def answer_once(
    request: Request, body_hash: str, answer: Callable[[], Awaitable[Response]]
) -> Response:
    """Return the first answer to the request's key, or a new one where it has none.

    Args:
        request: Whose `Idempotency-Key` counts.
        body_hash: Of the body, to detect another one under the same key.
        answer: Makes the answer, with a JSON body.

    Raises:
        Conflict: the key came with another body before.
        Unprocessable: the key is malformed.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return await answer()
    _check(key)
    running, caller = get_runtime(request), caller_of(request)
    claim = _Claim(running, (caller.key_id, key, _path(request)), body_hash)
    # a repetition in the same process waits here, without asking the database
    async with running.answering.setdefault(claim.place, asyncio.Lock()):
        earlier = await claim.earlier_answer(or_of_any_admin=caller.may(Scope.ADMIN))
        if earlier is None:
            async with claim.held():
                response = await answer()
                await claim.keep(response)
                return response
    headers = {"location": earlier.location} if earlier.location else None
    assert earlier.status is not None
    return TextsResponse(earlier.body, earlier.status, headers)


async def _hash(body: bytes) -> str:
    if len(body) < LARGE_BODY:
        return hashlib.sha256(body).hexdigest()
    return (await in_thread(hashlib.sha256, body)).hexdigest()


def _check(key: str) -> None:
    fault = fault_of(key) if len(key) <= _LONGEST else f"give 1 to {_LONGEST} characters"
    if fault is not None:
        raise Unprocessable(
            f"Idempotency-Key: {fault}",
            errors=[{"loc": ["header", "idempotency-key"], "msg": fault}],
        )


def _path(request: Request) -> str:
    # an address may spell what no database stores
    return quote(request.scope["path"])


class _Claim:
    """The right of one request, among all servers, to answer for a caller, a key and a path.

    Args:
        running: Whose database and clock count.
        place: The caller, the key and the path.
        body_hash: Of the body that the request carries.
    """

    def __init__(self, running: Runtime, place: tuple[str, str, str], body_hash: str) -> None:
        self.place = place
        self._running = running
        self._body_hash = body_hash
        self._holder = secrets.token_hex(16)

    async def earlier_answer(self, *, or_of_any_admin: bool) -> IdempotencyKey | None:
        """Return the answer that is stored, or None when this request is the one to make it.

        Raises:
            Conflict: the key came with another body before.
        """
        clock = asyncio.get_running_loop().time
        watch = Watch(self._running.settings.lease_seconds, clock)
        while True:
            stored = await self._stored(or_of_any_admin)
            if stored is None:
                if await self._taken():
                    return None
                continue
            if stored.body_hash != self._body_hash:
                before, now = stored.body_hash[:12], self._body_hash[:12]
                raise Conflict(
                    f"Idempotency-Key {self.place[1]!r} was used with another body: its SHA-256 was "
                    f"{before}... and is {now}..."
                )
            if stored.status is not None:
                return stored
            if watch.is_dead(stored) and await self._taken_over(stored):
                return None
            await asyncio.sleep(watch.pause_s)

    async def _stored(self, or_of_any_admin: bool) -> IdempotencyKey | None:
        _, key, path = self.place
        places = [self.place, *([(_ANY_ADMIN, key, path)] if or_of_any_admin else [])]
        query = select(IdempotencyKey).where(
            tuple_(*_PLACE).in_(places), IdempotencyKey.kept_until > self._running.now()
        )
        async with self._running.db.read() as session:
            rows = {row.caller: row for row in await session.scalars(query)}
        return rows.get(self.place[0], rows.get(_ANY_ADMIN))

    async def _taken(self) -> bool:
        """Claim a place that no one has; return whether this request was the first."""
        moment = self._running.now()
        caller, key, path = self.place
        row = {
            "caller": caller,
            "key": key,
            "path": path,
            "body_hash": self._body_hash,
            "holder": self._holder,
            "created_at": moment,
            "kept_until": moment + timedelta(hours=self._running.settings.idempotency_hours),
        }
        insert = (sqlite if self._running.db.is_sqlite else postgresql).insert(IdempotencyKey)
        async with self._running.db.write() as session:
            expired = IdempotencyKey.kept_until <= moment
            await session.execute(delete(IdempotencyKey).where(*self._here(), expired))
            made = await session.execute(insert.values(row).on_conflict_do_nothing())
            return cast("CursorResult[Any]", made).rowcount == 1

    async def _taken_over(self, seen: IdempotencyKey) -> bool:
        """Claim a place whose holder has died; return whether no other did so first."""
        return await self._changed(
            IdempotencyKey.holder == seen.holder,
            IdempotencyKey.beat == seen.beat,
            holder=self._holder,
            beat=seen.beat + 1,
        )

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Show that this request lives while it is answered; free the place if it fails."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        except BaseException:
            await shielded(self._free())
            raise
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._running.settings.lease_seconds / 3)
            with suppress(SQLAlchemyError):  # the next one may reach the database
                await shielded(self._changed(*self._own(), beat=IdempotencyKey.beat + 1))

    async def _free(self) -> None:
        try:
            async with self._running.db.write() as session:
                await session.execute(delete(IdempotencyKey).where(*self._here(), *self._own()))
        except SQLAlchemyError:
            _log.warning("a claim could not be given up; it ends by itself", exc_info=True)

    async def keep(self, response: Response) -> None:
        """Store the answer."""
        await self._changed(
            *self._own(),
            status=response.status_code,
            location=response.headers.get("location"),
            body=json.loads(bytes(response.body)),
        )

    async def _changed(self, *conditions: Any, **values: Any) -> bool:
        change = update(IdempotencyKey).where(
            *self._here(), IdempotencyKey.status.is_(None), *conditions
        )
        async with self._running.db.write() as session:
            made = await session.execute(change.values(**values))
            return cast("CursorResult[Any]", made).rowcount == 1

    def _here(self) -> list[Any]:
        return [column == value for column, value in zip(_PLACE, self.place, strict=True)]

    def _own(self) -> list[Any]:
        return [IdempotencyKey.holder == self._holder]


@dataclass(slots=True)
class Watch:
    """Tells whether the holder of a claim has died: it has not moved for the length of a lease.

    Only this process's own clock is read, so that it does not matter what other servers' say.
    """

    lease_s: float
    clock: Callable[[], float]
    pause_s: float = 0.01
    _seen: tuple[str | None, int] | None = None
    _since: float = 0.0

    def is_dead(self, claim: IdempotencyKey) -> bool:
        """Look once more at a claim."""
        moment = self.clock()
        if self._seen != (claim.holder, claim.beat):
            self._seen, self._since = (claim.holder, claim.beat), moment
        self.pause_s = min(self.pause_s * 1.5, self.lease_s / 4, 1.0)
        return moment - self._since >= self.lease_s


async def purge_forever(running: Runtime) -> None:
    """Delete stored answers when their time is over, now and then."""
    kept_s = running.settings.idempotency_hours * 3_600
    while True:
        try:
            await purge(running.db, running.now())
        except SQLAlchemyError:
            _log.warning("stored answers could not be purged", exc_info=True)
        await asyncio.sleep(min(_LONGEST_PAUSE_S, kept_s / 4))


async def purge(db: Database, moment: datetime) -> int:
    """Delete the answers whose time is over, some at a time, and return how many they were."""
    places = select(*_PLACE).where(IdempotencyKey.kept_until <= moment).limit(_PURGED_AT_ONCE)
    purged = 0
    while True:
        async with db.read() as session:
            found = [tuple(row) for row in await session.execute(places)]
        if not found:
            return purged
        async with db.write() as session:
            await session.execute(delete(IdempotencyKey).where(tuple_(*_PLACE).in_(found)))
        purged += len(found)
