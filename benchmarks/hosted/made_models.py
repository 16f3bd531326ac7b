"""Models for benchmarks: tiny ones for a CPU, and the shapes of common ones for a GPU."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.hosted.tiny_models import CONTEXT, ENGINE, byte_level_tokenizer, make_tiny

# hidden size, inner size, layers, heads, key and value heads: of common models
SHAPES: Final = {"1b": (2048, 8192, 16, 32, 8), "8b": (4096, 14336, 32, 32, 8)}
_VOCABULARY: Final = 128_256
_WIDE: Final = 1536


@dataclass(frozen=True, slots=True)
class Model:
    """A model's folder and the options of vLLM that it runs with."""

    folder: str
    engine: dict[str, Any]


def tiny(folder: Path, *, hidden: int = 128) -> Model:
    """Make a tiny model with random weights, to be run on a CPU."""
    return Model(str(make_tiny(folder, "qwen2", hidden=hidden)), dict(ENGINE))


def wide(folder: Path) -> Model:
    """Make a model of one wide layer with random weights, to be run on a CPU.

    As in models of common size, a token costs far more in matrix products than in attention, so
    that one which comes from a cache saves nearly all of its cost.
    """
    made = make_tiny(folder, "qwen2", hidden=_WIDE, layers=1)
    return Model(str(made), {**ENGINE, "kv_cache_memory_bytes": 2**30})


def of_shape(folder: Path, shape: str) -> Model:
    """Write a model's configuration and tokenizer; vLLM draws its weights."""
    from transformers import Qwen2Config

    hidden, inner, layers, heads, key_heads = SHAPES[shape]
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(folder)
    Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=_VOCABULARY,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        dtype="bfloat16",
    ).save_pretrained(folder)
    return Model(str(folder), {"load_format": "dummy", "max_model_len": CONTEXT})


def layer_weights(folder: str) -> int:
    """Return how many weights of its layers a token passes through; embeddings are left out."""
    config = json.loads((Path(folder) / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    share = config["num_key_value_heads"] / config["num_attention_heads"]
    of_a_layer = hidden * (hidden * (2 + 2 * share) + 3 * inner)
    return int(config["num_hidden_layers"] * of_a_layer)


def flops(folder: str, tokens: float) -> float:
    """Return the operations that these prompt tokens cost: two a weight of the layers.

    Attention is left out, so a utilisation made of it is understated a little.
    """
    return 2.0 * layer_weights(folder) * tokens
