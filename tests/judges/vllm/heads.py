"""Tiny models with heads that score, and a plain forward pass of each: what vLLM must agree with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.hosted.tiny_models import CONTEXT, byte_level_tokenizer

Head = Literal["classify", "reward", "pair"]


def make_head(folder: Path, head: Head, seed: int = 0) -> Path:
    """Write a model and its tokenizer: one label, a reward head for each token, or two labels."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2ForSequenceClassification

    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = _config(tokenizer, labels=2 if head == "pair" else 1)
    model = Qwen2ForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5.0)
    if head != "reward":
        model.save_pretrained(folder)
        return folder
    config.architectures = ["Qwen2ForRewardModel"]
    config.save_pretrained(folder)
    torch.manual_seed(seed + 1)
    weights = {name: p for name, p in model.state_dict().items() if name.startswith("model.")}
    size = config.hidden_size
    for name, shape in (("0", (size, size)), ("2", (1, size))):
        weights[f"score.{name}.weight"] = torch.randn(shape)
        weights[f"score.{name}.bias"] = torch.randn(shape[0])
    kept = {name: tensor.contiguous().clone() for name, tensor in weights.items()}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def forward(folder: Path, head: Head, prompt: Sequence[int]) -> list[float]:
    """Return the head's numbers at the end of a prompt, by transformers alone."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, Qwen2ForSequenceClassification, Qwen2Model

    ids = torch.tensor([list(prompt)])
    with torch.no_grad():
        if head != "reward":
            model: Any = Qwen2ForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
            numbers: list[float] = model.eval()(ids).logits[0].tolist()
            return numbers
        weights = load_file(folder / "model.safetensors")
        body = Qwen2Model(AutoConfig.from_pretrained(folder)).eval()
        body.load_state_dict(
            {n.removeprefix("model."): w for n, w in weights.items() if n.startswith("model.")}
        )
        last = body(ids).last_hidden_state[0, -1]
        hidden = torch.relu(weights["score.0.weight"] @ last + weights["score.0.bias"])
        value: list[float] = (weights["score.2.weight"] @ hidden + weights["score.2.bias"]).tolist()
        return value


def _config(tokenizer: Any, labels: int) -> Any:
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=labels,
    )
