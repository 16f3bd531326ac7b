"""Monitors of certificates, their audits and their webhooks.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = app.core.db.UtcTime(timezone=True)
_JSON = app.core.db.JsonText()


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{to}")
    return sa.ForeignKeyConstraint([column], [f"{to}.seq"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.add_column("certificates", sa.Column("suspended_because", sa.Text(), nullable=True))
    op.create_table(
        "monitors",
        sa.Column("certificate_seq", _NUMBER, nullable=False),
        sa.Column("queue_seq", _NUMBER, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("options", _JSON, nullable=False),
        sa.Column("state", _JSON, nullable=False),
        sa.Column("history", _JSON, nullable=False),
        sa.Column("alarm", _JSON, nullable=True),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("signing", sa.String(length=64), nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        _refers("monitors", "certificate_seq", "certificates"),
        _refers("monitors", "queue_seq", "queues"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_monitors")),
        sa.UniqueConstraint("id", name=op.f("uq_monitors_id")),
    )
    op.create_index("ix_monitors_certificate_seq", "monitors", ["certificate_seq"])
    op.create_index("ix_monitors_queue_seq", "monitors", ["queue_seq"])
    op.create_table(
        "audits",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("monitor_seq", _NUMBER, nullable=False),
        sa.Column("verdict_seq", _NUMBER, nullable=False),
        sa.Column("item", sa.String(length=64), nullable=False),
        sa.Column("unit", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("said", sa.String(length=4), nullable=True),
        sa.Column("slice", sa.String(length=512), nullable=True),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("is_observed", sa.Boolean(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        _refers("audits", "monitor_seq", "monitors"),
        _refers("audits", "verdict_seq", "verdicts"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audits")),
        sa.UniqueConstraint("item", name=op.f("uq_audits_item")),
        sa.UniqueConstraint("monitor_seq", "unit", name=op.f("uq_audits_monitor_seq_unit")),
    )
    op.create_index("ix_audits_verdict_seq", "audits", ["verdict_seq"])
    op.create_index("ix_audits_is_observed", "audits", ["monitor_seq", "is_observed"])
    op.create_table(
        "deliveries",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("monitor_seq", _NUMBER, nullable=False),
        sa.Column("body", _JSON, nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("next_at", _MOMENT, nullable=True),
        sa.Column("delivered_at", _MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        _refers("deliveries", "monitor_seq", "monitors"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("id", name=op.f("uq_deliveries_id")),
    )
    op.create_index("ix_deliveries_monitor_seq", "deliveries", ["monitor_seq"])
    op.create_index("ix_deliveries_next_at", "deliveries", ["next_at"])


def downgrade() -> None:
    for table in ("deliveries", "audits", "monitors"):
        op.drop_table(table)
    with op.batch_alter_table("certificates") as batch_op:
        batch_op.drop_column("suspended_because")
