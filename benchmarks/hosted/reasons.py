"""What reasons cost in engine time: `python -m benchmarks.hosted.reasons`; needs vLLM.

A hosted judge scores pairs (`benchmarks.hosted.judge_workload`), once without reasons and once with a
reason of 120 tokens for every tenth pair. Both take turns, and every round has pairs of its own.
Wall time: the engine is another process. Random weights seldom end a text, so that nearly every
reason has all its tokens, which is the dearest case.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.hosted.judge_workload import Prompts, made_pair, together, words_for
from benchmarks.hosted.made_models import SHAPES, Model, of_shape, tiny, wide
from benchmarks.hosted.tiny_models import ENVIRONMENT
from judges.reasons import ReasonSettings
from judges.types import Pair
from judges.vllm.engine import EngineHost
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import EngineSettings, VllmSettings

MOST: Final = 1.35
TOKENS: Final = 120
_EVERY: Final = 10
_WARM: Final = 3 * 10**6


async def measure(model: Model, prompts: Prompts, words: int, shape: tuple[int, int]) -> Any:
    """Return the ratio of times with and without reasons over rounds of pairs (`shape`)."""
    rounds, pairs = shape
    host = EngineHost()
    try:
        engine = EngineSettings(model.folder, None, model.engine)
        judge = VllmJudge(
            VllmSettings("bench", engine, timeout_s=3600, reasons=ReasonSettings(TOKENS, "all")),
            prompts.template,
            prompts.sets,
            host.engine(engine),
        )
        await _told(judge, [made_pair(_WARM + n, words) for n in range(2)])
        ratios, written = [], 0
        for turn in range(rounds):
            first = [made_pair(2 * turn * pairs + n, words) for n in range(pairs)]
            second = [made_pair((2 * turn + 1) * pairs + n, words) for n in range(pairs)]
            plain = (await together(judge, first)).seconds
            seconds, tokens = await _told(judge, second)
            ratios.append(seconds / plain)
            written += tokens
    finally:
        await host.aclose()
    return {
        "pairs_a_round": pairs,
        "reason_tokens": written / (rounds * -(-pairs // _EVERY)),
        "with_reasons_over_without": {"median": float(np.median(ratios)), "rounds": ratios},
        "wanted_at_most": MOST,
    }


async def _told(judge: VllmJudge, pairs: Sequence[Pair]) -> tuple[float, int]:
    """Score pairs all at once, and explain every tenth; return the seconds and tokens of reasons."""
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_one(judge, pair, is_told=number % _EVERY == 0))
            for number, pair in enumerate(pairs)
        ]
    return time.perf_counter() - started, sum(task.result() for task in tasks)


async def _one(judge: VllmJudge, pair: Pair, *, is_told: bool) -> int:
    score = await judge.score(pair)
    if score.p_a is None:
        raise RuntimeError(f"the judge failed: {score.failure}")
    if not is_told:
        return 0
    reason = await judge.explain(pair, score, "a" if score.p_a > 0.5 else "b")
    return reason.usage.completion


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosted.reasons")
    parser.add_argument("--shape", choices=list(SHAPES), help="a model of this size, for a GPU")
    parser.add_argument("--wide", action="store_true", help="a wide tiny model")
    parser.add_argument("--pairs", type=int, default=20, help="pairs a round (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    return parser


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print JSON."""
    options = _parser().parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        if options.shape is not None:
            model = of_shape(Path(folder), options.shape)
        else:
            os.environ.update(ENVIRONMENT)
            model = (wide if options.wide else tiny)(Path(folder))
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model.folder)
        words = words_for(tokenizer)
        shape = (options.rounds, options.pairs)
        print(json.dumps(asyncio.run(measure(model, Prompts(tokenizer, words), words, shape))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
