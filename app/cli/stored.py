"""The verbs on what is stored: list, show, revoke, cancel, delete."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli import reading
from app.cli.console import (
    EXIT_FAILED,
    EXIT_FAILED_ROWS,
    EXIT_NOT_CERTIFIABLE,
    EXIT_USAGE,
    AsJson,
    Console,
    Verbs,
    fail,
    note,
)
from app.cli.options import one_row_of
from app.cli.reading import MOST_ROWS
from app.cli.service import Key, Server, Where, open_tribunal
from app.cli.tables import boards as board_tables
from app.cli.tables import certificates as certificate_tables
from app.cli.tables import service as service_tables
from app.cli.tables import verdicts as verdict_tables
from app.cli.tables.layout import Screen

if TYPE_CHECKING:
    from app.client import Tribunal

StoredId = Annotated[str, typer.Argument(help="its id, or the name of a dataset; see list")]


class Order(StrEnum):
    """In which order a list is printed."""

    ASC = "asc"
    DESC = "desc"


Render = Callable[[Screen, Any], None]

_datasets = typer.Typer(help="Imported datasets.", no_args_is_help=True, cls=Verbs)
_calibrations = typer.Typer(help="Certificates.", no_args_is_help=True, cls=Verbs)
_judges = typer.Typer(
    help="Configured judges, with the variables of their prompt templates.",
    invoke_without_command=True,
    cls=Verbs,
)
_batches = typer.Typer(help="Batches.", no_args_is_help=True, cls=Verbs)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(_datasets, name="datasets")
    app.add_typer(_calibrations, name="calibrations")
    app.add_typer(_batches, name="batches")
    app.add_typer(_judges, name="judges")
    app.command()(verify)


def add_list(group: typer.Typer, collection: str, what: str, render: Render) -> None:
    """Add the verb that lists a collection of the service, page by page."""

    @group.command("list", help=f"List {what}, newest first.")
    def list_them(  # noqa: PLR0913  # a verb's options are its parameters
        limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS)] = 20,
        after: Annotated[str | None, typer.Option(help="id of the last one already seen")] = None,
        order: Annotated[Order, typer.Option(help="asc: oldest first")] = Order.DESC,
        server: Server = None,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        page = reading.page_of(
            collection, Where(server, key), limit=limit, after=after, order=order.value
        )
        Console(as_json).show(page, _with_more(render) if page["data"] else _say_none(what))


def _with_more(render: Render) -> Render:
    def show(screen: Screen, page: Any) -> None:
        render(screen, page)
        if page["has_more"]:
            screen.print(f"there are more: --after {page['last_id']}")

    return show


def _say_none(what: str) -> Render:
    return lambda screen, _page: screen.print(f"there are no {what} yet")


def add_show(group: typer.Typer, collection: str, what: str, render: Render) -> None:
    """Add the verb that shows one thing of a collection."""

    @group.command("show", help=what)
    def show(
        ref: StoredId, server: Server = None, key: Key = None, as_json: AsJson = False
    ) -> None:
        Console(as_json).show(reading.one_of(collection, ref, Where(server, key)), render)


def _add(
    group: typer.Typer, name: str, what: str, ask: Callable[[Tribunal, str], Any], render: Render
) -> None:
    """Add a verb that asks for one thing by its id, and shows the answer."""

    @group.command(name, help=what)
    def do(ref: StoredId, server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
        with open_tribunal(server, key, only_reads=True) as tribunal:
            body = ask(tribunal, ref)
        Console(as_json).show(body, render)


@_datasets.command("delete")
def delete_dataset(
    dataset: Annotated[str, typer.Argument(help="name or id of a dataset")],
    force: Annotated[
        bool, typer.Option("--force", help="also where certificates rest on it: they go, too")
    ] = False,
    server: Server = None,
    key: Key = None,
) -> None:
    """Delete a dataset with its pairs, labels, batches and verdicts."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        tribunal.datasets.delete(dataset, force=force)
    note(f"the dataset {dataset} is deleted")


@_judges.callback()
def list_judges(
    context: typer.Context, server: Server = None, key: Key = None, as_json: AsJson = False
) -> None:
    """List the configured judges."""
    if context.invoked_subcommand is None:
        with open_tribunal(server, key, workers=0) as tribunal:
            found = list(tribunal.judges.list())
        Console(as_json).show(found, service_tables.judges)


