"""Tables of datasets, certificates and plans, one function for each kind of result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from app.calibrations.wording import COUNTS, as_percent, changed_labels_note, share_in_words
from app.cli.console import has_ended, promised, rejections, state_of
from app.cli.console import number as _number
from app.cli.console import percent as _percent
from app.cli.tables.layout import Body, Screen, Table, escape

_MOST_SHOWN: Final = 200


def dataset(console: Screen, body: Body) -> None:
    """Show what an import kept and what it rejected."""
    console.print(
        f"dataset [bold]{escape(body['name'])}[/] ({body['id']}): {body['pairs']} pairs, "
        f"{body['groups']} groups, {body['labels']} labels by {body['annotators']} annotators"
    )
    judges = body["recorded_judges"]
    if judges:
        console.print(f"recorded judges: {escape(some(judges))}")
    for line in rejections(body):
        console.print(f"[red]{escape(line)}[/]")


def preview(console: Screen, body: Body) -> None:
    """Show what an import would store, the first rows field by field."""
    console.print(
        f"nothing is stored: {body['dialect']}, {body['pairs']} pairs, {body['groups']} groups, "
        f"{body['labels']} labels by {body['annotators']} annotators"
    )
    if body["recorded_judges"]:
        console.print(f"recorded judges: {escape(some(body['recorded_judges']))}")
    for number, row in enumerate(body["rows"], start=1):
        console.print(f"[bold]pair {number}[/]")
        fields_of(console, row)
    for line in rejections(body):
        console.print(f"[red]{escape(line)}[/]")


def fields_of(console: Screen, row: Body) -> None:
    """Show the fields of a row, one on each line."""
    for name, value in row.items():
        if value not in ([], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            console.print(f"  {escape(name)}: {escape(_short(text))}")


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _MOST_SHOWN else f"{plain[:_MOST_SHOWN]}..."


def certificate(console: Screen, body: Body) -> None:
    """Show a certificate: how it stands now, the promise in short, and what it rests on."""
    state = state_of(body)
    colour = "green" if state == "certified" else "red"
    console.print(f"certificate {body['id']}: [bold {colour}]{state}[/]")
    _since(console, body)
    if "calibration" not in body:
        return
    # a server of an earlier version has the long promise alone
    said = (body.get("summary") or body["claim"], body.get("answers"))
    console.print(escape(" ".join(filter(None, said))))
    found = body["calibration"]
    _judges(console, body)
    _test(console, body)
    if refused := body.get("refusal"):
        console.print(escape(f"{refused['tried']} {refused['would_help']}"))
    for one in body.get("same_labels", ()):
        console.print(escape(f"from the same labels {one['id']} is certified: {one['summary']}"))
    _contributions(console, body.get("contributes"))
    _panel(console, body.get("panel"))
    _left_out(console, found)
    judge_failures(console, found["failures"])
    if body["status"] != "certified":
        _advice(console, body)
    _parts(console, body.get("certificates", []))
    if body["status"] == "certified" and "summary" in body:
        console.print(f"the promise word by word: tribunal calibrations show {body['id']} --words")


def _judges(console: Screen, body: Body) -> None:
    """Show from which confidence each judge answers, and how many of the tested pairs."""
    found, is_certified = body["calibration"], body["status"] == "certified"
    has_slices = is_certified and any(one["slice"] for one in body.get("certificates", ()))
    table = Table("judge", "threshold", f"answers of {found['pairs']} tested")
    for tier in body["thresholds"]:
        share = found["composition"].get(tier["judge"]) if is_certified else None
        limit = tier["threshold"]
        own = "by slice" if has_slices and limit is None else _number(limit)
        table.add_row(tier["judge"], own, _percent(share))
    console.print(table)


def _test(console: Screen, body: Body) -> None:
    """Show what the test of the thresholds found."""
    found = body["calibration"]
    tested = f"tested on {_plural(found['pairs'], 'pair')} of {_plural(found['groups'], 'group')}"
    figures = (
        f"answered {found['answered']} ({_percent(found['coverage'])}), disagreed on "
        f"{_number(found['disagreements'])}, agreement {_percent(found['agreement'])}"
    )
    if body["status"] == "certified":
        console.print(f"{tested}: {figures}, {_lower_bound(body)}")
    elif found["answered"]:
        console.print(f"{tested}: this rule would have {figures}; it is no promise and not used")
    else:
        console.print(f"{tested}: no thresholds passed")


def _parts(console: Screen, parts: Sequence[Body]) -> None:
    """Show the certificates of slices, or of the targets of a menu."""
    for part in parts:
        name = "" if part["slice"] is None else f"{part['slice']!r} "
        target = part["target_agreement"]
        at = f"error {part['max_error']:g}" if target is None else f"{target:g}"
        figures = part["calibration"]
        answers = f", answers {share_in_words(figures)}" if part["status"] == "certified" else ""
        console.print(f"  {escape(name)}at {at}: {part['status']}{answers}")


def answered(found: Body) -> str:
    """Return how many of the pairs that tested a certificate are answered."""
    share = _percent(found["coverage"])
    # a server of an earlier version counts no pairs of a plan
    return share if "pairs" not in found else f"{found['answered']} of {found['pairs']} ({share})"


def certificate_word_by_word(console: Screen, body: Body) -> None:
    """Show a certificate and the whole of its promise."""
    certificate(console, body)
    if claim := body.get("claim"):
        console.print(escape(claim))


def _advice(console: Screen, body: Body) -> None:
    advice, confidence = body["advice"], as_percent(1 - body["failure_probability"])
    is_whole = "certifiable_error" in advice
    bound = advice["certifiable_error" if is_whole else "certifiable_agreement"]
    # a bound that a coin reaches shows nothing
    if bound is not None and (bound < 0.5) == is_whole:
        what = "an error of at most" if is_whole else "an agreement of at least"
        console.print(
            f"with {confidence} confidence these labels show {what} {_percent(bound)} where "
            f"{_percent(advice['certifiable_coverage'])} of the pairs that count are answered (the best "
            "of several bounds that hold together, and no promise)"
        )
    console.print(escape(advice["text"]))


def _since(console: Screen, body: Body) -> None:
    """Show what happened to a certificate and its labels since it was made."""
    if line := why_it_ended(body):
        console.print(f"[red]{escape(line)}[/]")
    _its_life(console, body)
    if changed := body.get("labels_changed"):
        console.print(f"[red]{escape(changed_labels_note(body['id'], changed) or '')}[/]")


def why_it_ended(body: Body) -> str | None:
    """Say when and why a certificate was revoked or suspended; None if it was not."""
    because = body.get("suspended_because")
    why = f": {because}" if because else ""
    if body["revoked_at"]:
        return f"revoked on {body['revoked_at'][:19]}, it promises nothing any more{why}"
    return f"suspended, no new verdict carries its promise{why}" if because else None


def _its_life(console: Screen, body: Body) -> None:
    """Show where a certificate came from, what it renews, and when it ends."""
    if origin := body.get("imported"):
        signer, moment = origin["signed_by"], origin["imported_at"][:19]
        console.print(f"made elsewhere, signed by {signer}, imported on {moment}")
    if body.get("supersedes"):
        console.print(f"it supersedes {escape(body['supersedes'])}; what changed:")
    for change in body.get("changes") or ():
        console.print(escape(f"  {change['field']}: {change['old']} -> {change['new']}"))
    if body.get("superseded_by"):
        console.print(f"[red]superseded[/] by {escape(body['superseded_by'])}")
    if ends := body.get("expires_at"):
        has = has_ended(ends)
        console.print(f"[red]expired[/] at {ends[:19]}" if has else f"it expires at {ends[:19]}")


def verification(console: Screen, body: Body) -> None:
    """Show whether an exported certificate is what it says."""
    named = escape(body["calibration"] or "the document")
    if body["verified"]:
        console.print(f"[green]{named} is verified[/]: computed again, it is the same")
        console.print(escape(body["claim"]))
    else:
        console.print(f"[red]{named} is not verified[/]")
        for fault in body["faults"]:
            console.print(f"  {escape(fault['field'])} {escape(fault['reason'])}")
    if body["signed_by"]:
        at = f" at {body['signed_at'][:19]}" if body["signed_at"] else ""
        console.print(f"signed by {escape(body['signed_by'])}{at}")
    if body["state_at_export"]:
        console.print(f"state at export: {body['state_at_export']}")
    if body["promises"]:
        console.print(
            "a file cannot tell what came later: export it again, or ask its service, to see whether "
            "it was suspended or revoked since"
        )
    for line in body["notes"]:
        console.print(escape(line))


def _plural(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _lower_bound(body: Body) -> str:
    """Return the one-sided bound on the agreement, with its own confidence."""
    found = body["calibration"]
    parts = [
        part["calibration"]
        for part in body.get("certificates", [])
        if part["status"] == "certified" and part["slice"] is not None
    ]
    if body.get("scope") == "dataset":
        error = _percent(found["error_upper_bound"])
        return f"wrong on at most {error} of all pairs with confidence {100 * (1 - found['level']):.4g}%"
    lowest = found["agreement_lower_bound"]
    # the lowest bound of all slices is shown: it belongs to one of them
    levels = [part["level"] for part in parts if part["agreement_lower_bound"] == lowest]
    level = max(levels, default=found["level"])
    if body["method"] == "stagewise":
        level = body["failure_probability"]  # of all judges together
    if not lowest:
        return "and nothing shows a least agreement"
    where = "in the slice that shows the least " if parts else ""
    return f"{where}at least {_percent(lowest)} with confidence {100 * (1 - level):.4g}%"


def _contributions(console: Screen, contributes: Sequence[Body] | None) -> None:
    """Show what a stack of judges would do without each of them."""
    if not contributes:
        return
    console.print(
        "judges are heard together; on the labelled pairs that count, had one of them failed everywhere:"
    )
    for one in contributes:
        console.print(
            escape(
                f"  without {one['judge']}: answers {_percent(one['coverage_without'])}, agreement "
                f"{_percent(one['agreement_without'])} (it is asked about {_percent(one['asked'])})"
            )
        )


def _panel(console: Screen, panel: Body | None) -> None:
    if panel is None:
        return
    rests = "shown by third votes" if panel["assumption"] == "tested" else "assumed, not tested"
    console.print(
        f"a panel by two votes on {panel['two_votes']} pairs, {panel['split']} of them split; "
        f"that people are no noisier where verdicts are wrong: {rests}"
    )


def _left_out(console: Screen, found: Body) -> None:
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


def judge_failures(console: Screen, judges: Mapping[str, Body]) -> None:
    """Show how often each judge failed, and why the first time."""
    for judge, counts in judges.items():
        if counts["failed"]:
            why = counts.get("first_reason")
            first = f"; the first: {escape(why)}" if why else ""
            console.print(
                f"[red]{escape(judge)} failed[/] on {counts['failed']} of {counts['asked']} pairs"
                f"{first}"
            )


def plan(console: Screen, body: Body) -> None:
    """Show the frontier."""
    table = Table(
        "target", "status", "answered of tested", "agreement", "cost/pair", "rel. cost", "labels needed",
        drops=("rel. cost", "cost/pair", "agreement"),
    )  # fmt: skip
    for row in body["frontier"]:
        needed = row["labels_needed"]
        table.add_row(
            promised(row),
            row["status"],
            answered(row),
            _percent(row["agreement"]),
            # a cascade that answers nothing asks nobody: that is no price of an answer
            _number(row["cost_per_pair"] if row["status"] == "certified" else None),
            _percent(row["relative_cost"] if row["status"] == "certified" else None),
            "more would not do" if needed is None else f"{needed}{_saving(row)}",
        )
    console.print(table)
    console.print(_labels_needed(body))
    for row in body["frontier"]:
        if other := row.get("cheapest"):
            console.print(
                f"at {promised(row)} --method {other['method']} answers as much ("
                f"{_percent(other['coverage'])}) for {_number(other['cost_per_pair'])} a pair"
            )
    if any("saving" in row for row in body["frontier"]):
        console.print(
            "the share answered is the share of labels that people are saved, of pairs beyond the labelled "
            "ones"
        )
    console.print(escape(body["claim"]))


def _labels_needed(body: Body) -> str:
    """Explain the number of labels that a plan names."""
    counted, labelled = body["groups"], body.get("labelled_groups")
    here = "" if labelled is None else f"; here {counted} of {labelled} labelled groups count"
    return (
        "labels needed: with so many labelled groups that count, the target is certified in about 4 of 5 "
        f"draws of such labels ({COUNTS}){here}. These labels may be luckier, or less lucky"
    )


def _saving(row: Body) -> str:
    saving = row.get("saving")
    return "" if saving is None else f" to save {saving:.0%}"


def some(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
