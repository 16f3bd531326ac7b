"""Settings, engine protocol and fingerprint of judges hosted with vLLM."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from judges.base import JudgeSpec
from judges.errors import JudgeConfigurationInvalid
from judges.openai.replies import Endpoint
from judges.openai.settings import Confidence, Orders
from judges.prompting.annotators import EarlyStop, prompt_notes, scored_by_prompt
from judges.prompting.examples import ExampleSets, example_prompts
from judges.prompting.templates import PromptTemplate
from judges.prompting.tokens import Tokenizer
from judges.reasons import ReasonSettings
from judges.vllm.weights import folder_hash


class EngineUnavailable(Exception):
    """The engine cannot answer now; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of one engine.

    Attributes:
        model: A folder or a model hub name.
        revision: Revision of a hub model.
        options: Additional vLLM engine arguments, passed unchanged.
        devices: Visible GPUs in the format of `CUDA_VISIBLE_DEVICES`; None for all.
    """

    model: str
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    devices: str | None = None

    @property
    def key(self) -> str:
        """Key of the engine: equal for settings that can share one."""
        return repr(
            (self.model, self.revision, sorted(self.options.items(), key=repr), self.devices)
        )


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """Answer of an engine to one prompt.

    Attributes:
        token_ids: The generated tokens.
        logprobs: Log-probability of each requested token at the first position, over the whole
            vocabulary.
        prompt_tokens: Number of prompt tokens.
        cached_tokens: Number of prompt tokens served from the prefix cache.
    """

    token_ids: tuple[int, ...]
    logprobs: Mapping[int, float]
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Pooled:
    """What a head says at the end of a prompt.

    Attributes:
        values: Its numbers, before any activation.
        prompt_tokens: Number of prompt tokens.
        cached_tokens: Number of prompt tokens served from the prefix cache.
    """

    values: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int


class OpenedEngine(Protocol):
    """A running engine."""

    tokenizer: Tokenizer
    max_tokens: int

    @property
    def is_dead(self) -> bool:
        """True if the engine can no longer answer."""
        ...

    async def ask(
        self,
        token_ids: Sequence[int],
        *,
        wanted: Sequence[int],
        length: int,
        stop: Sequence[int],
        adapter: str | None = None,
    ) -> EngineAnswer:
        """Answer one prompt, by an adapter if one is named.

        Raises:
            EngineUnavailable: The engine died first.
        """
        ...

    async def pool(self, token_ids: Sequence[int]) -> Pooled:
        """Return what the model's head says; raise `EngineUnavailable` if the engine dies first."""
        ...

    def close(self) -> None:
        """Stop the engine's processes."""
        ...


Overflow = Literal["fail", "truncate"]

