"""When certificates expire, and which they supersede.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TABLE = "certificates"
_INDEX = "ix_certificates_supersedes"


def upgrade() -> None:
    op.add_column(
        _TABLE, sa.Column("expires_at", app.core.db.UtcTime(timezone=True), nullable=True)
    )
    op.add_column(_TABLE, sa.Column("supersedes", sa.String(length=64), nullable=True))
    op.create_index(_INDEX, _TABLE, ["supersedes"])


def downgrade() -> None:
    op.drop_index(_INDEX, _TABLE)
    op.drop_column(_TABLE, "supersedes")
    op.drop_column(_TABLE, "expires_at")
