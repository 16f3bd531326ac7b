"""Tables of results for people, one function for each kind of result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.cli.console import has_ended, promised, rejections
from app.cli.console import number as _number
from app.cli.console import percent as _percent
from app.cli.layout import Screen, Table, escape
from app.judgments.in_words import said_together

Body = Mapping[str, Any]
_UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")
NO_LOGPROBS = "no_logprobs"
_MOST_SHOWN: Final = 200
_ORDERS = ("a first", "a second")
_EMBEDDED = "none: the embedded judge alone"


def dataset(console: Screen, body: Body) -> None:
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


def preview(console: Screen, body: Body) -> None:
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
    plain = " ".join(text.split())
    return plain if len(plain) <= _MOST_SHOWN else f"{plain[:_MOST_SHOWN]}..."


def certificate(console: Screen, body: Body) -> None:
    """Show a certificate: the claim first, then what it rests on."""
    colour = "green" if body["status"] == "certified" else "red"
    console.print(f"certificate {body['id']}: [bold {colour}]{body['status']}[/]")
    _since(console, body)
    if "calibration" not in body:
        return
    console.print(escape(body["claim"]))
    found = body["calibration"]
    is_certified = body["status"] == "certified"
    table = Table("judge", "threshold", "answers")
    for tier in body["thresholds"]:
        share = found["composition"].get(tier["judge"]) if is_certified else None
        table.add_row(tier["judge"], _number(tier["threshold"]), _percent(share))
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
    if refused := body.get("refusal"):
        console.print(escape(f"{refused['tried']} {refused['would_help']}"))
    _panel(console, body.get("panel"))
    _left_out(console, found)
    _judge_failures(console, found["failures"])
    if not is_certified:
        _advice(console, body["advice"])
    for part in body.get("certificates", []):
        name = "" if part["slice"] is None else f"{part['slice']!r} "
        target = part["target_agreement"]
        at = f"error {part['max_error']:g}" if target is None else f"{target:g}"
        console.print(
            f"  {escape(name)}at {at}: {part['status']}, coverage "
            f"{_percent(part['calibration']['coverage'])}"
        )


def _advice(console: Screen, advice: Body) -> None:
    share = (
        f"an error of {_percent(advice['certifiable_error'])} of all pairs or less"
        if "certifiable_error" in advice
        else f"agreement of {_percent(advice['certifiable_agreement'])} or more"
    )
    console.print(
        f"these labels show: {share} at "
        f"coverage {_percent(advice['certifiable_coverage'])} (a bound; to certify it may take "
        f"more labels). {escape(advice['text'])}"
    )


def _since(console: Screen, body: Body) -> None:
    """Show what happened to a certificate and its labels since it was made."""
    _its_life(console, body)
    if body.get("suspended_because"):
        console.print(f"[red]suspended[/]: {escape(body['suspended_because'])}")
    if body["revoked_at"]:
        console.print(f"[red]revoked on {body['revoked_at'][:19]}[/]: it promises nothing any more")
    if changed := body.get("labels_changed"):
        from app.calibrations.result import changed_labels_note

        console.print(f"[red]{escape(changed_labels_note(body['id'], changed) or '')}[/]")


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
    for line in body["notes"]:
        console.print(escape(line))


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
    return f"at least {_percent(lowest)} with confidence {100 * (1 - level):.4g}%"


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


def _judge_failures(console: Screen, judges: Mapping[str, Body]) -> None:
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
        "target", "status", "coverage", "agreement", "cost/pair", "rel. cost", "labels needed",
        drops=("rel. cost", "cost/pair", "agreement"),
    )  # fmt: skip
    for row in body["frontier"]:
        needed = row["labels_needed"]
        table.add_row(
            promised(row),
            row["status"],
            _percent(row["coverage"]),
            _percent(row["agreement"]),
            _number(row["cost_per_pair"]),
            _percent(row["relative_cost"]),
            "more would not do" if needed is None else f"{needed}{_saving(row)}",
        )
    console.print(table)
    console.print(
        "labels needed: with so many in all, the target is certified in 4 of 5 draws of such labels; "
        "these labels may be luckier, or less lucky"
    )
    for row in body["frontier"]:
        if other := row.get("cheapest"):
            console.print(
                f"at {promised(row)} --method {other['method']} answers as much ("
                f"{_percent(other['coverage'])}) for {_number(other['cost_per_pair'])} a pair"
            )
    if any("saving" in row for row in body["frontier"]):
        console.print(
            "coverage is the share of labels that people are saved, of pairs beyond the labelled ones"
        )
    console.print(escape(body["claim"]))


def _saving(row: Body) -> str:
    saving = row.get("saving")
    return "" if saving is None else f" to save {saving:.0%}"


def verdicts(console: Screen, body: Body) -> None:
    """Show verdicts, one on each line."""
    last = [_last_asked(verdict) for verdict in body["verdicts"]]
    has_orders = any("orders" in tier for tier in last)
    has_flags = any(tier.get("flags") for tier in last)
    columns = ("pair", "verdict", "confidence", "judge", *(_ORDERS if has_orders else ()),
               *(("flags",) if has_flags else ()), "promise")  # fmt: skip
    table = Table(*columns, drops=("promise", *(_ORDERS if has_orders else ())))
    for verdict, tier in zip(body["verdicts"], last, strict=True):
        table.add_row(
            verdict["id"],
            verdict["label"] or verdict["status"],
            _number(verdict["confidence"]),
            verdict["judge"] or "-",
            *(_both_orders(tier) if has_orders else ()),
            *((", ".join(tier.get("flags", ())) or "-",) if has_flags else ()),
            "calibration pair" if verdict["calibration_pair"] else verdict["promise"],
        )
    console.print(table)
    for verdict in body["verdicts"]:
        for tier in verdict["tiers"]:
            _flip(console, verdict["id"], tier)
        if told := said_together(verdict):
            console.print(escape(f"{verdict['id']}: {told}"))
        _reason(console, verdict)
    if any(
        NO_LOGPROBS in tier.get("flags", ()) for one in body["verdicts"] for tier in one["tiers"]
    ):
        console.print(
            f"{NO_LOGPROBS}: the judge's server gave no log-probabilities, so that each answer counts "
            "as wholly sure; such a judge needs a certificate of its own"
        )
    if body["calibration_pairs"]:
        console.print(
            f"the certificate knows the prompts of {body['calibration_pairs']} of these pairs: its "
            "promise is for others"
        )
    given = body["verdicts"]
    if is_without_thresholds(given):
        _no_thresholds(console, given[0]["calibration"])
    _troubles(console, body)


def _reason(console: Screen, verdict: Body) -> None:
    """Show why the judge says so, and what to think of it."""
    if (reason := verdict.get("reason")) is None:
        return
    said = (
        "gave no reason" if reason["text"] is None else f"says: {' '.join(reason['text'].split())}"
    )
    noted = f" ({', '.join(reason['flags'])})" if reason["flags"] else ""
    console.print(escape(f"{verdict['id']}: {reason['judge']} {said}{noted}"))


def is_without_thresholds(verdicts: Sequence[Body]) -> bool:
    """Return whether no judge was asked about any pair, because a certificate certifies nothing."""
    return bool(verdicts) and all(one["calibration"] and not one["tiers"] for one in verdicts)


def could_answer_nothing(batch: Body) -> bool:
    """Return whether a batch asked no judge, because its certificate certifies nothing."""
    counts = batch["request_counts"]
    is_unasked = counts["abstained"] > counts["not_admitted"] and not batch["progress"]["tiers"]
    return bool(batch["calibration"]) and is_unasked


def _last_asked(verdict: Body) -> Body:
    """Return what the judge said that gave the verdict, or that was asked last; nothing if none."""
    tiers: Sequence[Body] = verdict["tiers"]
    return tiers[-1] if tiers else {}


def _both_orders(tier: Body) -> tuple[str, str]:
    orders = tier.get("orders")
    if orders is None:
        return "-", "-"
    return _hundredths(orders["a_first"]), _hundredths(orders["a_second"])


def _flip(console: Screen, pair: str, tier: Body) -> None:
    """Say where a judge prefers one response if it is shown first, and the other otherwise."""
    orders = tier.get("orders")
    if orders is None or (orders["a_first"] - 0.5) * (orders["a_second"] - 0.5) >= 0:
        return
    first, second = _both_orders(tier)
    console.print(
        f"{escape(pair)}: {escape(tier['judge'])} flipped: a first {first}, second {second}"
    )


def _hundredths(share: float) -> str:
    text = f"{share:.2f}"
    return text.removeprefix("0") if share < 1 else text


def _no_thresholds(console: Screen, calibration: str) -> None:
    """Say why no judge was asked under a certificate that certifies nothing."""
    console.print(
        f"no judge was asked: {calibration} certifies nothing, so that every pair abstains "
        "(--cascade instead of --calibration asks judges without a promise)"
    )


def _troubles(console: Screen, body: Body) -> None:
    """Show why a promise is suspended, and which judges failed."""
    if body["suspended_because"]:
        console.print(f"[red]suspended:[/] {escape(body['suspended_because'])}")
    failures = body.get("judge_failures") or {"pairs": 0, "judges": {}}
    if failures["pairs"]:
        console.print(f"[red]a judge failed[/] on {failures['pairs']} pairs")
    _judge_failures(console, failures["judges"])


def batch(console: Screen, body: Body) -> None:
    """Show a batch's counts, cost and promise."""
    counts = body["request_counts"]
    cost = "unknown" if body["cost_usd"] is None else f"{body['cost_usd']:.4f} USD"
    console.print(
        f"batch {body['id']}: [bold]{body['status']}[/], {counts['total']} pairs: "
        f"{counts['accepted']} answered, {counts['abstained']} abstained, "
        f"{counts['failed']} failed; cost {cost}; promise {body['promise']}"
    )
    if body["status"] in _UNFINISHED:
        _running(console, body)
    _at_providers(console, body["progress"].get("at_providers", ()))
    _reasons(console, body["progress"]["tiers"])
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
    if could_answer_nothing(body):
        _no_thresholds(console, body["calibration"])
    _troubles(console, body)


