"""Sends alarms to webhooks: signed, tried again until they are taken, each with its own id.

A receiver that answers 2xx has taken a message. One that did and whose answer was lost gets it
again, with the same id: at least once. The signature is an HMAC-SHA256 under the secret of the
monitor, over the time and the body, so that a message can be neither forged nor sent again later.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from app.core.models import Delivery, Monitor
from app.core.outages import outages
from app.core.runtime import Runtime
from app.monitors import queries
from judges.proxies import certificates

_log = logging.getLogger(__name__)
_FIRST_SECONDS: Final = 2.0
_LONGEST_SECONDS: Final = 600.0
_PATIENCE: Final = timedelta(days=3)
_TIMEOUT_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 2.0
_AT_ONCE: Final = 50


def signed(body: Mapping[str, Any], secret: str, moment: datetime) -> tuple[bytes, dict[str, str]]:
    """Return what is sent, and its headers.

    Example:
        >>> from datetime import UTC
        >>> sent, headers = signed({"id": "alarm_1"}, "secret", datetime(2026, 1, 1, tzinfo=UTC))
        >>> sent, headers["Tribunal-Id"], headers["Tribunal-Time"]
        (b'{"id":"alarm_1"}', 'alarm_1', '1767225600')
    """
    content = json.dumps(body, separators=(",", ":")).encode("ascii")
    time = str(int(moment.timestamp()))
    digest = hmac.new(secret.encode(), f"{time}.".encode() + content, hashlib.sha256).hexdigest()
    return content, {
        "Content-Type": "application/json",
        "Tribunal-Id": str(body["id"]),
        "Tribunal-Time": time,
        "Tribunal-Signature": f"sha256={digest}",
    }


def pause_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: twice as long each time, at most 10 minutes.

    Example:
        >>> [pause_after(n).total_seconds() for n in (1, 2, 3, 30)]
        [2.0, 4.0, 8.0, 600.0]
    """
    return timedelta(seconds=min(_FIRST_SECONDS * 2.0 ** (attempts - 1), _LONGEST_SECONDS))


async def deliver_due(running: Runtime, http: httpx.AsyncClient) -> int:
    """Send every message that is due now; return how many were taken.

    Those of each monitor go in turn, and no receiver waits for that of another monitor.
    """
    async with running.db.read() as session:
        due = [(row[0], row[1]) for row in await queries.due(session, running.now())]
    by_monitor: dict[int, list[tuple[Delivery, Monitor]]] = {}
    for delivery, monitor in due:
        by_monitor.setdefault(monitor.seq, []).append((delivery, monitor))
    room = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        each = [
            group.create_task(_in_turn(running, http, own, room)) for own in by_monitor.values()
        ]
    return sum(task.result() for task in each)


async def _in_turn(
    running: Runtime,
    http: httpx.AsyncClient,
    own: Sequence[tuple[Delivery, Monitor]],
    room: asyncio.Semaphore,
) -> int:
    """Send the messages of one monitor, and return how many were taken."""
    taken = 0
    async with room:
        try:
            for delivery, monitor in own:
                async with running.db.write() as session:
                    until = running.now() + pause_after(delivery.attempts + 1)
                    is_ours = await queries.take_delivery(session, delivery, until)
                if is_ours:
                    taken += await _deliver(running, http, delivery, monitor)
        except outages():
            _log.debug("messages could not be noted", exc_info=True)
    return taken


async def _deliver(
    running: Runtime, http: httpx.AsyncClient, delivery: Delivery, monitor: Monitor
) -> bool:
    moment = running.now()
    content, headers = signed(delivery.body, monitor.signing, moment)
    fault = await sent(http, monitor.options["webhook"], content, headers)
    values: dict[str, Any] = {"error": fault}
    if fault is None:
        values |= {"delivered_at": moment, "next_at": None}
    elif moment - _first_at(delivery) > _PATIENCE:
        values |= {"next_at": None}
        _log.warning("the alarm %s could not be delivered: %s; given up", delivery.id, fault)
    async with running.db.write() as session:
        await queries.set_delivery(session, delivery, **values)
    return fault is None


async def sent(
    http: httpx.AsyncClient, address: str, content: bytes, headers: Mapping[str, str]
) -> str | None:
    """Send a message; return None if it was taken, else why not.

    The status alone counts: what a receiver says besides, perhaps without end, is not read.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            async with http.stream("POST", address, content=content, headers=headers) as answer:
                return None if answer.is_success else f"status {answer.status_code}"
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        return type(error).__name__


def _first_at(delivery: Delivery) -> datetime:
    return datetime.fromisoformat(delivery.body["at"])


async def deliver_forever(running: Runtime) -> None:
    """Send messages as they become due."""
    async with httpx.AsyncClient(
        timeout=_TIMEOUT_SECONDS, follow_redirects=False, verify=certificates()
    ) as http:
        while True:
            try:
                await deliver_due(running, http)
            except outages():
                _log.debug("messages could not be read", exc_info=True)
            except Exception:
                # one message must not end the delivery of all others
                _log.exception("messages could not be sent")
            await asyncio.sleep(_PAUSE_SECONDS)
