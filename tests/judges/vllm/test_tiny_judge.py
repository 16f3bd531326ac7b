"""A judge that means something, from end to end: labels in, certificates out, and they hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.settings import Settings
from app.main import create_app
from benchmarks.hosted.tiny_models import ENGINE
from calibration import certify_cascade, decide
from calibration.arrays import FloatArray
from examples.tiny_judge import task
from examples.tiny_judge.measure import WEIGHTS
from examples.tiny_judge.sequences import TEMPLATE, Layout, draw_sequence
from examples.tiny_judge.task import DrawnPair
from examples.tiny_judge.train import Stage, train
from tests.app.rows import upload
from tests.conftest import client_of
from tests.judges.vllm.conftest import LOADING_SECONDS

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

TARGETS: Final = (0.9, 0.95)
CALIBRATION_PAIRS: Final = 300
REPETITIONS: Final = 20
MAY_BREAK: Final = 5  # of 20 that each break with probability .1: more has probability .011
WAIT_SECONDS: Final = 600.0
ALONE: Final = 4
UNDER_WAY: Final = ("pending", "running", "validating", "in_progress", "finalizing")
CASCADE: Final = '[cascades.tiny]\njudges = ["tiny"]\n'


@pytest.fixture(scope="module")
async def client(
    environment: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """The service in this process, hosting the committed model."""
    folder = tmp_path_factory.mktemp("service")
    config = folder / "tribunal.toml"
    few_shot = [few(f"one-{seed}", 1, seed) for seed in range(ALONE)] + [few("five", 5, 0)]
    config.write_text(table("tiny") + CASCADE + "".join(few_shot))
    settings = Settings(
        database_url=f"sqlite+aiosqlite:///{folder}/test.db",
        config=config,
        shard_size=500,
        spool_dir=folder,
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as opened:
        async with asyncio.timeout(LOADING_SECONDS):
            while not await is_ready(opened):  # noqa: ASYNC110 - as a probe does
                await asyncio.sleep(0.2)
        yield opened


async def is_ready(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/readyz")).json()["judges"]["tiny"]["ready"])


def table(name: str) -> str:
    options = {**ENGINE, "max_model_len": 2048}
    engine = ", ".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    return f"""
[judges.{name}]
kind = "vllm"
model = "{WEIGHTS}"
template = "{TEMPLATE}"
endpoint = "completions"
engine = {{ {engine} }}
"""


def few(name: str, annotators: int, seed: int) -> str:
    """Return a judge that is shown four examples of one population."""
    return f"""{table(name)}annotators = {annotators}
