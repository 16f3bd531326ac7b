"""Students of a teacher: what they learn, what their file holds, and what it is worth."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from judges.errors import JudgeConfigurationInvalid
from judges.registry import Registry
from judges.student import model as model_file
from judges.student.model import StudentModel, student_file
from judges.student.training.distil import (
    Lesson,
    Material,
    Setting,
    distil,
    lesson_of,
    soft_targets,
    softened,
)
from judges.student.training.distilled import NothingToLearn, Task, make_student, saving
from judges.student.training.fit import Growth, Recipe, Targets
from tests.judges.pairs import pair_of

SMALL = Recipe(rounds=1, folds=4, bilinear_steps=10, growth=Growth(trees=8, depth=2))


def material(number: int, teacher: float | None, votes: tuple[int, int, int]) -> Material:
    long, short = "It lies far to the north of here. " * (2 + number % 5), "North."
    a, b = (long, short) if number % 2 else (short, long)
    return Material(
        pair_of(f"Where is place {number // 2}?", a, b), f"g{number // 2}", votes, teacher
    )


def materials(n: int = 80) -> list[Material]:
    """The teacher likes the longer answer; people do, too."""
    rng = np.random.default_rng(0)
    return [
        material(i, p if i % 2 else 1 - p, (2, 1, 0) if i % 2 else (0, 2, 0))
        for i, p in enumerate(rng.uniform(0.6, 0.95, n).tolist())
    ]


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return lesson_of(materials())


def test_slopes_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(1)
    label, weight, soft, trust = rng.random((4, 5))
    targets, z = Targets(label, weight, soft, trust, 3.0), rng.normal(size=5)
    step = 1e-5
    for row in range(5):
        nudge = np.eye(5)[row] * step
        slope = (targets.misfit(z + nudge) - targets.misfit(z - nudge)) / (2 * step)
        assert targets.residual(z)[row] == pytest.approx(slope, rel=1e-6)
        bend = (targets.residual(z + nudge) - targets.residual(z - nudge))[row] / (2 * step)
        assert targets.slopes(z)[1][row] == pytest.approx(bend, rel=1e-6)
    assert targets.slopes(z)[0] == pytest.approx(-targets.residual(z))


def test_the_two_parts_of_the_loss_are_weighed_as_stated(lesson: Lesson) -> None:
    only_labels = soft_targets(lesson, Setting(1.0, 1.0))
    assert not only_labels.soft_weight.any()
    both = soft_targets(lesson, Setting(0.25, 2.0))
    assert both.weight.sum() / both.soft_weight.sum() == pytest.approx(1 / 3)
    assert (both.weight + both.soft_weight).mean() == pytest.approx(1.0)
    deaf = replace(lesson, teacher=np.where(np.arange(80) < 8, np.nan, lesson.teacher))
    assert not soft_targets(deaf, Setting(0.25, 2.0)).soft_weight[:8].any()
    assert softened(np.array([0.9]), 1.0) == pytest.approx(0.9)


def test_settings_are_chosen_on_held_out_prompts_and_the_student_learns(lesson: Lesson) -> None:
    made = distil(lesson, SMALL, 0, settings=[Setting(0.0, 1.0), Setting(0.5, 2.0)])
    assert made.setting == min(made.trials, key=lambda one: one.log_loss).setting
    assert ((made.unseen > 0.5) == (lesson.teacher > 0.5)).mean() > 0.9


def test_pairs_of_one_prompt_or_group_stay_together() -> None:
    ours = [replace(one, group="all") if i < 6 else one for i, one in enumerate(materials(12))]
    together = lesson_of(ours).sample.prompts
    assert len(set(together[:6])) == 1
    assert len(set(together)) == 4


def test_a_file_is_loaded_as_it_was_made_and_anything_else_is_refused(
    lesson: Lesson, tmp_path: Path
) -> None:
    weights = distil(lesson, SMALL, 0, settings=[Setting(0.0, 1.0)]).weights
    prompts = [one.pair.prompt_hash for one in materials()]
    data = student_file(weights, set(prompts))
    file = tmp_path / "student.npz"
    file.write_bytes(data)
    model = StudentModel.load_file(file)
    assert model.training_prompt_hashes == set(prompts)
    assert StudentModel.load().weights_hash != model.weights_hash
    config = {"judges": {"own": {"kind": "student", "weights": str(file)}}}
    judge = Registry.from_config(config).judges["own"]
    assert judge.spec.training_prompts == set(prompts)

    other = tmp_path / "other.npz"

    def bad(**changed: NDArray[Any]) -> bytes:
        with np.load(io.BytesIO(data)) as arrays:
            return model_file._packed({**arrays, **changed})

    for content, said in (
        (student_file(replace(weights, linear=weights.linear[:, 1:]), set(prompts)), "linear"),
        (bad(features=np.zeros(32, np.uint8)), "other features than this version measures"),
        (bad(temperature=np.array(0, np.float32)), "a scale that is not positive"),
        (bad(tree_feature=weights.tree_feature + 10_000), "features that there are not"),
        (bad(training_prompts=np.zeros((2, 31), np.uint8)), "not one sha256 a row"),
        (data[:500], "no student"),
        (b"PK\3\4", "no student"),
    ):
        other.write_bytes(content)
        with pytest.raises(JudgeConfigurationInvalid, match=said):
            StudentModel.load_file(other)
    shipped = Path(model_file.__file__).with_name("weights.npz")
    for path, said in ((shipped, "no student"), (tmp_path / "none.npz", "cannot be read")):
        with pytest.raises(JudgeConfigurationInvalid, match=rf"judges\.own\.weights: .*{said}"):
            Registry.from_config({"judges": {"own": {"kind": "student", "weights": str(path)}}})


def test_a_teacher_that_says_nothing_teaches_nothing() -> None:
    task = Task("d", "t", recipe=SMALL)
    mute = [replace(one, teacher=None if i % 2 else 0.5) for i, one in enumerate(materials())]
    with pytest.raises(NothingToLearn, match=r"prefers no response .* failed on 40"):
        make_student(mute, task)
    with pytest.raises(NothingToLearn, match="5 prompts are too few"):
        make_student(materials(10), task)


def test_a_student_as_good_as_its_teacher_saves_it(lesson: Lesson) -> None:
    n = 400
    rows = np.arange(n) % 80
    sample = lesson.sample.rows(rows)  # type: ignore[arg-type]
    sample = replace(sample, prompts=np.arange(n).astype(str))
    sure = np.where(sample.prefers_a, 0.95, 0.05)
    wrong = np.random.default_rng(0).random(n) < 0.1
    teacher = np.where(wrong, 1 - sure, sure)
    rng = np.random.default_rng(0)
    found = saving(teacher, teacher, sample, 0.8, rng)
    assert found is not None
    assert found.with_student.certified == found.teacher_alone.certified == 1.0
    assert found.with_student.relative_cost < 0.1 < 0.9 < found.teacher_alone.relative_cost
    assert saving(teacher, teacher, sample.rows(np.arange(n) < 30), 0.8, rng) is None
