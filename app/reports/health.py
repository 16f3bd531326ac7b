"""Makes the health card of a judge: its figures, each held against a line.

A line is passed where the whole interval of its figure lies on the right side, failed where all of
it lies on the wrong one; else there is not enough evidence. The lines are the user's to set; a card
is a view of a stored report, so that moving a line computes nothing again.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.core.errors import ConfigurationInvalid, NotFound, Unprocessable
from app.core.models import Report
from app.core.names import hint, shown
from app.core.runtime import Runtime
from app.reports import service
from app.reports.schemas import AgreementIn, HealthIn
from app.scores.store import is_recorded
from judges.errors import nearest

Figures = Mapping[str, Any]
Sense = Literal["at_least", "at_most", "within"]
PASS, FAIL, OPEN = "pass", "fail", "not_enough_evidence"
_NOTHING: Final = {"value": None, "low": None, "high": None, "confidence_level": None, "n": 0}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the card.

    `sense` says on which side of it a figure is well; `within` is a distance from 0. `default`
    holds where no other line is set. `needs` is the data that the figure takes, of which its n
    counts `unit`.
    """

    name: str
    title: str
    sense: Sense
    default: float
    figure: Callable[[Figures], Figures]
    meaning: str
    needs: str
    unit: Literal["pairs", "people", "verdicts", "votes"] = "pairs"


def _flips(judge: Figures) -> Figures:
    kept = judge["position_consistency"]
    value, low, high = (None if kept[k] is None else 1 - kept[k] for k in ("value", "high", "low"))
    return {**kept, "value": value, "low": low, "high": high}


def _lean(name: str) -> Callable[[Figures], Figures]:
    def read(judge: Figures) -> Figures:
        found: Figures = judge.get(name, {}).get("lean", _NOTHING)
        return found

    return read


def _unanimous(judge: Figures) -> Figures:
    rows = judge["by_difficulty"]
    found: Figures = next(r["agreement"] for r in rows if r["difficulty"] == "unanimous")
    return found


def _calibration_error(judge: Figures) -> Figures:
    """Return the error without verdicts for neither response, which reports of old do not have."""
    reliability = judge["reliability"]
    found: Figures = reliability.get("where_preferring", reliability["expected_calibration_error"])
    return found


def _winning_rate(judge: Figures) -> Figures:
    found: Figures = judge["alternative_annotator"].get("winning_rate", _NOTHING)
    return found


WINNING_RATE: Final = "alternative_annotator"
_BOTH_DECIDED: Final = "pairs that people and judge both decided"
_PEOPLE_TOO: Final = "pairs that the judge decided, with votes of two people or more"
LINES: Final = (
    Line("agreement", "Agreement with people", "at_least", 0.75, lambda j: j["agreement"],
         "pairs on which people and judge both decided", _BOTH_DECIDED),
    Line("kappa", "Cohen's kappa with people", "at_least", 0.5, lambda j: j["cohens_kappa"],
         "the same, corrected for chance", _BOTH_DECIDED),
    Line("agreement_unanimous", "Agreement where people all agree", "at_least", 0.85,
         _unanimous, "pairs with two votes or more, all alike: errors here are the judge's own",
         "pairs that the judge decided, with two votes or more, all alike"),
    Line("ceiling_difference", "Judge minus a person, agreement", "at_least", -0.05,
         lambda j: j["ceiling_where_decided"]["difference"],
         "each against the majority of the other people, where the judge decided; n counts votes",
         _PEOPLE_TOO, "votes"),
    Line("kappa_difference", "Judge minus a person, kappa", "at_least", -0.1,
         lambda j: j["kappa_ceiling"]["without_ties"]["difference"],
         "kappa with one person beside that of two people", _PEOPLE_TOO),
    Line(WINNING_RATE, "People it may stand in for", "at_least", 0.5, _winning_rate,
         "share of people beside whom it is not worse by epsilon (alternative annotator test); "
         "n counts people", "people whose labels can be held against those of others", "people"),
    Line("order_flip_rate", "Verdicts that change with order", "at_most", 0.2, _flips,
         "pairs whose label is another one when the responses change places",
         "pairs that the judge was shown in both orders"),
    Line("position_lean", "Lean to the response shown first", "within", 0.1,
         lambda j: j["position"]["lean"],
         "share for the first minus share for the second; n counts verdicts, two a pair",
         "pairs that the judge was shown in both orders", "verdicts"),
    Line("length_lean", "Lean to the longer response", "within", 0.1, _lean("length"),
         "how much more often than people it chooses the longer one",
         f"{_BOTH_DECIDED}, with texts of unequal length"),
    Line("style_lean", "Lean to headings, lists, bold", "within", 0.1, _lean("style"),
         "the same for the response with more of them", f"{_BOTH_DECIDED}, with texts of unequal style"),
    Line("self_preference", "Lean to its own responses", "within", 0.1, _lean("self_preference"),
         "the same for the response that its own model wrote",
         "the name of the model whose responses are its own: --own JUDGE=MODEL"),
    Line("calibration_error", "Expected calibration error", "at_most", 0.1,
         _calibration_error, "how far confidence and agreement lie apart where it prefers a response",
         _BOTH_DECIDED),
    Line("failure_share", "Pairs it gives nothing for", "at_most", 0.05,
         lambda j: j["failure_share"], "refused, timed out, or could not be parsed",
         "pairs that the judge was asked about"),
)  # fmt: skip
NAMES: Final = tuple(line.name for line in LINES)


