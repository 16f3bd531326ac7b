"""Builds the wheel with every package under one import root: `tribunal.app`, `tribunal.judges`, ...

In the repository the packages have short names. Installed, they would collide with the packages of
the project that they are installed beside. So the wheel holds a copy of the sources whose imports
are rewritten; everything else stays as it is, byte for byte. An editable install gets a small
package `tribunal` instead, whose submodules are the modules of the checkout.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Set
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = "tribunal"
#: Calls whose first argument, a literal, names a module.
CALLS: Final = frozenset(
    {"import_module", "find_spec", "files", "PackageLoader", "run_module", "uvicorn.run"}
)
_QUOTE: Final = re.compile(rb"[rRuU]?(\"\"\"|'''|\"|')")
_FROM: Final = re.compile(rb"from\s+")
_PATH: Final = re.compile(r"(?P<run>python -m )?(?P<module>\w+(\.\w+)*)(?P<rest>.*)", re.DOTALL)
Edit = tuple[int, int, bytes]


class WheelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hands hatchling the rewritten copy, or for an editable install the package of aliases."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files that go into the wheel."""
        here, root = Path(__file__).parent, Path(self.root)
        self._made = TemporaryDirectory(prefix="tribunal-wheel-")
        made = Path(self._made.name)
        if version == "editable":
            write_aliases(here, made, [*self.config["packages"], "examples"])
            build_data["force_include_editable"][str(made)] = ROOT
            return
        sources = {
            **packaged(root, self.config["packages"]),
            **{name: root / name for name in self.config["files"]},
        }
        write_package(sources, made)
        build_data["force_include"][str(made)] = ROOT

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copy."""
        self._made.cleanup()


class StaleName(Exception):
    """A literal names a module by the name it has in the repository only."""


def packaged(root: Path, packages: list[str]) -> dict[str, Path]:
    """Return the files of the packages by their paths under the root."""
    return {
        file.relative_to(root).as_posix(): file
        for package in packages
        for file in sorted((root / package).rglob("*"))
        if file.is_file() and file.parent.name != "__pycache__" and not file.name.startswith(".")
    }


def write_package(sources: dict[str, Path], target: Path) -> None:
    """Write the import root: the front, the packages, and the marker of types."""
    modules = frozenset(module_name(name) for name in sources if name.endswith(".py"))
    here = Path(__file__).parent
    for name, file in {**sources, "__init__.py": here / "import_root.py"}.items():
        content = file.read_bytes()
        if name.endswith(".py"):
            content = rewritten(content, modules, name)
        written = target / name
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_bytes(content)
    (target / "py.typed").touch()


def write_aliases(here: Path, target: Path, packages: list[str]) -> None:
    """Write the import root of an editable install: the front, and aliases of the packages."""
    front = (here / "import_root.py").read_text(encoding="utf-8")
    install = f"\nfrom {ROOT} import _aliases\n\n_aliases.install({tuple(packages)!r})\n"
    (target / "__init__.py").write_text(front + install, encoding="utf-8")
    (target / "_aliases.py").write_bytes((here / "import_aliases.py").read_bytes())
    (target / "py.typed").touch()


def module_name(path: str) -> str:
    """Return the dotted name of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def rewritten(source: bytes, modules: Set[str], path: str = "") -> bytes:
    """Return the source with the names of our modules put under the import root.

    Args:
        source: A module.
        modules: The dotted names of all modules that move.
        path: Of the module, for messages.

    Raises:
        StaleName: a literal names one of the modules where nothing says that it does.
    """
    tree = ast.parse(source)
    starts = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]

    def span(node: ast.stmt | ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )

    edits = sorted(_edits(tree, source, modules, span))
    known = {start for start, _, _ in edits}
    for node, name in _literals(tree, modules):
        if not any(start in known for start in range(*span(node))):
            raise StaleName(f"{path}:{node.lineno}: {name!r} is another name in the wheel")
    for start, end, text in reversed(edits):
        source = source[:start] + text + source[end:]
    return source


def _edits(
    tree: ast.Module, source: bytes, modules: Set[str], span: Callable[[Any], tuple[int, int]]
) -> Iterator[Edit]:
    packages = {name.partition(".")[0] for name in modules}
    for node in ast.walk(tree):
        match node:
            case ast.Import() if any(_first(alias.name) in packages for alias in node.names):
                text = "; ".join(_import(alias, packages) for alias in node.names)
                yield (*span(node), text.encode())
            case ast.ImportFrom(module=str(name), level=0) if _first(name) in packages:
                yield _insertion(_FROM, source, span(node)[0])
            case ast.Call(args=[ast.Constant(value=str(name)) as literal, *_]) if _is_by_name(
                node
            ) and _named(name, modules):
                yield _insertion(_QUOTE, source, span(literal)[0])


def _first(name: str) -> str:
    return name.partition(".")[0]


def _import(alias: ast.alias, packages: Set[str]) -> str:
    first = _first(alias.name)
    if first not in packages:
        return f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
    if alias.asname:
        return f"import {ROOT}.{alias.name} as {alias.asname}"
    binding = f"from {ROOT} import {first}"
    return binding if alias.name == first else f"import {ROOT}.{alias.name}; {binding}"


def _insertion(before: re.Pattern[bytes], source: bytes, start: int) -> Edit:
    found = before.match(source, start)
    assert found is not None
    return found.end(), found.end(), f"{ROOT}.".encode()


def _is_by_name(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    return name in CALLS or name.rpartition(".")[2] in CALLS


def _named(text: str, modules: Set[str]) -> bool:
    """Tell whether a text is the name of a module, perhaps with a member, or runs a module."""
    found = _PATH.fullmatch(text)
    if found is None or found["module"] not in modules:
        return False
    member = r":[A-Za-z_]\w*"
    rests = rf"{member}|\.?" if "." in found["module"] else rf"{member}|"
    return bool(found["run"]) or re.fullmatch(rests, found["rest"]) is not None


def _literals(tree: ast.Module, modules: Set[str]) -> Iterator[tuple[ast.Constant, str]]:
    """Yield the literals that name modules; a single word does so only behind `-m`."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if not text.isidentifier() and _named(text, modules):
                yield node, text
            case ast.List(elts=words) | ast.Tuple(elts=words):
                for option, word in pairwise(words):
                    match option, word:
                        case ast.Constant(value="-m"), ast.Constant(value=str(text)):
                            if _named(text, modules):
                                yield word, text
