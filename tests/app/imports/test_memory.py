from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.app.imports.uploads import row

MEBIBYTE = 2**20
# a row has 16 KB: one window of rows is much less than either file
SMALL, LARGE = 2_000, 3_800
# A fresh process: the peak of this one belongs to other tests. `ru_maxrss` would keep it: a process
# inherits that of the one that started it.
PROGRAM = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from app.core.db import Database
from app.core.migrate import upgrade
from app.imports.importing import Wanted, import_dataset
from app.imports.upload import UploadedFile

async def main(url, folder, *files):
    db = Database(url)
    await upgrade(db)
    for file in files:
        wanted = Wanted(file, spool_dir=Path(folder))
        media_type = "text/csv" if file.endswith(".csv") else ""
        with open(file, "rb") as body:
            await import_dataset(db, [UploadedFile(body, media_type)], wanted, datetime.now(UTC))
        print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    await db.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


def _write(path: Path, rows: int) -> Path:
    made = (row(n, response_a=f"answer {n} " * 1400) for n in range(rows))
    if path.suffix in (".csv", ".parquet"):
        _write_table(path, [{**each, "human": json.dumps(each["human"])} for each in made])
        return path
    lines = map(json.dumps, made)
    path.write_text("[" + ",\n".join(lines) + "]" if path.suffix == ".json" else "\n".join(lines))
    return path


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        return
    # one row group: nothing of the file itself cuts it into pieces; and nothing packs it
    pq.write_table(pa.Table.from_pylist(rows), path, compression="none", use_dictionary=False)


# MiB: a file that is held takes 54 for texts, and 239 for a row group held in one dictionary
@pytest.mark.parametrize(
    ("suffix", "most"), [(".jsonl", 30), (".json", 30), (".csv", 30), (".parquet", 120)]
)
def test_memory_does_not_grow_with_the_file(
    database_url: str, tmp_path: Path, suffix: str, most: int
) -> None:
    small, large = (_write(tmp_path / f"{rows}{suffix}", rows) for rows in (SMALL, LARGE))
    assert large.stat().st_size > small.stat().st_size + 25 * MEBIBYTE
    command = [sys.executable, "-c", PROGRAM, database_url, str(tmp_path), str(small), str(large)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after_small, after_large = (int(kibibytes) * 1024 for kibibytes in done.stdout.split())
    assert after_large - after_small < most * MEBIBYTE
