"""Parse the replies of an OpenAI-compatible server; contains no HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from judges.prompting.label_tokens import (
    LabelMatcher,
    LabelProbabilities,
    read_label_probabilities,
    read_sampled_label,
)
from judges.types import FailureKind, JudgeFailure, TokenUsage

Endpoint = Literal["chat", "completions", "tokens"]
TopLogprobs = list[tuple[str, object]]

_CONTEXT_LENGTH: Final = re.compile(
    r"context.{0,20}(length|window|size)|maximum.{0,30}(tokens|length)|max_model_len"
    r"|(prompt|input).{0,30}too long|too many tokens",
    re.IGNORECASE | re.DOTALL,
)
_VERBALIZED: Final = re.compile(r"\W*?(\S+?)[\s:,;(-]+(\d{1,3}(?:\.\d{1,6})?)\s*%\W*")
_STATUS_KINDS: Final = {
    401: FailureKind.UNAVAILABLE,
    403: FailureKind.UNAVAILABLE,
    404: FailureKind.UNAVAILABLE,
    405: FailureKind.UNAVAILABLE,
    408: FailureKind.TIMEOUT,
    413: FailureKind.CONTEXT_OVERFLOW,
    429: FailureKind.RATE_LIMITED,
    501: FailureKind.UNAVAILABLE,
}
_SHOWN_LENGTH: Final = 300


class ReplyUnreadable(ValueError):
    """The body is not a valid reply of the endpoint; the message names the location."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed reply: text, log-probs of its first token that is not white space, and usage.

    `top_logprobs` is empty if the server returned none. `is_cut_short` is True if it listed the
    token without log-probs. `usage` is None if not reported.
    """

    text: str
    top_logprobs: TopLogprobs
    finish_reason: str | None
    refusal: str | None
    model: str | None
    usage: TokenUsage | None
    is_cut_short: bool = False


def read_reply(body: bytes, endpoint: Endpoint) -> Reply:
    """Parse the reply in `body`.

    Raises:
        ReplyUnreadable: The body is not JSON or lacks a required field.
    """
    content = _as_object(_parse_json(body), "the body")
    choices = content.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ReplyUnreadable("choices: missing or empty")
    choice = _as_object(choices[0], "choices.0")
    logprobs = choice.get("logprobs")
    refusal = None
    if endpoint == "chat":
        message = _as_object(choice.get("message"), "choices.0.message")
        text, refusal = message.get("content"), _text_or_none(message.get("refusal"))
        top = _chat_logprobs(logprobs)
    else:
        text, top = choice.get("text"), _completion_logprobs(logprobs)
    return Reply(
        text=_text_or_none(text) or "",
        top_logprobs=top or [],
        is_cut_short=top is not None and not top,
        finish_reason=_text_or_none(choice.get("finish_reason")),
        refusal=refusal,
        model=_text_or_none(content.get("model")),
        usage=read_usage(content.get("usage")),
    )


def read_usage(usage: object) -> TokenUsage | None:
    """Return the token usage of a reply, or None if missing or invalid."""
    if not isinstance(usage, Mapping):
        return None
    prompt = _count(usage.get("prompt_tokens"))
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    if prompt is None:
        return None
    return TokenUsage(prompt, _count(usage.get("completion_tokens")) or 0, cached or 0)


def labels_of_reply(reply: Reply, matcher: LabelMatcher) -> LabelProbabilities | JudgeFailure:
    """Return the label probabilities of a reply, or the failure."""
    if (refused := _refused(reply)) is not None:
        return refused
    if reply.top_logprobs:
        said = read_label_probabilities(reply.top_logprobs, matcher)
    else:
        said = read_sampled_label(reply.text, matcher)
    if isinstance(said, JudgeFailure) and reply.finish_reason:
        return JudgeFailure(said.kind, f"{said.detail}; it ended by {reply.finish_reason[:40]!r}")
    return said


def verbalized_labels(reply: Reply, matcher: LabelMatcher) -> LabelProbabilities | JudgeFailure:
    """Return the stated label with its percentage; the other labels share the rest equally."""
    if (refused := _refused(reply)) is not None:
        return refused
    found = _VERBALIZED.fullmatch(reply.text.strip())
    index = matcher.index_of_text(found.group(1)) if found else None
    percent = float(found.group(2)) if found else 0.0
    if index is None or percent > 100:
        shown = reply.text[:80]
        return JudgeFailure(FailureKind.UNPARSEABLE, f"{shown!r} is no label with a percentage")
    rest = (100.0 - percent) / (len(matcher.labels) - 1)
    shares = tuple(
        (percent if position == index else rest) / 100.0 for position in range(len(matcher.labels))
    )
    return LabelProbabilities(shares, None)


def failure_of_status(status: int, body: bytes) -> JudgeFailure:
    """Return the failure for an HTTP status other than 200, with the server's message."""
    message = _error_message(body)
    kind = _STATUS_KINDS.get(status)
    if kind is None:
        kind = FailureKind.SERVER_ERROR if status >= 500 else FailureKind.REFUSED
    if status in (400, 422) and _CONTEXT_LENGTH.search(message):
        kind = FailureKind.CONTEXT_OVERFLOW
    if 300 <= status < 400:
        kind = FailureKind.UNAVAILABLE
    return JudgeFailure(kind, f"HTTP {status}: {message}" if message else f"HTTP {status}")


