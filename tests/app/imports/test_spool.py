from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from app.core.settings import Settings
from app.imports.upload import remove_left_over, upload_folder
from app.main import create_app


def test_a_folder_is_there_while_it_is_used_and_gone_afterwards(tmp_path: Path) -> None:
    with upload_folder(tmp_path) as folder:
        (folder / "staged.db").write_bytes(b"rows")
        assert remove_left_over(tmp_path) == 0
        assert (folder / "staged.db").is_file()
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


async def test_what_a_killed_import_left_goes_at_the_next_start(settings: Settings) -> None:
    spool = settings.spool_dir
    assert spool is not None
    left, foreign = spool / "tribunal-upload-abc", spool / "somebody-else"
    for folder in (left, foreign):
        folder.mkdir()
        (folder / "staged.db").write_bytes(b"rows")
    with upload_folder(spool) as used:
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            assert not left.exists()
            assert used.is_dir()
            assert foreign.is_dir()


def test_a_folder_of_another_process_stays(tmp_path: Path) -> None:
    """A lock belongs to an open file: a second one in this process is like another process."""
    folder = tmp_path / "tribunal-upload-abc"
    folder.mkdir()
    file = os.open(folder, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_EX)
    assert remove_left_over(tmp_path) == 0
    os.close(file)
    assert remove_left_over(tmp_path) == 1


def test_a_folder_whose_file_system_knows_no_locks_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: int, kind: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with upload_folder(tmp_path) as folder:
        (folder / "staged.db").write_bytes(b"rows")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_all_users_that_someone_locks_holds_up_no_import(tmp_path: Path) -> None:
    file = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_EX)
    with upload_folder(tmp_path) as folder:
        assert folder.is_dir()
    os.close(file)
