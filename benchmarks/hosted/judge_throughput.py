"""Pairs per second of a hosted judge: `python -m benchmarks.hosted.judge_throughput`; needs vLLM.

Baselines on the same prompts (`benchmarks.hosted.judge_workload`), in the same run: one pair at a time
without a prefix cache, as the reference implementation asks; and vLLM's own offline `generate`,
given all prompts of a round at once. Rounds take turns and every round has pairs of its own. Wall
time: the engines are other processes. Afterwards, alone, `vllm bench throughput` on the same token
counts.

On a GPU: `--shape 8b --pairs 400 --peak-tflops 989`; the three engines share its memory, which is
little for each where it is less than 140 GB. `benchmarks.hosted.cascade_throughput` measures one after
the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.hosted.judge_workload import (
    PROMPTS_A_PAIR,
    Prompts,
    Round,
    made_pair,
    together,
    words_for,
)
from benchmarks.hosted.made_models import SHAPES, Model, flops, layer_weights, of_shape, tiny, wide
from benchmarks.hosted.offline_generate import Offline
from benchmarks.hosted.tiny_models import ENVIRONMENT
from benchmarks.hosted.vllm_bench import TokenCounts, tokens_per_second
from judges.types import Pair, TokenUsage
from judges.vllm.engine import EngineHost
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import EngineSettings, VllmSettings

OF_THE_BOUND: Final = 0.85
OF_OFFLINE: Final = 0.9
OF_VLLM_BENCH: Final = 0.6
_WARM: Final = 3 * 10**6
_SHARE: Final = 0.28  # of a GPU that three engines share


async def measure(model: Model, prompts: Prompts, words: int, shape: tuple[int, int]) -> Any:
    """Return what each side took in so many rounds of so many pairs (`shape`), and the ratios."""
    rounds, pairs = shape
    host = EngineHost()
    offline: Offline | None = None
    try:
        cached = EngineSettings(model.folder, None, model.engine)
        plain = EngineSettings(model.folder, None, {**model.engine, "enable_prefix_caching": False})
        judges = [
            VllmJudge(
                VllmSettings("bench", settings, timeout_s=3600),
                prompts.template,
                prompts.sets,
                host.engine(settings),
            )
            for settings in (cached, plain)
        ]
        for judge in judges:
            await together(judge, [made_pair(_WARM + n, words) for n in range(2)])
        offline = await asyncio.to_thread(Offline, model.folder, model.engine, words)
        run = offline.run
        sides: dict[str, Callable[[Sequence[Pair]], Awaitable[Round]]] = {
            "service": lambda made: together(judges[0], made),
            "one at a time, no cache": lambda made: _one_by_one(judges[1], made),
            "offline": lambda made: asyncio.to_thread(run, made),
        }
        taken = await _in_turns(sides, rounds, pairs, words)
    finally:
        await host.aclose()
        if offline is not None:
            offline.close()
    return _ratios(taken)


async def _in_turns(
    sides: dict[str, Callable[[Sequence[Pair]], Awaitable[Round]]],
    rounds: int,
    pairs: int,
    words: int,
) -> dict[str, list[Round]]:
    for side in sides.values():
        await side([made_pair(_WARM + n, words) for n in range(2)])
    taken: dict[str, list[Round]] = {name: [] for name in sides}
    for turn in range(rounds):
        made = [made_pair(turn * pairs + n, words) for n in range(pairs)]
        for name, side in sides.items():
            taken[name].append(await side(made))
    return taken


async def _one_by_one(judge: VllmJudge, pairs: Sequence[Pair]) -> Round:
    parts = [await together(judge, [pair]) for pair in pairs]
    usage = sum((part.usage for part in parts), TokenUsage())
    return Round(sum(part.seconds for part in parts), len(pairs), usage)


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


def _over_vllm_bench(
    model: Model, prompts: Prompts, words: int, found: dict[str, Any], pairs: int
) -> dict[str, float]:
    shared, own = prompts.lengths([made_pair(n, words) for n in range(8)])
    counts = TokenCounts(PROMPTS_A_PAIR * pairs, shared, own)
    reached = tokens_per_second(model.folder, model.engine, counts)
    tokens = found["prompt_tokens_per_pair"] + PROMPTS_A_PAIR
    return {
        "vllm_bench_tokens_per_second": reached,
        "over_vllm_bench": found["pairs_per_second"]["service"] * tokens / reached,
        "wanted_over_vllm_bench": OF_VLLM_BENCH,
    }


def _utilisation(model: Model, found: dict[str, Any], peak_tflops: float) -> dict[str, float]:
    """Return the share of the GPU's peak that the uncached prompt tokens used."""
    fresh = found["prompt_tokens_per_pair"] * (1 - found["cached_share"])
    used = flops(model.folder, fresh) * found["pairs_per_second"]["service"]
    return {
        "layer_weights": layer_weights(model.folder),
        "model_flop_utilisation": used / (peak_tflops * 1e12),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosted.judge_throughput")
    parser.add_argument("--model", help="a model's folder; default: a tiny one, made for the run")
    parser.add_argument(
        "--shape", choices=list(SHAPES), help="a model of this size with random weights, for a GPU"
    )
    parser.add_argument(
        "--wide", action="store_true", help="a wide tiny model, whose attention costs little"
    )
    parser.add_argument("--peak-tflops", type=float, help="of the GPU, to say what share is used")
    parser.add_argument("--pairs", type=int, default=24, help="pairs a round (default 24)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument(
        "--engine", type=json.loads, default={}, help="options of vLLM's engine, as JSON"
    )
    return parser


def _model(options: argparse.Namespace, folder: Path) -> Model:
    if options.model is not None:
        return Model(options.model, options.engine)
    if options.shape is not None:
        model = of_shape(folder, options.shape)
        model.engine["gpu_memory_utilization"] = _SHARE
    else:
        os.environ.update(ENVIRONMENT)
        model = wide(folder) if options.wide else tiny(folder)
    return Model(model.folder, {**model.engine, **options.engine})


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print JSON."""
    options = _parser().parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        model = _model(options, Path(folder))
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model.folder)
        words = words_for(tokenizer)
        prompts = Prompts(tokenizer, words)
        found = asyncio.run(measure(model, prompts, words, (options.rounds, options.pairs)))
        found |= _over_vllm_bench(model, prompts, words, found, options.pairs)
        if options.peak_tflops:
            found |= _utilisation(model, found, options.peak_tflops)
        print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
