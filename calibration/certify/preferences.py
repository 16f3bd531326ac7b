"""Certificates from what judges prefer: `certify_preferences`, and what its certificate decides.

`certify_cascade` reads how sure each judge is and whether it was right. Here the probabilities
themselves are read, so that judges can be heard together: by default each tier says what all judges
up to it say (`calibration.stack`), and the last judge alone is tested beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, Unpack

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.cascade import checked_costs
from calibration.certify.certificate import Certificate
from calibration.certify.certify import (
    USUAL,
    CertifyOptions,
    RareArguments,
    of_methods,
    refuse_parts,
)
from calibration.certify.columns import Heard, Pairs
from calibration.certify.panel import FirstVotes, PanelVotes, third_votes
from calibration.certify.prepare import Method, Request, pool_size
from calibration.certify.slices import certify_sample
from calibration.certify.weighted import OnTraffic, certify_on_traffic, on_traffic
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.labels import MISSING, A
from calibration.sample import (
    Sample,
    checked_confidence,
    checked_groups,
    checked_sample,
    rows_of_drawn_groups,
)
from calibration.stack import CLIP, Columns, learned_weights, log_odds, summed_evidence

OutcomeTies = Literal["exclude", "error", "half"]
# of the groups, those that teach a learned stack
_LEARNING_SHARE = 0.25


def certify_preferences(  # noqa: PLR0913 - the published interface, keyword-only but for the data
    p_a: ArrayLike,
    label: ArrayLike,
    *,
    rng: Rng,
    target_risk: float | None = None,
    p_tie: ArrayLike | None = None,
    ties: OutcomeTies = "exclude",
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

    The promise and its assumptions are those of `certify_cascade`.

    Args:
        p_a: Shape (n, k), each judge's probability that a is better, judges from cheap to strong;
            nan where a judge failed, .5 where it has no preference.
        label: Shape (n,), the outcome that people gave: 1 where a is better, 0 where b is, .5 for a
            tie; other shares say how many of the annotators preferred a. With `label_rule` "panel"
            shape (n, votes): what each of at least two people said, in the order in which they were
            asked and nan where nobody was; the first three are read.
        target_risk: Largest share of disagreeing verdicts promised, in (0, 1); not with scope
            "dataset", which takes `max_error`.
        rng: A Generator, a seed, or None for draws that cannot be repeated.
        p_tie: Shape (n, k), each judge's probability of a tie, set aside first; none means 0.
        ties: What a label of .5 means: "exclude" leaves the pair out of the promise, "error" counts
            it against either verdict, "half" counts it as half a disagreement.
        costs: Cost of asking each judge, shape (k,).
        failure_probability: Probability that the promise is broken, in (0, 1).
        groups: Shape (n,), as for `certify_cascade`.
        weights: Shape (n,), 1 / the known probability that the pair was chosen for labelling.
        slices: Shape (n,); each slice gets a certificate of its own.
        pool: Shape (m, k), probabilities on pairs of other groups, without labels.
        method: "auto" walks stacked evidence and the last judge alone; "auto_raw" is the "auto" of
            `certify_cascade`, bit for bit; "learned_stack" weighs the judges by what a quarter of the
            groups teach, which then test nothing; "weighted" promises for other traffic, by a known
            `density_ratio` or one that is estimated from `traffic`; the others are those of
            `certify_cascade`, as is what several methods mean.
        options: Rare arguments, kept together.
        rare: The same one by one; they win over `options`.

    Raises:
        InvalidArgument: An array has the wrong shape, or a value is out of its range.
        UnavailableMethod: The method or variant is not offered.
        UndeclaredBound: As for `certify_cascade`.

    Example:
        Two judges that err independently are surer together.

        >>> chance = np.random.default_rng(0)
        >>> label = chance.integers(0, 2, 400)
        >>> right = chance.uniform(size=(400, 2)) < [0.75, 0.85]
        >>> p_a = np.where(right == (label == 1)[:, None], [0.75, 0.85], [0.25, 0.15])
        >>> found = certify_preferences(p_a, label, target_risk=0.1, costs=[1, 10], rng=0)
        >>> found.columns, found.is_certified
        ('stacked', True)

        Of a whole data set at most 5% of the pairs may be given a wrong verdict; people label what
        the judges leave.

        >>> whole = certify_preferences(p_a, label, scope="dataset", max_error=0.05, rng=0)
        >>> whole.is_certified, round(whole.saved_labels.value, 2)
        (True, 0.68)

        Two people say of each pair which is better, each of them wrong on a tenth of the pairs: what
        most people would say is promised.

        >>> votes = np.where(chance.uniform(size=(400, 2)) < 0.1, 1 - label[:, None], label[:, None])
        >>> panel = certify_preferences(p_a, votes, label_rule="panel", target_risk=0.1, rng=0)
        >>> panel.is_certified, panel.panel.split, panel.panel.assumption
        (True, 82, 'assumed')

        >>> said = found.decide([[0.25, 0.15], [0.75, 0.15]])
        >>> said.label, said.answered_by
        (array([ 0, -1]), array([ 1, -1]))
    """
    shares, outcome = np.asarray(p_a, np.float64), np.asarray(label, np.float64)
    if shares.ndim != 2 or shares.shape[1] == 0:
        raise InvalidArgument(f"p_a must have shape (pairs, judges), not {shares.shape}")
    options, votes = replace(options, **rare), None
    if options.label_rule == "panel":
        outcome, votes = _read_votes(outcome, len(shares), ties)
    if outcome.shape != (len(shares),) or not np.all((outcome >= 0) & (outcome <= 1)):
        raise InvalidArgument(
            f"label must be {len(shares)} numbers in [0, 1], one a row of p_a: 1 for a, 0 for b, .5 "
            "for a tie"
        )
    if ties not in ("exclude", "error", "half"):
        raise InvalidArgument(f"ties must be one of exclude, error, half, not {ties!r}")
    is_tied = outcome == 0.5
    agreement = np.column_stack([outcome, 1.0 - outcome])
    if ties == "error":
        agreement[is_tied] = 0.0
    columns = groups, weights, slices, options.exposure, options.density_ratio, options.features
    pairs = Pairs.of(shares, agreement, p_tie, *columns, votes)
    return certify_pairs(
        pairs.rows(~is_tied) if ties == "exclude" and votes is None else pairs,
        target_risk=target_risk,
        rng=rng,
        costs=costs,
        failure_probability=failure_probability,
        pool=pool,
        method=method,
        options=options,
    )


