"""The words of a certificate: its promise, the advice with it, and what a refusal suggests.

To word a stored certificate loads no statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from app.calibrations.inputs import CalibrationInputs
    from app.calibrations.schemas import CalibrationIn
    from app.labels.sets import Uses
    from calibration import Certificate
    from calibration.plan import Advice

_PEOPLE = {
    "majority": "People means the annotators' majority: pairs without one, where the most frequent "
    "labels are equally frequent, are outside of the promise.",
    "random_annotator": "People means one annotator drawn at random.",
    "panel": "Pairs on which the first two votes differ tell nothing and are left out of the test.",
}
_NOT_REACHED = " These labels show as much at another threshold than those that this test came to."
# above this share of failures the judge itself needs attention first
_MANY_FAILURES = 0.2
_TIES = {
    "exclude": "Pairs on which people have no preference are outside of the promise.",
    "error": "A pair that people call a tie counts as a disagreement.",
    "half": "A pair that people call a tie counts as half a disagreement.",
    "class": "A tie is a verdict of its own, right where people call the pair a tie.",
}


# in one sentence: whom verdicts agree with, what a tie means, and which labelled pairs test
_AGREE: Final = {
    "majority": "agree with people",
    "random_annotator": "agree with an annotator drawn at random",
    "panel": "agree with what most people would say",
}
_TIES_IN_SHORT: Final = {
    "exclude": "pairs that people call a tie are left out",
    "error": "a pair that people call a tie counts as wrong",
    "half": "a pair that people call a tie counts as half wrong",
    "class": "a tie is a verdict of its own, right where people call it one",
}
_TESTED: Final = {
    ("majority", "exclude"): "labelled pairs on which people prefer one response",
    ("random_annotator", "exclude"): "labelled pairs on which somebody prefers a response",
    ("random_annotator", ""): "labelled pairs",
    ("panel", "exclude"): "labelled pairs whose first two votes agree",
    ("majority", ""): "labelled pairs of which one label is the most frequent",
}


def as_percent(share: float) -> str:
    """Return a share that was declared: no digit of it is rounded away.

    Example:
        >>> as_percent(0.9), as_percent(0.999), as_percent(1 - 0.1)
        ('90%', '99.9%', '90%')
    """
    return f"{round(100 * share, 8):.9g}%"


def in_short(body: Mapping[str, Any], request: Mapping[str, Any], *, is_certified: bool) -> str:
    """Return the promise of a stored certificate in one sentence."""
    confidence = as_percent(1 - body["failure_probability"])
    if not is_certified:
        return _nothing_in_short(body, confidence)
    if body.get("method") == "average":
        share = as_percent(body["target_agreement"])
        return (
            f"On average {share} of the verdicts on its own pool {_AGREE['majority']}; "
            "nothing is promised of any other pair, nor with any confidence."
        )
    if body["target_agreement"] is None:
        said = f"of all pairs at most {as_percent(body['max_error'])} get a wrong verdict"
    else:
        agree = _AGREE[request.get("label_rule", "majority")]
        share = as_percent(body["target_agreement"])
        on = " on pairs as they come in the traffic given" if body.get("traffic") else ""
        said = f"of the verdicts that this cascade gives{on}, at least {share} {agree}"
    ties = _TIES_IN_SHORT[request.get("ties", "exclude")]
    if request.get("label_rule") == "random_annotator":
        ties = ties.replace("pairs that people call", "labels that call a pair").replace(
            "a pair that people call a tie", "a label that calls a pair a tie"
        )
    said = f"{said}, with {confidence} confidence; {ties}."
    if (body.get("traffic") or {}).get("assumed"):
        said = f"{said[:-1]}; that the ratio of that traffic, an estimate, is right is assumed."
    parts = [one for one in body.get("certificates") or () if one["slice"] is not None]
    if parts:
        names = {one["slice"]: one["status"] == "certified" for one in reversed(parts)}
        each = {
            "each": "each of them alone",
            "common": "the same thresholds in all of them",
        }.get(request.get("slice_rule", "joint"), "all of them together")
        said = f"in {sum(names.values())} of {len(names)} slices ({each}), {said}"
    return said[0].upper() + said[1:]


def _nothing_in_short(body: Mapping[str, Any], confidence: str) -> str:
    if body.get("uncertified_thresholds"):
        return "Nothing is promised: the rule that chose these thresholds is no valid test."
    if body["target_agreement"] is None:
        wanted = f"an error of at most {as_percent(body['max_error'])} of all pairs"
    else:
        wanted = f"an agreement of at least {as_percent(body['target_agreement'])}"
    return (
        f"Nothing is promised: {wanted} could not be shown with {confidence} confidence, so the cascade "
        "answers no pair."
    )


def answers_in_words(found: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Say of how many pairs a certificate answers how many: of those that tested it, and of all."""
    rule, ties = request.get("label_rule", "majority"), request.get("ties", "exclude")
    which = _TESTED.get((rule, ties)) or _TESTED[rule, ""]
    if found.get("dropped_in_groups"):
        which = f"{which}, one of each group"
    said = f"It answered {share_in_words(found)} of its test ({which})."
    every = found.get("all_labelled")
    if every and every["pairs"] > found["pairs"]:
        share = every["answered"] / every["pairs"]
        said = (
            f"{said} Of all {every['pairs']} labelled pairs, those left out of the test included, it "
            f"answers {every['answered']} ({100 * share:.1f}%)."
        )
    return said


