"""The verbs that try things on stored scores: rules over random splits, and verdicts given again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.console import EXIT_USAGE, AsJson, Console, fail, percent
from app.cli.options import (
    Cascade,
    DatasetArgument,
    Judges,
    PartOption,
    cascade_of,
    given,
    names_of,
    numbers_of,
    part_of,
)
from app.cli.service import Key, Server, open_tribunal, whole
from app.cli.tables.layout import Screen, Table, escape

if TYPE_CHECKING:
    from app.bodies.certificates import ExperimentBody, ExperimentRow
    from app.bodies.common import Estimate

_ESTIMATES = ("coverage", "agreement", "success_rate", "population_success_rate", "silent_rate",
              "relative_cost")  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(experiment)
    app.command()(replay)


def replay(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: Annotated[str | None, typer.Argument(help="a dataset; none with --batch")] = None,
    batch: Annotated[str | None, typer.Option(help="the verdicts of this batch again")] = None,
    calibration: Annotated[str | None, typer.Option(help="by this certificate")] = None,
    thresholds: Annotated[
        str | None, typer.Option(metavar="JUDGE=NUMBER,...", help="never: a judge never answers")
    ] = None,
    ties: Annotated[str | None, typer.Option(help="exclude, error, half or class")] = None,
    annotators: Annotated[int | None, typer.Option(help="so many of each judge's")] = None,
    judges: Annotated[str | None, typer.Option(help="only these, in this order, by commas")] = None,
    part: PartOption = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say what verdicts would be by other thresholds, judges or rules; no judge is asked."""
    request: dict[str, Any] = given(
        dataset=dataset, batch=batch, calibration=calibration, thresholds=_limits(thresholds),
        ties=ties, annotators=annotators, judges=names_of(judges), part=part_of(part),
    )  # fmt: skip
    with open_tribunal(server, key, only_reads=True) as tribunal:
        found = tribunal.replay(**request)
    Console(as_json).show(found, _show_replay)


def _limits(text: str | None) -> dict[str, float | None] | None:
    """Read `small=0.9,dear=never`."""
    if text is None:
        return None
    found: dict[str, float | None] = {}
    for one in text.split(","):
        judge, _, limit = one.rpartition("=")
        try:
            found[judge.strip()] = None if limit.strip() == "never" else float(limit)
        except ValueError:
            judge = ""
        if not judge:
            fail(f"--thresholds: {one!r} is not JUDGE=NUMBER", status=EXIT_USAGE)
    return found


_MOST_SHOWN = 10


def _show_replay(console: Screen, found: Any) -> None:
    counts, changed = found["verdicts"], found["changed"]
    console.print(
        f"{found['pairs']} pairs: {counts['accepted']} answered, {counts['abstained']} abstained, "
        f"{counts['failed']} failed; {found['missing_scores']} lack a stored score"
    )
    cost, share = found["cost_usd"], found["relative_cost"]
    if cost is not None:
        relative = "" if share is None else f", {percent(share)} of asking the last judge on all"
        console.print(f"it would have cost {cost:.4f} USD{relative}")
    console.print(
        f"{changed['count']} of the {changed['compared']} verdicts given before would change"
    )
    for one in changed["pairs"][:_MOST_SHOWN]:
        was, will = (f"{said['status']} {said['label'] or ''}".strip() for said in
                     (one["before"], one["after"]))  # fmt: skip
        console.print(f"  {escape(one['pair'])}: {was} -> {will}")
    if changed["count"] > _MOST_SHOWN:
        console.print(f"  and {changed['count'] - _MOST_SHOWN} more (--json has the first 1,000)")


