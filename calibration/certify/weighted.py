"""Certificates for other traffic, from labelled pairs that are weighted to stand for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.arrays import FloatArray
from calibration.binomial import accepted_labels_needed
from calibration.certify.certificate import Certificate
from calibration.certify.certify import USUAL, CertifyOptions
from calibration.certify.columns import Pairs
from calibration.certify.prepare import Request
from calibration.certify.slices import certify_sample
from calibration.certify.traffic import Reweighting, estimated_ratio, evidence_features, known_ratio
from calibration.errors import InvalidArgument, UnavailableMethod, UndeclaredBound
from calibration.preference import sides
from calibration.sample import Sample, checked_groups, one_row_a_group


@dataclass(frozen=True, slots=True, eq=False)
class OnTraffic:
    """Pairs that stand for other traffic.

    Attributes:
        pairs: Without their weights, which those of the traffic contain.
        options: With the lower bound that the weights keep.
        weight: Shape (n,), weight of each pair.
        figures: How they were weighted.
        dropped: Pairs dropped because another pair of their group was drawn.
    """

    pairs: Pairs
    options: CertifyOptions
    weight: FloatArray
    figures: Reweighting
    dropped: int


def on_traffic(pairs: Pairs, options: CertifyOptions, rng: np.random.Generator) -> OnTraffic:
    """Weight labelled pairs so that they stand for the traffic of the options."""
    if pairs.slices is not None or options.menu:
        raise UnavailableMethod("method 'weighted' has no slices and no menu")
    if (pairs.density_ratio is None) == (options.traffic is None):
        raise InvalidArgument("method 'weighted' needs either density_ratio or traffic")
    if pairs.weights is not None and options.min_label_probability is None:
        raise UndeclaredBound("weights need min_label_probability, declared in advance")
    n = len(pairs.p_a)
    group = checked_groups(pairs.groups, n)
    if options.max_group_size is None and n and int(group.max()) + 1 < n:
        if pairs.weights is not None:
            raise UndeclaredBound("weights on groups of several pairs need max_group_size")
        pairs = pairs.rows(one_row_a_group(group, rng))
        group = checked_groups(pairs.groups, len(pairs.p_a))
    if pairs.density_ratio is not None:
        found = known_ratio(pairs.density_ratio, options.max_ratio)
    else:
        assert options.traffic is not None
        found = estimated_ratio(
            evidence_features(sides(pairs.p_a, pairs.p_tie)[0], pairs.features),
            evidence_features(options.traffic, options.traffic_features),
            group,
            options.max_ratio,
            rng,
        )
    labelled = 1.0 if pairs.weights is None else pairs.weights
    floor = (options.min_label_probability or 1.0) / found.figures.clip
    return OnTraffic(
        replace(pairs, weights=None),
        replace(options, min_label_probability=min(floor, 1.0)),
        found.weight * labelled,
        found.figures,
        n - len(pairs.p_a),
    )


def certify_on_traffic(
    sample: Sample, request: Request, given: OnTraffic, rng: np.random.Generator
) -> Certificate:
    """Certify a weighted sample, unless it stands for too little of the traffic to be tested."""
    sample, traffic = replace(sample, weight=given.weight), given.figures
    if refused := _refused(traffic, request):
        empty = replace(sample, weight=None).rows(np.zeros(0, dtype=np.int64))
        nothing = certify_sample(empty, request, USUAL.parts(None), rng)
        return replace(
            nothing,
            claim=f"{nothing.claim} {refused}",
            traffic=traffic,
            n=sample.n,
            groups=sample.n_groups,
            dropped=given.dropped,
        )
    found = certify_sample(sample, request, USUAL.parts(None), rng)
    said = f"{found.claim}{_TRAFFIC[traffic.is_estimated]}" if found.is_certified else found.claim
    if found.is_certified and traffic.cut > _NO_CUT:
        said += (
            f" Kinds of pairs that are more than {traffic.clip:g} times as frequent as among the "
            f"labelled pairs count as if they were {traffic.clip:g} times as frequent: "
            f"{traffic.cut:.1%} of the traffic is left out so."
        )
    return replace(found, claim=said, traffic=traffic, dropped=given.dropped)


# less is no more than rounding
_NO_CUT = 0.0005
# of the traffic: a promise that leaves out more is none on the traffic
_LARGEST_CUT = 0.1


def _refused(traffic: Reweighting, request: Request) -> str | None:
    """Say why labelled pairs cannot stand for the traffic; None where they can."""
    what = "label pairs of the kinds that are frequent there."
    if traffic.cut > _LARGEST_CUT:
        return (
            f"{traffic.cut:.1%} of that traffic are kinds of pairs that are more than "
            f"{traffic.clip:g} times as frequent there as among the labelled pairs, or that these do "
            f"not have: {what}"
        )
    needed = accepted_labels_needed(0, request.tested_risk, request.failure_probability)
    if traffic.effective >= needed:
        return None
    return (
        f"The labelled pairs stand for no more than {traffic.effective:.1f} pairs of that traffic, and "
        f"even without a disagreement {needed} would be needed: {what}"
    )


_TRAFFIC = {
    False: " It rests on the ratio of frequencies that was given, and on people saying the same of the "
    "same pair.",
    True: " It assumes a ratio of frequencies that was estimated from what is known without labels, "
    "and that people say the same of the same pair: that it holds is assumed, not tested.",
}
