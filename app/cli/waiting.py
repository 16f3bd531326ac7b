"""Waiting for what the service goes on with alone: batches, and calibrations that ask judges.

Whatever ends the waiting, an outage or Ctrl-C, the user learns the id and how to go on.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.cli.console import EXIT_INTERRUPTED, fail, note
from app.client import CannotConnect, ConnectionLost, NotReady, Tribunal, TribunalClientError
from app.client.bodies import BatchBody
from app.client.certificate_bodies import CertificateBody


@dataclass(frozen=True, slots=True)
class Errand:
    """Something that the service does for a while, and the verb that waits for it."""

    kind: str
    verb: str
    id: str
    server: str | None
    patience_s: float
    options: tuple[str, ...] = ()

    @property
    def how_to_go_on(self) -> str:
        """The command that waits for it again."""
        server = ("--server", self.server) if self.server else ()
        return shlex.join(["tribunal", self.verb, "--resume", self.id, *self.options, *server])

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Say how to go on where the waiting or the fetching ends too soon."""
        try:
            yield
        except KeyboardInterrupt:
            fail(f"interrupted; {self._go_on}", status=EXIT_INTERRUPTED)
        except (CannotConnect, ConnectionLost, NotReady) as error:
            fail(f"{error}; {self._go_on}")

    @property
    def _go_on(self) -> str:
        return f"{self.kind} {self.id} is kept: go on with {self.how_to_go_on}"

    def lost(self, error: TribunalClientError) -> None:
        """Say that the server went away and that it is waited for."""
        note(f"{error}; trying again for {self.patience_s:g} s")


def wait_for_batch(
    tribunal: Tribunal,
    created: BatchBody,
    errand: Errand,
    on_look: Callable[[BatchBody], None] | None = None,
) -> BatchBody:
    """Return a batch when it has ended, with a bar meanwhile; `on_look` is told of every look."""
    total = created["request_counts"]["total"]
    note(f"batch {errand.id}: {total} pairs; to wait for it later: {errand.how_to_go_on}")
    with errand.kept():
        return tribunal.wait(
            errand.id, on_progress=on_look, patience_s=errand.patience_s, on_lost=errand.lost
        )


def wait_for_calibration(
    tribunal: Tribunal, created: CertificateBody, errand: Errand
) -> CertificateBody:
    """Return a certificate when it is made."""
    if created["status"] not in ("pending", "running"):
        return created
    note(f"calibration {errand.id}: judges are asked; to wait later: {errand.how_to_go_on}")
    with errand.kept():
        return tribunal.wait_for_calibration(
            errand.id, patience_s=errand.patience_s, on_lost=errand.lost
        )
