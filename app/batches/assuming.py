"""What a call of a judge is taken to answer before it was asked, and whether a budget does.

Input tokens follow from the prompts. Output tokens follow from earlier answers, or are assumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from app.bodies.batches import OutputBody
from app.scores.store import Answered

# output tokens of a call of which nothing is known, where its limit is higher: models that reason
# before they answer take hundreds
_USUAL_ANSWER: Final = 400
# pairs to judge first where nothing is known
_FIRST: Final = 20


def output_of(most: int, earlier: Answered | None) -> OutputBody:
    """Return what a call is taken to answer, and why."""
    usages = earlier.usages if earlier is not None else ()
    if earlier is not None and usages:
        n_calls = sum(one.calls for one in usages)
        return {
            "tokens_per_call": min(sum(one.completion for one in usages) / n_calls, most),
            "most_per_call": most,
            "source": "earlier_calls" if earlier.is_same else "other_settings",
            "scores": len(usages),
        }
    return {
        "tokens_per_call": min(_USUAL_ANSWER, most),
        "most_per_call": most,
        "source": "assumption" if most > _USUAL_ANSWER else "limit",
        "scores": 0,
    }


def output_in_words(output: OutputBody, total: int) -> str:
    """Say what a call is taken to answer, and what to do where nothing is known.

    Args:
        output: What it is taken to answer.
        total: Pairs of a batch over a whole dataset, of which a part can be judged first.
    """
    each, most = f"{output['tokens_per_call']:,.0f}", f"{output['most_per_call']:,}"
    counted = f"{each} output tokens a call are counted with"
    n, upper = output["scores"], f"its settings allow {most}, and the upper bound counts with these"
    if output["source"] == "earlier_calls":
        return f"{counted}, the mean over {n} stored scores of it on other pairs; {upper}"
    if output["source"] == "other_settings":
        return f"{counted}, the mean over {n} stored scores of it with other settings; {upper}"
    if output["source"] == "limit":
        return f"{counted}: the most that its settings allow"
    first = ""
    if total > 2 * _FIRST:
        share = math.ceil(100 * _FIRST / total) / 100
        first = (
            f". Judge about {_FIRST} pairs first (--part calibration:{share:g}:0, in REST "
            f'"part": {{"side": "calibration", "fraction": {share:g}, "seed": 0}}) and estimate again'
        )
    return f"{counted}, which is an assumption, since no answer of it is stored; {upper}{first}"


def overspent(what: str, budget: float | None, likely: float | None, most: float) -> Iterator[str]:
    """Yield that a budget does not do, or may not."""
    if budget is None or most <= budget:
        return
    is_likely = likely is not None and likely > budget
    how = f"is likely to be spent ({likely:.2f} USD)" if is_likely else "may be spent"
    yield f"{what} ({budget:g} USD) {how}: the upper bound is {most:.2f} USD"