def certify_pairs(  # noqa: PLR0913 - as certify_preferences
    pairs: Pairs,
    *,
    rng: Rng,
    target_risk: float | None = None,
    costs: ArrayLike | None = None,
    failure_probability: float = 0.1,
    pool: ArrayLike | None = None,
    pool_p_tie: ArrayLike | None = None,
    method: Method | Sequence[Method] = "auto",
    options: CertifyOptions = USUAL,
) -> Certificate:
    """Certify as `certify_preferences` does, from the agreement that either verdict would meet.

    Args:
        pairs: The labelled pairs.
        target_risk: As for `certify_preferences`, like all that is not named here.
        rng: Source of every draw.
        costs: Shape (k,).
        failure_probability: In (0, 1).
        pool: Shape (m, k).
        pool_p_tie: Shape (m, k).
        method: How thresholds are chosen and tested.
        options: Rare arguments; those with a row a pair are not read, the pairs have their own.

    Raises:
        InvalidArgument: An array has the wrong shape, or a value is out of its range.
        UnavailableMethod: The method is not offered, or not together with an option.
        UndeclaredBound: As for `certify_cascade`.
    """
    if not isinstance(method, str):
        refuse_parts(pairs.slices, options.menu)
        return of_methods(
            method,
            failure_probability,
            rng,
            lambda one, level, seed: certify_pairs(
                pairs, rng=seed, target_risk=target_risk, costs=costs, failure_probability=level,
                pool=pool, pool_p_tie=pool_p_tie, method=one, options=options,
            ),
        )  # fmt: skip
    chance = as_generator(rng)
    if options.pooled_evidence is not None:
        raise InvalidArgument("pooled_evidence goes with certify_cascade: stacks are made here")
    n_judges = pairs.p_a.shape[1]
    pairs, first = _voted(pairs, options)
    heard, learning = Heard(_COLUMNS.get(method, "raw") if n_judges > 1 else "raw", n_judges), 0
    prices = checked_costs(costs, n_judges)
    if heard.columns == "learned":
        group = checked_groups(pairs.groups, len(pairs.p_a))
        is_learning = rows_of_drawn_groups(group, _n_learning(group), chance)
        heard, learning = _taught(heard, pairs.rows(is_learning), chance), int(is_learning.sum())
        pairs = pairs.rows(~is_learning)
    traffic: OnTraffic | None = None
    if method == "weighted":
        traffic = on_traffic(pairs, options, chance)
        pairs, options = traffic.pairs, traffic.options
        pool, pool_p_tie = (options.traffic, None) if pool is None else (pool, pool_p_tie)
    aside = _set_aside(pairs, first, chance) if pool is None else None
    if aside is not None:
        pairs, pool, pool_p_tie = aside.rest, aside.pool.p_a, aside.pool.p_tie
    pairs, panel = _heard_by_panel(heard, pairs, first, chance)
    others, others_evidence = _pool_columns(heard, pool, pool_p_tie)
    request = Request(
        options.promised_risk(target_risk),
        failure_probability,
        method,
        prices,
        heard.layout,
        others,
        options.max_group_size,
        options.min_label_probability,
        options.randomized,
        pairs.slices is not None and options.slice_rule == "common",
        pairs.groups is not None,
        options.max_shift,
        options.scope,
        others_evidence,
        panel,
    )
    sample = _sample(heard, pairs)
    if traffic is not None:
        found = certify_on_traffic(sample, request, traffic, chance)
    else:
        found = certify_sample(sample, request, options.parts(pairs.slices), chance)
    if aside is not None:
        found = replace(found, set_aside=len(aside.pool.p_a))
    return _with_columns(found, heard.weights, learning)