def share_in_words(found: Mapping[str, Any]) -> str:
    """Return how many of the pairs that tested a certificate are answered, as counts and share.

    Example:
        >>> share_in_words({"answered": 158, "pairs": 187, "coverage": 158 / 187})
        '158 of the 187 pairs (84.5%)'
    """
    answered, pairs, share = found["answered"], found["pairs"], found["coverage"]
    # weights and slices make a share of their own
    is_plain = pairs and abs(share - answered / pairs) < 0.0005
    how = "" if is_plain else " as the promise weighs them"
    return f"{answered} of the {pairs} pairs ({100 * share:.1f}%{how})"


class OtherMethod(NamedTuple):
    """What one more method, declared together with those asked for, would have got."""

    method: str
    coverage: float


class Counted(NamedTuple):
    """How many labelled groups there are, and how many have a pair that counts.

    `is_silent`: no judge has an answer to any of them.
    """

    groups: int
    counted: int
    has_pairs_alone: bool
    is_silent: bool

    @property
    def what(self) -> str:
        """What is counted: pairs, where each is a group of its own."""
        return "pairs" if self.has_pairs_alone else "groups"


@dataclass(frozen=True, slots=True)
class Found:
    """A certificate, the advice that goes with it, and the size of the pool it was made with.

    Attributes:
        counted: The groups that the advice rests on.
        others: What other methods would have got, declared together with those asked for.
        easier: The certificate of an easier target, asked for in the same way on the same labels.
    """

    certificate: Certificate
    advice: Advice
    pool: int
    counted: Counted
    others: tuple[OtherMethod, ...] = ()
    easier: Certificate | None = None


def claim(certificate: Certificate, request: CalibrationIn, evidence: CalibrationInputs) -> str:
    """Return the promise in words: also who the people are and what a tie means."""
    if not certificate.is_certified:
        return certificate.claim
    ties = _TIES[request.ties]
    if request.label_rule == "random_annotator" and request.ties == "exclude":
        ties = "Annotators who have no preference are outside of the promise."
    said = [certificate.claim, _PEOPLE[request.label_rule], ties]
    shared = evidence.prompts_in_several_groups
    if shared:
        said.append(
            f"{shared} prompts occur in several groups: the promise takes those groups as "
            "independent, as they were declared."
        )
    return " ".join(said)


def claim_of_later_use(text: str, uses: Uses, *, is_certified: bool) -> str:
    """Extend the claim of a certificate that is not the first test of its labels."""
    tests = uses.certificates + uses.plans
    if tests <= 1 or not is_certified:
        return text
    left = round(1.0 - uses.failure_probability, 9)  # a sum of tenths misses 1 by a rounding error
    together = f"with probability at least {left:.4g}" if left > 0 else "with no known probability"
    return (
        f"{text} Some or all of these labels were used before: {_counted(uses)} were made from them, "
        "this one included. Each promise holds alone: for a certificate that you would take in any "
        "case, and not for one that you choose because it came out best. "
        f"All {tests} hold at once {together}. "
        "To compare targets, declare them together as a menu, which shares the failure probability."
    )


