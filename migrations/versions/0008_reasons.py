"""Reasons of judges, and which of them belongs to a verdict.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "reasons",
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(512), nullable=False),
        sa.Column("judge", sa.String(512), nullable=False),
        sa.Column("label", sa.String(4), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("flags", app.core.db.JsonText(), nullable=False),
        sa.Column("failure", sa.String(32), nullable=True),
        sa.Column("failure_detail", sa.Text(), nullable=True),
        sa.Column("usage", app.core.db.JsonText(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("batch_seq", _NUMBER, nullable=True),
        sa.Column("shard", _NUMBER, nullable=True),
        sa.Column("created_at", app.core.db.UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("content_hash", "fingerprint", name=op.f("pk_reasons")),
    )
    op.add_column("verdicts", sa.Column("explained_by", sa.String(512), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("verdicts") as batch_op:
        batch_op.drop_column("explained_by")
    op.drop_table("reasons")
