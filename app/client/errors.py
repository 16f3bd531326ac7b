"""The errors of the client.

TribunalClientError
+-- ConnectionInvalid    the address or the key cannot be used as it is written
+-- CannotConnect        no server answers at this address
+-- ConnectionLost       the connection broke before the answer was complete
+-- PandasMissing        tables need the extra `pandas`
+-- NotTribunal          another service answers at this address
+-- RequestRefused       the server answered with a problem; `.status` and `.problem` hold it
    +-- BadRequest       400
    +-- NotAuthenticated 401
    +-- NotAllowed       403
    +-- NotFound         404
    +-- Conflict         409
    +-- TooLarge         413
    +-- Unprocessable    422
    +-- TooManyRequests  429: it may answer later
    +-- ServerFailed     500 and above
        +-- NotReady     502, 503, 504: it may answer later
"""

from __future__ import annotations

from typing import Any, Final


class TribunalClientError(Exception):
    """Any error of this client."""


class ConnectionInvalid(TribunalClientError):
    """The address or the key cannot be used as it is written."""


class CannotConnect(TribunalClientError):
    """No server answers at this address."""


class ConnectionLost(TribunalClientError):
    """The connection broke before the answer was complete; the server may have done the work."""


class PandasMissing(TribunalClientError, ImportError):
    """Tables need pandas, which is not installed."""


class NotTribunal(TribunalClientError):
    """Another service answers at this address."""


class RequestRefused(TribunalClientError):
    """The server refused a request.

    Attributes:
        status: The HTTP status.
        problem: The body, as in RFC 9457.
        retry_after_s: Seconds that the server asks to wait, if it says so.
    """

    def __init__(
        self, status: int, problem: dict[str, Any], retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{status}: {problem.get('detail') or problem.get('title')}")
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s


class BadRequest(RequestRefused):
    """The request cannot be read at all."""


class NotAuthenticated(RequestRefused):
    """A key is needed, or this one is unknown or revoked."""


class NotAllowed(RequestRefused):
    """Without keys the service answers only its own machine."""


class NotFound(RequestRefused):
    """The id or name is unknown."""


class Conflict(RequestRefused):
    """The request contradicts what is stored, such as a fingerprint that changed."""


class TooLarge(RequestRefused):
    """The body is larger than the server takes."""


class Unprocessable(RequestRefused):
    """The request cannot be carried out; `problem["errors"]` names the fields."""


class TooManyRequests(RequestRefused):
    """The server gets too many requests."""


class ServerFailed(RequestRefused):
    """The server failed on this request."""


class NotReady(ServerFailed):
    """The server, or a gateway before it, cannot answer now, but may later."""


_BY_STATUS: Final[dict[int, type[RequestRefused]]] = {
    400: BadRequest,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Unprocessable,
    429: TooManyRequests,
    502: NotReady,
    503: NotReady,
    504: NotReady,
}


def refusal(
    status: int, problem: dict[str, Any], retry_after_s: float | None = None
) -> RequestRefused:
    """Return the error of this status."""
    otherwise = ServerFailed if status >= 500 else RequestRefused
    return _BY_STATUS.get(status, otherwise)(status, problem, retry_after_s)
