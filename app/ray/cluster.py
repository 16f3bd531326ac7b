"""Places the workers of one batch on a Ray cluster.

Each runs the ordinary worker loop until the batch has ended. Ray starts one anew where its node goes
away; the shard that it held is free again when its lease has run out. (Moritz et al., "Ray: A
Distributed Framework for Emerging AI Applications", OSDI 2018.)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from app.engines.handing_over import Handed, work_on

LOCAL: Final = "local"
# nobody is told how this library is used, unless somebody wants that
_QUIET: Final = {"RAY_USAGE_STATS_ENABLED": "0"}


class EngineMissing(Exception):
    """The package of an engine is not installed; the message names the extra."""


class EngineFailed(Exception):
    """The engine cannot be reached, or none of its workers could work."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where workers run.

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
    """The workers of one batch, by their promises of an end."""

    ray: Any
    waiting: list[Any]
    failures: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Notice workers that have ended.

        Raises:
            EngineFailed: none is left, and at least one had to give up.
        """
        ended, self.waiting = (
            self.ray.wait(self.waiting, num_returns=len(self.waiting), timeout=0)
            if self.waiting
            else ([], [])
        )
        for one in ended:
            try:
                self.ray.get(one)
            except Exception as error:  # whatever a remote process died of
                self.failures.append(_reason(error))
        if self.failures and not self.waiting:
            raise EngineFailed(f"no worker is left on the cluster: {self.failures[0]}")


def refuse_missing() -> None:
    """Check that Ray is there.

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
    """Keep workers at work on a batch while the block runs.

    Raises:
        EngineMissing: Ray is not installed.
        EngineFailed: there is no such cluster, or it has fewer GPUs than one worker needs.
    """
    ray = _ray()
    _join(ray, placement.address)
    try:
        _refuse_impossible(ray.cluster_resources(), placement)
        count = placement.workers or max(len(_living(ray)), 1)
        # a task is begun again, elsewhere, as often as its process or its node is lost
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
    """Return the last line of what a remote process said: that names its error."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()
