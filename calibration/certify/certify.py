"""Thresholds for a whole cascade with a proven risk, or none at all.

The composed cascade is tested, not its judges: along paths of threshold vectors that were fixed
without the labels that test them, a test decides at every node whether the pairs answered there
disagree with people less often than the target (Learn Then Test, Angelopoulos et al. 2021). The
failure probability is split over the paths, and along a path unused level flows on (Wiens 2003), so
that all certified nodes hold together and the one with the highest coverage may be used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from calibration.cascade import checked_costs
from calibration.certify.certificate import Certificate
from calibration.certify.columns import Layout
from calibration.certify.issuing import best_of
from calibration.certify.prepare import DECLARABLE, Method, Request, SliceRule
from calibration.certify.slices import Parts, certify_sample
from calibration.errors import InvalidArgument, Rng, UnavailableMethod, as_generator
from calibration.sample import Scope, checked_confidence, checked_sample, with_pooled_tier

LabelRule = Literal["given", "panel"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CertifyOptions:
    """Rare arguments of `certify_cascade`, which takes each of them as a keyword, too.

    Attributes:
        max_group_size: Declared bound on the size of any group, now or later.
        min_label_probability: Declared lower bound on the probabilities of being labelled; it says
            that they differ.
        exposure: Shape (n,), the share of each pair that the promise is about, in (0, 1]; where the
            promise is on annotators with a preference, the share of a pair's annotators who have
            one. The risk is then the exposed disagreement over the exposure of what is answered.
        slice_rule: "joint": the certificates of all slices hold together; "each": every one has the
            whole failure probability and holds alone; "common": one threshold vector that keeps the
            promise in every slice, refuted slice by slice at the whole level.
        menu: Further target risks; the certificates of all targets hold together.
        randomized: Test with one number drawn before the labels are read, so that the size of the
            test is the level itself; for methods that walk paths.
        pooled_evidence: Shape (n, 2), confidence and agreement of one more tier that is heard after
            every judge was asked and costs nothing (`calibration.pooled_preference`). It is the
            last of then k + 1 thresholds, and `pool` needs its confidences as column k + 1.
        max_shift: Factor G, at least 1, by which any kind of pair may become more frequent or rarer
            among later pairs; the promise then holds for them, too.
        scope: "answered": the target is a share of the verdicts given. "dataset": `max_error` is the
            largest share of all pairs that are given a wrong verdict; people label the others.
        max_error: In place of `target_risk` where the scope is "dataset".
        density_ratio: Shape (n,), how many times as frequent each pair is in the traffic that the
            promise of method "weighted" is on. Known, not estimated from these pairs.
        traffic: Shape (m, k), what the judges say of unlabelled pairs of that traffic; the ratio is
            then estimated.
        features: Shape (n, f), more that is known of the labelled pairs without labels, such as
            lengths, for estimating it.
        traffic_features: Shape (m, f), the same of the traffic.
        max_ratio: Declared clip of the ratio; a known one needs it. An estimated one has by default
            the smallest of 2, 3, 5, 8, 12, 20, 30 and 50 that leaves out 2% of the traffic at most.
        label_rule: "given": the promise is about labels like those that are given. "panel": it is
            about what most annotators would say of a pair; `label` then has several votes a pair, at
            least two. `certify_preferences` only.
    """

    max_group_size: int | None = None
    min_label_probability: float | None = None
    exposure: ArrayLike | None = None
    slice_rule: SliceRule = "joint"
    menu: Sequence[float] | None = None
    randomized: bool = False
    pooled_evidence: ArrayLike | None = None
    max_shift: float = 1.0
    scope: Scope = "answered"
    max_error: float | None = None
    density_ratio: ArrayLike | None = None
    traffic: ArrayLike | None = None
    features: ArrayLike | None = None
    traffic_features: ArrayLike | None = None
    max_ratio: float | None = None
    label_rule: LabelRule = "given"

    def parts(self, slices: ArrayLike | None) -> Parts:
        """Return the parts in which these slices and the menu are certified."""
        return Parts(slices, self.menu, self.slice_rule)

    def promised_risk(self, target_risk: float | None) -> float:
        """Return the share promised: the target risk, or the largest error of a whole data set.

        Raises:
            InvalidArgument: The one that the scope asks for is missing, or the other one is given.
        """
        wanted = {"target_risk": target_risk, "max_error": self.max_error}
        named = "max_error" if self.scope == "dataset" else "target_risk"
        other = "target_risk" if self.scope == "dataset" else "max_error"
        if wanted[other] is not None:
            raise InvalidArgument(f"{other} does not go with scope {self.scope!r}: give {named}")
        found = wanted[named]
        if found is None:
            raise InvalidArgument(f"{named} is missing: scope {self.scope!r} needs it")
        return found


class RareArguments(TypedDict, total=False):
    """The attributes of `CertifyOptions` as keywords."""

    max_group_size: int | None
    min_label_probability: float | None
    exposure: ArrayLike | None
    slice_rule: SliceRule
    menu: Sequence[float] | None
    randomized: bool
    pooled_evidence: ArrayLike | None
    max_shift: float
    scope: Scope
    max_error: float | None
    density_ratio: ArrayLike | None
    traffic: ArrayLike | None
    features: ArrayLike | None
    traffic_features: ArrayLike | None
    max_ratio: float | None
    label_rule: LabelRule


USUAL = CertifyOptions()


def certify_cascade(  # noqa: PLR0913 - the published interface, keyword-only but for the data
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    rng: Rng,
    target_risk: float | None = None,
    costs: ArrayLike | None = None,
    failure_probability: float = 0.1,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    slices: ArrayLike | None = None,
    pool: ArrayLike | None = None,
    method: Method | Sequence[Method] = "auto",
    options: CertifyOptions = USUAL,
    **rare: Unpack[RareArguments],
) -> Certificate:
    """Choose thresholds so that the verdicts given agree with people, or certify nothing.

    With probability at least 1 - failure_probability over the calibration pairs, the disagreement
    among the pairs that the returned thresholds answer is below `target_risk`; with `max_error` and
    scope "dataset" the share of all pairs that they answer wrongly is below `max_error`. Assumed: the groups
    of calibration pairs and of later pairs are independent and identically distributed, and judges,
    prompts, `pool` and every argument here were chosen without looking at these labels.

    Args:
        confidence: Shape (n, k), judges from cheap to strong, in [0, 1]; nan where a judge failed.
        correct: Agreement with people, shape (n, k), 0/1 or a share; read where confidence is not
            nan. Shares are tested by betting, 0/1 by exact counts.
        target_risk: Largest share of disagreeing verdicts promised, in (0, 1); not with scope
            "dataset", which takes `max_error`.
        rng: Source of every draw: which pair of a group, which labels are set aside, or learn. A
            Generator, a seed, or None for draws that cannot be repeated.
        costs: Cost of asking each judge, shape (k,); equal by default.
        failure_probability: Probability that the promise is broken, in (0, 1).
        groups: Shape (n,); pairs of one group may depend on each other. One pair a group is drawn
            unless `max_group_size` is given and fewer than 95% of the groups are single.
        weights: Shape (n,), 1 / the known probability that the pair was chosen for labelling.
        slices: Shape (n,); each slice gets a certificate of its own.
        pool: Shape (m, k), confidences of pairs of other groups; they fix where tests start.
            Without them a tenth of the groups (15 to 100) gives its confidences only.
        method: "auto" is a portfolio of fixed paths; "diagonal", "strongest" and "learned" are its
            parts; "pareto_testing" learns an order on half of the labels; "stagewise" certifies
            judge by judge; "simultaneous" bounds a few cascades for every target at once;
            "sequential" reads the rows in the order of arrival and holds at any stopping time;
            "average" bounds the expected risk on the pool, with no probability; "published_code" is
            a comparison without a guarantee. Of several methods, declared together, each is tested at an
            equal part of the failure probability, and the one that answers most is taken.
        options: Rare arguments, kept together.
        rare: The same one by one; they win over `options`.

    Raises:
        InvalidArgument: An array has the wrong shape, or a value is out of its range.
        UnavailableMethod: The method or variant is not offered.
        UndeclaredBound: Weights without `min_label_probability`, or weights with several pairs a
            group without `max_group_size`.

    Example:
        Two judges that are right as often as they say.

        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (500, 2))
        >>> correct = chance.uniform(size=(500, 2)) < confidence
        >>> certificate = certify_cascade(confidence, correct, target_risk=0.2, rng=1)
        >>> certificate.is_certified, certificate.risk_upper_bound <= 0.2
        (True, True)
        >>> certificate.thresholds.round(3), round(certificate.coverage, 3)
        (array([0.605, 0.605]), 0.962)
    """
    if not isinstance(method, str):
        refuse_parts(slices, rare.get("menu", options.menu))
        return of_methods(
            method,
            failure_probability,
            rng,
            lambda one, level, seed: certify_cascade(
                confidence, correct, rng=seed, target_risk=target_risk, costs=costs,
                failure_probability=level, groups=groups, weights=weights, slices=slices, pool=pool,
                method=one, options=options, **rare,
            ),
        )  # fmt: skip
    if method in ("learned_stack", "weighted"):
        raise UnavailableMethod(
            f"method {method!r} needs the preferences themselves: use certify_preferences"
        )
    chance = as_generator(rng)
    options = replace(options, **rare)
    if options.label_rule != "given":
        raise UnavailableMethod(
            f"label_rule {options.label_rule!r} needs the votes themselves: use certify_preferences"
        )
    data = with_pooled_tier(confidence, correct, options.pooled_evidence)
    sample = checked_sample(*data, groups, weights, options.exposure)
    has_pooled_tier = options.pooled_evidence is not None
    prices = checked_costs(costs, sample.n_judges - has_pooled_tier)
    others = None if pool is None else checked_confidence("pool", pool, sample.n_judges)
    request = Request(
        options.promised_risk(target_risk),
        failure_probability,
        method,
        np.append(prices, 0.0) if has_pooled_tier else prices,
        Layout.raw(sample.n_judges, has_pooled_tier=has_pooled_tier),
        others,
        options.max_group_size,
        options.min_label_probability,
        options.randomized,
        slices is not None and options.slice_rule == "common",
        groups is not None,
        options.max_shift,
        options.scope,
    )
    return certify_sample(sample, request, options.parts(slices), chance)


def refuse_parts(slices: object, menu: object) -> None:
    """Refuse slices and menus where several methods are declared.

    Raises:
        UnavailableMethod: There are some.
    """
    if slices is not None or menu:
        raise UnavailableMethod("methods that are declared together have no slices and no menu")


def of_methods(
    methods: Sequence[Method],
    failure_probability: float,
    rng: Rng,
    make: Callable[[Method, float, int], Certificate],
) -> Certificate:
    """Certify by several methods that were declared together, and return the best certificate.

    Args:
        methods: Two or more, each once.
        failure_probability: That of all together.
        rng: Gives one seed, so that all draw the same pairs of groups where they can.
        make: Certifies by one method, at a level and with a seed.

    Raises:
        UnavailableMethod: A method may not be declared with others.
        InvalidArgument: There are fewer than two methods, or one is there twice.
    """
    if len(methods) < 2 or len(set(methods)) < len(methods):
        raise InvalidArgument("declare two methods or more, each of them once")
    for one in methods:
        if one not in DECLARABLE:
            offered = ", ".join(DECLARABLE)
            raise UnavailableMethod(
                f"method {one!r} cannot be declared with others; those that can: {offered}"
            )
    seed = int(as_generator(rng).integers(2**63))
    found = [make(one, failure_probability / len(methods), seed) for one in methods]
    return best_of(found, failure_probability)
