"""The result of a gate for people: a line for a log, an explanation, a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

Json = Mapping[str, Any]
NAMES: Final = {
    "passed": "passed",
    "failed": "failed",
    "not_enough_evidence": "not enough evidence",
}
# verdicts may pass a gate and still leave open whether people prefer the new model
_ABOUT: Final = {"verdicts": "on the verdicts", "people": "on what people prefer"}
_COLUMNS: Final = (
    "gate", "result", "win rate", "at least", "at most", "needed", "pairs", "won", "lost", "tied",
    "abstained", "calibration pairs", "promise",
)  # fmt: skip


def headline(result: Json) -> str:
    """Return a gate's result, given as JSON, in one line."""
    evidence, question = result["evidence"], result["question"]
    rate = evidence["win_rate"]
    given = evidence["pairs"] - evidence["abstained"]
    won = "no verdict was given" if rate is None else f"{result['new']} wins {_percent(rate)}"
    pairs = f"{evidence['pairs']} pairs"
    on = pairs if given == evidence["pairs"] else f"{given} verdicts of {pairs}"
    known = result["calibration_pairs"]
    beside = f" ({known} calibration pairs left out)" if known else ""
    return (
        f"{NAMES[result['outcome']]} {_ABOUT[question['about']]}: "
        f"{won} against {result['old']} on {on}{beside}; over all pairs "
        f"between {_percent(evidence['low'])} and {_percent(evidence['high'])}, "
        f"{_percent(question['min_win'])} needed{_reservation(result)}"
    )


def _reservation(result: Json) -> str:
    """Say where a result passes that the errors allowed by the certificate could reverse."""
    question, low = result["question"], result["people_low"]
    is_about_verdicts = result["outcome"] == "passed" and question["about"] == "verdicts"
    if not is_about_verdicts or low is None or low > question["min_win"]:
        return ""
    return (
        f"; it does not show that people prefer it: that is at least {_percent(low)} "
        "(about people decides on this)"
    )


def explanation(result: Json) -> str:
    """Return the result, its reasons and what is promised, line by line."""
    lines = [
        headline(result), _counts(result), _bounds(result), _known(result), *_why(result),
        _promise(result), _changed(result),
    ]  # fmt: skip
    return "\n".join(line for line in lines if line)


def markdown(results: Iterable[tuple[str, Json]]) -> str:
    """Return named results as a page of Markdown."""
    found = list(results)
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(_cells(name, one) for name, one in found)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    details = "\n\n".join(
        f"### {_cell(name)}\n\n" + "\n".join(f"* {line}" for line in explanation(one).splitlines())
        for name, one in found
    )
    return f"# Preference gates\n\n{table}\n\n{details}\n"


def _counts(result: Json) -> str:
    evidence = result["evidence"]
    parts = [
        f"{evidence['wins']} won", f"{evidence['losses']} lost", f"{evidence['ties']} tied",
        f"{evidence['abstained']} without a verdict",
    ]  # fmt: skip
    if result["identical"]:
        parts.append(f"{result['identical']} identical outputs among the ties")
    if result["not_judged"]:
        parts.append(f"no judge could be asked on {result['not_judged']}")
    groups = evidence["groups"]
    several = f"; {groups} prompts: outputs to one prompt are paired in their order"
    prompts = several if groups != evidence["pairs"] else ""
    return f"{', '.join(parts)}{prompts}"


def _bounds(result: Json) -> str:
    alpha = result["question"]["alpha"]
    charged = (
        ", and every verdict is charged the errors that its certificate allows"
        if result["question"]["about"] == "people"
        else ""
    )
    return (
        f"each bound holds with probability {1 - alpha:g}; pairs without a verdict count as lost "
        f"for the lower and as won for the upper{charged}"
    )


def _known(result: Json) -> str:
    """Say how many pairs were left out because the promise does not cover them."""
    known = result["calibration_pairs"]
    if not known:
        return ""
    return (
        f"{known} of {known + result['evidence']['pairs']} pairs are left out: "
        f"{result['question']['calibration']} was made from pairs of their prompts, or its judges "
        "learnt from them, and its promise is for others"
    )


def _why(result: Json) -> Iterable[str]:
    if result["promise"] == "suspended":
        yield (
            f"the promise of {result['question']['calibration']} is suspended, so its verdicts are "
            f"no evidence: {result['suspended_because']}"
        )
    elif result["promise"] == "none" and result["question"]["calibration"] is not None:
        yield (
            f"{result['question']['calibration']} promises nothing (it is not certified, or its "
            "method bounds no probability), so its verdicts are no evidence"
        )
    elif result["outcome"] == "not_enough_evidence":
        yield _what_would_do(result)


def _what_would_do(result: Json) -> str:
    evidence = result["evidence"]
    if not evidence["pairs"]:
        return "no pair is left: give outputs to prompts that the certificate does not know"
    needed = evidence["pairs_needed"]
    if needed is not None and needed > evidence["pairs"]:
        return f"about {needed} pairs such as these would be enough to pass"
    is_about_people = result["question"]["about"] == "people"
    taken_off = ["abstentions as losses"] if evidence["abstained"] else []
    if is_about_people:
        errors = 1 - result["target_agreement"]
        taken_off.append(f"the {_percent(errors)} errors that the certificate allows taken off")
    if needed is not None or not taken_off:
        return ""
    more = " (one for a higher agreement allows fewer)" if is_about_people else ""
    return (
        f"more pairs such as these would not do: with {' and '.join(taken_off)} it is not ahead of "
        f"what is needed{more}"
    )


def _promise(result: Json) -> str:
    question = result["question"]
    if question["calibration"] is None:
        return f"no certificate: the verdicts of cascade {question['cascade']!r} promise nothing"
    if result["promise"] != "certified" or not result["evidence"]["pairs"]:
        return ""
    people = (
        f"; people then prefer {result['new']} on at least {_percent(result['people_low'])}"
        if result["people_low"] is not None
        else ""
    )
    said = (
        f"at least {_percent(result['target_agreement'])} of the verdicts given agree with people"
        if result["target_agreement"] is not None
        else f"at most {_percent(result['max_error'])} of all pairs are given a verdict with which "
        "people disagree"
    )
    return (
        f"certificate {question['calibration']}: with probability at least "
        f"{1 - result['failure_probability']:.4g} {said}, for "
        f"pairs that come as the labelled ones did{people}"
    )


def _changed(result: Json) -> str:
    """Say how many labels changed since the certificate was made."""
    calibration, changed = result["question"]["calibration"], result["labels_changed"]
    if calibration is None or not changed:
        return ""
    from app.calibrations.wording import changed_labels_note

    return changed_labels_note(calibration, changed) or ""


def _cells(name: str, result: Json) -> tuple[str, ...]:
    evidence = result["evidence"]
    counts = (evidence[key] for key in ("pairs", "wins", "losses", "ties", "abstained"))
    rate = evidence["win_rate"]
    return (
        _cell(name),
        f"**{NAMES[result['outcome']]}**",
        "-" if rate is None else _percent(rate),
        _percent(evidence["low"]),
        _percent(evidence["high"]),
        _percent(result["question"]["min_win"]),
        *(str(count) for count in counts),
        str(result["calibration_pairs"]),
        result["promise"],
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