def _at_providers(console: Screen, files: Sequence[Body]) -> None:
    """Show what the judges' providers are asked in batches of their own."""
    for judge in dict.fromkeys(one["judge"] for one in files):
        own = [one for one in files if one["judge"] == judge]
        asked, answered, left_out = (
            sum(one[name] for one in own) for name in ("questions", "answered", "left_out")
        )
        states = ", ".join(dict.fromkeys(one["status"] for one in own))
        console.print(
            f"at the provider of {escape(judge)}: {len(own)} files ({escape(states)}), {answered} of"
            f" {asked} questions answered, {left_out} left out"
        )
        if (error := own[-1]["error"]) is not None:
            console.print(f"[red]its last file:[/] {escape(error)}")


def _running(console: Screen, body: Body) -> None:
    """Show the speed of a batch that runs, and how its judges do."""
    progress = body["progress"]
    if (rate := progress["pairs_per_second"]) is not None:
        left = progress["seconds_left"]
        time_left = "" if left is None else f", {_duration(left)} left"
        console.print(f"{_number(rate)} pairs a second{time_left}")
    table = Table("judge", "asked", "answered", "failed", "USD", drops=("answered",))
    for tier in progress["tiers"]:
        counts = (str(tier[name]) for name in ("asked", "accepted", "failed"))
        table.add_row(tier["judge"], *counts, _usd(tier["cost_usd"]))
    if progress["tiers"]:
        console.print(table)


