"""Tables of results for people, one function for each kind of result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from app.cli.console import number as _number
from app.cli.console import percent as _percent
from app.cli.console import rejections
from app.cli.console import table as _table
from app.core.names import printable

Body = Mapping[str, Any]
_MOST_SHOWN: Final = 200
_EMBEDDED = "none: the embedded judge alone"


def dataset(console: Console, body: Body) -> None:
    """Show what an import kept and what it rejected."""
    console.print(
        f"dataset [bold]{escape(body['name'])}[/] ({body['id']}): {body['pairs']} pairs, "
        f"{body['groups']} groups, {body['labels']} labels by {body['annotators']} annotators"
    )
    judges = body["recorded_judges"]
    if judges:
        console.print(f"recorded judges: {escape(_some(judges))}")
    for line in rejections(body):
        console.print(f"[red]{escape(line)}[/]")


def preview(console: Console, body: Body) -> None:
    """Show what an import would store, the first rows field by field."""
    console.print(
        f"nothing is stored: {body['dialect']}, {body['pairs']} pairs, {body['groups']} groups, "
        f"{body['labels']} labels by {body['annotators']} annotators"
    )
    if body["recorded_judges"]:
        console.print(f"recorded judges: {escape(_some(body['recorded_judges']))}")
    for number, row in enumerate(body["rows"], start=1):
        console.print(f"[bold]pair {number}[/]")
        for name, value in row.items():
            if value not in ([], {}):
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                console.print(f"  {escape(name)}: {escape(_short(text))}")
    for line in rejections(body):
        console.print(f"[red]{escape(line)}[/]")


def _short(text: str) -> str:
    plain = printable(" ".join(text.split()))
    return plain if len(plain) <= _MOST_SHOWN else f"{plain[:_MOST_SHOWN]}..."


def certificate(console: Console, body: Body) -> None:
    """Show a certificate: the claim first, then what it rests on."""
    colour = "green" if body["status"] == "certified" else "red"
    console.print(f"certificate {body['id']}: [bold {colour}]{body['status']}[/]")
    _since(console, body)
    if "calibration" not in body:
        return
    console.print(escape(body["claim"]))
    found = body["calibration"]
    is_certified = body["status"] == "certified"
    table = _table("judge", "threshold", "answers")
    for tier in body["thresholds"]:
        share = found["composition"].get(tier["judge"]) if is_certified else None
        table.add_row(escape(tier["judge"]), _number(tier["threshold"]), _percent(share))
    console.print(table)
    tested = f"tested on {found['pairs']} pairs of {found['groups']} groups"
    figures = (
        f"answered {found['answered']} ({_percent(found['coverage'])}), disagreed on "
        f"{_number(found['disagreements'])}, agreement {_percent(found['agreement'])}"
    )
    if is_certified:
        console.print(f"{tested}: {figures}, {_lower_bound(body)}")
    elif found["answered"]:
        console.print(f"{tested}: this rule would have {figures}; it is no promise and not used")
    else:
        console.print(f"{tested}: no thresholds passed")
    _left_out(console, found)
    _judge_failures(console, found["failures"])
    if not is_certified:
        advice = body["advice"]
        console.print(
            f"these labels show: agreement of {_percent(advice['certifiable_agreement'])} or more at "
            f"coverage {_percent(advice['certifiable_coverage'])} (a bound; to certify it may take "
            f"more labels). {escape(advice['text'])}"
        )
    for part in body.get("certificates", []):
        name = "" if part["slice"] is None else f"{part['slice']!r} "
        console.print(
            f"  {escape(name)}at {part['target_agreement']:g}: {part['status']}, coverage "
            f"{_percent(part['calibration']['coverage'])}"
        )


def _since(console: Console, body: Body) -> None:
    """Show what happened to a certificate and its labels since it was made."""
    if body["revoked_at"]:
        console.print(f"[red]revoked on {body['revoked_at'][:19]}[/]: it promises nothing any more")
    if changed := body.get("labels_changed"):
        from app.calibrations.result import changed_labels_note

        console.print(f"[red]{escape(changed_labels_note(body['id'], changed) or '')}[/]")


def _lower_bound(body: Body) -> str:
    """Return the one-sided bound on the agreement, with its own confidence."""
    found = body["calibration"]
    parts = [
        part["calibration"]
        for part in body.get("certificates", [])
        if part["status"] == "certified" and part["slice"] is not None
    ]
    lowest = found["agreement_lower_bound"]
    # the lowest bound of all slices is shown: it belongs to one of them
    levels = [part["level"] for part in parts if part["agreement_lower_bound"] == lowest]
    level = max(levels, default=found["level"])
    if body["method"] == "stagewise":
        level = body["failure_probability"]  # of all judges together
    return f"{100 * (1 - level):.4g}% lower bound {_percent(lowest)}"


def _left_out(console: Console, found: Body) -> None:
    reasons = {
        "unlabelled": "without labels",
        "undecided": "without a majority",
        "ties_left_out": "ties",
        "seen_in_training": "seen in training",
        "held_for_examples": "held for examples",
        "set_aside": "set aside for the start",
        "dropped_in_groups": "further pairs of a group",
    }
    counted = [f"{found[key]} {text}" for key, text in reasons.items() if found.get(key)]
    if counted:
        console.print(f"left out: {', '.join(counted)}")


def _judge_failures(console: Console, judges: Mapping[str, Body]) -> None:
    """Show how often each judge failed, and why the first time."""
    for judge, counts in judges.items():
        if counts["failed"]:
            why = counts.get("first_reason")
            first = f"; the first: {escape(why)}" if why else ""
            console.print(
                f"[red]{escape(judge)} failed[/] on {counts['failed']} of {counts['asked']} pairs"
                f"{first}"
            )


def plan(console: Console, body: Body) -> None:
    """Show the frontier."""
    table = _table(
        "target", "status", "coverage", "agreement", "cost/pair", "rel. cost", "labels needed"
    )
    for row in body["frontier"]:
        needed = row["labels_needed"]
        table.add_row(
            _percent(row["target_agreement"]),
            row["status"],
            _percent(row["coverage"]),
            _percent(row["agreement"]),
            _number(row["cost_per_pair"]),
            _percent(row["relative_cost"]),
            "more would not do" if needed is None else str(needed),
        )
    console.print(table)
    console.print(
        "labels needed: with so many in all, the target is certified in 4 of 5 draws of such labels; "
        "these labels may be luckier, or less lucky"
    )
    console.print(escape(body["claim"]))


def verdicts(console: Console, body: Body) -> None:
    """Show verdicts, one on each line."""
    table = _table("pair", "verdict", "confidence", "judge", "promise")
    for verdict in body["verdicts"]:
        table.add_row(
            escape(verdict["id"]),
            verdict["label"] or verdict["status"],
            _number(verdict["confidence"]),
            escape(verdict["judge"] or "-"),
            "calibration pair" if verdict["calibration_pair"] else verdict["promise"],
        )
    console.print(table)
    if body["calibration_pairs"]:
        console.print(
            f"the certificate knows the prompts of {body['calibration_pairs']} of these pairs: its "
            "promise is for others"
        )
    given = body["verdicts"]
    if all(one["calibration"] and not one["tiers"] for one in given):
        _no_thresholds(console, given[0]["calibration"])
    _troubles(console, body)


def _no_thresholds(console: Console, calibration: str) -> None:
    """Say why no judge was asked under a certificate that certifies nothing."""
    console.print(
        f"no judge was asked: {calibration} certifies nothing, so every pair abstains (--cascade "
        "judges without a promise)"
    )


def _troubles(console: Console, body: Body) -> None:
    """Show why a promise is suspended, and which judges failed."""
    if body["suspended_because"]:
        console.print(f"[red]suspended:[/] {escape(body['suspended_because'])}")
    failures = body.get("judge_failures") or {"pairs": 0, "judges": {}}
    if failures["pairs"]:
        console.print(f"[red]a judge failed[/] on {failures['pairs']} pairs")
    _judge_failures(console, failures["judges"])


def batch(console: Console, body: Body) -> None:
    """Show a batch's counts, cost and promise."""
    counts = body["request_counts"]
    cost = "unknown" if body["cost_usd"] is None else f"{body['cost_usd']:.4f} USD"
    console.print(
        f"batch {body['id']}: [bold]{body['status']}[/], {counts['total']} pairs: "
        f"{counts['accepted']} answered, {counts['abstained']} abstained, "
        f"{counts['failed']} failed; cost {cost}; promise {body['promise']}"
    )
    if counts["not_admitted"]:
        left = body["cost_to_finish_usd"]
        cost = f"about {left['value']:.4f} USD" if left else "more"
        console.print(
            f"the budget of {body['budget_usd']:g} USD did not cover {counts['not_admitted']} pairs: "
            f"they abstained{_next_pair(body)}; judging them would cost {cost} (--retry {body['id']} --budget-usd ..., "
            f"which counts the {body['spent_usd']:.4f} USD that are spent)"
        )
    if body["calibration_pairs"]:
        console.print(
            f"the certificate knows {body['calibration_pairs']} of these pairs or their prompts: "
            "its promise is for others (the other --part of a certificate made on one leaves them out)"
        )
    if counts["abstained"] > counts["not_admitted"] and not body["progress"]["tiers"]:
        _no_thresholds(console, body["calibration"])
    _troubles(console, body)


