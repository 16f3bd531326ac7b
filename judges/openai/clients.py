"""The HTTP clients of a judge, its address, and what a list of models says."""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Final

import httpx

from judges.errors import JudgeConfigurationInvalid
from judges.openai.calls import LeastBusy
from judges.openai.settings import OpenAISettings, Secrets
from judges.proxies import proxy_problem

Transport = httpx.AsyncBaseTransport

_CONNECTIONS_OF_CLIENT: Final = 8
_MAX_NAMES_SHOWN: Final = 10
_ANY_NAME: Final = ("llamacpp", "llama.cpp")  # these servers answer by any name


def clients_of(
    settings: OpenAISettings, secrets: Secrets, transport: Transport | None
) -> LeastBusy[httpx.AsyncClient]:
    """Return enough clients for the concurrent requests and one health check.

    Raises:
        JudgeConfigurationInvalid: A proxy variable of the environment cannot be used; names it.
    """
    if transport is None and (problem := proxy_problem()) is not None:
        raise JudgeConfigurationInvalid(f"judges.{settings.name}: {problem}")
    verify = True if transport else _certificates()
    # A custom transport exists only once.
    n = 1 if transport else -(-settings.concurrency // _CONNECTIONS_OF_CLIENT)
    return LeastBusy(
        [
            httpx.AsyncClient(
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


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    """Return the authorities that are trusted; reading them takes long, so all clients share them."""
    return httpx.create_ssl_context()


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
    or with a variant such as `:free` behind it.
    """
    listed = content
    if isinstance(content, dict):
        listed = content.get("data", content.get("models"))
    if not isinstance(listed, list):
        return "it answers, but not with a list of models"
    known = [one for one in listed if isinstance(one, dict)]
    names = [str(one.get("id") or one.get("name")) for one in known]
    if any(one.get("owned_by") in _ANY_NAME for one in known):
        return None
    plain = {_plain(name) for name in names}
    if _plain(model) in plain or ("/" in model and model.rpartition(":")[0] in plain):
        return None
    shown = ", ".join(names[:_MAX_NAMES_SHOWN]) or "none"
    return f"no model {model!r}; the server has {shown}"


def _plain(name: str) -> str:
    return name.removeprefix("models/").removesuffix(":latest")
