"""Train a LoRA adapter on the soft verdicts of a teacher, in the prompts that a hosted judge reads.

Only torch and transformers are needed. The files are those of peft, so that vLLM loads them; beside
them lie the hashes of the prompts that the adapter was trained on.

The student's logit of a pair in one order is log P(first label) - log P(second label) after the
prompt of the template `pairwise` without examples. Both orders of each pair are shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from judges.errors import JudgeConfigurationInvalid
from judges.prompting.label_tokens import find_label_ids
from judges.prompting.templates import load_template
from judges.prompting.tokens import PromptTokens
from judges.student.training.distil import Material, Setting, lesson_of, softened
from judges.student.training.distilled import Share, agreement_of
from judges.student.training.fit import split_prompts
from judges.types import Pair
from judges.vllm.settings import TRAINING_PROMPTS_FILE

_LABELS: Final = ("A", "B")
_LONGEST: Final = 4096
_FOLDS: Final = 5
#: The names of the layers that attention reads its queries and values from.
_TARGETS: Final = ("q_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class LoraRecipe:
    """How an adapter is trained: its rank and scale, passes over the pairs, and steps."""

    rank: int = 16
    alpha: int = 32
    epochs: int = 3
    learning_rate: float = 2e-4
    pairs_a_step: int = 8
    longest: int = _LONGEST


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """What came of a training: the mean loss of each epoch, and pairs too long for the model."""

    losses: tuple[float, ...]
    too_long: int


class LoraStudent:
    """A base model with an adapter that is being trained.

    Args:
        base: A folder or hub name of a causal language model with a chat template.
        recipe: How the adapter is trained.
        seed: Of the adapter's first weights and of the order of pairs.

    Raises:
        JudgeConfigurationInvalid: torch or transformers is missing, the model cannot be loaded, has
            no layers to adapt, or a label is not one of its tokens.
    """

    def __init__(self, base: str, recipe: LoraRecipe, seed: int) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise JudgeConfigurationInvalid(
                f"a LoRA adapter is trained with torch and transformers, and {error.name} is missing"
            ) from error
        torch.manual_seed(seed)
        try:
            tokenizer = AutoTokenizer.from_pretrained(base)
            model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise JudgeConfigurationInvalid(f"{base!r} cannot be loaded: {error}") from error
        self._base, self._recipe, self._seed = base, recipe, seed
        self._model: Any = model.requires_grad_(False).eval()
        self._template = load_template("pairwise", list(_LABELS))
        self._tokens = PromptTokens(tokenizer, options={"enable_thinking": False})
        self._ids = find_label_ids(tokenizer, _LABELS)
        self._shared = self._tokens.shared(self._template.shared())
        self._layers = dict(_adapted(self._model, recipe))
        if not self._layers:
            raise JudgeConfigurationInvalid(f"{base!r} has no layers named {', '.join(_TARGETS)}")

    def p_a(self, pair: Pair) -> float | None:
        """Return the mean over both orders, as the hosted judge says it; None if it is too long."""
        import torch

        with torch.no_grad():
            orders = [self._logit(pair, is_swapped=swapped) for swapped in (False, True)]
        if None in orders:
            return None
        first, second = (float(one) for one in orders if one is not None)
        return (_sigmoid(first) + _sigmoid(-second)) / 2

    def train(
        self,
        materials: Sequence[Material],
        setting: Setting,
        progress: Callable[[str], None] = lambda line: None,
    ) -> TrainedAdapter:
        """Train on pairs; w and T weigh people's labels and the teacher as for the embedded one."""
        import torch

        weights = [one for layer in self._layers.values() for one in (layer.down, layer.up)]
        optimiser = torch.optim.AdamW(weights, lr=self._recipe.learning_rate)
        rng, losses, too_long = np.random.default_rng(self._seed), [], set()
        useful = [one for one in materials if one.teacher is not None or any(one.votes)]
        for epoch in range(self._recipe.epochs):
            spent: list[float] = []
            for step, row in enumerate(rng.permutation(len(useful)).tolist(), start=1):
                loss = self._loss(useful[row], setting)
                if loss is None:
                    too_long.add(row)
                else:
                    (loss / self._recipe.pairs_a_step).backward()
                    spent.append(float(loss.detach()))
                if step % self._recipe.pairs_a_step == 0 or step == len(useful):
                    optimiser.step()
                    optimiser.zero_grad()
            losses.append(float(np.mean(spent)) if spent else math.nan)
            progress(f"epoch {epoch + 1} of {self._recipe.epochs}: loss {losses[-1]:.4f}")
        return TrainedAdapter(tuple(losses), len(too_long))

    def save(self, folder: Path, training_prompts: Sequence[str]) -> None:
        """Write the adapter in peft's files, and the prompts that it was trained on."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRAINING_PROMPTS_FILE).write_text(
            "".join(f"{one}\n" for one in sorted(set(training_prompts))), encoding="ascii"
        )
        tensors = {}
        for name, layer in self._layers.items():
            tensors[f"base_model.model.{name}.lora_A.weight"] = layer.down.detach().contiguous()
            tensors[f"base_model.model.{name}.lora_B.weight"] = layer.up.detach().contiguous()
        save_file(tensors, folder / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none",
            "r": self._recipe.rank, "lora_alpha": self._recipe.alpha, "lora_dropout": 0.0,
            "target_modules": sorted({name.rpartition(".")[2] for name in self._layers}),
            "base_model_name_or_path": self._base,
        }  # fmt: skip
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")

    def _loss(self, one: Material, setting: Setting) -> Any:
        """Return the mean loss of both orders of a pair, None if it is too long."""
        logits = [self._logit(one.pair, is_swapped=swapped) for swapped in (False, True)]
        if any(logit is None for logit in logits):
            return None
        towards_a = (logits[0], -logits[1])
        return sum(self._misfit(z, one, setting) for z in towards_a) / 2

    def _misfit(self, z: Any, one: Material, setting: Setting) -> Any:
        """Return w * CE + (1 - w) * T^2 * CE to the softened teacher, which has the slopes of KL."""
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        w, t = setting.label_weight, setting.temperature
        loss = z.new_zeros(())
        if any(one.votes):
            share = (one.votes[0] + one.votes[2] / 2) / sum(one.votes)
            loss = loss + w * cross_entropy(z, z.new_tensor(share))
        if one.teacher is not None:
            soft = float(softened(np.array([one.teacher]), t)[0])
            loss = loss + (1 - w) * t * t * cross_entropy(z / t, z.new_tensor(soft))
        return loss

    def _logit(self, pair: Pair, *, is_swapped: bool) -> Any:
        """Return log P(first label) - log P(second label), None if the prompt is too long."""
        import torch

        text = self._template.query(pair, swapped=is_swapped).text
        prompt = (*self._shared, *self._tokens.query(text))
        limit = getattr(self._model.config, "max_position_embeddings", self._recipe.longest)
        if len(prompt) >= min(limit, self._recipe.longest):
            return None
        logits = self._model(torch.tensor([prompt]), logits_to_keep=1).logits[0, -1]
        first, second = (torch.logsumexp(logits[list(ids)], dim=0) for ids in self._ids.ids)
        return first - second


@dataclass(frozen=True, slots=True)
class AdapterFigures:
    """An adapter's training, and its agreement on a fifth of the prompts that it was not shown."""

    base: str
    pairs: int
    prompts: int
    held_out: int
    losses: tuple[float, ...]
    too_long: int
    with_teacher: Share | None
    with_people: Share | None


