"""What a server complains about: its kind, its words, and how long to wait.

A complaint comes as an HTTP status, or as an error within a 200. Both are read alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from judges.openai.calls import retry_after_seconds
from judges.openai.replies import ReplyUnreadable, parse_json
from judges.types import FailureKind, JudgeFailure, TokenUsage

_SHOWN_LENGTH: Final = 300

CONTEXT_LENGTH: Final = re.compile(
    r"context.{0,20}(length|window|size)|maximum.{0,30}(tokens|length)|max_model_len"
    r"|(prompt|input).{0,30}too (long|large)|too many tokens|request too large"
    r"|inputs?`?.{0,60}tokens.{0,40}must (be|have) (<=|less|at most)"
    r"|inputs?`? must have less than|input length|(length|number) of (the )?(input|messages|prompt)"
    r"|exceed_context|string too long|reduce (the length of )?(your|the) (prompt|messages|input)"
    r"|(token count|input|prompt).{0,40}exceeds?.{0,40}(tokens|length|limit)"
    r"|input.{0,30}longer than",
    re.IGNORECASE | re.DOTALL,
)
_CONTEXT_CODE: Final = re.compile(r"exceed_context|context_length_exceeded")
_HARD_QUOTA: Final = re.compile(
    r"insufficient[_ ](user[_ ])?(quota|balance|credits?|funds)|billing[_ ](hard[_ ]limit|not[_ ]active)"
    r"|credit balance|out of credits|payment[_ ]required|requires more credits|arrearage"
    r"|(all|monthly|included).{0,20}credits|in good standing|account.{0,20}(suspended|deactivated|overdue)"
    r"|\u4f59\u989d\u4e0d\u8db3|\u6b20\u8d39",
    re.IGNORECASE,
)
_PLAN: Final = re.compile(
    r"check your plan and billing|(spending|spend|usage) limits?\b", re.IGNORECASE
)
_MODERATED: Final = re.compile(
    r"moderation|content.?(policy|filter|management)|was flagged|safety|data.?inspection"
    r"|(inappropriate|sensitive|prohibited|unsafe|harmful).{0,20}content|usage.?policy|guardrail",
    re.IGNORECASE,
)
_PER_DAY: Final = re.compile(r"per.?day", re.IGNORECASE)
_NAMED_STATUSES: Final = (
    (rf"insufficient.?(quota|balance|credit|fund)|billing|payment|{_HARD_QUOTA.pattern}", 402),
    (_MODERATED.pattern, 451),
    (
        r"rate.?limit|too.?many.?requests|resource.?exhausted|throttl|quota|\bqps\b|request limit"
        r"|limit (is )?reached",
        429,
    ),
    (r"overloaded|unavailable|at.?capacity|capacity.{0,20}exceeded|busy|try again|loading", 503),
    (r"unauthori[sz]ed|unauthenticated|api.?key|authentication", 401),
    (r"permission|forbidden|access.?denied", 403),
    (r"not.?found|unexpected endpoint|does not exist|unknown (url|path|endpoint|route)", 404),
    (r"method not allowed", 405),
    (rf"context.?length|exceed.?context|too.?long|{CONTEXT_LENGTH.pattern}", 400),
    (r"deadline.?exceeded|time.?out|timed out", 408),
    (r"invalid.?(request|argument|param)|bad.?request|unsupported|validation", 400),
)
_STATUS_KINDS: Final = {
    401: FailureKind.UNAVAILABLE,
    402: FailureKind.UNAVAILABLE,
    403: FailureKind.UNAVAILABLE,
    404: FailureKind.UNAVAILABLE,
    405: FailureKind.UNAVAILABLE,
    407: FailureKind.UNAVAILABLE,
    408: FailureKind.TIMEOUT,
    409: FailureKind.SERVER_ERROR,  # a conflict that passes
    410: FailureKind.UNAVAILABLE,
    413: FailureKind.CONTEXT_OVERFLOW,
    424: FailureKind.SERVER_ERROR,  # TGI: the model failed
    425: FailureKind.SERVER_ERROR,  # too early
    429: FailureKind.RATE_LIMITED,
    498: FailureKind.RATE_LIMITED,  # Groq: no capacity
    499: FailureKind.SERVER_ERROR,  # a gateway gave up
    501: FailureKind.UNAVAILABLE,
}
_RETRIED: Final = (FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT)
_BUSY_STATUSES: Final = (408, 429, 498, 503, 504, 529)
_MAYBE_BILLED: Final = (408, 499, 504, 524)  # the model may have answered all the same


@dataclass(frozen=True, slots=True)
class Complaint:
    """A server's refusal to answer.

    Attributes:
        failure: Its kind and words.
        is_passing: Whether another attempt may help.
        wait_s: Seconds that the server asks to wait; None if it does not say.
        is_busy: Whether it complains about too much work.
        is_billed: Whether the call may have been billed.
    """

    failure: JudgeFailure
    is_passing: bool = False
    wait_s: float | None = None
    is_busy: bool = False
    is_billed: bool = False


def complaint_of_status(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float
) -> Complaint:
    """Return the complaint of a response with another status than 200.

    Args:
        status: The HTTP status.
        headers: The response's headers.
        body: The response's body.
        now: Unix time.
    """
    try:
        content = parse_json(body)
    except ReplyUnreadable:
        content = body[:_SHOWN_LENGTH].decode("utf-8", errors="replace").strip()
    return _complaint(status, f"HTTP {status}", content, wait_seconds(headers, content, now=now))


def complaint_within(
    content: object, headers: Mapping[str, str], *, now: float
) -> Complaint | None:
    """Return the complaint that the parsed body of a 200 holds in place of an answer, or None."""
    error = _error_within(content)
    if error is None:
        return None
    status = _named_status(error)
    said = f"HTTP 200 with an error that names {status}" if status else "HTTP 200 with an error"
    wait = wait_seconds(headers, content, now=now)
    return _complaint(status or _guessed_status(error), said, error, wait)


def _complaint(status: int, said: str, content: object, wait: float | None) -> Complaint:
    message = message_of(content)
    kind = _kind(status, message, wait)
    # too large for the limit of a minute: it never gets smaller
    is_too_large = status == 429 and "request too large" in message.lower()
    if is_too_large:
        kind = FailureKind.CONTEXT_OVERFLOW
    return Complaint(
        failure=JudgeFailure(kind, f"{said}: {message}" if message else said),
        is_passing=kind in _RETRIED,
        wait_s=wait,
        is_busy=status in _BUSY_STATUSES and kind in _RETRIED,
        is_billed=status in _MAYBE_BILLED,
    )


def _kind(status: int, message: str, wait: float | None) -> FailureKind:
    is_too_long = status in (400, 403, 422) and CONTEXT_LENGTH.search(message)
    if is_too_long or _CONTEXT_CODE.search(message):
        return FailureKind.CONTEXT_OVERFLOW
    is_spent = _HARD_QUOTA.search(message) or (wait is None and _PLAN.search(message))
    if status in (400, 403, 429) and is_spent:
        return FailureKind.UNAVAILABLE
    if status == 429 and _PER_DAY.search(message):
        return FailureKind.UNAVAILABLE
    if status in (400, 403, 451) and _MODERATED.search(message):
        return FailureKind.REFUSED
    if 300 <= status < 400:
        return FailureKind.UNAVAILABLE
    other = FailureKind.SERVER_ERROR if status >= 500 else FailureKind.REFUSED
    return _STATUS_KINDS.get(status, other)


_ERROR_FIELDS: Final = ("errors", "detail", "error_msg")  # "error" is looked at first
# where a reply says that all is well, or what is wrong: MiniMax, Gemini
_REPORTS: Final = (("base_resp", "status_code"), ("promptFeedback", "blockReason"),
                   ("prompt_feedback", "block_reason"))  # fmt: skip
_MESSAGE_FIELDS: Final = ("message", "msg", "detail", "error_msg", "error", "status_msg", "title")
_CODE_FIELDS: Final = ("code", "status", "status_code", "type", "error_code")


def _error_within(content: object) -> object | None:
    """Return what a body says of an error, None if it says nothing of one."""
    if isinstance(content, list):
        return next((error for one in content if (error := _error_within(one))), None)
    if not isinstance(content, Mapping):
        return None
    if content.get("object") == "error" or content.get("type") == "error":
        return content.get("error") or content
    choices = content.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    named = content.get("error")
    if first is None:
        named = named or _reported(content)
        named = named or next((content[n] for n in _ERROR_FIELDS if content.get(n)), None)
    elif isinstance(first, Mapping):
        named = named or first.get("error") or _stopped(first)
    if named:
        # the code may stand beside the error, and not within it
        return named if isinstance(named, Mapping) else {**content, "message": named}
    has_words = any(isinstance(content.get(name), str) for name in _MESSAGE_FIELDS)
    return content if has_words and "choices" not in content else None


def _reported(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a reply without an answer reports beside it."""
    for name, code in _REPORTS:
        report = content.get(name)
        if isinstance(report, Mapping) and report.get(code):
            blocked = f"content filter: {report[code]}" if name != "base_resp" else None
            return {"message": blocked, **report}
    return None


