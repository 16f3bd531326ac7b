"""Certified verdicts from judge models: which of two answers people prefer.

The names below are loaded when they are first used. The rest of the library is in the subpackages:
`tribunal.app.client` and `tribunal.app.gate`, `tribunal.calibration`, `tribunal.judges`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.client import AsyncTribunal, Tribunal
    from app.gate import assert_preferred
    from calibration import certify_cascade, decide

    __version__: str

__all__ = [
    "AsyncTribunal",
    "Tribunal",
    "__version__",
    "assert_preferred",
    "certify_cascade",
    "decide",
]

# type checkers read the imports above, and report any other name
if not TYPE_CHECKING:

    def __getattr__(name):
        """Load a name of the library, once."""
        if name == "__version__":
            from importlib.metadata import version

            value = version("tribunal-judge")
        elif name in ("AsyncTribunal", "Tribunal"):
            from app import client

            value = getattr(client, name)
        elif name == "assert_preferred":
            from app.gate import assert_preferred as value
        elif name in ("certify_cascade", "decide"):
            import calibration

            value = getattr(calibration, name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        """Return the names of the library, loaded or not."""
        return sorted({*globals(), *__all__})
