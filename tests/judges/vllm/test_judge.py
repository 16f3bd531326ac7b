"""Hosted judges over an engine of this process: layouts, cuts, thoughts, reasons, engines' lives.

The tests beside this one do the same with real vLLM.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from judges.base import calls_announced, exchanges_heard
from judges.prompting.annotators import EarlyStop
from judges.prompting.examples import Example, ExampleSets
from judges.prompting.ratings import Scale
from judges.prompting.templates import load_template
from judges.reasons import OPENING, ReasonSettings
from judges.types import FailureKind, Pair, Score
from judges.vllm import engine as engines
from judges.vllm.engine import EngineHost, VllmEngine
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import EngineSettings, EngineUnavailable, VllmSettings
from tests.judges.pairs import pair_of
from tests.judges.spelling import CountingEngine, Spelling, chatting, p_first

EXAMPLES = (
    Example(pair_of("One?", "good", "bad", pair_id="e1"), "a"),
    Example(pair_of("Two?", "bad", "good", pair_id="e2"), "b"),
)
LONG = pair_of("Long?", a="word " * 2_000, b="good")


class Hosted:
    """A judge, and the engine that answers it."""

    def __init__(
        self,
        opened: CountingEngine | None = None,
        *,
        sets: ExampleSets = ((),),
        labels: tuple[str, ...] = ("A", "B"),
        template: str = "pairwise",
        scale: Scale | None = None,
        **settings: Any,
    ) -> None:
        self.opened = opened or CountingEngine()
        self.engine = VllmEngine(
            EngineSettings("tiny"), asyncio.Lock(), open_engine=lambda _: self.opened
        )
        made = VllmSettings("tiny", self.engine.settings, **{"timeout_s": 20.0, **settings})
        self.judge = VllmJudge(made, load_template(template, labels, scale), sets, self.engine)

    async def score(self, pair: Pair | None = None) -> Score:
        try:
            return await self.judge.score(pair or pair_of())
        finally:
            await self.engine.aclose()


def failure_of(score: Score) -> tuple[FailureKind, str]:
    assert score.p_a is None
    assert score.failure is not None
    return score.failure.kind, score.failure.detail


async def test_p_a_is_the_mean_of_both_orders_of_every_annotator() -> None:
    hosted = Hosted(sets=(EXAMPLES, ()), price_input=1.0, price_output=2.0)
    pair = pair_of()
    with exchanges_heard() as heard:
        score = await hosted.score(pair)
    orders = p_first("good good", "good"), 1 - p_first("good", "good good")
    assert [*score.annotators] == [pytest.approx(orders)] * 2
    assert score.p_a == pytest.approx(sum(orders) / 2)
    assert score.outside_mass == pytest.approx(0.1)
    assert (score.usage.calls, score.usage.completion, score.flags) == (4, 4, ())
    assert score.cost_usd is not None
    assert 0 < score.cost_usd <= hosted.judge.most_usd(pair)
    asks = hosted.judge.asks(pair)
    assert (len(asks.prompts), asks.fewest) == (4, 4)
    # what was sent is what the chat template makes of it
    assert {one.text for one in heard} == {"A", "B"}
    for one in heard:
        assert one.prompt is not None
        assert one.prompt.startswith("<|system|>You")
        assert one.prompt.endswith("Better response:<|end|><|assistant|>")
    assert sorted(text for text, _ in hosted.opened.asked) == sorted(one.prompt for one in heard)


async def test_a_call_is_announced_before_it_is_made_where_it_costs_money() -> None:
    hosted = Hosted(price_output=2.0, reasons=ReasonSettings())
    before: list[tuple[str, str, int]] = []

    async def note(pair: str, judge: str) -> None:
        before.append((pair, judge, len(hosted.opened.asked)))

    pair, small = pair_of(), Hosted(CountingEngine(max_tokens=4_000), price_output=2.0)
    with calls_announced(note):
        await Hosted().score()
        score = await hosted.judge.score(pair)
        await hosted.judge.explain(pair, score, "a")
        # what the model cannot take is never sent
        kind, _ = failure_of(await small.score(LONG))
    await hosted.engine.aclose()
    assert kind is FailureKind.CONTEXT_OVERFLOW
    assert before == [(pair.id, "tiny", 0), (pair.id, "tiny", 2)]


async def test_one_order_or_few_annotators_are_asked_where_the_settings_say_so() -> None:
    assert (await Hosted(orders="as_posted").score()).usage.calls == 1
    early = EarlyStop(2, 0.5)
    hosted = Hosted(sets=((), EXAMPLES, EXAMPLES[:1]), early_stop=early)
    asks = hosted.judge.asks(pair_of())
    assert (len(asks.prompts), asks.fewest) == (6, 4)
    assert (await hosted.score()).usage.calls == 4


async def test_without_a_chat_template_the_bare_text_is_completed() -> None:
    hosted = Hosted(CountingEngine(Spelling()), endpoint="completions")
    assert (await hosted.score()).p_a is not None
    assert all(text.startswith("You") and text.endswith(":") for text, _ in hosted.opened.asked)
    hosted = Hosted(CountingEngine(Spelling()))
    kind, detail = failure_of(await hosted.score())
    assert kind is FailureKind.UNAVAILABLE
    assert 'use endpoint = "completions"' in detail


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0].content }}", "loses or repeats a part"),
        ("{{ messages[0].content }}{% for m in messages %}{{ m.content }}{% endfor %}", "repeats"),
        ("{{ 1 // 0 }}", "chat template: "),
    ],
)
async def test_a_chat_template_that_does_not_serve_is_named(template: str, said: str) -> None:
    hosted = Hosted(CountingEngine(chatting(chat_template=template)))
    kind, detail = failure_of(await hosted.score())
    assert kind is FailureKind.UNAVAILABLE
    assert said in detail


@pytest.mark.parametrize("knows_no", ["{{ 1 // (messages | length == 1) }}", ""])
async def test_a_template_that_knows_no_system_message_gets_one_of_the_user(knows_no: str) -> None:
    template = knows_no + (
        "{% for m in messages if m.role == 'user' %}<|user|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    hosted = Hosted(CountingEngine(chatting(chat_template=template)))
    assert (await hosted.score()).p_a is not None
    assert all("<|user|>You" in text for text, _ in hosted.opened.asked)


@pytest.mark.parametrize(
    ("labels", "vocabulary", "said"),
    [
        (("Zygomorphic", "B"), None, "'Zygomorphic' is not one token of this model"),
        (
            ("A", "B"),
            {"A": 65, "B": 66} | {" " * n + "A": 1_000 + n for n in range(1, 200)},
            "more",
        ),
    ],
)
async def test_labels_that_the_model_cannot_say_are_named(
    labels: tuple[str, ...], vocabulary: Any, said: str
) -> None:
    tokenizer = chatting(vocabulary=vocabulary) if vocabulary else chatting()
    hosted = Hosted(CountingEngine(tokenizer), labels=labels)
    assert not (await hosted.judge.health()).is_ready  # not loaded yet
    await hosted.engine.wait(20)
    found = await hosted.judge.health()
    assert (found.is_ready, said in found.detail) == (False, True)
    kind, detail = failure_of(await hosted.score())
    assert (kind, said in detail) == (FailureKind.UNAVAILABLE, True)


async def test_what_does_not_fit_fails_or_is_cut_in_the_middle() -> None:
    small: dict[str, Any] = {"max_tokens": 4_000}
    kind, detail = failure_of(await Hosted(CountingEngine(**small)).score(LONG))
    assert kind is FailureKind.CONTEXT_OVERFLOW
    assert detail.endswith("the model takes 4000")
    for pair, side in ((LONG, "a"), (LONG.swapped(), "b")):
        hosted = Hosted(CountingEngine(**small), overflow="truncate")
        score = await hosted.score(pair)
        assert score.flags == (f"truncated:{side}",)
        assert all("characters left out" in text for text, _ in hosted.opened.asked)
        assert 3_900 < score.usage.prompt / 2 < 4_000
    hosted = Hosted(CountingEngine(max_tokens=900), overflow="truncate")
    assert failure_of(await hosted.score(LONG))[0] is FailureKind.CONTEXT_OVERFLOW
    # texts this long are laid out beside the event loop, and nothing else is different
    longer = pair_of("Long?", a="word " * 5_000, b="good")
    assert (await Hosted().score(longer)).flags == ()


async def test_a_rating_is_asked_for_each_response_alone() -> None:
    scale = Scale.of((1, 9))
    options: dict[str, Any] = {"template": "rating", "scale": scale, "confidence": "rating"}
    score = await Hosted(**options).score(pair_of(a="good " * 7, b="good good"))
    assert score.ratings is not None
    assert score.ratings[0] > 6 > 3 > score.ratings[1]
    assert score.usage.calls == 2
    # how much of one is shown does not depend on the other
    cut = await Hosted(CountingEngine(max_tokens=3_000), overflow="truncate", **options).score(LONG)
    assert set(cut.flags) - {"labels_improbable"} == {"truncated:a"}
    kind, _ = failure_of(await Hosted(CountingEngine(max_tokens=3_000), **options).score(LONG))
    assert kind is FailureKind.CONTEXT_OVERFLOW


@pytest.mark.parametrize(
    ("thought", "is_cut"), [("It is A.</think>", False), ("Let me think about it.", True)]
)
async def test_a_model_may_think_before_its_verdict(thought: str, is_cut: bool) -> None:
    hosted = Hosted(
        CountingEngine(says=lambda _: thought),
        thinking_tokens=len("It is A.</think>"),
        price_input=1.0,
        price_output=2.0,
    )
    plain = Hosted(price_input=1.0, price_output=2.0)
    pair = pair_of()
    score = await hosted.score(pair)
    assert score.p_a is not None
    assert score.flags == (("thinking_cut",) if is_cut else ())
    verdicts = [text for text, _ in hosted.opened.asked if text.endswith("</think>\n\n")]
    assert len(verdicts) == 2
    assert score.usage.completion == 2 * (16 + 1)
    assert score.cost_usd is not None
    assert score.cost_usd <= hosted.judge.most_usd(pair)
    assert hosted.judge.most_usd(pair) > plain.judge.most_usd(pair)


async def test_a_model_that_states_its_confidence_is_read() -> None:
    options: dict[str, Any] = {"template": "verbalized", "confidence": "verbalized"}
    hosted = Hosted(CountingEngine(says=lambda text: "A (80%)"), **options)
    with exchanges_heard() as heard:
        score = await hosted.score()
    # A is first in one order and second in the other
    assert score.annotators[0] == pytest.approx((0.8, 0.2))
    assert [one.text for one in heard] == ["A (80%)"] * 2
    kind, detail = failure_of(
        await Hosted(CountingEngine(says=lambda _: "Both."), **options).score()
    )
    assert kind is FailureKind.UNPARSEABLE
    assert "'Both.' is no label" in detail


async def test_a_reason_goes_on_from_the_verdict() -> None:
    reasons = ReasonSettings(tokens=40, wanted="all")
    for endpoint, tokenizer in (("chat", chatting()), ("completions", Spelling())):
        opened = CountingEngine(tokenizer, says=lambda _: " A is good.")
        prices: dict[str, Any] = {"price_input": 1.0, "price_output": 1.0}
        hosted = Hosted(opened, reasons=reasons, endpoint=endpoint, **prices)
        pair = pair_of()
        score = await hosted.judge.score(pair)
        opened.asked.clear()
        told = await hosted.judge.explain(pair, score, "a")
        await hosted.engine.aclose()
        assert (told.text, told.flags) == ("A is good.", ())
        assert told.cost_usd is not None
        assert told.cost_usd <= hosted.judge.most_reason_usd(pair)
        [(prompt, _)] = opened.asked
        before = "<|assistant|>" if endpoint == "chat" else "Better response: "
        assert prompt.endswith(f"{before}A{OPENING}")


async def test_a_reason_that_cannot_be_given_says_why() -> None:
    reasons = ReasonSettings(tokens=10, wanted="all")

    async def told(hosted: Hosted, pair: Pair) -> Any:
        score = await hosted.judge.score(pair_of())
        try:
            return await hosted.judge.explain(pair, score, "b")
        finally:
            await hosted.engine.aclose()

    cut = await told(Hosted(CountingEngine(says=lambda _: "B " * 20), reasons=reasons), pair_of())
    assert cut.text == "B B B B B"
    assert "cut" in cut.flags
    # thoughts were not kept, and the label stands behind an empty one
    hosted = Hosted(reasons=reasons, thinking_tokens=5)
    await told(hosted, pair_of())
    assert any("</think>\n\nB" in text for text, _ in hosted.opened.asked)
    small = Hosted(CountingEngine(max_tokens=4_000), reasons=reasons)
    assert (await told(small, LONG)).failure.kind is FailureKind.CONTEXT_OVERFLOW
    hosted = Hosted(reasons=reasons)
    exact = await hosted.score()
    full = Hosted(CountingEngine(max_tokens=exact.usage.prompt // 2 + 2), reasons=reasons)
    assert "no room is left for a reason" in (await told(full, pair_of())).failure.detail
    slow = Hosted(reasons=reasons, timeout_s=0.05)
    await slow.engine.wait(20)
    slow.opened.gate = asyncio.Event()
    failed = await slow.judge.explain(pair_of(), exact, "a")
    assert failed.failure is not None
    assert "no reason within 0.05 s" in failed.failure.detail
    slow.opened.fault = "dead"
    failed = await slow.judge.explain(pair_of(), exact, "a")
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.UNAVAILABLE
    await slow.engine.aclose()


async def test_an_engine_that_fails_or_hangs_is_a_failure_of_the_pair() -> None:
    hosted = Hosted(CountingEngine(fault="its engine died while it answered"))
    with exchanges_heard() as heard:
        score = await hosted.score()
    assert failure_of(score) == (FailureKind.SERVER_ERROR, "its engine died while it answered")
    assert [one.failure for one in heard] == [score.failure] * 2
    hosted = Hosted(CountingEngine(gate=asyncio.Event()), timeout_s=0.05)
    await hosted.engine.wait(20)
    assert failure_of(await hosted.score())[0] is FailureKind.TIMEOUT


async def test_an_adapter_is_named_to_the_engine() -> None:
    hosted = Hosted(adapter="org/adapter")
    assert (await hosted.score()).p_a is not None
    assert {adapter for _, adapter in hosted.opened.asked} == {"org/adapter"}


class Openings:
    """Opens engines in turn; those that are faults cannot be opened."""

    def __init__(self, *planned: CountingEngine | Exception) -> None:
        self.planned = list(planned)
        self.pauses: list[float] = []
        self.go_on = asyncio.Event()

    def __call__(self, _: EngineSettings) -> CountingEngine:
        one = self.planned.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.go_on.wait()
        if not self.planned:
            await asyncio.Event().wait()

    def engine(self) -> VllmEngine:
        settings = EngineSettings("tiny")
        return VllmEngine(settings, asyncio.Lock(), open_engine=self, pause=self.pause)


async def test_an_engine_that_cannot_start_is_tried_again_after_longer_pauses() -> None:
    many = [RuntimeError("CUDA out of memory\nat line 3") for _ in range(8)]
    openings = Openings(*many, EngineUnavailable(""))
    engine = openings.engine()
    with pytest.raises(EngineUnavailable, match="tiny: could not start: RuntimeError: CUDA out of"):
        await engine.wait(20)
    assert engine.detail.endswith("it is started again every 1 s")
    openings.go_on.set()
    async with asyncio.timeout(20):
        while openings.planned:
            await asyncio.sleep(0)
            assert engine.opened is None
    assert openings.pauses[:7] == [1, 2, 4, 8, 16, 32, 60]
    await engine.aclose()
    await engine.aclose()


async def test_an_engine_that_dies_is_closed_and_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "_LOOK_SECONDS", 0.001)
    first, second = CountingEngine(), CountingEngine()
    openings = Openings(first, second)
    engine = openings.engine()
    assert not engine.is_starting
    assert await engine.wait(20) is first
    openings.go_on.set()
    first.fault = "dead"
    with pytest.raises(EngineUnavailable, match="tiny: "):
        await engine.wait(20)
    async with asyncio.timeout(20):
        while engine.opened is not second:  # noqa: ASYNC110 - as a probe does
            await asyncio.sleep(0.001)
    assert first.is_closed
    assert await engine.wait(20) is second
    await engine.aclose()
    assert second.is_closed


async def test_a_model_that_takes_too_long_to_load_is_waited_for_no_longer() -> None:
    engine = Openings(CountingEngine()).engine()
    async with engine._turn:
        with pytest.raises(EngineUnavailable, match="tiny: waits for its turn to load"):
            await engine.wait(0.01)
        assert engine.is_starting
    await engine.aclose()


async def test_an_engine_that_loads_while_the_service_ends_is_closed() -> None:
    opened, may_open = CountingEngine(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(_: EngineSettings) -> CountingEngine:
        asyncio.run_coroutine_threadsafe(may_open.wait(), loop).result(20)
        return opened

    host = EngineHost(slowly)
    engine = host.engine(EngineSettings("tiny"))
    assert host.engine(EngineSettings("tiny")) is engine
    await asyncio.sleep(0.01)
    assert engine.detail == "the model is loading"
    loop.call_later(0.01, may_open.set)
    await host.aclose()
    assert opened.is_closed
    # one that nobody asked has nothing to end
    lazy = EngineHost(slowly, is_eager=False)
    assert lazy.engine(EngineSettings("tiny")).detail == "the model loads when it is first asked"
    await lazy.aclose()


async def test_without_vllm_a_hosted_judge_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    host = EngineHost()
    with pytest.raises(EngineUnavailable, match="vLLM is not installed: pip install"):
        await host.engine(EngineSettings("tiny")).wait(20)
    await host.aclose()


@pytest.fixture
def visible(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if request.param is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", request.param)
    yield
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == request.param


@pytest.mark.parametrize("visible", [None, "0,1"], indirect=True)
@pytest.mark.parametrize("devices", [None, "3"])
def test_an_engine_sees_its_devices_and_the_process_those_of_before(
    visible: None, devices: str | None
) -> None:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    with engines._seeing(devices):
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == (devices or before)
