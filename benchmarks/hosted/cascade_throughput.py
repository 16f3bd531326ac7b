"""Two judges of different size on one device through a cascade, in pairs per second; needs vLLM.

    python -m benchmarks.hosted.cascade_throughput                                          # a CPU, tiny models
    python -m benchmarks.hosted.cascade_throughput --shape 8b --small-shape 1b --pairs 400 --peak-tflops 989

Both engines are resident and share the device's memory; pairs stream through the service's own
cascade, prompts as in `benchmarks.hosted.judge_workload`. Random weights know nothing, so which pairs the
small judge passes on is drawn. Then, each engine alone on the same prompts: vLLM's offline
`generate`; and on the same token counts: `vllm bench throughput`. A ratio is the sum of what both
engines take alone over what the cascade takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.hosted.cascade_table import Alone, Found, TierFigures, table
from benchmarks.hosted.judge_workload import PROMPTS_A_PAIR, Prompts, made_pair, together, words_for
from benchmarks.hosted.made_models import SHAPES, Model, of_shape, tiny
from benchmarks.hosted.offline_generate import seconds_offline
from benchmarks.hosted.tiny_models import ENVIRONMENT
from benchmarks.hosted.vllm_bench import TokenCounts, tokens_per_second
from judges.base import JudgeHealth, JudgeSpec
from judges.cascade import CascadeVerdict, Tier, judge_stream
from judges.types import Pair, Score, TokenUsage
from judges.vllm.engine import EngineHost
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import EngineSettings, VllmSettings

SMALL: Final = "small"
LARGE: Final = "large"
_THRESHOLD: Final = 0.8
_SURE: Final = 0.9
_UNSURE: Final = 0.6
_WARM: Final = 3 * 10**6
# of a GPU's memory, with room for the engines' own contexts
_SHARES: Final = {SMALL: 0.2, LARGE: 0.6}


class DrawnConfidence:
    """A judge that asks its model all the same, and is sure where the pair's draw says so.

    Args:
        judge: What is asked.
        escalated: Share of the pairs that it is not sure of.
    """

    def __init__(self, judge: VllmJudge, escalated: float) -> None:
        self._judge = judge
        self._escalated = escalated

    @property
    def spec(self) -> JudgeSpec:
        """The judge's description."""
        return self._judge.spec

    async def score(self, pair: Pair) -> Score:
        """Return the model's score with the drawn confidence."""
        score = await self._judge.score(pair)
        if score.p_a is None:
            return score
        is_unsure = np.random.default_rng([11, int(pair.id)]).random() < self._escalated
        return replace(score, p_a=_UNSURE if is_unsure else _SURE)

    async def health(self) -> JudgeHealth:
        """Say whether the model has loaded."""
        return await self._judge.health()

    async def aclose(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: Rounds; each has pairs of its own.
        pairs: Pairs a round.
        in_flight: Pairs on their way at a time.
        escalated: Share of the pairs that the small judge passes on.
        words: Words of a pair.
    """

    rounds: int
    pairs: int
    in_flight: int
    escalated: float
    words: int

    def made(self, turn: int) -> list[Pair]:
        """Return the pairs of a round."""
        first = turn * self.pairs
        return [made_pair(first + n, self.words) for n in range(self.pairs)]


async def stream_rounds(
    models: dict[str, Model], prompts: Prompts, plan: Plan
) -> list[tuple[float, list[CascadeVerdict]]]:
    """Return how long each round took through the cascade, and its verdicts.

    Raises:
        RuntimeError: A judge failed on a pair.
    """
    host = EngineHost()
    try:
        judges = {name: _judge(name, model, prompts, host) for name, model in models.items()}
        for judge in judges.values():
            await together(judge, [made_pair(_WARM + n, plan.words) for n in range(2)])
        tiers = [
            Tier(DrawnConfidence(judges[SMALL], plan.escalated), _THRESHOLD),
            Tier(judges[LARGE]),
        ]
        return [await _one_round(plan.made(turn), tiers, plan) for turn in range(plan.rounds)]
    finally:
        await host.aclose()


def _judge(name: str, model: Model, prompts: Prompts, host: EngineHost) -> VllmJudge:
    settings = VllmSettings(
        name, EngineSettings(model.folder, None, model.engine), timeout_s=3600, concurrency=1024
    )
    return VllmJudge(settings, prompts.template, prompts.sets, host.engine(settings.engine))


async def _one_round(
    pairs: Sequence[Pair], tiers: Sequence[Tier], plan: Plan
) -> tuple[float, list[CascadeVerdict]]:
    started = time.perf_counter()
    verdicts: list[CascadeVerdict] = []

    async def take(verdict: CascadeVerdict) -> None:
        verdicts.append(verdict)

    await judge_stream(pairs, lambda _: tiers, take, concurrency=plan.in_flight)
    seconds = time.perf_counter() - started
    failures = [
        tier.score.failure
        for one in verdicts
        for tier in one.tiers
        if tier.score.failure is not None
    ]
    if failures:
        raise RuntimeError(f"{len(failures)} scores failed, first: {failures[0].detail}")
    return seconds, verdicts


def figures(
    name: str, model: Model, rounds: Sequence[Sequence[CascadeVerdict]], alone: Alone
) -> TierFigures:
    """Return what one judge did in all rounds."""
    verdicts = [verdict for one in rounds for verdict in one]
    scores = [tier.score for one in verdicts for tier in one.tiers if tier.judge == name]
    usage = sum((score.usage for score in scores), TokenUsage())
    return TierFigures(
        name=name,
        folder=model.folder,
        asked=len(scores) / len(verdicts),
        answered=sum(verdict.judge == name for verdict in verdicts) / len(verdicts),
        usage=usage,
        alone=alone,
    )


def alone(model: Model, asked: Sequence[Sequence[int]], prompts: Prompts, plan: Plan) -> Alone:
    """Measure an engine alone on the pairs, by rounds, that the cascade asked it about."""
    rounds = [numbers for numbers in asked if numbers]
    if not rounds:
        return Alone(offline=0.0, bench=0.0)
    offline = seconds_offline(model.folder, model.engine, plan.words, rounds)
    pairs = sum(map(len, rounds))
    shared, own = prompts.lengths([made_pair(n, plan.words) for n in rounds[0][:8]])
    counts = TokenCounts(PROMPTS_A_PAIR * len(rounds[0]), shared, own)
    reached = tokens_per_second(model.folder, model.engine, counts)
    tokens = PROMPTS_A_PAIR * pairs * (shared + own + 1)
    return Alone(offline=math.fsum(offline), bench=tokens / reached)


def measure(models: dict[str, Model], prompts: Prompts, plan: Plan) -> Found:
    """Run the cascade, then each engine alone."""
    taken = asyncio.run(stream_rounds(models, prompts, plan))
    rounds = [verdicts for _, verdicts in taken]
    tiers = []
    for name, model in models.items():
        asked = [
            [int(v.id) for v in one if any(tier.judge == name for tier in v.tiers)]
            for one in rounds
        ]
        found = alone(model, asked, prompts, plan)
        tiers.append(figures(name, model, rounds, found))
    return Found([seconds for seconds, _ in taken], plan.pairs, tiers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosted.cascade_throughput")
    for name in ("shape", "small-shape"):
        parser.add_argument(f"--{name}", choices=list(SHAPES), help="random weights, for a GPU")
    parser.add_argument("--peak-tflops", type=float, help="of the GPU, to say what share is used")
    parser.add_argument("--pairs", type=int, default=24, help="pairs a round (default 24)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds (default 2)")
    parser.add_argument("--in-flight", type=int, default=256, help="pairs at a time (default 256)")
    parser.add_argument(
        "--escalated", type=float, default=0.5, help="share passed on (default 0.5)"
    )
    for name in ("engine", "small-engine"):
        parser.add_argument(
            f"--{name}", type=json.loads, default={}, help="vLLM's options, as JSON"
        )
    return parser


def _models(options: argparse.Namespace, folder: Path) -> dict[str, Model]:
    if (options.shape is None) != (options.small_shape is None):
        raise SystemExit("--shape goes with --small-shape")
    if options.shape is None:
        os.environ.update(ENVIRONMENT)
        made = {SMALL: tiny(folder / SMALL, hidden=64), LARGE: tiny(folder / LARGE, hidden=192)}
    else:
        shapes = {SMALL: options.small_shape, LARGE: options.shape}
        made = {name: of_shape(folder / name, shape) for name, shape in shapes.items()}
        for name, model in made.items():
            model.engine["gpu_memory_utilization"] = _SHARES[name]
    given: dict[str, dict[str, Any]] = {SMALL: options.small_engine, LARGE: options.engine}
    return {
        name: Model(model.folder, {**model.engine, **given[name]}) for name, model in made.items()
    }


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print one table."""
    options = _parser().parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        models = _models(options, Path(folder))
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(models[LARGE].folder)
        words = words_for(tokenizer)
        plan = Plan(options.rounds, options.pairs, options.in_flight, options.escalated, words)
        found = measure(models, Prompts(tokenizer, words), plan)
        print(table(found, options.peak_tflops))
    return 0


if __name__ == "__main__":
    sys.exit(main())
