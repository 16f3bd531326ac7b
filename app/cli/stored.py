"""The verbs of what is stored: list and look again, withdraw, stop, delete."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app.cli import stored_tables as lists
from app.cli import tables
from app.cli.console import AsJson, Console, note
from app.cli.opening import Key, Server, open_tribunal

After = Annotated[str | None, typer.Option(help="id of the last one already seen")]
DatasetId = Annotated[str, typer.Argument(help="name or id of a dataset")]
CalibrationId = Annotated[str, typer.Argument(help="id of a calibration, cal_...")]
BatchId = Annotated[str, typer.Argument(help="id of a batch, batch_...")]

_datasets = typer.Typer(help="Imported datasets.", no_args_is_help=True)
_calibrations = typer.Typer(help="Certificates.", no_args_is_help=True)
_batches = typer.Typer(help="Batches.", no_args_is_help=True)
_FIRST: Final = 20


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(_datasets, name="datasets")
    app.add_typer(_calibrations, name="calibrations")
    app.add_typer(_batches, name="batches")


@_datasets.command("list")
def list_datasets(
    limit: int = _FIRST,
    after: After = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List datasets, oldest first."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        page = tribunal.get("/v1/datasets", limit=limit, after=after)
    Console(as_json).show(page, lists.datasets)


@_datasets.command("show")
def show_dataset(
    dataset: DatasetId, server: Server = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Show what a dataset holds."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        body = tribunal.datasets.retrieve(dataset)
    Console(as_json).show(body, tables.dataset)


@_datasets.command("delete")
def delete_dataset(
    dataset: DatasetId,
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


@_calibrations.command("list")
def list_calibrations(
    limit: int = _FIRST,
    after: After = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List certificates, oldest first."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        page = tribunal.get("/v1/calibrations", limit=limit, after=after)
    Console(as_json).show(page, lists.calibrations)


@_calibrations.command("show")
def show_calibration(
    calibration_id: CalibrationId,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a certificate, with what became of it and of its labels since."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        body = tribunal.calibration(calibration_id)
    Console(as_json).show(body, tables.certificate)


@_calibrations.command("revoke")
def revoke_calibration(
    calibration_id: CalibrationId,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a certificate's promise for ever."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        body = tribunal.calibrations.revoke(calibration_id)
    Console(as_json).show(body, tables.certificate)


@_batches.command("list")
def list_batches(
    limit: int = _FIRST,
    after: After = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List batches, oldest first."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        page = tribunal.get("/v1/batches", limit=limit, after=after)
    Console(as_json).show(page, lists.batches)


@_batches.command("show")
def show_batch(
    batch_id: BatchId, server: Server = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Show how far a batch is, what it cost and what it promises."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        body = tribunal.batch(batch_id)
    Console(as_json).show(body, tables.batch)


@_batches.command("cancel")
def cancel_batch(
    batch_id: BatchId, server: Server = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Stop a batch; what is judged is kept."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        body = tribunal.batches.cancel(batch_id)
    Console(as_json).show(body, tables.batch)
