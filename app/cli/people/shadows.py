"""The verbs of shadow judges: started, looked at, ended."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.console import AsJson, Console, Verbs, estimate
from app.cli.options import Cascade, Judges, cascade_of, given
from app.cli.service import Key, Server, open_tribunal
from app.cli.stored import add_list, add_show
from app.cli.tables.layout import Screen, escape

_shadows = typer.Typer(
    help="Candidates that judge a share of the traffic and decide nothing.",
    no_args_is_help=True,
    cls=Verbs,
)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(_shadows, name="shadows")


@_shadows.command()
def create(  # noqa: PLR0913  # a verb's options are its parameters
    calibration: Annotated[str, typer.Argument(help="id of the certificate in use")],
    judge: Annotated[str | None, typer.Option(help="the candidate: one judge")] = None,
    cascade: Cascade = None,
    judges: Judges = None,
    candidate: Annotated[
        str | None, typer.Option(help="the candidate: another certificate, with its thresholds")
    ] = None,
    share: Annotated[float | None, typer.Option(help="of the prompts; default: .1")] = None,
    precision: Annotated[
        float | None, typer.Option(help="half the width of the intervals wanted; default: .05")
    ] = None,
    budget_usd: Annotated[float | None, typer.Option(help="the most that it may cost")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a candidate judge a share of a certificate's traffic; it decides nothing."""
    request: dict[str, Any] = given(
        calibration=calibration, judge=judge, cascade=cascade_of(cascade, judges),
        candidate=candidate, share=share, precision=precision, budget_usd=budget_usd,
    )  # fmt: skip
    with open_tribunal(server, key, only_reads=True) as tribunal:
        made = tribunal.shadows.create(**request)
    Console(as_json).show(made, _show)


@_shadows.command()
def end(
    shadow: Annotated[str, typer.Argument(help="id of a shadow; see list")],
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Stop to ask a candidate; what is known stays."""
    with open_tribunal(server, key, only_reads=True) as tribunal:
        ended = tribunal.shadows.end(shadow)
    Console(as_json).show(ended, _show)


def _show(console: Screen, found: Any) -> None:
    console.print(
        f"shadow {found['id']} of {found['calibration']}: {found['status']}; "
        f"{escape(', '.join(found['judges']))} judged {found['pairs']} of {found['drawn']} pairs, "
        f"{found['failed']} failed, {found['labelled']} have labels"
    )
    for what in ("coverage", "agreement", "cost"):
        console.print(f"{what} would change by {estimate(found[what + '_change'])}")
    enough = "enough to say" if found["enough"] else "not enough to say yet"
    needed = found["labels_needed"]
    more = "" if needed is None or found["enough"] else f"; about {needed} labels are needed"
    console.print(f"{enough}{more}")
    for note in found["notes"]:
        console.print(escape(note))
    if found["error"]:
        console.print(f"[red]{escape(found['error'])}[/]")


def _show_all(console: Screen, page: Any) -> None:
    for one in page["data"]:
        _show(console, one)


add_list(_shadows, "shadows", "shadows", _show_all)
add_show(_shadows, "shadows", "Show what promoting a candidate would change.", _show)
