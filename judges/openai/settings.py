"""Settings, secrets, token requests and fingerprint of OpenAI-compatible judges.

With the `tokens` endpoint, prompts are tokenised here, so no text can become a control token. The
server returns the log-probabilities of the labels' own tokens, even if improbable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from judges.base import JudgeSpec
from judges.errors import JudgeConfigurationInvalid
from judges.openai.replies import Endpoint, Reply
from judges.prompting.annotators import EarlyStop, prompt_notes, scored_by_prompt
from judges.prompting.examples import ExampleSets, example_prompts
from judges.prompting.label_tokens import (
    LabelIds,
    LabelMatcher,
    LabelProbabilities,
    find_label_ids,
    note_tokens,
    read_label_logprobs,
    unparseable,
)
from judges.prompting.templates import Prompt, PromptTemplate
from judges.prompting.tokens import PromptTokens, Tokenizer
from judges.reasons import OPENING, ReasonSettings
from judges.types import JudgeFailure

_TOKEN_ID: Final = "token_id:"
_INSTALL: Final = (
    "endpoint: \"tokens\" needs the package transformers (pip install 'tribunal-judge[vllm]')"
)


@dataclass(frozen=True)
class TokenRequests:
    """Build requests from token ids and read their replies, for one tokenizer and label set."""

    tokens: PromptTokens
    label_ids: LabelIds

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """Return the prompt-specific part of a request body."""
        wanted = self.label_ids.all
        return {
            "prompt": [*self.tokens.shared(prompt.shared), *self.tokens.query(prompt.query)],
            "logprobs": 1,
            "logprob_token_ids": wanted,
            "allowed_token_ids": wanted,
            "return_tokens_as_token_ids": True,
        }

    def reason(self, prompt: Prompt, said: str) -> list[int]:
        """Return the prompt that goes on from the label `said` to a reason."""
        space = "" if self.tokens.is_chat else " "
        after = self.tokens.plain(f"{space}{said}{OPENING}")
        return [*self.tokens.shared(prompt.shared), *self.tokens.query(prompt.query), *after]

    def labels(self, reply: Reply) -> LabelProbabilities | JudgeFailure:
        """Return the label probabilities of a reply, or the failure."""
        try:
            logprobs = {
                int(token.removeprefix(_TOKEN_ID)): float(str(logprob))
                for token, logprob, _ in (reply.positions[0].top or () if reply.positions else ())
            }
        except ValueError:
            return unparseable("the log-probabilities are not by token id: is this a vLLM server?")
        note_tokens(
            [(self.tokens.text_of([i]), p) for i, p in logprobs.items()],
            self.label_ids.labels,
            LabelMatcher(self.label_ids.labels).index,
        )
        return read_label_logprobs(logprobs, self.label_ids)


def token_requests(source: str, revision: str | None, labels: Sequence[str]) -> TokenRequests:
    """Load the tokenizer at `source`, a folder or a model hub name, for token requests.

    Raises:
        JudgeConfigurationInvalid: The tokenizer cannot be loaded or lacks the labels.
    """
    tokenizer = load_tokenizer(source, revision)
    is_chat = bool(tokenizer.chat_template)
    tokens = PromptTokens(tokenizer, is_chat=is_chat, options={"enable_thinking": False})
    return TokenRequests(tokens, find_label_ids(tokenizer, labels))


def load_tokenizer(source: str, revision: str | None) -> Tokenizer:
    """Load the tokenizer at `source`, a folder or a model hub name.

    Raises:
        JudgeConfigurationInvalid: It cannot be loaded.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise JudgeConfigurationInvalid(_INSTALL) from error
    try:
        loaded: Tokenizer = AutoTokenizer.from_pretrained(source, revision=revision or "main")
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise JudgeConfigurationInvalid(f"tokenizer: {source!r}: {reason}") from error
    return loaded