def _stopped(choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return an error where the server itself, and not the model, ended the answer."""
    reason = choice.get("finish_reason")
    if reason in ("error", "abort", "insufficient_system_resource"):
        return {"code": 503, "message": f"the server ended the answer: {reason}"}
    return None


def _named_status(error: object) -> int | None:
    if not isinstance(error, Mapping):
        return None
    for name in _CODE_FIELDS:
        value = str(error.get(name, ""))
        if value.isdecimal() and len(value) in (3, 5):
            status = int(value[:3])  # FastChat: five digits
            if 400 <= status < 600:
                return status
    return None


def _guessed_status(error: object) -> int:
    """Return the status that an error's words mean, 500 where they say nothing known."""
    codes = ""
    if isinstance(error, Mapping):
        codes = " ".join(str(error.get(name, "")) for name in _CODE_FIELDS)
    for words in (codes, message_of(error)):
        for pattern, status in _NAMED_STATUSES:
            if re.search(pattern, words, re.IGNORECASE):
                return status
    return 500


def message_of(content: object) -> str:
    """Return the words of an error, those of the provider behind a gateway among them."""
    error = content
    if isinstance(content, Mapping) and content.get("error"):
        error = content["error"]
    if isinstance(error, list) and error:
        return message_of(error[0])
    if not isinstance(error, Mapping):
        return str(error or "")[:_SHOWN_LENGTH]
    texts = [error.get(name) for name in _MESSAGE_FIELDS]
    codes = [error.get(name) for name in ("code", "status", "type")]
    if isinstance(error.get("param"), str):
        codes.append(f"param '{error['param']}'")
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping):
        texts += [metadata.get("provider_name"), metadata.get("raw"), metadata.get("reasons")]
    words = [" ".join(str(text).split()) for text in texts if text]
    quotas = _found(error, ("quotaId",))
    words += [str(code) for code in codes if isinstance(code, str) and code] + list(
        map(str, quotas)
    )
    joined = "; ".join(dict.fromkeys(words))
    return (joined or json.dumps(error, default=str))[:_SHOWN_LENGTH]


