"""The wheel that is built of this checkout, and an environment that it is installed in."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = "tribunal-judge"


@dataclass(frozen=True, slots=True)
class Built:
    """What hatchling makes of the checkout."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True, slots=True)
class InstalledWheel:
    """An environment that has the package."""

    python: Path
    bin: Path


def hatchling(source: Path, target: Path, *kinds: str) -> None:
    options = [word for kind in kinds for word in ("-t", kind)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target), *options]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The archives, built once a session."""
    folder = tmp_path_factory.mktemp("dist")
    hatchling(ROOT, folder, "sdist", "wheel")
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="session")
def installed_wheel(built: Built, tmp_path_factory: pytest.TempPathFactory) -> InstalledWheel:
    """A virtual environment that the wheel is installed in, and all that it needs."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, symlinks=True)
    _share_packages(Path(sysconfig.get_path("purelib", vars={"base": str(folder)})))
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    subprocess.run([*pip, *options, str(built.wheel)], check=True)
    return InstalledWheel(folder / "bin" / "python", folder / "bin")


def _share_packages(site: Path) -> None:
    """Link the packages of this environment, without this project and without other plugins."""
    left_out = {"__pycache__"}
    for found in distributions(path=[sysconfig.get_path("purelib")]):
        names = {file.parts[0] for file in found.files or ()}
        metadata = {name for name in names if name.endswith(".dist-info")}
        if found.name == OURS:
            left_out |= names
        elif any(entry.group == "pytest11" for entry in found.entry_points):
            left_out |= metadata
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name not in left_out and package.suffix != ".pth":
            (site / package.name).symlink_to(package)
