"""A judge whose model runs in a vLLM engine of this process.

Each simulated annotator is queried with both response orders, as in `judges.openai`. Prompts are
sent as token ids, with the part shared by all pairs first. The score uses the log-probabilities of
exactly the labels' own tokens, even if improbable (Jung, Brahman, Choi 2025).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from judges.base import (
    JudgeHealth,
    JudgeSpec,
    announce_call,
    current_exchange,
    exchange,
    note_failure,
)
from judges.budget import Asks, Budget
from judges.errors import JudgeConfigurationInvalid
from judges.openai.answers import verbalized_labels
from judges.openai.replies import Reply
from judges.prompting.annotators import ask_annotators, first_annotators
from judges.prompting.answers import AnnotatorAnswers, Answer, score_of_answers
from judges.prompting.examples import ExampleSets
from judges.prompting.label_tokens import (
    LabelIds,
    LabelMatcher,
    find_label_ids,
    note_tokens,
    read_label_logprobs,
)
from judges.prompting.templates import PromptTemplate, RenderedPair
from judges.prompting.tokens import PromptTokens, fit
from judges.reasons import (
    DEFAULT_TOKENS,
    LABELS,
    OPENING,
    Reason,
    ReasonSettings,
    Told,
    failed_reason,
    reason_of,
)
from judges.types import FailureKind, JudgeFailure, Label, Pair, Score, TokenUsage
from judges.vllm.engine import VllmEngine
from judges.vllm.settings import (
    EngineAnswer,
    EngineUnavailable,
    OpenedEngine,
    VllmSettings,
    vllm_spec,
)

THINKING_CUT: Final = "thinking_cut"
_AFTER_THINKING: Final = "\n\n"
_MAY_BLOCK_CHARACTERS: Final = 20_000  # tokenise longer texts in a thread, off the event loop


@dataclass(frozen=True)
class _Desk:
    """State prepared once per running engine: prompts, labels and the engine itself."""

    engine: OpenedEngine
    tokens: PromptTokens
    label_ids: LabelIds | None
    shared: tuple[tuple[int, ...], ...]
    thinking_end: tuple[int, ...]
    after_thinking: tuple[int, ...]

    @property
    def longest_shared(self) -> int:
        return max(len(ids) for ids in self.shared)


class VllmJudge:
    """Score pairs with a hosted model; N annotators in both orders take 2N prompts per pair.

    Args:
        settings: The judge settings.
        template: The prompt template.
        sets: The simulated annotators' examples.
        engine: Runs the model; the caller owns it.
        clock: Measures the time per pair.
    """

    def __init__(
        self,
        settings: VllmSettings,
        template: PromptTemplate,
        sets: ExampleSets,
        engine: VllmEngine,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._template = template
        self._texts = tuple(template.shared(examples) for examples in sets)
        self._matcher = LabelMatcher(template.labels)
        self._engine = engine
        self._clock = clock
        self._spec = vllm_spec(settings, template, sets)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._desk: _Desk | None = None

    @property
    def spec(self) -> JudgeSpec:
        """The judge's specification."""
        return self._spec

    def asks(self, pair: Pair) -> Asks:
        """Return what a score of this pair asks of the model; thinking is part of an answer."""
        settings = self._settings
        queries = self._shown(pair)
        prompts = [text + query.text for text in self._texts for query in queries]
        fewest = first_annotators(len(self._texts), settings.early_stop) * len(queries)
        return Asks(prompts, fewest, settings.max_tokens + settings.thinking_tokens)

    def most_usd(self, pair: Pair) -> float:
        """Return the maximum cost of a score; thinking tokens count as output and as input."""
        settings = self._settings
        thoughts = settings.thinking_tokens
        prices = Budget(None, settings.price_input, settings.price_output)
        calls = [text + query.text for text in self._texts for query in self._shown(pair)]
        once = prices.most(calls, settings.max_tokens)
        if not thoughts:
            return once
        return once + prices.most([call + " " * 2 * thoughts for call in calls], thoughts)

    async def score(self, pair: Pair) -> Score:
        """Return the mean over all annotators and orders, or the first failure."""
        started = self._clock()
        try:
            desk = await self._ready_desk()
            laid_out = await self._laid_out(desk, pair)
            if isinstance(laid_out, JudgeFailure):
                return self._failed(laid_out, started)
            queries, flags = laid_out
            await announce_call(self._spec, pair)
            async with asyncio.timeout(self._settings.timeout_s):
                answers = await self._answers(desk, queries)
        except (EngineUnavailable, JudgeConfigurationInvalid) as error:
            return self._failed(JudgeFailure(FailureKind.UNAVAILABLE, str(error)), started)
        except TimeoutError:
            detail = f"no answer within {self._settings.timeout_s:g} s"
            return self._failed(JudgeFailure(FailureKind.TIMEOUT, detail), started)
        return score_of_answers(self._spec, answers, seconds=self._clock() - started, flags=flags)

    @property
    def reasons(self) -> ReasonSettings | None:
        """When the judge says why."""
        return self._settings.reasons

    def most_reason_usd(self, pair: Pair) -> float:
        """Return the maximum cost of a reason."""
        settings = self._settings
        prices = Budget(None, settings.price_input, settings.price_output)
        tokens = settings.reasons.tokens if settings.reasons else 0
        text = self._texts[0] + self._template.query(pair).text + settings.thinking_end + OPENING
        return prices.most([text], tokens)

    async def explain(self, pair: Pair, score: Score, label: Label) -> Reason:
        """Return why the judge prefers what `label` says, or the failure.

        The first annotator's prompt is continued after its label, so that the engine computes
        nothing of it again.
        """
        await announce_call(self._spec, pair)
        try:
            async with asyncio.timeout(self._settings.timeout_s), self._slots:
                return await self._explained(await self._ready_desk(), pair, score, label)
        except (EngineUnavailable, JudgeConfigurationInvalid) as error:
            failure = JudgeFailure(FailureKind.UNAVAILABLE, str(error))
        except TimeoutError:
            detail = f"no reason within {self._settings.timeout_s:g} s"
            failure = JudgeFailure(FailureKind.TIMEOUT, detail)
        return failed_reason(self, label, failure)

    async def _explained(self, desk: _Desk, pair: Pair, score: Score, label: Label) -> Reason:
        laid_out = await self._laid_out(desk, pair)
        if isinstance(laid_out, JudgeFailure):
            return failed_reason(self, label, laid_out)
        queries, flags = laid_out
        prompt = (*desk.shared[0], *queries[0], *self._label_said(desk, label))
        most = self._settings.reasons.tokens if self._settings.reasons else DEFAULT_TOKENS
        length = min(most, desk.engine.max_tokens - len(prompt))
        if length < 1:
            detail = "no room is left for a reason behind the prompt and the label"
            return failed_reason(self, label, JudgeFailure(FailureKind.CONTEXT_OVERFLOW, detail))
        answer = await self._engine_says(desk, prompt, wanted=(), length=length, stop=())
        told = Told(
            self._reply(desk, answer).text,
            label,
            self._template.labels,
            is_cut=len(answer.token_ids) >= length,
        )
        usage = _usage(answer)
        return reason_of(self, told, score, flags=flags, usage=usage)

    def _label_said(self, desk: _Desk, label: Label) -> list[int]:
        """Return the tokens of the label as the model's own answer, and how its reason begins."""
        said = self._template.labels[LABELS.index(label)]
        if not desk.tokens.is_chat:
            said = f" {said}"
        thoughts = (*desk.thinking_end, *desk.after_thinking) if desk.thinking_end else ()
        return [*thoughts, *desk.tokens.plain(f"{said}{OPENING}")]

    async def health(self) -> JudgeHealth:
        """Report whether the model has loaded."""
        if (opened := self._engine.opened) is None:
            return JudgeHealth(False, self._engine.detail, self._engine.is_starting)
        try:
            self._desk_for(opened)
        except JudgeConfigurationInvalid as error:
            return JudgeHealth(False, str(error))
        return JudgeHealth(True)

    async def aclose(self) -> None:
        """Do nothing: the host owns the engine."""

    async def _ready_desk(self) -> _Desk:
        if self._engine.opened is None:
            # if a deadline ends the wait, this is its cause
            note_failure(JudgeFailure(FailureKind.UNAVAILABLE, self._engine.detail))
        return self._desk_for(await self._engine.wait(self._settings.timeout_s))

    def _desk_for(self, opened: OpenedEngine) -> _Desk:
        if self._desk is None or self._desk.engine is not opened:
            self._desk = self._furnished(opened)
        return self._desk

    def _furnished(self, opened: OpenedEngine) -> _Desk:
        settings = self._settings
        tokenizer = opened.tokenizer
        options = {"enable_thinking": settings.thinking_tokens > 0, **settings.template_options}
        tokens = PromptTokens(tokenizer, is_chat=settings.endpoint == "chat", options=options)
        is_verbalized = settings.confidence == "verbalized"
        return _Desk(
            engine=opened,
            tokens=tokens,
            label_ids=None if is_verbalized else find_label_ids(tokenizer, self._template.labels),
            shared=tuple(tokens.shared(text) for text in self._texts),
            thinking_end=tuple(
                tokenizer.encode(settings.thinking_end, add_special_tokens=False)
                if settings.thinking_tokens
                else ()
            ),
            after_thinking=tuple(tokenizer.encode(_AFTER_THINKING, add_special_tokens=False)),
        )

    async def _laid_out(
        self, desk: _Desk, pair: Pair
    ) -> tuple[list[tuple[int, ...]], tuple[str, ...]] | JudgeFailure:
        """Return the pair's token ids in each order, or a failure if it does not fit."""
        length = sum(map(len, (*pair.user_turns, *pair.responses_a, *pair.responses_b)))
        if length > _MAY_BLOCK_CHARACTERS:
            return await asyncio.to_thread(self._lay_out, desk, pair)
        return self._lay_out(desk, pair)

    def _lay_out(
        self, desk: _Desk, pair: Pair
    ) -> tuple[list[tuple[int, ...]], tuple[str, ...]] | JudgeFailure:
        if self._template.scale is None:
            return self._fitted(desk, pair)
        # how much of a response is shown does not depend on the other one
        asked: list[tuple[int, ...]] = []
        flags: set[str] = set()
        for side, other in (("a", "b"), ("b", "a")):
            responses = pair.responses_a if side == "a" else pair.responses_b
            alone = replace(pair, responses_a=responses, responses_b=responses)
            laid_out = self._fitted(desk, alone)
            if isinstance(laid_out, JudgeFailure):
                return laid_out
            asked.append(laid_out[0][0])
            flags |= {flag for flag in laid_out[1] if flag != f"truncated:{other}"}
        return asked, tuple(sorted(flags))

    def _fitted(
        self, desk: _Desk, pair: Pair
    ) -> tuple[list[tuple[int, ...]], tuple[str, ...]] | JudgeFailure:
        room = desk.engine.max_tokens - desk.longest_shared - self._reserved(desk)
        queries, flags = self._queries(desk, pair)
        own = desk.tokens.flags_of(pair)
        longest = max(map(len, queries))
        if longest <= room:
            return queries, (*flags, *own)
        if self._settings.overflow == "truncate":
            fitted = fit(pair, lambda cut: max(map(len, self._queries(desk, cut)[0])) <= room)
            if fitted is not None:
                queries, flags = self._queries(desk, fitted[0])
                return queries, (*flags, *own, *fitted[1])
        needed = longest + desk.longest_shared + self._reserved(desk)
        return JudgeFailure(
            FailureKind.CONTEXT_OVERFLOW,
            f"the prompt and its answer are {needed} tokens, the model takes"
            f" {desk.engine.max_tokens}",
        )

    def _queries(self, desk: _Desk, pair: Pair) -> tuple[list[tuple[int, ...]], tuple[str, ...]]:
        shown = self._shown(pair)
        flags = tuple(sorted({flag for query in shown for flag in query.flags}))
        return [desk.tokens.query(query.text) for query in shown], flags

    def _shown(self, pair: Pair) -> list[RenderedPair]:
        return self._template.queries(pair, both=self._settings.orders == "both")

    def _reserved(self, desk: _Desk) -> int:
        """Return the number of tokens to reserve for the answer."""
        settings = self._settings
        answer = settings.max_tokens if settings.confidence == "verbalized" else 1
        thinking = settings.thinking_tokens + len(desk.thinking_end) + len(desk.after_thinking)
        return answer + (thinking if settings.thinking_tokens else 0)

    async def _answers(
        self, desk: _Desk, queries: Sequence[tuple[int, ...]]
    ) -> list[AnnotatorAnswers]:
        async def ask(annotator: int) -> AnnotatorAnswers:
            prompts = [(*desk.shared[annotator], *query) for query in queries]
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._asked(desk, prompt, annotator, is_swapped=bool(order)))
                    for order, prompt in enumerate(prompts)
                ]
            said = [task.result() for task in tasks]
            return AnnotatorAnswers.of_orders(said, self._template.scale)

        return await ask_annotators(len(desk.shared), ask, self._settings.early_stop)

    async def _asked(
        self, desk: _Desk, prompt: tuple[int, ...], annotator: int, *, is_swapped: bool
    ) -> Answer:
        with exchange(annotator, is_swapped=is_swapped):
            answer = await self._answer(desk, prompt)
            if (told := current_exchange()) is not None:
                told.usage = answer.usage
                told.failure = answer.said if isinstance(answer.said, JudgeFailure) else None
            return answer

    async def _answer(self, desk: _Desk, prompt: tuple[int, ...]) -> Answer:
        async with self._slots:
            usage = TokenUsage()
            flags: tuple[str, ...] = ()
            try:
                if self._settings.thinking_tokens:
                    prompt, usage, flags = await self._thought(desk, prompt)
                return await self._verdict(desk, prompt, usage, flags)
            except EngineUnavailable as error:
                return Answer(JudgeFailure(FailureKind.SERVER_ERROR, str(error)), usage)

    async def _verdict(
        self, desk: _Desk, prompt: tuple[int, ...], spent: TokenUsage, flags: tuple[str, ...]
    ) -> Answer:
        if desk.label_ids is None:
            answer = await self._engine_says(
                desk, prompt, wanted=(), length=self._settings.max_tokens, stop=()
            )
            self._note(desk, prompt, answer)
            return Answer(
                verbalized_labels(self._reply(desk, answer), self._matcher),
                spent + _usage(answer),
                flags=flags,
            )
        answer = await self._engine_says(desk, prompt, wanted=desk.label_ids.all, length=1, stop=())
        self._note(desk, prompt, answer)
        said = read_label_logprobs(answer.logprobs, desk.label_ids)
        return Answer(said, spent + _usage(answer), flags=flags)

    async def _thought(
        self, desk: _Desk, prompt: tuple[int, ...]
    ) -> tuple[tuple[int, ...], TokenUsage, tuple[str, ...]]:
        """Let the model think; return the prompt with its thoughts, closed if they were cut."""
        end = desk.thinking_end
        answer = await self._engine_says(
            desk, prompt, wanted=(), length=self._settings.thinking_tokens, stop=end[-1:]
        )
        written = answer.token_ids
        is_cut = written[-len(end) :] != end
        thoughts = (*written, *end) if is_cut else written
        flags = (THINKING_CUT,) if is_cut else ()
        return (*prompt, *thoughts, *desk.after_thinking), _usage(answer), flags

    async def _engine_says(
        self, desk: _Desk, prompt: Sequence[int], **options: Any
    ) -> EngineAnswer:
        if self._settings.adapter is not None:
            options["adapter"] = self._settings.adapter
        return await desk.engine.ask(prompt, **options)

    def _note(self, desk: _Desk, prompt: tuple[int, ...], answer: EngineAnswer) -> None:
        """Note what was sent and written, if someone listens."""
        if (told := current_exchange()) is not None:
            text_of = desk.tokens.text_of
            told.prompt, told.text = text_of(prompt), text_of(answer.token_ids)
            read = [(text_of([number]), logprob) for number, logprob in answer.logprobs.items()]
            note_tokens(read, self._matcher.labels, self._matcher.index)

    def _reply(self, desk: _Desk, answer: EngineAnswer) -> Reply:
        text = desk.engine.tokenizer.decode(answer.token_ids, skip_special_tokens=True)
        return Reply(text)

    def _failed(self, failure: JudgeFailure, started: float) -> Score:
        return Score(
            self._spec.name,
            self._spec.fingerprint,
            p_a=None,
            failure=failure,
            seconds=self._clock() - started,
        )


def _usage(answer: EngineAnswer) -> TokenUsage:
    return TokenUsage(
        answer.prompt_tokens, len(answer.token_ids), cached=answer.cached_tokens, calls=1
    )
