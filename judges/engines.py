"""What an engine is: it runs one model and answers prompts that are token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from judges.prompt_tokens import Tokenizer


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
