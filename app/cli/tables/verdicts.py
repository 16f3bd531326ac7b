"""Tables of verdicts and batches, one function for each kind of result."""

from __future__ import annotations

from collections.abc import Sequence

from app.cli.console import number as _number
from app.cli.tables.certificates import judge_failures
from app.cli.tables.layout import Body, Screen, Table, escape
from app.judgments.in_words import promised_in_words, said_together

_UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")
NO_LOGPROBS = "no_logprobs"
_ORDERS = ("a first", "a second")


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
        reason_line(console, verdict)
    if any(
        NO_LOGPROBS in tier.get("flags", ()) for one in body["verdicts"] for tier in one["tiers"]
    ):
        console.print(
            f"{NO_LOGPROBS}: the judge's server gave no log-probabilities, so that each answer counts "
            "as wholly sure; such a judge needs a certificate of its own"
        )
    given = body["verdicts"]
    promised = [one for one in given if one["promise"] == "certified"]
    known = sum(one["calibration_pair"] for one in promised)
    if promised and (note := promised_in_words(len(promised), len(promised) - known)):
        console.print(note)
    if is_without_thresholds(given):
        _no_thresholds(console, given[0]["calibration"])
    _troubles(console, body)


def reason_line(console: Screen, verdict: Body) -> None:
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
    judge_failures(console, failures["judges"])


def batch(console: Screen, body: Body) -> None:
    """Show a batch's counts, cost and promise."""
    counts = body["request_counts"]
    console.print(
        f"batch {body['id']}: [bold]{body['status']}[/], {counts['total']} pairs: "
        f"{counts['accepted']} answered, {counts['abstained']} abstained, "
        f"{counts['failed']} failed; cost {_cost(body)}; promise {_promise_of(body)}"
    )
    for tier in body["progress"]["tiers"]:
        if cut_off := tier.get("cut_off"):
            console.print(
                f"a worker stopped while {escape(tier['judge'])} was asked about {cut_off} "
                f"{'pairs' if cut_off > 1 else 'pair'}: what those calls cost is unknown"
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
    if note := body.get("promise_note"):
        console.print(escape(note))
    if could_answer_nothing(body):
        _no_thresholds(console, body["calibration"])
    _troubles(console, body)


def _promise_of(body: Body) -> str:
    """Return what the verdicts of a batch promise, and of how many pairs if not of all."""
    promise: str = body["promise"]
    # a server of an earlier version does not say of how many
    if promise != "certified" or body.get("promise_note") is None:
        return promise
    promised = body["promised_pairs"]
    return f"{promise} for {promised or 'none'} of {promised + body['calibration_pairs']} pairs"


def _cost(body: Body) -> str:
    if body["cost_usd"] is not None:
        return f"{body['cost_usd']:.4f} USD"
    # a server of an earlier version says less
    known = body.get("known_usd")
    return f"at least {known:.4f} USD" if known else "unknown"


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
        if one["basis"] == "stored_scores" and one["scored"] and one["pairs"]["high"]:
            known = f"what a score takes is the mean over its {one['scored']} scores here"
            console.print(f"{escape(one['judge'])}: {known}")
        elif said := _BASIS.get(one["basis"]):
            console.print(f"{escape(one['judge'])}: {said}")
    for sentence in body.get("warnings") or ():
        console.print(escape(sentence))
    console.print(f"cost: {_likely(body['cost_usd'])}; nothing was started")


_BASIS = {
    "texts": "it has no stored scores here: input tokens follow from the lengths of the prompts",
    "prices": "it has no stored scores here: the upper end is the most that a score may cost",
    "unknown": "it has no price and no stored scores here: give price_input and price_output",
}


def _likely(found: Body | None) -> str:
    """Return a cost: what is likely, and the most that it may be."""
    if found is None or found["value"] is None or found["low"] == found["high"]:
        return f"{_range(found, '{:.4f}')} USD"
    return f"{found['value']:.4f} USD is likely, {found['high']:.4f} is the upper bound"


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
