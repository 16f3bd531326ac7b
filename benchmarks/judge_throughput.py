"""Pairs per second of a hosted judge: `python -m benchmarks.judge_throughput`; needs vLLM.

Each pair is judged by 5 simulated annotators of 3 examples in both orders: 10 prompts whose
beginnings of about 1,500 tokens are shared by all pairs, and whose pairs have about 600. Baselines,
in the same run: the same prompts one pair at a time without a prefix cache, as the reference
implementation asks; and vLLM's own offline `generate`, given all prompts of a round at once. Rounds
take turns and every round has pairs of its own. Wall time: the engines are other processes.

On a GPU: `--shape 8b --pairs 400 --engine '{"gpu_memory_utilization": 0.28}' --peak-tflops 989`; the three
engines share it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from judges.annotators import Example
from judges.engines import EngineSettings
from judges.label_ids import find_label_ids
from judges.prompt_tokens import PromptTokens
from judges.prompts import load_template
from judges.types import Message, Pair, TokenUsage
from judges.vllm_engine import EngineHost
from judges.vllm_judge import VllmJudge
from judges.vllm_settings import VllmSettings

ANNOTATORS: Final = 5
EXAMPLES: Final = 3
OF_THE_BOUND: Final = 0.85
OF_OFFLINE: Final = 0.9
# hidden size, inner size, layers, heads, key and value heads: of common models
SHAPES: Final = {"1b": (2048, 8192, 16, 32, 8), "8b": (4096, 14336, 32, 32, 8)}
_VOCABULARY: Final = 128_256
_WORDS: Final = [
    "river",
    "stone",
    "light",
    "garden",
    "engine",
    "paper",
    "winter",
    "copper",
    "window",
    "market",
    "number",
    "silver",
    "forest",
    "station",
    "letter",
    "mirror",
    "island",
    "bridge",
    "planet",
    "button",
]


@dataclass(frozen=True)
class Round:
    """How long one side took for the pairs of a round, and what it read."""

    seconds: float
    pairs: int
    usage: TokenUsage = field(default_factory=TokenUsage)

    @property
    def rate(self) -> float:
        """Pairs per second."""
        return self.pairs / self.seconds


def made_pair(number: int, rng: np.random.Generator, words: int) -> Pair:
    """Return a pair of random words."""

    def text(count: int) -> str:
        return " ".join(_WORDS[index] for index in rng.integers(0, len(_WORDS), count))

    answer = words * 2 // 5
    prompt = f"{number}: {text(words // 5)}?"
    return Pair(str(number), (Message("user", prompt),), (text(answer),), (text(answer),))


async def measure(model: str, engine: dict[str, Any], pairs: int, rounds: int) -> dict[str, Any]:
    """Return what each side took, and the ratios."""
    rng = np.random.default_rng(0)
    words = _words_for(model)
    template = load_template("pairwise")
    sets = tuple(
        tuple(
            Example(made_pair(-1 - 10 * j - i, rng, words // 2), "a" if (i + j) % 2 else "b")
            for i in range(EXAMPLES)
        )
        for j in range(ANNOTATORS)
    )
    host = EngineHost()
    try:
        cached = EngineSettings(model, None, engine)
        plain = EngineSettings(model, None, {**engine, "enable_prefix_caching": False})
        judges = [
            VllmJudge(VllmSettings("bench", s, timeout_s=3600), template, sets, host.engine(s))
            for s in (cached, plain)
        ]
        offline = await asyncio.to_thread(_offline, model, engine, template, sets)
        sides: dict[str, Callable[[Sequence[Pair]], Awaitable[Round]]] = {
            "service": lambda made: _together(judges[0], made),
            "one at a time, no cache": lambda made: _one_by_one(judges[1], made),
            "offline": lambda made: asyncio.to_thread(offline, made),
        }
        warm = [made_pair(10**6 + n, rng, words) for n in range(2)]
        for side in sides.values():
            await side(warm)
        taken: dict[str, list[Round]] = {name: [] for name in sides}
        for turn in range(rounds):
            made = [made_pair(turn * pairs + n, rng, words) for n in range(pairs)]
            for name, side in sides.items():
                taken[name].append(await side(made))
    finally:
        await host.aclose()
    return _ratios(taken)


async def _together(judge: VllmJudge, pairs: Sequence[Pair]) -> Round:
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(judge.score(pair)) for pair in pairs]
    seconds = time.perf_counter() - started
    scores = [task.result() for task in tasks]
    assert all(score.failure is None for score in scores)
    return Round(seconds, len(pairs), sum((s.usage for s in scores), TokenUsage()))


async def _one_by_one(judge: VllmJudge, pairs: Sequence[Pair]) -> Round:
    parts = [await _together(judge, [pair]) for pair in pairs]
    usage = sum((part.usage for part in parts), TokenUsage())
    return Round(sum(part.seconds for part in parts), len(pairs), usage)


def _offline(
    model: str, engine: dict[str, Any], template: Any, sets: Any
) -> Callable[[Sequence[Pair]], Round]:
    from vllm import LLM, SamplingParams

    llm = LLM(model=model, enable_prefix_caching=True, **engine)
    tokenizer = llm.get_tokenizer()
    tokens = PromptTokens(tokenizer, options={"enable_thinking": False})
    wanted = find_label_ids(tokenizer, template.labels).all
    shared = [tokens.shared(template.shared(examples)) for examples in sets]
    sampling = SamplingParams(
        max_tokens=1, temperature=0, logprob_token_ids=wanted, allowed_token_ids=wanted,
        detokenize=False,
    )  # fmt: skip

    def run(pairs: Sequence[Pair]) -> Round:
        started = time.perf_counter()
        prompts = [
            {"prompt_token_ids": [*own, *tokens.query(template.query(pair, swapped=s).text)]}
            for pair in pairs
            for own in shared
            for s in (False, True)
        ]
        llm.generate(prompts, sampling, use_tqdm=False)
        return Round(time.perf_counter() - started, len(pairs))

    return run


def _words_for(model: str) -> int:
    """Words of a pair whose prompt part has about 600 tokens."""
    from transformers import AutoTokenizer

    text = " ".join(_WORDS)
    return round(500 * len(_WORDS) / len(AutoTokenizer.from_pretrained(model).encode(text)))


def _ratios(taken: dict[str, list[Round]]) -> dict[str, Any]:
    service = taken["service"]
    usage = sum((one.usage for one in service), TokenUsage())
    bound = usage.prompt / (usage.prompt - usage.cached)
    rates = {name: float(np.median([one.rate for one in rows])) for name, rows in taken.items()}

    def over(other: str) -> list[float]:
        return [a.rate / b.rate for a, b in zip(service, taken[other], strict=True)]

    alone, offline = over("one at a time, no cache"), over("offline")
    return {
        "pairs_per_second": rates,
        "prompt_tokens_per_pair": usage.prompt / sum(one.pairs for one in service),
        "cached_share": usage.cached / usage.prompt,
        "bound_by_token_counts": bound,
        "over_one_at_a_time": {"median": float(np.median(alone)), "rounds": alone},
        "wanted_over_one_at_a_time": OF_THE_BOUND * bound,
        "over_offline": {"median": float(np.median(offline)), "rounds": offline},
        "wanted_over_offline": OF_OFFLINE,
    }


def _dummy(folder: Path, shape: str) -> Path:
    """Write a model's configuration and tokenizer, without weights, and return the folder."""
    from tests.judges.vllm.tiny_models import byte_level_tokenizer
    from transformers import Qwen2Config

    hidden, inner, layers, heads, key_heads = SHAPES[shape]
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(folder)
    Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=_VOCABULARY,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        dtype="bfloat16",
    ).save_pretrained(folder)
    return folder


