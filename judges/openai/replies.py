"""Parse the replies of an OpenAI-compatible server; contains no HTTP.

Servers differ in how they write the same thing. The content may be a text or a list of chunks, the
reasoning stands in the text, in chunks or in a field of its own, and either endpoint may use either
form of log-probs. `read_reply` turns all of them into one `Reply`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import punctuation
from typing import Any, Final, Literal

from judges.prompting.label_tokens import TokenLogprob, checked_logprob
from judges.types import FailureKind, JudgeFailure, TokenUsage

Endpoint = Literal["chat", "completions", "tokens"]

_REASONING_FIELDS: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_CACHED_BESIDE: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
_COMPLETION_DETAILS: Final = ("completion_tokens_details", "output_tokens_details")
_TOKEN_FIELDS: Final = ("token", "tok_str", "decoded_token", "content")
_TEXT_CHUNKS: Final = ("text", "output_text")
_SAME_LOGPROB: Final = 1e-3
_FILLER: Final = -1000.0  # servers fill lists with -9999 or the lowest float
_IMPROBABLE: Final = -100.0  # beside a certain token: at a temperature near 0, all else is filler
_ROUNDED: Final = 0.02  # of one number, written with two digits and with all
_SHOWN_LENGTH: Final = 80
# of an error: what is wrong stands at its beginning, how long to wait at its end
_MESSAGE_HEAD: Final = 600
_MESSAGE_TAIL: Final = 300
#: Where a body says in words what is wrong.
MESSAGE_FIELDS: Final = (
    "message", "msg", "detail", "error_msg", "error", "status_msg", "title", "reason",
    "error_message", "Message", "faultstring",
)  # fmt: skip


class ReplyUnreadable(ValueError):
    """The body is not a valid reply of the endpoint; the message names the location."""


@dataclass(frozen=True, slots=True)
class Position:
    """One token of an answer.

    Attributes:
        token: Its text, as the server writes it.
        logprob: Its own log-probability as sent.
        top: The most probable tokens at this place, `token` among them; None if not sent.
        is_foreign: The list lacks the token, and no log-probability stands beside it.
        is_joined: The list lacked the token, which was added.
    """

    token: str
    logprob: object = None
    top: tuple[TokenLogprob, ...] | None = None
    is_foreign: bool = False
    is_joined: bool = False

    @property
    def is_one_hot(self) -> bool:
        """Whether one token has all the probability and the others are filler."""
        certain = [e for e in self.top or () if _number(e.logprob) >= -_SAME_LOGPROB]
        return len(certain) == 1 and all(
            # JSON has no infinity: some servers write null for it
            entry in certain or entry.logprob is None or is_filler(entry.logprob, _IMPROBABLE)
            for entry in self.top or ()
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed reply.

    Attributes:
        text: The visible text, which may still hold a reasoning span.
        positions: The tokens with their log-probs; empty if the server returned none.
        finish_reason: Why the model stopped.
        refusal: The model's refusal, if any.
        model: The model that answered, as the server calls it.
        usage: Tokens billed; None if not reported.
        reasoning: Reasoning that stands apart from the text.
    """

    text: str
    positions: tuple[Position, ...] = ()
    finish_reason: str | None = None
    refusal: str | None = None
    model: str | None = None
    usage: TokenUsage | None = None
    reasoning: str = ""


def read_reply(content: object, endpoint: Endpoint) -> Reply:
    """Return the reply that the parsed body `content` holds.

    Raises:
        ReplyUnreadable: A required field is missing or is of another type.
    """
    body = _as_object(content, "the body")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ReplyUnreadable("choices: missing or empty")
    choice = _as_object(choices[0], "choices.0")
    text, refusal, reasoning = _texts(choice, endpoint)
    listed = choice.get("logprobs") or choice.get("completion_probabilities")
    return Reply(
        text=text,
        positions=_positions(listed or body.get("completion_probabilities")),
        finish_reason=_text_or_none(choice.get("finish_reason")),
        refusal=refusal,
        model=_text_or_none(body.get("model")),
        usage=read_usage(body.get("usage")),
        reasoning=reasoning,
    )