def experiment(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    cascade: Cascade = None,
    judges: Judges = None,
    targets: Annotated[
        str, typer.Option("--targets", "--target-agreements", help="by commas")
    ] = "0.8,0.85,0.9",
    splits: Annotated[int, typer.Option(min=1, help="number of random splits by group")] = 1_000,
    rules: Annotated[
        str | None,
        typer.Option(
            help="by commas: no_selection, heuristic, cascaded_heuristic, point_estimate, or any "
            "--method of certify; default: these, published_code and auto"
        ),
    ] = None,
    calibration_share: Annotated[
        float | None, typer.Option(help="share of the groups that calibrates; default: 0.5")
    ] = None,
    calibration_pairs: Annotated[
        int | None, typer.Option(help="instead: how many pairs calibrate")
    ] = None,
    costs: Annotated[
        str | None, typer.Option(help="cost of asking each judge, by commas; default: recorded")
    ] = None,
    failure_probability: float | None = None,
    label_rule: Annotated[str | None, typer.Option(help="majority or random_annotator")] = None,
    ties: Annotated[str | None, typer.Option(help="exclude, error, half or class")] = None,
    part: PartOption = None,
    max_group_size: int | None = None,
    min_label_probability: float | None = None,
    seed: int = 0,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write the rows here")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Compare rules for choosing thresholds: who answers, how often right, how often as promised."""
    request = given(
        dataset=dataset, cascade=cascade_of(cascade, judges), target_agreements=numbers_of(targets),
        splits=splits, rules=names_of(rules), calibration_share=calibration_share,
        calibration_pairs=calibration_pairs, costs=numbers_of(costs), part=part_of(part),
        failure_probability=failure_probability, label_rule=label_rule, ties=ties,
        max_group_size=max_group_size, min_label_probability=min_label_probability, seed=seed,
    )  # fmt: skip
    with open_tribunal(server, key) as tribunal:
        found = tribunal.experiment(**request)
    if csv_file is not None:
        _write(csv_file, found)
    Console(as_json).show(found, show_experiment)


def show_experiment(console: Screen, body: ExperimentBody) -> None:
    """Show a table for each target."""
    console.print(
        f"{body['splits']} splits of {body['pairs']} pairs in {body['groups']} groups: "
        f"{body['calibration_pairs']:.0f} calibrate, {body['test_pairs']:.0f} are held out"
    )
    for target in dict.fromkeys(row["target_agreement"] for row in body["rows"]):
        rows = [row for row in body["rows"] if row["target_agreement"] == target]
        console.print()
        console.print(f"target agreement [bold]{target:g}[/]")
        console.print(_table(body["judges"], rows))
        for row in rows:
            if row["unavailable"]:
                console.print(f"{row['rule']}: {escape(row['unavailable'])}")
    console.print(_MEANING)
    console.print(escape(body["claim"]))


_COLUMNS = (
    "rule", "coverage", "agreement", "success", "on all pairs", "no answer", "cost", "answered by",
)  # fmt: skip
_MEANING = (
    "percent of the held-out pairs, mean over the splits. success: splits whose held-out pairs "
    "reach the target, or none of which is answered (no answer); on all pairs: the same on calibration and held-out pairs together; no answer: "
    "splits in which the rule answers no pair; cost: of the cost of asking the last judge always"
)


def _table(judges: list[str], rows: list[ExperimentRow]) -> Table:
    table = Table(*_COLUMNS, drops=("no answer", "on all pairs", "cost", "answered by"))
    for row in rows:
        table.add_row(
            row["rule"],
            _percent(row["coverage"]),
            _percent(row["agreement"]),
            _percent(row["success_rate"]),
            _percent(row["population_success_rate"]),
            _plain(row["silent_rate"]),
            _percent(row["relative_cost"]),
            ", ".join(f"{judge} {_plain(row['composition'][judge])}" for judge in judges),
        )
    return table


def _plain(estimate: Estimate) -> str:
    return "-" if estimate["value"] is None else f"{100 * estimate['value']:.0f}"


def _percent(estimate: Estimate | None) -> str:
    """Return the value and, after a plus-minus sign, the longer arm of its interval."""
    if estimate is None or estimate["value"] is None:
        return "-"
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if low is None or high is None:
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} ±{100 * max(high - value, value - low):.1f}"


def _write(file: Path, body: ExperimentBody) -> None:
    """Write one line for each rule and target; the ends of intervals have their own columns."""
    lines = [dict(_cells(row)) for row in body["rows"]]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    with whole(file, "--csv", status=EXIT_USAGE) as out:
        out.write(table.getvalue().encode())


def _cells(row: ExperimentRow) -> Iterator[tuple[str, Any]]:
    yield "target_agreement", row["target_agreement"]
    yield "rule", row["rule"]
    numbers: dict[str, Any] = {name: row[name] for name in _ESTIMATES}  # type: ignore[literal-required]
    numbers |= {f"answered_by_{judge}": share for judge, share in row["composition"].items()}
    for name, estimate in numbers.items():
        for end in ("value", "low", "high"):
            yield (name if end == "value" else f"{name}_{end}"), (estimate or {}).get(end)
    yield "unavailable", row["unavailable"]
