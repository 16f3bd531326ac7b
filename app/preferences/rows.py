"""A verdict that can be trusted as one row of preference data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from judges.types import Pair

# why a verdict is no row; each is counted in the card
ABSTAINED: Final = "abstained"
FAILED: Final = "failed"
TIES: Final = "ties"
SEVERAL_TURNS: Final = "answers to several turns"
CALIBRATION_PAIRS: Final = "calibration pairs"
LEFT_OUT: Final = (ABSTAINED, FAILED, TIES, SEVERAL_TURNS, CALIBRATION_PAIRS)


def left_out_because(verdict: Mapping[str, Any], pair: Pair) -> str | None:
    """Return why a verdict prefers no answer to another, None where it does."""
    if verdict["status"] != "accepted":
        return str(verdict["status"])
    if verdict["label"] == "tie":
        return TIES
    # the answers before the last differ, so the two have no prompt in common
    return SEVERAL_TURNS if len(pair.responses_a) > 1 else None


def preference(
    verdict: Mapping[str, Any], pair: Pair, *, is_calibration_pair: bool
) -> dict[str, Any]:
    """Return the row: the answer that the verdict prefers, and the other.

    `prompt` is a text, or the list of messages that the answers continue. On a pair that the
    certificate knows nothing is promised.
    """
    is_a = verdict["label"] == "a"
    answers = (pair.responses_a[0], pair.responses_b[0])
    models = (pair.model_a, pair.model_b)
    turns = [{"role": turn.role, "content": turn.content} for turn in pair.conversation]
    is_plain = len(turns) == 1 and turns[0]["role"] == "user"
    return {
        "prompt": turns[0]["content"] if is_plain else turns,
        "chosen": answers[0] if is_a else answers[1],
        "rejected": answers[1] if is_a else answers[0],
        "chosen_model": models[0] if is_a else models[1],
        "rejected_model": models[1] if is_a else models[0],
        "confidence": verdict["confidence"],
        "judge": verdict["judge"],
        "pair": verdict["id"],
        "calibration_pair": is_calibration_pair,
        "promise": "none" if is_calibration_pair else verdict["promise"],
    }