def _refused(reply: Reply) -> JudgeFailure | None:
    if reply.refusal or reply.finish_reason == "content_filter":
        detail = reply.refusal or "stopped by a content filter"
        return JudgeFailure(FailureKind.REFUSED, detail[:_SHOWN_LENGTH])
    return None


def _chat_logprobs(logprobs: object) -> TopLogprobs | None:
    positions = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(positions, list):
        return None
    for index, position in enumerate(positions):
        path = f"choices.0.logprobs.content.{index}"
        entry = _as_object(position, path)
        token = _text_or_none(entry.get("token"))
        if token is not None and not token.strip() and index + 1 < len(positions):
            continue
        return _token_list(entry.get("top_logprobs"), f"{path}.top_logprobs")
    return None


def _token_list(entries: object, path: str) -> TopLogprobs | None:
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise ReplyUnreadable(f"{path}: not a list")
    objects = [_as_object(entry, f"{path}.{index}") for index, entry in enumerate(entries)]
    if any(not isinstance(entry.get("token"), str) for entry in objects):
        raise ReplyUnreadable(f"{path}: an entry has no token")
    return [(entry["token"], entry.get("logprob")) for entry in objects]


def _completion_logprobs(logprobs: object) -> TopLogprobs | None:
    if not isinstance(logprobs, Mapping):
        return None
    positions, tokens = logprobs.get("top_logprobs"), logprobs.get("tokens")
    if not isinstance(positions, list):
        return None
    for index, position in enumerate(positions):
        token = tokens[index] if isinstance(tokens, list) and index < len(tokens) else None
        if isinstance(token, str) and not token.strip() and index + 1 < len(positions):
            continue
        entry = _as_object(position, f"choices.0.logprobs.top_logprobs.{index}")
        return [(str(token), logprob) for token, logprob in entry.items()]
    return None


def _parse_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        shown = body[:80].decode("utf-8", errors="replace")
        raise ReplyUnreadable(f"no JSON: {shown!r}") from error


def _error_message(body: bytes) -> str:
    try:
        content = _parse_json(body)
    except ReplyUnreadable:
        return body[:_SHOWN_LENGTH].decode("utf-8", errors="replace").strip()
    error = content.get("error", content) if isinstance(content, Mapping) else content
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or error
    return str(error)[:_SHOWN_LENGTH]


def _as_object(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ReplyUnreadable(f"{path}: not an object")
    return value


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if is_count and isinstance(value, int) else None
