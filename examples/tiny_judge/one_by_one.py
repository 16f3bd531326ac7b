"""Says what asking annotators one by one saves: `python -m examples.tiny_judge.one_by_one`; needs vLLM.

The committed model judges pairs of four populations with five annotators of four examples each. Then
the scores are replayed as if a judge had stopped early, and both judges are certified from the same
labels: a certificate of each judge is made from its own scores, as the service does.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Final

import numpy as np

from calibration import certify_cascade, decide
from calibration.arrays import FloatArray
from examples.tiny_judge.measure import ENGINE, ENVIRONMENT, WEIGHTS, draw_sets, scored
from examples.tiny_judge.task import draw_pairs
from judges.prompting.annotators import EarlyStop, replay
from judges.vllm.engine import EngineHost
from judges.vllm.settings import EngineSettings

ANNOTATORS: Final = 5
EXAMPLES: Final = 4
#: A target with the condition of the judge: two standard errors, and the expected threshold or none.
TRIED: Final = (
    (0.9, EarlyStop(2, None, 2.0)),
    (0.95, EarlyStop(2, 0.6, 2.0)),
    (0.95, EarlyStop(2, None, 2.0)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What annotators said of n pairs, shape (n, N, 2 orders), and how often people prefer a, (n,)."""

    annotators: FloatArray
    p_a: FloatArray


async def judged(populations: int, n: int) -> Judged:
    """Ask all annotators about `n` pairs of each population."""
    host = EngineHost()
    engine = host.engine(EngineSettings(str(WEIGHTS), None, ENGINE))
    said, people = [], []
    try:
        for draw in range(populations):
            rng = np.random.default_rng([7, draw])
            taste = 1 if draw % 2 else -1
            drawn = draw_pairs(rng, n, taste=taste)
            scores = await scored(engine, drawn, draw_sets(rng, taste, ANNOTATORS, EXAMPLES))
            said += [score.annotators for score in scores]
            people += [one.p_a for one in drawn]
    finally:
        await host.aclose()
    return Judged(np.array(said, dtype=np.float64), np.array(people, dtype=np.float64))


def coverages(found: Judged, early: EarlyStop, target: float, draws: int = 40) -> FloatArray:
    """Return coverage on the other pairs of certificates from 600, shape (draws, 2): all, and early."""
    everybody = np.round(found.annotators.mean(axis=(1, 2)), 12)
    early_scores, _ = replay(found.annotators, early)
    covered = np.empty((draws, 2))
    for draw in range(draws):
        rng = np.random.default_rng([draw, round(target * 100)])
        chosen = rng.permutation(len(found.p_a)) < 600
        prefers_a = rng.random(len(found.p_a)) < found.p_a
        for place, scores in enumerate((everybody, early_scores)):
            sure = np.where(scores == 0.5, np.nan, np.maximum(scores, 1 - scores))[:, None]
            right = (prefers_a == (scores > 0.5))[:, None]
            made = certify_cascade(
                sure[chosen], right[chosen], target_risk=round(1 - target, 12), rng=draw
            )
            covered[draw, place] = (decide(sure[~chosen], made.thresholds) == 0).mean()
    return covered


def main() -> None:
    """Print annotators asked and coverage at each target."""
    os.environ.update(ENVIRONMENT)
    found = asyncio.run(judged(4, 400))
    for target, early in TRIED:
        _, asked = replay(found.annotators, early)
        covered = coverages(found, early, target)
        change = covered[:, 1] - covered[:, 0]
        print(
            f"target {target}, early_confidence {early.confidence}: {asked.mean():.2f} of {ANNOTATORS} "
            f"asked; coverage {covered[:, 0].mean():.4f} with all, {covered[:, 1].mean():.4f} with "
            f"fewer: {change.mean():+.4f} (standard error {change.std() / len(change) ** 0.5:.4f})"
        )


if __name__ == "__main__":
    main()
