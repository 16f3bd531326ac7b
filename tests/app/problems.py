"""What every refusal must look like."""

from __future__ import annotations

from typing import Any

import httpx


def fault_of(response: httpx.Response) -> str | None:
    """Return what is wrong with an answer as an answer, None where nothing is."""
    if response.status_code >= 500:
        return "a server error"
    if response.status_code < 400 or response.request.method == "HEAD":
        return None
    if response.headers.get("content-type") != "application/problem+json":
        return f"a refusal of type {response.headers.get('content-type')}"
    body: dict[str, Any] = response.json()
    if not {"type", "title", "status", "detail"} <= body.keys():
        return "a member of a problem is missing"
    if body["status"] != response.status_code:
        return "the body names another status"
    if any(set(error) != {"loc", "msg"} for error in body.get("errors", [])):
        return "errors are not {loc, msg}"
    return None


def assert_answered(response: httpx.Response, what: object = "") -> None:
    """Check that a request was answered or refused as the service promises."""
    fault = fault_of(response)
    assert fault is None, f"{what!r}: {response.status_code} {fault}: {response.text[:300]}"