def _reasons(console: Screen, tiers: Sequence[Body]) -> None:
    """Show how many reasons judges gave, and how many to distrust."""
    for tier in tiers:
        if tier.get("reasons"):
            console.print(
                f"{escape(tier['judge'])}: {tier['reasons']} reasons,"
                f" {tier['reasons_contradicting']} contradict their verdict,"
                f" {tier['reasons_failed']} did not come"
            )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:.4f}"


def batch_estimate(console: Screen, body: Body) -> None:
    """Show what a batch would ask and cost."""
    looked = "" if body["looked_at"] == body["pairs"] else f" of {body['looked_at']} looked at"
    console.print(
        f"{body['pairs']} pairs; {body['scored_pairs']}{looked} cost nothing: "
        "their scores are stored, or come from judges without a server"
    )
    table = Table(
        "judge", "scored", "to score", "calls", "tokens in", "tokens out", "USD",
        drops=("tokens out", "tokens in", "calls", "scored"),
    )  # fmt: skip
    for one in body["judges"]:
        figures = ("pairs", "calls", "prompt_tokens", "completion_tokens")
        table.add_row(
            one["judge"], str(one["scored"]),
            *(_range(one[name], "{:,.0f}") for name in figures), _range(one["cost_usd"], "{:.4f}"),
        )  # fmt: skip
    console.print(table)
    for one in body["judges"]:
        if said := _BASIS.get(one["basis"]):
            console.print(f"{escape(one['judge'])}: {said}")
    console.print(f"cost: {_range(body['cost_usd'], '{:.4f}')} USD; nothing was started")


