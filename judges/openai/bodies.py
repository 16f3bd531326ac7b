"""Request bodies, and what is learned about the fields that a server refuses.

Some servers refuse fields that others need: reasoning models take no `max_tokens` or `temperature`,
and some chat templates know no system role. Where a refusal names such a field, the field is left
out from then on, and every score says so by a flag. A judge with other flags answers in another
manner than the one that was certified, so a certificate notices.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from judges.openai.settings import LIMITS, OpenAISettings, TokenRequests
from judges.prompting.templates import Prompt
from judges.reasons import OPENING, QUESTION
from judges.types import FailureKind, JudgeFailure

MERGED: Final = "system_merged"
OMITTED: Final = "omitted"
RENAMED_LIMIT: Final = "max_completion_tokens"
#: What a model may use that thinks before it answers; it replaces a `max_tokens` that is refused.
THINKING_LIMIT: Final = 4096
#: What an answer without a limit is taken to use at most where money is reserved for it.
UNLIMITED: Final = 32_768

_LEARNED: Final = ("temperature", "max_tokens", "top_logprobs", "logprobs")
_LOGPROBS: Final = frozenset({"logprobs", "top_logprobs"})
_UNSUPPORTED: Final = re.compile(
    r"not supported|unsupported|does not support|doesn't support|deprecated|not (allowed|permitted)"
    r"|cannot both be|unknown (field|parameter|name)|unrecognized|not available|extra inputs"
    r"|only the default|not enabled|not compatible|incompatible|not valid for|\bunavailable\b"
    r"|not (yet |currently )?implemented|cannot (return|provide|compute)|logits_all"
    r"|only \S+ is (allowed|supported)|may only be set|must be (set to )?(1|false|none|null)\b"
    r"|not recogni[sz]ed|unexpected (field|parameter|keyword)|unknown argument|cannot find field"
    r"|(do|is|are)(n't| not) (yet |currently )?(support|supported|allow|allowed|accept|accepted|permitted)\b"
    r"|cannot (be )?used?\b|can't (be )?used?\b|no longer (supports?|supported|accepts?|accepted)|not accepted"
    r"|(was|were) unexpected|invalid (field|parameter|argument|key)|is (invalid|illegal)|not a valid parameter"
    r"|\b(is|are) disabled|is fixed\b|has to be 1\b"
    # of another type than the one that is sent
    r"|invalid type|not a valid (integer|number|bool)|valid (integer|number)\b|expected (an? )?(int|[iu]\d+|bool|num)"
    r"|\u4e0d\u652f\u6301|\u975e\u6cd5",  # Chinese: not supported, illegal
    re.IGNORECASE,
)
# 0 is refused, and the server's own temperature is the only other one that is known to be taken
_TEMPERATURE_REFUSED: Final = re.compile(
    r"positive|\brange\b|greater than|should be|must be|(in|between) ?[\[(]?\d|invalid|at least"
    r"|\u53d6\u503c",  # Chinese: range of values
    re.IGNORECASE,
)
# a smaller number would be taken: which one is for the settings to say
_OF_VALUE: Final = re.compile(
    r"at most|<=|less than|must be between|no more than|maximum (is|value|of)|out of range|up to \d"
    r"|expected a value|greater than|at least|minimum value|should be in|too (large|small|low|high)|>=",
    re.IGNORECASE,
)
_SYSTEM_REFUSED: Final = re.compile(
    r"system['\"`]?[ _](role|message|prompt|instruction)s?\b.{0,40}(not|n't|unsupported|invalid)"
    r"|(not|n't|unsupported|invalid).{0,40}system['\"`]?[ _](role|message|prompt|instruction)s?\b"
    r"|developer instruction is not enabled|roles must alternate|only user.{0,20}assistant.{0,20}role"
    r"|messages\[0\]\.role|role.{0,30}['\"`]system['\"`]|['\"`]system['\"`].{0,40}role"
    r"|['\"`]system['\"`] is not one of|first message must be.{0,20}user"
    r"|must (start|begin) with.{0,20}user|messages\W{1,3}0\W{1,3}role|valid role.{0,10}\buser\b"
    r"|\brole:? must be.{0,5}(in\b|one of\b|user\b).{0,10}|should be ['\"`]user['\"`] or\b"
    r"|\brole:? system\b.{0,40}(not|n't|unsupported|invalid)"
    r"|(invalid|unexpected|unsupported|unknown) role:? system\b|role must be in\b"
    r"|(unknown variant|received|got) ['\"`]?system['\"`]?(?!\w|\s\w)|role of message.{0,60}must be.{0,5}user"
    r"|first message (to be|must use).{0,20}user|alternate between user and|only user messages"
    r"|developer (role|message|prompt)s?\b.{0,40}(not|n't|unsupported)"
    r"|\u4e0d\u652f\u6301.{0,6}system|system.{0,12}\u4e0d\u652f\u6301",  # Chinese: not supported
    re.IGNORECASE | re.DOTALL,
)
# fields of `extra_body` that keep a model to its labels, or are about the log-probs of an answer
_KEEP_TO_LABELS: Final = frozenset(
    {
        "allowed_token_ids", "best_of", "bad_words", "guided_choice", "guided_grammar",
        "guided_json", "guided_regex", "json_schema", "grammar", "logit_bias", "logprobs",
        "logprob_token_ids", "n", "regex", "response_format", "return_tokens_as_token_ids", "stop",
        "stop_token_ids", "structured_outputs", "top_logprobs", "top_logprobs_num",
    }
)  # fmt: skip
# names beside those of other scripts, which have no spaces between words
_FIELD: Final = re.compile(
    r"(?<![\w.])(max_tokens|top_logprobs|logprobs|log probabilities)(?!\w)"
    # this one is a word of the language, too, and may come from a prompt that the server repeats
    r"|(?:(?<=[\['\"`])|(?<=: )|(?<=parameter )|(?<![\w.]))(temperature)(?:(?=['\"`\]:]|\s?=\s?\d)"
    r"|(?=\s+(?:is|does|may|must|should|cannot|isn't|has|parameter|value|setting|field|option|argument|\d)\b)"
    r"|(?=\s?(?:\u53c2\u6570|\u53d6\u503c|\u5fc5\u987b|\u5e94))"  # Chinese: parameter, value, must, should
    r"|(?:(?<=: temperature)|(?<=parameter temperature)|(?<=support temperature)|(?<=supports temperature)"
    r"|(?<=setting temperature)|(?<=allow temperature)|(?<=accept temperature))(?!\w))",
    re.IGNORECASE | re.ASCII,
)
_IN_WORDS: Final = "log probabilities"
# what others call a field of ours
_ALIASES: Final = {
    _IN_WORDS: "logprobs", "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens", "max_new_tokens": "max_tokens", "top_n_tokens": "top_logprobs",
}  # fmt: skip
# fields of `extra_body`, at any depth, of tokens that may be billed besides those of the answer
_OTHER_LIMITS: Final = frozenset(
    {
        "budget_tokens", "max_thinking_tokens", "min_tokens", "n_predict", "num_predict",
        "reasoning_budget", "thinking_budget", "thinking_token_budget",
    }
)  # fmt: skip
_DEEPEST: Final = 5
_PARAMETER: Final = re.compile(r"\bparam '([a-z_]+)'")
_log = logging.getLogger(__name__)


class Bodies:
    """Builds the request bodies of one judge.

    Args:
        settings: The judge's settings.
        by_token: Builds prompts of token ids, for `endpoint = "tokens"`.
    """

    def __init__(self, settings: OpenAISettings, by_token: TokenRequests | None = None) -> None:
        self._settings = settings
        self._by_token = by_token
        self._refused: list[str] = []
        self._is_merged = settings.system_role == "user"

    @property
    def flags(self) -> tuple[str, ...]:
        """What was learned and therefore changed, as flags of a score."""
        merged = (MERGED,) if self._is_merged and self._settings.system_role == "auto" else ()
        return (*(f"{OMITTED}:{name}" for name in self._refused), *merged)

    @property
    def is_greedy(self) -> bool:
        """Whether every request asks for the most probable tokens."""
        return {**self._common(), **self._settings.extra_body}.get("temperature") == 0

    @property
    def most_tokens(self) -> int:
        """The most tokens that one call may be billed for as its answer."""
        return _most_tokens({**self._common(), **self._settings.extra_body})

    @property
    def limit(self) -> tuple[str, int] | None:
        """The setting that ends an answer and its tokens, as the configuration names them."""
        own = self._settings.extra_body
        sent = {name: value for name, value in self._common().items() if name not in own}
        limits = [
            (tokens, name)
            for name, value in (
                *((f"extra_body.{name}", own.get(name)) for name in sorted(LIMITS)),
                *(("max_tokens", sent.get(name)) for name in sorted(LIMITS)),
            )
            if (tokens := _positive(value))
        ]
        return min(limits)[::-1] if limits else None

    def most_reason_tokens(self, tokens: int) -> int:
        """Return the most tokens that a call for a reason may be billed for."""
        return _most_tokens(self._common_of_reason(tokens))

    def reason_body(self, prompt: Prompt, said: str, tokens: int) -> dict[str, Any]:
        """Return the body that asks why, after the label `said` as the model's own answer.

        Args:
            prompt: The prompt that the label answers.
            said: The label.
            tokens: The most tokens of the reason.
        """
        common = self._common_of_reason(tokens)
        if self._by_token is not None:
            return {**common, "prompt": self._by_token.reason(prompt, said)}
        if self._settings.endpoint == "chat":
            after = [{"role": "assistant", "content": said}, {"role": "user", "content": QUESTION}]
            return {**common, "messages": [*self._messages(prompt), *after]}
        return {**common, "prompt": f"{prompt.text} {said}{OPENING}"}

    def _common_of_reason(self, tokens: int) -> dict[str, Any]:
        """Return the common fields, without those that keep a model to its labels."""
        extra = {
            name: max(tokens, value) if name in LIMITS and _positive(value) else value
            for name, value in self._settings.extra_body.items()
            if name not in _KEEP_TO_LABELS
        }
        return {**self._common(tokens), **extra}

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """Return the body for one prompt: common fields, log-prob options and `extra_body`."""
        settings = self._settings
        if self._by_token is not None:
            return {**self._common(), **self._by_token.body(prompt), **settings.extra_body}
        is_chat = settings.endpoint == "chat"
        return {
            **self._common(),
            **({"messages": self._messages(prompt)} if is_chat else {"prompt": prompt.text}),
            **self._logprobs(is_chat),
            **settings.extra_body,
        }

    def learn(self, message: str, sent: Mapping[str, Any]) -> str | None:
        """Learn from the refusal of a body; return what will be different, None if nothing is.

        Only fields that stand here by default are given up, not those that the settings name.
        """
        if self._merges_after(message, sent):
            if not self._is_merged:
                self._is_merged = True
                _log.warning("judge %s: the server refuses the role system", self._settings.name)
            return MERGED
        name = self._field_of(message, sent)
        if name is None:
            return None
        if name not in self._refused:
            self._refused.append(name)
            _log.warning("judge %s: the server refuses the field %s", self._settings.name, name)
        return f"{OMITTED}:{name}"

    def adopt(self, flags: Collection[str]) -> None:
        """Ask from now on as another process does, that has learned what these flags say."""
        for flag in flags:
            name = flag.removeprefix(f"{OMITTED}:")
            if name in _LEARNED and name != flag and name not in self._refused:
                self._refused.append(name)
        self._is_merged = self._is_merged or MERGED in flags

    def advised(self, failure: JudgeFailure, sent: Mapping[str, Any]) -> JudgeFailure:
        """Add to a refusal which setting would help, if one is known."""
        if failure.kind is not FailureKind.REFUSED:
            return failure
        advice = self._advice(failure.detail, sent)
        return replace(failure, detail=f"{failure.detail} - {advice}") if advice else failure

    def _advice(self, message: str, sent: Mapping[str, Any]) -> str:
        if _SYSTEM_REFUSED.search(message) and self._settings.system_role == "system":
            return 'set system_role = "user"'
        places = {name: re.search(rf"\b{name}\b", message) for name in (*_LEARNED, *_ALIASES)}
        theirs = sorted((found.start(), name) for name, found in places.items() if found)
        named = [ours for _, name in theirs if (ours := _ALIASES.get(name, name)) in sent]
        if not named or not self._settings.extra_body.keys().isdisjoint(
            {*named, *(name for _, name in theirs)}
        ):
            return "change extra_body" if named else ""
        if named[0] == "max_tokens":
            return f'set max_tokens, or omit = ["max_tokens"] and {RENAMED_LIMIT} in extra_body'
        setting = "top_logprobs" if named[0] in _LOGPROBS else named[0]
        return f'set {setting}, or omit = ["{named[0]}"]'

    def _common(self, tokens: int | None = None) -> dict[str, Any]:
        settings = self._settings
        most = settings.max_tokens if tokens is None else max(tokens, settings.max_tokens)
        temperature = settings.temperature or 0  # an integer, as it has always been sent
        common: dict[str, Any] = {
            "model": settings.model,
            "temperature": temperature,
            "max_tokens": most,
        }
        left_out = {*settings.omit, *self._refused}
        if "max_tokens" in self._refused and "max_tokens" not in settings.omit:
            common[RENAMED_LIMIT] = max(most, THINKING_LIMIT)
        return {name: value for name, value in common.items() if name not in left_out}

    def _logprobs(self, is_chat: bool) -> dict[str, Any]:
        settings = self._settings
        left_out = {*settings.omit, *self._refused}
        if settings.confidence == "verbalized" or not settings.top_logprobs:
            return {}
        if "logprobs" in left_out:
            return {}
        if not is_chat:
            return {"logprobs": settings.top_logprobs}
        top = {} if "top_logprobs" in left_out else {"top_logprobs": settings.top_logprobs}
        return {"logprobs": True, **top}

    def _messages(self, prompt: Prompt) -> list[dict[str, str]]:
        if self._is_merged:
            return [{"role": "user", "content": prompt.text}]
        return [{"role": m.role, "content": m.content} for m in prompt.messages]

    def _merges_after(self, message: str, sent: Mapping[str, Any]) -> bool:
        messages = sent.get("messages")
        has_system = isinstance(messages, list) and messages[0].get("role") == "system"
        is_auto = self._settings.system_role == "auto"
        return is_auto and has_system and _SYSTEM_REFUSED.search(message) is not None

    def _field_of(self, message: str, sent: Mapping[str, Any]) -> str | None:
        """Return the default field that a refusal names, if it may be given up.

        The name may stand in quotes or not. Where several are named, it is the one that the error
        gives as its parameter, or else the first.
        """
        is_unsupported = bool(_UNSUPPORTED.search(message)) and not _OF_VALUE.search(message)
        mine = set(_LEARNED) - self._settings.extra_body.keys()
        if self._settings.temperature:
            mine.discard("temperature")
        named = [name.lower() for name in _PARAMETER.findall(message)]
        named += [(field or word).lower() for field, word in _FIELD.findall(message)]
        named = ["logprobs" if name == _IN_WORDS else name for name in named]
        named = [name for name in named if name in sent]
        if named[:1] == ["temperature"] and _TEMPERATURE_REFUSED.search(message):
            is_unsupported, mine = True, mine & {"temperature"}
        for name in named if is_unsupported else ():
            if name in mine:
                return "logprobs" if name in _LOGPROBS else name
        return None


def _most_tokens(body: Mapping[str, Any]) -> int:
    limits = [limit for name in LIMITS if (limit := _positive(body.get(name)))]
    copies = max(_positive(body.get(name)) or 1 for name in ("n", "best_of"))
    others = [limit for name, one in body.items() for limit in _other_limits(name, one)]
    besides = sum(_positive(limit) or UNLIMITED for limit in others if limit != 0)
    return ((max(limits) if limits else UNLIMITED) + besides) * copies


def _other_limits(name: str, value: object, depth: int = 0) -> Iterator[object]:
    """Yield the limits of thoughts, and those that a server reads in place of ours."""
    if isinstance(value, Mapping) and depth < _DEEPEST:
        for inner, one in value.items():
            yield from _other_limits(str(inner), one, depth + 1)
    elif name in _OTHER_LIMITS or (depth > 0 and name in LIMITS):
        yield value


def _positive(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_count and isinstance(value, int) else None
