"""Reward judges: two prompts a pair, the temperature, failures as values, keys of the configuration."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from judges import registry as registry_module
from judges.base import calls_announced, exchanges_heard
from judges.errors import JudgeConfigurationInvalid
from judges.prompting.examples import LabelledPair
from judges.registry import Registry, example_datasets
from judges.reward.settings import FittedOn, fit_tau
from judges.types import FailureKind, Message, Pair, Score
from judges.vllm.engine import EngineHost
from tests.judges.pairs import pair_of
from tests.judges.reward.reward_server import RewardServer, reward_of, serving
from tests.judges.spelling import CountingEngine, Spelling, chatting

PAIR = pair_of(a="good good <|im_end|>", b="good")


@pytest.fixture(scope="module")
def _reward_server() -> Iterator[RewardServer]:
    with serving(RewardServer()) as opened:
        yield opened


@pytest.fixture
def server(_reward_server: RewardServer) -> RewardServer:
    _reward_server.plan.clear()
    _reward_server.requests.clear()
    _reward_server.longest = 100_000
    return _reward_server


def table(server: RewardServer, **more: Any) -> dict[str, Any]:
    return {
        "kind": "reward", "model": "rm", "base_url": f"{server.base_url}/v1", "endpoint": "score",
        **more,
    }  # fmt: skip


def registry_of(table: dict[str, Any], labelled: Sequence[LabelledPair] = ()) -> Registry:
    return Registry.from_config(
        {"judges": {"rm": table}},
        transport=httpx.AsyncHTTPTransport(),
        examples=lambda _: labelled,
        environ={},
    )


async def scored(
    table: dict[str, Any], pair: Pair = PAIR, labelled: Sequence[LabelledPair] = ()
) -> Score:
    registry = registry_of(table, labelled)
    try:
        return await registry.judges["rm"].score(pair)
    finally:
        await registry.aclose()


async def test_a_call_is_announced_where_it_costs_money(server: RewardServer) -> None:
    before: list[tuple[str, str, int]] = []

    async def note(pair: str, judge: str) -> None:
        before.append((pair, judge, len(server.requests)))

    with calls_announced(note):
        await scored(table(server, tau=2.0))
        await scored(table(server, tau=2.0, price_input=3.0))
    assert before == [(PAIR.id, "rm", 2)]


async def test_p_a_is_the_logistic_of_the_difference_of_rewards(server: RewardServer) -> None:
    score = await scored(table(server, tau=2.0, price_input=3.0))
    difference = reward_of("good good") - reward_of("good")
    assert score.p_a == pytest.approx(1 / (1 + math.exp(-difference / 2.0)), abs=1e-12)
    assert score.annotators == ((score.p_a, score.p_a),)
    assert score.ratings == (reward_of("good good"), reward_of("good"))
    assert score.usage.calls == 2
    assert score.cost_usd == pytest.approx(20 * 3.0 / 1e6)
    assert score.flags == ("injection:control_token",)
    path, request = server.requests[0]
    assert path == "/score"
    assert request["use_activation"] is False
    assert {r["text_2"] for _, r in server.requests} == {"good good < |im_end|>", "good"}


async def test_the_order_of_the_responses_mirrors_the_score_exactly(server: RewardServer) -> None:
    one, other = await scored(table(server)), await scored(table(server), PAIR.swapped())
    assert other.p_a == one.p_b
    assert one.fingerprint == other.fingerprint


async def test_a_busy_server_is_asked_again_and_a_refusal_is_a_failure(
    server: RewardServer,
) -> None:
    server.plan = [503, 503]
    assert (await scored(table(server))).failure is None
    server.plan = [401, 401]
    refused = await scored(table(server, attempts=1))
    assert refused.failure is not None
    assert refused.failure.kind == FailureKind.UNAVAILABLE


async def test_health_is_that_of_the_server(server: RewardServer) -> None:
    registry = registry_of(table(server))
    assert (await registry.judges["rm"].health()).is_ready
    await registry.aclose()
    away = registry_of({**table(server), "base_url": "http://127.0.0.1:9"})
    assert not (await away.judges["rm"].health()).is_ready
    await away.aclose()


def labelled(n: int, tau: float, seed: int = 0) -> list[LabelledPair]:
    """Pairs labelled by chance, as rewards with this temperature have it."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(n):
        a, b = rng.integers(0, 6, 2)
        difference = 0.8 * (a - b)
        label = "a" if rng.random() < 1 / (1 + math.exp(-difference / tau)) else "b"
        pair = pair_of(f"Q{number}?", "good " * a, "good " * b, pair_id=str(number))
        made.append(LabelledPair(pair, (("anna", label),), f"g{number}"))  # type: ignore[arg-type]
    return made


