"""Numbers, moments and states as people read them; the filters of the templates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from app.calibrations.wording import as_percent
from app.core.inert import printable
from app.judgments.in_words import failure_words

NONE: Final = "–"
_STATES: Final = {
    "certified": "good", "accepted": "good", "completed": "good", "pass": "good", "ready": "good",
    "watching": "good", "done": "good",
    "suspended": "warn", "abstained": "warn", "not_enough_evidence": "warn", "cancelled": "warn",
    "expired": "warn", "expiring": "warn", "superseded": "warn",
    "failed": "bad", "fail": "bad", "revoked": "bad", "alarm": "bad", "deleted": "bad",
    "not_certifiable": "bad",
}  # fmt: skip
_SAID: Final = {
    "not_certifiable": "not certifiable", "in_progress": "in progress", "none": "no promise",
    "not_enough_evidence": "not enough evidence", "a": "A", "b": "B", "tie": "tie",
    "bradley_terry": "Bradley–Terry", "prediction_powered": "prediction-powered", "human": "people",
}  # fmt: skip
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed count of decimals, a dash for none."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{digits}f}".replace("-", "−")


def general(value: float | None) -> str:
    """Return a number without needless zeros."""
    return NONE if value is None else f"{value:.6g}".replace("-", "−")


_RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def rounded(value: float | None) -> str:
    """Return a number of any size to three significant digits.

    Example:
        >>> rounded(1240490.3), rounded(20.0), rounded(0.00999)
        ('1.24 × 10⁶', '20', '0.00999')
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        digits = 0 if not value else max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    head, power = f"{value:.2e}".split("e")
    return f"{head.replace('-', '−')} × 10{str(int(power)).translate(_RAISED)}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage.

    Example:
        >>> print(percent(0.9444))
        94.4 %
    """
    if value is None or not math.isfinite(value):
        return NONE
    # a no-break space keeps number and sign on one line
    return f"{100 * value:.{digits}f}\u00a0%".replace("-", "−")


def count(value: float | None) -> str:
    """Return a count with commas, and with decimals only if it has some."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def interval(estimate: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Return the ends of an estimate's interval, a dash without one."""
    if not estimate or estimate["low"] is None:
        return NONE
    return f"{number(estimate['low'], digits)} to {number(estimate['high'], digits)}"