def _counted(uses: Uses) -> str:
    counts = ((uses.certificates, "certificate"), (uses.plans, "target of a plan or experiment"))
    return " and ".join(f"{n} {_plural(what, n)}" for n, what in counts if n)


def _plural(what: str, n: int) -> str:
    first, _, rest = what.partition(" ")
    return f"{first}{'s' * (n != 1)} {rest}".rstrip()


def failing_judges(names: Sequence[str], evidence: CalibrationInputs) -> str:
    """Name the judges that fail so often that this matters more than any statistics."""
    n = len(evidence.has_failed)
    failed = {name: int(evidence.has_failed[:, j].sum()) for j, name in enumerate(names)}
    often = [f"{name} failed on {count} of {n} pairs" for name, count in failed.items()
             if count > _MANY_FAILURES * n]  # fmt: skip
    return f" Look at the judges first: {', '.join(often)}." if often else ""


def refusal(found: Found, request: CalibrationIn) -> dict[str, Any]:
    """Say in two sentences what was tried in vain, and what would help."""
    return {
        "tried": _tried(found.certificate, request),
        "would_help": _would_help(found, request),
        "methods": [{"method": one.method, "coverage": one.coverage} for one in found.others],
    }


def _tried(certificate: Certificate, request: CalibrationIn) -> str:
    methods = " and ".join(request.methods)
    on = (
        f"on {_plural_count(certificate.n, 'pair')} of {_plural_count(certificate.groups, 'group')}"
    )
    if not certificate.is_valid:
        return f"Tried {on}: {methods}, which is no valid test."
    if not certificate.nodes_tested:
        return f"Nothing could be tested by {methods} {on}."
    paths = len(certificate.paths)
    ways = f" along {_plural_count(paths, 'path')}" if paths else ""
    tried = _plural_count(certificate.nodes_tested, "choice")
    return (
        f"Tried {on}: {methods}, {tried} of thresholds{ways}, of which none was shown to be wrong "
        f"rarely enough for {request.promised} with {as_percent(1 - request.failure_probability)} "
        "confidence."
    )


def _plural_count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _would_help(found: Found, request: CalibrationIn) -> str:
    """Name another target, a number of labels, and methods to declare together."""
    if not found.certificate.is_valid:
        return "What would help: a method that is a valid test, such as auto."
    needed, helps = found.advice.labels_needed, []
    if found.easier is not None:
        helps.append(_easier(found.easier, request))
    if needed is not None and needed > found.counted.counted:
        helps.append(f"more labels: {_in_all(needed, found.counted)}{_by_auto(request)}")
    elif needed is not None:
        helps.append(
            f"other labels: {needed} {found.counted.what} that count suffice in about 4 of 5 draws"
            f"{_by_auto(request)}, and these {found.counted.counted} are one of the others"
        )
    for one in found.others:
        helps.append(
            f"{one.method} declared together with {' and '.join(request.methods)}, which on these "
            f"labels would have answered {one.coverage:.0%} of the tested pairs (looked at now, it is a "
            "second test of them)"
        )
    if found.counted.is_silent:
        return "Judges that answer would help: these prefer a response of no pair, or failed on it."
    if not helps:
        return (
            "Better judges would help: on these labels no target above 50% can be shown, and no number "
            "of labels will do for this one."
            if request.max_error is None
            else "Better judges would help: on these labels no error below 50% can be shown, and no "
            "number of labels will do for this one."
        )
    return f"What would help: {'; or '.join(helps)}."


def _easier(easier: Certificate, request: CalibrationIn) -> str:
    """Say what an easier target would get; one that was chosen because it just passes is not named."""
    confidence = as_percent(1 - request.failure_probability)
    if easier.scope == "dataset":
        target = f"an error of {easier.target_risk:g}"
    else:
        target = f"a target of {round(1 - easier.target_risk, 9):g}"
    parts = [part for part in easier.certificates if part.slice is not None]
    of = f" in {sum(part.is_certified for part in parts)} of {len(parts)} slices" if parts else ""
    figures = {"answered": easier.answered, "pairs": easier.n, "coverage": easier.coverage}
    return (
        f"{target}: asked for in the same way, with {confidence} confidence, these labels certify it"
        f"{of}, and it answers {share_in_words(figures)} of its test (a further test of the labels; a "
        "stricter target that is sought until it passes is kept less often than promised)"
    )


