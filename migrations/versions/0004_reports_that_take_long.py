"""Reports that take long: their kind, status and error.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("reports") as batch_op:
        batch_op.add_column(
            sa.Column("kind", sa.String(16), server_default="agreement", nullable=False)
        )
        batch_op.add_column(
            sa.Column("status", sa.String(16), server_default="completed", nullable=False)
        )
        batch_op.add_column(sa.Column("error", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("reports") as batch_op:
        for name in ("error", "status", "kind"):
            batch_op.drop_column(name)
