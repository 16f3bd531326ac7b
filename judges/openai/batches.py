"""The batches of a provider: files of requests that are answered within a day, at a lower price.

This is OpenAI's Batch API, which other providers offer too. A file of requests is uploaded, and a
batch is made from it. The answers come as one or two files, in any order; some may be missing. Only
the `custom_id` of a request says which answer belongs to it.

The request that makes a batch may succeed although its response is lost. So every batch carries a
mark in its metadata, by which it is found again in the provider's list.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import httpx

from judges.openai.calls import LeastBusy
from judges.openai.failures import complaint_of_status
from judges.openai.replies import ReplyUnreadable, parse_json
from judges.openai.settings import OpenAISettings, Secrets
from judges.types import FailureKind, JudgeFailure

WINDOW: Final = "24h"
MARK: Final = "tribunal_mark"
ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_PAGE: Final = 100
_MOST_PAGES: Final = 100
# an upload of a large file takes longer than a question
_UPLOAD_SECONDS: Final = 600.0
_CHECK_SECONDS: Final = 3.0
_NO_SUCH_PATH: Final = (404, 405, 501)
# an id becomes a part of an address, and stays within the paths that it is for
_ID: Final = re.compile(r"(?!.*\.\.)[!\"$&->@-~]{1,512}")
_STATUSES: Final = range(100, 600)
_LONGEST_CODE: Final = 100
_LONGEST_WORDS: Final = 2_000
_LONGEST_REFUSAL: Final = 64 * 1024  # bytes
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class ProviderFailed(Exception):
    """A request about a batch failed.

    Attributes:
        failure: What happened.
        is_passing: Whether another attempt may help.
        is_unclear: Whether the request may have succeeded all the same.
        status: The HTTP status, None without an answer.
    """

    def __init__(
        self,
        failure: JudgeFailure,
        *,
        is_passing: bool,
        is_unclear: bool = False,
        status: int | None = None,
    ) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure, self.is_passing = failure, is_passing
        self.is_unclear, self.status = is_unclear, status

    @property
    def is_not_offered(self) -> bool:
        """Whether the server has no such path."""
        return self.status in _NO_SUCH_PATH


@dataclass(frozen=True, slots=True)
class ProviderBatch:
    """A batch as its provider describes it.

    Attributes:
        id: The provider's id.
        status: The provider's word; see `ENDED`.
        files: The ids of the files with answers, as far as there are any.
        answered: Requests that were carried out.
        failed: Requests that failed.
        code: Of its first error.
        error: Its errors in words.
    """

    id: str
    status: str
    files: tuple[str, ...] = ()
    answered: int = 0
    failed: int = 0
    code: str = ""
    error: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Line:
    """One answer: the HTTP status and body, or None twice where the request was not carried out."""

    custom_id: str
    status: int | None
    content: Any = None

    @property
    def is_good(self) -> bool:
        """Whether the model answered."""
        return self.status == 200


class ProviderBatches:
    """The batches of the provider behind one judge.

    Args:
        settings: The judge's settings.
        clients: Its HTTP clients.
        secrets: What no message may show.
        path: What its requests are sent to.
    """

    def __init__(
        self,
        settings: OpenAISettings,
        clients: LeastBusy[httpx.AsyncClient],
        secrets: Secrets,
        path: str,
    ) -> None:
        self._settings, self._clients, self._secrets = settings, clients, secrets
        self.endpoint = f"/v1/{path}"

    def line_of(self, custom_id: str, body: str) -> bytes:
        """Return the line of a file that asks a question; its body comes as JSON in ASCII."""
        line = {"custom_id": custom_id, "method": "POST", "url": self.endpoint}
        opening = json.dumps(line, separators=(",", ":")).removesuffix("}")
        return f'{opening},"body":{body}}}\n'.encode("ascii")

    async def upload(self, name: str, lines: bytes) -> str:
        """Upload a file of requests; return its id. This costs nothing yet.

        Raises:
            ProviderFailed: it was not taken.
        """
        answer = await self._request(
            "POST",
            "files",
            data={"purpose": "batch"},
            files={"file": (name, lines, "application/jsonl")},
            timeout=_UPLOAD_SECONDS,
        )
        return _id_of(answer)

    async def create(self, file_id: str, mark: str) -> ProviderBatch:
        """Make a batch from an uploaded file; from here on its answers are paid for.

        Raises:
            ProviderFailed: no batch was made or, where `is_unclear`, one may have been.
        """
        body = {
            "input_file_id": file_id,
            "endpoint": self.endpoint,
            "completion_window": WINDOW,
            "metadata": {MARK: mark},
        }
        return _batch_of(await self._request("POST", "batches", json=body))

    async def find(self, file_id: str, mark: str) -> ProviderBatch | None:
        """Return the batch with this mark, or from this file; None if there is none.

        Raises:
            ProviderFailed: the provider's list cannot be read.
        """
        after: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            page = await self._request("GET", "batches", params={"limit": str(_PAGE), **after})
            listed = [one for one in page.get("data") or () if isinstance(one, dict)]
            for one in listed:
                metadata = one.get("metadata")
                has_mark = isinstance(metadata, dict) and metadata.get(MARK) == mark
                if has_mark or one.get("input_file_id") == file_id:
                    return _batch_of(one)
            if not (page.get("has_more") and listed):
                return None
            after = {"after": _id_of(listed[-1])}
        return None

    async def get(self, batch_id: str) -> ProviderBatch:
        """Return a batch as it is now.

        Raises:
            ProviderFailed: it cannot be read.
        """
        return _batch_of(await self._request("GET", f"batches/{batch_id}"))

    async def cancel(self, batch_id: str) -> ProviderBatch:
        """Ask the provider to stop a batch; answers that it has given are paid for.

        Raises:
            ProviderFailed: the provider refuses.
        """
        return _batch_of(await self._request("POST", f"batches/{batch_id}/cancel"))

    async def is_offered(self) -> bool:
        """Return whether the provider has batches at all.

        Raises:
            ProviderFailed: the answer does not tell.
        """
        try:
            await self._request("GET", "batches", params={"limit": "1"}, timeout=_CHECK_SECONDS)
        except ProviderFailed as error:
            if error.is_not_offered:
                return False
            raise
        return True

    async def lines(self, file_id: str) -> AsyncIterator[Line]:
        """Yield the answers of a file in its order; leave out lines that are no answers.

        Raises:
            ProviderFailed: the file cannot be read to its end.
        """
        try:
            with self._clients.member() as client:
                async with client.stream("GET", f"files/{file_id}/content") as response:
                    if response.status_code != 200:
                        raise self._refused(response, await _beginning(response))
                    async for text in self._split(response):
                        if (line := _line_of(text)) is not None:
                            yield line
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    async def _split(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Yield lines that end with a line feed; in JSON no other character ends one."""
        rest = b""
        async for piece in response.aiter_bytes():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line
            if len(rest) > self._settings.max_reply_bytes:
                most = self._settings.max_reply_bytes
                detail = f"a line of the answers has more than {most} bytes (max_reply_bytes)"
                failure = JudgeFailure(FailureKind.UNPARSEABLE, detail)
                raise ProviderFailed(failure, is_passing=False)
        if rest.strip():
            yield rest

    async def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        limit = options.get("timeout", self._settings.timeout_s)
        try:
            with self._clients.member() as client:
                async with asyncio.timeout(limit):
                    response = await client.request(method, path, **options)
        except (TimeoutError, httpx.HTTPError) as error:
            raise self._unreachable(error) from error
        if response.status_code not in (200, 201, 202):
            raise self._refused(response, response.content)
        try:
            content = parse_json(response.content)
        except ReplyUnreadable as error:
            content = str(error)
        if not isinstance(content, dict):
            failure = JudgeFailure(FailureKind.UNPARSEABLE, f"{path}: no JSON object: {content}")
            raise ProviderFailed(failure, is_passing=True, is_unclear=True)
        return content

    def _unreachable(self, error: Exception) -> ProviderFailed:
        detail = f"{self._settings.base_url}: {error or type(error).__name__}"
        failure = JudgeFailure(FailureKind.CONNECTION, self._secrets.hide(detail))
        return ProviderFailed(failure, is_passing=True, is_unclear=not isinstance(error, _NOT_SENT))

    def _refused(self, response: httpx.Response, body: bytes) -> ProviderFailed:
        status = response.status_code
        complaint = complaint_of_status(status, response.headers, body, now=time.time())
        detail = f"{response.request.url.path}: {complaint.failure.detail}"
        return ProviderFailed(
            JudgeFailure(complaint.failure.kind, self._secrets.hide(detail)),
            is_passing=complaint.is_passing,
            # a server that fails may have done the work first
            is_unclear=status >= 500 or status == 408,
            status=status,
        )


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _id_of(answer: Mapping[str, Any]) -> str:
    found = answer.get("id")
    if not _is_id(found):
        failure = JudgeFailure(FailureKind.UNPARSEABLE, "the answer about a batch has no id")
        raise ProviderFailed(failure, is_passing=True, is_unclear=True)
    return found


