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
    """Return what is wrong with the files that encryption needs."""
    # a client reads the first of these that is set; a folder that is missing stops none
    named = ("SSL_CERT_FILE", environ.get("SSL_CERT_FILE"))
    try:
        if named[1]:
            _authorities_of(named[1])
        named = ("SSLKEYLOGFILE", environ.get("SSLKEYLOGFILE"))  # opened by every client
        if named[1]:
            with open(named[1], "ab"):
                pass
    except OSError as error:  # an SSLError is one
        why = error.strerror or "it holds no certificates"
        return (
            f"the environment variable {named[0]} names {named[1]!r}, which cannot be used: {why}"
        )
    return None


def _authorities_of(path: str) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)


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
    try:
        httpx.URL(_pattern(host))
    except httpx.InvalidURL:
        return False
    return True


def _pattern(host: str) -> str:
    """Return the pattern that httpx makes of a host; a name also stands for those below it."""
    if "://" in host:
        return host
    try:
        version = ipaddress.ip_address(host.partition("/")[0]).version
    except ValueError:
        return f"all://{host}" if host.lower() == "localhost" else f"all://*{host}"
    return f"all://[{host}]" if version == 6 else f"all://{host}"
