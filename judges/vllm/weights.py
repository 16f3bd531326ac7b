"""Hash model folders, so that changed weights at the same path count as another judge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".gguf")
_SAMPLES: Final = 16
_SAMPLE_BYTES: Final = 1 << 20
_SMALL_BYTES: Final = 64 << 20

HashFolder = Callable[[Path], str]
Listing = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class FolderHashes:
    """Hashes of model folders, by configured name.

    Attributes:
        hashes: Hash of each folder that could be read.
        unreadable: Error message of each folder that could not.
    """

    hashes: Mapping[str, str]
    unreadable: Mapping[str, str]


NOTHING_HASHED: Final = FolderHashes(MappingProxyType({}), MappingProxyType({}))


class FolderHasher:
    """Hash folders, reusing the last hash if names, sizes and modification times are unchanged.

    Args:
        hash_folder: Hashes one folder; may block for seconds on many gigabytes.
    """

    def __init__(self, hash_folder: HashFolder | None = None) -> None:
        self._hash = hash_folder or folder_hash
        self._known: dict[str, tuple[Listing, str]] = {}

    def read(self, folders: Iterable[str]) -> FolderHashes:
        """Return the hashes of these folders; blocks, so call it in a thread."""
        hashes: dict[str, str] = {}
        unreadable: dict[str, str] = {}
        for folder in folders:
            try:
                hashes[folder] = self._hash_of(folder)
            except OSError as error:
                unreadable[folder] = str(error)
        return FolderHashes(hashes, unreadable)

    def _hash_of(self, folder: str) -> str:
        listing = _listing(Path(folder))
        known = self._known.get(folder)
        if known is None or known[0] != listing:
            known = self._known[folder] = (listing, self._hash(Path(folder)))
        return known[1]


def folder_hash(folder: Path) -> str:
    """Hash the names, sizes and contents of a model's files.

    Weight files above 64 MiB are sampled in 17 places of 1 MiB, including the start, so that a
    model of 100 GB takes seconds. All other files are read in full. Hidden files are ignored.

    Raises:
        OSError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for path in _files(folder):
        name = path.relative_to(folder)
        digest.update(f"{name.as_posix()}\n{path.stat().st_size}\n".encode())
        digest.update(_content(path))
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _listing(folder: Path) -> Listing:
    """Return names, sizes and modification times of a folder's files."""
    stats = [(path, path.stat()) for path in _files(folder)]
    return tuple((path.as_posix(), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


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
