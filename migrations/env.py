"""Runs migrations on the connection it is handed (see `app.core.migrate`)."""

from __future__ import annotations

from alembic import context

from app.core import db
from app.core.models import all_tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=all_tables(),
    # SQLite alters a table by making it anew
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    user_module_prefix=f"{db.__name__}.",
    transaction_per_migration=False,
)
with context.begin_transaction():
    # two servers may start at once on one PostgreSQL: the second waits for the first
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(752019)")
    context.run_migrations()
