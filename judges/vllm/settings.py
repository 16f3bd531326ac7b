"""Settings, engine protocol, fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from judges.base import JudgeSpec
from judges.openai.replies import Endpoint
from judges.openai.settings import Confidence, Orders
from judges.prompting.annotators import EarlyStop, prompt_notes, scored_by_prompt
from judges.prompting.examples import ExampleSets, example_prompts
from judges.prompting.templates import PromptTemplate
from judges.prompting.tokens import Tokenizer
from judges.vllm.weights import folder_hash


class EngineUnavailable(Exception):
    """The engine cannot answer now; the message says why."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine runs.

    Attributes:
        model: A folder, or a name on the model hub.
        revision: Of a model on the hub.
        options: Further arguments of vLLM's engine, handed over as they are.
        devices: GPUs that it sees, as `CUDA_VISIBLE_DEVICES` has them; None: all.
    """

    model: str
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    devices: str | None = None

    @property
    def key(self) -> str:
        """The same for settings that one engine can serve."""
        return repr(
            (self.model, self.revision, sorted(self.options.items(), key=repr), self.devices)
        )


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """What an engine answered to one prompt.

    Attributes:
        token_ids: The tokens that it wrote.
        logprobs: Log-probability of each token asked for, at the first position, over the whole
            vocabulary.
        prompt_tokens: Tokens of the prompt.
        cached_tokens: Tokens of the prompt that were served from the prefix cache.
    """

    token_ids: tuple[int, ...]
    logprobs: Mapping[int, float]
    prompt_tokens: int
    cached_tokens: int


class OpenedEngine(Protocol):
    """An engine that has started."""

    tokenizer: Tokenizer
    max_tokens: int

    @property
    def is_dead(self) -> bool:
        """Whether it can answer no more."""
        ...

    async def ask(
        self, token_ids: Sequence[int], *, wanted: Sequence[int], length: int, stop: Sequence[int]
    ) -> EngineAnswer:
        """Answer one prompt; `EngineUnavailable` if it dies meanwhile."""
        ...

    def close(self) -> None:
        """End its processes."""
        ...


Overflow = Literal["fail", "truncate"]

# where and how fast an engine computes, not what: these may change under a certificate
_NO_PART_OF_A_SCORE: Final = frozenset(
    {
        "gpu_memory_utilization", "kv_cache_memory_bytes", "tensor_parallel_size",
        "pipeline_parallel_size", "data_parallel_size", "max_num_seqs", "max_num_batched_tokens",
        "enforce_eager", "enable_prefix_caching", "block_size", "swap_space", "cpu_offload_gb",
        "disable_log_stats", "enable_log_requests", "download_dir",
        "max_num_queued_reqs", "max_num_queued_tokens", "scheduling_policy",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """How a hosted model is asked.

    Attributes:
        name: The judge's name.
        engine: What is hosted.
        endpoint: `chat` uses the tokenizer's chat template; `completions` completes the bare text.
        orders: `both`, or `as_posted`: a shown first, alone.
        confidence: `annotators`; `predictive`: one answer without examples; `verbalized`: the
            percentage that the model states.
        max_tokens: Of a verbalized answer.
        thinking_tokens: How long the model may think before its verdict; 0: not at all.
        thinking_end: What ends its thinking.
        template_options: Variables of the chat template.
        overflow: What happens to a pair that is longer than the context: `fail`, or `truncate`:
            its longest texts lose their middles.
        concurrency: Prompts in flight.
        timeout_s: Seconds that one pair may take, and that the first one waits while the model
            loads.
        early_stop: When not all annotators are asked.
        price_input: USD per million prompt tokens.
        price_output: USD per million completion tokens.
        weights: What the model's folder holds, as a hash; None: it is read for the fingerprint.
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
    price_input: float | None = None
    price_output: float | None = None
    weights: str | None = None


def is_path(model: str) -> bool:
    """Return whether a model is meant as a folder: a hub name has one slash and no leading dot."""
    return model.startswith(("/", ".", "~")) or model.count("/") > 1 or Path(model).is_dir()


def vllm_spec(settings: VllmSettings, template: PromptTemplate, sets: ExampleSets) -> JudgeSpec:
    """Return the judge's description.

    The content of a model's folder is part of the fingerprint; of a model on the hub it is the
    name and the revision, so that a certificate wants a revision.
    """
    engine = settings.engine
    folder = Path(engine.model)
    scored_by = {
        "model": engine.model if not folder.is_dir() else None,
        "revision": engine.revision,
        "weights": (settings.weights or folder_hash(folder)) if folder.is_dir() else None,
        "engine": {k: engine.options[k] for k in sorted(set(engine.options) - _NO_PART_OF_A_SCORE)},
        "endpoint": settings.endpoint,
        "template_options": dict(settings.template_options),
        **scored_by_prompt(settings, template, sets),
        "max_tokens": settings.max_tokens if settings.confidence == "verbalized" else 1,
        "thinking": [settings.thinking_tokens, settings.thinking_end],
        "overflow": settings.overflow,
    }
    return JudgeSpec(
        name=settings.name,
        kind="vllm",
        model=engine.model,
        scored_by=scored_by,
        price_input=settings.price_input,
        price_output=settings.price_output,
        is_symmetric=settings.orders == "both",
        example_prompts=example_prompts(sets),
        notes={
            **prompt_notes(template, sets),
            "engine": {key: repr(value) for key, value in engine.options.items()},
        },
    )
