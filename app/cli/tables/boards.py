"""Tables of leaderboards, reports and lists for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from app.cli.console import estimate, number, percent, promised, short, state_of, value
from app.cli.tables.certificates import answered, why_it_ended
from app.cli.tables.layout import Body, Screen, Table, escape
from app.judgments.in_words import why_unanswered
from app.pages.words import ratings, told_apart

_LEFT_OUT = (
    "abstained", "failed", "missing", "unlabelled", "undecided", "without_models", "same_model",
    "calibration_pair", "known_to_judge", "ties_left_out",
)  # fmt: skip


def _three(amount: float | None) -> str:
    return "-" if amount is None else short(amount)


def leaderboard(console: Screen, body: Body) -> None:
    """Show models by rank: overall, by criterion and by slice; then warnings."""
    _scope(console, body)
    for part in body["groups"]:
        console.print(f"\n[bold]{escape(str(part['group']))}[/]")
        if part.get("error"):
            console.print(f"[red]not rankable:[/] {escape(part['error'])}")
        else:
            _scope(console, part)
        if left_out := _left_out(part):
            console.print(f"left out: {left_out}")
    console.print(f"\n{_ground(body)}")
    for warning in body.get("notes", body.get("warnings", ())):
        console.print(f"[yellow]note:[/] {escape(warning)}")


def _left_out(part: Body) -> str:
    """Return what a slice leaves out; of the whole board a note says it."""
    named = {name: part.get(name) or 0 for name in _LEFT_OUT}
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in named.items() if n)


def _scope(console: Screen, scope: Body) -> None:
    if scope.get("rankable") is False:
        console.print(f"[red]not rankable:[/] {escape(scope['not_rankable_because'])}")
    _rows(console, scope["rows"])
    for one in scope.get("by_criterion", ()):
        console.print(f"by [bold]{escape(one['criterion'])}[/], weight {one['weight']:.3g}:")
        _rows(console, one["rows"])
    for one in scope.get("coefficients", ()):
        console.print(f"  {one['name']}: {estimate(one['estimate'])} log-odds per {_scale(one)}")


def _scale(coefficient: Body) -> str:
    return f"difference of {number(coefficient['scale'])}"


_LESS: Final = ("comparisons", "labelled", "w/l/t", "pairs", "no verdict")


def _rows(console: Screen, rows: Sequence[Body]) -> None:
    has_silence = any(row.get("unresolved") for row in rows)
    has_labels = any("labelled" in row for row in rows)
    has_votes = any(_pairs(row) != row["pairs"] for row in rows)
    votes = ["comparisons"] if has_votes else []
    more = [*(["labelled"] if has_labels else []), *(["no verdict"] if has_silence else [])]
    columns = ("model", "rank", "rating", "win rate", "pairs", *votes, "w/l/t", *more)
    table = Table(*columns, drops=[name for name in _LESS if name in columns])
    for row in rows:
        cells = [
            row["model"],
            row.get("rank_text") or str(row["rank"]),
            estimate(row["rating"]),
            estimate(row["win_rate"]),
            str(_pairs(row)),
            *([str(row["pairs"])] if has_votes else []),
            f"{number(row['wins'])}/{number(row['losses'])}/{number(row['ties'])}",
        ]
        if has_labels:
            cells.append(str(row["labelled"]))
        if has_silence:
            cells.append(f"{row['unresolved']} ({percent(row.get('unresolved_share'))})")
        table.add_row(*cells)
    console.print(table)


def _pairs(row: Body) -> int:
    """Return the number of pairs of a row; older stored rows only count comparisons."""
    pairs: int = row.get("distinct_pairs", row["pairs"])
    return pairs


def _ground(body: Body) -> str:
    """Say in a few lines what a leaderboard rests on, and what its ratings mean."""
    rests_on = body["rests_on"]
    text = (
        f"{body['method']} by {body['source']} over {body['pairs']} pairs, "
        f"{body['abstained']} abstained ({body['id']})"
    )
    if body["rows"]:
        text += f"\nrating: {ratings(body)}"
    if (test := body.get("ranking_test")) and body.get("rankable"):
        text += f"\n{told_apart(test)}"
    certificate = body.get("certificate_now")
    if certificate is not None:
        state = "revoked" if certificate.get("revoked_at") else certificate["status"]
        text += f"\ncertificate {certificate['id']}: {state} now; promise {body.get('promise')}"
    if rests_on.get("label_set_hash"):
        text += (
            f"\nfingerprint of its labels: {rests_on['label_set_hash'][:16]} (boards on the same "
            "labels have the same)"
        )
    return escape(text)


def stored(console: Screen, page: Body) -> None:
    """Show stored leaderboards, one on each line."""
    table = Table(
        "leaderboard", "made", "dataset", "source", "method", "first",
        drops=("made", "method", "first", "source"),
    )  # fmt: skip
    for one in page["data"]:
        first = one["rows"][0]["model"] if one["rows"] else "-"
        made = one["created_at"][:19]
        names = (one["dataset"], one["source"], one["method"], first)
        table.add_row(one["id"], made, *names)
    console.print(table)


def comparison(console: Screen, body: Body) -> None:
    """Show what changed between two leaderboards."""
    console.print(f"from {body['earlier']['id']} to {body['later']['id']}")
    columns = ("model", "rating change", "win rate change", "rank", "moved surely")
    table = Table(*columns, drops=("win rate change",))
    for row in body["rows"]:
        rating = row["rating_change"]
        table.add_row(
            row["model"],
            "-" if rating is None else estimate(rating),
            estimate(row["win_rate_change"]),
            f"{row['rank_before']} -> {row['rank_after']}",
            "yes" if row["rank_has_surely_changed"] else "no",
        )
    console.print(table)
    for name in ("entered", "left"):
        if body[name]:
            console.print(f"{name}: {escape(', '.join(body[name]))}")
    if body["not_comparable_because"]:
        console.print(f"[yellow]note:[/] {escape(body['not_comparable_because'])}")
    differs = ", ".join(one["what"] for one in body["differs"])
    console.print(f"differs: {escape(differs) or 'nothing'}")


_SIGNS = {"at_least": ">=", "at_most": "<=", "within": "+-"}
_WORDS = {"pass": "passed", "fail": "FAILED", "not_enough_evidence": "not enough evidence"}
_OUTCOMES = {**_WORDS, "not_enough_evidence": "open"}
# a sentence on each of more judges is not read; the table has them all
_MOST_SENTENCES: Final = 6


def report(console: Screen, body: Body) -> None:
    """Show the agreement of people, judges and cascade, overall and by slice."""
    human = body["human"]
    console.print(
        f"report {body['id']}: {body['pairs']} pairs, {human['labels']} labels by "
        f"{human['annotators']} annotators"
    )
    alpha = f"; Krippendorff's alpha {estimate(human['krippendorff_alpha'])}"
    console.print(f"{_among_people(human)}{alpha}")
    if line := _pluralities(human):
        console.print(line)
    if len(body["judges"]) <= _MOST_SENTENCES:
        for judge in body["judges"]:
            console.print(escape(_in_a_sentence(judge, body["pairs"])))
    _judges(console, body["judges"])
    _leans(console, body["judges"])
    _beside_people(console, body["judges"])
    if body.get("judge_pairs"):
        _judge_pairs(console, body["judge_pairs"])
    _correlations(console, body.get("correlations"))
    if body.get("cascade"):
        _cascade(console, body)
    for part in body.get("groups") or ():
        _group(console, part, body.get("group_by"))


def _correlations(console: Screen, found: Body | None) -> None:
    """Show how judges go together with people: rating with score, and p_a with the mean vote."""
    told = (("by_response", "response", "score"), ("by_pair", "pair", "vote"))
    for name, what, given in told if found else ():
        shown = Table("judge", "criterion", "n", "Pearson", "Spearman", "Kendall")
        for row in found[name] if found else ():
            whole = "over criteria" if name == "by_response" else "-"
            figures = (estimate(row[one]) for one in ("pearson", "spearman", "kendall"))
            judges = " + ".join(row["judges"])
            shown.add_row(judges, row["criterion"] or whole, str(row["n"]), *figures)
        if found and found[name]:
            console.print(f"correlation with people's mean {given}, by {what}")
            console.print(shown)


def _among_people(human: Body) -> str:
    """Say how often two people agree, on the basis of a judge's agreement first."""
    if not human["percent_agreement"]["n"]:
        return "no pair has votes of two people"
    whole = f"{_counted(human['percent_agreement'], 'couples of votes')} with ties as a class"
    decided = human.get("percent_agreement_without_ties")
    # an earlier version stored no figure without ties
    first = f"{_counted(decided, 'couples of votes for a or b')}, " if decided else ""
    return f"people agree {first}{whole}"


