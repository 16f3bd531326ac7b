"""Writes `pairs.jsonl`, the bundled synthetic example, the same bytes every time.

Run from the root of the repository: `python -m examples.make_pairs` (`--check` only compares).
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.flaws import Response, draw_flaw, respond
from examples.simulated import LARGE, SMALL, constructed_label, labels, large_judge, small_judge
from examples.sources import Prompt, load_prompts

SEED = 20260
PAIRS_FILE = Path(__file__).parent / "pairs.jsonl"

#: How often a fictional model's answer carries a flaw: the true order of the leaderboard.
FLAW_RATE: Mapping[str, float] = {
    "alder-large": 0.08,
    "birch-medium": 0.3,
    "cedar-small": 0.55,
    "dogwood-tiny": 0.8,
}
#: Share of the prompts that give a second pair, of other responses.
SECOND_PAIR_RATE = 0.4
#: Two unflawed responses are kept this often; the others are drawn again.
BOTH_GOOD_RATE = 0.15


@dataclass(frozen=True, slots=True)
class Drawn:
    """Two responses and the models that are said to have given them."""

    models: tuple[str, str]
    a: Response
    b: Response


def make_rows() -> Iterator[dict[str, Any]]:
    """Yield the rows of the example, prompts in the order of the sources."""
    prompts = load_prompts()
    for prompt in prompts:
        # A generator for each prompt: adding one to the sources leaves the other rows alone.
        rng = np.random.default_rng([SEED, zlib.crc32(prompt.group.encode())])
        pairs = 1 + (rng.random() < SECOND_PAIR_RATE)
        for number, drawn in enumerate(_draw_pairs(prompt, prompts, pairs, rng), start=1):
            yield _row(prompt, number, drawn, rng)


def _draw_pairs(
    prompt: Prompt, donors: Sequence[Prompt], pairs: int, rng: np.random.Generator
) -> list[Drawn]:
    kept: list[Drawn] = []
    while len(kept) < pairs:
        drawn = _draw(prompt, donors, rng)
        is_new = all({drawn.a.text, drawn.b.text} != {k.a.text, k.b.text} for k in kept)
        if is_new and _is_worth_asking(drawn, rng):
            kept.append(drawn)
    return kept


def _is_worth_asking(drawn: Drawn, rng: np.random.Generator) -> bool:
    if drawn.a.text == drawn.b.text:
        return False
    if drawn.a.flaw is None and drawn.b.flaw is None:
        return rng.random() < BOTH_GOOD_RATE
    return drawn.a.flaw != drawn.b.flaw


def _draw(prompt: Prompt, donors: Sequence[Prompt], rng: np.random.Generator) -> Drawn:
    model_a, model_b = sorted(FLAW_RATE, key=lambda _: rng.random())[:2]
    first = int(rng.random() * len(prompt.answers))
    responses = []
    for offset, model in enumerate((model_a, model_b)):
        wording = (first + offset) % len(prompt.answers)
        is_flawed = rng.random() < FLAW_RATE[model]
        flaw = draw_flaw(prompt, wording, rng) if is_flawed else None
        responses.append(respond(prompt, wording, flaw, donors, rng))
    return Drawn((model_a, model_b), responses[0], responses[1])


def _row(prompt: Prompt, number: int, drawn: Drawn, rng: np.random.Generator) -> dict[str, Any]:
    a, b = drawn.a, drawn.b
    shown = " ".join([prompt.text, prompt.input or "", a.text, b.text])
    words = len(shown.split())
    asked = {"prompt": prompt.text} | ({"input": prompt.input} if prompt.input else {})
    return {
        "id": f"{prompt.group}-{'xy'[number - 1]}",
        **asked,
        "response_a": a.text,
        "response_b": b.text,
        "model_a": drawn.models[0],
        "model_b": drawn.models[1],
        "group": prompt.group,
        "human": labels(a, b, rng),
        "judges": {SMALL: small_judge(a, b, words, rng), LARGE: large_judge(a, b, words, rng)},
        "metadata": _metadata(prompt, a, b),
    }


def _metadata(prompt: Prompt, a: Response, b: Response) -> dict[str, Any]:
    return {
        "task": prompt.task,
        "flaw_a": a.flaw,
        "flaw_b": b.flaw,
        "severity": {"a": a.severity, "b": b.severity},
        "constructed_label": constructed_label(a, b),
        **prompt.facts,
        "synthetic": True,
    }


def as_bytes(rows: Iterator[dict[str, Any]]) -> bytes:
    """Return rows as UTF-8 lines of JSON."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or with `--check` say whether it is what the sources give."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--output", type=Path, default=PAIRS_FILE)
    options = parser.parse_args(arguments)
    content = as_bytes(make_rows())
    if options.check:
        is_same = options.output.exists() and options.output.read_bytes() == content
        print("up to date" if is_same else f"{options.output} differs from its sources")
        return 0 if is_same else 1
    options.output.write_bytes(content)
    lines = content.count(b"\n")
    print(f"{options.output}: {lines} pairs, {len(content)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
