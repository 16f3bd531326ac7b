"""All that a report depends on, and the hash that says when two reports rest on the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from app.reports.gathering import Gathered
from app.reports.schemas import AgreementIn

PACKAGE: Final = "tribunal-judge"
# counts up when a figure gets another definition: stored reports keep theirs
REVISION: Final = 2


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a report says that it rests on, and the hash of that and of the scores."""

    rests_on: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, gathered: Gathered, request: AgreementIn) -> Inputs:
        """Describe what was gathered."""
        rests_on = _rests_on(gathered, request)
        digest = _hash(rests_on, gathered)
        return cls({**rests_on, "inputs_hash": digest}, digest)


def _rests_on(gathered: Gathered, request: AgreementIn) -> dict[str, Any]:
    return {
        "dataset_id": gathered.dataset.id,
        "dataset_content_hash": gathered.dataset.content_hash,
        "label_set_hash": gathered.label_set_hash,
        "calibration": gathered.calibration,
        "fingerprints": gathered.fingerprints,
        "judges": list(gathered.panel.judged.names),
        "own": sorted(set(request.own)),
        "part": request.part,
        "group_by": request.group_by,
        "include": sorted(set(request.include)),
        "epsilon": request.epsilon,
        "seed": request.seed,
        "confidence_level": request.confidence_level,
        "version": version(PACKAGE),
        "revision": REVISION,
    }


def _hash(rests_on: dict[str, Any], gathered: Gathered) -> str:
    """Scores count, too: more of them may be stored than last time."""
    digest = hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode("ascii"))
    for part in (gathered.panel.judged, gathered.panel.cascade):
        if part is None:
            continue
        for column in fields(part):
            if column.name != "names":
                digest.update(np.ascontiguousarray(getattr(part, column.name)).tobytes())
    return digest.hexdigest()
