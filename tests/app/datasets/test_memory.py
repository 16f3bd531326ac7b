from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.datasets.uploads import row

MEBIBYTE = 2**20
ROWS = 20_000
# A fresh process: the peak of this one belongs to other tests.
PROGRAM = """
import asyncio, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from app.datasets.bodies import BodyKind
from app.datasets.importing import Wanted, import_dataset
from app.db import Database
from app.migrate import upgrade

async def main(url, folder, *files):
    db = Database(url)
    await upgrade(db)
    for file in files:
        wanted = Wanted(file, spool_dir=Path(folder))
        with open(file, "rb") as body:
            await import_dataset(db, body, BodyKind(), wanted, datetime.now(UTC))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    await db.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


def _write(path: Path, rows: int, *, is_array: bool) -> Path:
    lines = (json.dumps(row(n, response_a=f"answer {n} " * 40)) for n in range(rows))
    path.write_text("[" + ",\n".join(lines) + "]" if is_array else "\n".join(lines))
    return path


@pytest.mark.parametrize("is_array", [False, True], ids=["lines", "array"])
def test_memory_does_not_grow_with_the_file(
    database_url: str, tmp_path: Path, *, is_array: bool
) -> None:
    small = _write(tmp_path / "small", ROWS // 10, is_array=is_array)
    large = _write(tmp_path / "large", ROWS, is_array=is_array)
    assert large.stat().st_size > 12 * MEBIBYTE
    command = [sys.executable, "-c", PROGRAM, database_url, str(tmp_path), str(small), str(large)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after_small, after_large = map(int, done.stdout.split())
    assert after_large - after_small < 10 * MEBIBYTE