def estimate(given: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Return an estimate and, where it has one, its interval.

    Example:
        >>> estimate({"value": 0.842, "low": 0.741, "high": 0.912})
        '0.842 (0.74 to 0.91)'
    """
    if not given or given["value"] is None:
        return NONE
    value = number(given["value"], digits)
    return value if given["low"] is None else f"{value} ({interval(given, digits - 1)})"


def declared(share: float | None) -> str:
    """Return a share that somebody declared: rounding it would say another thing.

    Example:
        >>> print(declared(0.999), declared(1 - 0.1))
        99.9 % 90 %
    """
    return NONE if share is None else spaced(as_percent(share))


def spaced(text: str) -> str:
    """Return a text with a no-break space before each sign for percent, as in all figures here."""
    return re.sub(r"(?<=\d)%", "\u00a0%", text)


def answered(figures: Mapping[str, Any] | None) -> str:
    """Return how many of the pairs that tested a certificate it answered.

    Example:
        >>> print(answered({"answered": 158, "pairs": 187, "coverage": 158 / 187}))
        158 of 187 (84.5 %)
    """
    if not figures or figures["coverage"] is None:
        return NONE
    share = percent(figures["coverage"])
    # a server of an earlier version counts no pairs of a plan
    if figures.get("pairs") is None:
        return share
    return f"{count(figures['answered'])} of {count(figures['pairs'])} ({share})"


def target(certificate: Mapping[str, Any]) -> str:
    """Return what a certificate was asked for.

    Example:
        >>> print(target({"target_agreement": 0.9}))
        90 % agreement
    """
    agreement = certificate["target_agreement"]
    if agreement is None:
        return f"{declared(certificate['max_error'])} error"
    return f"{declared(agreement)} agreement"


def standing(certificate: Mapping[str, Any]) -> str:
    """Return the state of a certificate now: revoked, expired, suspended, or what its certification gave.

    Example:
        >>> standing({"status": "certified", "revoked_at": None, "suspended_because": "an alarm"})
        'suspended'
    """
    if certificate["revoked_at"]:
        return "revoked"
    expires_at = certificate.get("expires_at")
    if expires_at and datetime.fromisoformat(expires_at) <= datetime.now(UTC):
        return "expired"
    return "suspended" if certificate.get("suspended_because") else str(certificate["status"])


# how a promise counts the pairs that people call a tie, in a headline
_TIES: Final[Mapping[str, str]] = {
    "exclude": "ties left out",
    "error": "ties counted as wrong",
    "half": "ties counted as half wrong",
    "class": "ties included",
}


def promise(certificate: Mapping[str, Any]) -> str:
    """Return the promise of a certificate in one line.

    Example:
        >>> print(promise({"target_agreement": 0.9, "request": {"ties": "exclude"}}))
        At least 90 % agree with people, ties left out
    """
    agreement = certificate["target_agreement"]
    text = f"At least {declared(agreement)} agree with people"
    if agreement is None:
        text = f"At most {declared(certificate['max_error'])} of all pairs get a wrong verdict"
    rule = certificate["request"].get("ties")
    return f"{text}, {_TIES[rule]}" if rule in _TIES else text


# what the ratings of a method mean, and what a lead of one model over another is worth
_RATINGS: Final[Mapping[str, str]] = {
    "bradley_terry": "log-odds of winning, 0 on average; a lead of 0.5 means 62 % of the points "
    "against the other model, a lead of 1 means 73 %",
    "elo": "Elo points, in the order of the rows; a lead of {scale:g} means ten points to one",
    "win_rate": "the win rate itself",
    "average_win_rate": "the mean of the win rates against each other model",
    "counting": "points: 1 for a win, 0.5 for a tie",
}


def ratings(board: Mapping[str, Any]) -> str:
    """Return what the ratings of a leaderboard mean.

    Example:
        >>> ratings({"method": "elo", "options": {"scale": 400}})
        'Elo points, in the order of the rows; a lead of 400 means ten points to one'
    """
    scale = (board.get("options") or {}).get("scale", 400)
    return _RATINGS.get(board["method"], "in the scale of the method").format(scale=scale)


def told_apart(test: Mapping[str, Any]) -> str:
    """Return how many of all couples of models certainly differ.

    Example:
        >>> told_apart({"model_pairs": 1, "told_apart": 1, "confidence_level": 0.95})
        'The two models certainly differ.'
    """
    apart, couples = test["told_apart"], test["model_pairs"]
    if couples == 1:
        return "The two models certainly differ." if apart else "The two models may be equal."
    return f"Of {plural(couples, 'couple')} of models, {count(apart)} certainly differ."


def percents(estimate: Mapping[str, Any] | None) -> str:
    """Return an estimate of a share with its interval, as percentages."""
    if not estimate or estimate["value"] is None:
        return NONE
    value = percent(estimate["value"])
    if estimate["low"] is None:
        return value
    return f"{value} ({100 * estimate['low']:.1f} to {100 * estimate['high']:.1f})".replace(
        "-", "−"
    )


def share_of(estimate: Mapping[str, Any], one: str, many: str) -> str:
    """Return the count behind a share, and of what it is a share.

    Example:
        >>> share_of({"value": 0.9375, "n": 176}, "pair", "pairs")
        '165 of 176 pairs'
    """
    return f"{count(round((estimate['value'] or 0) * estimate['n']))} of {plural(estimate['n'], one, many)}"


def dollars(value: float | None) -> str:
    """Return an amount of money."""
    if value is None:
        return "unknown"
    if not value:
        return "$0"
    if abs(value) < 0.1:
        return f"${value:.2g}" if abs(value) >= 1e-4 else f"${value:.1e}"
    return f"${value:,.2f}"


def spent(cost: Mapping[str, Any]) -> str:
    """Return what a judge or a batch has cost, or how much of that is known.

    Example:
        >>> spent({"cost_usd": None, "known_usd": 0.0033, "unpriced": 2})
        'at least $0.0033'
    """
    known, unpriced = cost.get("known_usd"), cost.get("unpriced")
    if cost["cost_usd"] is not None or unpriced == 0:
        return dollars(known if cost["cost_usd"] is None else cost["cost_usd"])
    return f"at least {dollars(known)}" if known else "unknown"


def unpriced(cost: Mapping[str, Any]) -> str:
    """Return how much of a cost is unknown, nothing where all is known.

    Example:
        >>> unpriced({"cost_usd": None, "known_usd": 0.0033, "unpriced": 2})
        '2 answers of unknown cost'
    """
    n = cost.get("unpriced")
    if cost["cost_usd"] is not None or n == 0:
        return ""
    return f"{'some answers' if n is None else plural(n, 'answer')} of unknown cost"


def duration(seconds: float | None) -> str:
    """Return a time span in its two largest units.

    Example:
        >>> duration(3_700)
        '1 h 1 min'
    """
    if seconds is None or not math.isfinite(seconds):
        return NONE
    left = round(seconds)
    named: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(named) < 2:
            named.append(f"{left // size} {unit}")
            left %= size
    return " ".join(named) or "0 s"


def when(moment: str | float | datetime | None) -> Markup | str:
    """Return a moment, given in any spelling of the API, as an element with its machine form."""
    if moment is None:
        return NONE
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    elif not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    moment = moment.astimezone(UTC)
    machine = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{}</time>').format(machine, f"{moment:%Y-%m-%d %H:%M}")


def when_plain(moment: str) -> str:
    """Return a moment of the API as a short text.

    Example:
        >>> when_plain("2026-01-02T03:04:05Z")
        '2026-01-02 03:04 UTC'
    """
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def state(name: str | None) -> Markup:
    """Return a state as a small mark; its word says it, its colour repeats it."""
    given = name or "none"
    kind = _STATES.get(given, "plain")
    return Markup('<span class="state {}">{}</span>').format(kind, said(given))


def said(name: object) -> str:
    """Return the words for a name of the API."""
    text = str(name)
    return _SAID.get(text, text.replace("_", " "))


def excerpt(text: str, characters: int = 160) -> str:
    """Return the beginning of a text on one line."""
    one_line = " ".join(text[: 4 * characters].split())
    short = one_line if len(one_line) <= characters else f"{one_line[: characters - 1]}…"
    return printable(short)


def ordinal(number_: int) -> str:
    """Return an ordinal number: 1st, 2nd, 11th."""
    last = 0 if number_ % 100 in (11, 12, 13) else number_ % 10
    return f"{number_}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def paragraphs(text: str) -> Markup:
    """Return a text as it is, its line ends kept by the style sheet."""
    # a long text scrolls in its box, so keys must reach it
    is_long = len(text) > 1_200 or text.count("\n") > 20
    focus = Markup(' tabindex="0"') if is_long else ""
    return Markup('<div class="text" dir="auto"{}>{}</div>').format(focus, escape(text))


def conversation(row: Mapping[str, Any]) -> list[Any]:
    """Return the turns before the responses of a pair: its messages, else its prompt."""
    if "messages" in row:
        return list(row["messages"])
    prompt = row.get("prompt")
    turns = [prompt] if isinstance(prompt, str) else prompt or []
    return [{"role": "user", "content": turn} for turn in turns]


def plural(n: float, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def spelt(value: object) -> str:
    """Return a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def who_answers(certificate: Mapping[str, Any]) -> list[str]:
    r"""Return sentences on which judge answers, from which confidence, and how often.

    Example:
        >>> for line in who_answers({
        ...     "thresholds": [{"judge": "small", "threshold": 0.8}, {"judge": "large", "threshold": 0.7}],
        ...     "calibration": {"composition": {"small": 0.5, "large": 0.3}, "coverage": 0.8},
        ... }):
        ...     print(line.replace("\u00a0", " "))
        small answers where it is at least 80.0 % sure: 50.0 % of the tested pairs.
        What is left goes to large, which answers where it is at least 70.0 % sure: 30.0 % of the tested pairs.
        On the other 20.0 % nobody is sure enough: the cascade gives no answer.
    """
    figures = certificate["calibration"]
    is_joint = certificate.get("columns") in ("stacked", "learned")
    lines: list[str] = []
    for one in certificate.get("thresholds") or ():
        judge, threshold = one["judge"], one["threshold"]
        if threshold is None:
            lines.append(f"{judge} gives no answer of its own.")
            continue
        whom = "all judges asked so far are together" if is_joint and lines else "it is"
        how = f"answers where {whom} at least {percent(threshold)} sure"
        start = f"What is left goes to {judge}, which" if lines else judge
        share = figures["composition"].get(judge, 0.0)
        lines.append(f"{start} {how}: {percent(share) if share else 'none'} of the tested pairs.")
    left = 1 - figures["coverage"]
    if left > 0:
        which = f"the other {percent(left)}" if figures["coverage"] else "every pair"
        lines.append(f"On {which} nobody is sure enough: the cascade gives no answer.")
    return lines


_CANARIES: Final[Mapping[str, str]] = {
    "off": "not asked",
    "starting": "first answers are fetched",
    "asking": "no judge has changed, as far as they tell",
    "alarm": "a judge has changed",
}


def canaries(status: str) -> str:
    """Return what canaries say, for the state of a monitor's canaries."""
    return _CANARIES[status]


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "number": number,
    "general": general,
    "rounded": rounded,
    "estimate": estimate,
    "percent": percent,
    "count": count,
    "interval": interval,
    "percents": percents,
    "declared": declared,
    "spaced": spaced,
    "answered": answered,
    "share_of": share_of,
    "promise": promise,
    "ratings": ratings,
    "told_apart": told_apart,
    "standing": standing,
    "target": target,
    "dollars": dollars,
    "spent": spent,
    "unpriced": unpriced,
    "duration": duration,
    "when": when,
    "who_answers": who_answers,
    "state": state,
    "said": said,
    "failure": failure_words,
    "canaries": canaries,
    "excerpt": excerpt,
    "conversation": conversation,
    "ordinal": ordinal,
    "text": paragraphs,
    "plural": plural,
    "spelt": spelt,
}
