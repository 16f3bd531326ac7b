"""Makes `tribunal.app` and its siblings the packages of the checkout, in an editable install.

`tribunal.app.cli` and `app.cli` are then one module with one state, whichever is imported first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import CodeType, ModuleType

_PREFIX = f"{__package__}."


class Aliases(MetaPathFinder, InspectLoader):
    """Finds `tribunal.PACKAGE` and what is below it under the name without `tribunal`."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module by its alias."""
        real = fullname.removeprefix(_PREFIX)
        if real == fullname or real.partition(".")[0] not in self._packages:
            return None
        found = find_spec(real)
        if found is None:
            return None
        is_package = found.submodule_search_locations is not None
        return spec_from_loader(fullname, self, origin=found.origin, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module itself, imported under its own name."""
        module = import_module(spec.name.removeprefix(_PREFIX))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back: the import system has just replaced it."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of a module, for `python -m`."""
        found = find_spec(fullname.removeprefix(_PREFIX))
        assert found is not None
        assert isinstance(found.loader, InspectLoader)
        return found.loader.get_code(found.name)

    def get_source(self, fullname: str) -> str | None:
        """Return the source of a module, for tracebacks."""
        found = find_spec(fullname.removeprefix(_PREFIX))
        assert found is not None
        assert isinstance(found.loader, InspectLoader)
        return found.loader.get_source(found.name)


def install(packages: Sequence[str]) -> None:
    """Find the packages by their aliases from now on.

    It goes first: other finders would find the files again, and load them as second modules.
    """
    sys.meta_path.insert(0, Aliases(packages))
