"""Pairs of one prompt or group are found without reading a whole dataset.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_INDEXES = (("ix_pairs_prompt", "prompt_hash"), ("ix_pairs_group", "group_key"))


def upgrade() -> None:
    for name, column in _INDEXES:
        op.create_index(name, "pairs", ["dataset_seq", column, "position"])


def downgrade() -> None:
    for name, _ in _INDEXES:
        op.drop_index(name, table_name="pairs")
