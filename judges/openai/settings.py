"""Settings, request body, fingerprint, token endpoint.

The server tokenises nothing, so no text can become a control token there, and it returns the
log-probabilities of the labels' own tokens, however improbable they are.
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
    """How prompts become token ids and replies are read, for one tokenizer and set of labels."""

    tokens: PromptTokens
    label_ids: LabelIds

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """Return the part of a request that says what is asked."""
        wanted = self.label_ids.all
        return {
            "prompt": [*self.tokens.shared(prompt.shared), *self.tokens.query(prompt.query)],
            "logprobs": 1,
            "logprob_token_ids": wanted,
            "allowed_token_ids": wanted,
            "return_tokens_as_token_ids": True,
        }

    def labels(self, reply: Reply) -> LabelProbabilities | JudgeFailure:
        """Return the labels' probabilities, or why the reply does not say them."""
        try:
            logprobs = {
                int(token.removeprefix(_TOKEN_ID)): float(str(logprob))
                for token, logprob in reply.top_logprobs
            }
        except ValueError:
            return unparseable("the log-probabilities are not by token id: is this a vLLM server?")
        return read_label_logprobs(logprobs, self.label_ids)


def token_requests(source: str, revision: str | None, labels: Sequence[str]) -> TokenRequests:
    """Return how to ask a server whose tokenizer is at `source`, a folder or a name on the hub.

    Raises:
        JudgeConfigurationInvalid: it cannot be loaded, or does not know the labels.
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
    """How a server is asked.

    Attributes:
        name: The judge's name.
        base_url: Up to and including `/v1`.
        model: The name the server knows the model by.
        revision: Of the model, where the user wants it in the fingerprint.
        endpoint: `chat`, `completions`, or `tokens`: completions of prompts as token ids, exactly
            those of a hosted judge; for servers that are vLLM.
        tokenizer: For `tokens`: a folder, or a name on the model hub.
        orders: `both`, or `as_posted`: a shown first, alone.
        confidence: `annotators`; `predictive`: one answer without examples; `verbalized`: the
            percentage that the model states.
        max_tokens: Of one answer.
        top_logprobs: Tokens whose log-probs are asked for; 0: none, each answer is then a vote.
        extra_body: Further fields of every request.
        concurrency: Requests in flight.
        timeout_s: Seconds for one attempt.
        attempts: Of one request.
        retry_wait_s: Seconds before the first retry where the server does not say; doubles.
        longest_wait_s: The most that is waited between two attempts. A server that asks for more
            is not asked again.
        early_stop: When not all annotators are asked.
        price_input: USD per million prompt tokens.
        price_output: USD per million completion tokens.
        budget_usd: The most that may be spent while the process runs; needs both prices.
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
    """Return what is posted to the endpoint: nothing that a back end might not know but log-probs."""
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
    """Return the judge's description; the server's address is no part of its fingerprint."""
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
    """Return the key that a variable of the environment holds.

    Raises:
        JudgeConfigurationInvalid: what it holds cannot be a key.
    """
    key = environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):
        raise JudgeConfigurationInvalid(f"the environment variable {variable} does not hold a key")
    return key or None
