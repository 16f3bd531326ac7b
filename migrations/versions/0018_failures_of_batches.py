"""What failed in a batch is found without reading all of its verdicts.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_verdicts_batch", "verdicts", ["batch_seq", "status", "seq"])


def downgrade() -> None:
    op.drop_index("ix_verdicts_batch", table_name="verdicts")
