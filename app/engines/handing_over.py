"""What a worker on another machine is handed: settings, and the configuration's content.

A node of a cluster has neither the file that describes the judges nor the folder that relative
paths were meant from.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Handed:
    """Settings as plain values, and the text of the configuration file, None without one."""

    settings: Mapping[str, Any]
    config: str | None

    @classmethod
    def of(cls, settings: Settings) -> Handed:
        """Return what a worker needs that is to work with these settings."""
        path = settings.config_path
        values = settings.model_dump(exclude={"config", "secret", "spool_dir", "node"})
        values["database_url"] = _absolute(settings.database_url)
        return cls(values, path.read_text(encoding="utf-8") if path else None)

    def opened(self, folder: Path) -> Settings:
        """Return the settings, with the configuration in a file of this folder."""
        path = folder / "tribunal.toml"
        path.write_text(self.config or "", encoding="utf-8")
        return Settings(**{**self.settings, "config": path})


def _absolute(database_url: str) -> str:
    """A file is named by its whole path: the worker runs in another folder."""
    url = make_url(database_url)
    if not database_url.startswith("sqlite") or not url.database or ":" in url.database:
        return database_url
    whole = url.set(database=str(Path(url.database).absolute()))
    return whole.render_as_string(hide_password=False)


def work_on(handed: Handed, batch_id: str) -> None:
    """Work on one batch in this process until it has ended."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_work_on(handed.opened(Path(folder)), batch_id))


async def _work_on(settings: Settings, batch_id: str) -> None:
    from app.jobs.worker import work_until_ended  # whoever hands over needs none of the service
    from app.main import open_runtime

    async with open_runtime(settings) as running:
        await running.open_judges()
        await work_until_ended(running, batch_id)