Orders = Literal["both", "as_posted"]
Confidence = Literal["annotators", "predictive", "verbalized", "rating"]
SystemRole = Literal["auto", "system", "user"]
Omittable = Literal["temperature", "max_tokens", "logprobs", "top_logprobs"]
#: Fields that limit the length of an answer.
LIMITS: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens"}
)
LEAST_LABEL_MASS: Final = 0.1
#: What providers ask for batches, as a share of their prices.
HALF: Final = 0.5
_SECRET: Final = "env:"
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS: Final = ("content-length", "content-type", "transfer-encoding", "connection", "host")


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """Settings of a judge behind a server.

    Attributes:
        name: Name of the judge.
        base_url: URL up to and including `/v1`.
        model: Model name on the server.
        revision: Optional model revision to include in the fingerprint.
        endpoint: `chat`, `completions`, or `tokens`. `tokens` sends completions with token ids,
            exactly as a hosted judge does; it requires a vLLM server.
        tokenizer: Tokenizer for `tokens`: a folder or a model hub name.
        orders: `both`, or `as_posted` to show a first only.
        confidence: `annotators`; `predictive`, one answer without examples; or `verbalized`, the
            percentage that the model states.
        max_tokens: Maximum tokens per answer.
        top_logprobs: Number of log-probs to request; with 0, each answer counts as a vote.
        temperature: Sampling temperature.
        extra_body: Additional fields of every request.
        omit: Default fields that are not sent.
        system_role: Role of the instructions: `system`, `user` for one message together with the
            pair, or `auto`, which changes from `system` to `user` if the server refuses it.
        min_label_mass: Labels with less probability together are a failure; None: 0.1, and 0 for
            `tokens`, where the prompt is laid out here, as for a hosted judge.
        concurrency: Maximum requests in flight.
        max_reply_bytes: Maximum bytes of one reply, unpacked; a larger one is a failure.
        timeout_s: Timeout of one attempt in seconds.
        attempts: Maximum attempts per request.
        headers: Additional headers; a value `env:NAME` is read from the environment.
        query: Query of every request's URL; values as in `headers`.
        retry_wait_s: Seconds before the first retry if the server does not say; doubles each time.
        longest_wait_s: Maximum delay between attempts; if the server asks for more, do not retry.
        early_stop: Early-stopping condition, or None to query all annotators.
        reasons: When to say why, None for never; no part of the fingerprint.
        price_input: USD per million prompt tokens.
        price_output: USD per million completion tokens.
        budget_usd: Spending limit for the lifetime of the process; requires both prices.
        api_key_env: Environment variable that holds the key; its value is never stored.
        batch_endpoint: Whether a batch asks through the provider's own batches; no part of the
            fingerprint, as the same model answers.
        batch_price: What that costs, as a share of the prices.
    """

    name: str
    base_url: str
    model: str
    revision: str | None = None
    endpoint: Endpoint = "chat"
    tokenizer: str | None = None
    orders: Orders = "both"
    confidence: Confidence = "annotators"
    max_tokens: int = 1
    top_logprobs: int = 20
    temperature: float = 0.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    omit: frozenset[str] = frozenset()
    system_role: SystemRole = "auto"
    min_label_mass: float | None = None
    concurrency: int = 64
    max_reply_bytes: int = 16 * 2**20
    timeout_s: float = 60.0
    attempts: int = 5
    retry_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    early_stop: EarlyStop | None = None
    reasons: ReasonSettings | None = None
    price_input: float | None = None
    price_output: float | None = None
    budget_usd: float | None = None
    api_key_env: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    batch_endpoint: bool = False
    batch_price: float = HALF

    @property
    def least_label_mass(self) -> float:
        """The limit in force."""
        if self.min_label_mass is not None:
            return self.min_label_mass
        return 0.0 if self.endpoint == "tokens" else LEAST_LABEL_MASS

    def __post_init__(self) -> None:
        """Move a query that stands in `base_url` to `query`: paths are put behind the address."""
        address, _, query = self.base_url.partition("?")
        object.__setattr__(self, "base_url", address)
        object.__setattr__(self, "query", {**dict(parse_qsl(query)), **self.query})