def parse_json(body: bytes) -> object:
    """Return the JSON in `body`, which may follow comments that keep a connection alive.

    Raises:
        ReplyUnreadable: It holds none.
    """
    lines = body.lstrip()
    while lines.startswith(b":"):
        lines = lines.partition(b"\n")[2].lstrip()
    try:
        return json.loads(lines, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        shown = lines[:_SHOWN_LENGTH].decode("utf-8", errors="replace")
        raise ReplyUnreadable(f"no JSON: {shown!r}") from error


def message_of(content: object) -> str:
    """Return the words of an error, those of the provider behind a gateway among them."""
    error = content
    if isinstance(content, Mapping) and content.get("error"):
        error = content["error"]
    if isinstance(error, list) and error:
        return message_of(error[0])
    if not isinstance(error, Mapping):
        return _without_middle(str(error or ""))
    texts = [error.get(name) for name in MESSAGE_FIELDS]
    codes = [error.get(name) for name in ("code", "status", "type", "__type")]
    if isinstance(error.get("param"), str):
        codes.append(f"param '{error['param']}'")
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping):
        texts += [metadata.get("provider_name"), metadata.get("raw"), metadata.get("reasons")]
    words = [" ".join(str(text).split()) for text in texts if text]
    found = [value for _, value in values_in(error, ("quotaid", "fieldviolations"))]
    words += [str(code) for code in codes if isinstance(code, str) and code]
    words += map(str, found)
    joined = "; ".join(dict.fromkeys(words))
    return _without_middle(joined or json.dumps(error, default=str))


def _without_middle(text: str) -> str:
    """Return a long text without its middle, where a server may repeat what it was sent."""
    if len(text) <= _MESSAGE_HEAD + _MESSAGE_TAIL:
        return text
    return f"{text[:_MESSAGE_HEAD]} [...] {text[-_MESSAGE_TAIL:]}"


def values_in(
    content: object, names: Collection[str], depth: int = 6
) -> Iterator[tuple[str, object]]:
    """Yield the values of these names anywhere in a body.

    Names are in lower case, without hyphens and underscores.
    """
    if depth == 0:
        return
    inner = content if isinstance(content, list) else []
    if isinstance(content, Mapping):
        for name, value in content.items():
            plain = str(name).replace("_", "").replace("-", "").lower()
            if plain in names:
                yield plain, value
        inner = list(content.values())
    for one in inner:
        yield from values_in(one, names, depth - 1)


class _Repeated(dict[str, Any]):
    """A JSON object with a name that occurs more than once; `pairs` keeps them all."""

    pairs: Sequence[tuple[str, Any]] = ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    repeated = _Repeated(made)
    repeated.pairs = pairs
    return repeated


def read_usage(usage: object) -> TokenUsage | None:
    """Return the tokens that a reply reports as billed, or None if missing or invalid.

    A total that exceeds prompt and completion contains reasoning, which is billed as completion.
    """
    if not isinstance(usage, Mapping):
        return None
    prompt = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    if prompt is not None and "prompt_tokens" not in usage:
        # Anthropic counts what was cached beside the input, not within it
        prompt += sum(_count(usage.get(name)) or 0 for name in _CACHED_BESIDE)
    said = _count(usage.get("completion_tokens", usage.get("output_tokens")))
    total = _count(usage.get("total_tokens"))
    if not prompt or (said is None and (total or 0) < prompt):
        return None  # no prompt has no token: a server that writes 0 does not count
    cached = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    cached = cached or _count(usage.get("prompt_cache_hit_tokens")) or 0
    completion = said or 0
    if "prompt_tokens" in usage:
        prompt += _cached_beside(usage, prompt, cached, completion)
    if total is not None:
        completion = max(completion, total - prompt)
    reasoning = _detail(usage, _COMPLETION_DETAILS, "reasoning_tokens")
    # more reasoning than completion can only stand beside it, not within it
    beside = reasoning if reasoning > completion else 0
    return TokenUsage(prompt, completion + beside, cached)


def _cached_beside(usage: Mapping[str, Any], prompt: int, cached: int, completion: int) -> int:
    """Return what was read from a cache, where the count of the prompt leaves it out."""
    if cached > prompt:
        return cached
    beside = sum(_count(usage.get(name)) or 0 for name in _CACHED_BESIDE)
    is_beside = _count(usage.get("total_tokens")) == prompt + beside + completion
    return beside if is_beside or beside > prompt else 0


def _detail(usage: Mapping[str, Any], groups: Sequence[str], name: str) -> int:
    """Return a count that stands in a group of its own, or beside the others."""
    found = [usage.get(name)]
    found += [group.get(name) for each in groups if isinstance(group := usage.get(each), Mapping)]
    return max(_count(one) or 0 for one in found)