def _counted(share: Body, of: str) -> str:
    """Return a share as a count of what it is a share of, and its value with the interval."""
    agreeing = round((share["value"] or 0.0) * share["n"])
    return f"on {agreeing} of {share['n']} {of} ({estimate(share)})"


def _pluralities(human: Body) -> str:
    """Say how many pairs people decided; nothing for what an earlier version stored."""
    counts = human.get("plurality")
    if not counts:
        return ""
    open_ = f", no majority on {counts['none']} (counted as ties where ties are a class)"
    return (
        f"people prefer a or b on {counts['a'] + counts['b']} pairs, call {counts['tie']} a tie"
        f"{open_ if counts['none'] else ''}"
    )


def _in_a_sentence(judge: Body, n_pairs: int) -> str:
    """Say on how many pairs a judge agrees, of how many, and on how many it says neither."""
    said = f"{judge['judge']} agrees {_counted(judge['agreement'], 'pairs that both decided')}"
    if judge.get("neither"):
        said += f"; a tie or no preference on {judge['neither']} of its {judge['n']} verdicts"
    return said + (f"; no verdict on {n_pairs - judge['n']} pairs" if n_pairs > judge["n"] else "")


def _judges(console: Screen, judges: Sequence[Body]) -> None:
    columns = (
        "judge", "both decided", "agreement", "kappa", "neither", "scored", "order kept", "ECE", "failed",
    )  # fmt: skip
    drops = ("scored", "neither", "ECE", "order kept", "kappa")
    shown = Table(*columns, drops=drops)
    for row in judges:
        shown.add_row(
            row["judge"],
            str(row["agreement"]["n"]),
            estimate(row["agreement"]),
            _three(value(row["cohens_kappa"])),
            str(row.get("neither", "-")),
            percent(value(row["coverage"])),
            percent(value(row["position_consistency"])),
            _three(value(row["expected_calibration_error"])),
            str(row["failures"]),
        )
    if judges:
        console.print(shown)


