"""Votes and verdicts of the development data as arrays, and the figures they must give."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from calibration.arrays import IntArray
from calibration.labels import MISSING, vote_counts
from calibration.ranking import Comparisons
from tests.data_sets import data_dir, rows

Row = dict[str, Any]

CODE = {"A": 0, "B": 1, "tie": 2, None: MISSING}
SCORE = {"A": 1.0, "B": 0.0, "tie": 0.5, None: 0.5}


@dataclass(frozen=True)
class Reference:
    """One figure that the data must give."""

    value: float
    n: int
    tolerance: float


def pairs(name: str) -> list[Row]:
    return list(_pairs(name))


@cache
def _pairs(name: str) -> tuple[Row, ...]:
    folder, _, part = name.partition("/")
    if not part:
        return tuple(rows(folder))
    text = (data_dir() / folder / f"{part}.pairs.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


@cache
def _reference() -> dict[str, Any]:
    text = (data_dir() / "reference.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def reference(data: str, key: str) -> Reference:
    found = next(n for n in _reference()["numbers"] if (n["set"], n["id"]) == (data, key))
    return Reference(found["value"], found["n"], found["tolerance"])


def reference_table(name: str) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = _reference()["bradley_terry"]["tables"][name]
    return table


def human_counts(data: Sequence[Row]) -> IntArray:
    votes = [(i, CODE[vote["label"]]) for i, row in enumerate(data) for vote in row["human"]]
    return vote_counts([i for i, _ in votes], [code for _, code in votes], len(data))


def verdicts(data: Sequence[Row], judge: str, key: str = "label") -> IntArray:
    """Codes of one judge's labels, missing where it has none."""
    return np.array([CODE[row["judges"].get(judge, {}).get(key)] for row in data], dtype=np.int64)


def battles(data: Sequence[Row], labels: Iterable[tuple[int, str | None]]) -> Comparisons:
    """Comparisons from (row number, label), a label that could not be parsed being a tie."""
    listed = list(labels)
    return Comparisons.between(
        [data[i]["model_a"] for i, _ in listed],
        [data[i]["model_b"] for i, _ in listed],
        [SCORE[label] for _, label in listed],
    )


def human_battles(data: Sequence[Row]) -> Comparisons:
    votes = ((i, vote["label"]) for i, row in enumerate(data) for vote in row["human"])
    return battles(data, votes)


def judge_battles(data: Sequence[Row], judge: str, *keys: str) -> Comparisons:
    found = (row["judges"][judge] for row in data)
    return battles(data, ((i, said[key]) for i, said in enumerate(found) for key in keys))


def label_lines(data: str, name: str) -> list[Row]:
    folder = data_dir() / data
    plain = folder / name
    text = (
        plain.read_bytes()
        if plain.exists()
        else gzip.decompress((folder / f"{name}.gz").read_bytes())
    )
    return [json.loads(line) for line in text.decode("utf-8").splitlines()]
