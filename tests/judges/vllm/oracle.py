"""The same prompts by a plain forward pass of transformers: what an engine must agree with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from judges.prompting.label_tokens import LabelIds


@cache
def loaded(folder: Path) -> tuple[Any, Any]:
    """Return the tokenizer and the model in single precision."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return AutoTokenizer.from_pretrained(folder), model.eval()


def label_masses(folder: Path, prompt: Sequence[int], label_ids: LabelIds) -> list[float]:
    """Return the probability of each label after a prompt, over the whole vocabulary."""
    import torch

    _, model = loaded(folder)
    with torch.no_grad():
        logits = model(torch.tensor([list(prompt)])).logits[0, -1]
    shares = torch.softmax(logits.double(), dim=-1)
    return [float(shares[list(ids)].sum()) for ids in label_ids.ids]
