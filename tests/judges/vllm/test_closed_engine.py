from __future__ import annotations

import pytest

from judges.vllm.engine import _OpenedVllm
from judges.vllm.settings import EngineUnavailable


class Engine:
    """As much of vLLM's engine as is looked at before anybody asks it."""

    errored = False

    class model_config:
        max_model_len = 64

    def get_tokenizer(self) -> None:
        return None

    def shutdown(self, timeout: float) -> None:
        self.ended_within = timeout


async def test_an_engine_that_was_closed_meanwhile_is_unavailable() -> None:
    opened = _OpenedVllm(Engine(), [])
    opened.close()
    assert opened.is_dead
    with pytest.raises(EngineUnavailable, match="had ended before"):
        await opened.ask((1, 2), wanted=(), length=1, stop=())