def _in_all(needed: int, counted: Counted) -> str:
    """Say how many labelled groups would do: those that count, and those that it takes for them."""
    said = f"about {needed} {counted.what} that count in place of {counted.counted}"
    if counted.groups == counted.counted:
        return said
    whole = math.ceil(needed * counted.groups / counted.counted)
    return (
        f"{said}, so about {whole} labelled {counted.what} if as many count as here "
        f"({counted.counted} of {counted.groups})"
    )


def _by_auto(request: CalibrationIn) -> str:
    """Say for what a number of labels is counted, where something else was asked for."""
    said = []
    if not {*request.methods} & {"auto", "auto_raw"}:
        said.append("by the method auto")
    if request.max_group_size is not None:
        said.append("with one pair of each group")
    if request.min_label_probability is not None or request.method == "weighted":
        said.append("if all pairs count alike, and more if not")
    return f" ({', '.join(said)}: so it is counted)" if said else ""


COUNTS: Final = (
    "a pair of it is decided under the label rule; it counts once, however many votes it has"
)


def _enough(found: Found, request: CalibrationIn, what: str) -> str:
    """Say how many labels certify a target in most draws."""
    needed, counted = found.advice.labels_needed, found.counted
    said = (
        f"About {needed} labelled groups that count ({COUNTS}) certify {what} in about 4 of 5 draws"
        f"{_by_auto(request)}, if the judges are as good as these labels say."
    )
    if needed is not None and found.certificate.is_certified and needed > counted.counted:
        said += f" These {counted.counted} are one of the luckier draws."
    return said


def _advice_on_dataset(found: Found, request: CalibrationIn, failing: str) -> dict[str, Any]:
    advice, target = found.advice, request.promised_risk
    certifiable = advice.certifiable
    if found.counted.is_silent:
        text = "No number of labels will do: no judge answers any of these pairs."
    elif advice.labels_needed is None or advice.saving is None:
        text = (
            f"No number of labels will do for an error of {target:g} if the judges are as good as "
            "these labels say: answering a tenth of the pairs, they are wrong more often than that."
        )
    else:
        text = _enough(
            found,
            request,
            f"an error of {target:g} with {advice.saving:.0%} of later labels saved",
        )
    return {
        "certifiable_agreement": None,
        "certifiable_error": certifiable.target_risk if certifiable else None,
        "certifiable_coverage": certifiable.coverage if certifiable else None,
        "labels_needed": advice.labels_needed,
        "saving": advice.saving,
        "text": text + failing,
    }


def _more_often(request: CalibrationIn) -> str:
    if request.max_shift == 1.0:
        return "more often than that"
    return f"as often as it takes to survive a max_shift of {request.max_shift:g}"


def advice_in_words(found: Found, request: CalibrationIn, failing: str) -> dict[str, Any]:
    """Return what the labels can certify, and in words how many the target takes."""
    if request.scope == "dataset":
        return _advice_on_dataset(found, request, failing)
    advice = found.advice
    certifiable = advice.certifiable
    target = request.target_agreement
    if found.counted.is_silent:
        text = "No number of labels will do: no judge answers any of these pairs."
    elif advice.labels_needed is None:
        text = (
            f"No number of labels will do for {target:g} if the judges are as good as these labels "
            f"say: at no threshold where a test may begin do they agree {_more_often(request)}."
        )
    else:
        text = _enough(found, request, f"{target:g}")
    shown = 0.0 if certifiable is None else 1 - certifiable.target_risk
    if shown >= target and not found.certificate.is_certified and found.certificate.is_valid:
        text += _NOT_REACHED
    return {
        "certifiable_agreement": 1 - certifiable.target_risk if certifiable else None,
        "certifiable_coverage": certifiable.coverage if certifiable else None,
        "labels_needed": advice.labels_needed,
        "text": text + failing,
    }


def changed_labels_note(calibration: str, changed: int) -> str | None:
    """Say on how many pairs of a certificate the labels changed since; None if on none.

    New labels void no certificate: its promise is about the labels that it read.
    """
    if not changed:
        return None
    pairs = "a pair" if changed == 1 else f"{changed} pairs"
    return (
        f"labels were given or replaced on {pairs} that {calibration} was made from: it rests on "
        "the labels that it read (certify again to use the present ones)"
    )
