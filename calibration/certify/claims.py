"""The promise of a certificate in words."""

from __future__ import annotations

import numpy as np

from calibration.certify.panel import Assumption, Panel
from calibration.certify.prepare import Prepared, Promise, Request
from calibration.estimate import Estimate

# methods that control no failure probability, so that nothing can hold together with one
WITHOUT_PROBABILITY = ("average", "published_code")
_PROMISED_ON: dict[Promise, str] = {
    "pair": "",
    "pair_of_random_group": " (for one pair drawn at random among those pairs of a randomly drawn "
    "group that people decide)",
    "first_of_random_group": " (for the pair of a group drawn at random that is labelled first)",
    "weighted_pair": " (for pairs as they come before the choice which of them to label)",
    "weighted_single_pair": " (for pairs as they come before the choice which of them to label, each "
    "taken to be the only one of its group)",
    "traffic_pair": " (for pairs as they come in the traffic that was given)",
    "traffic_single_pair": " (for pairs as they come in the traffic that was given, one drawn at random "
    "from each group)",
}
_AS = {False: "the calibration pairs", True: "that traffic"}
_PANEL = (
    " People are a panel here: what most annotators would say of a pair if many voted on it. That rests "
    "on votes that are independent given the pair, and on which pairs have votes not depending on what "
    "the votes say."
)
_NOISE: dict[Assumption, str] = {
    "assumed": " It is also assumed, and not tested, that people are no noisier where the verdicts are "
    "wrong than where they are right.",
    "tested": " That people may be noisier where the verdicts are wrong is allowed for: third votes show "
    "the promise without assuming otherwise, in a test of their own at the same failure probability.",
}
_EXPOSED = " Every verdict counts by the exposure of its pair."
_MORE_PROMISED = {
    "sequential": " It holds at whatever number of labels the test is stopped.",
    "simultaneous": " It holds for every target at once, so the target may be chosen afterwards.",
}


def shift_words(margin: float, declared: float, *, is_joint: bool) -> str:
    """Return in words how much the traffic may change before a promise ends."""
    # rounded down: a margin of 1.349 is not one of 1.35
    shown = float(np.floor(margin * 1000 + 1e-6)) / 1000
    if shown == 1.0:
        return " No margin is shown for traffic that changes."
    how = "shown by a test of its own at the same failure probability"
    if margin == declared:
        how = "declared"
    elif is_joint:
        how = "shown by the same test"
    return (
        " It holds as long as no kind of pair becomes more than "
        f"{shown:.4g} times as frequent or as rare as it was ({how})."
    )


def panel_words(panel: Panel | None, *, is_promised: bool) -> str:
    """Return what a promise about a panel means and assumes; nothing without one."""
    if panel is None or not is_promised:
        return ""
    more = ""
    if panel.three_votes and panel.assumption == "assumed":
        more = f" Third votes on {panel.three_votes} pairs do not show the promise without that."
    return f"{_PANEL}{_NOISE[panel.assumption]}{more}"


def saved_words(saved: Estimate | None) -> str:
    """Return in words how many labels a verdict on part of a data set saves."""
    if saved is None or saved.value is None:
        return ""
    ends = "" if saved.low is None else f" ({saved.low:.0%} to {saved.high:.0%})"
    return (
        f" That is about {saved.value:.0%}{ends} of the pairs, whose labels are saved; people label "
        "the others."
    )


def promise_words(prepared: Prepared, request: Request, *, is_certified: bool) -> str:
    """Return the promise in words, or why nothing is promised."""
    agreement = f"{1 - request.target_risk:.4g}"
    on = _PROMISED_ON[prepared.promise]
    if request.method == "published_code":
        return (
            f"No promise: the rule that chose these thresholds aims at an agreement of {agreement} "
            "but does not control how often it misses it."
        )
    if not is_certified and request.scope == "dataset":
        return (
            f"A share of at most {request.target_risk:.4g} of all pairs with a wrong verdict could not "
            f"be certified at failure probability {request.failure_probability:.4g}: the cascade "
            "abstains on every pair, and people label all of them."
        )
    if not is_certified:
        return (
            f"An agreement of {agreement} could not be certified at failure probability "
            f"{request.failure_probability:.4g}: the cascade abstains on every pair."
        )
    if request.method == "average":
        return (
            f"On average over the draw of the calibration pairs and of the pool, at least "
            f"{agreement} of the verdicts that this cascade gives on the pool agree with people{on}. "
            "No probability is promised: the share of one draw may well be lower."
        )
    exposed = "" if prepared.sample.exposure is None else _EXPOSED
    on_traffic = request.method == "weighted"
    if request.scope == "dataset":
        return (
            f"With probability at least {1 - request.failure_probability:.4g} over the draw of the "
            f"calibration pairs, at most {request.target_risk:.4g} of all pairs are given a verdict by "
            f"this cascade with which people disagree{on}. It holds for data sets whose pairs come as "
            f"{_AS[on_traffic]} did, those that people label counted as right, and not for the "
            f"verdicts alone or any other subset.{exposed}{_MORE_PROMISED.get(request.method, '')}"
        )
    return (
        f"With probability at least {1 - request.failure_probability:.4g} over the draw of the "
        f"calibration pairs, at least {agreement} of the verdicts that this cascade gives agree with "
        f"people{on}. It holds for the whole cascade and for new pairs that come as {_AS[on_traffic]} "
        f"did, not for any subset of them.{exposed}{_MORE_PROMISED.get(request.method, '')}"
    )


def claim_in_menu(claim: str, n_targets: int, method: str, failure_probability: float) -> str:
    """Return a claim as one of those of several targets that were declared together."""
    if method in WITHOUT_PROBABILITY:
        return f"{claim} It is one of {n_targets} targets, each of them by itself."
    return (
        f"{claim} It is one of {n_targets} targets declared together: with probability at least "
        f"{1 - failure_probability:.4g} what is promised for all of them holds, whichever is used."
    )