def health_card(judge: Figures, lines: Mapping[str, float | None]) -> dict[str, Any]:
    """Hold one judge's figures against lines.

    Args:
        judge: The judge's part of a report, with its details.
        lines: Where a line lies instead of its default; None leaves it out.
    """
    held = [
        _held(line, lines.get(line.name, line.default), judge)
        for line in LINES
        if lines.get(line.name, line.default) is not None
    ]
    seen = [one for one in held if one["figure"]["n"]]
    outcomes = Counter(one["outcome"] for one in seen)
    return {
        "judge": judge["judge"],
        "outcome": _outcome(outcomes),
        "counts": {name: outcomes[name] for name in (PASS, FAIL, OPEN)},
        "without_data": [one["name"] for one in held if not one["figure"]["n"]],
        "lines": held,
        "figures": dict(judge),
    }


def _held(line: Line, at: float | None, judge: Figures) -> dict[str, Any]:
    assert at is not None
    figure = line.figure(judge)
    outcome, remark = outcome_of(figure, line.sense, at), None
    if line.name == WINNING_RATE:
        outcome = _replaces_a_person(judge["alternative_annotator"], at)
        remark = _too_few_people(figure, judge["alternative_annotator"])
    return {
        "name": line.name,
        "title": line.title,
        "meaning": line.meaning,
        "sense": line.sense,
        "line": at,
        "figure": dict(figure),
        "outcome": outcome,
        "unit": line.unit,
        "needs": line.needs,
        "remark": remark,
    }


def _too_few_people(figure: Figures, test: Figures) -> str | None:
    """Say that the test was of fewer people than a share of people takes; None otherwise."""
    least = test.get("least_annotators")
    if least is None:
        because: str | None = test.get("not_tested_because")
        return because
    if figure["n"] >= least:
        return None
    people = "1 person" if figure["n"] == 1 else f"{figure['n']} people"
    return (
        f"{people} could be tested, and it takes {least}, each with {test['least_units']} pairs that "
        "others labelled, too"
    )


def outcome_of(figure: Figures, sense: Sense, line: float) -> str:
    """Return on which side of a line the whole interval of a figure lies, if it does."""
    low, high = figure["low"], figure["high"]
    if low is None or high is None:
        return OPEN
    least, most = {
        "at_least": (line, float("inf")),
        "at_most": (float("-inf"), line),
        "within": (-line, line),
    }[sense]
    if least <= low and high <= most:
        return PASS
    return FAIL if high < least or low > most else OPEN


def _replaces_a_person(test: Figures, line: float) -> str:
    """Return the outcome of the test; a judge that did not pass may lack pairs, not quality."""
    rate, margin = test.get("winning_rate", _NOTHING), test.get("margin", _NOTHING)
    if rate["n"] < test.get("least_annotators", 1):
        return OPEN
    if rate["value"] >= line:
        return PASS
    is_worse = margin["high"] is not None and margin["high"] < -test["epsilon"]
    return FAIL if is_worse else OPEN


def _outcome(outcomes: Mapping[str, int]) -> str:
    if outcomes.get(FAIL):
        return FAIL
    return OPEN if outcomes.get(OPEN) or not outcomes.get(PASS) else PASS


Lines = dict[str, float | None]
_OFF = ("off", "none")


