"""The command line: every verb of the service, against a server or in this process.

Results go to standard output, everything else to standard error. Exit status: 0 done, 1 failed,
2 bad usage, 3 not certifiable, 4 finished with failed rows, 5 a gate without an answer; 130
interrupted by Ctrl-C.

A verb is loaded and built when it is named: to build all of them takes longer than many a verb works.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import sys
from collections.abc import Iterator, MutableMapping
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, Final

import typer
import typer.main
from typer.core import TyperCommand
from typer.models import CommandInfo, TyperInfo

from app.cli.console import Verbs

# the module of each verb, and of each group of verbs; in the order of the help
MODULES: Final = {
    verb: module
    for module, verbs in (
        ("certifying", "certify plan"),
        ("data", "import export"),
        ("people.labels", "label"),
        ("people.finishes", "finish"),
        ("judging", "judge batch gate canaries"),
        ("boards", "report leaderboard"),
        ("experiment", "experiment replay"),
        ("distil", "distil"),
        ("stored", "verify"),
        ("admin", "serve worker doctor"),
        ("people.queues", "queue"),
        ("people.monitors", "monitors"),
        ("people.shadows", "shadows"),
        ("boards", "leaderboards"),
        ("stored", "datasets calibrations batches judges"),
        ("admin", "keys db"),
    )
    for verb in verbs.split()
}


class _Named(MutableMapping[str, Any]):
    """The verbs by their names; each is built when it is asked for."""

    def __init__(self) -> None:
        self._given: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._given[name] if name in self._given else verb(name)

    def __contains__(self, name: object) -> bool:
        return name in MODULES

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)

    def __setitem__(self, name: str, verb: Any) -> None:
        self._given[name] = verb

    def __delitem__(self, name: str) -> None:
        del self._given[name]


class _Program(Verbs):
    """All verbs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"commands": {}})
        self.commands = _Named()

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs."""
        return list(MODULES)

    def first_sentence(self, ctx: Any, name: str) -> str | None:
        """Return the first sentence of a verb's help, which does not need the verb to be built."""
        verb = TyperCommand(name, help=_help(_info(name)))
        return verb.get_short_help_str(10_000)


def _info(name: str) -> CommandInfo | TyperInfo:
    """Return what its module says of a verb or group.

    Raises:
        KeyError: there is none of this name.
    """
    registered = typer.Typer()
    import_module(f".{MODULES[name]}", __package__).add_to(registered)
    groups = {str(info.name): info for info in registered.registered_groups}
    verbs = {name_of(info): info for info in registered.registered_commands}
    return groups[name] if name in groups else verbs[name]


def name_of(info: CommandInfo) -> str:
    """Return the name of a verb."""
    return info.name or typer.main.get_command_name(getattr(info.callback, "__name__", ""))


def _help(info: CommandInfo | TyperInfo) -> str:
    if isinstance(info, TyperInfo):
        return typer.main.solve_typer_info_help(info)
    return inspect.cleandoc(info.help or info.callback.__doc__ or "")


@cache
def verb(name: str) -> Any:
    """Build a verb, once for all programs of a process."""
    info = _info(name)
    if isinstance(info, TyperInfo):
        return typer.main.get_group_from_info(
            info, pretty_exceptions_short=True, rich_markup_mode=None, suggest_commands=True
        )
    return typer.main.get_command_from_info(
        info, pretty_exceptions_short=True, rich_markup_mode=None
    )


app = typer.Typer(
    name="tribunal",
    no_args_is_help=True,
    cls=_Program,
    pretty_exceptions_enable=False,
    # plain text: it loads in a third of the time, cuts no option at 80 columns, and pastes well
    rich_markup_mode=None,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"tribunal {version('tribunal-judge')}")
        raise typer.Exit


@app.callback()
def tribunal(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Certified verdicts from judge models."""


def main() -> None:
    """Run the command line."""
    # what is loaded stays: collecting garbage over it again and again takes a fifth of the time
    gc.set_threshold(50_000, 20, 50)
    # nor is what is loaded garbage at the end, which the process itself clears away
    atexit.register(gc.freeze)
    # names may hold characters that the terminal cannot encode: escape them
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app()
