from __future__ import annotations

import os
from pathlib import Path

import pytest

from judges.vllm.weights import FolderHasher, folder_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_names_and_contents_count_and_hidden_files_do_not(folder: Path) -> None:
    before = folder_hash(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("x")
    assert folder_hash(folder) == before
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    renamed = folder_hash(folder)
    (folder / "other.safetensors").write_bytes(b"Weights")
    assert len({before, renamed, folder_hash(folder)}) == 3


def test_large_weights_are_sampled_from_head_to_end(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    hashes = {folder_hash(tmp_path)}
    for place in (0, (100 << 20) - 1):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        hashes.add(folder_hash(tmp_path))
    assert len(hashes) == 3


def test_a_folder_is_read_again_when_it_has_changed(folder: Path) -> None:
    read: list[Path] = []

    def hashed(path: Path) -> str:
        read.append(path)
        return folder_hash(path)

    hasher = FolderHasher(hashed)
    first = hasher.read([str(folder)]).hashes
    assert hasher.read([str(folder)]).hashes == first == {str(folder): folder_hash(folder)}
    assert len(read) == 1
    (folder / "model.safetensors").write_bytes(b"Weights")
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert hasher.read([str(folder)]).hashes != first
    assert len(read) == 2
