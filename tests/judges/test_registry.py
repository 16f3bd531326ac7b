"""From configuration tables to judges: what is wrong is said with the path of its key."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from judges.errors import JudgeConfigurationInvalid
from judges.openai.judge import OpenAIJudge
from judges.prompting.examples import LabelledPair
from judges.prompting.templates import load_template
from judges.recorded import Jury, RecordedJudge
from judges.registry import Examples, Registry, WaitingJudge, example_datasets
from judges.student.judge import StudentJudge
from judges.types import FailureKind
from judges.vllm.engine import EngineHost
from tests.judges.model_server import ModelServer
from tests.judges.pairs import pair_of

OPENAI = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}


@asynccontextmanager
async def registry_of(
    config: dict[str, Any] | str, examples: Examples | None = None
) -> AsyncIterator[Registry]:
    parsed = tomllib.loads(config) if isinstance(config, str) else config
    registry = Registry.from_config(
        parsed, transport=httpx.AsyncHTTPTransport(), examples=examples, environ={}
    )
    try:
        yield registry
    finally:
        await registry.aclose()


def refused(config: dict[str, Any], **options: Any) -> str:
    with pytest.raises(JudgeConfigurationInvalid) as caught:
        Registry.from_config(config, environ={}, **options)
    return str(caught.value)


def labelled(_: str) -> Sequence[LabelledPair]:
    return [
        LabelledPair(
            pair_of(f"Question {i}?", pair_id=str(i)), ((None, "a" if i % 2 else "b"),), f"g{i}"
        )
        for i in range(30)
    ]


async def test_without_configuration_there_is_the_student_alone() -> None:
    async with registry_of({}) as registry:
        assert list(registry.judges) == ["student"]
        assert isinstance(registry.judges["student"], StudentJudge)
        assert registry.cascades == {"default": ("student",)}


async def test_a_whole_configuration_becomes_judges_and_cascades() -> None:
    text = """
    [judges.student]
    kind = "student"
    [judges.dear]
    kind = "openai"
    base_url = "http://127.0.0.1:8001/v1"
    model = "judge"
    revision = "abc"
    annotators = 3
    examples = 2
    examples_from = "golden"
    orders = "both"
    template = "pairwise"
    confidence = "annotators"
    labels = ["A", "B", "C"]
    price_input = 1
    price_output = 0.5
    api_key_env = "OPENAI_API_KEY"
    endpoint = "completions"
    concurrency = 8
    timeout_s = 5
    attempts = 2
    max_tokens = 1
    [judges.gpt4-votes]
    kind = "recorded"
    members = ["GPT-4/*"]
    [judges.gpt4]
    kind = "recorded"
    model = "gpt-4-0613"
    [cascades.careful]
    judges = ["student", "gpt4-votes", "not-configured", "dear"]
    thresholds = [0.9, 0.8, inf, 0.5]
    """
    async with registry_of(text, labelled) as registry:
        kinds = [type(judge) for judge in registry.judges.values()]
        assert kinds == [StudentJudge, OpenAIJudge, Jury, RecordedJudge]
        assert registry.cascades["default"] == ("student", "dear")
        assert registry.cascades["careful"] == ("student", "gpt4-votes", "not-configured", "dear")
        assert registry.thresholds == {"careful": (0.9, 0.8, math.inf, 0.5)}
        spec = registry.judges["dear"].spec
        assert (spec.price_input, spec.price_output) == (1.0, 0.5)
        assert spec.scored_by["annotators"] == 3
        assert 6 <= len(spec.example_prompts) < 30
        assert example_datasets(tomllib.loads(text)) == {"golden"}


async def test_the_student_is_there_beside_others_and_not_in_their_default_cascade() -> None:
    async with registry_of({"judges": {"dear": OPENAI}}) as registry:
        assert list(registry.judges) == ["dear", "student"]
        assert registry.cascades["default"] == ("dear",)


async def test_recorded_judges_alone_leave_the_student_as_default_cascade() -> None:
    async with registry_of({"judges": {"old": {"kind": "recorded"}}}) as registry:
        assert registry.cascades["default"] == ("student",)


BUDGET = {"budget_usd": 1.0, "price_input": 1.0, "price_output": 1.0}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**OPENAI, "anotators": 5}, "judges.x.anotators: unknown key, did you mean 'annotators'"),
        ({**OPENAI, "engine": {}}, "judges.x.engine: unknown key"),
        ({**OPENAI, "concurrency": "64"}, "judges.x.concurrency: "),
        ({**OPENAI, "annotators": 11}, "judges.x.annotators: "),
        ({**OPENAI, "annotators": True}, "judges.x.annotators: "),
        ({**OPENAI, "orders": "one"}, "judges.x.orders: "),
        ({**OPENAI, "price_input": -1}, "judges.x.price_input: "),
        ({**OPENAI, "price_input": math.nan}, "judges.x.price_input: "),
        ({**OPENAI, "labels": ["A", "A"]}, "judges.x.labels: "),
        ({**OPENAI, "labels": ["A", 1]}, "judges.x.labels.1: "),
        ({**OPENAI, "template": "pairwize"}, "judges.x.template: 'pairwize' not found"),
        ({**OPENAI, "examples": 5}, "judges.x.examples_from: needed"),
        ({**OPENAI, "batch_price": 0.5}, "judges.x.batch_price: goes with batch_endpoint"),
        (
            {
                **OPENAI,
                "batch_endpoint": True,
                "budget_usd": 1.0,
                "price_input": 1.0,
                "price_output": 1.0,
            },
            "judges.x.budget_usd: limits the calls of one process",
        ),
        ({**OPENAI, "confidence": "predictive", "examples_from": "d"}, "judges.x.confidence: "),
        ({**OPENAI, "base_url": "localhost:8000"}, "judges.x.base_url: "),
        ({**OPENAI, "base_url": "http://u:secret@h/v1"}, "judges.x.base_url: holds a password"),
        ({**OPENAI, "base_url": "http://h/v1/chat/completions"}, "judges.x.base_url: leave out"),
        ({**OPENAI, "omit": ["model"]}, "judges.x.omit.0: "),
        ({**OPENAI, "omit": ["temperature"], "temperature": 1.0}, "judges.x.omit: 'temperature'"),
        ({**OPENAI, "omit": ["max_tokens"], "max_tokens": 1}, "judges.x.omit: 'max_tokens'"),
        ({**OPENAI, "omit": ["max_tokens"], **BUDGET}, "judges.x.budget_usd: without max_tokens"),
        ({**OPENAI, "temperature": -1.0}, "judges.x.temperature: "),
        ({**OPENAI, "system_role": "developer"}, "judges.x.system_role: "),
        ({**OPENAI, "min_label_mass": 2.0}, "judges.x.min_label_mass: "),
        ({**OPENAI, "headers": {"a b": "c"}}, "judges.x.headers: 'a b' cannot be set"),
        ({**OPENAI, "headers": {"Content-Length": "1"}}, "judges.x.headers: 'Content-Length'"),
        ({**OPENAI, "headers": "secret"}, "judges.x.headers: "),
        ({**OPENAI, "headers": {"key": ["secret"]}}, "judges.x.headers.key: "),
        ({**OPENAI, "headers": {"key": "sécret"}}, "judges.x.headers.key: it holds a character"),
        ({**OPENAI, "query": {"key": 5}}, "judges.x.query.key: "),
        (
            {**OPENAI, "annotators": 3, "early_annotators": 3, "early_confidence": 0.9},
            "judges.x.early_annotators: must be fewer than 3 annotators",
        ),
        ({**OPENAI, "endpoint": "tokens"}, 'judges.x.tokenizer: goes with endpoint = "tokens"'),
        ({**OPENAI, "tokenizer": "t"}, 'judges.x.tokenizer: goes with endpoint = "tokens"'),
        (
            {**OPENAI, "endpoint": "tokens", "tokenizer": "t", "confidence": "verbalized"},
            'judges.x.endpoint: "tokens" reads labels, not a verbalized confidence',
        ),
        ({"kind": "reward", "model": "m", "endpoint": "score"}, "judges.x.endpoint: goes with"),
        (
            {"kind": "reward", "model": "m", "input": "pair", "tau": 1.0},
            'judges.x.tau: input = "pair" gives probabilities',
        ),
        ({"kind": "openai", "model": "m"}, "judges.x.base_url: missing"),
        ({"kind": "openai", "base_url": "http://h/v1"}, "judges.x.model: "),
        ({"kind": "openia"}, "judges.x.kind: 'openia' is unknown, did you mean 'openai'"),
        ({"model": "m"}, "judges.x.kind: missing"),
        ({"kind": ["openai"]}, "judges.x.kind: "),
        (
            {"kind": "vllm", "model": "m", "engin": {}},
            "judges.x.engin: unknown key, did you mean 'engine'",
        ),
        ({"kind": "student", "model": "m"}, "judges.x.model: unknown key"),
        ({"kind": "recorded", "members": []}, "judges.x.members: "),
        ({"kind": "recorded", "members": "GPT-4/*"}, "judges.x.members: "),
        ("openai", "judges.x: must be a table"),
    ],
)
def test_a_wrong_judge_table_names_its_key(table: object, message: str) -> None:
    text = refused({"judges": {"x": table}})
    assert text.startswith(message)
    assert "secret" not in text


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"judges": []}, "cascades.x.judges: "),
        ({"judges": ["a", "a"]}, "cascades.x.judges: a name occurs twice"),
        ({"judges": ["a"], "threshold": [1]}, "cascades.x.threshold: unknown key, did you mean"),
        ({"judges": ["a"], "thresholds": [0.5, 0.6]}, "cascades.x.thresholds: one for each"),
        ({"judges": ["a"], "thresholds": [1.5]}, "cascades.x.thresholds: each is between"),
        ({"judges": ["a"], "thresholds": [math.nan]}, "cascades.x.thresholds: each is between"),
        (["a"], "cascades.x: must be a table"),
    ],
)
def test_a_wrong_cascade_names_its_key(table: object, message: str) -> None:
    assert refused({"cascades": {"x": table}}).startswith(message)


def test_a_section_that_is_no_table_is_refused() -> None:
    assert refused({"judges": ["student"]}).startswith("judges: must be a table")
    assert refused({"judges": {"a\x07b": OPENAI}}).startswith("judges: the name 'a\\x07b' holds")


async def test_a_judge_whose_examples_are_not_there_yet_waits() -> None:
    def missing(name: str) -> Sequence[LabelledPair]:
        raise KeyError(name)

    config = {"judges": {"x": {**OPENAI, "examples_from": "golden"}}}
    for source in (missing, lambda _: labelled("")[:3], None):
        async with registry_of(config, source) as registry:
            judge = registry.judges["x"]
            assert isinstance(judge, WaitingJudge)
            assert not (await judge.health()).is_ready
            score = await judge.score(pair_of())
            assert score.failure is not None
            assert score.failure.kind is FailureKind.UNAVAILABLE


async def test_a_hosted_judge_waits_where_this_process_hosts_no_models(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    hosted = {"kind": "vllm", "model": "org/model", "adapter": str(tmp_path / "adapter")}
    reward = {"kind": "reward", "model": "org/reward", "devices": "1"}
    async with registry_of({"judges": {"x": hosted, "y": reward}}) as registry:
        for name in ("x", "y"):
            assert "this process hosts no models" in (await registry.judges[name].health()).detail


async def test_one_by_one_asks_two_annotators_first() -> None:
    table = {**OPENAI, "annotators": 5, "examples_from": "golden", "one_by_one": 0.5}
    async with registry_of({"judges": {"x": table}}, labelled) as registry:
        judge = registry.judges["x"]
        assert isinstance(judge, OpenAIJudge)
        assert judge.asks(pair_of()).fewest == 2 * 2


async def test_the_examples_enter_the_fingerprint_and_the_dataset_s_name_does_not() -> None:
    async def fingerprint(examples: Examples, **table: Any) -> str:
        config = {"judges": {"x": {**OPENAI, "examples_from": "golden", **table}}}
        async with registry_of(config, examples) as registry:
            return registry.judges["x"].spec.fingerprint

    plain = await fingerprint(labelled)
    assert await fingerprint(labelled, examples_from="another") == plain
    assert await fingerprint(lambda _: labelled("")[::-1]) == plain
    assert await fingerprint(lambda _: labelled("")[1:]) != plain
    assert await fingerprint(labelled, examples_seed=1) != plain


async def test_a_configured_judge_asks_its_server(server: ModelServer) -> None:
    table = {**OPENAI, "base_url": server.base_url, "annotators": 2, "examples": 1}
    config = {"judges": {"x": {**table, "examples_from": "golden"}}}
    async with registry_of(config, labelled) as registry:
        score = await registry.judges["x"].score(pair_of())
    assert score.failure is None
    assert len(server.requests) == 4


async def test_the_address_may_come_from_the_environment() -> None:
    config = {"judges": {"x": {"kind": "openai", "model": "m"}}}
    environ = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    registry = Registry.from_config(config, environ=environ)
    assert registry.judges["x"].spec.notes["base_url"] == environ["OPENAI_BASE_URL"]
    await registry.aclose()


def test_several_criteria_make_a_judge_for_each() -> None:
    config = {"judges": {"dear": {**OPENAI, "criteria": ["overall", "style"]}, "one": OPENAI}}
    registry = Registry.from_config(config, environ={})
    assert list(registry.judges)[:2] == ["dear:overall", "dear:style"]
    prints = {name: judge.spec.fingerprint for name, judge in registry.judges.items()}
    # overall is what a judge without criteria is asked
    assert prints["dear:overall"] == prints["one"] != prints["dear:style"]


def test_a_cascade_names_one_of_several_criteria() -> None:
    table = {**OPENAI, "criteria": ["overall", "style"]}
    config = {"judges": {"dear": table}, "cascades": {"c": {"judges": ["dear"]}}}
    assert "name one of dear:overall, dear:style" in refused(config)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"criteria": ["a", "a"]}, "judges.j.criteria: a name occurs twice"),
        ({"criteria": [" "]}, "is no name of a criterion"),
        ({"criteria": ["x"], "template": {"pair": "{{ responses }}"}}, "does not use criterion"),
        ({"template": {"pairs": "x"}}, "template.pairs: unknown part, did you mean 'pair'?"),
        ({"template": {"pair": "{{ respnses }}"}}, "'respnses' is undefined"),
        ({"template": {"verdict": 3}}, "verdict is not a text"),
        ({"one_by_one": 2.0, "annotators": 2}, "judges.j.one_by_one: needs three annotators"),
        ({"one_by_one": -1.0}, "judges.j.one_by_one"),
        ({"early_confidence": 0.9}, "early_annotators: goes with early_confidence"),
        ({"reason_tokens": 5}, "judges.j.reason_tokens: goes with reasons = true"),
        ({"reasons": True, "reasons_for": "never"}, "judges.j.reasons_for: 'never' is none of"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_said_by_its_key(table: dict[str, Any], said: str) -> None:
    assert said in refused({"judges": {"j": {**OPENAI, **table}}})


def test_an_inline_template_is_the_template_of_a_file(tmp_path: Path) -> None:
    inline = {"instructions": "Say {{ labels[0] }} or {{ labels[1] }}.", "verdict": "Better:"}
    ours = load_template(inline)
    (tmp_path / "mine.toml").write_text(
        "\n".join(f"{part} = {json.dumps(text)}" for part, text in ours.parts.items())
    )
    path = str(tmp_path / "mine.toml")
    registry = Registry.from_config(
        {"judges": {"x": {**OPENAI, "template": inline}, "y": {**OPENAI, "template": path}}},
        environ={},
    )
    assert registry.judges["x"].spec.fingerprint == registry.judges["y"].spec.fingerprint


def test_judges_of_one_model_share_an_engine_whichever_adapters_they_use(tmp_path: Path) -> None:
    for name, rank in (("one", 8), ("two", 40)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"r": rank}))
    table = {"kind": "vllm", "model": "org/model", "revision": "abc", "examples": 0}
    named = {name: {**table, "adapter": str(tmp_path / name)} for name in ("one", "two", "gone")}
    host = EngineHost(is_eager=False)
    registry = Registry.from_config({"judges": {"base": table, **named}}, engines=host, environ={})
    assert isinstance(registry.judges["gone"], WaitingJudge)
    [engine] = host._engines.values()
    # resident together; the rank is the next one that vLLM knows
    assert engine.settings.options == {"enable_lora": True, "max_loras": 3, "max_lora_rank": 64}
    prints = {name: registry.judges[name].spec.fingerprint for name in ("base", "one", "two")}
    assert len(set(prints.values())) == 3
    alone = Registry.from_config(
        {"judges": {"base": table}}, engines=EngineHost(is_eager=False), environ={}
    )
    assert alone.judges["base"].spec.fingerprint == prints["base"]
    # other content of the same folder is another judge
    (tmp_path / "one" / "adapter_config.json").write_text(json.dumps({"r": 16}))
    again = Registry.from_config(
        {"judges": {"one": named["one"]}}, engines=EngineHost(is_eager=False), environ={}
    )
    assert again.judges["one"].spec.fingerprint != prints["one"]
