"""An adapter that was trained here answers in vLLM as in its training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from benchmarks.tiny_models import ENGINE
from judges.base import Judge
from judges.registry import Registry
from judges.student.training.distil import Material, Setting
from judges.vllm.engine import EngineHost
from judges.vllm.lora import LoraRecipe, LoraStudent, make_adapter, render
from tests.judges.pairs import pair_of
from tests.judges.vllm.conftest import LOADING_SECONDS

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]
MATERIALS = [
    Material(pair_of(f"Name colour {n}.", *texts), f"g{n}", (0, 0, 0), 0.9 if n % 2 else 0.1)
    for n in range(8)
    for texts in [("Red and blue.", "A dog.") if n % 2 else ("A dog.", "Red and blue.")]
]


@pytest.fixture(scope="module")
def student(folders: dict[str, Path]) -> LoraStudent:
    recipe = LoraRecipe(rank=4, alpha=8, epochs=6, learning_rate=0.02, pairs_a_step=4)
    return LoraStudent(str(folders["qwen2"]), recipe, 0)


@pytest.fixture(scope="module")
def hosted(
    portal: BlockingPortal,
    folders: dict[str, Path],
    student: LoraStudent,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Judge, tuple[float, ...]]]:
    learnt = student.train(MATERIALS, Setting(0.0, 2.0))
    folder = tmp_path_factory.mktemp("trained")
    student.save(folder, [one.pair.prompt_hash for one in MATERIALS])
    host = EngineHost()
    table = {
        "kind": "vllm", "model": str(folders["qwen2"]), "engine": ENGINE, "examples": 0,
        "annotators": 1, "timeout_s": LOADING_SECONDS, "adapter": str(folder),
    }  # fmt: skip

    async def make() -> Judge:
        return Registry.from_config({"judges": {"own": table}}, engines=host).judges["own"]

    yield portal.call(make), learnt.losses
    portal.call(host.aclose)


def test_a_trained_adapter_learns_and_answers_hosted_as_in_training(
    hosted: tuple[Judge, tuple[float, ...]], student: LoraStudent, portal: BlockingPortal
) -> None:
    judge, losses = hosted
    assert losses[-1] < losses[0] - 0.02
    assert judge.spec.training_prompts == {one.pair.prompt_hash for one in MATERIALS}
    for one in MATERIALS[:2]:
        score = portal.call(judge.score, one.pair)
        assert score.failure is None, score.failure
        assert score.p_a == pytest.approx(student.p_a(one.pair), abs=1e-4)
        assert one.teacher is not None
        assert score.p_a is not None
        assert (score.p_a > 0.5) == (one.teacher > 0.5)


def test_an_adapter_is_measured_on_prompts_that_it_was_not_shown(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    quick = LoraRecipe(rank=2, epochs=1)
    found = make_adapter(MATERIALS, Setting(0.0, 1.0), str(folders["qwen2"]), tmp_path, 0, quick)
    assert found.pairs + found.held_out == len(MATERIALS)
    assert found.with_teacher is not None
    assert found.with_teacher.pairs == found.held_out
    prompts = (tmp_path / "training_prompts.txt").read_text(encoding="ascii").split()
    assert len(prompts) == found.prompts == found.pairs
    assert f"{found.held_out} pairs" in render(found)
