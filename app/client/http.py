"""What both clients know of HTTP: addresses, keys, answers, and when a request is sent again."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx
import stamina

from app.bodies.batches import BatchBody
from app.client.calls import Call, Json
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
from judges.openai.calls import retry_after_seconds
from judges.retries import retrying

ResultForm = Literal["ndjson", "csv", "parquet"]
RESULT_FORMS: Final[Mapping[ResultForm, str]] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}
OnLost = Callable[[TribunalClientError], None]
_TERMINAL: Final = ("completed", "failed", "expired", "cancelled")
UNFINISHED: Final = ("pending", "running")
PATIENCE_S: Final = 120.0
MAX_RETRIES: Final = 2
# an answer may take as long as the judges do; a look at how far they are may not
TIMEOUT: Final = httpx.Timeout(None, connect=10)
LOOK_TIMEOUT: Final = httpx.Timeout(30, connect=10)
# the server says at least every 15 s that it is there
LISTENING: Final = httpx.Timeout(60, connect=10)


def has_ended(batch: BatchBody) -> bool:
    """Return whether a batch is in its final state."""
    return batch["status"] in _TERMINAL


def later(pause_s: float) -> float:
    """Return the pause before the next look, given the one before this look."""
    return min(pause_s * 1.5, 2.0) if pause_s else 0.1


@contextmanager
def explained(address: httpx.URL) -> Iterator[None]:
    """Turn the errors of the network into ours."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise CannotConnect(f"no server answers at {address}: {error}") from error
    except httpx.RequestError as error:
        why = str(error) or type(error).__name__
        raise ConnectionLost(f"the connection to {address} was lost: {why}") from error


def address_of(text: str) -> str:
    """Return an address with its scheme, http:// where it has none."""
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
    """Return a key without spaces or a line break at its ends."""
    key = text.strip()
    if not key.isascii() or not key.isprintable():
        raise ConnectionInvalid("the key holds characters that no key has")
    return key


def headers_of(api_key: str | None) -> dict[str, str]:
    """Return the headers of every request."""
    return {"Authorization": f"Bearer {key_of(api_key)}"} if api_key else {}


def checked(response: httpx.Response) -> Json:
    """Return the body of a success; raise any other answer as an error."""
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


def options_of(call: Call[Any], key: str | None) -> dict[str, Any]:
    """Return the parameters, body and headers of a request.

    Args:
        call: The request.
        key: An `Idempotency-Key`: the server does once what it is asked several times with it.
    """
    options: dict[str, Any] = {"params": call.params} if call.params else {}
    headers = {} if key is None else {"idempotency-key": key}
    if call.body is not None:
        # in ASCII: JSON can escape lone surrogates in rows, UTF-8 cannot encode them
        options["content"] = json.dumps(call.body).encode("ascii")
        headers["content-type"] = "application/json"
    return {**options, "headers": headers}


@dataclass(slots=True)
class Patience:
    """Tolerates that a server is away, for some seconds at a time."""

    seconds: float
    away_since: float | None = None

    def bear(self, error: TribunalClientError) -> bool:
        """Return whether the server has just gone away; an error where it is away for too long."""
        moment = time.monotonic()
        is_new = self.away_since is None
        if self.away_since is None:
            self.away_since = moment
        if moment - self.away_since >= self.seconds:
            raise error
        return is_new

    def renew(self) -> None:
        """Note that the server is there."""
        self.away_since = None


@dataclass(slots=True)
class LastEvent:
    """Reads server-sent events line by line, and remembers the id of the last one."""

    id: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Headers that ask for the events after it."""
        return {} if self.id is None else {"last-event-id": self.id}

    def take(self, line: str) -> str | None:
        """Return the data of an event; our server writes them in one line."""
        name, _, value = line.partition(": ")
        if name == "id":
            self.id = value
        return value if name == "data" else None


_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 8.0
# a server that asks for more is not waited for without the caller's knowledge
_LONGEST_ASKED_S: Final = 60.0
_REFUSED_BEFORE_DOING: Final = (429, 503)


def attempts(max_retries: int, *, is_repeatable: bool) -> AsyncIterator[stamina.Attempt]:
    """Yield the attempts at one request, after pauses that the server may choose.

    Args:
        max_retries: How often the request may be sent again.
        is_repeatable: Sending it twice does no more than sending it once.
    """

    def pause_after(error: Exception) -> bool | float:
        if not _may_pass(error, is_repeatable):
            return False
        asked = error.retry_after_s if isinstance(error, RequestRefused) else None
        if asked is None:
            return True
        return asked if asked <= _LONGEST_ASKED_S else False

    return retrying(
        pause_after,
        attempts=max_retries + 1,
        pause_s=_FIRST_PAUSE_S,
        longest_s=_LONGEST_PAUSE_S,
    )


def _may_pass(error: Exception, is_repeatable: bool) -> bool:
    if isinstance(error, CannotConnect):
        return True
    if isinstance(error, TooManyRequests | NotReady):
        return is_repeatable or error.status in _REFUSED_BEFORE_DOING
    return is_repeatable and isinstance(error, ConnectionLost)