def _leans(console: Screen, judges: Sequence[Body]) -> None:
    """Show the biases of judges."""
    shown = Table("judge", "first shown", "longer", "own")
    rows = [row for row in judges if "position" in row]
    for row in rows:
        length = row.get("length", {}).get("lean", {"value": None})
        shown.add_row(
            row["judge"],
            estimate(row["position"]["lean"]),
            estimate(length),
            estimate(row["self_preference"]["lean"]),
        )
    if rows:
        console.print("how much more often than people a judge takes the response that is")
        console.print(shown)


def _beside_people(console: Screen, judges: Sequence[Body]) -> None:
    """Show how judges agree with people, beside one more person on the same votes."""
    columns = ("judge", "votes", "judge agrees", "a person agrees", "difference")
    shown = Table(*columns, drops=("votes",))
    rows = [
        row
        for row in judges
        if "ceiling_where_decided" in row and row["ceiling_where_decided"]["difference"]["n"]
    ]
    for row in rows:
        found = row["ceiling_where_decided"]
        figures = (estimate(found[name]) for name in ("judge", "people", "difference"))
        shown.add_row(row["judge"], str(found["difference"]["n"]), *figures)
    if rows:
        console.print(
            "how often each agrees with the majority of the other people: the judge, and one more person"
        )
        console.print(shown)


def _judge_pairs(console: Screen, pairs: Sequence[Body]) -> None:
    columns = ("judges", "n", "agreement", "kappa", "with ties", "kappa with ties")
    shown = Table(*columns, drops=("kappa with ties", "with ties"))
    for row in pairs:
        shown.add_row(
            " / ".join(row["judges"]),
            str(row["agreement"]["n"]),
            estimate(row["agreement"]),
            _three(value(row["cohens_kappa"])),
            estimate(row["agreement_three_way"]),
            _three(value(row["cohens_kappa_three_way"])),
        )
    console.print(shown)


def _cascade(console: Screen, body: Body) -> None:
    found = body["cascade"]
    left_out = found["excluded_calibration_pairs"]
    if left_out and not found["pairs"]:
        console.print(
            f"cascade: the certificate was made from all these pairs ({left_out}), so none is left on "
            "which it could be measured; a report on another --part measures it"
        )
        return
    shares = ", ".join(f"{judge} {percent(s)}" for judge, s in found["composition"].items())
    agrees = _counted(found["agreement"], "answered pairs that people decided")
    console.print(
        f"cascade: coverage {estimate(found['coverage'])}; it agrees {agrees}; answered by "
        f"{escape(shares)}; relative cost {percent(found['relative_cost'])}; {left_out} pairs of the "
        "calibration left out"
    )
    held = body.get("abstention")
    if held:
        console.print(
            f"people agree {estimate(held['human_agreement_answered'])} where it answers, "
            f"{estimate(held['human_agreement_abstained'])} where it abstains "
            f"(p {number(held['p_value'])})"
        )


def _group(console: Screen, part: Body, field: str | None) -> None:
    human = part["human"]
    console.print(
        f"\n{escape(str(field or 'group'))} {escape(part['group'])}: {part['pairs']} pairs; "
        f"{_among_people(human)}"
    )
    _judges(console, part["judges"])
    if part.get("judge_pairs"):
        _judge_pairs(console, part["judge_pairs"])
    if part.get("cascade"):
        _cascade(console, part)


