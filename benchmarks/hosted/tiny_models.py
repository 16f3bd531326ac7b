"""Tiny language models with random weights, made in seconds: two architectures, two tokenizers.

The tests of real vLLM use them too.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

from examples.tiny_judge import measure

Kind = Literal["qwen2", "llama"]
CONTEXT: Final = 4096
#: How vLLM runs them on a CPU, and the variables that its processes need to see.
ENGINE: Final = {**measure.ENGINE, "max_model_len": CONTEXT}
ENVIRONMENT: Final = {**measure.ENVIRONMENT, "OMP_NUM_THREADS": "1"}
_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
# no system message, and content is trimmed
_STRICT_CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "[INST] {{ m['content'] | trim }} [/INST]{% endfor %}"
)


def make_tiny(
    folder: Path, kind: Kind, *, hidden: int = 64, layers: int = 2, seed: int = 0
) -> Path:
    """Write a model and its tokenizer, and return their folder.

    `qwen2` has a byte-level BPE with a chat template that knows thinking; `llama` spells spaces as
    sentencepiece does, begins with a token of its own, and refuses system messages.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    tokenizer = byte_level_tokenizer() if kind == "qwen2" else _metaspace()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": hidden * 2,
        "num_hidden_layers": layers,
        "num_attention_heads": max(2, hidden // 128),
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }
    model: Any = (
        Qwen2ForCausalLM(Qwen2Config(**sizes))
        if kind == "qwen2"
        else LlamaForCausalLM(LlamaConfig(**sizes))
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5.0)  # so that A and B differ by more than rounding
    model.save_pretrained(folder)
    return folder


def byte_level_tokenizer() -> Any:
    """Return a byte-level BPE of 2,000 tokens with a chat template that knows thinking."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(
            vocab_size=2000,
            special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    # as Qwen3 has them: added, but not special
    tokenizer.add_tokens(
        [AddedToken("<think>", special=False), AddedToken("</think>", special=False)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        model_max_length=CONTEXT,
        chat_template=_CHAT,
    )


def _metaspace() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]
    )
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    tokenizer.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(
            vocab_size=2000,
            special_tokens=["<unk>", "<s>", "</s>", *bytes_],
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        model_max_length=CONTEXT,
        chat_template=_STRICT_CHAT,
    )


def _texts() -> Iterator[str]:
    """Python's own sources and words that judges' prompts have."""
    for module in (ast, inspect, json, textwrap):
        yield _source(module)
    for name in ("argparse", "difflib", "typing", "email.message", "logging"):
        __import__(name)
        yield _source(sys.modules[name])
    yield "A B A B tie A B\n" * 200


def _source(module: ModuleType) -> str:
    return inspect.getsource(module)
