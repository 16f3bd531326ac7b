"""A judge behind an OpenAI-compatible server, such as `vllm serve` or a hosted API.

Each simulated annotator is queried with both response orders; the few-shot examples do not change.
The score uses the probabilities of the label tokens, not a sampled verdict (Jung, Brahman, Choi
2025). All requests are made here, by the clients of `judges.openai.clients`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

from judges.base import JudgeHealth, JudgeSpec, current_exchange, exchange, note_failure
from judges.budget import Asks, Budget
from judges.openai.answers import Reading, labels_of_reply, verbalized_labels, visible
from judges.openai.batches import ProviderBatches, ProviderFailed
from judges.openai.bodies import Bodies
from judges.openai.calls import AdaptiveSlots, CallFailed, Halt, Spent
from judges.openai.clients import Transport, clients_of, missing_model
from judges.openai.failures import (
    Complaint,
    complaint_of_status,
    complaint_within,
    cut_prompt,
)
from judges.openai.later import Found, Later, Place, current_desk
from judges.openai.replies import Reply, ReplyUnreadable, parse_json, read_reply, read_usage
from judges.openai.settings import OpenAISettings, Secrets, TokenRequests, spec_of
from judges.prompting.annotators import ask_annotators, first_annotators
from judges.prompting.answers import AnnotatorAnswers, Answer, cost_of, score_of_answers
from judges.prompting.examples import ExampleSets
from judges.prompting.label_tokens import LabelMatcher, LabelProbabilities
from judges.prompting.templates import Prompt, PromptTemplate, RenderedPair
from judges.reasons import (
    DEFAULT_TOKENS,
    LABELS,
    QUESTION,
    Reason,
    ReasonSettings,
    Told,
    failed_reason,
    reason_of,
)
from judges.retries import retrying
from judges.types import FailureKind, JudgeFailure, Label, Pair, Score, TokenUsage

_HEALTH_TIMEOUT_SECONDS: Final = 3.0
_FIRST_IN_FLIGHT: Final = 4
# before these, no request has reached the server
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_NO_SUCH_PATH: Final = (404, 405)
_NOT_LISTED: Final = (*_NO_SUCH_PATH, 403, 501)
_DOWN: Final = (502, 503, 504)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request: all its text, its body, and the most tokens of an answer, as learned by then."""

    text: str
    body: Callable[[], dict[str, Any]]
    most_tokens: Callable[[], int]


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
        self._secrets = Secrets.read(settings, environ)
        self._bodies = Bodies(settings, by_token)
        # with a budget, the first call alone: it shows what a call may be billed
        first = _FIRST_IN_FLIGHT if settings.budget_usd is None else 1
        self._slots = AdaptiveSlots(settings.concurrency, first)
        self._clients = clients_of(settings, self._secrets, transport)

    @property
    def spec(self) -> JudgeSpec:
        """The judge's specification."""
        return self._spec

    @property
    def server(self) -> tuple[object, ...]:
        """Where the judge asks: its address, and what is sent with it."""
        query = tuple(sorted(self._settings.query.items()))
        return (self._settings.base_url.rstrip("/"), query)

    def most_usd(self, pair: Pair) -> float:
        """Return the maximum cost of a score over all annotators, orders and attempts."""
        asks = self.asks(pair)
        # what a batch answers in a way that cannot be used may be asked directly again
        batched = self._settings.batch_price if self._settings.batch_endpoint else 0.0
        times = self._settings.attempts + batched
        return times * self._budget.most(asks.prompts, asks.max_tokens)

    def asks(self, pair: Pair) -> Asks:
        """Return what a score of this pair asks of the model, without repetitions."""
        queries = self._queries(pair)
        prompts = [shared + query.text for shared in self._shared for query in queries]
        fewest = first_annotators(len(self._shared), self._settings.early_stop) * len(queries)
        return Asks(prompts, fewest, self._bodies.most_tokens)

    def _queries(self, pair: Pair) -> list[RenderedPair]:
        return self._template.queries(pair, both=self._settings.orders == "both")

    async def score(self, pair: Pair) -> Score:
        """Return the mean over all annotators and orders, or the first failure.

        Raises:
            AnswerLater: The answers may wait, and come with a batch of the provider.
        """
        started = self._clock()
        queries = self._queries(pair)
        own = self._by_token.tokens.flags_of(pair) if self._by_token else ()
        halt, later = Halt(), self._later(pair)

        def calls(annotator: int) -> dict[Place, _Call]:
            prompts = [Prompt(self._shared[annotator], query.text) for query in queries]
            return {(annotator, bool(i)): self._call(prompt) for i, prompt in enumerate(prompts)}

        def prepare(annotators: Sequence[int]) -> None:
            if later is not None:
                asked = [calls(annotator) for annotator in annotators]
                later.prepare({place: call.body for one in asked for place, call in one.items()})

        async def ask(annotator: int) -> AnnotatorAnswers:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        self._asked(call, halt, place, later.found(place) if later else None)
                    )
                    for place, call in calls(annotator).items()
                ]
            said = [task.result() for task in tasks]
            return AnnotatorAnswers.of_orders(said, self._template.scale)

        return score_of_answers(
            self._spec,
            await ask_annotators(len(self._shared), ask, self._settings.early_stop, prepare),
            seconds=self._clock() - started,
            flags=(*(flag for query in queries for flag in query.flags), *own),
            batch_price=self._settings.batch_price,
        )

    def _call(self, prompt: Prompt) -> _Call:
        bodies = self._bodies
        return _Call(prompt.text, lambda: bodies.body(prompt), lambda: bodies.most_tokens)

    def _later(self, pair: Pair) -> Later | None:
        """Return what asks about a pair where answers may wait, None where they may not."""
        desk = current_desk()
        if desk is None or self._secrets.unset:
            return None
        subject = f"{self._spec.fingerprint} {pair.content_hash}"
        leaves = self._settings.batch_endpoint
        return Later(desk, self._spec.name, subject, self._bodies, leaves=leaves)

    @property
    def provider_batches(self) -> ProviderBatches | None:
        """The batches of the judge's provider, None where they are not to be used."""
        return self.any_batches if self._settings.batch_endpoint else None

    @property
    def any_batches(self) -> ProviderBatches:
        """The batches of the judge's provider, also where no new ones are to be made."""
        return ProviderBatches(self._settings, self._clients, self._secrets, self._path)

    @property
    def price_in_batches(self) -> float:
        """What a batch pays for a call that its provider answers in a batch, as a share of the prices."""
        return self._settings.batch_price if self._settings.batch_endpoint else 1.0

    def batched_usd(self, content: object) -> float | None:
        """Return what an answer in a provider's batch has cost, None if that is unknown."""
        usage = _usage_in(content)
        if usage is None:
            return None
        return cost_of(self._spec, usage, usage, self._settings.batch_price)

    @property
    def reasons(self) -> ReasonSettings | None:
        """When the judge says why."""
        return self._settings.reasons

    def most_reason_usd(self, pair: Pair) -> float:
        """Return the maximum cost of a reason over all attempts."""
        call = self._reason_call(Prompt(self._shared[0], self._template.query(pair).text), "a")
        return self._settings.attempts * self._budget.most([call.text], call.most_tokens())

    async def explain(self, pair: Pair, score: Score, label: Label) -> Reason:
        """Return why the judge prefers what `label` says, or the failure.

        It is a call of its own: the first annotator's, with the label as the model's answer.
        """
        query = self._template.query(pair)
        prompt, spent = Prompt(self._shared[0], query.text), Spent()
        try:
            if (missing := self._missing_key()) is not None:
                raise CallFailed(missing)
            reply = await self._with_retries(self._reason_call(prompt, label), Halt(), spent)
        except CallFailed as error:
            failed = failed_reason(self, label, error.failure)
            cost = cost_of(self._spec, spent.usage) if spent.is_known else None
            return replace(failed, usage=spent.usage, cost_usd=cost)
        said = None if reply.refusal else visible(reply.text)
        is_cut = (reply.finish_reason or "").lower() == "length"
        return reason_of(
            self,
            Told(said or "", label, self._template.labels, is_cut=is_cut),
            score,
            flags=query.flags,
            usage=spent.usage,
            is_usage_known=spent.is_known,
        )

    def _reason_call(self, prompt: Prompt, label: Label) -> _Call:
        said = self._template.labels[LABELS.index(label)]
        tokens = self._settings.reasons.tokens if self._settings.reasons else DEFAULT_TOKENS
        return _Call(
            f"{prompt.text} {said}\n{QUESTION}",
            lambda: self._bodies.reason_body(prompt, said, tokens),
            lambda: self._bodies.most_reason_tokens(tokens),
        )

    async def health(self) -> JudgeHealth:
        """Check that the server offers the model, without asking it to generate anything."""
        if (missing := self._missing_key()) is not None:
            return JudgeHealth(False, missing.detail)
        try:
            with self._clients.member() as client:
                response = await client.get("models", timeout=_HEALTH_TIMEOUT_SECONDS)
                if response.status_code in _NOT_LISTED:
                    # a key may judge and not list, and without messages no server answers, but one that has the path says so
                    body = {"model": self._settings.model}
                    response = await client.post(
                        self._path, json=body, timeout=_HEALTH_TIMEOUT_SECONDS
                    )
        except httpx.HTTPError as error:
            return JudgeHealth(False, self._unreachable(error))
        health = self._health_by(response)
        if health.is_ready and self._settings.batch_endpoint:
            return await self._health_with_batches(health)
        return health

    async def _health_with_batches(self, health: JudgeHealth) -> JudgeHealth:
        try:
            if await self.any_batches.is_offered():
                return health
            noted = "batch_endpoint: the server has no batches: all pairs are asked directly"
        except ProviderFailed as error:
            noted = f"batch_endpoint: {error.failure.detail}"
        return replace(health, detail="; ".join(one for one in (health.detail, noted) if one))

    def _health_by(self, response: httpx.Response) -> JudgeHealth:
        listed = response.request.method == "GET"
        if response.status_code == 200 and listed:
            return self._health_by_models(response)
        if not listed and response.status_code not in (401, 403, *_NO_SUCH_PATH, *_DOWN):
            return self._ready("the server does not list its models")
        complaint = complaint_of_status(
            response.status_code, response.headers, response.content, now=time.time()
        )
        return JudgeHealth(False, self._explained(complaint.failure).detail)

    def _health_by_models(self, response: httpx.Response) -> JudgeHealth:
        try:
            content = parse_json(response.content)
        except ReplyUnreadable as error:
            failure = JudgeFailure(FailureKind.UNAVAILABLE, f"the list of models: {error}")
            return JudgeHealth(False, self._explained(failure).detail)
        complaint = complaint_within(content, response.headers, now=time.time())
        if complaint is not None:
            return JudgeHealth(False, self._explained(complaint.failure).detail)
        wrong = missing_model(content, self._settings.model)
        return self._ready() if wrong is None else JudgeHealth(False, wrong)

    def _ready(self, detail: str = "") -> JudgeHealth:
        changed = ", ".join(self._bodies.flags)
        noted = f"after refusals of the server: {changed}" if changed else ""
        return JudgeHealth(True, "; ".join(part for part in (detail, noted) if part))

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.members:
            await client.aclose()

    async def _asked(self, call: _Call, halt: Halt, place: Place, found: Found | None) -> Answer:
        annotator, is_swapped = place
        with exchange(annotator, is_swapped=is_swapped):
            answer = await self._ask(call, halt, found)
            if (told := current_exchange()) is not None:
                told.usage = answer.usage
                told.failure = answer.said if isinstance(answer.said, JudgeFailure) else None
            return answer

    async def _ask(self, call: _Call, halt: Halt, found: Found | None) -> Answer:
        """Query one annotator in one order, unless another query has failed permanently.

        An answer that has been found at the desk has been paid for, and counts in any case.
        """
        spent = Spent()
        try:
            if (missing := self._missing_key()) is not None:
                raise CallFailed(missing)
            if found is not None:
                reply = self._reply_found(call, found, spent)
            else:
                reply = await self._with_retries(call, halt, spent)
        except CallFailed as error:
            halt.failure = halt.failure or error.failure
            return Answer(
                error.failure, spent.usage, is_usage_known=spent.is_known, batched=spent.batched
            )
        said = self._labels_of(reply)
        if isinstance(said, JudgeFailure):
            halt.failure = halt.failure or said
        differs = reply.model is not None and reply.model != self._settings.model
        flags = [f"model_differs:{reply.model[:80]}"] if differs and reply.model else []
        flags += self._bodies.flags if found is None else found.flags
        if not spent.is_known:
            flags.append("no_usage")
        return Answer(
            said,
            spent.usage,
            is_usage_known=spent.is_known,
            flags=tuple(flags),
            batched=spent.batched,
        )

    def _reply_found(self, call: _Call, found: Found, spent: Spent) -> Reply:
        """Return the reply that a provider's batch has brought."""
        usage = _usage_in(found.content)
        spent.usage += TokenUsage(calls=1)
        if found.state == "lost":
            spent.add(None)
            raise CallFailed(JudgeFailure(FailureKind.UNAVAILABLE, found.detail))
        complaint = found.complaint
        # what failed in a batch is not billed
        counted = TokenUsage() if complaint is not None and usage is None else usage
        spent.add(counted)
        spent.batched += counted or TokenUsage()
        if complaint is not None:
            raise CallFailed(self._explained(complaint.failure))
        return self._read(call, found.content, {})

    def _labels_of(self, reply: Reply) -> LabelProbabilities | JudgeFailure:
        if self._settings.confidence == "verbalized":
            return verbalized_labels(reply, self._matcher)
        reading = Reading(
            self._matcher,
            least_mass=self._settings.least_label_mass,
            is_greedy=self._bodies.is_greedy,
        )
        if self._by_token is not None:
            return reading.with_enough_mass(self._by_token.labels(reply), reply.text)
        return labels_of_reply(reply, reading)

    async def _with_retries(self, call: _Call, halt: Halt, spent: Spent) -> Reply:
        settings = self._settings

        def wait_before_retry(error: Exception) -> bool | float:
            if not isinstance(error, CallFailed):
                return False
            note_failure(error.failure)
            return error.retry

        async for attempt in retrying(
            wait_before_retry,
            attempts=settings.attempts,
            pause_s=settings.retry_wait_s,
            longest_s=settings.longest_wait_s,
        ):
            with attempt:
                try:
                    return await self._allowed(call, halt, spent)
                except CallFailed as error:
                    if not isinstance(error.retry, bool):
                        error.retry = max(error.retry, attempt.next_wait)
                    raise
        raise AssertionError("unreachable")

    async def _allowed(self, call: _Call, halt: Halt, spent: Spent) -> Reply:
        """Make one attempt in a slot; repeat it at once if its refusal shows how to ask instead."""
        while True:
            async with self._slots.slot() as since:
                if halt.failure is not None:
                    raise CallFailed(halt.failure)
                try:
                    return await self._paid(call, spent, since)
                except CallFailed as error:
                    if error.sent is None or error.failure.kind is FailureKind.CONTEXT_OVERFLOW:
                        raise
                    if not self._bodies.learn(error.failure.detail, error.sent):
                        error.failure = self._bodies.advised(error.failure, error.sent)
                        raise

    async def _paid(self, call: _Call, spent: Spent, since: int) -> Reply:
        """Make one attempt within the budget."""
        reserved = self._budget.reserve(call.text, call.most_tokens())
        if reserved is None:
            detail = f"the budget of {self._budget.usd:g} USD does not cover another call"
            raise CallFailed(JudgeFailure(FailureKind.UNAVAILABLE, detail))
        usage: TokenUsage | None = None
        spent.usage += TokenUsage(calls=1)
        try:
            reply = await self._attempt(call, since)
            usage = reply.usage
            return reply
        except CallFailed as error:
            usage = error.usage
            raise
        finally:
            spent.add(usage)
            self._budget.settle(reserved, usage)

    async def _attempt(self, call: _Call, since: int) -> Reply:
        body = call.body()
        started = self._clock()
        response = await self._post(body, since)
        now = time.time()
        if not response.is_success:
            complaint = complaint_of_status(
                response.status_code, response.headers, response.content, now=now
            )
            raise self._complained(complaint, since, body)
        content = _content(response.content)
        complaint_in_200 = complaint_within(content, response.headers, now=now)
        if complaint_in_200 is not None:
            raise self._complained(complaint_in_200, since, body, content)
        self._slots.answered_after(self._clock() - started, self._settings.timeout_s)
        return self._read(call, content, body)

    def _read(self, call: _Call, content: object, body: Mapping[str, Any]) -> Reply:
        try:
            reply = read_reply(content, self._settings.endpoint)
        except ReplyUnreadable as error:
            failure = JudgeFailure(FailureKind.UNPARSEABLE, str(error))
            raise CallFailed(failure, usage=_usage_in(content)) from error
        _note(call, body, reply)
        if (cut := cut_prompt(call.text, reply.usage)) is not None:
            raise CallFailed(cut, usage=reply.usage)
        return reply

    @property
    def _path(self) -> str:
        return "chat/completions" if self._settings.endpoint == "chat" else "completions"

    async def _post(self, body: Mapping[str, Any], since: int) -> httpx.Response:
        settings = self._settings
        try:
            with self._clients.member() as client:
                async with asyncio.timeout(settings.timeout_s):
                    return await client.post(self._path, json=body)
        except (TimeoutError, httpx.TimeoutException) as error:
            # a server that lets requests wait is asked for less
            self._slots.busy(since)
            failure = JudgeFailure(
                FailureKind.TIMEOUT, f"no answer within {settings.timeout_s:g} s"
            )
            raise CallFailed(failure, retry=True, usage=_usage_after(error)) from None
        except httpx.DecodingError as error:
            failure = JudgeFailure(FailureKind.UNPARSEABLE, f"the body cannot be decoded: {error}")
            raise CallFailed(failure, usage=None) from error
        except httpx.HTTPError as error:
            failure = JudgeFailure(FailureKind.CONNECTION, self._unreachable(error))
            raise CallFailed(failure, retry=True, usage=_usage_after(error)) from error

    def _unreachable(self, error: Exception) -> str:
        detail = f"{self._settings.base_url}: {error or type(error).__name__}"
        return self._secrets.hide(detail)

    def _complained(
        self,
        complaint: Complaint,
        since: int,
        sent: Mapping[str, Any],
        content: object = None,
    ) -> CallFailed:
        if complaint.is_busy:
            self._slots.busy(since)
        refused = None if complaint.is_busy else sent
        failure = self._explained(complaint.failure)
        nothing = None if complaint.is_billed else TokenUsage()
        usage = _usage_in(content) or nothing
        if not complaint.is_passing:
            return CallFailed(failure, usage=usage, sent=refused)
        wait = complaint.wait_s
        if wait is not None and wait > self._settings.longest_wait_s:
            detail = f"{failure.detail}; the server asks to wait {wait:g} s"
            return CallFailed(replace(failure, detail=detail), usage=usage)
        return CallFailed(failure, retry=True if wait is None else wait, usage=usage, sent=refused)

    def _explained(self, failure: JudgeFailure) -> JudgeFailure:
        """Add a hint to the failure and hide the secrets that the server repeats."""
        detail = self._secrets.hide(failure.detail)
        if failure.kind is FailureKind.UNAVAILABLE:
            key = self._settings.api_key_env or "api_key_env (not set)"
            detail += (
                f" - check base_url {self._settings.base_url}, which ends with /v1 for most"
                f" servers, model {self._settings.model!r} and the key in {key}"
            )
        return replace(failure, detail=detail)

    def _missing_key(self) -> JudgeFailure | None:
        if not self._secrets.unset:
            return None
        detail = f"the environment variable {self._secrets.unset[0]} is not set"
        return JudgeFailure(FailureKind.UNAVAILABLE, detail)


def _note(call: _Call, body: Mapping[str, Any], reply: Reply) -> None:
    """Note what was sent and written, if someone listens."""
    if (told := current_exchange()) is not None:
        sent = body.get("messages", ())
        told.messages = tuple((one["role"], one["content"]) for one in sent)
        told.prompt, told.text = call.text, reply.text


def _usage_after(error: Exception) -> TokenUsage | None:
    """Return what a call cost that ended in an error: nothing if it was not sent, else unknown."""
    return TokenUsage() if isinstance(error, _NOT_SENT) else None


def _usage_in(content: object) -> TokenUsage | None:
    return read_usage(content.get("usage")) if isinstance(content, dict) else None


def _content(body: bytes) -> object:
    """Return the parsed body of a 200."""
    if not body.strip():
        failure = JudgeFailure(FailureKind.SERVER_ERROR, "HTTP 200 with an empty body")
        raise CallFailed(failure, retry=True, usage=None)
    try:
        return parse_json(body)
    except ReplyUnreadable as error:
        failure = JudgeFailure(FailureKind.UNPARSEABLE, str(error))
        raise CallFailed(failure, usage=None) from error
