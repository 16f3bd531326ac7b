"""Rows made up so that each judge has one known fault, and people who see it."""

from __future__ import annotations

from typing import Any

import numpy as np

Row = dict[str, Any]
ANNOTATORS = ("ann", "bob", "cyd", "dan")
_OTHER = {"a": "b", "b": "a"}


def faulty_judges(n: int = 240, seed: int = 0) -> list[Row]:
    """Return rows with four people of .85 accuracy and judges that are told by their names.

    `good` is right with .95; `first` takes what it is shown first; `long` the longer response;
    `marked` the one with a list; `vain` that of the model `vain`; `coin` throws a coin; `mute`
    fails on every fourth pair and is else as good as `good`. Length, marks and model are
    independent of which response is better.
    """
    rng = np.random.default_rng(seed)
    return [_row(number, rng) for number in range(n)]


def _row(number: int, rng: np.random.Generator) -> Row:
    truth, longer, marked, own = (str(side) for side in rng.choice(["a", "b"], 4))
    texts = {side: f"Answer {number} of side {side}." for side in "ab"}
    texts[longer] += " It says the same again at greater length, for good measure."
    texts[marked] = f"- {texts[marked]}\n- and so on"
    good = truth if rng.random() < 0.95 else _OTHER[truth]
    return {
        "id": f"p{number}",
        "prompt": f"Question number {number} of a world with faulty judges",
        "response_a": texts["a"],
        "response_b": texts["b"],
        "model_a": "vain" if own == "a" else "plain",
        "model_b": "vain" if own == "b" else "plain",
        "human": [
            {"annotator": name, "label": truth if rng.random() < 0.85 else _OTHER[truth]}
            for name in ANNOTATORS
        ],
        "judges": {
            "good": _both(good),
            "first": {"label_original": "a", "label_swapped": "b"},
            "long": _both(longer),
            "marked": _both(marked),
            "vain": _both(own),
            "coin": _both(str(rng.choice(["a", "b"]))),
            "mute": _both(good if number % 4 else None),
        },
        "metadata": {"half": "even" if number % 2 == 0 else "odd"},
    }


def _both(label: str | None) -> Row:
    return {"label_original": label, "label_swapped": label}