def _utilisation(model: Path, found: dict[str, Any], peak_tflops: float) -> dict[str, float]:
    """Return the share of the GPU's peak that the uncached prompt tokens used.

    A token costs two operations a weight of the layers; attention is left out, so the share is
    understated a little.
    """
    config = json.loads((model / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    share = config["num_key_value_heads"] / config["num_attention_heads"]
    weights = config["num_hidden_layers"] * hidden * (hidden * (2 + 2 * share) + 3 * inner)
    fresh = found["prompt_tokens_per_pair"] * (1 - found["cached_share"])
    flops = 2 * weights * fresh * found["pairs_per_second"]["service"]
    return {"layer_weights": weights, "model_flop_utilisation": flops / (peak_tflops * 1e12)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge_throughput")
    parser.add_argument("--model", help="a model's folder; default: a tiny one, made for the run")
    parser.add_argument(
        "--shape", choices=list(SHAPES), help="a model of this size with random weights, for a GPU"
    )
    parser.add_argument("--peak-tflops", type=float, help="of the GPU, to say what share is used")
    parser.add_argument("--pairs", type=int, default=24, help="pairs a round (default 24)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--engine", type=json.loads, help="options of vLLM's engine, as JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model, engine = options.model, options.engine
        if options.shape is not None:
            model = str(_dummy(Path(folder), options.shape))
            engine = {"load_format": "dummy", "max_model_len": 4096, **(engine or {})}
        if model is None:
            from tests.judges.vllm.tiny_models import make_tiny

            from tests.judges.vllm.conftest import ENGINE, ENVIRONMENT

            os.environ.update(ENVIRONMENT)
            model = str(make_tiny(Path(folder), "qwen2", hidden=128))
            engine = engine or ENGINE
        found = asyncio.run(measure(model, engine or {}, options.pairs, options.rounds))
        if options.peak_tflops:
            found |= _utilisation(Path(model), found, options.peak_tflops)
        print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
