"""Input of every writer of a format, and counts of what the format cannot hold."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from judges.records import preferences_by_order, recorded_fingerprint
from judges.types import Score

Loss = Counter[str]
Form = Literal["lines", "array", "csv", "parquet"]


@dataclass(frozen=True, slots=True)
class Given:
    """One pair to write.

    Args:
        row: It as a canonical row.
        scores: What judges were recorded to have said of it.
        derived: Of `id` and `group`, those that reading the texts again would give.
        has_lost_numbers: Whether the row has null for a number that JSON does not have.
    """

    row: Mapping[str, Any]
    scores: Mapping[str, Score]
    derived: frozenset[str]
    has_lost_numbers: bool = False

    @property
    def is_battle(self) -> bool:
        """Return whether it has no texts."""
        return "prompt" not in self.row and "messages" not in self.row

    @property
    def is_plain(self) -> bool:
        """Return whether the pair is one prompt with two answers."""
        return isinstance(self.row.get("prompt"), str) and "response_a" in self.row


@dataclass(slots=True)
class Options:
    """Options for writing a dataset.

    Args:
        seed: Draws which answer is shown first.
        labels: Whether the votes there are go into a file that people label.
        folder: Where temporary files go.
    """

    seed: int = 0
    labels: bool = False
    folder: Path | None = None
    _seen: sqlite3.Connection | None = field(default=None, repr=False)

    def is_first(self, key: str) -> bool:
        """Return whether this key is new; the keys seen are kept on disk, in an unnamed file."""
        added = self._keys().execute("INSERT OR IGNORE INTO seen VALUES (?)", (_digest(key),))
        return added.rowcount == 1

    def has_seen(self, key: str) -> bool:
        """Return whether this key was new to `is_first` before."""
        found = self._keys().execute("SELECT 1 FROM seen WHERE key = ?", (_digest(key),))
        return found.fetchone() is not None

    def _keys(self) -> sqlite3.Connection:
        if self._seen is None:
            self._seen = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._seen.execute("CREATE TABLE seen (key BLOB PRIMARY KEY) WITHOUT ROWID")
            self._seen.execute("BEGIN")
        return self._seen

    def close(self) -> None:
        """Close the file of the keys seen."""
        if self._seen is not None:
            with closing(self._seen):
                self._seen = None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()


@dataclass(frozen=True, slots=True)
class Writer:
    """One format to write.

    Args:
        name: By which it is asked for.
        form: How the file holds its rows.
        rows: The rows that a pair becomes; what they cannot hold is added to the loss.
        columns: Of a table.
    """

    name: str
    form: Form
    rows: Callable[[Given, Options, Loss], Iterator[dict[str, Any]]]
    columns: tuple[str, ...] = ()


def count_lost(given: Given, kept: Collection[str], loss: Loss) -> None:
    """Count the parts of a pair that are not among those a format keeps."""
    row = given.row
    if "recorded scores" in kept:
        count_unnamed(given, loss)
    counts = {
        "ids": "id" not in given.derived,
        "groups": "group" not in given.derived,
        "texts": not given.is_battle,
        "models": (row.get("model_a") is not None) + (row.get("model_b") is not None),
        "criteria of pairs": row.get("criterion") is not None,
        "votes": len(row["human"]),
        "recorded scores": len(given.scores),
        "metadata of pairs": bool(row["metadata"]),
    }
    for what, count in counts.items():
        if what not in kept and count:
            loss[what] += int(count)


def count_unnamed(given: Given, loss: Loss) -> None:
    """Count scores of a model and prompt of which nothing but the hash is known."""
    for name, score in given.scores.items():
        if score.fingerprint != recorded_fingerprint(name):
            loss["models and prompts of recorded scores"] += 1


def count_lost_of_scores(given: Given, loss: Loss) -> None:
    """Count recorded scores of which a format with one number a judge keeps less than there is."""
    for score in given.scores.values():
        has_more = bool(score.annotators) or score.p_tie is not None or score.usage.prompt > 0
        if has_more:
            loss["orders, ties and tokens of recorded scores"] += 1


def is_judged(given: Given, loss: Loss) -> bool:
    """Return whether a format of judgements can hold the pair: two models and a judge; else it is lost."""
    row = given.row
    if row.get("model_a") is None or row.get("model_b") is None:
        loss["pairs without two models"] += 1
        return False
    if not given.scores:
        loss["pairs without a recorded judge"] += 1
    return bool(given.scores)


def labels_by_order(score: Score, loss: Loss) -> tuple[str | None, str | None]:
    """Return the verdicts with a shown first and second, as a format of labels has them.

    Where the orders are not known, or not as labels, the nearest label stands for both and is
    counted.
    """
    if score.cost_usd is not None or score.seconds is not None or score.usage.prompt:
        loss["costs, seconds and tokens of recorded scores"] += 1
    if score.p_a is None:
        return None, None
    if len(score.annotators) == 1:
        preferences = preferences_by_order(score.annotators[0])
        found = [None if p is None else p.p_a for p in preferences]
    else:
        found = [score.p_a, score.p_a]
        loss["recorded scores without a label for each order"] += 1
    if any(p not in (None, 0.0, 0.5, 1.0) for p in found):
        loss["probabilities of recorded scores"] += 1
    first, second = (_label(p) for p in found)
    return first, second


def _label(p_a: float | None) -> str | None:
    if p_a is None:
        return None
    return "tie" if p_a == 0.5 else "a" if p_a > 0.5 else "b"


def overall_votes(given: Given, kept: Collection[str], loss: Loss) -> list[Mapping[str, Any]]:
    """Return the votes on the whole; others, and what of these is not kept, are counted."""
    votes = [vote for vote in given.row["human"] if vote.get("criterion", "overall") == "overall"]
    others = len(given.row["human"]) - len(votes)
    if others:
        loss["votes on other criteria"] += others
    for vote in votes:
        if vote.get("annotator") is not None and "annotator" not in kept:
            loss["annotators of votes"] += 1
        if vote.keys() - {"annotator", "label", "criterion"}:
            loss["details of votes"] += 1
    return votes
