"""Writes `outputs/*.json`: what two of the example's fictional models answer to every prompt.

One file a model, in AlpacaEval's form, for ranking two models and for the gate. Run from the root
of the repository: `python -m examples.make_outputs`.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.flaws import draw_flaw, respond
from examples.make_pairs import FLAW_RATE, SEED
from examples.sources import Prompt, load_prompts

OUTPUTS = Path(__file__).parent / "outputs"
MODELS = ("alder-large", "dogwood-tiny")


def make_outputs(model: str) -> bytes:
    """Return the model's answers to all prompts, as the bytes of its file."""
    prompts = load_prompts()
    answers = [
        {
            "instruction": _instruction(one),
            "output": _answer(one, prompts, model),
            "generator": model,
        }
        for one in prompts
    ]
    return (json.dumps(answers, ensure_ascii=False, indent=1) + "\n").encode()


def _instruction(prompt: Prompt) -> str:
    return f"{prompt.text}\n\n{prompt.input}" if prompt.input else prompt.text


def _answer(prompt: Prompt, prompts: Sequence[Prompt], model: str) -> str:
    # A generator for each answer: a prompt that is added leaves the other answers as they are.
    rng = np.random.default_rng([SEED, zlib.crc32(f"{model} {prompt.group}".encode())])
    wording = int(rng.random() * len(prompt.answers))
    is_flawed = rng.random() < FLAW_RATE[model]
    flaw = draw_flaw(prompt, wording, rng) if is_flawed else None
    return respond(prompt, wording, flaw, prompts, rng).text


def main() -> int:
    """Write one file a model."""
    OUTPUTS.mkdir(exist_ok=True)
    for model in MODELS:
        file = OUTPUTS / f"{model}.json"
        file.write_bytes(make_outputs(model))
        print(f"{file}: {file.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
