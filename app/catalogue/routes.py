"""`/judges` and `/cascades`: what is configured, with fingerprints, prices and health."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter

from app.errors import NotFound
from app.identifiers import shown
from app.pagination import After, Limit, Page, page_of
from app.runtime import Running
from judges.base import Judge

catalogue_router = APIRouter(tags=["judges"])


@catalogue_router.get("/judges")
async def list_judges(running: Running, limit: Limit = 100, after: After = None) -> Page:
    """List the configured judges in the order of the configuration."""
    judges = running.registry.judges
    rows = [await _show(judges[name]) for name in _names(judges, limit, after)]
    return page_of(rows, limit, dict)


@catalogue_router.get("/cascades")
async def list_cascades(running: Running, limit: Limit = 100, after: After = None) -> Page:
    """List the configured cascades, judges from cheap to strong."""
    cascades = running.registry.cascades
    rows = [
        {"id": name, "object": "cascade", "name": name, "judges": list(cascades[name])}
        for name in _names(cascades, limit, after)
    ]
    return page_of(rows, limit, dict)


def _names(known: Iterable[str], limit: int, after: str | None) -> list[str]:
    """Return up to `limit + 1` names behind `after`."""
    names = list(known)
    if after is None:
        return names[: limit + 1]
    if after not in names:
        raise NotFound(f"after: there is no {shown(after)} in this list")
    first = names.index(after) + 1
    return names[first : first + limit + 1]


async def _show(judge: Judge) -> dict[str, Any]:
    spec, health = judge.spec, await judge.health()
    return {
        "id": spec.name,
        "object": "judge",
        "name": spec.name,
        "kind": spec.kind,
        "model": spec.model,
        "fingerprint": spec.fingerprint,
        "price_input": spec.price_input,
        "price_output": spec.price_output,
        "training_prompts": len(spec.training_prompts),
        "example_prompts": len(spec.example_prompts),
        "health": {"ready": health.is_ready, "detail": health.detail},
    }
