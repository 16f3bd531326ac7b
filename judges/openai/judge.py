"""A judge behind an OpenAI-compatible server, such as `vllm serve` or a hosted API.

Each simulated annotator is queried with both response orders; the few-shot examples do not change.
The score uses the probabilities of the label tokens, not a sampled verdict (Jung, Brahman, Choi
2025). `judges.openai.server` makes the requests.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from judges.base import JudgeHealth, JudgeSpec, announce_call, current_exchange, exchange
from judges.budget import Asks
from judges.openai.answers import Reading, is_cut, labels_of_reply, verbalized_labels, visible
from judges.openai.batches import ProviderBatches
from judges.openai.bodies import Bodies
from judges.openai.calls import CallFailed, Halt, Spent
from judges.openai.clients import Transport
from judges.openai.later import Found, Later, Place, current_desk
from judges.openai.replies import Reply
from judges.openai.server import Call, ModelServer, usage_in
from judges.openai.settings import OpenAISettings, TokenRequests, spec_of
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
from judges.types import FailureKind, JudgeFailure, Label, Pair, Score


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
        self._clock = clock
        self._spec = spec_of(settings, template, sets)
        self._server = ModelServer(
            settings,
            Bodies(settings, by_token),
            transport=transport,
            environ=environ,
            clock=clock,
        )

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
        return times * self._server.budget.most(asks.prompts, asks.max_tokens)

    @property
    def budget_usd(self) -> float | None:
        """What it may spend while this process runs, None for no limit."""
        return self._server.budget.usd

    def asks(self, pair: Pair) -> Asks:
        """Return what a score of this pair asks of the model, without repetitions."""
        queries = self._queries(pair)
        prompts = [shared + query.text for shared in self._shared for query in queries]
        fewest = first_annotators(len(self._shared), self._settings.early_stop) * len(queries)
        return Asks(prompts, fewest, self._server.bodies.most_tokens)

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

        def calls(annotator: int) -> dict[Place, Call]:
            prompts = [Prompt(self._shared[annotator], query.text) for query in queries]
            return {(annotator, bool(i)): self._call(prompt) for i, prompt in enumerate(prompts)}

        def prepare(annotators: Sequence[int]) -> None:
            if later is not None:
                asked = [calls(annotator) for annotator in annotators]
                later.prepare({place: call.body for one in asked for place, call in one.items()})

        async def ask(annotator: int) -> AnnotatorAnswers:
            asked = calls(annotator)
            found = {place: later.found(place) if later else None for place in asked}
            if None in found.values() and halt.failure is None:
                await announce_call(self._spec, pair)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._asked(call, halt, place, found[place]))
                    for place, call in asked.items()
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

    def _call(self, prompt: Prompt) -> Call:
        bodies = self._server.bodies
        return Call(prompt.text, lambda: bodies.body(prompt), lambda: bodies.most_tokens)

    def _later(self, pair: Pair) -> Later | None:
        """Return what asks about a pair where answers may wait, None where they may not."""
        desk = current_desk()
        if desk is None or not self._server.has_keys:
            return None
        subject = f"{self._spec.fingerprint} {pair.content_hash}"
        leaves = self._settings.batch_endpoint
        return Later(desk, self._spec.name, subject, self._server.bodies, leaves=leaves)

    @property
    def provider_batches(self) -> ProviderBatches | None:
        """The batches of the judge's provider, None where they are not to be used."""
        return self.any_batches if self._settings.batch_endpoint else None

    @property
    def any_batches(self) -> ProviderBatches:
        """The batches of the judge's provider, also where no new ones are to be made."""
        return self._server.batches

    @property
    def price_in_batches(self) -> float:
        """What a batch pays for a call that its provider answers in a batch, as a share of the prices."""
        return self._settings.batch_price if self._settings.batch_endpoint else 1.0

    def batched_usd(self, content: object) -> float | None:
        """Return what an answer in a provider's batch has cost, None if that is unknown."""
        usage = usage_in(content)
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
        return self._settings.attempts * self._server.budget.most([call.text], call.most_tokens())

    async def explain(self, pair: Pair, score: Score, label: Label) -> Reason:
        """Return why the judge prefers what `label` says, or the failure.

        It is a call of its own: the first annotator's, with the label as the model's answer.
        """
        query = self._template.query(pair)
        prompt, spent = Prompt(self._shared[0], query.text), Spent()
        await announce_call(self._spec, pair)
        try:
            reply = await self._server.reply(self._reason_call(prompt, label), Halt(), spent)
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

    def _reason_call(self, prompt: Prompt, label: Label) -> Call:
        said = self._template.labels[LABELS.index(label)]
        tokens = self._settings.reasons.tokens if self._settings.reasons else DEFAULT_TOKENS
        return Call(
            f"{prompt.text} {said}\n{QUESTION}",
            lambda: self._server.bodies.reason_body(prompt, said, tokens),
            lambda: self._server.bodies.most_reason_tokens(tokens),
        )

    async def health(self) -> JudgeHealth:
        """Check that the server offers the model, without asking it to generate anything."""
        return await self._server.health()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._server.aclose()

    async def _asked(self, call: Call, halt: Halt, place: Place, found: Found | None) -> Answer:
        annotator, is_swapped = place
        with exchange(annotator, is_swapped=is_swapped):
            answer = await self._ask(call, halt, found)
            if (told := current_exchange()) is not None:
                told.usage = answer.usage
                told.failure = answer.said if isinstance(answer.said, JudgeFailure) else None
            return answer

    async def _ask(self, call: Call, halt: Halt, found: Found | None) -> Answer:
        """Query one annotator in one order, unless another query has failed permanently.

        An answer that has been found at the desk has been paid for, and counts in any case.
        """
        spent = Spent()
        try:
            reply = await self._server.reply(call, halt, spent, found)
        except CallFailed as error:
            halt.failure = halt.failure or error.failure
            return Answer(
                error.failure, spent.usage, is_usage_known=spent.is_known, batched=spent.batched
            )
        said = self._labels_of(reply)
        if isinstance(said, JudgeFailure):
            said = self._advised(said, reply)
            halt.failure = halt.failure or said
        differs = reply.model is not None and reply.model != self._settings.model
        flags = [f"model_differs:{reply.model[:80]}"] if differs and reply.model else []
        flags += self._server.bodies.flags if found is None else found.flags
        if not spent.is_known:
            flags.append("no_usage")
        return Answer(
            said,
            spent.usage,
            is_usage_known=spent.is_known,
            flags=tuple(flags),
            batched=spent.batched,
        )

    def _advised(self, failure: JudgeFailure, reply: Reply) -> JudgeFailure:
        """Add to a failure which setting cut the reply off, and after how many tokens."""
        if failure.kind is not FailureKind.UNPARSEABLE or not is_cut(reply):
            return failure
        after = "" if reply.usage is None else f" after {reply.usage.completion:,} tokens"
        limit = self._server.bodies.limit
        by = "the server: set max_tokens"
        if limit is not None:
            by = f"{limit[0]} = {limit[1]}: raise it"
        return replace(failure, detail=f"{failure.detail}; cut off{after} by {by}")

    def _labels_of(self, reply: Reply) -> LabelProbabilities | JudgeFailure:
        if self._settings.confidence == "verbalized":
            return verbalized_labels(reply, self._matcher)
        reading = Reading(
            self._matcher,
            least_mass=self._settings.least_label_mass,
            is_greedy=self._server.bodies.is_greedy,
        )
        if self._by_token is not None:
            return reading.with_enough_mass(self._by_token.labels(reply), reply.text)
        return labels_of_reply(reply, reading)
