"""Queues of pairs that people label.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = app.core.db.UtcTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "queues",
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("dataset_seq", _NUMBER, nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("votes_per_pair", sa.SmallInteger(), nullable=False),
        sa.Column("options", app.core.db.JsonText(), nullable=False),
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_seq"],
            ["datasets.seq"],
            name=op.f("fk_queues_dataset_seq_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_queues")),
        sa.UniqueConstraint("id", name=op.f("uq_queues_id")),
        sa.UniqueConstraint("name", name=op.f("uq_queues_name")),
    )
    op.create_index("ix_queues_dataset_seq", "queues", ["dataset_seq"])
    op.create_table(
        "queue_items",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("queue_seq", _NUMBER, nullable=False),
        sa.Column("pair_seq", _NUMBER, nullable=False),
        sa.Column("position", _NUMBER, nullable=False),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("votes", sa.SmallInteger(), nullable=False),
        sa.Column("wanted", sa.SmallInteger(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["queue_seq"],
            ["queues.seq"],
            name=op.f("fk_queue_items_queue_seq_queues"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["pair_seq"],
            ["pairs.seq"],
            name=op.f("fk_queue_items_pair_seq_pairs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_queue_items")),
        sa.UniqueConstraint("id", name=op.f("uq_queue_items_id")),
        sa.UniqueConstraint(
            "queue_seq", "position", name=op.f("uq_queue_items_queue_seq_position")
        ),
    )
    op.create_index("ix_queue_items_pair_seq", "queue_items", ["pair_seq"])
    op.create_index("ix_queue_items_is_open", "queue_items", ["queue_seq", "is_open", "position"])
    op.create_table(
        "queue_votes",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("item_seq", _NUMBER, nullable=False),
        sa.Column("annotator", sa.String(length=512), nullable=False),
        sa.Column("left_is", sa.String(length=1), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("said", sa.String(length=8), nullable=True),
        sa.Column("details", app.core.db.JsonText(), nullable=False),
        sa.Column("claimed_at", _MOMENT, nullable=False),
        sa.Column("lease_until", _MOMENT, nullable=False),
        sa.Column("answered_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["item_seq"],
            ["queue_items.seq"],
            name=op.f("fk_queue_votes_item_seq_queue_items"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_queue_votes")),
        sa.UniqueConstraint(
            "item_seq", "annotator", name=op.f("uq_queue_votes_item_seq_annotator")
        ),
    )


def downgrade() -> None:
    for table in ("queue_votes", "queue_items", "queues"):
        op.drop_table(table)