def _read_votes(votes: FloatArray, n: int, ties: OutcomeTies) -> tuple[FloatArray, FloatArray]:
    """Check votes of a panel; return the first one of each pair, .5 where there is none, and all.

    Raises:
        InvalidArgument: Another shape, a vote that is neither a, b nor a tie, or a rule for ties.
    """
    if votes.ndim != 2 or len(votes) != n or votes.shape[1] < 2:
        raise InvalidArgument(
            f"label must have shape ({n}, votes) with two votes or more for label_rule 'panel', not "
            f"{votes.shape}"
        )
    if not np.all(np.isnan(votes) | np.isin(votes, (0.0, 0.5, 1.0))):
        raise InvalidArgument("label must hold votes: 1 for a, 0 for b, .5 for a tie, nan for none")
    if ties != "exclude":
        raise InvalidArgument(
            f"ties must be exclude for label_rule 'panel', not {ties!r}: it is about the response that "
            "most people find better"
        )
    return np.where(np.isnan(votes[:, 0]), 0.5, votes[:, 0]), votes


def _voted(pairs: Pairs, options: CertifyOptions) -> tuple[Pairs, FirstVotes | None]:
    """Return the pairs that have the votes of a panel, and those votes; None where none are asked.

    Raises:
        InvalidArgument: The rule is unknown, there are no votes, or exposures go with them.
    """
    if options.label_rule == "given":
        return pairs, None
    if options.label_rule != "panel":
        raise InvalidArgument(f"label_rule must be given or panel, not {options.label_rule!r}")
    if pairs.votes is None:
        raise InvalidArgument("label_rule 'panel' needs the votes on each pair")
    if pairs.exposure is not None and np.ptp(pairs.exposure) > 0:
        raise InvalidArgument("exposure does not go with label_rule 'panel'")
    first = FirstVotes.of(np.asarray(pairs.votes, dtype=np.float64))
    given = replace(pairs, agreement=first.agreement, exposure=None, votes=first.votes)
    return given.rows(first.is_usable), first


class _Aside(NamedTuple):
    """Pairs that say where the test starts, and the rest."""

    pool: Pairs
    rest: Pairs


