"""A judge made of a reward model or a classifier; each response, or each order, is one prompt."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from judges.base import (
    JudgeHealth,
    JudgeSpec,
    announce_call,
    current_exchange,
    exchange,
    unheard,
)
from judges.budget import Asks, Budget
from judges.errors import JudgeConfigurationInvalid
from judges.probability import Preference, mean_preference, normalise
from judges.prompting.answers import cost_of
from judges.prompting.neutralising import neutralise
from judges.prompting.templates import PromptTemplate
from judges.prompting.tokens import ConversationTokens, PromptTokens, Tokenizer
from judges.reward.poolers import Pooler, PoolingFailed
from judges.reward.settings import FEWEST_FOR_TAU, FittedOn, RewardSettings, fit_tau, reward_spec
from judges.types import FailureKind, JudgeFailure, Message, Pair, Score, TokenUsage
from judges.vllm.settings import Pooled

_HEADS: Final = {"response": 1, "pair": 2}


@dataclass(frozen=True)
class _Desk:
    """How prompts are laid out for one tokenizer."""

    tokenizer: Tokenizer | None
    conversations: ConversationTokens | None = None
    prompts: PromptTokens | None = None


class RewardJudge:
    """Score pairs by a head: two prompts a pair.

    Args:
        settings: The judge settings.
        template: Lays out whole pairs, for `input = "pair"`.
        pooler: Runs the model.
        clock: Measures the time per pair.
    """

    def __init__(
        self,
        settings: RewardSettings,
        template: PromptTemplate,
        pooler: Pooler,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._template = template
        self._pooler = pooler
        self._clock = clock
        self._spec = reward_spec(settings, template)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._desk: _Desk | None = None
        #: The temperature; None until it is fitted.
        self.tau = (settings.tau or 1.0) if settings.fitted_on is None else None
        self._fitting: asyncio.Task[float] | None = None

    @property
    def spec(self) -> JudgeSpec:
        """The judge's specification."""
        return self._spec

    def asks(self, pair: Pair) -> Asks:
        """Return what a score of this pair asks of the model."""
        if self._settings.input == "pair":
            return Asks([self._template.render(pair).text] * 2, 2, 0)
        said = [" ".join(text for _, text in messages) for messages in _conversations(pair)]
        return Asks(said, 2, 0)

    def most_usd(self, pair: Pair) -> float:
        """Return the maximum cost of a score."""
        return Budget(None, self._settings.price_input, 0.0).most(self.asks(pair).prompts, 0)

    async def score(self, pair: Pair) -> Score:
        """Return the probability of a by both rewards, or the failure."""
        started = self._clock()
        await announce_call(self._spec, pair)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                desk = await self._ready_desk()
                tau = await self._temperature(desk)
                pooled = await self._both(desk, pair)
        except TimeoutError:
            detail = f"no answer within {self._settings.timeout_s:g} s"
            return self._failed(JudgeFailure(FailureKind.TIMEOUT, detail), started)
        except JudgeConfigurationInvalid as error:
            return self._failed(JudgeFailure(FailureKind.UNAVAILABLE, str(error)), started)
        except ExceptionGroup as group:
            failures = group.subgroup(PoolingFailed)
            if failures is None or len(failures.exceptions) < len(group.exceptions):
                raise
            return self._failed(_first(failures).failure, started)
        except PoolingFailed as error:
            return self._failed(error.failure, started)
        row = self._row(pooled, tau)
        is_alone = self._settings.input == "response"
        usage = TokenUsage(
            sum(one.prompt_tokens for one in pooled), 0, sum(one.cached_tokens for one in pooled), 2
        )
        return Score(
            self._spec.name,
            self._spec.fingerprint,
            p_a=mean_preference(row).p_a,
            annotators=((row[0].p_a, row[1].p_a),),
            ratings=(pooled[0].values[0], pooled[1].values[0]) if is_alone else None,
            usage=usage,
            cost_usd=cost_of(self._spec, usage),
            seconds=self._clock() - started,
            flags=self._flags(desk, pair),
        )

    async def rewards(self, pair: Pair) -> tuple[float, float]:
        """Return the rewards of both responses, before the temperature.

        Raises:
            PoolingFailed: The model gave none.
        """
        first, second = await self._both(await self._ready_desk(), pair)
        return first.values[0], second.values[0]

    async def health(self) -> JudgeHealth:
        """Report whether the model can be asked."""
        return await self._pooler.health()

    async def aclose(self) -> None:
        """Release what is open."""
        if self._fitting is not None:
            self._fitting.cancel()
        await self._pooler.aclose()

    async def _ready_desk(self) -> _Desk:
        tokenizer = await self._pooler.tokenizer()
        if self._desk is None or self._desk.tokenizer is not tokenizer:
            settings = self._settings
            options = {"enable_thinking": False, **settings.template_options}
            self._desk = _Desk(tokenizer)
            if tokenizer is not None and settings.input == "pair":
                self._desk = _Desk(tokenizer, prompts=PromptTokens(tokenizer, options=options))
            elif tokenizer is not None:
                laid_out = ConversationTokens(
                    tokenizer, settings.chat_template, settings.template_options
                )
                self._desk = _Desk(tokenizer, laid_out)
        return self._desk

    async def _temperature(self, desk: _Desk) -> float:
        """Return tau, fitted by the first pair that needs it; pairs that wait meanwhile share a failure."""
        if self.tau is None and self._settings.fitted_on is not None:
            if self._fitting is None or self._fitting.done():
                with unheard():
                    fitting = self._fitted(desk, self._settings.fitted_on)
                    self._fitting = asyncio.create_task(fitting)
            self.tau = await asyncio.shield(self._fitting)
        return self.tau or 1.0

    async def _fitted(self, desk: _Desk, on: FittedOn) -> float:
        """Return tau by the rewards of the pairs that it is fitted on; those too long are left out.

        Raises:
            JudgeConfigurationInvalid: They fit none.
            PoolingFailed: The model failed on one of them.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._difference(desk, pair, share)) for pair, share in on.pairs
            ]
        found = [one for one in (task.result() for task in tasks) if one is not None]
        if len(found) < FEWEST_FOR_TAU:
            fits = f"only {len(found)} of {len(tasks)} labelled pairs fit the model"
            raise JudgeConfigurationInvalid(f"tau_from: {fits}; give tau")
        try:
            return fit_tau([one for one, _ in found], [share for _, share in found])
        except ValueError as error:
            raise JudgeConfigurationInvalid(f"tau_from: {error}; give tau") from error

    async def _difference(
        self, desk: _Desk, pair: Pair, share: float
    ) -> tuple[float, float] | None:
        """Return r_a - r_b with the share of labels for a; None where a prompt is too long."""
        try:
            first, second = await self._both(desk, pair)
        except ExceptionGroup as group:
            failures, others = group.split(PoolingFailed)
            if failures is None or others is not None:
                raise
            failure = _first(failures).failure
            if failure.kind == FailureKind.CONTEXT_OVERFLOW:
                return None
            detail = f"tau_from: pair {pair.id}: {failure.detail}"
            raise PoolingFailed(JudgeFailure(failure.kind, detail)) from None
        return first.values[0] - second.values[0], share

    async def _both(self, desk: _Desk, pair: Pair) -> tuple[Pooled, Pooled]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._one(desk, pair, is_second=is_second))
                for is_second in (False, True)
            ]
        return tasks[0].result(), tasks[1].result()

    async def _one(self, desk: _Desk, pair: Pair, *, is_second: bool) -> Pooled:
        ids, texts = self._laid_out(desk, pair, is_second=is_second)
        with exchange(0, is_swapped=is_second):
            told = current_exchange()
            if told is not None:
                decode = desk.tokenizer.decode if desk.tokenizer else None
                shown = decode(ids, skip_special_tokens=False) if decode else "\n\n".join(texts)
                told.prompt = shown
            try:
                pooled = await self._pooled(ids, texts)
            except PoolingFailed as error:
                if told is not None:
                    told.failure = error.failure
                raise
            if told is not None:
                told.text = ", ".join(f"{value:.6g}" for value in pooled.values)
                told.usage = TokenUsage(pooled.prompt_tokens, 0, pooled.cached_tokens, 1)
        return pooled

    async def _pooled(self, ids: Sequence[int], texts: tuple[str, str]) -> Pooled:
        async with self._slots:
            pooled = await self._pooler.values(ids, texts)
        wanted = _HEADS[self._settings.input]
        if len(pooled.values) != wanted:
            raise PoolingFailed(
                JudgeFailure(
                    FailureKind.UNPARSEABLE,
                    f'the head gives {len(pooled.values)} numbers; input = "{self._settings.input}"'
                    f" needs {wanted}",
                )
            )
        return pooled

    def _laid_out(
        self, desk: _Desk, pair: Pair, *, is_second: bool
    ) -> tuple[tuple[int, ...], tuple[str, str]]:
        if desk.prompts is not None:
            query = self._template.query(pair, swapped=is_second).text
            shared = self._template.shared()
            return (*desk.prompts.shared(shared), *desk.prompts.query(query)), (shared, query)
        messages = _conversations(pair)[is_second]
        *before, last = [neutralise(text)[0] for _, text in messages]
        ids = desk.conversations.of(messages) if desk.conversations else ()
        return ids, ("\n\n".join(before), last)

    def _row(self, pooled: Sequence[Pooled], tau: float) -> tuple[Preference, Preference]:
        first, second = pooled
        if self._settings.input == "response":
            preference = _logistic((first.values[0] - second.values[0]) / tau)
            return preference, preference
        ahead = [one.values[self._settings.first_label] - one.values[1 - self._settings.first_label]
                 for one in pooled]  # fmt: skip
        return _logistic(ahead[0]), _logistic(ahead[1]).swapped()

    def _flags(self, desk: _Desk, pair: Pair) -> tuple[str, ...]:
        if desk.prompts is not None:
            own = desk.prompts.flags_of(pair)
            return tuple(sorted({*self._template.query(pair).flags, *own}))
        texts = [text for messages in _conversations(pair) for _, text in messages]
        return tuple(sorted({flag for text in texts for flag in neutralise(text)[1]}))

    def _failed(self, failure: JudgeFailure, started: float) -> Score:
        seconds = self._clock() - started
        spec = self._spec
        return Score(spec.name, spec.fingerprint, p_a=None, failure=failure, seconds=seconds)


def _first(group: BaseExceptionGroup[PoolingFailed]) -> PoolingFailed:
    error = group.exceptions[0]
    return error if isinstance(error, PoolingFailed) else _first(error)


def _conversations(pair: Pair) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the conversation with each response: (role, text) of every message."""
    return _with(pair.conversation, pair.responses_a), _with(pair.conversation, pair.responses_b)


def _with(conversation: Sequence[Message], responses: Sequence[str]) -> list[tuple[str, str]]:
    turns = [(message.role, message.content) for message in conversation]
    if len(responses) == 1:
        return [*turns, ("assistant", responses[0])]
    return [one for turn, said in zip(turns, responses, strict=True)
            for one in (turn, ("assistant", said))]  # fmt: skip


def _logistic(z: float) -> Preference:
    z = float(np.clip(z, -700, 700))
    return normalise(1 / (1 + math.exp(-z)), 1 / (1 + math.exp(z)))
