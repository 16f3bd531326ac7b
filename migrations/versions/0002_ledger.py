"""Batches keep their sums, scores remember their shard, budgets.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

import app.core.db

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # Columns are added one by one: made anew, a table of SQLite would lose whatever refers to it.
    for column in (
        sa.Column("open_shards", _INTEGER, nullable=False, server_default="0"),
        sa.Column("totals", app.core.db.JsonText(), nullable=False, server_default="{}"),
        sa.Column("budget_usd", sa.Double(), nullable=True),
        sa.Column("budget_mode", sa.String(length=8), nullable=True),
        sa.Column("seed", _INTEGER, nullable=True),
        sa.Column("spent_usd", sa.Double(), nullable=False, server_default="0"),
        sa.Column("reserved_usd", sa.Double(), nullable=False, server_default="0"),
    ):
        op.add_column("batches", column)
    op.add_column(
        "shards", sa.Column("reserved_usd", sa.Double(), nullable=False, server_default="0")
    )
    op.add_column("scores", sa.Column("batch_seq", _INTEGER, nullable=True))
    op.add_column("scores", sa.Column("shard", _INTEGER, nullable=True))
    op.drop_index("ix_shards_free", table_name="shards")
    op.create_index("ix_shards_state", "shards", ["state", "batch_seq", "number"])
    _sum_up(op.get_bind())


def _sum_up(connection: sa.Connection) -> None:
    """Give the batches that are there the sums over their shards."""
    read = sa.text("SELECT state, counts FROM shards WHERE batch_seq = :seq")
    keep = sa.text("UPDATE batches SET open_shards = :open, totals = :totals WHERE seq = :seq")
    for (seq,) in connection.execute(sa.text("SELECT seq FROM batches")).all():
        shards = [
            (state, json.loads(text)) for state, text in connection.execute(read, {"seq": seq})
        ]
        states = Counter(state for state, _ in shards)
        totals = _totals([counts for state, counts in shards if state == "done"])
        totals["shards"] = dict(states)
        totals["set_aside"] = sum(counts["pairs"] for state, counts in shards if state == "failed")
        values = {"seq": seq, "open": states["todo"], "totals": json.dumps(totals)}
        connection.execute(keep, values)


def _totals(done: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    attendance: dict[str, Counter[str]] = {}
    costs = []
    for counts in done:
        statuses.update(counts["statuses"])
        costs.append(counts["cost_usd"])
        for name, counted in counts.get("attendance", {}).items():
            attendance.setdefault(name, Counter()).update(counted)
    return {
        "statuses": statuses,
        "attendance": attendance,
        "cost_usd": None if None in costs else sum(costs),
    }


def downgrade() -> None:
    op.drop_index("ix_shards_state", table_name="shards")
    op.create_index("ix_shards_free", "shards", ["state", "leased_until"])
    op.drop_column("scores", "shard")
    op.drop_column("scores", "batch_seq")
    op.drop_column("shards", "reserved_usd")
    for name in (
        "reserved_usd", "spent_usd", "seed", "budget_mode", "budget_usd", "totals", "open_shards",
    ):  # fmt: skip
        op.drop_column("batches", name)
