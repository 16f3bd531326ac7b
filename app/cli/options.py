"""Where a batch's workers run: in the service as usual, or placed by an engine on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from app.cli.console import EXIT_USAGE, fail
from app.cli.opening import read_settings

RAY: Final = "ray"
Look = Callable[[Any], None]

EngineOption = Annotated[
    str | None, typer.Option("--engine", help="ray: workers on a Ray cluster judge the batch")
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="auto (default) joins a cluster, local starts one on this machine alone"),
]
RayWorkersOption = Annotated[
    int | None, typer.Option("--ray-workers", min=1, help="how many; default: one for each node")
]
RayGpus = Annotated[
    float | None, typer.Option(min=0, help="GPUs of each worker, for judges hosted in it")
]


@dataclass(frozen=True, slots=True)
class Engine:
    """What the options say about the engine; `name` is None for the ordinary workers."""

    name: str | None
    address: str | None
    workers: int | None
    gpus: float | None

    @classmethod
    def of(
        cls, name: str | None, address: str | None, workers: int | None, gpus: float | None
    ) -> Engine:
        """Read the options, and refuse an engine that is not there before anything is begun."""
        if name not in (None, RAY):
            fail(f"--engine: {name!r} is none of: {RAY}", status=EXIT_USAGE)
        if name is None and (address, workers, gpus) != (None, None, None):
            fail("--ray-... options need --engine ray", status=EXIT_USAGE)
        if name == RAY:
            _refuse_missing()
        return cls(name, address, workers, gpus)

    @property
    def settings(self) -> dict[str, Any]:
        """What is changed of the settings of the service in this process: it leaves the work."""
        return {"workers": 0} if self.name else {}

    @property
    def options(self) -> tuple[str, ...]:
        """The options as they are typed."""
        pairs = (
            ("--engine", self.name), ("--ray-address", self.address),
            ("--ray-workers", self.workers), ("--ray-gpus", self.gpus),
        )  # fmt: skip
        return tuple(
            str(word) for option, value in pairs if value is not None for word in (option, value)
        )

    @contextmanager
    def working_on(self, batch_id: str, **changed: Any) -> Iterator[Look | None]:
        """Keep the engine's workers at work; yields what is to be called at every look.

        `changed` are settings of the workers that differ from the environment's.
        """
        if self.name is None:
            yield None
            return
        from app.engines import ray_engine
        from app.engines.handing_over import Handed

        placement = ray_engine.Placement(self.address or "auto", self.workers, self.gpus or 0.0)
        try:
            handed = Handed.of(read_settings().model_copy(update=changed))
            with ray_engine.working_on(batch_id, handed, placement) as workers:
                yield lambda batch: _look(workers, batch)
        except (ray_engine.EngineFailed, ray_engine.EngineMissing) as error:
            fail(f"{error}; batch {batch_id} is kept")


def _look(workers: Any, batch: Any) -> None:
    # the last look finds workers that have ended because there is nothing more to do
    if batch["status"] == "in_progress":
        workers.look()


def _refuse_missing() -> None:
    from app.engines.ray_engine import EngineMissing, refuse_missing

    try:
        refuse_missing()
    except EngineMissing as error:
        fail(str(error))
