"""The compose files hang together as far as that can be seen without containers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from app.cli import app

DOCKER = Path(__file__).resolve().parents[2] / "docker"
FILES = sorted(DOCKER.glob("compose*.yaml"))


def load(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(file.read_text())
    return loaded


def test_there_is_one_for_workers_one_for_the_router_one_for_ray() -> None:
    names = [file.name for file in FILES]
    assert names == ["compose.ray.yaml", "compose.router.yaml", "compose.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_services_name_an_image_and_services_that_are_there(file: Path) -> None:
    # an extending file is put over the first one
    known = {**load(DOCKER / "compose.yaml")["services"], **load(file)["services"]}
    for name, service in load(file)["services"].items():
        assert service["image"], name
        assert set(service.get("depends_on", ())) <= known.keys(), name
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / "pyproject.toml").is_file()
            assert (DOCKER / ".." / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_commands_of_the_service_exist(file: Path) -> None:
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    for service in load(file)["services"].values():
        command = service.get("command", [])
        words = shlex.split(command) if isinstance(command, str) else command
        if words[:1] == ["tribunal"]:
            assert words[1] in verbs


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_image_has_a_version(file: Path) -> None:
    for name, service in load(file)["services"].items():
        if "build" not in service:
            _, _, version = service["image"].partition(":")
            assert version not in ("", "latest"), name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_a_container_installs_is_locked(file: Path) -> None:
    for name, service in load(file)["services"].items():
        command = str(service.get("command", ""))
        if "pip install" not in command:
            continue
        assert "--require-hashes" in command, name
        assert "--no-deps" in command, name
        mounted = dict(volume.split(":")[1::-1] for volume in service["volumes"])
        inside = command.partition(" -r ")[2].split()[0]
        lock = (DOCKER / mounted[inside]).read_text()
        packages = [line for line in lock.splitlines() if line[:1].isalnum()]
        assert packages
        assert all("==" in line for line in packages)
        assert lock.count("--hash=sha256:") >= len(packages)
