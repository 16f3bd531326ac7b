"""Settings, request bodies, token requests and fingerprint of OpenAI-compatible judges.

With the `tokens` endpoint, prompts are tokenised here, so no text can become a control token. The
server returns the log-probabilities of the labels' own tokens, even if improbable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from judges.base import JudgeSpec
from judges.errors import JudgeConfigurationInvalid
from judges.openai.replies import Endpoint, Reply
from judges.prompting.annotators import EarlyStop, prompt_notes, scored_by_prompt
from judges.prompting.examples import ExampleSets, example_prompts
from judges.prompting.label_tokens import (
    LabelIds,
    LabelProbabilities,
    find_label_ids,
    read_label_logprobs,
    unparseable,
)
from judges.prompting.templates import Prompt, PromptTemplate
from judges.prompting.tokens import PromptTokens, Tokenizer
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

    def labels(self, reply: Reply) -> LabelProbabilities | JudgeFailure:
        """Return the label probabilities of a reply, or the failure."""
        try:
            logprobs = {
                int(token.removeprefix(_TOKEN_ID)): float(str(logprob))
                for token, logprob in reply.top_logprobs
            }
        except ValueError:
            return unparseable("the log-probabilities are not by token id: is this a vLLM server?")
        return read_label_logprobs(logprobs, self.label_ids)


def token_requests(source: str, revision: str | None, labels: Sequence[str]) -> TokenRequests:
    """Load the tokenizer at `source`, a folder or a model hub name, for token requests.

    Raises:
        JudgeConfigurationInvalid: The tokenizer cannot be loaded or lacks the labels.
    """
    tokenizer = _loaded(source, revision)
    is_chat = bool(tokenizer.chat_template)
    tokens = PromptTokens(tokenizer, is_chat=is_chat, options={"enable_thinking": False})
    return TokenRequests(tokens, find_label_ids(tokenizer, labels))


def _loaded(source: str, revision: str | None) -> Tokenizer:
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
Confidence = Literal["annotators", "predictive", "verbalized"]


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
        extra_body: Additional fields of every request.
        concurrency: Maximum requests in flight.
        max_reply_bytes: Maximum bytes of one reply, unpacked; a larger one is a failure.
        timeout_s: Timeout of one attempt in seconds.
        attempts: Maximum attempts per request.
        retry_wait_s: Seconds before the first retry if the server does not say; doubles each time.
        longest_wait_s: Maximum delay between attempts; if the server asks for more, do not retry.
        early_stop: Early-stopping condition, or None to query all annotators.
        price_input: USD per million prompt tokens.
        price_output: USD per million completion tokens.
        budget_usd: Spending limit for the lifetime of the process; requires both prices.
        api_key_env: Environment variable that holds the key; its value is never stored.
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
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 64
    max_reply_bytes: int = 16 * 2**20
    timeout_s: float = 60.0
    attempts: int = 5
    retry_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    early_stop: EarlyStop | None = None
    price_input: float | None = None
    price_output: float | None = None
    budget_usd: float | None = None
    api_key_env: str | None = None


def request_body(
    settings: OpenAISettings, prompt: Prompt, by_token: TokenRequests | None = None
) -> dict[str, Any]:
    """Build the request body from common fields, log-prob options and `extra_body`."""
    common = {"model": settings.model, "temperature": 0, "max_tokens": settings.max_tokens}
    if by_token is not None:
        return {**common, **by_token.body(prompt), **settings.extra_body}
    is_chat = settings.endpoint == "chat"
    wants_logprobs = settings.confidence != "verbalized" and settings.top_logprobs > 0
    logprobs: dict[str, Any] = {}
    if wants_logprobs and is_chat:
        logprobs = {"logprobs": True, "top_logprobs": settings.top_logprobs}
    elif wants_logprobs:
        logprobs = {"logprobs": settings.top_logprobs}
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    return {
        **common,
        **({"messages": messages} if is_chat else {"prompt": prompt.text}),
        **logprobs,
        **settings.extra_body,
    }


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
            **prompt_notes(template, sets),
        },
    )


def key_from(environ: Mapping[str, str], variable: str | None) -> str | None:
    """Read the API key from an environment variable.

    Raises:
        JudgeConfigurationInvalid: The value is not a valid key.
    """
    key = environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):
        raise JudgeConfigurationInvalid(f"the environment variable {variable} does not hold a key")
    return key or None
