"""Trains the tiny judge from nothing: `python -m examples.tiny_judge.train OUT`.

First on single pairs, then on sequences of labelled pairs of one population each, so that it learns
to read from the examples what these people like. Needs torch, transformers and tokenizers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from examples.tiny_judge.losses import losses, make_probes
from examples.tiny_judge.sequences import (
    CONTEXT,
    PAIRS,
    DrawnSequence,
    Layout,
    draw_sequence,
    make_tokenizer,
)
from examples.tiny_judge.task import TASTE_LOG_ODDS

HIDDEN: Final = 128
LAYERS: Final = 4
HEADS: Final = 4
LEARNING_RATE: Final = 2e-3
WARM_UP: Final = 30
SEED: Final = 0
_REPORT_STEPS: Final = 25


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the training.

    Attributes:
        steps: How long it lasts.
        batch: Sequences a step.
        pairs: Pairs a sequence.
        with_taste: Share of the sequences whose responses have a manner.
        taste_log_odds: How much their people like theirs.
        text_weight: Of the loss of every token, at the start and the end of the stage.
    """

    steps: int
    batch: int
    pairs: int
    with_taste: float = 0.0
    taste_log_odds: float = TASTE_LOG_ODDS
    text_weight: tuple[float, float] = (0.0, 0.0)

    def draw(self, rng: np.random.Generator) -> list[DrawnSequence]:
        """Return the sequences of one step."""
        chances = [self.with_taste / 2, 1.0 - self.with_taste, self.with_taste / 2]
        tastes = rng.choice([-1, 0, 1], self.batch, p=chances)
        return [
            draw_sequence(rng, self.pairs, taste=int(t), taste_log_odds=self.taste_log_odds)
            for t in tastes
        ]


STAGES: Final = (
    Stage(200, batch=64, pairs=1, text_weight=(1.0, 0.3)),
    # a taste that always decides is found first
    Stage(150, batch=32, pairs=PAIRS, with_taste=0.7, taste_log_odds=30.0, text_weight=(0.3, 0.0)),
    Stage(350, batch=32, pairs=PAIRS, with_taste=0.5),
)


def train(folder: Path, stages: Sequence[Stage] = STAGES) -> None:
    """Train a model and write it with its tokenizer."""
    import torch

    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    tokenizer = make_tokenizer(rng)
    layout = Layout(tokenizer)
    model, probes = make_model(tokenizer), make_probes(HIDDEN)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *probes.parameters()], LEARNING_RATE, (0.9, 0.98), weight_decay=0.01
    )
    began, total = time.perf_counter(), sum(stage.steps for stage in stages)
    for step, (stage, done) in enumerate((s, i / s.steps) for s in stages for i in range(s.steps)):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _pace(step, total)
        text_weight = float(np.interp(done, (0, 1), stage.text_weight))
        batch = layout.batch(stage.draw(rng))
        found = losses(model, probes, batch, layout.label_ids, with_text=text_weight > 0)
        optimizer.zero_grad()
        found.total(text_weight, hint_weight=1.0).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % _REPORT_STEPS == 0 or step == total - 1:
            print(f"{step:4d}  {found}  {time.perf_counter() - began:.0f} s", flush=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_model(tokenizer: Any) -> Any:
    """Return a Llama with random weights.

    It has biases as Qwen2 has, but is none: transformers cuts the words of every model of that type
    as Qwen2 does, whatever its own tokenizer says.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        attention_bias=True,
        initializer_range=0.07,  # the usual 0.02 is for wide models: this one would stay at chance
    )
    return LlamaForCausalLM(config)


def _pace(step: int, total: int) -> float:
    """Return the share of the learning rate: a short rise, then half a cosine."""
    rise = min(1.0, (step + 1) / WARM_UP)
    return rise * (0.5 + 0.5 * float(np.cos(np.pi * step / total)))


def main() -> None:
    """Train into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    train(folder)


if __name__ == "__main__":
    main()
