"""Posted pairs as a batch: for a request that would rather not wait for its verdicts."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

from app.batches import creating
from app.batches.schemas import BatchIn
from app.datasets.bodies import BodyKind
from app.datasets.importing import Wanted, import_dataset
from app.judgments.rows import canonical_row
from app.judgments.schemas import JudgmentsIn
from app.judgments.service import subjects_of
from app.runtime import Runtime


async def batch_of(
    running: Runtime, request: JudgmentsIn, rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Store posted rows as a dataset named by their hash, and start a batch over it.

    Raises:
        Unprocessable: as for a request that is answered at once.
    """
    subjects_of(request.pairs, running.registry)
    lines = b"".join(json.dumps(canonical_row(row)).encode("ascii") + b"\n" for row in rows)
    name = f"judgments-{hashlib.sha256(lines).hexdigest()[:24]}"
    imported = await import_dataset(
        running.db,
        io.BytesIO(lines),
        BodyKind("application/x-ndjson"),
        Wanted(name, "canonical", is_strict=True, spool_dir=running.settings.spool_dir),
        running.now(),
    )
    wanted = BatchIn(
        dataset=imported.dataset.id, calibration=request.calibration, cascade=request.cascade
    )
    return await creating.create(running, wanted)
