"""The tables. Scores are kept, verdicts are derived, the database is the ledger.

Rows that users list have a growing number (`seq`, the order of creation and the key of pages) and
a public `id`. JSON is stored as ASCII text (`JsonText`). Nothing is loaded lazily.
"""

from __future__ import annotations

from app.core.models.base import Base, Listed, new_id
from app.core.models.batches import (
    UNFINISHED_BATCH,
    Batch,
    FilePiece,
    ProviderFile,
    ProviderLine,
    RejectedLine,
    Shard,
    StoredFile,
    Verdict,
)
from app.core.models.data import OVERALL, Dataset, Label, PairRow, ReasonRow, RecordedScore, Score
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
    "new_id",
]
