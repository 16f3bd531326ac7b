"""Where the data of a service in this process lies, in words for people."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import make_url

from app.settings import Settings


def shown_url(settings: Settings) -> str:
    """Return the database's address without its password."""
    return make_url(settings.database_url).render_as_string(hide_password=True)


def database_file(settings: Settings) -> Path | None:
    """Return the file of an SQLite database; None for a server, or a database in memory."""
    url = make_url(settings.database_url)
    name = url.database or ""
    is_file = url.get_backend_name() == "sqlite" and name and ":" not in name
    return Path(name).absolute() if is_file else None


def database_place(settings: Settings) -> str:
    """Return where the database is: a whole path, or an address without its password."""
    return str(database_file(settings) or shown_url(settings))


def is_missing(settings: Settings) -> bool:
    """Whether there is no database yet, so that opening the service would make an empty one."""
    file = database_file(settings)
    return file is not None and not file.exists()
