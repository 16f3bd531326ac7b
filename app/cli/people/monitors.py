"""The verbs of monitors: started, looked at, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.console import AsJson, Console, Verbs, estimate, number, percent
from app.cli.options import given
from app.cli.service import Key, Server, open_tribunal
from app.cli.stored import add_list
from app.cli.tables.layout import Screen, Table, escape

if TYPE_CHECKING:
    from app.client import Tribunal

MonitorArgument = Annotated[str, typer.Argument(help="id of a monitor; see list")]
_monitors = typer.Typer(
    help="Whether certificates still hold: audits by people, and alarms.",
    no_args_is_help=True,
    cls=Verbs,
)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(_monitors, name="monitors")


@_monitors.command()
def create(  # noqa: PLR0913  # a verb's options are its parameters
    calibration: Annotated[str, typer.Argument(help="id of a certificate")],
    audit_rate: Annotated[
        float | None,
        typer.Option(help="share of the prompts that people are asked about; default: .02"),
    ] = None,
    abstained_rate: Annotated[
        float | None, typer.Option(help="the same for abstentions; default: 0")
    ] = None,
    failure_probability: Annotated[
        float | None, typer.Option(help="of an alarm while the promise holds; default: .05")
    ] = None,
    slices: Annotated[str | None, typer.Option(help="a metadata field, watched by value")] = None,
    on_alarm: Annotated[
        str | None, typer.Option(metavar="ACTION", help="alarm (default), suspend or revoke")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="address that is told of alarms")] = None,
    votes: Annotated[int | None, typer.Option(help="persons to ask about each; default: 1")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Watch a certificate: a random share of its verdicts goes to people, blind."""
    request: dict[str, Any] = given(
        calibration=calibration, audit_rate=audit_rate, abstained_rate=abstained_rate,
        failure_probability=failure_probability, slices=slices, on_alarm=on_alarm, webhook=webhook,
        votes_per_pair=votes,
    )  # fmt: skip
    with open_tribunal(server, key, only_reads=True) as tribunal:
        made = tribunal.monitors.create(**request)
    Console(as_json).show(made, _show)


def _verb(name: str, what: str) -> None:
    """Add a verb that takes the id of a monitor and shows it."""

    @_monitors.command(name, help=what)
    def do(
        monitor: MonitorArgument, server: Server = None, key: Key = None, as_json: AsJson = False
    ) -> None:
        with open_tribunal(server, key, only_reads=True) as tribunal:
            found = _ask(tribunal, name, monitor)
        Console(as_json).show(found, _show)


def _ask(tribunal: Tribunal, name: str, monitor: str) -> Any:
    ask = tribunal.monitors
    return ask.end(monitor) if name == "end" else ask.retrieve(monitor)


_verb("show", "Show what the audits say: risk, evidence, and the drift that could have been seen.")
_verb("end", "Stop to draw audits; what was found stays.")


def _show(console: Screen, monitor: Any) -> None:
    audits = monitor["audits"]
    console.print(
        f"monitor {monitor['id']} of {monitor['calibration']}: {monitor['status']}; "
        f"{audits['answered']} of {audits['drawn']} audits are answered, "
        f"{audits['disagreements']:g} disagree, {audits['excluded']} say nothing of the verdict"
    )
    console.print(
        f"risk so far {estimate(monitor['risk'])}, promised {percent(monitor['target_risk'])}; "
        f"e-value {number(monitor['e_value'])}, alarm at {number(monitor['alarm_level'])}"
    )
    detectable = monitor["detectable_risk"]
    console.print(
        "too few audits to have raised an alarm yet"
        if detectable is None
        else f"a risk of {percent(detectable)} from the start would have raised it by now in half of "
        "all cases"
    )
    canaries = monitor["canaries"]
    if canaries["status"] != "off":
        console.print(
            f"canaries {canaries['status']}: {canaries['asked']} answers compared, "
            f"{canaries['failed']} failed, e-value {number(canaries['e_value'])}"
        )
    if monitor["webhook_secret"]:
        console.print(f"webhooks are signed with {monitor['webhook_secret']} (shown this once)")
    if monitor["slices"]:
        console.print(_slices(monitor["slices"]))
    if monitor["alarm"]:
        alarm = monitor["alarm"]
        console.print(
            f"[red]alarm[/] {alarm['at'][:19]} ({alarm['action']}): {escape(alarm['reason'])}"
        )
        console.print(f"to go on: {escape(alarm['recertify'])}")
    else:
        console.print(f"label: tribunal queue label {monitor['queue']} --annotator YOUR_NAME")


def _slices(slices: Any) -> Table:
    table = Table("slice", "audits", "risk", "e-value", "alarm", drops=("e-value",))
    for one in slices:
        table.add_row(
            one["slice"], str(one["audits"]), estimate(one["risk"]), number(one["e_value"]),
            "yes" if one["is_alarmed"] else "no",
        )  # fmt: skip
    return table


def _show_all(console: Screen, page: Any) -> None:
    for one in page["data"]:
        _show(console, one)


add_list(_monitors, "monitors", "monitors", _show_all)