@_judges.command("show")
def show_judge(
    name: Annotated[str, typer.Argument(help="name of a configured judge")],
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a judge, and what its prompt template may use."""
    with open_tribunal(server, key, workers=0) as tribunal:
        found = {one["name"]: one for one in tribunal.judges.list()}
    if name not in found:
        fail(f"there is no judge {name!r}; configured: {', '.join(found)}")
    Console(as_json).show(found[name], service_tables.judge)


@_judges.command("try")
def try_judge(
    name: Annotated[str, typer.Argument(help="name of a configured judge")],
    file: Annotated[Path, typer.Argument(help="a pair as JSON, or NDJSON of one; - reads stdin")],
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show how a judge judges one pair: the very prompts, the tokens read, the cost; store nothing.

    Exit status 4 if the judge failed.
    """
    pair = one_row_of(file)
    with open_tribunal(server, key, workers=0) as tribunal:
        tried = tribunal.judges.try_on(name, pair)
    Console(as_json).show(tried, service_tables.tried)
    if tried["failure"] is not None:
        raise typer.Exit(EXIT_FAILED_ROWS)


@_calibrations.command("export")
def export_calibration(
    ref: StoredId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="a file; default: standard output")
    ] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Write a certificate with its evidence, signed: to be verified or imported elsewhere."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        text = json.dumps(tribunal.calibrations.export(ref), separators=(",", ":"))
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{output}: {error.strerror or error}")
    note(f"{ref} is written to {output}")


@_calibrations.command("import")
def import_calibration(
    file: Annotated[Path, typer.Argument(help="an exported certificate; - reads stdin")],
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Take in a certificate that was exported elsewhere; it is verified, and keeps its id."""
    document = one_row_of(file, _DOCUMENT)
    with open_tribunal(server, key) as tribunal:
        body = tribunal.calibrations.import_document(document)
    Console(as_json).show(body, certificate_tables.certificate)


_DOCUMENT: Final = "one exported certificate"


def verify(
    file: Annotated[Path, typer.Argument(help="an exported certificate; - reads stdin")],
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="PUBLIC", help="public key of the signer; repeatable; default: any"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an exported certificate: its signature, and all of it computed again from its evidence.

    Reads no database and asks no server. Exit status 1 if it was changed, was signed by another key,
    or does not follow from its evidence; 3 if it is as it was made and promises nothing.
    """
    from app.calibrations.document import verification_body
    from app.calibrations.signing import public_key

    document = one_row_of(file, _DOCUMENT)
    try:
        trusted = [public_key(one) for one in key or ()]
    except ValueError as error:
        fail(f"--key {error}", status=EXIT_USAGE)
    body = verification_body(document, trusted, datetime.now(UTC))
    Console(as_json).show(body, certificate_tables.verification)
    if not body["verified"]:
        raise typer.Exit(EXIT_FAILED)
    if not body["promises"]:
        raise typer.Exit(EXIT_NOT_CERTIFIABLE)


add_list(_datasets, "datasets", "datasets", board_tables.datasets)
add_show(_datasets, "datasets", "Show what a dataset holds.", certificate_tables.dataset)
add_list(_calibrations, "calibrations", "certificates", board_tables.calibrations)


@_calibrations.command("show")
def show_calibration(
    ref: StoredId,
    words: Annotated[bool, typer.Option("--words", help="the promise word by word, too")] = False,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a certificate, with what became of it and of its labels since."""
    body = reading.one_of("calibrations", ref, Where(server, key))
    tables = certificate_tables
    Console(as_json).show(body, tables.certificate_word_by_word if words else tables.certificate)


_add(
    _calibrations, "revoke", "Withdraw a certificate's promise for ever.",
    lambda tribunal, ref: tribunal.calibrations.revoke(ref), certificate_tables.certificate,
)  # fmt: skip


class Status(StrEnum):
    """What became of a row."""

    ACCEPTED = "accepted"
    ABSTAINED = "abstained"
    FAILED = "failed"


@_batches.command("verdicts")
def list_verdicts(  # noqa: PLR0913  # a verb's options are its parameters
    ref: StoredId,
    status: Annotated[Status | None, typer.Option(help="only these")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS)] = 20,
    after: Annotated[str | None, typer.Option(help="verdict_id of the last one seen")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the verdicts of a batch; --status failed: which rows failed, and why."""
    query = {"batch": ref, "status": status, "limit": limit, "after": after, "order": "asc"}
    with open_tribunal(server, key, only_reads=True) as tribunal:
        page = tribunal.get("/v1/judgments", **query)
    Console(as_json).show(page, _with_more(board_tables.verdicts))


add_list(_batches, "batches", "batches", board_tables.batches)
add_show(
    _batches,
    "batches",
    "Show how far a batch is, what it cost and what it promises.",
    verdict_tables.batch,
)
_add(
    _batches, "cancel", "Stop a batch; what is judged is kept.",
    lambda tribunal, ref: tribunal.batches.cancel(ref), verdict_tables.batch,
)  # fmt: skip