def lines_of_config(config: Mapping[str, Any]) -> Lines:
    """Return the lines of the configuration's table `[health]`; `false` leaves a line out.

    Raises:
        ConfigurationInvalid: names the key.
    """
    table = config.get("health", {})
    if not isinstance(table, Mapping):
        raise ConfigurationInvalid("health: is not a table")
    lines: Lines = {}
    for name, value in table.items():
        fault = fault_of(name, None if value is False else value)
        if fault is not None:
            raise ConfigurationInvalid(f"health.{name}: {fault}")
        lines[name] = None if value is False else float(value)
    return lines


def lines_of_query(given: Sequence[tuple[str, str]]) -> Lines:
    """Return the lines of `line.NAME=NUMBER`; `off` leaves a line out.

    Raises:
        Unprocessable: names the parameter.
    """
    lines: Lines = {}
    for parameter, text in given:
        name = parameter.removeprefix("line.")
        value = None if text.lower() in _OFF else _number(text)
        fault = fault_of(name, value)
        if fault is not None:
            raise Unprocessable.field([parameter], fault, place="query")
        lines[name] = value
    return lines


def checked_lines(lines: Mapping[str, float | None]) -> Lines:
    """Return the lines of a body.

    Raises:
        Unprocessable: names the line.
    """
    for name, value in lines.items():
        fault = fault_of(name, value)
        if fault is not None:
            raise Unprocessable.field(["lines", name], fault)
    return dict(lines)


def fault_of(name: str, value: object) -> str | None:
    """Return what is wrong with a line, None if nothing is; its value None leaves it out."""
    if name not in NAMES:
        near = nearest(name, NAMES)
        return f"there is no such line{f'; did you mean {near}?' if near else ''}"
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -1 <= float(str(value)) <= 1:
        return f"{shown(str(value))} is not a number from -1 to 1"
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


async def report_for(running: Runtime, asked: HealthIn) -> Report:
    """Return the report that a judge's card is made from; unfinished if it takes long."""
    given = asked.model_dump(include=set(AgreementIn.model_fields), exclude_unset=True)
    return await service.agreement(running, AgreementIn(**given, judges=[asked.judge]))


def card(running: Runtime, report: Report, judge: str, lines: Lines) -> dict[str, Any]:
    """Return a judge's card: the request's lines, else the configuration's, else the defaults.

    Raises:
        NotFound: the report has no such judge.
    """
    body = service.show(report)
    figures = _figures(body, judge)
    return {
        "object": "health_card",
        "report": report.id,
        **health_card(figures, {**running.health_lines, **lines}),
        "not_judged": _not_judged(running, body, figures),
        "dataset": body["dataset"],
        "part": body["part"],
        "pairs": body["pairs"],
        "labels": body["human"]["labels"],
        "annotators": body["human"]["annotators"],
        "confidence_level": figures["agreement"]["confidence_level"],
        "created_at": body["created_at"],
        "fingerprint": body["rests_on"]["fingerprints"].get(judge),
        "rests_on": body["rests_on"],
    }


def _not_judged(
    running: Runtime, report: Mapping[str, Any], figures: Mapping[str, Any]
) -> str | None:
    """Say that nothing is known of a judge on these pairs, and what changes that; else None."""
    if figures["failure_share"]["n"] or not report["pairs"]:
        return None
    judge, dataset = figures["judge"], report["dataset"]
    asked = running.registry.judges.get(judge)
    if asked is None or is_recorded(asked.spec):
        return f"{judge} has no score of these pairs: import rows that carry its scores"
    command = ["tribunal", "batch", dataset, "--judges", judge]
    if report["part"] is not None:
        command += ["--part", report["part"]]
    return (
        f"{judge}, as it is configured now, has not judged these pairs: no score of it is stored. "
        f"`{shlex.join(command)}` has them judged; then ask for the card again"
    )


def _figures(body: Mapping[str, Any], judge: str) -> Mapping[str, Any]:
    for one in body.get("judges", ()):
        # reports of earlier versions lack what a card is made from
        if one["judge"] == judge and "reliability" in one:
            found: Mapping[str, Any] = one
            return found
    known = [one["judge"] for one in body.get("judges", ())]
    meant = hint(judge, known, see=f"GET /v1/reports/{body['id']}")
    raise NotFound(f"report {body['id']} has no card of a judge {shown(judge)}{meant}")
