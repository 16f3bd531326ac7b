"""Runs the workers of a batch as tasks on a Ray cluster.

Each runs the usual worker loop until the batch has ended. Ray restarts a worker whose node is lost,
and the shard that it held is free when its lease has run out. A node has neither the configuration
file nor the working folder of the caller, so the text of the file and absolute paths are sent with
the task. (Moritz et al., "Ray: A Distributed
Framework for Emerging AI Applications", OSDI 2018.)
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import make_url

from app.core.settings import Settings


@dataclass(frozen=True, slots=True)
class Handed:
    """Settings as plain values, and the text of the configuration file if there is one."""

    settings: Mapping[str, Any]
    config: str | None

    @classmethod
    def of(cls, settings: Settings) -> Handed:
        """Return what a worker on another machine needs of these settings."""
        path = settings.config_path
        values = settings.model_dump(exclude={"config", "secret", "spool_dir", "node"})
        values["database_url"] = _absolute(settings.database_url)
        return cls(values, path.read_text(encoding="utf-8") if path else None)

    def opened(self, folder: Path) -> Settings:
        """Return the settings, with the configuration written to a file in this folder."""
        path = folder / "tribunal.toml"
        path.write_text(self.config or "", encoding="utf-8")
        return Settings(**{**self.settings, "config": path})


def _absolute(database_url: str) -> str:
    """Return the URL with the absolute path of a file: the worker runs in another folder."""
    url = make_url(database_url)
    if not database_url.startswith("sqlite") or not url.database or ":" in url.database:
        return database_url
    whole = url.set(database=str(Path(url.database).absolute()))
    return whole.render_as_string(hide_password=False)


def work_on(handed: Handed, batch_id: str) -> None:
    """Work on one batch in this process until it has ended."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_work_on(handed.opened(Path(folder)), batch_id))


async def _work_on(settings: Settings, batch_id: str) -> None:
    # the caller, which only starts tasks, does not load the service
    from app.batches.worker.loop import work_until_ended
    from app.main import open_runtime

    async with open_runtime(settings) as running:
        await running.open_judges()
        await work_until_ended(running, batch_id)


LOCAL: Final = "local"
# no usage statistics, unless the user has turned them on
_QUIET: Final = {"RAY_USAGE_STATS_ENABLED": "0"}


class EngineMissing(Exception):
    """Ray is not installed; the message names the extra."""


class EngineFailed(Exception):
    """The cluster cannot be reached, or none of its workers could work."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The place where workers run.

    Args:
        address: `auto` joins the cluster of this machine or of `RAY_ADDRESS`, `local` starts one on
            this machine alone, anything else is the address of a cluster.
        workers: How many; None = one for each node.
        gpus: Of each worker, for judges that are hosted in it.
    """

    address: str = "auto"
    workers: int | None = None
    gpus: float = 0.0


@dataclass(slots=True)
class RayWorkers:
    """The workers of one batch, as pending Ray tasks."""

    ray: Any
    waiting: list[Any]
    failures: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Collect the workers that have ended.

        Raises:
            EngineFailed: no worker is left, and at least one has failed.
        """
        ended, self.waiting = (
            self.ray.wait(self.waiting, num_returns=len(self.waiting), timeout=0)
            if self.waiting
            else ([], [])
        )
        for one in ended:
            try:
                self.ray.get(one)
            except Exception as error:  # any error of a remote process
                self.failures.append(_reason(error))
        if self.failures and not self.waiting:
            raise EngineFailed(f"no worker is left on the cluster: {self.failures[0]}")


def refuse_missing() -> None:
    """Check that Ray is installed.

    Raises:
        EngineMissing: names the extra.
    """
    _ray()


def _ray() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise EngineMissing(
            f"--engine ray needs Ray ({error}): install tribunal-judge[ray]"
        ) from None
    return ray


@contextmanager
def working_on(batch_id: str, handed: Handed, placement: Placement) -> Iterator[RayWorkers]:
    """Run workers on a batch while the block runs.

    Raises:
        EngineMissing: Ray is not installed.
        EngineFailed: the cluster cannot be reached, or has fewer GPUs than one worker needs.
    """
    ray = _ray()
    _join(ray, placement.address)
    try:
        _refuse_impossible(ray.cluster_resources(), placement)
        count = placement.workers or max(len(_living(ray)), 1)
        # a task is restarted, on another node, as often as its process or node is lost
        task = ray.remote(
            num_cpus=1, num_gpus=placement.gpus, max_retries=-1, scheduling_strategy="SPREAD"
        )(work_on)
        yield RayWorkers(ray, [task.remote(handed, batch_id) for _ in range(count)])
    finally:
        ray.shutdown()


def _join(ray: Any, address: str) -> None:
    starting = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(
            address=address, log_to_driver=False, logging_level=logging.ERROR,
            configure_logging=False, **starting,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineFailed(f"--ray-address {address}: {error}") from error


def _living(ray: Any) -> list[Mapping[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _refuse_impossible(resources: Mapping[str, float], placement: Placement) -> None:
    there = resources.get("GPU", 0.0)
    if placement.gpus > there:
        raise EngineFailed(
            f"--ray-gpus {placement.gpus:g}: the cluster has {there:g} GPUs, so no worker could start"
        )


def _reason(error: Exception) -> str:
    """Return the last line of a remote traceback, which names the error."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()