def spec_of(settings: OpenAISettings, template: PromptTemplate, sets: ExampleSets) -> JudgeSpec:
    """Return the judge's specification; the fingerprint excludes the server's address."""
    scored_by = {
        "model": settings.model,
        "revision": settings.revision,
        "endpoint": settings.endpoint,
        **({"tokenizer": settings.tokenizer} if settings.tokenizer else {}),
        **scored_by_prompt(settings, template, sets),
        "max_tokens": settings.max_tokens,
        "top_logprobs": settings.top_logprobs,
        "extra_body": dict(settings.extra_body),
        **_changed(settings),
    }
    return JudgeSpec(
        name=settings.name,
        kind="openai",
        model=settings.model,
        scored_by=scored_by,
        price_input=settings.price_input,
        price_output=settings.price_output,
        is_symmetric=settings.orders == "both",
        example_prompts=example_prompts(sets),
        notes={
            "base_url": settings.base_url,
            "api_key_env": settings.api_key_env,
            **({"headers": sorted(settings.headers)} if settings.headers else {}),
            **({"query": sorted(settings.query)} if settings.query else {}),
            **prompt_notes(template, sets),
        },
    )


def _changed(settings: OpenAISettings) -> dict[str, Any]:
    """Return the newer settings that differ from their defaults: old fingerprints stay as they were."""
    changed: dict[str, Any] = {}
    if settings.temperature != 0.0:
        changed["temperature"] = settings.temperature
    if settings.omit:
        changed["omit"] = sorted(settings.omit)
    if settings.system_role == "user":
        changed["system_role"] = "user"
    if settings.least_label_mass != replace(settings, min_label_mass=None).least_label_mass:
        changed["min_label_mass"] = settings.least_label_mass
    return changed


@dataclass(frozen=True, slots=True)
class Secrets:
    """What every request carries and no message may show.

    Attributes:
        key: The API key.
        headers: Values by name.
        query: Values by name.
        unset: Environment variables that are named and not set.
    """

    key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    unset: tuple[str, ...] = ()

    @classmethod
    def read(cls, settings: OpenAISettings, environ: Mapping[str, str]) -> Secrets:
        """Read the values that the settings name.

        Raises:
            JudgeConfigurationInvalid: A value cannot be sent; names where it stands.
        """
        path = f"judges.{settings.name}"
        key = key_from(environ, settings.api_key_env)
        given = (*settings.headers.values(), *settings.query.values())
        named = [value.removeprefix(_SECRET) for value in given if value.startswith(_SECRET)]
        named = [*([settings.api_key_env] if settings.api_key_env else []), *named]
        headers = {"authorization": f"Bearer {key}"} if key else {}
        headers |= {
            name.lower(): _value(f"{path}.headers.{name}", text, environ)
            for name, text in settings.headers.items()
        }
        query = {
            name: _value(f"{path}.query.{name}", text, environ)
            for name, text in settings.query.items()
        }
        unset = tuple(dict.fromkeys(name for name in named if not environ.get(name, "").strip()))
        return cls(key, headers, query, unset)

    def hide(self, text: str) -> str:
        """Return `text` with every secret in it replaced."""
        values = {self.key or "", *self.headers.values(), *self.query.values()}
        for value in sorted(values, key=len, reverse=True):
            bare = value.removeprefix("Bearer ")
            if len(bare) >= _SHORTEST_SECRET:
                text = text.replace(bare, "***")
        return text


_SHORTEST_SECRET: Final = 4


def _value(path: str, text: str, environ: Mapping[str, str]) -> str:
    is_named = text.startswith(_SECRET)
    value = environ.get(text.removeprefix(_SECRET), "").strip() if is_named else text
    if not (value.isascii() and value.isprintable()):
        where = f"the environment variable {text.removeprefix(_SECRET)}" if is_named else "it"
        raise JudgeConfigurationInvalid(f"{path}: {where} holds a character that cannot be sent")
    return value


def check_headers(headers: Mapping[str, str]) -> None:
    """Check the names of headers.

    Raises:
        JudgeConfigurationInvalid: Names the header.
    """
    for name in headers:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise JudgeConfigurationInvalid(f"headers: {name!r} cannot be set")


def key_from(environ: Mapping[str, str], variable: str | None) -> str | None:
    """Read the API key from an environment variable.

    Raises:
        JudgeConfigurationInvalid: The value is not a valid key.
    """
    key = environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):
        raise JudgeConfigurationInvalid(f"the environment variable {variable} does not hold a key")
    return key or None
