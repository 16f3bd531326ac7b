"""A dataset small enough to compute every figure by hand, and a certificate for it."""

from __future__ import annotations

import json
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import select

from app.core.models import CalibrationRow, CertificatePair, Dataset, PairRow, new_id
from app.core.runtime import Runtime, now
from judges.recorded import recorded_fingerprint

Row = dict[str, Any]


def _votes(text: str) -> list[Row]:
    """`1a 2b -tie`: annotator 1 said a, annotator 2 b, somebody unknown tie."""
    return [
        {"annotator": None if vote[0] == "-" else f"ann{vote[0]}", "label": vote[1:]}
        for vote in text.split()
    ]


def _row(name: str, models: str, votes: str, dear: str, cheap: float, **more: Any) -> Row:
    original, swapped = (None if label == "-" else label for label in dear.split())
    return {
        "id": name,
        "prompt": more.get("prompt", f"question {name}"),
        "response_a": f"first of {name}",
        "response_b": f"second of {name}",
        "model_a": models[0],
        "model_b": models[1],
        "group": more["group"],
        "human": _votes(votes),
        "judges": {
            "dear": {"label_original": original, "label_swapped": swapped, "cost": 1.0},
            "cheap": {"p_a": cheap, "cost": 0.1},
        },
        "metadata": {"task": more["task"]},
    }


ROWS = [
    _row("p1", "xy", "1a 2a 3a", "a a", 0.8, group="g1", task="t1", prompt="shared"),
    _row("p2", "xy", "1a 2b", "a b", 0.6, group="g1", task="t1"),
    _row("p3", "yz", "1b 2b 3tie", "b b", 0.4, group="g2", task="t1"),
    _row("p4", "yz", "1tie 2tie", "tie tie", 0.55, group="g2", task="t2"),
    _row("p5", "xz", "1a", "b b", 0.1, group="g3", task="t2"),
    _row("p6", "xz", "1b 2b", "- -", 0.2, group="g3", task="t2"),
    _row("p7", "zx", "-a -a", "a -", 0.5, group="g4", task="t2"),
    _row("p8", "xy", "", "b b", 0.3, group="g4", task="t2", prompt="shared"),
]


async def upload(client: httpx.AsyncClient, rows: list[Row], name: str = "hand") -> Row:
    """Import rows and return the answer."""
    body = "\n".join(json.dumps(row) for row in rows)
    answer = await client.post(
        "/v1/datasets",
        params={"name": name},
        content=body,
        headers={"content-type": "application/x-ndjson"},
    )
    assert answer.status_code == 201, answer.text
    made: Row = answer.json()
    assert made["rejected"] == []
    return made


async def certify(
    service: FastAPI, dataset: str, pairs: tuple[str, ...] = ("p1",), **changes: Any
) -> str:
    """Store a certificate made from `pairs`: cheap answers from .75, dear from .9."""
    running: Runtime = service.state.runtime
    async with running.db.write() as session:
        owner = (await session.scalars(select(Dataset).where(Dataset.name == dataset))).one()
        certificate = CalibrationRow(
            id=new_id("cal"),
            status="certified",
            dataset_seq=owner.seq,
            request={"ties": "exclude", "slices": changes.get("slices")},
            body={
                "target_agreement": 0.8,
                "failure_probability": 0.1,
                "thresholds": _thresholds(0.75, 0.9),
                "fingerprints": {name: recorded_fingerprint(name) for name in ("cheap", "dear")},
                **changes.get("body", {}),
            },
            label_set_hash="0" * 64,
            error=None,
            created_at=now(),
            revoked_at=changes.get("revoked_at"),
        )
        session.add(certificate)
        await session.flush()
        found = await session.scalars(
            select(PairRow).where(PairRow.dataset_seq == owner.seq, PairRow.id.in_(pairs))
        )
        session.add_all(
            CertificatePair(certificate_seq=certificate.seq, pair_seq=pair.seq) for pair in found
        )
    return certificate.id


def _thresholds(cheap: float | None, dear: float | None) -> list[Row]:
    return [{"judge": "cheap", "threshold": cheap}, {"judge": "dear", "threshold": dear}]


def sliced_certificate(**by_slice: tuple[float | None, float | None]) -> Row:
    """Return the changes that give a certificate its own thresholds for each task."""
    parts = [
        {"slice": name, "thresholds": _thresholds(*limits)} for name, limits in by_slice.items()
    ]
    return {"slices": "metadata.task", "body": {"certificates": parts}}