_BASIS = {
    "texts": "it has no stored scores here: tokens follow from the lengths of the prompts",
    "prices": "it has no stored scores here: the upper end is the most that a score may cost",
    "unknown": "it has no price and no stored scores here: give price_input and price_output",
}


def _range(found: Body | None, form: str) -> str:
    """Return a number and its range, as far as they are known."""
    if found is None:
        return "unknown"
    low, high = form.format(found["low"]), form.format(found["high"])
    if found["value"] is None:
        return f"{low} to {high}"
    value = form.format(found["value"])
    return value if low == high else f"{value} ({low} to {high})"


def _next_pair(body: Body) -> str:
    """Say what one more pair may cost: the rest of the budget was less."""
    most = body["next_pair_usd"]
    return "" if most is None else f" (one more pair may cost {most:.4f} USD at most)"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def doctor(console: Screen, body: Body) -> None:
    """Show what is configured and whether it works."""
    lines = [
        *_places(body),
        *(
            ("judge", "ok" if one["is_ready"] else "down", f"{one['name']} {one['detail']}")
            for one in body["judges"]
        ),
        *(("cascade", "ok", f"{n}: {' -> '.join(js)}") for n, js in body["cascades"].items()),
    ]
    width = max(len(status) for _, status, _ in lines)
    for what, status, detail in lines:
        console.print(f"{what:<10}  {status:<{max(width, 4)}}  {escape(detail.rstrip())}")


def judges(console: Screen, body: Sequence[Body]) -> None:
    """Show the configured judges, one after the other."""
    for one in body:
        _judge_lines(console, one)


def judge(console: Screen, body: Body) -> None:
    """Show a judge, and what each part of its template may use."""
    from judges.prompting.templates import RATING_VARIABLES, VARIABLES  # it loads Jinja

    _judge_lines(console, body)
    if body["template"] is None:
        return
    rates = "response" in body["template"]["variables"]
    for part, variables in (RATING_VARIABLES if rates else VARIABLES).items():
        console.print(f"the part {part} of a template may use:")
        for name, what in variables.items():
            console.print(f"  {name}: {escape(what)}")


def tried(console: Screen, body: Body) -> None:
    """Show how a judge judged one pair: prompts, tokens read, score and cost."""
    for one in body["exchanges"]:
        _exchange(console, one)
    cost = "unknown" if body["cost_usd"] is None else f"{body['cost_usd']:.6f} USD"
    said = body["label"] or ("failed" if body["failure"] else "no preference")
    console.print(
        f"{escape(body['judge'])}: [bold]{said}[/], p_a {_number(body['p_a'])}, confidence "
        f"{_number(body['confidence'])}; {_counted(body['tokens'])}; cost {cost}"
    )
    if ratings := body.get("ratings"):
        console.print(f"rated: a {ratings['a']:.3f}, b {ratings['b']:.3f}")
    if body["failure"]:
        console.print(f"[red]{body['failure']['kind']}:[/] {escape(body['failure']['detail'])}")
    if body["flags"]:
        console.print(f"flags: {escape(', '.join(body['flags']))}")
    if body.get("reason"):
        _reason(console, {**body, "id": "reason"})


