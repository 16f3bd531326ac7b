"""How verbs reach the service, wait for it, and write files.

What ends the waiting, an outage or Ctrl-C, is said with the id and the command that goes on.
The service and its client are imported where they are needed: help and completion are fast.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, NamedTuple, TypeVar

import typer

from app.cli.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, fail, note

if TYPE_CHECKING:
    from app.bodies.batches import BatchBody
    from app.bodies.certificates import CertificateBody
    from app.client import Tribunal, TribunalClientError
    from app.core.migrate import Placed
    from app.core.settings import Settings

Server = Annotated[
    str | None,
    typer.Option(envvar="TRIBUNAL_SERVER", help="address of a server; none: run in this process"),
]
Key = Annotated[str | None, typer.Option(envvar="TRIBUNAL_API_KEY", help="key of the server")]
ResultT = TypeVar("ResultT")


class Where(NamedTuple):
    """The server that a verb asks, None for this process, and its key."""

    server: str | None
    key: str | None


OTHER_PLACES: Final = "(DATABASE_URL names another database, --server or TRIBUNAL_SERVER a service)"


@contextmanager
def open_tribunal(
    server: str | None,
    key: str | None,
    *,
    only_reads: bool = False,
    stores_nothing: bool = False,
    **changed: Any,
) -> Iterator[Tribunal]:
    """Open the service, and turn what it refuses into an exit status.

    Args:
        server: Its address; None for the service in this process.
        key: Of the server.
        only_reads: The verb needs something that is stored. Where there is no database it fails
            and makes none. Nor does it go on with an unfinished batch: looking costs nothing.
        stores_nothing: The verb needs nothing that is stored either. Where there is no database it
            runs beside an empty one, which is gone afterwards.
        changed: Settings of the service in this process, instead of the environment's.
    """
    with _client_refusals():
        if server:
            with _client_of(server, key) as tribunal:
                yield tribunal
        else:
            with ExitStack() as stack:
                if stores_nothing:
                    changed |= _idle_and_apart(stack)
                yield stack.enter_context(_service_here(only_reads, changed))


def _idle_and_apart(stack: ExitStack) -> dict[str, Any]:
    """Return the settings of a service that works on nothing and leaves no database behind."""
    from tempfile import TemporaryDirectory

    from app.core.migrate import is_missing

    if not is_missing(read_settings()):
        return {"workers": 0}
    folder = stack.enter_context(TemporaryDirectory(prefix="tribunal-"))
    return {"workers": 0, "database_url": f"sqlite+aiosqlite:///{folder}/nothing.db"}


def _client_of(server: str, key: str | None) -> Tribunal:
    from app.client import Tribunal

    return Tribunal(server, api_key=key)


@contextmanager
def _service_here(only_reads: bool, changed: dict[str, Any]) -> Iterator[Tribunal]:
    """Open the service in this process; say which database it is where something is missing."""
    from app.client import NotFound, Tribunal
    from app.core.migrate import database_place, is_missing
    from app.core.telemetry import configure_logging

    idle = {"workers": 0} if only_reads else {}
    settings = read_settings().model_copy(update={"log_level": "warning", **idle, **changed})
    place, was_missing = database_place(settings), is_missing(settings)
    if only_reads:
        refuse_missing(settings)
    configure_logging(settings)
    with refusals(), ExitStack() as stack:
        with database_errors(settings):
            tribunal = stack.enter_context(Tribunal(settings=settings))
        try:
            yield tribunal
        except NotFound as error:
            made = ", which was just made" if was_missing else ""
            fail(f"{error}; looked into {place}{made} {OTHER_PLACES}", details=error.problem)


def refuse_missing(settings: Placed) -> None:
    """Fail where there is no database; one that was made now would be empty."""
    from app.core.migrate import database_place, is_missing

    if is_missing(settings):
        place = database_place(settings)
        fail(f"there is no database {place}: nothing is stored here {OTHER_PLACES}")


@contextmanager
def _client_refusals() -> Iterator[None]:
    """Turn what the client raises, or Ctrl-C, into one line and an exit status."""
    from app.client import (
        ConnectionInvalid,
        NotAuthenticated,
        RequestRefused,
        TribunalClientError,
    )

    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted", status=EXIT_INTERRUPTED)
    except NotAuthenticated as error:
        fail(f"{error} (--key or TRIBUNAL_API_KEY)")
    except RequestRefused as error:
        fail(_with_options(str(error), error.problem), details=error.problem)
    except ConnectionInvalid as error:
        fail(str(error), status=EXIT_USAGE)
    except TribunalClientError as error:
        fail(str(error))


# fields of a request that have another name as an option
_OPTIONS: Final = {
    "dialect": "--format",
    "criteria": "--criterion",
    "cascade.judges": "--judges",
    "budget": "--soft-budget",
    **{f"options.{name}": f"--elo-{name}" for name in ("k", "start", "scale")},
}


def _with_options(message: str, problem: Mapping[str, Any]) -> str:
    """Add to a refusal how the fields that it names are called on the command line."""
    fields = [
        [str(part) for part in error.get("loc", ())[1:]] for error in problem.get("errors", ())
    ]
    found = dict.fromkeys(_option_of(path) for path in fields if path)
    options = [name for name in found if name and name not in message]
    return f"{message} (here {', '.join(options)})" if options else message


def _option_of(path: Sequence[str]) -> str | None:
    known = _OPTIONS.get(".".join(path)) or _OPTIONS.get(path[0])
    return known or (f"--{path[0].replace('_', '-')}" if "_" in path[0] else None)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the service in this process raises, or Ctrl-C, into one line and an exit status."""
    from app.core.errors import TribunalError

    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted", status=EXIT_INTERRUPTED)
    except TribunalError as error:
        fail(error.detail)


