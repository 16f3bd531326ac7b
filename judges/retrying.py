"""Which failed calls are tried again, and when; what the calls for one pair know of each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from judges.types import JudgeFailure, TokenUsage


class CallFailed(Exception):
    """One call failed; `retry` says whether to try again, and after how many seconds if known."""

    def __init__(self, failure: JudgeFailure, *, retry: bool | float = False) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure
        self.retry = retry


@dataclass(slots=True)
class Halt:
    """The first failure among the answers for one pair: the others need not be asked any more."""

    failure: JudgeFailure | None = None


@dataclass(slots=True)
class Spent:
    """Tokens of one answer so far, and whether every reply said how many it used."""

    usage: TokenUsage = field(default_factory=TokenUsage)
    is_known: bool = True


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