def _next_pair(body: Body) -> str:
    """Say what one more pair may cost: the rest of the budget was less."""
    most = body["next_pair_usd"]
    return "" if most is None else f" (one more pair may cost {most:.4f} USD at most)"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def doctor(console: Console, body: Body) -> None:
    """Show what is configured and whether it works."""
    lines = [
        ("database", body["database"]["status"], body["database"]["url"]),
        ("configured", body["configuration"]["status"], body["configuration"]["path"] or _EMBEDDED),
        *(
            ("judge", "ok" if one["is_ready"] else "down", f"{one['name']} {one['detail']}")
            for one in body["judges"]
        ),
        *(("cascade", "ok", f"{n}: {' -> '.join(js)}") for n, js in body["cascades"].items()),
    ]
    for what, status, detail in lines:
        console.print(f"{what:<10}  {status:<4}  {escape(detail.rstrip())}")


def keys(console: Console, body: Sequence[Body]) -> None:
    """Show keys without their secrets."""
    table = _table("name", "id", "scopes", "last used", "ends")
    for key in body:
        scopes = ",".join(key["scopes"])
        if key["annotator"] is not None:
            scopes += f" of {key['annotator']}"
        used = (key["last_used_at"] or "-")[:10]
        table.add_row(escape(key["name"]), key["id"], escape(scopes), used, _end_of(key))
    console.print(table)


def _end_of(key: Body) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {key['revoked_at'][:10]}"
    return "-" if key["expires_at"] is None else str(key["expires_at"][:16])


def schema(console: Console, body: Body) -> None:
    """Show the revision of a database's schema."""
    console.print(f"database {body['status']}: revision {body['revision'] or 'none (empty)'}")