# These affect where and how fast an engine computes, not its results; they may change while a
# certificate is valid.
NO_PART_OF_A_SCORE: Final = frozenset(
    {
        "gpu_memory_utilization", "kv_cache_memory_bytes", "tensor_parallel_size",
        "pipeline_parallel_size", "data_parallel_size", "max_num_seqs", "max_num_batched_tokens",
        "enforce_eager", "enable_prefix_caching", "block_size", "swap_space", "cpu_offload_gb",
        "disable_log_stats", "enable_log_requests", "download_dir",
        "enable_lora", "max_loras", "max_cpu_loras", "max_lora_rank",
        "max_num_queued_reqs", "max_num_queued_tokens", "scheduling_policy",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """Settings of a judge with a hosted model.

    Attributes:
        name: Name of the judge.
        engine: Settings of the engine.
        endpoint: `chat` uses the tokenizer's chat template; `completions` completes the bare text.
        orders: `both`, or `as_posted` to show a first only.
        confidence: `annotators`; `predictive`, one answer without examples; or `verbalized`, the
            percentage that the model states.
        max_tokens: Maximum tokens of a verbalized answer.
        thinking_tokens: Maximum thinking tokens before the verdict; 0 disables thinking.
        thinking_end: Text that ends the thinking.
        template_options: Variables of the chat template.
        overflow: Handling of pairs longer than the context: `fail`, or `truncate` to cut the middle
            of the longest texts.
        concurrency: Maximum prompts in flight.
        timeout_s: Timeout of one pair in seconds; also the longest wait for the model to load.
        early_stop: Early-stopping condition, or None to query all annotators.
        reasons: When to say why, None for never; no part of the fingerprint.
        price_input: USD per million prompt tokens.
        price_output: USD per million completion tokens.
        weights: Hash of the model folder; None to compute it for the fingerprint.
        adapter: A LoRA adapter of the model, a folder or a hub name.
        adapter_weights: Hash of the adapter's folder; None to compute it for the fingerprint.
    """

    name: str
    engine: EngineSettings
    endpoint: Endpoint = "chat"
    orders: Orders = "both"
    confidence: Confidence = "annotators"
    max_tokens: int = 16
    thinking_tokens: int = 0
    thinking_end: str = "</think>"
    template_options: Mapping[str, Any] = field(default_factory=dict)
    overflow: Overflow = "fail"
    concurrency: int = 256
    timeout_s: float = 600.0
    early_stop: EarlyStop | None = None
    reasons: ReasonSettings | None = None
    price_input: float | None = None
    price_output: float | None = None
    weights: str | None = None
    adapter: str | None = None
    adapter_weights: str | None = None


def is_path(model: str) -> bool:
    """Return True if `model` is a folder: a hub name has one slash and no leading dot."""
    return model.startswith(("/", ".", "~")) or model.count("/") > 1 or Path(model).is_dir()


def vllm_spec(settings: VllmSettings, template: PromptTemplate, sets: ExampleSets) -> JudgeSpec:
    """Return the judge's specification.

    The fingerprint of a folder includes its content. The fingerprint of a hub model includes its
    name and revision, so set a revision before certifying.
    """
    engine = settings.engine
    folder = Path(engine.model)
    scored_by = {
        "model": engine.model if not folder.is_dir() else None,
        "revision": engine.revision,
        "weights": (settings.weights or folder_hash(folder)) if folder.is_dir() else None,
        "engine": {k: engine.options[k] for k in sorted(set(engine.options) - NO_PART_OF_A_SCORE)},
        "endpoint": settings.endpoint,
        "template_options": dict(settings.template_options),
        **scored_by_prompt(settings, template, sets),
        "max_tokens": settings.max_tokens if settings.confidence == "verbalized" else 1,
        "thinking": [settings.thinking_tokens, settings.thinking_end],
        "overflow": settings.overflow,
        **({"adapter": _adapter(settings)} if settings.adapter else {}),
    }
    return JudgeSpec(
        name=settings.name,
        kind="vllm",
        model=engine.model,
        scored_by=scored_by,
        price_input=settings.price_input,
        price_output=settings.price_output,
        is_symmetric=settings.orders == "both",
        training_prompts=training_prompts_of(settings.adapter),
        example_prompts=example_prompts(sets),
        notes={
            **prompt_notes(template, sets),
            "engine": {key: repr(value) for key, value in engine.options.items()},
        },
    )


def _adapter(settings: VllmSettings) -> dict[str, str | None]:
    """Return what tells an adapter apart: its content where it is a folder, else its name."""
    folder = Path(settings.adapter or "")
    if not folder.is_dir():
        return {"name": settings.adapter, "weights": None}
    return {"name": None, "weights": settings.adapter_weights or folder_hash(folder)}


#: Beside the weights of an adapter that `tribunal distil` made (`judges.student.training.lora`).
TRAINING_PROMPTS_FILE: Final = "training_prompts.txt"
_IS_HASH: Final = re.compile(r"[0-9a-f]{64}")


def training_prompts_of(adapter: str | None) -> frozenset[str]:
    """Return the hashes of the prompts that an adapter in a folder says it was trained on.

    They lie beside its weights, so that the hash of the folder covers them. An adapter without them
    says nothing.

    Raises:
        JudgeConfigurationInvalid: They are there and cannot be read.
    """
    if adapter is None:
        return frozenset()
    path = Path(adapter) / TRAINING_PROMPTS_FILE
    try:
        hashes = frozenset(path.read_text(encoding="ascii").split())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise JudgeConfigurationInvalid(
            f"adapter: {str(path)!r} cannot be read: {error}"
        ) from error
    wrong = next((one for one in hashes if not _IS_HASH.fullmatch(one)), None)
    if wrong is not None:
        raise JudgeConfigurationInvalid(f"adapter: {str(path)!r} holds {wrong[:80]!r}, no sha256")
    return hashes


#: What vLLM takes as the largest rank of an adapter.
_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def adapter_options(adapters: Iterable[str]) -> dict[str, Any]:
    """Return the options of an engine that keeps all these adapters resident.

    Args:
        adapters: Folders or hub names; the rank of the latter is not known here.
    """
    names = set(adapters)
    if not names:
        return {}
    ranks = [rank for name in names if (rank := _rank(Path(name))) is not None]
    most = max(ranks, default=0)
    fitting = next((rank for rank in _RANKS if rank >= most), most)
    options = {"enable_lora": True, "max_loras": len(names)}
    return {**options, **({"max_lora_rank": max(fitting, 16)} if ranks else {})}


def _rank(folder: Path) -> int | None:
    try:
        found = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank = found["r"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return rank if isinstance(rank, int) and rank > 0 else None
