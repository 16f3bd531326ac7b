"""Tables of datasets: pairs, the labels of people, and what judges say of pairs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import JsonText, UtcTime
from app.core.models.base import Base, Hash, Listed, Name, Sequence_

# the criterion of labels that name none
OVERALL: Final = "overall"


class Dataset(Listed, Base):
    """An imported set of pairs; `content_hash` covers pairs and recorded scores, not labels."""

    __tablename__ = "datasets"
    name: Mapped[str] = mapped_column(Name, unique=True)
    dialect: Mapped[str] = mapped_column(String(64))
    content_hash: Mapped[str] = mapped_column(Hash)
    pairs: Mapped[int]
    groups: Mapped[int]
    labels: Mapped[int]
    annotators: Mapped[int]
    recorded_judges: Mapped[list[str]] = mapped_column(JsonText)
    rejected: Mapped[list[dict[str, Any]]] = mapped_column(JsonText)
    rejected_count: Mapped[int]


class PairRow(Base):
    """One pair.

    `content` holds the texts (`{conversation, responses_a, responses_b, criterion}`). It is NULL
    for a battle: two models and labels without texts, which judges never see.
    `swapped_hash` is the content hash of the pair with its responses exchanged.
    """

    __tablename__ = "pairs"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    dataset_seq: Mapped[int] = mapped_column(ForeignKey("datasets.seq", ondelete="CASCADE"))
    position: Mapped[int]
    id: Mapped[str] = mapped_column(Name)
    content: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    content_hash: Mapped[str | None] = mapped_column(Hash)
    swapped_hash: Mapped[str | None] = mapped_column(Hash)
    prompt_hash: Mapped[str | None] = mapped_column(Hash)
    group: Mapped[str] = mapped_column("group_key", Name)
    model_a: Mapped[str | None] = mapped_column(Name)
    model_b: Mapped[str | None] = mapped_column(Name)
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JsonText)
    __table_args__ = (
        UniqueConstraint("dataset_seq", "id"),
        UniqueConstraint("dataset_seq", "position"),
        Index("ix_pairs_prompt", "dataset_seq", "prompt_hash", "position"),
        Index("ix_pairs_group", "dataset_seq", "group_key", "position"),
    )


class Label(Base):
    """A person's answer. A replaced label stays, with the moment it was replaced."""

    __tablename__ = "labels"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    pair_seq: Mapped[int] = mapped_column(ForeignKey("pairs.seq", ondelete="CASCADE"), index=True)
    annotator: Mapped[str | None] = mapped_column(Name)
    label: Mapped[str] = mapped_column(String(4))
    criterion: Mapped[str] = mapped_column(Name)
    details: Mapped[dict[str, Any]] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    replaced_at: Mapped[datetime | None] = mapped_column(UtcTime)


class ScoreColumns:
    """A score of one judge on one pair, see `judges.types.Score`."""

    judge: Mapped[str] = mapped_column(Name)
    fingerprint: Mapped[str] = mapped_column(Name)
    p_a: Mapped[float | None]
    p_tie: Mapped[float | None]
    annotators: Mapped[list[list[float | None]]] = mapped_column(JsonText)
    rating_a: Mapped[float | None]
    rating_b: Mapped[float | None]
    outside_mass: Mapped[float | None]
    failure: Mapped[str | None] = mapped_column(String(32))
    failure_detail: Mapped[str | None] = mapped_column(Text)
    flags: Mapped[list[str]] = mapped_column(JsonText)
    usage: Mapped[dict[str, int]] = mapped_column(JsonText)
    cost_usd: Mapped[float | None]
    seconds: Mapped[float | None]


class RecordedScore(ScoreColumns, Base):
    """A score that came with a pair; it belongs to that pair of that dataset alone."""

    __tablename__ = "recorded_scores"
    pair_seq: Mapped[int] = mapped_column(
        ForeignKey("pairs.seq", ondelete="CASCADE"), primary_key=True
    )
    judge: Mapped[str] = mapped_column(Name, primary_key=True)


class Score(ScoreColumns, Base):
    """A score that the service obtained, found again by content and fingerprint.

    For a symmetric judge `content_hash` is the smaller of the hashes of both orders, so one row
    serves a pair and its mirror image. `batch_seq` and `shard` name the shard that it was obtained
    for, if for one; the batch may be gone.
    """

    __tablename__ = "scores"
    content_hash: Mapped[str] = mapped_column(Hash, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Name, primary_key=True)
    batch_seq: Mapped[int | None]
    shard: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcTime)


class ReasonRow(Base):
    """Why a judge prefers a response, in its own words, see `judges.reasons.Reason`.

    `content_hash` is that of the pair as posted: the words name the responses by their places.
    """

    __tablename__ = "reasons"
    content_hash: Mapped[str] = mapped_column(Hash, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Name, primary_key=True)
    judge: Mapped[str] = mapped_column(Name)
    label: Mapped[str] = mapped_column(String(4))
    text: Mapped[str | None] = mapped_column(Text)
    flags: Mapped[list[str]] = mapped_column(JsonText)
    failure: Mapped[str | None] = mapped_column(String(32))
    failure_detail: Mapped[str | None] = mapped_column(Text)
    usage: Mapped[dict[str, int]] = mapped_column(JsonText)
    cost_usd: Mapped[float | None]
    batch_seq: Mapped[int | None]
    shard: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcTime)