_WAIT_FIELDS: Final = {
    "retryDelay": 1.0, "retry_delay": 1.0, "retry_after": 1.0, "retryAfter": 1.0,
    "retry_after_seconds": 1.0, "retry_after_ms": 0.001, "retryAfterMs": 0.001,
}  # fmt: skip
_DURATION: Final = (
    r"(?:(?P<h>\d+(?:\.\d+)?)\s*h(?:ours?)?)?\s*"
    r"(?:(?P<m>\d+(?:\.\d+)?)\s*m(?:in(?:ute)?s?)?(?![a-z]))?\s*"
    r"(?:(?P<s>\d+(?:\.\d+)?)\s*s(?:ec(?:ond)?s?)?)?\s*"
    r"(?:(?P<ms>\d+(?:\.\d+)?)\s*ms)?"
)
_DURATION_ALONE: Final = re.compile(_DURATION, re.IGNORECASE)
_WAIT_WORDS: Final = re.compile(
    rf"(?:try again|retry|wait)(?: again)?(?: in| after| for)?\s+{_DURATION}", re.IGNORECASE
)
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LIMITED: Final = ("requests", "tokens", "input-tokens", "output-tokens")


def wait_seconds(headers: Mapping[str, str], content: object, *, now: float) -> float | None:
    """Return how long the server asks to wait, wherever it says so; None if it does not.

    Args:
        headers: The response's headers.
        content: The parsed body, or its text.
        now: Unix time.
    """
    in_ms, header = _plain_number(headers.get("retry-after-ms")), headers.get("retry-after")
    told = [
        None if in_ms is None else in_ms / 1000,
        retry_after_seconds(header, now=now),
        None if header is None else _duration(header),
        *_waits_in_fields(content),
        *_waits_in_words(message_of(content)),
    ]
    known = [wait for wait in told if wait is not None] or list(_waits_for_reset(headers, now))
    return max(known, default=None)


