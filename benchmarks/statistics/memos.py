"""Forgetting what the library remembers between calls, so that a first call can be timed again."""

from __future__ import annotations

import sys


def forget() -> None:
    """Clear every memo of the modules under `calibration`."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "calibration":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
