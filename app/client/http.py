"""Addresses, errors, retries (stamina)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import httpx

from app.api.bodies import BatchBody
from app.client.errors import (
    CannotConnect,
    ConnectionInvalid,
    ConnectionLost,
    NotReady,
    NotTribunal,
    RequestRefused,
    TooManyRequests,
    TribunalClientError,
    refusal,
)
from app.client.requests import Call, Json
from judges.openai.calls import retry_after_seconds

OnLost = Callable[[TribunalClientError], None]
_CHUNK_BYTES: Final = 1 << 20
_TERMINAL: Final = ("completed", "failed", "expired", "cancelled")
UNFINISHED: Final = ("pending", "running")
PATIENCE_S: Final = 120.0
MAX_RETRIES: Final = 2
# an answer may take as long as the judges do; a look at how far they are may not
TIMEOUT: Final = httpx.Timeout(None, connect=10)
LOOK_TIMEOUT: Final = httpx.Timeout(30, connect=10)


def has_ended(batch: BatchBody) -> bool:
    """Whether nothing more becomes of a batch."""
    return batch["status"] in _TERMINAL


def later(pause_s: float) -> float:
    """Return how long to wait before the next look, after waiting so long before this one."""
    return min(pause_s * 1.5, 2.0) if pause_s else 0.1


@contextmanager
def explained(address: httpx.URL) -> Iterator[None]:
    """Turn the errors of the network into ours."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise CannotConnect(f"nobody answers at {address}: {error}") from error
    except httpx.RequestError as error:
        why = str(error) or type(error).__name__
        raise ConnectionLost(f"the connection to {address} was lost: {why}") from error


def address_of(text: str) -> str:
    """Return an address with its scheme; what a browser takes without one, this does, too."""
    full = text if "://" in text else f"http://{text}"
    try:
        url = httpx.URL(full)
    except httpx.InvalidURL as error:
        raise ConnectionInvalid(f"{text!r} is not the address of a server: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConnectionInvalid(
            f"{text!r} is not the address of a server: write it like http://127.0.0.1:8000"
        )
    return full


def key_of(text: str) -> str:
    """Return a key without the line break of the file it came from."""
    key = text.strip()
    if not key.isascii() or not key.isprintable():
        raise ConnectionInvalid("the key holds characters that no key has")
    return key


def headers_of(api_key: str | None) -> dict[str, str]:
    """Return what every request carries."""
    return {"Authorization": f"Bearer {key_of(api_key)}"} if api_key else {}


def checked(response: httpx.Response) -> Json:
    """Return the body of a success; anything else is an error."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code >= 400:
        if not isinstance(body, dict):
            body = {"detail": response.text[:500].strip() or response.reason_phrase}
        asked = retry_after_seconds(response.headers.get("retry-after"), now=time.time())
        raise refusal(response.status_code, body, asked)
    if response.status_code == httpx.codes.NO_CONTENT:
        return {}
    if response.is_redirect:
        raise NotTribunal(f"{response.url} sends on to {response.headers.get('location')}")
    if not isinstance(body, dict):
        raise NotTribunal(f"{response.url} answers, but not with JSON: is it a Tribunal server?")
    return body


def chunks(source: BinaryIO | Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a file as it is, or rows as lines."""
    read = getattr(source, "read", None)
    if read is None:
        for row in source:
            yield json.dumps(row).encode() + b"\n"
        return
    while chunk := read(_CHUNK_BYTES):
        yield chunk


def options_of(call: Call[Any], key: str | None) -> dict[str, Any]:
    """Return what a request is made of: parameters, body, headers.

    Args:
        call: What is asked.
        key: An `Idempotency-Key`, under which the server answers once however often it is asked.
    """
    options: dict[str, Any] = {"params": call.params} if call.params else {}
    headers = {} if key is None else {"idempotency-key": key}
    if call.body is not None:
        # in ASCII: rows may hold lone surrogates, which JSON can spell and UTF-8 cannot
        options["content"] = json.dumps(call.body).encode("ascii")
        headers["content-type"] = "application/json"
    return {**options, "headers": headers}


@dataclass(slots=True)
class Patience:
    """Bears a server that is away, for so many seconds at a time."""

    seconds: float
    on_lost: OnLost | None
    away_since: float | None = None

    def bear(self, error: TribunalClientError) -> None:
        """Note that the server is away; an error where it has been so for too long."""
        moment = time.monotonic()
        if self.away_since is None:
            self.away_since = moment
            if self.on_lost is not None and self.seconds > 0:
                self.on_lost(error)
        if moment - self.away_since >= self.seconds:
            raise error

    def renew(self) -> None:
        """Note that the server is there."""
        self.away_since = None


_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 8.0
# a server that asks for more is not waited for without anybody knowing
_LONGEST_ASKED_S: Final = 60.0
_REFUSED_BEFORE_DOING: Final = (429, 503)


@dataclass(slots=True)
class Retries:
    """How often one request may still be sent again."""

    left: int
    pause_s: float = _FIRST_PAUSE_S

    def pause_after(self, error: TribunalClientError, *, is_repeatable: bool) -> float:
        """Return how many seconds to wait before the request is sent again.

        Args:
            error: What became of it.
            is_repeatable: The server may have done what was asked, and may do it twice.

        Raises:
            TribunalClientError: this error, where sending it again is of no use or not allowed.
        """
        if self.left <= 0 or not _may_pass(error, is_repeatable):
            raise error
        asked = error.retry_after_s if isinstance(error, RequestRefused) else None
        if asked is not None and asked > _LONGEST_ASKED_S:
            raise error
        self.left -= 1
        pause, self.pause_s = self.pause_s, min(2.0 * self.pause_s, _LONGEST_PAUSE_S)
        return pause if asked is None else asked


def _may_pass(error: TribunalClientError, is_repeatable: bool) -> bool:
    if isinstance(error, CannotConnect):
        return True
    if isinstance(error, TooManyRequests | NotReady):
        return is_repeatable or error.status in _REFUSED_BEFORE_DOING
    return is_repeatable and isinstance(error, ConnectionLost)
