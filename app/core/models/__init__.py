"""The tables. Scores are kept, verdicts are derived, the database is the ledger.

Rows that users list have a growing number (`seq`, the order of creation and the key of pages) and
a public `id`. JSON is stored as ASCII text (`JsonText`). No row is loaded lazily; tables are: of the
modules here, those up to the table that is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from app.core.models.base import Base, Listed, new_id
    from app.core.models.batches import (
        UNFINISHED_BATCH,
        Batch,
        ProviderFile,
        Shard,
        Verdict,
    )
    from app.core.models.data import (
        OVERALL,
        Dataset,
        Label,
        PairRow,
        ReasonRow,
        RecordedScore,
        Score,
    )
    from app.core.models.files import FilePiece, ProviderLine, RejectedLine, StoredFile
    from app.core.models.keys import ApiKey, IdempotencyKey, ServerSecret
    from app.core.models.monitors import Audit, Delivery, Monitor, Shadow, ShadowVerdict
    from app.core.models.people import Finish, Queue, QueueItem, QueueVote
    from app.core.models.results import (
        JUDGE_SETTINGS,
        CalibrationRow,
        CertificateEvidence,
        CertificatePair,
        LabelUse,
        LabelUseMark,
        Leaderboard,
        Report,
    )

# tables refer to tables of the same module or of one before it
_MODULES: Final = ("base", "data", "results", "batches", "files", "keys", "people", "monitors")

__all__ = [
    "JUDGE_SETTINGS",
    "OVERALL",
    "UNFINISHED_BATCH",
    "ApiKey",
    "Audit",
    "Base",
    "Batch",
    "CalibrationRow",
    "CertificateEvidence",
    "CertificatePair",
    "Dataset",
    "Delivery",
    "FilePiece",
    "Finish",
    "IdempotencyKey",
    "Label",
    "LabelUse",
    "LabelUseMark",
    "Leaderboard",
    "Listed",
    "Monitor",
    "PairRow",
    "ProviderFile",
    "ProviderLine",
    "Queue",
    "QueueItem",
    "QueueVote",
    "ReasonRow",
    "RecordedScore",
    "RejectedLine",
    "Report",
    "Score",
    "ServerSecret",
    "Shadow",
    "ShadowVerdict",
    "Shard",
    "StoredFile",
    "Verdict",
    "all_tables",
    "new_id",
]


def __getattr__(name: str) -> Any:
    """Load modules in their order until one has the name: to map all tables takes long."""
    if name in __all__:
        for module in _MODULES:
            known = vars(import_module(f".{module}", __name__))
            if name in known:
                globals()[name] = known[name]
                return known[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def all_tables() -> MetaData:
    """Load every table, and return them."""
    for module in _MODULES:
        import_module(f".{module}", __name__)
    metadata: MetaData = import_module(".base", __name__).Base.metadata
    return metadata
