"""A started vLLM engine. The only file that imports vLLM, and only when an engine starts."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import count
from typing import Any, Final

from judges.engine_reaper import EngineReaper
from judges.engines import EngineAnswer, EngineSettings, EngineUnavailable, OpenedEngine
from judges.prompt_tokens import Tokenizer

_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
_SHUTDOWN_SECONDS: Final = 15.0
_INSTALL: Final = (
    "vLLM is not installed: pip install 'tribunal-judge[vllm]' on a machine with a GPU"
)


def open_vllm(settings: EngineSettings) -> OpenedEngine:
    """Start vLLM; blocks until the model is loaded.

    Raises:
        Exception: whatever vLLM says; a missing installation and unknown options in our words.
    """
    # it reports usage and logs to standard output unless told otherwise
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise EngineUnavailable(f"{_INSTALL} ({error})") from error
    known = AsyncEngineArgs.__dataclass_fields__
    for name in settings.options:
        if name not in known:
            near = get_close_matches(name, list(known), n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise EngineUnavailable(f"engine.{name}: vLLM knows no such option{hint}")
    arguments = {"enable_prefix_caching": True, "disable_log_stats": True, **settings.options}
    if settings.revision is not None:
        arguments["revision"] = settings.revision
    # no name for the engine here: something in vLLM keeps this frame, and would keep the engine
    with _seeing(settings.devices):
        return _OpenedVllm(
            AsyncLLM.from_engine_args(AsyncEngineArgs(model=settings.model, **arguments)),
            _children(),
        )


@contextmanager
def _seeing(devices: str | None) -> Iterator[None]:
    """Let processes that are started see these GPUs only; engines start one after another."""
    before = os.environ.get(_DEVICES)
    if devices is not None:
        os.environ[_DEVICES] = devices
    try:
        yield
    finally:
        if before is not None:
            os.environ[_DEVICES] = before
        elif devices is not None:
            os.environ.pop(_DEVICES, None)


def _children() -> list[int]:
    return [p.pid for p in multiprocessing.active_children() if p.pid is not None]


class _OpenedVllm:
    """vLLM's engine behind the seam; `children` are all processes that this one has started."""

    def __init__(self, engine: Any, children: Sequence[int]) -> None:
        self._engine: Any = engine
        self._numbers = count()
        # children that outlive a killed parent would keep the GPU's memory
        self._reaper = EngineReaper(children)
        self.tokenizer: Tokenizer = engine.get_tokenizer()
        self.max_tokens = int(engine.model_config.max_model_len)

    @property
    def is_dead(self) -> bool:
        return self._engine is None or bool(self._engine.errored)

    async def ask(
        self, token_ids: Sequence[int], *, wanted: Sequence[int], length: int, stop: Sequence[int]
    ) -> EngineAnswer:
        engine = self._engine  # closing takes it away, in another thread
        if engine is None:
            raise EngineUnavailable("its engine had ended before it was asked")
        from vllm.v1.engine.exceptions import EngineDeadError

        answers = engine.generate(
            {"prompt_token_ids": list(token_ids)},
            _sampling(wanted, length, stop),
            f"tribunal-{next(self._numbers)}",
        )
        answer = None
        try:
            async for latest in answers:
                answer = latest
        except EngineDeadError as error:
            raise EngineUnavailable("its engine died while it answered") from error
        if answer is None:
            raise EngineUnavailable("its engine gave no answer")
        return _read(answer, wanted)

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            with suppress(Exception):  # a dead engine's remains may refuse
                engine.shutdown(timeout=_SHUTDOWN_SECONDS)
        self._reaper.close()


def _sampling(wanted: Sequence[int], length: int, stop: Sequence[int]) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    options: dict[str, Any] = {"output_kind": RequestOutputKind.FINAL_ONLY, "detokenize": False}
    if wanted:
        # only these may be written, so that exactly these log-probabilities come back; the
        # numbers themselves are those of the whole vocabulary all the same
        options |= {"logprob_token_ids": list(wanted), "allowed_token_ids": list(wanted)}
    if stop:
        options["stop_token_ids"] = list(stop)
    return SamplingParams(temperature=0, max_tokens=length, **options)


def _read(answer: Any, wanted: Sequence[int]) -> EngineAnswer:
    written = answer.outputs[0]
    first = written.logprobs[0] if wanted and written.logprobs else {}
    logprobs = {
        token_id: float(first[token_id].logprob) for token_id in wanted if token_id in first
    }
    return EngineAnswer(
        token_ids=tuple(written.token_ids),
        logprobs={i: value for i, value in logprobs.items() if not math.isnan(value)},
        prompt_tokens=len(answer.prompt_token_ids),
        cached_tokens=int(answer.num_cached_tokens or 0),
    )