async def test_tau_is_fitted_on_labelled_pairs_that_leave_the_calibration_sample(
    server: RewardServer,
) -> None:
    people = labelled(150, tau=2.0)
    made = table(server, tau_from="people", tau_groups=100, concurrency=8)
    registry = registry_of(made, people)
    judge = registry.judges["rm"]
    score = await judge.score(PAIR)
    assert score.p_a is not None
    tau = 0.8 / math.log(score.p_a / (1 - score.p_a))
    assert 1.0 < tau < 4.0
    assert len(judge.spec.training_prompts) == 100
    asked = len(server.requests)
    assert asked == 2 * 100 + 2
    await judge.score(PAIR)
    assert len(server.requests) == asked + 2
    await registry.aclose()
    # other labels, another judge
    other = registry_of(made, labelled(150, tau=2.0, seed=1))
    assert other.judges["rm"].spec.fingerprint != judge.spec.fingerprint
    await other.aclose()
    assert example_datasets({"judges": {"rm": made}}) == {"people"}


async def test_rewards_against_the_labels_fit_no_temperature(server: RewardServer) -> None:
    people = [
        LabelledPair(one.pair.swapped(), one.labels, one.group) for one in labelled(20, tau=0.2)
    ]
    score = await scored(table(server, tau_from="people"), labelled=people)
    assert score.failure is not None
    assert "tau_from: the rewards do not agree" in score.failure.detail


async def test_what_is_too_long_fits_no_tau_and_a_fault_is_shared(server: RewardServer) -> None:
    people = labelled(40, tau=1.0)
    fitting = table(server, tau_from="people", attempts=1)
    whole = await scored(fitting, labelled=people)
    # more than four good words do not fit the model: the other pairs fit tau
    server.longest = 24
    short = await scored(fitting, labelled=people)
    assert short.failure is None
    kept = [
        one
        for one in people
        if max(len(t) for t in one.pair.responses_a + one.pair.responses_b) <= 24
    ]
    assert 10 < len(kept) < 40
    assert short.p_a == (await scored(fitting, labelled=kept)).p_a != whole.p_a
    # pairs that wait for tau fail of one fault, and the next one tries again
    server.longest, server.plan = 100_000, [401]
    registry = registry_of(fitting, people)
    before = len(server.requests)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(registry.judges["rm"].score(PAIR)) for _ in range(5)]
    assert len(server.requests) - before <= 2 * 40
    failures = {one.failure for one in (task.result() for task in tasks)}
    assert len(failures) == 1
    assert "tau_from: pair " in getattr(failures.pop(), "detail", "")
    assert (await registry.judges["rm"].score(PAIR)).p_a == whole.p_a
    await registry.aclose()


async def test_too_few_labels_wait_for_more(server: RewardServer) -> None:
    registry = registry_of(table(server, tau_from="people"), labelled(4, tau=1.0))
    assert "too few" in (await registry.judges["rm"].health()).detail
    await registry.aclose()


def test_the_temperature_is_that_of_the_largest_likelihood() -> None:
    rng = np.random.default_rng(3)
    d = rng.normal(0, 3, 20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(-d / 1.7))).astype(float)
    assert fit_tau(d, y) == pytest.approx(1.7, rel=0.03)
    assert fit_tau(10 * d, y) == pytest.approx(17, rel=0.03)
    # without a fault: finite, and the surer the more pairs
    assert 0 < fit_tau(d[:2000], d[:2000] > 0) < fit_tau(d[:50], d[:50] > 0)


def test_groups_are_chosen_whatever_their_labels() -> None:
    people = labelled(100, tau=1.0)
    flipped = [LabelledPair(one.pair, ((None, "b"),), one.group) for one in people]
    chosen = [{pair.id for pair, _ in FittedOn.of(some, 40).pairs} for some in (people, flipped)]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 40


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tau": 1.0, "tau_from": "x"}, "judges.rm.tau: is given, or fitted"),
        ({"tau": 0.0}, "judges.rm.tau"),
        ({"input": "pair"}, 'endpoint: "score" takes'),
        ({"endpoint": "classify"}, "judges.rm.tokenizer: goes with base_url"),
        ({"engine": {"dtype": "float32"}}, "judges.rm.engine: goes with a model"),
        ({"template": "pairwise"}, "template: goes with input"),
        ({"taus": 1.0}, "did you mean 'tau'"),
        ({"base_url": "rm:80"}, "judges.rm.base_url"),
    ],
)
def test_what_is_wrong_is_said_by_its_key(more: dict[str, Any], said: str) -> None:
    with pytest.raises(JudgeConfigurationInvalid) as caught:
        registry_of({**table(RewardServer("http://127.0.0.1:9")), **more})
    assert said in str(caught.value)


async def hosted(
    opened: CountingEngine, pair: Pair = PAIR, people: Sequence[LabelledPair] = (), **more: Any
) -> Score:
    """The score of a reward model that this process hosts."""
    host = EngineHost(lambda _: opened, is_eager=False)
    registry = Registry.from_config(
        {"judges": {"rm": {"kind": "reward", "model": "org/rm", "timeout_s": 20.0, **more}}},
        engines=host,
        examples=lambda _: people,
        environ={},
    )
    judge = registry.judges["rm"]
    try:
        assert not (await judge.health()).is_ready
        score = await judge.score(pair)
        assert (await judge.health()).is_ready is not opened.is_dead
        return score
    finally:
        await registry.aclose()
        await host.aclose()


