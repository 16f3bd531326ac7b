"""Which failed calls are tried again, and when."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime

from judges.types import JudgeFailure


class CallFailed(Exception):
    """One call failed; `retry` says whether to try again, and after how many seconds if known."""

    def __init__(self, failure: JudgeFailure, *, retry: bool | float = False) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure
        self.retry = retry


def retry_after_seconds(header: str | None, *, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks to wait, None where it says nothing.

    Args:
        header: Seconds, or a date in the format of e-mail headers.
        now: Unix time.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _seconds_until(header, now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str, now: float) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
