"""Candidates that judge a share of the traffic, and canaries of monitors.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = app.core.db.UtcTime(timezone=True)
_JSON = app.core.db.JsonText()


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{to}")
    return sa.ForeignKeyConstraint([column], [f"{to}.seq"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "shadows",
        sa.Column("certificate_seq", _NUMBER, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("options", _JSON, nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("spent_usd", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        _refers("shadows", "certificate_seq", "certificates"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_shadows")),
        sa.UniqueConstraint("id", name=op.f("uq_shadows_id")),
    )
    op.create_index("ix_shadows_certificate_seq", "shadows", ["certificate_seq"])
    op.create_table(
        "shadow_verdicts",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("shadow_seq", _NUMBER, nullable=False),
        sa.Column("verdict_seq", _NUMBER, nullable=False),
        sa.Column("pair_seq", _NUMBER, nullable=True),
        sa.Column("prompt", sa.String(length=64), nullable=False),
        sa.Column("in_share", sa.Boolean(), nullable=False),
        sa.Column("content", _JSON, nullable=True),
        sa.Column("present", _JSON, nullable=False),
        sa.Column("said", _JSON, nullable=True),
        sa.Column("leased_until", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        _refers("shadow_verdicts", "shadow_seq", "shadows"),
        _refers("shadow_verdicts", "verdict_seq", "verdicts"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_shadow_verdicts")),
        sa.UniqueConstraint(
            "shadow_seq", "verdict_seq", name=op.f("uq_shadow_verdicts_shadow_seq_verdict_seq")
        ),
    )
    op.create_index("ix_shadow_verdicts_verdict_seq", "shadow_verdicts", ["verdict_seq"])
    op.add_column("monitors", sa.Column("canaries", _JSON, nullable=True))
    op.add_column("monitors", sa.Column("canary_at", _MOMENT, nullable=True))
    op.create_index("ix_monitors_canary_at", "monitors", ["canary_at"])


def downgrade() -> None:
    with op.batch_alter_table("monitors") as batch_op:
        batch_op.drop_index("ix_monitors_canary_at")
        batch_op.drop_column("canary_at")
        batch_op.drop_column("canaries")
    for table in ("shadow_verdicts", "shadows"):
        op.drop_table(table)
