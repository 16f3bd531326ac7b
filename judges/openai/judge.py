"""A judge behind an OpenAI-compatible server, such as `vllm serve` or a hosted API.

Each simulated annotator is queried with both response orders; the few-shot examples do not change.
The score uses the probabilities of the label tokens, not a sampled verdict (Jung, Brahman, Choi
2025). All HTTP of this package is in this module.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import httpx

from judges.base import JudgeHealth, JudgeSpec, note_failed_attempt
from judges.budget import Asks, Budget
from judges.errors import JudgeConfigurationInvalid
from judges.openai.calls import (
    AdaptiveSlots,
    CallFailed,
    Halt,
    LeastBusy,
    Spent,
    retry_after_seconds,
)
from judges.openai.replies import (
    Endpoint,
    Reply,
    ReplyUnreadable,
    failure_of_status,
    labels_of_reply,
    read_reply,
    verbalized_labels,
)
from judges.openai.settings import OpenAISettings, TokenRequests, key_from, request_body, spec_of
from judges.prompting.annotators import ask_annotators, first_annotators
from judges.prompting.answers import AnnotatorAnswers, Answer, score_of_answers
from judges.prompting.examples import ExampleSets
from judges.prompting.label_tokens import LabelMatcher, LabelProbabilities, unparseable
from judges.prompting.templates import Prompt, PromptTemplate, RenderedPair
from judges.retries import retrying
from judges.types import FailureKind, JudgeFailure, Pair, Score, TokenUsage

Transport = httpx.AsyncBaseTransport

_HEALTH_TIMEOUT_SECONDS: Final = 3.0
_MAX_NAMES_SHOWN: Final = 10
_CONNECTIONS_OF_CLIENT: Final = 8


class OpenAIJudge:
    """Score pairs with a server; N annotators in both orders take 2N requests per pair."""

    def __init__(  # noqa: PLR0913 - the judge's three parts and its three seams
        self,
        settings: OpenAISettings,
        template: PromptTemplate,
        sets: ExampleSets = ((),),
        *,
        by_token: TokenRequests | None = None,
        transport: Transport | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._template = template
        self._shared = tuple(template.shared(examples) for examples in sets)
        self._matcher = LabelMatcher(template.labels)
        self._by_token = by_token
        self._budget = Budget(settings.budget_usd, settings.price_input, settings.price_output)
        self._clock = clock
        self._spec = spec_of(settings, template, sets)
        self._key = key_from(environ, settings.api_key_env)
        self._slots = AdaptiveSlots(settings.concurrency)
        self._clients = _clients(settings, self._key, transport)

    @property
    def spec(self) -> JudgeSpec:
        """The judge's specification."""
        return self._spec

    def most_usd(self, pair: Pair) -> float:
        """Return the maximum cost of a score over all annotators, orders and attempts."""
        asks = self.asks(pair)
        return self._settings.attempts * self._budget.most(asks.prompts, asks.max_tokens)

    def asks(self, pair: Pair) -> Asks:
        """Return what a score of this pair asks of the model, without repetitions."""
        queries = self._queries(pair)
        prompts = [shared + query.text for shared in self._shared for query in queries]
        fewest = first_annotators(len(self._shared), self._settings.early_stop) * len(queries)
        return Asks(prompts, fewest, self._settings.max_tokens)

    def _queries(self, pair: Pair) -> list[RenderedPair]:
        queries = [self._template.query(pair)]
        if self._settings.orders == "both":
            queries.append(self._template.query(pair, swapped=True))
        return queries

    async def score(self, pair: Pair) -> Score:
        """Return the mean over all annotators and orders, or the first failure."""
        started = self._clock()
        queries = self._queries(pair)
        own = self._by_token.tokens.flags_of(pair) if self._by_token else ()
        halt = Halt()

        async def ask(annotator: int) -> AnnotatorAnswers:
            prompts = [Prompt(self._shared[annotator], query.text) for query in queries]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(prompt, halt)) for prompt in prompts]
            return AnnotatorAnswers.of_orders([task.result() for task in tasks])

        return score_of_answers(
            self._spec,
            await ask_annotators(len(self._shared), ask, self._settings.early_stop),
            seconds=self._clock() - started,
            flags=(*queries[0].flags, *own),
        )

    async def health(self) -> JudgeHealth:
        """Check that the server offers the model."""
        if (missing := self._missing_key()) is not None:
            return JudgeHealth(False, missing.detail)
        try:
            with self._clients.member() as client:
                response = await client.get("models", timeout=_HEALTH_TIMEOUT_SECONDS)
            if response.status_code == 200:
                return self._health_by_models(response.json())
        except (httpx.HTTPError, ValueError) as error:
            return JudgeHealth(False, f"{self._settings.base_url}: {error or type(error).__name__}")
        if response.status_code in (404, 405):
            return JudgeHealth(True, "the server does not list its models")
        failure = failure_of_status(response.status_code, response.content)
        return JudgeHealth(False, self._explained(failure).detail)

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.members:
            await client.aclose()

    async def _ask(self, prompt: Prompt, halt: Halt) -> Answer:
        """Query one annotator in one order, unless another query has failed permanently."""
        spent = Spent()
        try:
            if (missing := self._missing_key()) is not None:
                raise CallFailed(missing)
            reply = await self._with_retries(prompt, halt, spent)
        except CallFailed as error:
            halt.failure = halt.failure or error.failure
            return Answer(error.failure, spent.usage, is_usage_known=spent.is_known)
        said = self._labels_of(reply)
        if isinstance(said, JudgeFailure):
            halt.failure = halt.failure or said
        differs = reply.model is not None and reply.model != self._settings.model
        flags = [f"model_differs:{reply.model[:80]}"] if differs and reply.model else []
        if not spent.is_known:
            flags.append("no_usage")
        return Answer(said, spent.usage, is_usage_known=spent.is_known, flags=tuple(flags))

    def _labels_of(self, reply: Reply) -> LabelProbabilities | JudgeFailure:
        if self._by_token is not None:
            return self._by_token.labels(reply)
        is_verbalized = self._settings.confidence == "verbalized"
        if reply.is_cut_short and self._settings.top_logprobs and not is_verbalized:
            # Without log-probs, the sampled text alone would count as full certainty.
            return unparseable("log-probs were asked for, and the list of them is empty")
        return (verbalized_labels if is_verbalized else labels_of_reply)(reply, self._matcher)

    async def _with_retries(self, prompt: Prompt, halt: Halt, spent: Spent) -> Reply:
        settings = self._settings

        def wait_before_retry(error: Exception) -> bool | float:
            if not isinstance(error, CallFailed):
                return False
            note_failed_attempt(error.failure)
            return error.retry

        async for attempt in retrying(
            wait_before_retry,
            attempts=settings.attempts,
            pause_s=settings.retry_wait_s,
            longest_s=settings.longest_wait_s,
        ):
            with attempt:
                async with self._slots.slot() as since:
                    if halt.failure is not None:
                        raise CallFailed(halt.failure)
                    return await self._paid(prompt, spent, since)
        raise AssertionError("unreachable")

    async def _paid(self, prompt: Prompt, spent: Spent, since: int) -> Reply:
        """Make one attempt within the budget."""
        reserved = self._budget.reserve(prompt.text, self._settings.max_tokens)
        if reserved is None:
            detail = f"the budget of {self._budget.usd:g} USD does not cover another call"
            raise CallFailed(JudgeFailure(FailureKind.UNAVAILABLE, detail))
        usage: TokenUsage | None = None
        try:
            reply = await self._attempt(prompt, spent, since)
            usage = reply.usage
            return reply
        except CallFailed as error:
            usage = TokenUsage() if error.failure.kind in _NOT_BILLED else None
            raise
        finally:
            self._budget.settle(reserved, usage)

    async def _attempt(self, prompt: Prompt, spent: Spent, since: int) -> Reply:
        settings = self._settings
        spent.usage += TokenUsage(calls=1)
        path = "chat/completions" if settings.endpoint == "chat" else "completions"
        try:
            with self._clients.member() as client:
                async with asyncio.timeout(settings.timeout_s):
                    response = await client.post(
                        path, json=request_body(settings, prompt, self._by_token)
                    )
        except (TimeoutError, httpx.TimeoutException):
            detail = f"no answer within {settings.timeout_s:g} s"
            raise CallFailed(JudgeFailure(FailureKind.TIMEOUT, detail), retry=True) from None
        except httpx.DecodingError as error:
            failure = JudgeFailure(FailureKind.UNPARSEABLE, f"the body cannot be decoded: {error}")
            raise CallFailed(failure) from error
        except httpx.HTTPError as error:
            detail = f"{settings.base_url}: {error or type(error).__name__}"
            failure = JudgeFailure(FailureKind.CONNECTION, detail)
            raise CallFailed(failure, retry=True) from error
        if response.status_code in _BUSY:
            self._slots.busy(since)
        if response.status_code != 200:
            raise self._refusal(response)
        self._slots.answered()
        return _counted(response.content, settings.endpoint, spent)

    def _refusal(self, response: httpx.Response) -> CallFailed:
        failure = self._explained(failure_of_status(response.status_code, response.content))
        if failure.kind not in _RETRIED:
            return CallFailed(failure)
        wait = retry_after_seconds(response.headers.get("Retry-After"), now=time.time())
        if wait is None:
            return CallFailed(failure, retry=True)
        if wait > self._settings.longest_wait_s:
            detail = f"{failure.detail}; the server asks to wait {wait:g} s"
            return CallFailed(replace(failure, detail=detail))
        return CallFailed(failure, retry=wait)

    def _explained(self, failure: JudgeFailure) -> JudgeFailure:
        """Add a hint to the failure and redact the API key if the server repeats it."""
        detail = failure.detail.replace(self._key, "***") if self._key else failure.detail
        if failure.kind is FailureKind.UNAVAILABLE:
            key = self._settings.api_key_env or "api_key_env (not set)"
            detail += (
                f" - check base_url {self._settings.base_url}, model {self._settings.model!r}"
                f" and the key in {key}"
            )
        return replace(failure, detail=detail)

    def _missing_key(self) -> JudgeFailure | None:
        if self._settings.api_key_env is None or self._key:
            return None
        detail = f"the environment variable {self._settings.api_key_env} is not set"
        return JudgeFailure(FailureKind.UNAVAILABLE, detail)

    def _health_by_models(self, content: object) -> JudgeHealth:
        data = content.get("data") if isinstance(content, dict) else None
        names = [str(m.get("id")) for m in data or [] if isinstance(m, dict)]
        if not names or self._settings.model in names:
            return JudgeHealth(True)
        shown = ", ".join(names[:_MAX_NAMES_SHOWN])
        return JudgeHealth(False, f"no model {self._settings.model!r}; the server has {shown}")


