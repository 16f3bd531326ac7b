"""Files of requests.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("filename", sa.String(length=512), nullable=False),
        sa.Column("bytes", _NUMBER, nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("dataset_seq", _NUMBER, nullable=True),
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", app.core.db.UtcTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_seq"],
            ["datasets.seq"],
            name=op.f("fk_files_dataset_seq_datasets"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_files")),
        sa.UniqueConstraint("id", name=op.f("uq_files_id")),
    )
    with op.batch_alter_table("files", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_files_dataset_seq"), ["dataset_seq"], unique=False)

    op.create_table(
        "file_pieces",
        sa.Column("file_seq", _NUMBER, nullable=False),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_seq"],
            ["files.seq"],
            name=op.f("fk_file_pieces_file_seq_files"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("file_seq", "number", name=op.f("pk_file_pieces")),
    )
    op.create_table(
        "rejected_lines",
        sa.Column("dataset_seq", _NUMBER, nullable=False),
        sa.Column("line", _NUMBER, nullable=False),
        sa.Column("custom_id", app.core.db.JsonText(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_seq"],
            ["datasets.seq"],
            name=op.f("fk_rejected_lines_dataset_seq_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_seq", "line", name=op.f("pk_rejected_lines")),
    )


def downgrade() -> None:
    op.drop_table("rejected_lines")
    op.drop_table("file_pieces")
    with op.batch_alter_table("files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_files_dataset_seq"))

    op.drop_table("files")
