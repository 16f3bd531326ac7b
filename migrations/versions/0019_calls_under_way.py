"""Shards note their calls before these are made: the cost of those that are cut off is unknown.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("shards", sa.Column("calls", app.core.db.JsonText(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("shards") as batch_op:
        batch_op.drop_column("calls")
