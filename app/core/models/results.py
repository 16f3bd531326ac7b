"""Tables of what is made from labels and verdicts: certificates, leaderboards, reports."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, SmallInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import JsonText, UtcTime
from app.core.models.base import Base, Hash, Listed, Sequence_

# where the body of a certificate keeps the settings of its judges, which are not shown
JUDGE_SETTINGS: Final = "judge_settings"


class CalibrationRow(Listed, Base):
    """A calibration: its request (`request`) and its result (`body`).

    `attempts` counts the processes that made it, without those that were asked to stop. `imported`
    says where it came from, if it was made elsewhere. `supersedes` is the id of its predecessor, which
    may be unknown here.
    """

    __tablename__ = "certificates"
    status: Mapped[str] = mapped_column(String(32))
    dataset_seq: Mapped[int] = mapped_column(ForeignKey("datasets.seq", ondelete="CASCADE"))
    request: Mapped[dict[str, Any]] = mapped_column(JsonText)
    body: Mapped[dict[str, Any]] = mapped_column(JsonText)
    label_set_hash: Mapped[str | None] = mapped_column(Hash, index=True)
    error: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)
    suspended_because: Mapped[str | None] = mapped_column(Text)
    imported: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    supersedes: Mapped[str | None] = mapped_column(String(64), index=True)


class CertificateEvidence(Base):
    """What a certificate was made from, as `app.calibrations.evidence` writes it.

    `label_uses` counts the tests of its labels up to its own.
    """

    __tablename__ = "certificate_evidence"
    certificate_seq: Mapped[int] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE"), primary_key=True
    )
    evidence: Mapped[dict[str, Any]] = mapped_column(JsonText)
    label_uses: Mapped[dict[str, Any]] = mapped_column(JsonText)


class CertificatePair(Base):
    """A pair whose labels a certificate was made from, used or not: never a test of it."""

    __tablename__ = "certificate_pairs"
    certificate_seq: Mapped[int] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE"), primary_key=True
    )
    pair_seq: Mapped[int] = mapped_column(
        ForeignKey("pairs.seq", ondelete="CASCADE"), primary_key=True, index=True
    )


class LabelUse(Base):
    """A test of labels; it stays when the dataset and the certificate are gone."""

    __tablename__ = "label_uses"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    request_hash: Mapped[str] = mapped_column(Hash, unique=True)
    is_plan: Mapped[bool]
    failure_probability: Mapped[float]


class LabelUseMark(Base):
    """One of the content hashes by which the labels of a test are known again."""

    __tablename__ = "label_use_marks"
    use_seq: Mapped[int] = mapped_column(
        ForeignKey("label_uses.seq", ondelete="CASCADE"), primary_key=True
    )
    mark: Mapped[str] = mapped_column(Hash, primary_key=True, index=True)


class Leaderboard(Listed, Base):
    """A stored leaderboard."""

    __tablename__ = "leaderboards"
    dataset_seq: Mapped[int] = mapped_column(ForeignKey("datasets.seq", ondelete="CASCADE"))
    request: Mapped[dict[str, Any]] = mapped_column(JsonText)
    body: Mapped[dict[str, Any]] = mapped_column(JsonText)


class Report(Listed, Base):
    """A stored agreement report; the same inputs (`inputs_hash`) give the same report.

    `kind` is `agreement` or `batch`, `status` one of `pending`, `running`, `completed`, `failed`.
    `attempts` counts the processes that made it, without those that were asked to stop.
    """

    __tablename__ = "reports"
    kind: Mapped[str] = mapped_column(String(16), server_default="agreement")
    status: Mapped[str] = mapped_column(String(16), server_default="completed")
    error: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    dataset_seq: Mapped[int] = mapped_column(ForeignKey("datasets.seq", ondelete="CASCADE"))
    inputs_hash: Mapped[str] = mapped_column(Hash, unique=True)
    request: Mapped[dict[str, Any]] = mapped_column(JsonText)
    body: Mapped[dict[str, Any]] = mapped_column(JsonText)
