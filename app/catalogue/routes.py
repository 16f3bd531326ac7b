"""`/judges` and `/cascades`: what is configured, with fingerprints, prices and health."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.pagination import Page
from app.runtime import Running
from judges.base import Judge

router = APIRouter(tags=["judges"])


@router.get("/judges")
async def list_judges(running: Running) -> Page:
    """List the configured judges."""
    data = [await _show(judge) for judge in running.registry.judges.values()]
    return _page(data)


@router.get("/cascades")
async def list_cascades(running: Running) -> Page:
    """List the configured cascades, judges from cheap to strong."""
    data = [
        {"id": name, "object": "cascade", "name": name, "judges": list(judges)}
        for name, judges in running.registry.cascades.items()
    ]
    return _page(data)


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


def _page(data: list[dict[str, Any]]) -> Page:
    ids = [row["id"] for row in data]
    return Page(
        data=data, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None,
        has_more=False,
    )  # fmt: skip
