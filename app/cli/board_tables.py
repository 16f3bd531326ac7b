"""Agreement reports and health cards as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from app.cli.cells import estimate, number, percent, short, table, value

Body = Mapping[str, Any]
_SIGNS = {"at_least": ">=", "at_most": "<=", "within": "+-"}
_WORDS = {"pass": "passed", "fail": "FAILED", "not_enough_evidence": "not enough evidence"}


def report(console: Console, body: Body) -> None:
    """Show agreement of people, judges and cascade, as a whole and by slice."""
    human = body["human"]
    console.print(
        f"report {body['id']}: {body['pairs']} pairs, {human['labels']} labels by "
        f"{human['annotators']} annotators; people agree "
        f"{estimate(human['percent_agreement'])}, Krippendorff's alpha "
        f"{estimate(human['krippendorff_alpha'])}"
    )
    _judges(console, body["judges"])
    _leans(console, body["judges"])
    if body.get("judge_pairs"):
        _judge_pairs(console, body["judge_pairs"])
    if body.get("cascade"):
        _cascade(console, body)
    for part in body.get("groups") or ():
        _group(console, part, body.get("group_by"))


def _judges(console: Console, judges: Sequence[Body]) -> None:
    shown = table("judge", "n", "agreement", "kappa", "coverage", "order kept", "ECE", "failed")
    for row in judges:
        shown.add_row(
            escape(row["judge"]),
            str(row["agreement"]["n"]),
            estimate(row["agreement"]),
            number(value(row["cohens_kappa"])),
            percent(value(row["coverage"])),
            percent(value(row["position_consistency"])),
            number(value(row["expected_calibration_error"])),
            str(row["failures"]),
        )
    if judges:
        console.print(shown)


def _leans(console: Console, judges: Sequence[Body]) -> None:
    """Beside how often it agrees: what pulls a judge, and how it stands beside one more person."""
    shown = table("judge", "first shown", "longer", "own", "beside a person")
    rows = [row for row in judges if "position" in row]
    for row in rows:
        length = row.get("length", {}).get("lean", {"value": None})
        shown.add_row(
            escape(row["judge"]),
            estimate(row["position"]["lean"]),
            estimate(length),
            estimate(row["self_preference"]["lean"]),
            estimate(row["ceiling_where_decided"]["difference"]),
        )
    if rows:
        console.print("how much more often than people a judge takes the response that is")
        console.print(shown)


def _judge_pairs(console: Console, pairs: Sequence[Body]) -> None:
    shown = table("judges", "n", "agreement", "kappa", "with ties", "kappa with ties")
    for row in pairs:
        shown.add_row(
            escape(" / ".join(row["judges"])),
            str(row["agreement"]["n"]),
            estimate(row["agreement"]),
            number(value(row["cohens_kappa"])),
            estimate(row["agreement_three_way"]),
            number(value(row["cohens_kappa_three_way"])),
        )
    console.print(shown)


def _cascade(console: Console, body: Body) -> None:
    found = body["cascade"]
    shares = ", ".join(f"{judge} {percent(s)}" for judge, s in found["composition"].items())
    console.print(
        f"cascade: coverage {estimate(found['coverage'])}, agreement of the given verdicts "
        f"{estimate(found['agreement'])}; answered by {escape(shares)}; relative cost "
        f"{percent(found['relative_cost'])}; {found['excluded_calibration_pairs']} pairs of the "
        "calibration left out"
    )
    held = body.get("abstention")
    if held:
        console.print(
            f"people agree {estimate(held['human_agreement_answered'])} where it answers, "
            f"{estimate(held['human_agreement_abstained'])} where it abstains "
            f"(p {number(held['p_value'])})"
        )


def _group(console: Console, part: Body, field: str | None) -> None:
    human = part["human"]
    console.print(
        f"\n{escape(str(field or 'group'))} {escape(part['group'])}: {part['pairs']} pairs; people "
        f"agree {estimate(human['percent_agreement'])}"
    )
    _judges(console, part["judges"])
    if part.get("judge_pairs"):
        _judge_pairs(console, part["judge_pairs"])
    if part.get("cascade"):
        _cascade(console, part)


def health(console: Console, card: Body) -> None:
    """Show a judge's card: each line, where its figure lies, and whether that is well."""
    counts = card["counts"]
    console.print(
        f"{escape(card['judge'])} on {escape(card['dataset'])}: [bold]{_WORDS[card['outcome']]}"
        f"[/bold]; {counts['pass']} lines passed, {counts['fail']} failed, "
        f"{counts['not_enough_evidence']} without enough evidence (report {card['report']})"
    )
    if card["not_judged"]:
        console.print(f"[yellow]no data:[/] {escape(card['not_judged'])}", soft_wrap=True)
    shown = table("figure", "n", "value", "line", "outcome")
    for line in card["lines"]:
        figure = line["figure"]
        shown.add_row(
            line["title"],
            str(figure["n"]),
            estimate(figure),
            f"{_SIGNS[line['sense']]} {short(line['line'])}",
            _WORDS[line["outcome"]] if figure["n"] else "no data",
        )
    console.print(shown)
