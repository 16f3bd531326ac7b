"""A bare endpoint that inserts one row, served as the service is: `... bare_app PORT`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Final, cast

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Table, insert

from app.cli.operator.server import Service
from app.core.db import Database
from app.core.models import Verdict
from app.core.settings import Settings
from app.core.telemetry import configure_logging

_VERDICTS: Final = cast(Table, Verdict.__table__)


class PostedPair(BaseModel):
    """What is posted; it is not looked at."""

    id: str
    prompt: str
    response_a: str
    response_b: str


def bare_app(settings: Settings) -> FastAPI:
    """Return an application with the one endpoint, on a database that has the tables."""
    db = Database(settings.database_url)
    # SQLite's writers wait for each other far longer than they need if nobody calls them up
    turn = asyncio.Lock() if db.is_sqlite else nullcontext()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await db.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/rows")
    async def add(pair: PostedPair) -> dict[str, str]:
        row = {
            "pair_id": pair.id, "content_hash": "", "status": "accepted", "promise": "none",
            "body": {"id": pair.id, "label": "a"}, "created_at": datetime.now(UTC),
        }  # fmt: skip
        async with turn, db.engine.begin() as connection:
            await connection.execute(insert(_VERDICTS), row)
        return {"id": pair.id}

    return app


def main() -> None:
    """Serve until told to end."""
    settings = Settings()
    configure_logging(settings)
    Service(bare_app(settings), settings, "127.0.0.1", int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
