"""Where the numbers of a head come from: an engine of this process, or a `vllm serve`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import httpx

from judges.base import JudgeHealth, note_failure
from judges.openai.calls import CallFailed
from judges.openai.clients import Transport, clients_of
from judges.openai.failures import complaint_of_status
from judges.openai.replies import ReplyUnreadable, parse_json, read_usage
from judges.openai.settings import OpenAISettings, Secrets
from judges.prompting.tokens import Tokenizer
from judges.retries import retrying
from judges.types import FailureKind, JudgeFailure
from judges.vllm.engine import VllmEngine
from judges.vllm.settings import EngineUnavailable, Pooled

_HEALTH_SECONDS: Final = 3.0


class PoolingFailed(Exception):
    """A model gave no numbers; `failure` says why."""

    def __init__(self, failure: JudgeFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class Pooler(Protocol):
    """A model with a head."""

    async def tokenizer(self) -> Tokenizer | None:
        """Return its tokenizer, None where it takes texts; wait until the model is there."""
        ...

    async def values(self, token_ids: Sequence[int], texts: tuple[str, str]) -> Pooled:
        """Return the head's numbers at the end of a prompt, before any activation.

        Args:
            token_ids: The prompt.
            texts: The same as conversation and response, for servers that take texts alone.

        Raises:
            PoolingFailed: There are none.
        """
        ...

    async def health(self) -> JudgeHealth:
        """Say whether the model can be asked."""
        ...

    async def aclose(self) -> None:
        """Release what is open."""
        ...


class HostedPooler:
    """A model in an engine of this process, which the caller owns."""

    def __init__(self, engine: VllmEngine, timeout_s: float) -> None:
        self._engine = engine
        self._timeout_s = timeout_s

    async def tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the running engine."""
        try:
            return (await self._engine.wait(self._timeout_s)).tokenizer
        except EngineUnavailable as error:
            raise PoolingFailed(JudgeFailure(FailureKind.UNAVAILABLE, str(error))) from error

    async def values(self, token_ids: Sequence[int], texts: tuple[str, str]) -> Pooled:
        """Return the head's numbers."""
        try:
            opened = await self._engine.wait(self._timeout_s)
            if len(token_ids) > opened.max_tokens:
                detail = (
                    f"the prompt is {len(token_ids)} tokens, the model takes {opened.max_tokens}"
                )
                raise PoolingFailed(JudgeFailure(FailureKind.CONTEXT_OVERFLOW, detail))
            return await opened.pool(token_ids)
        except EngineUnavailable as error:
            raise PoolingFailed(JudgeFailure(FailureKind.SERVER_ERROR, str(error))) from error

    async def health(self) -> JudgeHealth:
        """Report whether the model has loaded."""
        if self._engine.opened is None:
            return JudgeHealth(False, self._engine.detail, self._engine.is_starting)
        return JudgeHealth(True)

    async def aclose(self) -> None:
        """Do nothing: the host owns the engine."""


class ServedPooler:
    """A model behind a `vllm serve`.

    Args:
        settings: Address, model, secrets and patience; its `base_url` is without `/v1`.
        endpoint: `classify`, `pooling` or `score`.
        tokenizer: Tokenizer of the model; None for `score`.
        environ: Where secrets are read from.
        transport: How the server is reached.
    """

    def __init__(
        self,
        settings: OpenAISettings,
        endpoint: str,
        tokenizer: Tokenizer | None,
        environ: Mapping[str, str],
        transport: Transport | None = None,
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._tokenizer = tokenizer
        self._secrets = Secrets.read(settings, environ)
        self._clients = clients_of(settings, self._secrets, transport)

    async def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer."""
        return self._tokenizer

    async def values(self, token_ids: Sequence[int], texts: tuple[str, str]) -> Pooled:
        """Return the head's numbers; calls that fail for a while are repeated."""
        if self._secrets.unset:
            detail = f"the environment variable {self._secrets.unset[0]} is not set"
            raise PoolingFailed(JudgeFailure(FailureKind.UNAVAILABLE, detail))
        body: dict[str, Any] = {"model": self._settings.model, "use_activation": False}
        if self._endpoint == "score":
            body |= {"text_1": texts[0], "text_2": texts[1]}
        else:
            body |= {"input": list(token_ids)}
        try:
            return await self._with_retries(body)
        except CallFailed as error:
            raise PoolingFailed(error.failure) from error

    async def health(self) -> JudgeHealth:
        """Ask the server whether it is up."""
        try:
            with self._clients.member() as client:
                response = await client.get("health", timeout=_HEALTH_SECONDS)
        except httpx.HTTPError as error:
            return JudgeHealth(False, self._unreachable(error))
        is_up = response.status_code == 200
        return JudgeHealth(is_up, "" if is_up else f"HTTP {response.status_code}")

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.members:
            await client.aclose()

    async def _with_retries(self, body: Mapping[str, Any]) -> Pooled:
        settings = self._settings

        def again(error: Exception) -> bool | float:
            if isinstance(error, CallFailed):
                note_failure(error.failure)
                return error.retry
            return False

        async for attempt in retrying(
            again,
            attempts=settings.attempts,
            pause_s=settings.retry_wait_s,
            longest_s=settings.longest_wait_s,
        ):
            with attempt:
                return await self._attempt(body)
        raise AssertionError("unreachable")

    async def _attempt(self, body: Mapping[str, Any]) -> Pooled:
        response = await self._post(body)
        if response.status_code != 200:
            complaint = complaint_of_status(
                response.status_code, response.headers, response.content, now=time.time()
            )
            detail = self._secrets.hide(complaint.failure.detail)
            failure = JudgeFailure(complaint.failure.kind, detail)
            wait = complaint.wait_s
            too_long = wait is not None and wait > self._settings.longest_wait_s
            may_pass = complaint.is_passing and not too_long
            raise CallFailed(failure, retry=(True if wait is None else wait) if may_pass else False)
        try:
            return _read(parse_json(response.content))
        except (ReplyUnreadable, ValueError, LookupError, TypeError) as error:
            detail = f"the reply holds no numbers of a head: {error}"
            raise CallFailed(JudgeFailure(FailureKind.UNPARSEABLE, detail)) from error

    async def _post(self, body: Mapping[str, Any]) -> httpx.Response:
        try:
            with self._clients.member() as client:
                async with asyncio.timeout(self._settings.timeout_s):
                    return await client.post(self._endpoint, json=body)
        except (TimeoutError, httpx.TimeoutException):
            detail = f"no answer within {self._settings.timeout_s:g} s"
            raise CallFailed(JudgeFailure(FailureKind.TIMEOUT, detail), retry=True) from None
        except httpx.HTTPError as error:
            failure = JudgeFailure(FailureKind.CONNECTION, self._unreachable(error))
            raise CallFailed(failure, retry=True) from error

    def _unreachable(self, error: Exception) -> str:
        return self._secrets.hide(f"{self._settings.base_url}: {error or type(error).__name__}")


def _read(content: Any) -> Pooled:
    """Return the numbers of a reply: `probs` of /classify, `data` of /pooling, `score` of /score."""
    first = content["data"][0]
    found = next(first[name] for name in ("probs", "data", "score") if name in first)
    numbers = found if isinstance(found, list) else [found]
    if numbers and isinstance(numbers[0], list):
        numbers = numbers[-1]  # a row for each token: the last one has seen the whole prompt
    values = tuple(float(number) for number in numbers)
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"{str(numbers)[:80]}")
    usage = read_usage({"completion_tokens": 0, **content.get("usage", {})})
    return Pooled(values, usage.prompt if usage else 0, usage.cached if usage else 0)