def make_adapter(  # noqa: PLR0913 - what is learned, how, and where it goes
    materials: Sequence[Material],
    setting: Setting,
    base: str,
    folder: Path,
    seed: int,
    recipe: LoraRecipe,
    progress: Callable[[str], None] = lambda line: None,
) -> AdapterFigures:
    """Train an adapter on four fifths of the prompts, measure it on the others, and write it.

    Raises:
        JudgeConfigurationInvalid: As for `LoraStudent`.
    """
    student = LoraStudent(base, recipe, seed)
    useful = [one for one in materials if one.teacher is not None or any(one.votes)]
    sample = lesson_of(useful).sample
    fold = split_prompts(sample, _FOLDS, np.random.default_rng(seed))
    shown = [one for one, of in zip(useful, fold, strict=True) if of]
    learnt = student.train(shown, setting, progress)
    rows = fold == 0
    tested = [one for one, of in zip(useful, rows, strict=True) if of]
    said = np.full(len(useful), np.nan)
    said[rows] = [np.nan if (p := student.p_a(one.pair)) is None else p for one in tested]
    teacher = np.array([np.nan if one.teacher is None else one.teacher for one in useful])
    people = np.where(sample.decided, sample.prefers_a, np.nan).astype(np.float64)
    rng = np.random.default_rng(seed)
    prompts = {one.pair.prompt_hash for one in shown}
    student.save(folder, sorted(prompts))
    return AdapterFigures(
        base=base,
        pairs=len(shown),
        prompts=len(prompts),
        held_out=len(tested),
        losses=learnt.losses,
        too_long=learnt.too_long,
        with_teacher=agreement_of(said, teacher, sample.prompts, rows, rng),
        with_people=agreement_of(said, people, sample.prompts, rows, rng),
    )


def render(figures: AdapterFigures) -> str:
    """Return the part of the card about an adapter, in Markdown."""
    lines = [
        f"\n## The adapter of {figures.base}\n",
        f"`adapter/` was trained on {figures.pairs} pairs of {figures.prompts} prompts, with the w and T",
        "above; `training_prompts.txt` beside its weights names them. "
        f"{figures.too_long} pairs were too long.",
        f"On the other fifth of the prompts ({figures.held_out} pairs) it agrees:\n",
        "| with | pairs | prompts | agreement | interval |",
        "|---|---|---|---|---|",
    ]
    for name, one in (("teacher", figures.with_teacher), ("people", figures.with_people)):
        if one is not None:
            cells = f"{one.value:.3f} | {one.low:.3f}-{one.high:.3f}"
            lines.append(f"| {name} | {one.pairs} | {one.prompts} | {cells} |")
    return "\n".join([*lines, ""])


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > 0 else 1 - 1 / (1 + math.exp(z))


def _adapted(model: Any, recipe: LoraRecipe) -> Iterator[tuple[str, Any]]:
    """Put an adapter beside every layer to be adapted, and yield them by the layer's name."""
    import torch

    class Adapted(torch.nn.Module):  # type: ignore[misc]
        """A frozen layer, and two thin matrices whose product is added to it; at first it is 0."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer
            wide, narrow = layer.in_features, recipe.rank
            self.down = torch.nn.Parameter(torch.randn(narrow, wide) / math.sqrt(wide))
            self.up = torch.nn.Parameter(torch.zeros(layer.out_features, narrow))

        def forward(self, x: Any) -> Any:
            change = (x @ self.down.T) @ self.up.T
            return self.layer(x) + recipe.alpha / recipe.rank * change

    named = [
        (name, layer)
        for name, layer in model.named_modules()
        if name.rpartition(".")[2] in _TARGETS and isinstance(layer, torch.nn.Linear)
    ]
    for name, layer in named:
        parent, _, own = name.rpartition(".")
        adapted = Adapted(layer)
        setattr(model.get_submodule(parent), own, adapted)
        yield name, adapted
