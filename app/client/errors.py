"""What can go wrong between a client and the service.

TribunalClientError
+-- ConnectionInvalid    the address or the key cannot be used as it is written
+-- CannotConnect        nobody answers at this address
+-- ConnectionLost       the connection broke before the answer was complete
+-- PandasMissing        tables need the extra `pandas`
+-- NotTribunal          somebody answers, but not with what this service says
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
    """Nobody answers at this address."""


class ConnectionLost(TribunalClientError):
    """The connection broke before the answer was complete; the server may have done its part."""


class PandasMissing(TribunalClientError, ImportError):
    """Tables need pandas, which is not installed."""


class NotTribunal(TribunalClientError):
    """Somebody answers at this address, but not with what this service says."""


class RequestRefused(TribunalClientError):
    """The server refused a request.

    Attributes:
        status: Of HTTP.
        problem: The RFC 9457 body.
        retry_after_s: Seconds after which the server wants to be asked again, if it said so.
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
    """Without keys the service answers its own machine only."""


class NotFound(RequestRefused):
    """There is no such thing."""


class Conflict(RequestRefused):
    """The request contradicts what is stored, such as a fingerprint that changed."""


class TooLarge(RequestRefused):
    """The body is larger than the server takes."""


class Unprocessable(RequestRefused):
    """The request is well-formed and cannot be honoured; `problem["errors"]` names the fields."""


class TooManyRequests(RequestRefused):
    """The server is asked too much at a time."""


class ServerFailed(RequestRefused):
    """The server broke on this request."""


class NotReady(ServerFailed):
    """The server, or a gateway before it, cannot answer now and may later."""


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
