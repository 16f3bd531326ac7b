"""Audits of verdicts: which are drawn, and what several verdicts of one prompt count as."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.sample import numbered, one_row_a_group


def draw_audits(probabilities: ArrayLike, rng: Rng = None) -> IntArray:
    """Draw verdicts for audit, independently, each with its known probability.

    Args:
        probabilities: Shape (verdicts,), in [0, 1]. May follow from anything known before the label.
            Verdicts with 0 lie outside what is monitored.
        rng: Source of the draw.

    Returns:
        Rows drawn, increasing: the order in which their losses are to be observed.

    Raises:
        InvalidArgument: A probability is out of its range.

    >>> draw_audits([1.0, 0.0, 1.0], rng=0).tolist()
    [0, 2]
    """
    drawn = np.asarray(probabilities, dtype=np.float64)
    if drawn.ndim != 1 or not np.all((drawn >= 0) & (drawn <= 1)):
        raise InvalidArgument("probabilities must be a list of numbers in [0, 1]")
    return np.flatnonzero(as_generator(rng).uniform(size=drawn.size) < drawn)


def draw_prompt_audits(prompts: ArrayLike, rate: float, rng: Rng = None) -> IntArray:
    """Draw prompts with equal probability, and one verdict of each at random.

    This monitors the risk of a random verdict of a random prompt.

    Args:
        prompts: Prompt of each verdict, shape (verdicts,).
        rate: Probability of each prompt.
        rng: Source of the draw.

    Returns:
        Rows drawn, increasing.

    Raises:
        InvalidArgument: The rate is out of its range, or `prompts` is not one list.

    >>> draw_prompt_audits(["q1", "q1", "q2"], rate=1.0, rng=0).size
    2
    """
    prompt = _checked_prompts(prompts)
    if not 0 <= rate <= 1:
        raise InvalidArgument(f"rate must lie in [0, 1], not {rate}")
    source = as_generator(rng)
    rows = one_row_a_group(prompt, source)
    return rows[source.uniform(size=rows.size) < rate]


def prompt_losses(losses: ArrayLike, prompts: ArrayLike) -> FloatArray:
    """Return the mean loss of each prompt, one audit for `observe` however many its verdicts.

    Verdicts of one prompt tend to be right or wrong together; taken as audits of their own they
    raise false alarms again and again. All of a prompt's audits must be there: a prompt enters
    once.

    Args:
        losses: Shape (verdicts,), in [0, 1].
        prompts: Prompt of each verdict, shape (verdicts,).

    Returns:
        Shape (prompts,), in the order in which prompts first appear.

    Raises:
        InvalidArgument: Shapes do not match, or a loss lies outside [0, 1].

    >>> prompt_losses([1, 0, 1], prompts=["q1", "q1", "q2"]).tolist()
    [0.5, 1.0]
    """
    prompt = _checked_prompts(prompts)
    loss = np.asarray(losses, dtype=np.float64)
    if loss.shape != prompt.shape:
        raise InvalidArgument(f"losses must have shape {prompt.shape}, not {loss.shape}")
    if not ((loss >= 0) & (loss <= 1)).all():
        raise InvalidArgument("losses must lie in [0, 1]")
    _, first = np.unique(prompt, return_index=True)
    means = np.bincount(prompt, weights=loss) / np.bincount(prompt)
    return means[np.argsort(first)]


def _checked_prompts(prompts: ArrayLike) -> IntArray:
    values = np.asarray(prompts)
    if values.ndim != 1:
        raise InvalidArgument(f"prompts must have shape (verdicts,), not {values.shape}")
    return numbered(values)