def _batch_of(answer: Mapping[str, Any]) -> ProviderBatch:
    counts = answer.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    code, error = _errors_of(answer.get("errors"))
    named = (answer.get("output_file_id"), answer.get("error_file_id"))
    return ProviderBatch(
        id=_id_of(answer),
        status=str(answer.get("status")),
        files=tuple(name for name in named if _is_id(name)),
        answered=_count(counts.get("completed")),
        failed=_count(counts.get("failed")),
        code=code,
        error=error,
    )


def _errors_of(errors: object) -> tuple[str, str]:
    listed = errors.get("data") if isinstance(errors, dict) else errors
    found: Iterable[Any] = listed if isinstance(listed, list) else ()
    read = [one for one in found if isinstance(one, dict)]
    if not read:
        return "", ""
    words = "; ".join(str(one.get("message", one)) for one in read[:3])
    return str(read[0].get("code") or "")[:_LONGEST_CODE], words[:_LONGEST_WORDS]


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


async def _beginning(response: httpx.Response) -> bytes:
    """Return as much of a refusal as anybody reads; it may have no end."""
    content = b""
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > _LONGEST_REFUSAL:
            break
    return content[:_LONGEST_REFUSAL]


def _line_of(text: bytes) -> Line | None:
    try:
        read = parse_json(text)
    except ReplyUnreadable:
        return None
    if not isinstance(read, dict) or not isinstance(read.get("custom_id"), str):
        return None
    response = read.get("response")
    if isinstance(response, dict) and response.get("status_code") in _STATUSES:
        return Line(read["custom_id"], int(response["status_code"]), response.get("body"))
    # without a status the provider gave up the request before a model saw it
    return Line(read["custom_id"], None)
