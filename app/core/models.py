"""The tables. Scores are kept, verdicts are derived, the database is the ledger.

Rows that users list have a growing number (`seq`, the order of creation and the key of pages) and
a public `id`. JSON is stored as ASCII text (`JsonText`). Nothing is loaded lazily.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any, ClassVar, Final

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.core.db import JsonText, UtcTime

# SQLite numbers rows only if the key is exactly INTEGER
Sequence_ = BigInteger().with_variant(Integer, "sqlite")
Name = String(512)
Hash = String(64)


def new_id(prefix: str) -> str:
    """Return a public id that cannot be guessed, such as `cal_5f2c...`."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Base(DeclarativeBase):
    """All tables, with constraint names that migrations can refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {int: Sequence_}


class Listed:
    """Columns of every table that users list."""

    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)


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


class Verdict(Base):
    """The cascade's answer to one pair; `body` is what the user was told, but for `promise`.

    `explained_by` is the fingerprint of the judge whose reason belongs to it.

    A verdict of a batch has the position of its pair in the batch, and there is one of each.
    """

    __tablename__ = "verdicts"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    pair_id: Mapped[str] = mapped_column(Name)
    content_hash: Mapped[str] = mapped_column(Hash)
    dataset_seq: Mapped[int | None] = mapped_column(
        ForeignKey("datasets.seq", ondelete="CASCADE"), index=True
    )
    pair_seq: Mapped[int | None] = mapped_column(
        ForeignKey("pairs.seq", ondelete="CASCADE"), index=True
    )
    certificate_seq: Mapped[int | None] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE"), index=True
    )
    batch_seq: Mapped[int | None] = mapped_column(ForeignKey("batches.seq", ondelete="CASCADE"))
    position: Mapped[int | None]
    status: Mapped[str] = mapped_column(String(16))
    promise: Mapped[str] = mapped_column(String(16))
    body: Mapped[dict[str, Any]] = mapped_column(JsonText)
    explained_by: Mapped[str | None] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    __table_args__ = (
        UniqueConstraint("batch_seq", "position"),
        Index("ix_verdicts_batch", "batch_seq", "status", "seq"),
    )


UNFINISHED_BATCH = ("validating", "in_progress", "finalizing", "cancelling")


class Batch(Listed, Base):
    """A cascade over a dataset.

    `totals` are sums over its finished shards, kept with each that finishes; `open_shards` says how
    many are left. Under a budget `seed` fixes the order in which pairs are admitted; `spent_usd` is
    what was spent, `reserved_usd` what the pairs under way may still cost.
    """

    __tablename__ = "batches"
    status: Mapped[str] = mapped_column(String(16))
    dataset_seq: Mapped[int] = mapped_column(ForeignKey("datasets.seq", ondelete="CASCADE"))
    certificate_seq: Mapped[int | None] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE")
    )
    request: Mapped[dict[str, Any]] = mapped_column(JsonText)
    total: Mapped[int]
    open_shards: Mapped[int] = mapped_column(default=0)
    totals: Mapped[dict[str, Any]] = mapped_column(JsonText, default=dict)
    budget_usd: Mapped[float | None]
    budget_mode: Mapped[str | None] = mapped_column(String(8))
    seed: Mapped[int | None]
    spent_usd: Mapped[float] = mapped_column(default=0.0)
    reserved_usd: Mapped[float] = mapped_column(default=0.0)
    promise: Mapped[str] = mapped_column(String(16))
    suspended_because: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    in_progress_at: Mapped[datetime | None] = mapped_column(UtcTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcTime)
    expires_at: Mapped[datetime] = mapped_column(UtcTime)


class Shard(Base):
    """The pairs of a batch at dataset positions `[first, last)`, and who works on it until when.

    Under a budget these are places in the order of admission instead. `state`: `todo` (free, or
    leased while `leased_until` lies ahead), `done`, `failed` (set aside after too many attempts),
    `cancelled`. `reserved_usd` is what the worker that has it may still spend. `so_far` is what its
    pairs have come to while it is `todo`, stored with every checkpoint; `counts` holds it once the
    shard has ended.

    A shard `is_waiting` while it is `todo` and some of its pairs wait for a provider's batch; no
    worker has it then. It had `lines_seen` answers when it was put off the last time, None where it
    never was; `held_usd` is what those pairs may still cost, and `kept` holds the failures of
    judges, which are not asked again.
    """

    __tablename__ = "shards"
    batch_seq: Mapped[int] = mapped_column(
        ForeignKey("batches.seq", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    first: Mapped[int]
    last: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    worker: Mapped[str | None] = mapped_column(String(128))
    leased_until: Mapped[datetime | None] = mapped_column(UtcTime)
    attempts: Mapped[int] = mapped_column(SmallInteger)
    error: Mapped[str | None] = mapped_column(Text)
    reserved_usd: Mapped[float] = mapped_column(default=0.0)
    counts: Mapped[dict[str, Any]] = mapped_column(JsonText)
    so_far: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    is_waiting: Mapped[bool] = mapped_column(default=False, server_default=false())
    lines_seen: Mapped[int | None]
    held_usd: Mapped[float] = mapped_column(default=0.0, server_default="0")
    kept: Mapped[list[dict[str, Any]] | None] = mapped_column(JsonText)
    __table_args__ = (
        Index("ix_shards_state", "state", "batch_seq", "number"),
        # few shards are under way at a time, and every look at a batch reads them
        Index(
            "ix_shards_so_far", "batch_seq",
            # on PostgreSQL it is partial by its migration: `postgresql_where` here would load that
            # dialect in every process
            sqlite_where=text("so_far IS NOT NULL"),
        ),
    )  # fmt: skip


class ProviderFile(Base):
    """A file of questions of one batch and one judge, and the provider's batch that answers it.

    `state`: `sealed` (its lines are settled), `creating` (the provider may have made its batch, or
    not), `sent`, `ended`. `mark` finds the provider's batch again. `status` is the provider's own.
    `holder` works on it until `held_until`; it is looked at again at `next_at`. `attempts` counts
    requests in a row that failed.
    """

    __tablename__ = "provider_files"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    batch_seq: Mapped[int] = mapped_column(
        ForeignKey("batches.seq", ondelete="CASCADE"), index=True
    )
    judge: Mapped[str] = mapped_column(Name)
    state: Mapped[str] = mapped_column(String(16))
    mark: Mapped[str] = mapped_column(String(64), unique=True)
    file_id: Mapped[str | None] = mapped_column(Text)
    provider_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str | None] = mapped_column(Text)
    lines: Mapped[int]
    answered: Mapped[int] = mapped_column(default=0)
    left_out: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    is_cancelled: Mapped[bool] = mapped_column(default=False)
    holder: Mapped[str | None] = mapped_column(String(128))
    held_until: Mapped[datetime | None] = mapped_column(UtcTime)
    next_at: Mapped[datetime] = mapped_column(UtcTime)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    __table_args__ = (Index("ix_provider_files_state", "state", "next_at"),)


class ProviderLine(Base):
    """A question of a shard that a provider answers in a batch.

    `state`: `queued` (in no file yet), `waiting` (in one), `answered`, `left_out` (not answered and
    not billed: it is asked directly), `lost` (nobody knows). `question` is the same in every
    `round`, and the latest round counts. `body` is kept until the provider has taken the file.
    """

    __tablename__ = "provider_lines"
    batch_seq: Mapped[int] = mapped_column(
        ForeignKey("batches.seq", ondelete="CASCADE"), primary_key=True
    )
    shard: Mapped[int] = mapped_column(primary_key=True)
    question: Mapped[str] = mapped_column(String(32), primary_key=True)
    round: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    judge: Mapped[str] = mapped_column(Name)
    file_seq: Mapped[int | None] = mapped_column(
        ForeignKey("provider_files.seq", ondelete="CASCADE"), index=True
    )
    state: Mapped[str] = mapped_column(String(16))
    body: Mapped[str | None] = mapped_column(Text)
    bytes: Mapped[int]
    flags: Mapped[list[str]] = mapped_column(JsonText)
    status: Mapped[int | None]
    answer: Mapped[Any] = mapped_column(JsonText, nullable=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    # every look asks which are queued
    __table_args__ = (Index("ix_provider_lines_state", "state", "batch_seq", "judge"),)


class Queue(Listed, Base):
    """Pairs that wait for the labels of people, and how these are to be given.

    `options` holds what else was asked for.
    """

    __tablename__ = "queues"
    name: Mapped[str] = mapped_column(Name, unique=True)
    dataset_seq: Mapped[int] = mapped_column(
        ForeignKey("datasets.seq", ondelete="CASCADE"), index=True
    )
    purpose: Mapped[str] = mapped_column(String(16))
    votes_per_pair: Mapped[int] = mapped_column(SmallInteger)
    options: Mapped[dict[str, Any]] = mapped_column(JsonText)


class QueueItem(Base):
    """A pair of a queue: its place in the order of serving, and the votes it has and needs.

    `probability` is that with which it was drawn among all that could have been; NULL where the
    pairs labelled so far are at any time a uniform sample.
    """

    __tablename__ = "queue_items"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    queue_seq: Mapped[int] = mapped_column(ForeignKey("queues.seq", ondelete="CASCADE"))
    pair_seq: Mapped[int] = mapped_column(ForeignKey("pairs.seq", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    probability: Mapped[float | None]
    votes: Mapped[int] = mapped_column(SmallInteger)
    wanted: Mapped[int] = mapped_column(SmallInteger)
    is_open: Mapped[bool]
    __table_args__ = (
        UniqueConstraint("queue_seq", "position"),
        Index("ix_queue_items_is_open", "queue_seq", "is_open", "position"),
    )


class QueueVote(Base):
    """What one person does with an item; there is one for each person and item.

    `state`: `claimed` (until `lease_until`, then anybody may have the item), `answered`, `skipped`,
    or `spare`: an answer that came when the item had its votes already, which is kept and counts
    nothing. `left_is` is the response that was shown on the left.
    """

    __tablename__ = "queue_votes"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    item_seq: Mapped[int] = mapped_column(ForeignKey("queue_items.seq", ondelete="CASCADE"))
    annotator: Mapped[str] = mapped_column(Name)
    left_is: Mapped[str] = mapped_column(String(1))
    state: Mapped[str] = mapped_column(String(16))
    said: Mapped[str | None] = mapped_column(String(8))
    details: Mapped[dict[str, Any]] = mapped_column(JsonText)
    claimed_at: Mapped[datetime] = mapped_column(UtcTime)
    lease_until: Mapped[datetime] = mapped_column(UtcTime)
    answered_at: Mapped[datetime | None] = mapped_column(UtcTime)
    __table_args__ = (UniqueConstraint("item_seq", "annotator"),)


class Monitor(Listed, Base):
    """A watch on a certificate: a random share of its verdicts is audited by people.

    `state` is what the statistics remember, `secret` draws the audits, `signing` signs webhooks.
    `canaries` is what is known of its judges, and `canary_at` when one is asked next, if one is.
    """

    __tablename__ = "monitors"
    certificate_seq: Mapped[int] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE"), index=True
    )
    queue_seq: Mapped[int] = mapped_column(ForeignKey("queues.seq", ondelete="CASCADE"), index=True)
    status: Mapped[str] = mapped_column(String(16))
    options: Mapped[dict[str, Any]] = mapped_column(JsonText)
    state: Mapped[dict[str, Any]] = mapped_column(JsonText)
    history: Mapped[list[dict[str, Any]]] = mapped_column(JsonText)
    alarm: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    secret: Mapped[str] = mapped_column(String(64))
    signing: Mapped[str] = mapped_column(String(64))
    canaries: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    canary_at: Mapped[datetime | None] = mapped_column(UtcTime, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)


class Audit(Base):
    """A verdict that was drawn for a monitor.

    `unit` is what no two audits of a monitor share: a prompt, and the batch or the day. `loss` is
    NULL until the answers are there (`is_observed`), and where they say nothing of the verdict.
    """

    __tablename__ = "audits"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    monitor_seq: Mapped[int] = mapped_column(ForeignKey("monitors.seq", ondelete="CASCADE"))
    verdict_seq: Mapped[int] = mapped_column(
        ForeignKey("verdicts.seq", ondelete="CASCADE"), index=True
    )
    item: Mapped[str] = mapped_column(String(64), unique=True)
    unit: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(16))
    said: Mapped[str | None] = mapped_column(String(4))
    slice: Mapped[str | None] = mapped_column(Name)
    probability: Mapped[float]
    is_observed: Mapped[bool]
    loss: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    __table_args__ = (
        UniqueConstraint("monitor_seq", "unit"),
        Index("ix_audits_is_observed", "monitor_seq", "is_observed"),
    )


class Delivery(Base):
    """A message to a webhook, sent until it is taken; its `id` is the same each time."""

    __tablename__ = "deliveries"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    monitor_seq: Mapped[int] = mapped_column(
        ForeignKey("monitors.seq", ondelete="CASCADE"), index=True
    )
    body: Mapped[dict[str, Any]] = mapped_column(JsonText)
    attempts: Mapped[int] = mapped_column(SmallInteger)
    next_at: Mapped[datetime | None] = mapped_column(UtcTime, index=True)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcTime)
    error: Mapped[str | None] = mapped_column(Text)


class Finish(Listed, Base):
    """A dataset on its way to a verdict on every row.

    `queue_seq` is the queue of the sample first, then of what the judges left.
    """

    __tablename__ = "finishes"
    status: Mapped[str] = mapped_column(String(16))
    dataset_seq: Mapped[int] = mapped_column(
        ForeignKey("datasets.seq", ondelete="CASCADE"), index=True
    )
    certificate_seq: Mapped[int | None] = mapped_column(
        ForeignKey("certificates.seq", ondelete="SET NULL"), index=True
    )
    batch_seq: Mapped[int | None] = mapped_column(
        ForeignKey("batches.seq", ondelete="SET NULL"), index=True
    )
    queue_seq: Mapped[int | None] = mapped_column(
        ForeignKey("queues.seq", ondelete="SET NULL"), index=True
    )
    request: Mapped[dict[str, Any]] = mapped_column(JsonText)
    error: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)


class Shadow(Listed, Base):
    """A candidate that judges a share of a certificate's traffic and decides nothing.

    `options` holds what was asked for and the fingerprints of its judges; `secret` draws the pairs.
    """

    __tablename__ = "shadows"
    certificate_seq: Mapped[int] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE"), index=True
    )
    status: Mapped[str] = mapped_column(String(16))
    options: Mapped[dict[str, Any]] = mapped_column(JsonText)
    secret: Mapped[str] = mapped_column(String(64))
    spent_usd: Mapped[float]
    error: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)


class ShadowVerdict(Base):
    """What a candidate says of a pair beside the verdict that was given.

    `content` holds the texts until the candidate has judged them, and NULL then. `present` is what
    was said and what it costs to ask, `said` the same of the candidate.
    """

    __tablename__ = "shadow_verdicts"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    shadow_seq: Mapped[int] = mapped_column(ForeignKey("shadows.seq", ondelete="CASCADE"))
    verdict_seq: Mapped[int] = mapped_column(
        ForeignKey("verdicts.seq", ondelete="CASCADE"), index=True
    )
    pair_seq: Mapped[int | None]
    prompt: Mapped[str] = mapped_column(Hash)
    in_share: Mapped[bool]
    content: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    present: Mapped[dict[str, Any]] = mapped_column(JsonText)
    said: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    leased_until: Mapped[datetime | None] = mapped_column(UtcTime)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    __table_args__ = (UniqueConstraint("shadow_seq", "verdict_seq"),)


class ApiKey(Listed, Base):
    """A key, by its hash; the key itself is shown once and never stored."""

    __tablename__ = "api_keys"
    name: Mapped[str] = mapped_column(Name)
    prefix: Mapped[str] = mapped_column(String(16), index=True)
    key_hash: Mapped[str] = mapped_column(Hash, unique=True)
    scopes: Mapped[list[str]] = mapped_column(JsonText, server_default='["admin"]')
    annotator: Mapped[str | None] = mapped_column(Name)
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)


class IdempotencyKey(Base):
    """The first answer to a request that carried an `Idempotency-Key`.

    `caller` is the id of the API key that the request came with, empty where none was needed.
    `status` is NULL while the request is being answered by `holder`, who counts `beat` up as long
    as it lives.
    """

    __tablename__ = "idempotency_keys"
    caller: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(Hash)
    holder: Mapped[str | None] = mapped_column(String(32))
    beat: Mapped[int] = mapped_column(server_default="0")
    status: Mapped[int | None]
    location: Mapped[str | None] = mapped_column(Text)
    body: Mapped[Any] = mapped_column(JsonText, nullable=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    kept_until: Mapped[datetime] = mapped_column(UtcTime, index=True)


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


class StoredFile(Listed, Base):
    """An uploaded file of requests; its accepted lines are the pairs of a dataset of its own."""

    __tablename__ = "files"
    purpose: Mapped[str] = mapped_column(String(32))
    filename: Mapped[str] = mapped_column(Name)
    bytes: Mapped[int]
    content_hash: Mapped[str] = mapped_column(Hash)
    dataset_seq: Mapped[int | None] = mapped_column(
        ForeignKey("datasets.seq", ondelete="SET NULL"), index=True
    )


class FilePiece(Base):
    """A piece of a file's content, compressed by zlib on its own."""

    __tablename__ = "file_pieces"
    file_seq: Mapped[int] = mapped_column(
        ForeignKey("files.seq", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class RejectedLine(Base):
    """A line of a file that is no request; it stays as long as batches on the others do."""

    __tablename__ = "rejected_lines"
    dataset_seq: Mapped[int] = mapped_column(
        ForeignKey("datasets.seq", ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(primary_key=True)
    custom_id: Mapped[str | None] = mapped_column(JsonText)
    reason: Mapped[str] = mapped_column(Text)


class ServerSecret(Base):
    """The secrets that no setting gives: what keys are hashed with, and what signs certificates."""

    __tablename__ = "server_secrets"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))
