"""Where the development data lies: human preferences that are never part of this repository."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def data_dir() -> Path:
    """Return the data folder, or skip the test that asked for it."""
    folder = Path(os.environ.get("TRIBUNAL_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("data folder not found: set TRIBUNAL_DATA_DIR")
    return folder


def rows(name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one data set, by its folder's name."""
    folder = data_dir() / name
    plain, packed = folder / "pairs.jsonl", folder / "pairs.jsonl.gz"
    text = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    for line in text.decode().strip().split("\n"):
        yield json.loads(line)