_BUSY: Final = (429, 503)
_NOT_BILLED: Final = (
    FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR, FailureKind.CONNECTION,
    FailureKind.UNAVAILABLE,
)  # fmt: skip
_RETRIED: Final = (FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT)


def _clients(
    settings: OpenAISettings, key: str | None, transport: Transport | None
) -> LeastBusy[httpx.AsyncClient]:
    """Return enough clients for the concurrent requests and one health check."""
    verify = httpx.create_ssl_context()
    # A custom transport exists only once.
    n = 1 if transport else -(-settings.concurrency // _CONNECTIONS_OF_CLIENT)
    return LeastBusy(
        [
            httpx.AsyncClient(
                base_url=settings.base_url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=settings.timeout_s,
                limits=httpx.Limits(max_connections=_CONNECTIONS_OF_CLIENT + 1),
                verify=verify,
                transport=transport,
            )
            for _ in range(n)
        ]
    )


def _counted(body: bytes, endpoint: Endpoint, spent: Spent) -> Reply:
    try:
        reply = read_reply(body, endpoint)
    except ReplyUnreadable as error:
        spent.is_known = False
        raise CallFailed(JudgeFailure(FailureKind.UNPARSEABLE, str(error))) from error
    if reply.usage is None:
        spent.is_known = False
    else:
        spent.usage += reply.usage
    return reply


def checked_base_url(path: str, text: str) -> str:
    """Return `text` if it is a valid base URL; `path` names the key that holds it.

    Raises:
        JudgeConfigurationInvalid: The URL is invalid or contains a password.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise JudgeConfigurationInvalid(f"{path}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise JudgeConfigurationInvalid(f"{path}: {text!r} is not an http or https address")
    if url.userinfo:
        raise JudgeConfigurationInvalid(f"{path}: holds a password; use api_key_env instead")
    return text
