"""What a LoRA adapter is worth on prompts that it was not shown, its part of the card, and its judge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from calibration.arrays import BoolArray, FloatArray
from judges.student.model import TRAINING_PROMPTS_FILE
from judges.student.training.data import Sample
from judges.student.training.distil import Material, Progress, Setting, lesson_of
from judges.student.training.distilled import (
    WEIGHTS_FILE,
    Row,
    Saving,
    Share,
    agreement_table,
    compared,
    gain,
    saving,
    saving_table,
    slices_of,
)
from judges.student.training.fit import split_prompts
from judges.student.training.lora import BaseModel, LoraRecipe, LoraStudent

ADAPTER_FOLDER: Final = "adapter"
JUDGES_FILE: Final = "judges.toml"
_FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """An adapter's training, and what it is worth on the fifth of the prompts that it was not shown.

    Attributes:
        base: The base model.
        pairs: Pairs that it was shown, of `prompts` prompts.
        held_out: Pairs that it was not shown.
        losses: Mean loss of each epoch.
        too_long: Pairs left out of the training because their prompts are too long.
        rows: Agreement of the adapter and of its base with the teacher and with people.
        over_base: By how much the adapter agrees more with the teacher than its base.
        saving: Replayed certificates; None with too few labelled prompts.
    """

    base: str
    pairs: int
    prompts: int
    held_out: int
    losses: tuple[float, ...]
    too_long: int
    recipe: LoraRecipe
    rows: tuple[Row, ...]
    over_base: Share | None
    saving: Saving | None

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AdapterTask:
    """What an adapter is to learn: `setting` is w and T, `target_agreement` that of the replay."""

    base: BaseModel
    setting: Setting
    seed: int = 0
    target_agreement: float = 0.85
    recipe: LoraRecipe = LoraRecipe()  # noqa: RUF009 - frozen


def make_adapter(
    materials: Sequence[Material],
    task: AdapterTask,
    folder: Path,
    progress: Progress = lambda line: None,
) -> AdapterCard:
    """Train an adapter on four fifths of the prompts, measure it on the others, and write it.

    Raises:
        JudgeConfigurationInvalid: The model cannot be loaded or trained.
    """
    progress("adapter: the base model is loaded")
    student = LoraStudent(task.base, task.recipe, task.seed)
    useful = [one for one in materials if one.teacher is not None or any(one.votes)]
    sample = lesson_of(useful).sample
    tested = split_prompts(sample, _FOLDS, np.random.default_rng(task.seed)) == 0
    shown = [one for one, is_tested in zip(useful, tested, strict=True) if not is_tested]
    held_out = [one for one, is_tested in zip(useful, tested, strict=True) if is_tested]
    before = _said(student, held_out)
    learnt = student.train(shown, task.setting, progress)
    after = _said(student, held_out)
    # w and T were chosen on all of these pairs, so none of them may calibrate the adapter
    student.save(folder, [one.pair.prompt_hash for one in useful])
    rows, over_base, found = _measured(before, after, held_out, sample.rows(tested), task)
    return AdapterCard(
        base=task.base.name,
        pairs=len(shown),
        prompts=len({one.pair.prompt_hash for one in shown}),
        held_out=len(held_out),
        losses=learnt.losses,
        too_long=learnt.too_long,
        recipe=task.recipe,
        rows=rows,
        over_base=over_base,
        saving=found,
    )


def _said(student: LoraStudent, held_out: Sequence[Material]) -> FloatArray:
    said = (student.p_a(one.pair) for one in held_out)
    return np.array([np.nan if p is None else p for p in said], dtype=np.float64)


def _measured(
    before: FloatArray,
    after: FloatArray,
    held_out: Sequence[Material],
    sample: Sample,
    task: AdapterTask,
) -> tuple[tuple[Row, ...], Share | None, Saving | None]:
    rng = np.random.default_rng(task.seed)
    teacher = np.array([np.nan if one.teacher is None else one.teacher for one in held_out])
    people = np.where(sample.decided, sample.prefers_a, np.nan).astype(np.float64)
    pairs = [
        (name, p, reference, outcome)
        for reference, outcome in (("teacher", teacher), ("people", people))
        for name, p in (("adapter", after), ("its base", before))
    ]
    slices: Mapping[str, BoolArray] = slices_of(held_out)
    return (
        tuple(compared([*pairs, ("teacher", teacher, "people", people)], sample, slices, rng)),
        gain(after, before, teacher, sample.prompts, rng),
        saving(after, teacher, sample, task.target_agreement, rng),
    )


def render(card: AdapterCard) -> str:
    """Return the part of the model card about an adapter, in Markdown."""
    recipe, losses = card.recipe, ", ".join(f"{loss:.4f}" for loss in card.losses)
    return "\n".join(
        [
            f"\n## The adapter of {card.base}\n",
            f"`{ADAPTER_FOLDER}/` is a LoRA adapter for vLLM: rank {recipe.rank}, alpha {recipe.alpha},",
            f"{recipe.epochs} epochs, learning rate {recipe.learning_rate:g}. It was trained with the",
            f"loss, w and T above on {card.pairs} pairs of {card.prompts} prompts, in both orders, in the",
            "prompts of the template `pairwise` without examples.\n",
            f"- Mean loss of each epoch: {losses}",
            f"- Too long to be shown: {card.too_long} pairs",
            f"- `{ADAPTER_FOLDER}/{TRAINING_PROMPTS_FILE}` holds the hashes of the prompts of all pairs above, since",
            "  w and T were chosen on them. They are part of the judge's fingerprint, and no certificate of",
            "  the judge is calibrated on them.\n",
            f"On the other fifth of the prompts ({card.held_out} pairs):\n",
            *agreement_table(card.rows),
            *_over_base(card.over_base),
            *saving_table(card.saving, "adapter"),
        ]
    )


def _over_base(found: Share | None) -> list[str]:
    if found is None:
        return []
    return [
        f"The training changes its agreement with the teacher by {found.value:+.3f} "
        f"({found.low:+.3f} to {found.high:+.3f}).\n"
    ]


def judges_toml(base: BaseModel | None) -> str:
    """Return a configuration of the students in a folder, for `tribunal.toml`."""
    lines = [
        "# The students of this folder, to be copied into tribunal.toml or named by TRIBUNAL_CONFIG.",
        "# Paths start at the folder of the file.",
        "[judges.distilled]",
        'kind = "student"',
        f'weights = "{WEIGHTS_FILE}"',
    ]
    if base is not None:
        lines += [
            "",
            "[judges.distilled-lora]",
            'kind = "vllm"',
            f"model = {json.dumps(base.name)}",
            f'adapter = "{ADAPTER_FOLDER}"',
            *(() if base.is_chat else ('endpoint = "completions"',)),
            "annotators = 1",
            "examples = 0",
        ]
    return "\n".join([*lines, ""])
