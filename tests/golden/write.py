"""Write the golden files from the present code: `python -m tests.golden.write [NAME ...]`.

Run it only where the meaning of stored data is changed on purpose. The golden tests promise that
databases, certificates and exported files of earlier versions keep working; new golden files give
that promise up for what they replace. Names: values, exports, catalogue, openapi, database.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from app.core.settings import Settings
from app.main import create_app
from tests.golden import database, served, values
from tests.golden.fixtures import pack_database, store, unpack_database

_NAMES = ("values", "exports", "catalogue", "openapi", "database")


def main(names: list[str]) -> None:
    """Write the golden files of these names, all by default."""
    for name in names or _NAMES:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_write(name, Path(folder)))


async def _write(name: str, folder: Path) -> None:
    if name == "values":
        store("hashes", values.hashes())
        store("certifications", values.certifications())
        store("statistics", values.statistics())
    elif name == "exports":
        store("exports", await served.exports(folder))
    elif name == "catalogue":
        store("catalogue", await served.catalogue(folder))
    elif name == "openapi":
        store("openapi", served.interface(create_app(Settings()).openapi()))
    elif name == "database":
        await _write_database(folder)
    else:
        raise SystemExit(f"{name!r} is none of {', '.join(_NAMES)}")


async def _write_database(folder: Path) -> None:
    known = await database.write_database(folder)
    pack_database(folder)
    unpack_database(folder)
    async with served.opened(served.settings_in(folder), known["key"]) as client:
        stored = await database.read_all(client, known)
    unpack_database(folder)
    async with served.opened(served.settings_in(folder), known["key"]) as client:
        again = await database.ask_again(client, known)
    unpack_database(folder)
    async with served.opened(served.settings_in(folder, workers=1), known["key"]) as client:
        finished = await database.finish(client, known)
    store("database", {"known": known, "stored": stored, "again": again, "finished": finished})


if __name__ == "__main__":
    main(sys.argv[1:])
