"""Scopes, expiry and last use of keys; stored answers belong to the key that made them.

Keys that exist are `admin` keys. Answers that exist are kept for a day; which key made them is not
known, so they are for every `admin`, which is whom they were for.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ANY_ADMIN = "*"
_KEPT = "key, path, body_hash, status, location, body, created_at"


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.add_column(
            sa.Column("scopes", app.core.db.JsonText(), server_default='["admin"]', nullable=False)
        )
        batch_op.add_column(sa.Column("annotator", sa.String(512), nullable=True))
        for name in ("expires_at", "last_used_at"):
            batch_op.add_column(sa.Column(name, app.core.db.UtcTime(timezone=True), nullable=True))
    op.rename_table("idempotency_keys", "old_idempotency_keys")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "ALTER TABLE old_idempotency_keys"
            " RENAME CONSTRAINT pk_idempotency_keys TO pk_old_idempotency_keys"
        )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(32), nullable=True),
        sa.Column("beat", _NUMBER, server_default="0", nullable=False),
        sa.Column("status", _NUMBER, nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("body", app.core.db.JsonText(), nullable=True),
        sa.Column("created_at", app.core.db.UtcTime(timezone=True), nullable=False),
        sa.Column("kept_until", app.core.db.UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", "path", name=op.f("pk_idempotency_keys")),
    )
    until = sa.bindparam(
        "until", datetime.now(UTC) + timedelta(days=1), type_=app.core.db.UtcTime(timezone=True)
    )
    op.execute(
        sa.text(
            f"INSERT INTO idempotency_keys (caller, kept_until, {_KEPT})"
            f" SELECT '{_ANY_ADMIN}', :until, {_KEPT} FROM old_idempotency_keys"
        ).bindparams(until)
    )
    op.drop_table("old_idempotency_keys")
    op.create_index(op.f("ix_idempotency_keys_kept_until"), "idempotency_keys", ["kept_until"])


def downgrade() -> None:
    op.drop_index(op.f("ix_idempotency_keys_kept_until"), "idempotency_keys")
    op.drop_table("idempotency_keys")
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("status", _NUMBER, nullable=False),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("body", app.core.db.JsonText(), nullable=False),
        sa.Column("created_at", app.core.db.UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", "path", name=op.f("pk_idempotency_keys")),
    )
    # an earlier version knows no scopes and no expiry: such a key would open everything, for ever
    now = sa.bindparam("now", datetime.now(UTC), type_=app.core.db.UtcTime(timezone=True))
    op.execute(
        sa.text(
            "UPDATE api_keys SET revoked_at = :now WHERE revoked_at IS NULL"
            " AND (expires_at IS NOT NULL OR scopes NOT LIKE '%\"admin\"%')"
        ).bindparams(now)
    )
    with op.batch_alter_table("api_keys") as batch_op:
        for name in ("last_used_at", "expires_at", "annotator", "scopes"):
            batch_op.drop_column(name)
