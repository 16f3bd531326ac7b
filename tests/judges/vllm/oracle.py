"""The same prompts by a plain forward pass of transformers: what an engine must agree with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def merged(folder: Path, adapter: Path | None) -> Iterator[None]:
    """Put the model's weights with a LoRA adapter merged into them in place of its own."""
    import torch
    from safetensors.torch import load_file

    if adapter is None:
        yield
        return
    _, model = loaded(folder)
    config = json.loads((adapter / "adapter_config.json").read_text())
    tensors = load_file(adapter / "adapter_model.safetensors")
    kept = {}
    with torch.no_grad():
        for name in {name.split(".lora_")[0] for name in tensors}:
            weight = model.get_submodule(name.removeprefix("base_model.model.")).weight
            kept[name] = weight, weight.detach().clone()
            change = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
            weight += config["lora_alpha"] / config["r"] * change
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in kept.values():
                weight.copy_(before)