def _waits_in_fields(content: object) -> Iterator[float | None]:
    for name, scale in _WAIT_FIELDS.items():
        for value in _found(content, (name,)):
            seconds = _plain_number(value)
            yield _duration(str(value)) if seconds is None else seconds * scale


def _waits_in_words(message: str) -> Iterator[float | None]:
    for match in _WAIT_WORDS.finditer(message):
        yield _seconds_of(match)


def _waits_for_reset(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """Yield when a limit that is used up starts again, by the headers of OpenAI and Anthropic."""
    for what in _LIMITED:
        for name in (f"x-ratelimit-{{}}-{what}", f"anthropic-ratelimit-{what}-{{}}"):
            if headers.get(name.format("remaining")) == "0":
                reset = headers.get(name.format("reset"), "")
                wait = _duration(reset) or retry_after_seconds(reset, now=now)
                if wait is not None:
                    yield wait


def _found(content: object, names: Iterable[str], depth: int = 6) -> list[object]:
    """Return the values of these names anywhere in a body."""
    if depth == 0:
        return []
    inner = content if isinstance(content, list) else []
    found: list[object] = []
    if isinstance(content, Mapping):
        found = [content[name] for name in names if name in content]
        inner = list(content.values())
    return found + [value for one in inner for value in _found(one, names, depth - 1)]


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


_LEAST_CUT: Final = 256  # no server cuts prompts to fewer tokens
_LONGEST_TOKEN: Final = 16  # bytes
_MOST_WORDS: Final = 1 / 0.9  # for a token; nearly all tokenizers have at most one


def cut_prompt(text: str, usage: TokenUsage | None) -> JudgeFailure | None:
    """Return a failure where the server read far fewer tokens than the prompt must have.

    Some servers cut a prompt that is longer than their context, and say so nowhere but in the
    usage. Every word has a token, and long words have several.
    """
    read = 0 if usage is None else usage.prompt
    if not _LEAST_CUT <= read < len(text):
        return None
    least = sum(-(-len(word.encode(errors="replace")) // _LONGEST_TOKEN) for word in text.split())
    if read * _MOST_WORDS >= least:
        return None
    detail = (
        f"the server read {read} tokens of a prompt that has at least {least}: it cut the prompt;"
        " raise its context length (num_ctx for Ollama)"
    )
    return JudgeFailure(FailureKind.CONTEXT_OVERFLOW, detail)