examples = 4
examples_from = "shots"
examples_seed = {seed}
"""


async def test_labels_give_certificates_at_both_targets(client: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(1)
    rows = [task.row(drawn, rng) for drawn in task.draw_pairs(rng, CALIBRATION_PAIRS, "labelled")]
    await upload(client, "labelled", rows)
    for target in TARGETS:
        certificate = await certified(client, "labelled", target)
        assert certificate["status"] == "certified", certificate
        found = certificate["calibration"]
        assert found["pairs"] + found["set_aside"] == CALIBRATION_PAIRS
        say(
            f"target {target}: threshold {certificate['thresholds'][0]['threshold']:.4f},"
            f" coverage {found['coverage']:.3f}, agreement {found['agreement']:.3f}"
        )


@pytest.mark.parametrize("n", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_certificates_keep_their_promise_on_fresh_pairs(
    client: httpx.AsyncClient, n: int
) -> None:
    rng = np.random.default_rng(n)
    pool, fresh = (task.draw_pairs(rng, n, f"{name}{n}") for name in ("pool", "fresh"))
    scored = Scored.of(pool, await scores(client, f"pool{n}", pool))
    truth = Scored.of(fresh, await scores(client, f"fresh{n}", fresh))
    best = task.best_agreement(fresh)
    error = truth.calibration_error()
    say(
        f"{n} fresh pairs: agreement {truth.right.mean():.3f} (best possible {best:.3f}),"
        f" mean confidence {truth.confidence.mean():.3f}, calibration error {error:.3f}"
    )
    assert truth.right.mean() > best - 0.02
    assert error < 0.04
    for target in TARGETS:
        outcomes = [repetition(scored, truth, target, draw) for draw in range(REPETITIONS)]
        agreements = np.array([agreement for agreement, _ in outcomes])
        coverages = np.array([coverage for _, coverage in outcomes])
        broken = int((agreements < target).sum())
        say(
            f"target {target}: {broken} of {REPETITIONS} below it, worst {agreements.min():.4f},"
            f" coverage {coverages.mean():.3f} ({coverages.min():.3f} to {coverages.max():.3f})"
        )
        assert broken <= MAY_BREAK
        assert (coverages > 0).sum() >= REPETITIONS - MAY_BREAK, "nothing was promised"


async def test_examples_say_what_people_like_and_five_annotators_say_it_better(
    client: httpx.AsyncClient,
) -> None:
    rng = np.random.default_rng(3)
    shots = [task.row(one, rng) for one in task.draw_pairs(rng, 60, "shot", taste=-1)]
    await upload(client, "shots", shots)
    drawn = task.draw_pairs(rng, 150, "liked", taste=-1)

    async def agreement(judge: str) -> float:
        judged = await scores(client, f"liked for {judge}", drawn, {"judges": [judge]})
        return float(Scored.of(drawn, judged).right.mean())

    without = await agreement("tiny")
    alone = [await agreement(f"one-{seed}") for seed in range(ALONE)]
    together = await agreement("five")
    say(
        f"agreement without examples {without:.3f}, one annotator with four {np.mean(alone):.3f}"
        f" ({min(alone):.3f} to {max(alone):.3f}), five annotators {together:.3f}"
        f" (best possible {task.best_agreement(drawn):.3f})"
    )
    assert np.mean(alone) > without + 0.05
    assert together > np.mean(alone) + 0.005


def test_training_writes_a_model_whose_tokens_are_read_back(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stages = [Stage(1, 2, 1, text_weight=(1.0, 1.0)), Stage(1, 2, 2, with_taste=1.0)]
    train(tmp_path, stages)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.num_parameters() == AutoModelForCausalLM.from_pretrained(WEIGHTS).num_parameters()
    for folder in (tmp_path, WEIGHTS):
        # transformers exchanges the rules of some kinds of models for its own
        layout = Layout(AutoTokenizer.from_pretrained(folder))
        batch = layout.batch([draw_sequence(np.random.default_rng(5), 2, taste=1)])
        assert batch.lengths[0] < 150, "tags and words are a token each"
        assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6


def say(text: str) -> None:
    """Report figures to whoever runs with `-s`."""
    print(f"\n{text}", end="")  # noqa: T201 - figures are what the slow form is run for


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Pairs with what the judge said of them and what people say.

    Attributes:
        p_a: Probability that a person prefers a, by the task.
        says_a: Whether the judge prefers a.
        confidence: How sure it is; nan where it prefers neither.
    """

    p_a: FloatArray
    says_a: NDArray[np.bool_]
    confidence: FloatArray

    @classmethod
    def of(cls, drawn: Sequence[DrawnPair], judged: FloatArray) -> Scored:
        confidence = np.where(judged == 0.5, np.nan, np.maximum(judged, 1 - judged))
        return cls(np.array([pair.p_a for pair in drawn]), judged > 0.5, confidence)

    @property
    def right(self) -> FloatArray:
        """How probable it is that a person agrees with the judge on each pair."""
        return np.where(self.says_a, self.p_a, 1 - self.p_a)

    def calibration_error(self, bins: int = 10) -> float:
        """Return the expected calibration error over bins of equally many pairs."""
        parts = np.array_split(np.argsort(self.confidence), bins)
        gaps = [abs(self.right[part].mean() - self.confidence[part].mean()) for part in parts]
        return float(np.mean(gaps))


def repetition(scored: Scored, truth: Scored, target: float, draw: int) -> tuple[float, float]:
    """Certify on other pairs with new labels; return true agreement and coverage on fresh pairs."""
    rng = np.random.default_rng([draw, round(target * 100)])
    chosen = rng.choice(len(scored.p_a), CALIBRATION_PAIRS, replace=False)
    labels_a = rng.random(CALIBRATION_PAIRS) < scored.p_a[chosen]
    certificate = certify_cascade(
        scored.confidence[chosen, None],
        (labels_a == scored.says_a[chosen])[:, None],
        target_risk=round(1 - target, 12),
        rng=rng,
    )
    is_answered = decide(truth.confidence[:, None], certificate.thresholds) == 0
    agreement = truth.right[is_answered].mean() if is_answered.any() else 1.0
    return float(agreement), float(is_answered.mean())


async def certified(client: httpx.AsyncClient, dataset: str, target: float) -> dict[str, Any]:
    body = {"dataset": dataset, "cascade": "tiny", "target_agreement": target}
    created = await client.post("/v1/calibrations", json=body)
    assert created.status_code in (201, 202), created.text
    return await ended(client, f"/v1/calibrations/{created.json()['id']}")


async def scores(
    client: httpx.AsyncClient,
    dataset: str,
    drawn: Sequence[DrawnPair],
    cascade: str | dict[str, list[str]] = "tiny",
) -> FloatArray:
    """Return the probability of a that the hosted judge gives each pair, by a batch."""
    await upload(client, dataset, [task.row(one) for one in drawn])
    created = await client.post("/v1/batches", json={"dataset": dataset, "cascade": cascade})
    assert created.status_code == 202, created.text
    path = f"/v1/batches/{created.json()['id']}"
    batch = await ended(client, path)
    assert batch["status"] == "completed"
    assert batch["request_counts"]["failed"] == 0
    lines = (await client.get(f"{path}/results")).text.splitlines()
    found = {one["id"]: one["tiers"][0]["p_a"] for one in map(json.loads, lines)}
    return np.array([found[one.pair.id] for one in drawn], dtype=np.float64)


async def ended(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            body: dict[str, Any] = (await client.get(path)).json()
            if body["status"] not in (
                "pending",
                "running",
                "validating",
                "in_progress",
                "finalizing",
            ):
                return body
            await asyncio.sleep(0.1)
