"""What a shard that is under way has come to so far.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INDEX = "ix_shards_so_far"
_UNDER_WAY = sa.text("so_far IS NOT NULL")


def upgrade() -> None:
    op.add_column("shards", sa.Column("so_far", sa.Text(), nullable=True))
    op.create_index(
        _INDEX, "shards", ["batch_seq"], sqlite_where=_UNDER_WAY, postgresql_where=_UNDER_WAY
    )


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="shards")
    with op.batch_alter_table("shards") as batch_op:
        batch_op.drop_column("so_far")
