"""What every table shares: the base class, ids, and the columns of what users list."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Integer, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.core.db import UtcTime

# SQLite numbers rows only if the key is exactly INTEGER
Sequence_ = BigInteger().with_variant(Integer, "sqlite")


Name = String(512)


Hash = String(64)


def new_id(prefix: str) -> str:
    """Return a public id that cannot be guessed, such as `cal_5f2c...`."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Base(DeclarativeBase):
    """All tables, with constraint names that migrations can refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {int: Sequence_}


class Listed:
    """Columns of every table that users list."""

    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
