"""Batches of providers: files of questions, their lines, and the shards that wait for them.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = app.core.db.UtcTime(timezone=True)
_JSON = app.core.db.JsonText()


def _of_batch(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_batch_seq_batches")
    return sa.ForeignKeyConstraint(["batch_seq"], ["batches.seq"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    for column in (
        sa.Column("is_waiting", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("lines_seen", _NUMBER, nullable=True),
        sa.Column("held_usd", sa.Double(), nullable=False, server_default="0"),
        sa.Column("kept", _JSON, nullable=True),
    ):
        op.add_column("shards", column)
    op.create_table(
        "provider_files",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("batch_seq", _NUMBER, nullable=False),
        sa.Column("judge", sa.String(length=512), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("mark", sa.String(length=64), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("lines", _NUMBER, nullable=False),
        sa.Column("answered", _NUMBER, nullable=False),
        sa.Column("left_out", _NUMBER, nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempts", _NUMBER, nullable=False),
        sa.Column("is_cancelled", sa.Boolean(), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=True),
        sa.Column("held_until", _MOMENT, nullable=True),
        sa.Column("next_at", _MOMENT, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("sent_at", _MOMENT, nullable=True),
        sa.Column("ended_at", _MOMENT, nullable=True),
        _of_batch("provider_files"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_provider_files")),
        sa.UniqueConstraint("mark", name=op.f("uq_provider_files_mark")),
    )
    op.create_index("ix_provider_files_batch_seq", "provider_files", ["batch_seq"])
    op.create_index("ix_provider_files_state", "provider_files", ["state", "next_at"])
    op.create_table(
        "provider_lines",
        sa.Column("batch_seq", _NUMBER, nullable=False),
        sa.Column("shard", _NUMBER, nullable=False),
        sa.Column("question", sa.String(length=32), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("judge", sa.String(length=512), nullable=False),
        sa.Column("file_seq", _NUMBER, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("bytes", _NUMBER, nullable=False),
        sa.Column("flags", _JSON, nullable=False),
        sa.Column("status", _NUMBER, nullable=True),
        sa.Column("answer", _JSON, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        _of_batch("provider_lines"),
        sa.ForeignKeyConstraint(
            ["file_seq"],
            ["provider_files.seq"],
            name=op.f("fk_provider_lines_file_seq_provider_files"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "batch_seq", "shard", "question", "round", name=op.f("pk_provider_lines")
        ),
    )
    op.create_index("ix_provider_lines_file_seq", "provider_lines", ["file_seq"])
    op.create_index("ix_provider_lines_state", "provider_lines", ["state", "batch_seq", "judge"])


def downgrade() -> None:
    op.drop_table("provider_lines")
    op.drop_table("provider_files")
    with op.batch_alter_table("shards") as batch_op:
        for name in ("is_waiting", "lines_seen", "held_usd", "kept"):
            batch_op.drop_column(name)
