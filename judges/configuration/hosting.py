"""The GPUs that hosted models share, and the engines that several judges use together.

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

from judges.configuration.tables import HostedTable, RewardTable, VllmTable, read_judge, tables
from judges.errors import JudgeConfigurationInvalid
from judges.vllm.settings import EngineSettings, adapter_options

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
    hosted = _hosted_tables(config).values()
    named = {table.model for table in hosted}
    named |= {one.adapter for one in hosted if isinstance(one, VllmTable) and one.adapter}
    return frozenset(folder for folder in named if Path(folder).is_dir())


def check_memory(config: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Refuse hosted judges whose engines cannot all be in the memory of the GPUs they share.

    An engine with `kv_cache_memory_bytes` takes a fixed amount: it has no share and does not count.

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


def _hosted_tables(config: Mapping[str, Any]) -> dict[str, HostedTable]:
    read = {name: read_judge(name, content) for name, content in tables(config, "judges").items()}
    return {
        name: table
        for name, table in read.items()
        if isinstance(table, VllmTable) or (isinstance(table, RewardTable) and not table.base_url)
    }


def _engines(hosted: Mapping[str, HostedTable], environ: Mapping[str, str]) -> list[_Hosted]:
    by_key: dict[str, list[str]] = {}
    for name, table in hosted.items():
        _check_options(name, table)
        settings = engine_settings(table)
        by_key.setdefault(settings.key, []).append(name)
    return [
        _Hosted(tuple(names), _share(hosted[names[0]]), _gpus(hosted[names[0]], environ))
        for names in by_key.values()
    ]


def engine_settings(table: HostedTable) -> EngineSettings:
    """Return the engine of a hosted judge."""
    return EngineSettings(table.model, table.revision, table.engine_options, table.devices)


def adapters_of(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return, by the key of an engine, the options with which it takes its judges' adapters."""
    named: dict[str, set[str]] = {}
    for table in _hosted_tables(config).values():
        if isinstance(table, VllmTable) and table.adapter:
            named.setdefault(engine_settings(table).key, set()).add(table.adapter)
    return {key: adapter_options(adapters) for key, adapters in named.items()}


def _check_options(name: str, table: HostedTable) -> None:
    path = f"judges.{name}.engine"
    share = table.engine.get(SHARE, _DEFAULT_SHARE)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise JudgeConfigurationInvalid(f"{path}.{SHARE}: more than 0 and at most 1, not {share!r}")
    if table.engine.get(_SLEEP):
        raise JudgeConfigurationInvalid(
            f"{path}.{_SLEEP}: engines are never put to sleep here; let them share a GPU by {SHARE}"
        )


def _share(table: HostedTable) -> float:
    return 0.0 if _IN_BYTES in table.engine else float(table.engine.get(SHARE, _DEFAULT_SHARE))


def _gpus(table: HostedTable, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the GPUs that an engine uses: the first of those that it sees."""
    count = 1
    for option in _SPLIT_OVER:
        size = table.engine.get(option, 1)
        count *= size if isinstance(size, int) else 1
    visible = table.devices or environ.get(_VISIBLE)
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return tuple(name.strip() for name in names[:count])
