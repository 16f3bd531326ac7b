"""Where the golden files lie, and how they are read and written."""

from __future__ import annotations

import gzip
import json
import math
import re
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
# what verdicts are decided by is the same to the last bit
_DECIDES: Final = re.compile(r"threshold|bound|p_value|confidence|decisions")
# Other figures come from sums and products whose order, and with it the last digit, depends on the
# processor.
_TWELVE_DIGITS: Final = 1e-12


def load(name: str) -> Any:
    """Return the content of a golden JSON file."""
    return json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))


def store(name: str, value: Any) -> None:
    """Write a golden JSON file; the same value gives the same bytes."""
    content = json.dumps(value, indent=1).encode()
    (FOLDER / f"{name}.json.gz").write_bytes(gzip.compress(content, mtime=0))


def unpack_database(folder: Path) -> None:
    """Lay a copy of the golden database into this folder."""
    packed = (FOLDER / "golden.db.gz").read_bytes()
    (folder / "golden.db").write_bytes(gzip.decompress(packed))


def pack_database(folder: Path) -> None:
    """Make the database of this folder the golden one."""
    content = (folder / "golden.db").read_bytes()
    (FOLDER / "golden.db.gz").write_bytes(gzip.compress(content, mtime=0))


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Return where two values differ; what is new beside the old may be there.

    Bit for bit, but for figures that no verdict is decided by: see `_TWELVE_DIGITS`. A promise may be
    worded better: claims are not compared.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in old if name != "claim"]
        parts = [(str(name), old[name], new.get(name, "-")) for name in names]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = [(str(number), old[number], new[number]) for number in range(len(old))]
    elif (lines := _objects(old)) and (found := _objects(new)):
        return differences(lines, found, place)
    else:
        same = json.dumps(old) == json.dumps(new) or _is_rounding(place, old, new)
        return [] if same else [f"{place}: {json.dumps(old):.200} is now {json.dumps(new):.200}"]
    return [one for name, was, now in parts for one in differences(was, now, f"{place}/{name}")]


def _is_rounding(place: str, old: object, new: object) -> bool:
    if not isinstance(old, float) or not isinstance(new, float) or _DECIDES.search(place):
        return False
    return math.isclose(old, new, rel_tol=_TWELVE_DIGITS, abs_tol=1e-15)


def _objects(text: Any) -> list[Any]:
    """Return the objects of a text with one on each line, none if it is something else."""
    if not isinstance(text, str) or not text.startswith("{"):
        return []
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return []
