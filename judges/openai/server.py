"""The server that an OpenAI-compatible judge asks: its calls, its batches and its health.

A call waits for a slot, is paid from the budget, repeated when the server asks for it, and sent in
another way once the server has refused the first. Failures are raised as `CallFailed`, with what they
cost and without the secrets that a server repeats.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

from judges.base import JudgeHealth, current_exchange, note_failure
from judges.budget import Budget
from judges.openai.batches import ProviderBatches, ProviderFailed
from judges.openai.bodies import Bodies
from judges.openai.calls import AdaptiveSlots, CallFailed, Halt, Spent
from judges.openai.clients import Transport, clients_of, missing_model, models_in
from judges.openai.failures import (
    Complaint,
    complaint_of_status,
    complaint_within,
)
from judges.openai.later import Found
from judges.openai.replies import (
    Reply,
    ReplyUnreadable,
    cut_prompt,
    parse_json,
    read_reply,
    read_usage,
)
from judges.openai.settings import OpenAISettings, Secrets
from judges.retries import retrying
from judges.types import FailureKind, JudgeFailure, TokenUsage

_HEALTH_TIMEOUT_SECONDS: Final = 3.0
_FIRST_IN_FLIGHT: Final = 4
# before these, no request has reached the server
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_NO_SUCH_PATH: Final = (404, 405)
_NOT_LISTED: Final = (*_NO_SUCH_PATH, 400, 403, 406, 415, 422, 501)
_DOWN: Final = (502, 503, 504)


@dataclass(frozen=True, slots=True)
class Call:
    """A request: all its text, its body, and the most tokens of an answer, as learned by then."""

    text: str
    body: Callable[[], dict[str, Any]]
    most_tokens: Callable[[], int]


class ModelServer:
    """One judge's connections to its server.

    Args:
        settings: Address, limits and prices.
        bodies: How the judge asks; refusals of the server change it.
        transport: Replaces the network, for tests.
        environ: Where keys are read from.
        clock: Seconds, for how long an answer took.

    Attributes:
        bodies: As given.
        budget: What is left to spend.
        slots: How many calls may be in flight.
    """

    def __init__(
        self,
        settings: OpenAISettings,
        bodies: Bodies,
        *,
        transport: Transport | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._secrets = Secrets.read(settings, environ)
        self._clients = clients_of(settings, self._secrets, transport)
        self.bodies = bodies
        self.budget = Budget(settings.budget_usd, settings.price_input, settings.price_output)
        # with a budget, the first call alone: it shows what a call may be billed
        first = _FIRST_IN_FLIGHT if settings.budget_usd is None else 1
        self.slots = AdaptiveSlots(settings.concurrency, first)

    @property
    def has_keys(self) -> bool:
        """Whether every environment variable that holds a key is set."""
        return not self._secrets.unset

    @property
    def batches(self) -> ProviderBatches:
        """The batches of the judge's provider, also where no new ones are to be made."""
        return ProviderBatches(self._settings, self._clients, self._secrets, self._path)

    async def reply(
        self, call: Call, halt: Halt, spent: Spent, found: Found | None = None
    ) -> Reply:
        """Return the reply to a call.

        Args:
            call: What is asked.
            halt: Ends the call where another one of the same pair has failed for good.
            spent: Counts what the call costs, whether it succeeds or not.
            found: What a provider's batch has brought for this call: nothing is sent.

        Raises:
            CallFailed: The call has failed for good.
        """
        if (missing := self._missing_key()) is not None:
            raise CallFailed(missing)
        if found is not None:
            return self._reply_found(call, found, spent)
        return await self._with_retries(call, halt, spent)

    def _reply_found(self, call: Call, found: Found, spent: Spent) -> Reply:
        """Return the reply that a provider's batch has brought."""
        usage = usage_in(found.content)
        spent.usage += TokenUsage(calls=1)
        if found.state == "lost":
            spent.add(None)
            raise CallFailed(JudgeFailure(FailureKind.UNAVAILABLE, found.detail))
        complaint = found.complaint
        # what failed in a batch is not billed
        counted = TokenUsage() if complaint is not None and usage is None else usage
        spent.add(counted)
        spent.batched += counted or TokenUsage()
        if complaint is not None:
            raise CallFailed(self._explained(complaint.failure))
        return self._read(call, found.content, {})

    async def _with_retries(self, call: Call, halt: Halt, spent: Spent) -> Reply:
        settings = self._settings

        def wait_before_retry(error: Exception) -> bool | float:
            if not isinstance(error, CallFailed):
                return False
            note_failure(error.failure)
            return error.retry

        async for attempt in retrying(
            wait_before_retry,
            attempts=settings.attempts,
            pause_s=settings.retry_wait_s,
            longest_s=settings.longest_wait_s,
        ):
            with attempt:
                try:
                    return await self._allowed(call, halt, spent)
                except CallFailed as error:
                    if not isinstance(error.retry, bool):
                        error.retry = max(error.retry, attempt.next_wait)
                    raise
        raise AssertionError("unreachable")

    async def _allowed(self, call: Call, halt: Halt, spent: Spent) -> Reply:
        """Make one attempt in a slot; repeat it at once if its refusal shows how to ask instead."""
        while True:
            async with self.slots.slot() as since:
                if halt.failure is not None:
                    raise CallFailed(halt.failure)
                try:
                    return await self._paid(call, spent, since)
                except CallFailed as error:
                    if error.sent is None or error.failure.kind is FailureKind.CONTEXT_OVERFLOW:
                        raise
                    if not self.bodies.learn(error.words, error.sent):
                        error.failure = self.bodies.advised(error.failure, error.sent)
                        raise

    async def _paid(self, call: Call, spent: Spent, since: int) -> Reply:
        """Make one attempt within the budget."""
        reserved = self.budget.reserve(call.text, call.most_tokens())
        if reserved is None:
            detail = f"the budget of {self.budget.usd:g} USD does not cover another call"
            raise CallFailed(JudgeFailure(FailureKind.UNAVAILABLE, detail))
        usage: TokenUsage | None = None
        spent.usage += TokenUsage(calls=1)
        try:
            reply = await self._attempt(call, since)
            usage = reply.usage
            return reply
        except CallFailed as error:
            usage = error.usage
            raise
        finally:
            spent.add(usage)
            self.budget.settle(reserved, usage)

    async def _attempt(self, call: Call, since: int) -> Reply:
        body = call.body()
        started = self._clock()
        response = await self._post(body, since)
        now = time.time()
        if not response.is_success:
            complaint = complaint_of_status(
                response.status_code, response.headers, response.content, now=now
            )
            raise self._complained(complaint, since, body)
        content = _content(response.content)
        complaint_in_200 = complaint_within(content, response.headers, now=now)
        if complaint_in_200 is not None:
            raise self._complained(complaint_in_200, since, body, content)
        self.slots.answered_after(self._clock() - started, self._settings.timeout_s)
        return self._read(call, content, body)

    async def _post(self, body: Mapping[str, Any], since: int) -> httpx.Response:
        settings = self._settings
        try:
            with self._clients.member() as client:
                async with asyncio.timeout(settings.timeout_s):
                    return await client.post(self._path, json=body)
        except (TimeoutError, httpx.TimeoutException) as error:
            # a server that lets requests wait is asked for less
            self.slots.busy(since)
            failure = JudgeFailure(
                FailureKind.TIMEOUT, f"no answer within {settings.timeout_s:g} s"
            )
            raise CallFailed(failure, retry=True, usage=_usage_after(error)) from None
        except httpx.DecodingError as error:
            failure = JudgeFailure(FailureKind.UNPARSEABLE, f"the body cannot be decoded: {error}")
            raise CallFailed(failure, usage=None) from error
        except httpx.HTTPError as error:
            failure = JudgeFailure(FailureKind.CONNECTION, self._unreachable(error))
            raise CallFailed(failure, retry=True, usage=_usage_after(error)) from error

    def _read(self, call: Call, content: object, body: Mapping[str, Any]) -> Reply:
        try:
            reply = read_reply(content, self._settings.endpoint)
        except ReplyUnreadable as error:
            failure = JudgeFailure(FailureKind.UNPARSEABLE, str(error))
            raise CallFailed(failure, usage=usage_in(content)) from error
        _note(call, body, reply)
        if (cut := cut_prompt(call.text, reply.usage)) is not None:
            raise CallFailed(cut, usage=reply.usage)
        return reply

    def _complained(
        self,
        complaint: Complaint,
        since: int,
        sent: Mapping[str, Any],
        content: object = None,
    ) -> CallFailed:
        if complaint.is_busy:
            self.slots.busy(since)
        refused = None if complaint.is_busy else sent
        failure = self._explained(complaint.failure)
        nothing = None if complaint.is_billed else TokenUsage()
        usage = usage_in(content) or nothing
        if not complaint.is_passing:
            return CallFailed(failure, usage=usage, sent=refused, words=complaint.words)
        wait = complaint.wait_s
        if wait is not None and wait > self._settings.longest_wait_s:
            detail = f"{failure.detail}; the server asks to wait {wait:g} s"
            return CallFailed(replace(failure, detail=detail), usage=usage)
        return CallFailed(
            failure,
            retry=True if wait is None else wait,
            usage=usage,
            sent=refused,
            words=complaint.words,
        )

    async def health(self) -> JudgeHealth:
        """Check that the server offers the model, without asking it to generate anything."""
        if (missing := self._missing_key()) is not None:
            return JudgeHealth(False, missing.detail)
        try:
            with self._clients.member() as client:
                response = await client.get("models", timeout=_HEALTH_TIMEOUT_SECONDS)
                if response.status_code in _NOT_LISTED:
                    # a key may judge and not list, and without messages no server answers, but one that has the path says so
                    body = {"model": self._settings.model}
                    response = await client.post(
                        self._path, json=body, timeout=_HEALTH_TIMEOUT_SECONDS
                    )
        except httpx.HTTPError as error:
            return JudgeHealth(False, self._unreachable(error))
        health = self._health_by(response)
        if health.is_ready and self._settings.batch_endpoint:
            return await self._health_with_batches(health)
        return health

    async def _health_with_batches(self, health: JudgeHealth) -> JudgeHealth:
        try:
            if await self.batches.is_offered():
                return health
            noted = "batch_endpoint: the server has no batches: all pairs are asked directly"
        except ProviderFailed as error:
            noted = f"batch_endpoint: {error.failure.detail}"
        return replace(health, detail="; ".join(one for one in (health.detail, noted) if one))

    def _health_by(self, response: httpx.Response) -> JudgeHealth:
        listed = response.request.method == "GET"
        if response.status_code == 200 and listed:
            return self._health_by_models(response)
        complaint = complaint_of_status(
            response.status_code, response.headers, response.content, now=time.time()
        )
        is_offered = complaint.failure.kind is not FailureKind.UNAVAILABLE
        if not listed and is_offered and response.status_code not in _DOWN:
            return self._ready("the server does not list its models")
        return JudgeHealth(False, self._explained(complaint.failure).detail)

    def _health_by_models(self, response: httpx.Response) -> JudgeHealth:
        try:
            content = parse_json(response.content)
        except ReplyUnreadable as error:
            failure = JudgeFailure(FailureKind.UNAVAILABLE, f"the list of models: {error}")
            return JudgeHealth(False, self._explained(failure).detail)
        complaint = complaint_within(content, response.headers, now=time.time())
        if complaint is not None and not models_in(content):
            return JudgeHealth(False, self._explained(complaint.failure).detail)
        wrong = missing_model(content, self._settings.model)
        return self._ready() if wrong is None else JudgeHealth(False, wrong)

    def _ready(self, detail: str = "") -> JudgeHealth:
        changed = ", ".join(self.bodies.flags)
        noted = f"after refusals of the server: {changed}" if changed else ""
        return JudgeHealth(True, "; ".join(part for part in (detail, noted) if part))

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.members:
            await client.aclose()

    @property
    def _path(self) -> str:
        return "chat/completions" if self._settings.endpoint == "chat" else "completions"

    def _missing_key(self) -> JudgeFailure | None:
        if not self._secrets.unset:
            return None
        detail = f"the environment variable {self._secrets.unset[0]} is not set"
        return JudgeFailure(FailureKind.UNAVAILABLE, detail)

    def _unreachable(self, error: Exception) -> str:
        detail = f"{self._settings.base_url}: {error or type(error).__name__}"
        return self._secrets.hide(detail)

    def _explained(self, failure: JudgeFailure) -> JudgeFailure:
        """Add a hint to the failure and hide the secrets that the server repeats."""
        detail = self._secrets.hide(failure.detail)
        if failure.kind is FailureKind.UNAVAILABLE:
            key = self._settings.api_key_env or "api_key_env (not set)"
            detail += (
                f" - check base_url {self._settings.base_url}, which ends with /v1 for most"
                f" servers, model {self._settings.model!r} and the key in {key}"
            )
        return replace(failure, detail=detail)


def _note(call: Call, body: Mapping[str, Any], reply: Reply) -> None:
    """Note what was sent and written, if someone listens."""
    if (told := current_exchange()) is not None:
        sent = body.get("messages", ())
        told.messages = tuple((one["role"], one["content"]) for one in sent)
        told.prompt, told.text = call.text, reply.text


def _usage_after(error: Exception) -> TokenUsage | None:
    """Return what a call cost that ended in an error: nothing if it was not sent, else unknown."""
    return TokenUsage() if isinstance(error, _NOT_SENT) else None


def usage_in(content: object) -> TokenUsage | None:
    """Return the usage that a reply reports, None where it reports none."""
    return read_usage(content.get("usage")) if isinstance(content, dict) else None


def _content(body: bytes) -> object:
    """Return the parsed body of a 200."""
    if not body.strip():
        failure = JudgeFailure(FailureKind.SERVER_ERROR, "HTTP 200 with an empty body")
        raise CallFailed(failure, retry=True, usage=None)
    try:
        return parse_json(body)
    except ReplyUnreadable as error:
        failure = JudgeFailure(FailureKind.UNPARSEABLE, str(error))
        raise CallFailed(failure, usage=None) from error