def health(console: Screen, card: Body) -> None:
    """Show a judge's health card: each figure, its line, and the outcome."""
    counts = card["counts"]
    missing = [line for line in card["lines"] if not line["figure"]["n"]]
    console.print(
        f"{escape(card['judge'])} on {escape(card['dataset'])}: [bold]{_WORDS[card['outcome']]}"
        f"[/bold]; {counts['pass']} lines passed, {counts['fail']} failed, "
        f"{counts['not_enough_evidence']} open (not enough evidence), {len(missing)} without data "
        f"(report {card['report']})"
    )
    if card["not_judged"]:
        console.print(f"[yellow]no data:[/] {escape(card['not_judged'])}")
    shown = Table("figure", "value", "line", "outcome", "n", drops=("n",))
    for line in card["lines"]:
        figure = line["figure"]
        shown.add_row(
            line["title"],
            estimate(figure),
            f"{_SIGNS[line['sense']]} {short(line['line'])}",
            _OUTCOMES[line["outcome"]] if figure["n"] else "no data",
            str(figure["n"]),
        )
    console.print(shown)
    for line in card["lines"]:
        needs = None if line["figure"]["n"] else line.get("needs")
        why = line.get("remark") or (needs and f"no data; it takes {needs}")
        if why and not card["not_judged"]:
            console.print(escape(f"{line['title']}: {why}"))


def datasets(console: Screen, page: Body) -> None:
    """Show datasets, one on each line."""
    table = Table(
        "dataset", "made", "pairs", "groups", "labels", "recorded judges", "id",
        drops=("recorded judges", "groups", "made", "labels"),
    )  # fmt: skip
    for one in page["data"]:
        counts = (str(one[name]) for name in ("pairs", "groups", "labels"))
        judges = str(len(one["recorded_judges"]))
        table.add_row(one["name"], _made(one), *counts, judges, one["id"])
    console.print(table)


def calibrations(console: Screen, page: Body) -> None:
    """Show certificates and their state."""
    table = Table(
        "calibration", "status", "made", "target", "lower bound", "answered of tested", "hears", "shift",
        "judges", drops=("made", "judges", "shift", "hears", "lower bound", "answered of tested"),
    )  # fmt: skip
    for one in page["data"]:
        found = one.get("calibration") or {}
        table.add_row(
            one["id"], state_of(one), _made(one), promised(one), percent(found.get("agreement_lower_bound")),
            answered(found) if one["status"] == "certified" else "-", one.get("columns") or "-", _margin(one),
            ", ".join(tier["judge"] for tier in one.get("thresholds", [])) or "-",
        )  # fmt: skip
    console.print(table)
    for one in page["data"]:
        if line := why_it_ended(one):
            console.print(escape(f"{one['id']}: {line}"))


def _margin(certificate: Body) -> str:
    margin = certificate.get("shift_margin")
    # rounded down: no more is promised than was shown
    shown = "-" if margin is None else f"{int(100 * margin + 1e-6) / 100:.2f}"
    # a factor of 1 is no change at all, and the claim says that no margin is shown
    return "none" if shown == "1.00" else shown


def _promise_in_short(batch: Body) -> str:
    """Return what a batch promises, and of how many pairs if not of all."""
    promise: str = batch["promise"]
    if promise != "certified" or batch.get("promise_note") is None:
        return promise
    promised = batch["promised_pairs"]
    return f"{promise} for {promised}" if promised else "for none"


def batches(console: Screen, page: Body) -> None:
    """Show batches and their progress."""
    table = Table(
        "batch", "made", "status", "done", "failed", "promise", "cost USD",
        drops=("made", "promise", "failed", "cost USD"),
    )  # fmt: skip
    for one in page["data"]:
        counts, cost = one["request_counts"], one["cost_usd"]
        table.add_row(
            one["id"], _made(one), one["status"], f"{counts['completed']}/{counts['total']}",
            str(counts["failed"]), _promise_in_short(one), "-" if cost is None else f"{cost:.4f}",
        )  # fmt: skip
    console.print(table)


def verdicts(console: Screen, page: Body) -> None:
    """Show verdicts of a batch with its rows, and why some have no answer."""
    table = Table("row", "pair", "verdict", "confidence", "why", drops=("confidence",))
    for one in page["data"]:
        table.add_row(
            str(one["position"] + 1), one["id"], one["label"] or one["status"],
            "-" if one["confidence"] is None else f"{one['confidence']:.3f}",
            "; ".join(why_unanswered(one)) or "-",
        )  # fmt: skip
    console.print(table)


def _made(one: Body) -> str:
    """Return when a thing was made; a batch has Unix seconds, as OpenAI clients expect."""
    moment: str | int = one["created_at"]
    text = moment if isinstance(moment, str) else datetime.fromtimestamp(moment, UTC).isoformat()
    return text[:19]
