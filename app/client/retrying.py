"""Which failed requests are sent again, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.client.errors import (
    CannotConnect,
    ConnectionLost,
    NotReady,
    RequestRefused,
    TooManyRequests,
    TribunalClientError,
)

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
