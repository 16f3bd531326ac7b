"""Read the labelled pairs for training and testing the student."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.arrays import BoolArray, FloatArray
from judges.student.model import pair_features
from judges.types import prompt_hash

TEST_SETS = ("mtbench_human", "prd_vicuna80", "pandalm", "llmfao", "tulu_human")
TRAINING_SETS = ("prd_vicuna80", "pandalm", "llmfao", "tulu_human")
HONEST_TEST_SETS = ("mtbench_human", "llmbar")


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair with its human votes and the hash of its prompt."""

    data_set: str
    subset: str
    turns: Sequence[str]
    responses_a: Sequence[str]
    responses_b: Sequence[str]
    votes_a: int
    votes_b: int
    votes_tie: int
    prompt_hash: str

    @property
    def votes(self) -> int:
        """Number of votes."""
        return self.votes_a + self.votes_b + self.votes_tie

    @property
    def share_a(self) -> float:
        """Share of votes for a, a tie half a vote; .5 without votes."""
        return (self.votes_a + self.votes_tie / 2) / self.votes if self.votes else 0.5

    @property
    def plurality(self) -> str | None:
        """The most frequent of `a`, `b`, `tie`; None if the top counts are equal."""
        counts = Counter(a=self.votes_a, b=self.votes_b, tie=self.votes_tie).most_common()
        return None if counts[0][1] == counts[1][1] else counts[0][0]

    @property
    def is_decided(self) -> bool:
        """True if the plurality is `a` or `b`."""
        return self.plurality in ("a", "b")


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled pairs as arrays of n rows: features, soft labels, weights and groups."""

    features_a: FloatArray
    features_b: FloatArray
    context: FloatArray
    share_a: FloatArray
    votes: FloatArray
    decided: BoolArray
    prefers_a: BoolArray
    prompts: NDArray[np.str_]
    data_sets: NDArray[np.str_]
    subsets: NDArray[np.str_]

    def rows(self, chosen: BoolArray) -> Sample:
        """Return the rows where `chosen` is true."""
        return Sample(*(getattr(self, name)[chosen] for name in self.__slots__))


def read_pairs(folder: Path, data_set: str) -> list[LabelledPair]:
    """Read the pairs of one data set; `folder` contains one subfolder per data set."""
    return [_labelled_pair(data_set, row) for row in _rows(folder / data_set)]


def measure(pairs: Sequence[LabelledPair]) -> Sample:
    """Compute features and labels of pairs; a label is the share of votes for a, ties half."""
    measured = [pair_features(p.turns, p.responses_a, p.responses_b) for p in pairs]
    return Sample(
        features_a=np.array([m.a for m in measured]),
        features_b=np.array([m.b for m in measured]),
        context=np.array([m.context for m in measured]),
        share_a=np.array([p.share_a for p in pairs]),
        votes=np.array([float(p.votes) for p in pairs]),
        decided=np.array([p.is_decided for p in pairs]),
        prefers_a=np.array([p.plurality == "a" for p in pairs]),
        prompts=np.array([p.prompt_hash for p in pairs]),
        data_sets=np.array([p.data_set for p in pairs]),
        subsets=np.array([p.subset for p in pairs]),
    )


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    plain = folder / "pairs.jsonl"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(_packed(plain).read_bytes())
    for line in data.splitlines():
        yield json.loads(line)


def _packed(plain: Path) -> Path:
    return plain.with_name(plain.name + ".gz")


def _labelled_pair(data_set: str, row: dict[str, Any]) -> LabelledPair:
    prompt, extra = row["prompt"], row.get("input", "")
    first = prompt[0] if isinstance(prompt, list) else prompt
    opening = f"{first}\n\n{extra}" if extra else first
    votes = Counter(vote["label"].lower() for vote in row["human"])
    return LabelledPair(
        data_set=data_set,
        subset=row.get("subset", ""),
        turns=[opening, *prompt[1:]] if isinstance(prompt, list) else [opening],
        responses_a=row["responses_a"] if "responses_a" in row else [row["response_a"]],
        responses_b=row["responses_b"] if "responses_b" in row else [row["response_b"]],
        votes_a=votes["a"],
        votes_b=votes["b"],
        votes_tie=votes["tie"],
        prompt_hash=prompt_hash(first, extra),
    )
