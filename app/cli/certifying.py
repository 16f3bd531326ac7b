"""The verbs that make a certificate, and say beforehand what one would cost: certify, plan."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.console import EXIT_NOT_CERTIFIABLE, EXIT_USAGE, AsJson, Console, fail
from app.cli.options import (
    Cascade,
    DatasetArgument,
    DatasetOrResume,
    Judges,
    PartOption,
    Patience,
    cascade_of,
    given,
    methods_of,
    numbers_of,
    one_of,
    part_of,
)
from app.cli.service import Errand, Key, Server, open_tribunal, wait_for_calibration
from app.cli.tables import certificates as certificate_tables


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(certify)
    app.command()(plan)


def certify(
    dataset: DatasetOrResume = None,
    cascade: Cascade = None,
    judges: Judges = None,
    target_agreement: Annotated[
        float | None, typer.Option(help="a share between 0 and 1; default: 0.85")
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="answered (default) or dataset, which --max-error implies")
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(help="of all pairs, the share with a wrong verdict; scope dataset"),
    ] = None,
    failure_probability: Annotated[float | None, typer.Option(help="default: 0.1")] = None,
    method: Annotated[
        str | None, typer.Option(help="default: auto; several, by commas, share delta")
    ] = None,
    label_rule: Annotated[
        str | None, typer.Option(help="majority (default), random_annotator or panel")
    ] = None,
    ties: Annotated[
        str | None, typer.Option(help="exclude (default), error, half or class")
    ] = None,
    part: PartOption = None,
    slices: Annotated[str | None, typer.Option(help="a metadata field")] = None,
    slice_rule: Annotated[str | None, typer.Option(help="joint, each or common")] = None,
    menu: Annotated[str | None, typer.Option(help="further targets, by commas")] = None,
    pool: Annotated[str | None, typer.Option(help="dataset of unlabelled pairs")] = None,
    queue: Annotated[
        list[str] | None, typer.Option(help="count only labels that it asked for; repeatable")
    ] = None,
    max_group_size: int | None = None,
    min_label_probability: float | None = None,
    max_shift: Annotated[
        float | None, typer.Option(help="survive pairs this many times as frequent or as rare")
    ] = None,
    traffic: Annotated[
        str | None, typer.Option(help="with --method weighted: dataset of pairs as they come")
    ] = None,
    traffic_feature: Annotated[
        list[str] | None, typer.Option(help="a metadata field by which it differs; repeatable")
    ] = None,
    max_ratio: Annotated[
        float | None, typer.Option(help="with --method weighted: clip of the density ratio")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="promise nothing after 12h, 90d, 8w; default: no end")
    ] = None,
    supersedes: Annotated[
        str | None, typer.Option(metavar="ID", help="the certificate that this one renews")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="default: 0")] = None,
    resume: Annotated[str | None, typer.Option(help="wait for this calibration instead")] = None,
    patience: Patience = 120.0,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Certify a cascade on labelled pairs; exit status 3 if nothing is certifiable."""
    request = given(
        dataset=dataset, cascade=cascade_of(cascade, judges), target_agreement=target_agreement,
        scope=scope or (None if max_error is None else "dataset"), max_error=max_error,
        failure_probability=failure_probability, method=methods_of(method),
        label_rule=label_rule, ties=ties,
        part=part_of(part), slices=slices, slice_rule=slice_rule, menu=numbers_of(menu), pool=pool,
        queues=queue or None, max_group_size=max_group_size, min_label_probability=min_label_probability,
        max_shift=max_shift, traffic=traffic, traffic_features=traffic_feature or None,
        max_ratio=max_ratio, expires_in=expires_in, supersedes=supersedes, seed=seed,
    )  # fmt: skip
    one_of(dataset, resume)
    if resume and request:
        fail("--resume: the request of this calibration is stored", status=EXIT_USAGE)
    with open_tribunal(server, key) as tribunal:
        created = tribunal.calibration(resume) if resume else tribunal.create_calibration(**request)
        errand = Errand("calibration", "certify", created["id"], server, patience)
        certificate = wait_for_calibration(tribunal, created, errand)
    Console(as_json).show(certificate, certificate_tables.certificate)
    if certificate["status"] == "failed":
        fail(certificate["error"] or "the calibration failed")
    if certificate["status"] != "certified":
        raise typer.Exit(EXIT_NOT_CERTIFIABLE)


def plan(
    dataset: DatasetArgument,
    cascade: Cascade = None,
    judges: Judges = None,
    target_agreements: Annotated[
        str | None,
        typer.Option(
            "--target-agreements",
            "--target-agreement",
            help="shares between 0 and 1, by commas; default: 0.8,0.85,0.9",
        ),
    ] = None,
    max_errors: Annotated[
        str | None,
        typer.Option(help="instead, for a whole dataset: shares of all pairs, by commas"),
    ] = None,
    failure_probability: float = 0.1,
    part: PartOption = None,
    queue: Annotated[
        list[str] | None, typer.Option(help="count only labels that it asked for; repeatable")
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show coverage, agreement, cost and labels needed for each target agreement."""
    request = given(
        dataset=dataset, cascade=cascade_of(cascade, judges), part=part_of(part),
        target_agreements=numbers_of(target_agreements), failure_probability=failure_probability,
        max_errors=numbers_of(max_errors), scope=None if max_errors is None else "dataset",
        queues=queue or None,
    )  # fmt: skip
    with open_tribunal(server, key) as tribunal:
        planned = tribunal.plan(**request)
    Console(as_json).show(planned, certificate_tables.plan)
