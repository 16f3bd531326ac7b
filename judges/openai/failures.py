"""What a server complains about: its kind, its words, and how long to wait.

A complaint comes as an HTTP status, or as an error within a 200. Both are read alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from judges.openai.replies import MESSAGE_FIELDS, ReplyUnreadable, message_of, parse_json
from judges.openai.waits import wait_seconds
from judges.types import FailureKind, JudgeFailure

_SHOWN_LENGTH: Final = 300
_READ_LENGTH: Final = 2**16  # of a body that is no JSON

CONTEXT_LENGTH: Final = re.compile(
    r"context.{0,20}(length|window|size)|maximum.{0,30}(tokens|length)|max_model_len"
    r"|(prompt|input|messages?|conversation).{0,30}too (long|large)|too many (input |prompt )?tokens"
    r"|request too large"
    r"|inputs?`?.{0,60}tokens.{0,40}must (be|have) (<=|less|at most)"
    r"|inputs?`? must have less than|input length|(length|number) of (the )?(input|messages|prompt)"
    r"|exceed_context|string too long|reduce (the length of )?(your|the) (prompt|messages|input)"
    r"|(token count|input|prompt).{0,40}exceeds?.{0,40}(tokens|length|limit)"
    r"|input.{0,30}longer than|exceed\w*.{0,30}token limit|token limit exceeded|max_seq_len"
    r"|(token count|prompt).{0,60}(cannot exceed|only supports)|sequence length"
    r"|max_tokens must be at least 1, got -"
    r"|physical batch size|\bn_ctx\b|\bmax (input|length|message)|more than (the )?max.{0,10}tokens"
    r"|(?<!max_)(?<!completion_)tokens.{0,40}exceeds?.{0,20}\b(max|limit)"
    # Chinese: prompt, token, input, length or context that is too long or over the limit
    r"|(prompt|(?<!max_)token|\u8f93\u5165|\u957f\u5ea6|\u4e0a\u4e0b\u6587).{0,12}(\u8d85\u957f|\u8fc7\u957f|\u8d85\u8fc7|\u8d85\u51fa)",
    re.IGNORECASE | re.DOTALL,
)
_CONTEXT_CODE: Final = re.compile(r"exceed_context|context_length_exceeded")
_HARD_QUOTA: Final = re.compile(
    r"insufficient[_ ]((user|account)[_ ])?(quota|balance|credits?|funds)"
    r"|balance.{0,20}(insufficient|too low|not enough|exhausted)|billing[_ ](hard[_ ]limit|not[_ ]active)"
    r"|credit balance|out of credits|payment[_ ]required|requires more credits|arrearage"
    r"|(all|monthly|included).{0,20}credits|in good standing|account.{0,20}(suspended|deactivated|overdue)"
    r"|check your account balance|exceeded_current_quota|credit limit|has been paused"
    r"|budget.{0,20}exceeded|(free|trial).{0,40}exhausted|exhausted.{0,20}(free|trial)|\blimit: 0(?!\.?\d)"
    # Chinese: no balance, in arrears, no quota left, recharge
    r"|\u4f59\u989d\u4e0d\u8db3|\u6b20\u8d39|\u989d\u5ea6.{0,4}(\u4e0d\u8db3|\u5df2\u7528|\u7528\u5b8c|\u8017\u5c3d)|\u8bf7\u5145\u503c",
    re.IGNORECASE,
)
_PLAN: Final = re.compile(
    r"check your plan and billing|(spending|spend|usage) limits?\b", re.IGNORECASE
)
_MODERATED: Final = re.compile(
    r"moderation|content.?(policy|filter|management)|was flagged|safety|data.?inspection"
    r"|(inappropriate|sensitive|prohibited|unsafe|harmful).{0,20}content|usage.?(polic|guidelines)|guardrail"
    r"|violat\w+.{0,40}(polic|guidelines|terms)|(input|output).{0,8}sensitive"
    r"|\u654f\u611f|\u8fdd\u89c4",  # Chinese: sensitive, against the rules
    re.IGNORECASE,
)
_LONG_PERIOD: Final = re.compile(
    r"per.?(day|week|month)|/ ?(day|week|month)\b|\b(daily|weekly|monthly)\b|(this|for the) month"
    # Chinese: every day, week or month, today
    r"|today.?s (quota|limit)|(again|until|resets?) tomorrow|open api total request limit|\u6bcf[\u65e5\u5929\u5468\u6708]|[\u4eca\u5f53]\u65e5",
    re.IGNORECASE,
)
# a refusal that no other prompt would change
_NOT_OFFERED: Final = re.compile(
    r"(invalid|incorrect|expired|missing|no).{0,10}\bapi.?key"
    r"|\bapi.?key.{0,30}(not valid|invalid|incorrect|expired|missing|required)"
    r"|not a valid model|(unknown|invalid|no such) model\b|location is not supported"
    r"|\bmodel\b.{0,80}(not found|(does not|doesn't) exist|decommissioned|no longer (available|supported)"
    r"|is not (a valid|available))"
    r"|model_not_found|model identifier is invalid|no models? (is |are )?loaded|(failed to|could not) load model"
    r"|requires terms|must be verified|free tier is not available|(missing|unsupported|invalid).{0,40}\bapi.?version"
    r"|not a chat model|only supported in v1|not work with the specified model|non-serverless"
    r"|on-demand throughput|plain http request was sent to https"
    r"|\u6a21\u578b.{0,10}(\u4e0d\u5b58\u5728|\u5df2\u4e0b\u7ebf)",  # Chinese: the model does not exist
    re.IGNORECASE,
)
# whatever the status: some gateways send 400 or 403
_THROTTLED: Final = re.compile(
    r"rate.?limit|rate exceeded|throttl|too.?many.?requests", re.IGNORECASE
)
# a limit of a long period that is counted over the last hours frees up little by little
_SLIDING: Final = re.compile(r"\bused \d+, requested \d+", re.IGNORECASE)
_SHORT_WAIT: Final = 60.0  # seconds
_NAMED_STATUSES: Final = (
    (rf"insufficient.?(quota|balance|credit|fund)|billing|payment|{_HARD_QUOTA.pattern}", 402),
    (_MODERATED.pattern, 451),
    (
        r"rate.?limit|too.?many.?requests|resource.?exhausted|throttl|quota|\bqps\b|request limit"
        # Chinese: rate limit, frequency, at the same time, traffic
        r"|limit (is )?reached|\u901f\u7387\u9650\u5236|\u9891\u7387|\u5e76\u53d1|\u8bbf\u95ee\u91cf|\u9650\u6d41",
        429,
    ),
    (
        # Chinese: busy, overloaded, later again
        r"overloaded|unavailable|at.?capacity|capacity.{0,20}exceeded|busy|try again|loading"
        r"|\u7e41\u5fd9|\u8fc7\u8f7d|\u7a0d\u540e",
        503,
    ),
    (r"unauthori[sz]ed|unauthenticated|api.?(secret.?)?key|authentication|login fail", 401),
    (r"permission|forbidden|access.?denied", 403),
    (
        r"not.?found|unexpected endpoint|does not exist|unknown (url|path|endpoint|route)"
        r"|\u4e0d\u5b58\u5728",  # Chinese: does not exist
        404,
    ),
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
    420: FailureKind.RATE_LIMITED,
    423: FailureKind.SERVER_ERROR,  # locked
    424: FailureKind.SERVER_ERROR,  # TGI: the model failed
    425: FailureKind.SERVER_ERROR,  # too early
    426: FailureKind.UNAVAILABLE,  # another protocol is asked for
    429: FailureKind.RATE_LIMITED,
    449: FailureKind.SERVER_ERROR,  # retry
    498: FailureKind.RATE_LIMITED,  # Groq: no capacity
    499: FailureKind.SERVER_ERROR,  # a gateway gave up
    501: FailureKind.UNAVAILABLE,
}
_RETRIED: Final = (FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT)
_BUSY_STATUSES: Final = (408, 429, 498, 503, 504, 522, 524, 529)
_MAYBE_BILLED: Final = (408, 499, 504, 524)  # the model may have answered all the same


@dataclass(frozen=True, slots=True)
class Complaint:
    """A server's refusal to answer.

    Attributes:
        failure: Its kind, and the beginning of its words.
        words: Its words, without their middle if they are long.
        is_passing: Whether another attempt may help.
        wait_s: Seconds that the server asks to wait; None if it does not say.
        is_busy: Whether it complains about too much work.
        is_billed: Whether the call may have been billed.
    """

    failure: JudgeFailure
    words: str = ""
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
        content = body[:_READ_LENGTH].decode("utf-8", errors="replace").strip()
    wait = wait_seconds(headers, content, now=now)
    leads_to = headers.get("location", "") if 300 <= status < 400 else ""
    said = (
        f"HTTP {status}, which leads to {leads_to[:_SHOWN_LENGTH]}"
        if leads_to
        else f"HTTP {status}"
    )
    complaint = _complaint(status, said, content, wait)
    if headers.get("x-should-retry", "").strip().lower() == "false":  # as OpenAI's clients read it
        return replace(complaint, is_passing=False)
    return complaint


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
    complaint = _complaint(status or _guessed_status(error), said, error, wait)
    # a model that was stopped on its way has read the prompt
    has_begun = isinstance(content, Mapping) and bool(content.get("choices"))
    return replace(complaint, is_billed=complaint.is_billed or has_begun)


def _complaint(status: int, said: str, content: object, wait: float | None) -> Complaint:
    message = message_of(content)
    kind = _kind(status, message, wait)
    # too large for the limit of a minute: it never gets smaller
    is_too_large = status == 429 and "request too large" in message.lower()
    if is_too_large:
        kind = FailureKind.CONTEXT_OVERFLOW
    return Complaint(
        failure=JudgeFailure(kind, f"{said}: {message[:_SHOWN_LENGTH]}" if message else said),
        words=message,
        is_passing=kind in _RETRIED,
        wait_s=wait,
        is_busy=kind in _RETRIED and (status in _BUSY_STATUSES or kind is FailureKind.RATE_LIMITED),
        is_billed=status in _MAYBE_BILLED,
    )


def _kind(status: int, message: str, wait: float | None) -> FailureKind:
    is_too_long = status in (400, 403, 422, 500) and CONTEXT_LENGTH.search(message)
    if is_too_long or _CONTEXT_CODE.search(message):
        return FailureKind.CONTEXT_OVERFLOW
    is_spent = _HARD_QUOTA.search(message) or (wait is None and _PLAN.search(message))
    if status in (400, 403, 412, 429) and is_spent:
        return FailureKind.UNAVAILABLE
    is_limited = status == 429 or (status in (400, 403) and _THROTTLED.search(message))
    is_short = wait is not None and wait <= _SHORT_WAIT and _SLIDING.search(message)
    if is_limited and _LONG_PERIOD.search(message) and not is_short:
        return FailureKind.UNAVAILABLE
    if status in (400, 403, 451) and _MODERATED.search(message):
        return FailureKind.REFUSED
    if is_limited:
        return FailureKind.RATE_LIMITED
    if 300 <= status < 400 or (status in (400, 422, 500) and _NOT_OFFERED.search(message)):
        return FailureKind.UNAVAILABLE
    other = FailureKind.SERVER_ERROR if status >= 500 else FailureKind.REFUSED
    return _STATUS_KINDS.get(status, other)


_ENDED_BY_SERVER: Final = re.compile(
    r"(?:[a-z]+_)?errors?|abort(?:ed)?|cancell?ed|failed|time_?out|time_limit|(?:[a-z]+_)?overloaded"
    r"|unavailable|insufficient_system_resource",
    re.IGNORECASE,
)
_ERROR_FIELDS: Final = ("errors", "detail", "error_msg", "fault")  # "error" is looked at first
# where a reply says that all is well, or what is wrong: MiniMax, Gemini
_REPORTS: Final = (("base_resp", "status_code"), ("promptFeedback", "blockReason"),
                   ("prompt_feedback", "block_reason"))  # fmt: skip
_CODE_FIELDS: Final = (
    "code", "status", "status_code", "type", "error_code", "statusCode", "__type",
)  # fmt: skip


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
        named = named or first.get("error") or _stopped(first) or _reported(content)
    if named is True:
        # that there is one is all that this field says
        return {name: value for name, value in content.items() if name != "error"}
    if named:
        # the code may stand beside the error, and not within it
        return named if isinstance(named, Mapping) else {**content, "message": named}
    has_words = any(isinstance(content.get(name), str) for name in MESSAGE_FIELDS)
    return content if has_words and "choices" not in content else None


def _reported(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a reply reports beside its answer."""
    for name, code in _REPORTS:
        report = content.get(name)
        if isinstance(report, Mapping) and report.get(code):
            blocked = f"content filter: {report[code]}" if name != "base_resp" else None
            return {"message": blocked, **report}
    return None


def _stopped(choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return an error where the server itself, and not the model, ended the answer."""
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and _ENDED_BY_SERVER.fullmatch(reason):
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