def _texts(choice: Mapping[str, Any], endpoint: Endpoint) -> tuple[str, str | None, str]:
    """Return the visible text, the refusal and the reasoning of a choice."""
    if endpoint != "chat" or (choice.get("message") is None and "text" in choice):
        return _text_or_none(choice.get("text")) or "", None, _reasoning(choice)
    if choice.get("message") is None and choice.get("finish_reason"):
        return "", None, ""  # stopped before the first word, such as by the filter of Azure
    message = _as_object(choice.get("message"), "choices.0.message")
    content, reasoning = message.get("content"), _reasoning(message)
    refusal = _text_or_none(message.get("refusal"))
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return _text_or_none(content) or "", refusal, reasoning
    visible, hidden = [], [reasoning]
    for chunk in content:
        if isinstance(chunk, str):
            visible.append(chunk)
        elif isinstance(chunk, Mapping):
            refusal = _text_or_none(chunk.get("refusal")) or refusal
            text = chunk.get("text")
            text = _text_or_none(text.get("value") if isinstance(text, Mapping) else text) or ""
            is_visible = chunk.get("type", "text") in _TEXT_CHUNKS
            (visible if is_visible else hidden).append(text if is_visible else str(chunk))
    return "".join(visible), refusal, "".join(hidden)


def _reasoning(message: Mapping[str, Any]) -> str:
    found = [message[name] for name in _REASONING_FIELDS if message.get(name)]
    return "".join(one if isinstance(one, str) else json.dumps(one) for one in found)


def _positions(logprobs: object) -> tuple[Position, ...]:
    """Return the positions of either form, or none."""
    if isinstance(logprobs, list):
        return _by_position(logprobs)
    if not isinstance(logprobs, Mapping):
        return ()
    content = logprobs.get("content")
    if isinstance(content, list):
        return _by_position(content)
    return _by_column(logprobs)


def _by_position(listed: Sequence[object]) -> tuple[Position, ...]:
    """Read the chat form: one object for each position."""
    made = []
    for index, one in enumerate(listed):
        path = f"choices.0.logprobs.content.{index}"
        entry = _as_object(one, path)
        tops = next((entry[k] for k in ("top_logprobs", "top_probs", "probs") if k in entry), None)
        top = _entries(tops, f"{path}.top_logprobs")
        token = _token(entry)
        made.append(_position(token, _logprob(entry), top, _identity(entry)))
    return tuple(made)


