"""What certificates were made from, and where those came from that were made elsewhere.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = app.core.db.JsonText()
_TABLE = "certificate_evidence"


def upgrade() -> None:
    op.add_column("certificates", sa.Column("imported", _JSON, nullable=True))
    op.create_table(
        _TABLE,
        sa.Column("certificate_seq", _NUMBER, nullable=False),
        sa.Column("evidence", _JSON, nullable=False),
        sa.Column("label_uses", _JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_seq"],
            ["certificates.seq"],
            name=op.f("fk_certificate_evidence_certificate_seq_certificates"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("certificate_seq", name=op.f("pk_certificate_evidence")),
    )


def downgrade() -> None:
    op.drop_table(_TABLE)
    op.drop_column("certificates", "imported")
