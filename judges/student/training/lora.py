"""A second student: a LoRA adapter of a language model, in the prompts that a hosted judge reads.

The adapter learns by the loss of `judges.student.training.distil`. Its logit of a pair in one order
is log P(first label) - log P(second label) after the prompt of the template `pairwise` without
examples; both orders of each pair are shown. Only torch, transformers and safetensors are needed.
The files are those of peft, so that vLLM loads them; beside them lie the hashes of the prompts that
the adapter was trained on. LoRA: Hu et al. (2022).
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
from judges.student.model import TRAINING_PROMPTS_FILE
from judges.student.training.distil import Material, Progress, Setting, softened
from judges.types import Pair

_CONFIG_FILE: Final = "adapter_config.json"
_TENSORS_FILE: Final = "adapter_model.safetensors"
_LABELS: Final = ("A", "B")
#: The matrices of attention and of the networks behind it, as common models call them.
_TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_REPORTS: Final = 10
_NEEDED: Final = "a LoRA adapter is trained with torch, transformers and safetensors"


@dataclass(frozen=True, slots=True)
class LoraRecipe:
    """How an adapter is trained.

    Attributes:
        rank: Of the two thin matrices of each layer.
        alpha: Their product is scaled by alpha / rank.
        epochs: Passes over the pairs.
        learning_rate: The largest; it rises over the first tenth of the steps, then falls to 0.
        pairs_a_step: Pairs between two steps of the optimizer.
        longest: Prompts of as many tokens are left out.
    """

    rank: int = 16
    alpha: int = 32
    epochs: int = 3
    learning_rate: float = 2e-4
    pairs_a_step: int = 8
    longest: int = 4096


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """What came of a training: the mean loss of each epoch, and pairs too long for the model."""

    losses: tuple[float, ...]
    too_long: int


class BaseModel:
    """The tokenizer and the sizes of a base model; its weights are not loaded.

    Args:
        base: A folder or hub name of a causal language model.

    Raises:
        JudgeConfigurationInvalid: torch, transformers or safetensors is missing, there is no such
            model, or a label is not one of its tokens.
    """

    def __init__(self, base: str) -> None:
        try:
            import safetensors.torch  # noqa: F401
            import torch  # noqa: F401
            from transformers import AutoConfig, AutoTokenizer
        except ImportError as error:
            raise JudgeConfigurationInvalid(f"{_NEEDED}, and {error.name} is missing") from error
        try:
            config = AutoConfig.from_pretrained(base).get_text_config()
            tokenizer = AutoTokenizer.from_pretrained(base)
        except Exception as error:  # what is no model fails in many ways
            raise _unusable(base, error) from error
        self.name = str(Path(base).resolve()) if Path(base).is_dir() else base
        self.context = int(getattr(config, "max_position_embeddings", 0)) or None
        self.is_chat = bool(tokenizer.chat_template)
        self.label_ids = find_label_ids(tokenizer, _LABELS)
        self._template = load_template("pairwise", list(_LABELS))
        options = {"enable_thinking": False}
        self._tokens = PromptTokens(tokenizer, is_chat=self.is_chat, options=options)
        self._shared = self._tokens.shared(self._template.shared())

    def prompt(self, pair: Pair, *, is_swapped: bool) -> tuple[int, ...]:
        """Return the token ids that a hosted judge without examples asks with."""
        text = self._template.query(pair, swapped=is_swapped).text
        return (*self._shared, *self._tokens.query(text))


def _unusable(base: str, error: Exception) -> JudgeConfigurationInvalid:
    reason = " ".join(str(error).split())[:300]
    return JudgeConfigurationInvalid(f"{base!r} cannot be loaded: {reason}")


class LoraStudent:
    """A base model with an adapter that is being trained, on the first GPU if there is one.

    Args:
        base: The model.
        recipe: How the adapter is trained.
        seed: Of the adapter's first weights and of the order of pairs.

    Raises:
        JudgeConfigurationInvalid: The weights cannot be loaded, or no layer can be adapted.
    """

    def __init__(self, base: BaseModel, recipe: LoraRecipe, seed: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.manual_seed(seed)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        try:
            model = AutoModelForCausalLM.from_pretrained(base.name, dtype=dtype)
            self._model: Any = model.requires_grad_(False).eval().to(self._device)
        except Exception as error:  # as above, or the memory is too small
            raise _unusable(base.name, error) from error
        self._base, self._recipe, self._seed = base, recipe, seed
        self._layers = dict(_adapted(self._model, recipe, self._device))
        if not self._layers:
            raise JudgeConfigurationInvalid(
                f"{base.name!r} has no layers named {', '.join(_TARGETS)}"
            )

    def p_a(self, pair: Pair) -> float | None:
        """Return the mean over both orders, as the hosted judge says it; None if it is too long."""
        import torch

        if (prompts := self._prompts(pair)) is None:
            return None
        with torch.no_grad():
            first, second = (float(self._logit(prompt)) for prompt in prompts)
        return (_sigmoid(first) + _sigmoid(-second)) / 2

    def train(
        self,
        materials: Sequence[Material],
        setting: Setting,
        progress: Progress = lambda line: None,
    ) -> TrainedAdapter:
        """Train on pairs; w and T weigh people's labels and the teacher as for the embedded one.

        Raises:
            JudgeConfigurationInvalid: All pairs are too long, the loss is no number, or the memory is
            too small.
        """
        import torch

        try:
            return self._trained(_taught(materials, setting), setting, progress)
        except torch.OutOfMemoryError as error:
            detail = f"{self._base.name!r} needs more memory to be trained: {str(error)[:200]}"
            raise JudgeConfigurationInvalid(detail) from error

    def _trained(
        self, taught: Sequence[Material], setting: Setting, progress: Progress
    ) -> TrainedAdapter:
        import torch

        recipe = self._recipe
        weights = [one for layer in self._layers.values() for one in (layer.down, layer.up)]
        optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
        every = -(-len(taught) // recipe.pairs_a_step)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _ramp(recipe.epochs * every))
        rng = np.random.default_rng(self._seed)
        losses: list[float] = []
        too_long: set[int] = set()
        for epoch in range(recipe.epochs):
            spent: list[float] = []
            for step, row in enumerate(rng.permutation(len(taught)).tolist(), start=1):
                loss = self._learned(taught[row], setting)
                if loss is None:
                    too_long.add(row)
                else:
                    spent.append(loss)
                if step % recipe.pairs_a_step == 0 or step == len(taught):
                    torch.nn.utils.clip_grad_norm_(weights, 1.0)
                    optimizer.step()
                    optimizer.zero_grad()
                    schedule.step()
                if spent and step % max(1, len(taught) // _REPORTS) == 0:
                    share = 100 * (epoch + step / len(taught)) / recipe.epochs
                    progress(f"adapter: {share:.0f} % of the training, loss {np.mean(spent):.4f}")
            if not spent:
                raise JudgeConfigurationInvalid(
                    f"none of {len(taught)} pairs is short enough for {self._base.name!r} to learn from"
                )
            losses.append(float(np.mean(spent)))
        return TrainedAdapter(tuple(losses), len(too_long))

    def save(self, folder: Path, training_prompts: Sequence[str]) -> None:
        """Write the adapter in peft's files, and the prompts that it was trained on."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRAINING_PROMPTS_FILE).write_text(
            "".join(f"{one}\n" for one in sorted(set(training_prompts))), encoding="ascii"
        )
        config = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none",
            "r": self._recipe.rank, "lora_alpha": self._recipe.alpha, "lora_dropout": 0.0,
            "target_modules": sorted({name.rpartition(".")[2] for name in self._layers}),
            "base_model_name_or_path": self._base.name,
        }  # fmt: skip
        (folder / _CONFIG_FILE).write_text(json.dumps(config, indent=2), encoding="utf-8")
        tensors = {}
        for name, layer in self._layers.items():
            at = f"base_model.model.{name}"
            tensors[f"{at}.lora_A.weight"] = layer.down.detach().cpu().contiguous()
            tensors[f"{at}.lora_B.weight"] = layer.up.detach().cpu().contiguous()
        save_file(tensors, folder / _TENSORS_FILE)

    def _learned(self, one: Material, setting: Setting) -> float | None:
        """Add the slopes of a pair's loss, and return the loss; None if the pair is too long."""
        if (prompts := self._prompts(one.pair)) is None:
            return None
        total = 0.0
        for prompt, sign in zip(prompts, (1, -1), strict=True):
            loss = loss_of(sign * self._logit(prompt), one, setting) / 2
            (loss / self._recipe.pairs_a_step).backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise JudgeConfigurationInvalid(
                f"the loss of the adapter of {self._base.name!r} is {total} on pair {one.pair.id!r}"
            )
        return total

    def _prompts(self, pair: Pair) -> list[tuple[int, ...]] | None:
        """Return the prompts of both orders, None if one is too long."""
        prompts = [self._base.prompt(pair, is_swapped=swapped) for swapped in (False, True)]
        longest = min(self._base.context or self._recipe.longest, self._recipe.longest)
        return None if max(map(len, prompts)) >= longest else prompts

    def _logit(self, prompt: Sequence[int]) -> Any:
        """Return log P(first label) - log P(second label)."""
        import torch

        shown = torch.tensor([list(prompt)], device=self._device)
        logits = self._model(shown, logits_to_keep=1).logits[0, -1].float()
        first, second = (
            torch.logsumexp(logits[list(ids)], dim=0) for ids in self._base.label_ids.ids
        )
        return first - second