def _exchange(console: Screen, one: Body) -> None:
    shown = "alone" if one["is_alone"] else "shown first"
    console.print(f"[bold]annotator {one['annotator']}, {one['shown_first']} {shown}[/]")
    for role, text in _parts(one):
        console.print(f"--- {role}")
        console.print(escape(text))
    console.print(f"--- the model wrote {escape(json.dumps(one['text'], ensure_ascii=False))}")
    if one["failure"]:
        console.print(f"[red]failed:[/] {escape(one['failure']['detail'])}")
    for read in one["read"]:
        spelled = f" label {read['label']}" if read["label"] else ""
        log = "-" if read["logprob"] is None else f"{read['logprob']:.4f}"
        console.print(f"    {log:>9}  {escape(repr(read['token']))}{escape(spelled)}")
    console.print(f"    {_counted(one['tokens'])}")


def _parts(exchange: Body) -> Iterator[tuple[str, str]]:
    for message in exchange["messages"]:
        yield message["role"], message["content"]
    if not exchange["messages"]:
        yield "prompt", exchange["prompt"]


def _counted(tokens: Body) -> str:
    return (
        f"{tokens['prompt']} tokens read, {tokens.get('cached', 0)} of them from a cache, "
        f"{tokens['completion']} written"
    )


def _judge_lines(console: Screen, body: Body) -> None:
    health = body["health"]
    ready = "ready" if health["ready"] else f"not ready: {health['detail']}"
    console.print(f"[bold]{escape(body['name'])}[/]: {body['kind']}, {escape(ready)}")
    prices = [body[name] for name in ("price_input", "price_output")]
    if body["model"]:
        console.print(f"  model {escape(body['model'])}")
    if None not in prices:
        console.print(f"  {prices[0]:g} USD a million tokens read, {prices[1]:g} written")
    if (template := body["template"]) is not None:
        labels = ", ".join(template["labels"])
        named = f"template {template['name']}, version {template['version']}, labels {labels}"
        console.print(f"  {escape(named)}")
        for part, variables in template["variables"].items():
            console.print(f"    {part} uses {escape(', '.join(variables) or 'nothing')}")


_DATABASES = {
    "none": "there is none yet; the first verb that stores something makes it",
    "empty": "without tables yet; the first verb that stores something makes them",
    "old": "of an older version; the next verb upgrades it, and so does tribunal db upgrade",
}


def _places(body: Body) -> Iterator[tuple[str, str, str]]:
    """Say where the service is, or what it would use in this process."""
    if "server" in body:
        yield "server", body["server"]["status"], body["server"]["url"]
        return
    database, configuration = body["database"], body["configuration"]
    said = _DATABASES.get(database["status"])
    yield "database", database["status"], f"{database['url']}{f' ({said})' if said else ''}"
    yield "configured", configuration["status"], configuration["path"] or _EMBEDDED


def keys(console: Screen, body: Sequence[Body]) -> None:
    """Show keys without their secrets."""
    table = Table("name", "id", "scopes", "last used", "ends", drops=("last used", "scopes"))
    for key in body:
        scopes = ",".join(key["scopes"])
        if key["annotator"] is not None:
            scopes += f" of {key['annotator']}"
        used = (key["last_used_at"] or "-")[:10]
        table.add_row(key["name"], key["id"], scopes, used, _end_of(key))
    console.print(table)


def _end_of(key: Body) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {key['revoked_at'][:10]}"
    return "-" if key["expires_at"] is None else str(key["expires_at"][:16])


def schema(console: Screen, body: Body) -> None:
    """Show the revision of a database's schema."""
    console.print(f"database {body['status']}: revision {body['revision'] or 'none (empty)'}")
