"""What a model's folder holds, as one hash: exchanged weights at the same path are another judge."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".gguf")
_SAMPLES: Final = 16
_SAMPLE_BYTES: Final = 1 << 20
_SMALL_BYTES: Final = 64 << 20


def folder_hash(folder: Path) -> str:
    """Return a hash of a model's files by their names.

    Files of weights beyond 64 MiB are read in 17 places of 1 MiB, their heads among them, so that
    a model of 100 GB takes seconds; all else is read whole. Hidden files do not count.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\n{path.stat().st_size}\n".encode())
            digest.update(_content(path))
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if path.suffix not in _WEIGHTS or size <= _SMALL_BYTES:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for sample in range(_SAMPLES + 1):
            file.seek(sample * (size - _SAMPLE_BYTES) // _SAMPLES)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.digest()
