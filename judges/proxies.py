"""Checks the variables of the environment that HTTP clients read, before they do.

They name proxies and certificates. A client fails in its constructor where one of them cannot be
used, with an error that names no variable and may show a proxy's password.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Final

import httpx

_NAMES: Final = ("http_proxy", "https_proxy", "all_proxy")
_SCHEMES: Final = "http, https, socks5 or socks5h"


def proxy_problem(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return which variable cannot be used and why, without a proxy's value; None if all can."""
    if (problem := _certificate_problem(environ)) is not None:
        return problem
    for name, value in environ.items():
        if name.lower() in _NAMES and value and (why := _why(value)):
            return f"the environment variable {name} {why}"
    for name, value in environ.items():
        if name.lower() == "no_proxy" and (host := _unusable_host(value)):
            return (
                f"the environment variable {name} holds {host!r}, which is no host name or address"
                " (networks cannot be given here)"
            )
    return None


def certificates() -> ssl.SSLContext:
    """Return the authorities that are trusted; reading them takes long, so all clients share them."""
    return _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=2)
def _trusted(file: str | None, folder: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()  # which reads these two variables


def _certificate_problem(environ: Mapping[str, str]) -> str | None:
    """Return what is wrong with the certificates that clients are to trust."""
    # a client reads the first of these that is set; a folder that is missing stops none
    path = environ.get("SSL_CERT_FILE")
    if not path:
        return None
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError is one
        why = error.strerror or "it holds no certificates"
        return f"the environment variable SSL_CERT_FILE names {path!r}, which cannot be used: {why}"
    return None


def _why(value: str) -> str | None:
    url = value if "://" in value else f"http://{value}"
    try:
        scheme = httpx.Proxy(url).url.scheme
    except (ValueError, httpx.InvalidURL):
        return f"is no proxy that can be used: write it as a URL with {_SCHEMES}"
    if scheme.startswith("socks") and find_spec("socksio") is None:
        return (
            "asks for a SOCKS proxy, which needs the package socksio (pip install 'httpx[socks]')"
        )
    return None


def _unusable_host(value: str) -> str | None:
    hosts = [host.strip() for host in value.split(",")]
    if "*" in hosts:
        return None
    return next((host for host in hosts if host and not _is_usable(host)), None)


def _is_usable(host: str) -> bool:
    """Return whether a client can make a pattern of a host, as it will for each of them."""
    pattern = host if "://" in host else f"all://{f'[{host}]' if _is_ipv6(host) else host}"
    try:
        httpx.URL(pattern)
    except httpx.InvalidURL:
        return False
    return True


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host.partition("/")[0])
    except ValueError:
        return False
    return True