def read_settings() -> Settings:
    """Return the settings of the environment, or name the one that is wrong."""
    from pydantic import ValidationError

    from app.core.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        faults = [f"{_variable(fault['loc'])}: {_reason(fault['msg'])}" for fault in error.errors()]
    return fail("; ".join(faults))


def _variable(loc: tuple[int | str, ...]) -> str:
    """Return the environment's name of a setting."""
    name = str(loc[0]).upper() if loc else "settings"
    if name == "DATABASE_URL":
        return name if name in os.environ else f"TRIBUNAL_{name}"
    return name if name.startswith("TRIBUNAL_") else f"TRIBUNAL_{name}"


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")


@contextmanager
def database_errors(settings: Placed) -> Iterator[None]:
    """Turn a database that cannot be reached or used into one line."""
    try:
        yield
    except BrokenPipeError:
        raise  # standard output was closed, which is no fault of the database
    except database_error_kinds() as error:
        fail(database_fault(settings, error))


def database_error_kinds() -> tuple[type[Exception], ...]:
    """Return what a database that cannot be reached or used raises."""
    from alembic.util.exc import CommandError
    from asyncpg import PostgresError
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError, CommandError, OSError, PostgresError


def database_fault(settings: Placed, error: BaseException) -> str:
    """Return in one line what is wrong with the database."""
    from app.core.migrate import shown_url

    cause = getattr(error, "orig", None) or error  # what a driver raised says more
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return f"DATABASE_URL {shown_url(settings)}: {lines[0]}"


def run(work: Coroutine[Any, Any, ResultT], settings: Settings) -> ResultT:
    """Run what works on the database of the settings."""
    import asyncio

    with refusals(), database_errors(settings):
        return asyncio.run(work)


@dataclass(frozen=True, slots=True)
class Errand:
    """Work of the service that takes a while, and the verb that waits for it."""

    kind: str
    verb: str
    id: str
    server: str | None
    patience_s: float
    options: tuple[str, ...] = ()

    @property
    def how_to_go_on(self) -> str:
        """Return the command that waits for it again."""
        server = ("--server", self.server) if self.server else ()
        return shlex.join(["tribunal", self.verb, "--resume", self.id, *self.options, *server])

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Say how to go on where waiting or fetching ends too soon."""
        from app.client import CannotConnect, ConnectionLost, NotReady

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
        """Say that the server is away and that the verb goes on trying."""
        note(f"{error}; trying again for {self.patience_s:g} s")


def wait_for_batch(
    tribunal: Tribunal,
    created: BatchBody,
    errand: Errand,
    on_look: Callable[[BatchBody], None] | None = None,
) -> BatchBody:
    """Return a batch when it has ended, and show a bar until then.

    `on_look` is called with the batch at every look.
    """
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


@contextmanager
def whole(
    path: Path, option: str | None = None, *, status: int = EXIT_FAILED
) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces the one at `path` when it is complete.

    A pipe or device (`/dev/stdout`) is written directly. An error is one line, with the option
    that asked for the file, and an exit status.
    """
    place = path.resolve()
    is_file = place.is_file() or not place.exists()
    written = place.with_name(f".{place.name}.part") if is_file else place
    try:
        with written.open("wb") as file:
            yield file
        if is_file:
            if place.exists():
                shutil.copymode(place, written)
            written.replace(place)
    except OSError as error:
        named = f"{option}: {path}" if option else str(path)
        fail(f"{named}: {error.strerror or error}", status=status)
    finally:
        if is_file:
            with suppress(OSError):
                written.unlink()


def refuse_unwritable(path: Path, option: str) -> None:
    """Refuse a path that cannot become a file, before judging spends money."""
    if path.is_dir():
        fail(f"{option}: {path} is a folder", status=EXIT_USAGE)
    if not path.absolute().parent.is_dir():
        fail(f"{option}: there is no folder {path.parent}", status=EXIT_USAGE)