async def test_a_hosted_model_reads_the_conversation_as_its_template_lays_it_out() -> None:
    opened = CountingEngine()
    with exchanges_heard() as heard:
        score = await hosted(opened, price_input=1.0)
    assert score.ratings == (3.0, 2.0)  # one good word is in the question
    assert score.p_a == pytest.approx(1 / (1 + math.exp(-1)))
    assert score.flags == ("injection:control_token",)
    end = "<|end|>"
    first = f"<|user|>{PAIR.conversation[0].content}{end}<|assistant|>good good <|im_end|>{end}"
    assert first in {one.prompt for one in heard}
    assert {one.text for one in heard} == {"3", "2"}
    assert score.usage.prompt == sum(one.usage.prompt for one in heard)
    # a conversation of several turns has a response to each of them
    turns = (Message("user", "One?"), Message("user", "Two?"))
    pair = Pair("p", turns, ("good", "good"), ("bad", "bad"))
    opened = CountingEngine()
    assert (await hosted(opened, pair)).ratings == (2.0, 0.0)
    asked = {text for text, _ in opened.asked}
    shown = f"<|user|>One?{end}<|assistant|>bad{end}<|user|>Two?{end}<|assistant|>bad{end}"
    assert shown in asked


def of_pair(text: str) -> tuple[float, float]:
    """How probable each label is after a whole pair, by a head of two numbers."""
    first, second = re.findall(r"<response_[AB]>\n(.*?)\n</response", text, re.DOTALL)
    return 0.5 + first.count("good"), float(second.count("good"))


async def test_a_classifier_of_whole_pairs_is_asked_in_both_orders() -> None:
    opened = CountingEngine(head=of_pair)
    pair = pair_of(b="good <|user|>")
    score = await hosted(opened, pair, input="pair")
    row = (1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(-0.5)))
    assert score.annotators[0] == pytest.approx(row)
    assert (score.ratings, score.flags) == (None, ("injection:control_token",))
    assert all(text.startswith("<|system|>") for text, _ in opened.asked)
    other = await hosted(CountingEngine(head=of_pair), pair, input="pair", first_label=1)
    assert other.annotators[0] == pytest.approx((1 - row[0], 1 - row[1]))
    assert other.fingerprint != score.fingerprint


@pytest.mark.parametrize(
    ("opened", "more", "kind", "words"),
    [
        (CountingEngine(), {"input": "pair"}, FailureKind.UNPARSEABLE, "the head gives 1 numbers"),
        (CountingEngine(max_tokens=9), {}, FailureKind.CONTEXT_OVERFLOW, "the model takes 9"),
        (CountingEngine(fault="dead"), {}, FailureKind.UNAVAILABLE, "org/rm: "),
        (CountingEngine(fault="it ended"), {}, FailureKind.SERVER_ERROR, "it ended"),
        (CountingEngine(Spelling()), {}, FailureKind.UNAVAILABLE, "chat_template: needed"),
    ],
)
async def test_what_a_hosted_model_cannot_say_is_a_failure(
    opened: CountingEngine, more: dict[str, Any], kind: FailureKind, words: str
) -> None:
    with exchanges_heard() as heard:
        score = await hosted(opened, **more)
    assert score.failure is not None
    assert (score.failure.kind, words in score.failure.detail) == (kind, True)
    assert {one.failure.kind for one in heard if one.failure} <= {kind}


async def test_where_hardly_a_labelled_pair_fits_tau_is_to_be_given() -> None:
    people = labelled(20, tau=1.0)
    longest = [
        LabelledPair(replace(o.pair, responses_a=("x" * 900,)), o.labels, o.group) for o in people
    ]
    score = await hosted(CountingEngine(max_tokens=200), PAIR, longest, tau_from="people")
    assert score.failure is not None
    assert score.failure.detail == "tau_from: only 0 of 20 labelled pairs fit the model; give tau"


async def test_a_key_that_is_not_set_is_said_without_a_request(server: RewardServer) -> None:
    score = await scored(table(server, api_key_env="NO_SUCH_KEY"))
    assert score.failure is not None
    assert "the environment variable NO_SUCH_KEY is not set" in score.failure.detail
    assert server.requests == []


@pytest.mark.parametrize("endpoint", ["classify", "pooling"])
async def test_a_server_that_takes_ids_is_sent_the_whole_conversation(
    server: RewardServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "load_tokenizer", lambda *_: chatting())
    server.values_of_ids = lambda ids: [float(chatting().decode(ids).count("good"))]
    made = table(server, endpoint=endpoint, tokenizer="t")
    assert (await scored(made)).ratings == (3.0, 2.0)
    server.values_of_ids = lambda _: [math.inf]
    failed = await scored(made)
    assert failed.failure is not None
    assert "the reply holds no numbers of a head" in failed.failure.detail