def _set_aside(pairs: Pairs, first: FirstVotes | None, rng: np.random.Generator) -> _Aside | None:
    """Set groups aside that give only what judges say, whatever their votes; None without a panel.

    Third votes must not be on pairs that set where the test starts, so this cannot be left to the
    sample, which knows nothing of pairs whose votes differ.
    """
    if first is None:
        return None
    group = checked_groups(pairs.groups, len(pairs.p_a))
    n_groups = int(group.max()) + 1 if group.size else 0
    is_pool = rows_of_drawn_groups(group, pool_size(n_groups), rng)
    return _Aside(pairs.rows(is_pool), pairs.rows(~is_pool))


def _heard_by_panel(
    heard: Heard, pairs: Pairs, first: FirstVotes | None, rng: np.random.Generator
) -> tuple[Pairs, PanelVotes | None]:
    """Return the pairs on which two votes say the same, and the third votes on all of them.

    Third votes test nothing where labels are weighted.
    """
    if first is None or pairs.votes is None:
        return pairs, None
    third, has_third = None, ~np.isnan(pairs.votes[:, 2])
    if first.third_is_blind and pairs.weights is None:
        three = pairs.rows(has_third)
        third = third_votes(
            heard.said(three.p_a, three.p_tie),
            pairs.votes[has_third],
            checked_groups(three.groups, len(three.p_a)),
            None if three.slices is None else three.slices.astype(str),
            rng,
        )
    agreed = pairs.rows(pairs.agreement[:, 0] != 0.5)
    return replace(agreed, votes=None), PanelVotes(first.figures, third)


_COLUMNS: dict[str, Columns] = {
    "auto": "stacked",
    "weighted": "stacked",
    "learned_stack": "learned",
}


def _sample(heard: Heard, pairs: Pairs) -> Sample:
    evidence = _evidence(heard, pairs.p_a, pairs.p_tie)
    label, confidence = heard.said(pairs.p_a, pairs.p_tie, evidence)
    correct = _correct(label, pairs)
    sample = checked_sample(confidence, correct, pairs.groups, pairs.weights, pairs.exposure)
    return replace(sample, evidence=evidence)


def _evidence(heard: Heard, p_a: FloatArray, p_tie: ArrayLike | None) -> FloatArray | None:
    return summed_evidence(p_a, p_tie) if heard.columns == "stacked" else None


def stacked_evidence(pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    """Return confidence and correctness of the stacked tiers, shape (n, k) each."""
    n_judges = pairs.p_a.shape[1]
    label, confidence = Heard("stacked", n_judges).said(pairs.p_a, pairs.p_tie)
    correct = _correct(label, pairs)
    return confidence[:, :n_judges], correct[:, :n_judges]


def _correct(label: IntArray, pairs: Pairs) -> FloatArray:
    of_a, of_b = pairs.agreement[:, [0]], pairs.agreement[:, [1]]
    return np.where(label == MISSING, np.nan, np.where(label == A, of_a, of_b))


def _n_learning(group: IntArray) -> int:
    return round(_LEARNING_SHARE * (int(group.max()) + 1)) if group.size else 0


def _taught(heard: Heard, pairs: Pairs, rng: np.random.Generator) -> Heard:
    evidence = log_odds(pairs.p_a, pairs.p_tie)
    return replace(heard, weights=learned_weights(evidence, pairs.agreement, rng))


def _pool_columns(
    heard: Heard, pool: ArrayLike | None, p_tie: ArrayLike | None
) -> tuple[FloatArray | None, FloatArray | None]:
    """Return confidences of a pool, shape (m, c), and summed log-odds, (m, k), where they stack."""
    if pool is None:
        return None, None
    unlabelled = _checked_pool(pool, heard.n_judges)
    evidence = _evidence(heard, unlabelled, p_tie)
    confidence = checked_confidence("pool", heard.said(unlabelled, p_tie, evidence)[1])
    return confidence, evidence


def _checked_pool(pool: ArrayLike, n_judges: int) -> FloatArray:
    values = np.asarray(pool, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != n_judges:
        raise InvalidArgument(f"pool must have {n_judges} columns, not shape {values.shape}")
    return values


def _with_columns(found: Certificate, weights: FloatArray | None, learning: int) -> Certificate:
    parts = tuple(_with_columns(part, weights, learning) for part in found.certificates)
    if found.columns == "raw":
        return replace(found, certificates=parts)
    return replace(found, clip=CLIP, weights=weights, learning=learning, certificates=parts)
