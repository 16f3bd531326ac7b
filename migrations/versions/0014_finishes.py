"""Datasets on their way to a verdict on every row.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = app.core.db.UtcTime(timezone=True)
_REFERS = (
    ("dataset_seq", "datasets", "CASCADE"),
    ("certificate_seq", "certificates", "SET NULL"),
    ("batch_seq", "batches", "SET NULL"),
    ("queue_seq", "queues", "SET NULL"),
)


def upgrade() -> None:
    op.create_table(
        "finishes",
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("dataset_seq", _NUMBER, nullable=False),
        sa.Column("certificate_seq", _NUMBER, nullable=True),
        sa.Column("batch_seq", _NUMBER, nullable=True),
        sa.Column("queue_seq", _NUMBER, nullable=True),
        sa.Column("request", app.core.db.JsonText(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [column],
                [f"{table}.seq"],
                name=op.f(f"fk_finishes_{column}_{table}"),
                ondelete=what,
            )
            for column, table, what in _REFERS
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_finishes")),
        sa.UniqueConstraint("id", name=op.f("uq_finishes_id")),
    )
    for column, _, _ in _REFERS:
        op.create_index(f"ix_finishes_{column}", "finishes", [column])


def downgrade() -> None:
    op.drop_table("finishes")
