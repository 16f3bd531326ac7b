"""How long a server asks to wait, in whatever header, field or words it says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Final

from judges.openai.calls import clock_of, from_now, retry_after_seconds
from judges.openai.replies import message_of, values_in

# names in any case, with or without hyphens and underscores
_WAIT_FIELDS: Final = {
    "retrydelay": 1.0, "retryafter": 1.0, "retryafterseconds": 1.0, "retryaftersecs": 1.0,
    "retryafterms": 0.001, "retryin": 1.0, "retryinseconds": 1.0, "estimatedtime": 1.0,
    "waittime": 1.0, "waitseconds": 1.0, "resetin": 1.0, "resetsin": 1.0, "resetsinseconds": 1.0,
    "resetafter": 1.0, "retryat": 1.0, "retrytime": 1.0, "availableat": 1.0,
}  # fmt: skip
# moments, or seconds from now
_RESET_FIELDS: Final = (
    "resetsat", "resetat", "resettime", "resettimestamp", "xratelimitreset", "ratelimitreset",
)  # fmt: skip
_DURATION: Final = (
    r"(?:(?P<h>\d+(?:\.\d+)?)\s*h(?:ours?)?)?\s*"
    r"(?:(?P<m>\d+(?:\.\d+)?)\s*m(?:in(?:ute)?s?)?(?![a-z]))?\s*"
    r"(?:(?P<s>\d+(?:\.\d+)?)\s*s(?:ec(?:ond)?s?)?)?\s*"
    r"(?:(?P<ms>\d+(?:\.\d+)?)\s*ms)?"
)
_DURATION_ALONE: Final = re.compile(_DURATION, re.IGNORECASE)
_WAIT_WORDS: Final = re.compile(
    r"\b(?:try again|retry|wait|resets?|(?:available|allowed)(?: again)? in)\b[^.\d\n]{0,40}(?=\d)"
    rf"{_DURATION}(?!\w)"
    r"|\bretry[ _-]after[\"']?\s?[:=]?\s?(?P<bare>\d+(?:\.\d+)?)(?!\s?[\w%:.])"
    # Chinese: after so many seconds or minutes, or wait so many
    r"|(?P<later>\d+(?:\.\d+)?)\s?(?P<later_in>[\u79d2\u5206])\u949f?(?:\u540e|\u4e4b\u540e|\u4ee5\u540e)"
    r"|\u7b49\u5f85?[^\d\n]{0,4}(?P<for>\d+(?:\.\d+)?)\s?(?P<for_in>[\u79d2\u5206])",
    re.IGNORECASE,
)
_WAIT_UNTIL: Final = re.compile(
    r"\b(?:try again|retry|wait|resets?|available)\b[^.\d\n]{0,40}"
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d(?::\d\d(?:\.\d+)?)?)\s?(?P<zone>[+-]\d\d:\d\d)?",
    re.IGNORECASE,
)
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_MINUTE: Final = "\u5206"  # Chinese
_RESET_IN_NAME: Final = re.compile(r"reset(-after)?", re.IGNORECASE)
# of one header, such as "default";r=0;t=20 or limit=100, remaining=0, reset=20
_REMAINING: Final = re.compile(r"\b(?:r|remaining)=(\d+)", re.IGNORECASE)
_RESET: Final = re.compile(r"\b(?:t|reset)=(\d+)", re.IGNORECASE)


def wait_seconds(headers: Mapping[str, str], content: object, *, now: float) -> float | None:
    """Return how long the server asks to wait, wherever it says so; None if it does not.

    Args:
        headers: The response's headers.
        content: The parsed body, or its text.
        now: Unix time.
    """
    now = clock_of(headers, now)
    told = [
        *_waits_in_headers(headers, now),
        *_waits_in_fields(content, now),
        *_waits_in_words(message_of(content), now),
    ]
    known = [wait for wait in told if wait is not None] or list(_waits_for_reset(headers, now))
    return max(known, default=None)


def _waits_in_headers(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    """Yield the waits of `Retry-After` in any of its spellings, such as `x-ms-retry-after-ms`."""
    for name, value in headers.items():
        plain = name.replace("-", "").lower()
        if "retryafter" not in plain:
            continue
        if plain.endswith("ms"):
            number = _plain_number(value)
            yield None if number is None else number / 1000
        else:
            yield retry_after_seconds(value, now=now)
            yield _duration(value)


def _waits_in_fields(content: object, now: float) -> Iterator[float | None]:
    for name, value in values_in(content, (*_WAIT_FIELDS, *_RESET_FIELDS)):
        if name in _RESET_FIELDS:
            yield _until(value, now)
        elif isinstance(value, Mapping):  # as protobuf writes a duration
            yield _plain_number(value.get("seconds"))
        else:
            seconds = _plain_number(value)
            yield (
                _until(value, now)
                if seconds is None
                else from_now(seconds * _WAIT_FIELDS[name], now)
            )


def _waits_in_words(message: str, now: float) -> Iterator[float | None]:
    for match in _WAIT_WORDS.finditer(message):
        said = match["bare"] or match["later"] or match["for"]
        unit = match["later_in"] or match["for_in"]
        yield float(said) * (60.0 if unit == _MINUTE else 1.0) if said else _seconds_of(match)
    for match in _WAIT_UNTIL.finditer(message):
        yield retry_after_seconds(f"{match['day']}T{match['time']}{match['zone'] or ''}", now=now)


def _until(value: object, now: float) -> float | None:
    """Return the seconds until a moment, in whatever way it is written."""
    number = _plain_number(value)
    if number is None:
        text = str(value)
        return _duration(text) or retry_after_seconds(text, now=now)
    return max(0.0, from_now(number, now))


def _waits_for_reset(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """Yield when a limit that is used up starts again, by the headers of common providers.

    The name of each has `reset` where that of what is left has `remaining`.
    """
    limits: list[tuple[str | None, str | None]] = [
        (headers.get(_RESET_IN_NAME.sub("remaining", name)), value)
        for name, value in headers.items()
        if _RESET_IN_NAME.search(name) and "ratelimit" in name.replace("-", "").lower()
    ]
    whole = headers.get("ratelimit", "")
    remaining, reset = _REMAINING.search(whole), _RESET.search(whole)
    limits.append((remaining[1] if remaining else None, reset[1] if reset else None))
    for left, again in limits:
        if again is not None and not _plain_number(left):
            wait = _until(again, now)
            if wait is not None:
                yield wait


def _plain_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return max(0.0, number) if isfinite(number) else None


def _duration(text: str) -> float | None:
    """Return the seconds of a duration such as 12s, 1m30.5s or 842ms."""
    match = _DURATION_ALONE.fullmatch(text.strip())
    return _seconds_of(match) if match else None


def _seconds_of(match: re.Match[str]) -> float | None:
    parts = [float(match[unit]) * scale for unit, scale in _UNITS.items() if match[unit]]
    return sum(parts) if parts else None