def _by_column(logprobs: Mapping[str, Any]) -> tuple[Position, ...]:
    """Read the completions form: a list for each column."""
    tokens, numbers, tops = (
        column if isinstance(column := logprobs.get(name), list) else []
        for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    made = []
    for index in range(max(len(tokens), len(tops))):
        token = tokens[index] if index < len(tokens) else None
        top = tops[index] if index < len(tops) else None
        number = numbers[index] if index < len(numbers) else None
        entries = _entries(top, f"choices.0.logprobs.top_logprobs.{index}")
        made.append(_position(_text_or_none(token), number, entries, None))
    return tuple(made)


def _position(
    token: str | None,
    logprob: object,
    top: tuple[TokenLogprob, ...] | None,
    identity: str | None,
) -> Position:
    """Return a position whose list holds the sampled token."""
    if not top:
        return Position(token or "", logprob, top)
    if token is None:  # not named: at temperature 0 the most probable one
        best = max(top, key=lambda entry: _number(entry.logprob))
        return Position(best.token, best.logprob, top)
    number = _number(logprob)
    word = bare(token).strip()
    alike = [
        (_number(entry.logprob), _ROUNDED if entry.token == token else _SAME_LOGPROB)
        for entry in top
        if bare(entry.token).strip() == word
    ]
    if number <= _FILLER:  # not reported
        return Position(token, None, top, is_foreign=not alike)
    if any(abs(one - number) <= most for one, most in alike):
        return Position(token, logprob, top)
    return Position(token, logprob, (*top, TokenLogprob(token, logprob, identity)), is_joined=True)


def _entries(listed: object, path: str) -> tuple[TokenLogprob, ...] | None:
    if listed is None:
        return None
    if isinstance(listed, Mapping):
        pairs = listed.pairs if isinstance(listed, _Repeated) else listed.items()
        return tuple(_named_entry(str(name), said) for name, said in pairs)
    if not isinstance(listed, list):
        raise ReplyUnreadable(f"{path}: not a list")
    objects = [_as_object(one, f"{path}.{at}") for at, one in enumerate(listed) if one is not None]
    if objects and all(_token(entry) is None for entry in objects):
        raise ReplyUnreadable(f"{path}: no entry has a token")
    # bytes that are no text by themselves have no name, and are no label
    return tuple(TokenLogprob(_token(e) or "", _logprob(e), _identity(e)) for e in objects)


def _named_entry(name: str, said: object) -> TokenLogprob:
    """Return an entry of an object: a token and its log-probability, or an id and both of them."""
    if not isinstance(said, Mapping):
        return TokenLogprob(name, said)
    return TokenLogprob(_token(said) or name, _logprob(said), name)


def _token(entry: Mapping[str, Any]) -> str | None:
    """Return the text of a token, which may stand in its bytes alone."""
    named = (entry[name] for name in _TOKEN_FIELDS if name in entry)
    text = _text_or_none(next(named, None))
    spelled = entry.get("bytes")
    if text or not isinstance(spelled, list) or not spelled:
        return text
    try:
        return bytes(spelled).decode()
    except (ValueError, TypeError):  # no bytes, or a part of a character
        return text


def _logprob(entry: Mapping[str, Any]) -> object:
    """Return the log-probability of an entry; llama.cpp may name the probability itself."""
    share = entry.get("prob")
    if "logprob" not in entry and isinstance(share, int | float) and 0 <= share <= 1:
        return math.log(share) if share else -math.inf
    return entry.get("logprob")


def _identity(entry: Mapping[str, Any]) -> str | None:
    parts = [entry[name] for name in ("id", "token_id", "bytes") if entry.get(name) is not None]
    return json.dumps(parts) if parts else None


def bare(token: str) -> str:
    """Return a token with the tokenizers' marks of spaces and newlines spelled out."""
    for mark, meant in _MARKS:
        token = token.replace(mark, meant)
    return token


# byte-level tokenizers write a space as U+0120 and a newline as U+010A, SentencePiece a space as
# U+2581, which byte-level spelling turns into three other characters
_MARKS: Final = (
    ("\u00e2\u0138\u0123", " "),
    ("\u2581", " "),
    ("\u0120", " "),
    ("\u010a", "\n"),
)


def is_filler(logprob: object, most: float = _FILLER) -> bool:
    """Return whether a log-probability of at most `most` only fills its place."""
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return False
    return logprob <= most


def _number(logprob: object) -> float:
    number = checked_logprob(logprob)
    return -math.inf if number is None else number


def _as_object(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ReplyUnreadable(f"{path}: not an object")
    return value


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if is_count and isinstance(value, int) else None


_LEAST_CUT: Final = 256  # no server cuts prompts to fewer tokens
_LONGEST_TOKEN: Final = 16  # bytes
# Chinese, Japanese and Korean: a token has one to two characters on average
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_UNSPACED_IN_TOKEN: Final = 3
_PUNCTUATION: Final = str.maketrans(dict.fromkeys(punctuation, " "))
_MOST_WORDS: Final = 1 / 0.9  # for a token; nearly all tokenizers have at most one


def cut_prompt(text: str, usage: TokenUsage | None) -> JudgeFailure | None:
    """Return a failure where the server read far fewer tokens than the prompt must have.

    Some servers cut a prompt that is longer than their context, and say so nowhere but in the
    usage. Every word has a token, and long words have several; punctuation parts words.
    """
    read = 0 if usage is None else usage.prompt
    if not _LEAST_CUT <= read < len(text):
        return None
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text)) // _UNSPACED_IN_TOKEN
    least = max(_fewest_tokens(text), _fewest_tokens(text.translate(_PUNCTUATION)), unspaced)
    if read * _MOST_WORDS >= least:
        return None
    detail = (
        f"the server read {read} tokens of a prompt that has at least {least}: it cut the prompt;"
        " raise its context length (num_ctx for Ollama)"
    )
    return JudgeFailure(FailureKind.CONTEXT_OVERFLOW, detail)


def _fewest_tokens(text: str) -> int:
    return sum(-(-len(word.encode(errors="replace")) // _LONGEST_TOKEN) for word in text.split())
