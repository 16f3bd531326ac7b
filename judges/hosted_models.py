"""What the tables of hosted models say together: which folders they name, what GPUs they share.

Several engines on one GPU share it by memory: each takes `engine.gpu_memory_utilization` of the
whole and keeps it. vLLM's sleep mode, which would let them take turns, is not used. A cascade
asks all of its tiers at once, so engines would change places with nearly every pair; and a wrong
number after a model's return would look like any other, in a service that promises agreement.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from judges.configuration import VllmTable, read_judge, tables
from judges.engines import EngineSettings
from judges.errors import JudgeConfigurationInvalid

SHARE: Final = "gpu_memory_utilization"
_DEFAULT_SHARE: Final = 0.9  # newer versions of vLLM take a little more unless told otherwise
_IN_BYTES: Final = "kv_cache_memory_bytes"
_SLEEP: Final = "enable_sleep_mode"
_SPLIT_OVER: Final = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class _Hosted:
    """An engine and the judges that it serves."""

    judges: tuple[str, ...]
    share: float
    gpus: tuple[str, ...]


def model_folders(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the folders, of those that exist, that the configured hosted judges name.

    Raises:
        JudgeConfigurationInvalid: Names the key.
    """
    models = {table.model for table in _hosted_tables(config).values()}
    return frozenset(model for model in models if Path(model).is_dir())


def check_memory(config: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Refuse hosted judges whose engines cannot all be in the memory of the GPUs they share.

    An engine that says by `kv_cache_memory_bytes` what it takes has no share and does not count.

    Raises:
        JudgeConfigurationInvalid: Names the judges and the GPU, or the option that is wrong.
    """
    engines = _engines(_hosted_tables(config), environ)
    for gpu in sorted({gpu for engine in engines for gpu in engine.gpus}):
        sharing = [engine for engine in engines if gpu in engine.gpus]
        taken = sum(engine.share for engine in sharing)
        if taken > 1 + _ROUNDING:
            parts = " + ".join(f"{'/'.join(one.judges)} {one.share:g}" for one in sharing)
            raise JudgeConfigurationInvalid(
                f"judges.{sharing[-1].judges[0]}.engine.{SHARE}: on GPU {gpu} the engines of"
                f" {parts} want {taken:.3g} of its memory; give each a share (it is"
                f" {_DEFAULT_SHARE} unless set) so that all are at most 1, or other devices"
            )


def _hosted_tables(config: Mapping[str, Any]) -> dict[str, VllmTable]:
    read = {name: read_judge(name, content) for name, content in tables(config, "judges").items()}
    return {name: table for name, table in read.items() if isinstance(table, VllmTable)}


def _engines(hosted: Mapping[str, VllmTable], environ: Mapping[str, str]) -> list[_Hosted]:
    by_key: dict[str, list[str]] = {}
    for name, table in hosted.items():
        _check_options(name, table)
        settings = EngineSettings(table.model, table.revision, table.engine, table.devices)
        by_key.setdefault(settings.key, []).append(name)
    return [
        _Hosted(tuple(names), _share(hosted[names[0]]), _gpus(hosted[names[0]], environ))
        for names in by_key.values()
    ]


def _check_options(name: str, table: VllmTable) -> None:
    path = f"judges.{name}.engine"
    share = table.engine.get(SHARE, _DEFAULT_SHARE)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise JudgeConfigurationInvalid(f"{path}.{SHARE}: more than 0 and at most 1, not {share!r}")
    if table.engine.get(_SLEEP):
        raise JudgeConfigurationInvalid(
            f"{path}.{_SLEEP}: engines are never put to sleep here; let them share a GPU by {SHARE}"
        )


def _share(table: VllmTable) -> float:
    return 0.0 if _IN_BYTES in table.engine else float(table.engine.get(SHARE, _DEFAULT_SHARE))


def _gpus(table: VllmTable, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the GPUs that an engine uses: the first of those that it sees."""
    count = 1
    for option in _SPLIT_OVER:
        size = table.engine.get(option, 1)
        count *= size if isinstance(size, int) else 1
    visible = table.devices or environ.get(_VISIBLE)
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return tuple(name.strip() for name in names[:count])
