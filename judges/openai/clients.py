"""The HTTP clients of a judge, its address, and what a list of models says."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Any, Final

import httpx

from judges.errors import JudgeConfigurationInvalid
from judges.openai.calls import LeastBusy
from judges.openai.settings import OpenAISettings, Secrets
from judges.proxies import certificates, proxy_problem

Transport = httpx.AsyncBaseTransport

_CONNECTIONS_OF_CLIENT: Final = 8
_MAX_NAMES_SHOWN: Final = 10
_DATED: Final = re.compile(r"-(?:20\d\d-?\d\d-?\d\d|\d{4}|latest)\Z")
_GZIP: Final = 16 + zlib.MAX_WBITS
_DECODED: Final = ("content-encoding", "content-length", "transfer-encoding")
# these servers answer by any name
_ANY_NAME: Final = ("llamacpp", "llama.cpp", "koboldcpp", "tabbyapi")
_NAME_FIELDS: Final = ("id", "name", "model", "slug", "model_id", "modelId", "model_name", "key")
_MORE: Final = ("has_more", "nextPageToken", "next_page_token", "next")  # the list goes on


def clients_of(
    settings: OpenAISettings, secrets: Secrets, transport: Transport | None
) -> LeastBusy[httpx.AsyncClient]:
    """Return enough clients for the concurrent requests and one health check.

    Raises:
        JudgeConfigurationInvalid: A proxy variable of the environment cannot be used; names it.
    """
    if transport is None and (problem := proxy_problem()) is not None:
        raise JudgeConfigurationInvalid(f"judges.{settings.name}: {problem}")
    verify = True if transport else certificates()
    # A custom transport exists only once.
    n = 1 if transport else -(-settings.concurrency // _CONNECTIONS_OF_CLIENT)
    return LeastBusy(
        [
            ReplyClient(
                settings.max_reply_bytes,
                base_url=settings.base_url,
                params=dict(secrets.query),
                headers=dict(secrets.headers),
                timeout=settings.timeout_s,
                limits=httpx.Limits(max_connections=_CONNECTIONS_OF_CLIENT + 1),
                verify=verify,
                transport=transport,
            )
            for _ in range(n)
        ]
    )


def checked_base_url(path: str, text: str) -> str:
    """Return `text` if it is a valid base URL; `path` names the key that holds it.

    Raises:
        JudgeConfigurationInvalid: The URL is invalid or contains a password.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise JudgeConfigurationInvalid(f"{path}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise JudgeConfigurationInvalid(f"{path}: {text!r} is not an http or https address")
    if url.userinfo:
        raise JudgeConfigurationInvalid(f"{path}: holds a password; use api_key_env instead")
    if url.path.rstrip("/").endswith("/completions"):
        raise JudgeConfigurationInvalid(
            f"{path}: leave out the end of the path, from /chat/completions or /completions on"
        )
    return text


def missing_model(content: object, model: str) -> str | None:
    """Return what is wrong if a list of models lacks `model`; None if it holds it.

    A server may take a name that it does not list: without the tag `:latest`, without `models/`,
    without the date of a version, with a variant such as `:free` behind it, or any name at all. It
    may also list a part of its models, or those that can be deployed under names of one's own.
    """
    known = models_in(content)
    if known is None:
        return "it answers, but not with a list of models"
    if any(str(one.get("owned_by")).lower() in _ANY_NAME for one in known):
        return None
    if any("lifecycle_status" in one for one in known):  # Azure: deployments have other names
        return None
    if isinstance(content, Mapping) and any(content.get(name) for name in _MORE):
        return None
    plain = {_plain(name) for one in known for name in _names(one)}
    wanted = _plain(model)
    if any(_is_served(wanted, name) for name in plain):
        return None
    names = [next(iter(_names(one)), "?") for one in known]
    shown = ", ".join(names[:_MAX_NAMES_SHOWN]) or "none"
    return f"no model {model!r}; the server has {shown}"


def models_in(content: object) -> list[Mapping[str, Any]] | None:
    """Return the models that a body lists under whatever name; None if it lists none."""
    if isinstance(content, list):
        named = [{"id": one} if isinstance(one, str) else one for one in content]
        return [one for one in named if isinstance(one, Mapping)]
    if not isinstance(content, Mapping):
        return None
    inner = [content.get("data"), content.get("models"), *content.values()]
    lists = [one for one in inner if isinstance(one, list)]
    listed = next((models for one in lists if (models := _with_names(one))), None)
    if listed is None and isinstance(content.get("data"), Mapping):
        listed = models_in(content["data"])
    return [] if listed is None and lists else listed


def _with_names(listed: list[Any]) -> list[Mapping[str, Any]] | None:
    models = models_in(listed)
    return models if models and any(map(_names, models)) else None


def _names(listed: Mapping[str, Any]) -> list[str]:
    """Return all names by which a server takes one model."""
    aliases = listed.get("aliases")
    named = [listed.get(field) for field in _NAME_FIELDS]
    return [str(name) for name in (*named, *(aliases if isinstance(aliases, list) else ())) if name]


def _is_served(model: str, listed: str) -> bool:
    variant = "/" in model and listed in (model.rpartition(":")[0], model.partition("#")[0])
    undated = _DATED.sub("", listed)
    dated = model in (undated, f"{undated}-latest", f"{undated}-0")
    every = listed.endswith("*") and model.startswith(listed[:-1])
    return model == listed or variant or dated or every


def _plain(name: str) -> str:
    return name.removeprefix("models/").removesuffix(":latest").casefold()


class ReplyClient(httpx.AsyncClient):
    """Reads whole replies of up to `most_bytes` after unpacking; a larger one is a DecodingError.

    A server that is broken, or not the one that was meant, may send without end, and a few kilobytes
    of gzip may unpack to gigabytes.
    """

    def __init__(self, most_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._most_bytes = most_bytes
        self.headers["Accept-Encoding"] = "gzip, deflate"

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **options: Any
    ) -> httpx.Response:
        """Send a request and read its reply.

        Raises:
            httpx.DecodingError: the reply is too large, or cannot be unpacked.
        """
        response = await super().send(request, stream=True, **options)
        if stream:
            return response
        try:
            content = await self._read(response)
        except zlib.error as error:
            raise httpx.DecodingError(str(error), request=request) from error
        finally:
            await response.aclose()
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name.lower() not in _DECODED
        ]
        return httpx.Response(
            response.status_code,
            headers=headers,
            content=content,
            request=response.request,
            extensions=response.extensions,
            history=response.history,
        )

    async def _read(self, response: httpx.Response) -> bytes:
        if response.is_stream_consumed:
            # a transport in this process had the whole reply at hand
            return response.content
        unpack = _unpacker(response)
        content = bytearray()
        async for piece in response.aiter_raw():
            room = self._most_bytes - len(content) + 1
            content += piece[:room] if unpack is None else unpack.decompress(piece, room)
            if len(content) > self._most_bytes:
                raise httpx.DecodingError(
                    f"the reply is larger than {self._most_bytes} bytes (max_reply_bytes)",
                    request=response.request,
                )
        if unpack is not None and not unpack.eof:
            raise zlib.error("the packed reply ends early")
        return bytes(content)


def _unpacker(response: httpx.Response) -> Any:
    """Return what unpacks a reply, None where it is not packed."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return zlib.decompressobj(_GZIP)
    if encoding == "deflate":
        return _Deflate()
    raise httpx.DecodingError(
        f"the reply is packed with {encoding[:40]!r}, which was not asked for",
        request=response.request,
    )


class _Deflate:
    """Unpacks what is called deflate: with the header of zlib, or without it as some servers send."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj()
        self._is_first = True

    @property
    def eof(self) -> bool:
        return self._unpack.eof

    def decompress(self, piece: bytes, room: int) -> bytes:
        is_first, self._is_first = self._is_first, False
        try:
            return self._unpack.decompress(piece, room)
        except zlib.error:
            if not is_first:
                raise
            self._unpack = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._unpack.decompress(piece, room)