def loss_of(z: Any, one: Material, setting: Setting) -> Any:
    """Return w * CE + (1 - w) * T^2 * KL of a pair whose logit towards a is z, a tensor of torch.

    A term is 0 where people, or the teacher, said nothing.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    w, t = setting.label_weight, setting.temperature
    loss = z.new_zeros(())
    if any(one.votes):
        share = (one.votes[0] + one.votes[2] / 2) / sum(one.votes)
        loss = loss + w * cross_entropy(z, z.new_tensor(share))
    if one.teacher is not None:
        soft = float(softened(np.array([one.teacher]), t)[0])
        entropy = -(soft * math.log(soft) + (1 - soft) * math.log(1 - soft))
        loss = loss + (1 - w) * t * t * (cross_entropy(z / t, z.new_tensor(soft)) - entropy)
    return loss


def _taught(materials: Sequence[Material], setting: Setting) -> list[Material]:
    """Return the pairs whose loss is not 0 whatever the logit."""
    w = setting.label_weight
    return [
        one
        for one in materials
        if (w > 0 and any(one.votes)) or (w < 1 and one.teacher is not None)
    ]


def _ramp(steps: int) -> Callable[[int], float]:
    """Return the factor of the learning rate at each step."""
    rising = max(1, steps // 10)
    return lambda step: min((step + 1) / rising, max(0.0, (steps - step) / steps))


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > 0 else 1 - 1 / (1 + math.exp(z))


def _adapted(model: Any, recipe: LoraRecipe, device: str) -> Iterator[tuple[str, Any]]:
    """Put an adapter beside every layer to be adapted, and yield them by the layer's name."""
    import torch
    from torch.nn.functional import linear

    class Adapted(torch.nn.Module):  # type: ignore[misc]
        """A frozen layer, and two thin matrices whose product is added to it; at first it is 0."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer
            bound = 1 / math.sqrt(layer.in_features)
            down = torch.empty(recipe.rank, layer.in_features).uniform_(-bound, bound)
            self.down = torch.nn.Parameter(down.to(device))
            self.up = torch.nn.Parameter(
                torch.zeros(layer.out_features, recipe.rank, device=device)
            )

        def forward(self, x: Any) -> Any:
            change = linear(linear(x.to(self.down.dtype), self.down), self.up)
            return self.layer(x) + (recipe.alpha / recipe.rank * change).to(x.dtype)

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
