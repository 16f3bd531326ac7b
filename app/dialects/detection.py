"""Which format a file is in: told by name, or by the fields of its first rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.dialects import alpaca_eval, battles, mt_bench, openai_batch, reward_bench

AUTO: Final = "auto"
CANONICAL: Final = "canonical"
OPENAI_BATCH: Final = "openai_batch"


@dataclass(frozen=True, slots=True)
class Dialect:
    """A row format.

    `convert` makes a canonical row of one row and its line number. `has_vote_rows` says that every
    row is a vote of its own, so that equal rows are as many votes; elsewhere a row that says
    nothing new is a repetition. `has_unique_ids` says that an id twice is a fault, repetition or
    not: every row is to be answered by itself.
    """

    name: str
    fields: str
    matches: Callable[[Mapping[str, Any]], bool]
    convert: Callable[[Mapping[str, Any], int], Mapping[str, Any]]
    has_vote_rows: bool = False
    has_unique_ids: bool = False

    @property
    def is_foreign(self) -> bool:
        """Whether rows have to be converted."""
        return self.name != CANONICAL


def _is_canonical(row: Mapping[str, Any]) -> bool:
    has_texts = ("prompt" in row or "messages" in row) and any(
        name in row for name in ("response_a", "responses_a", "response_b", "responses_b")
    )
    is_battle = "model_a" in row and "model_b" in row and ("human" in row or "judges" in row)
    return has_texts or is_battle


DIALECTS: Final[dict[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            CANONICAL,
            "prompt or messages, response_a, response_b (or model_a, model_b, human)",
            _is_canonical,
            lambda row, line: row,
        ),
        Dialect(
            "alpaca_eval",
            "instruction, output_1, output_2",
            alpaca_eval.matches,
            alpaca_eval.convert,
        ),
        Dialect(
            "mt_bench",
            "question_id, model_1, model_2, g1_winner, g2_winner "
            "(or question_id, model_a, model_b, winner, judge)",
            mt_bench.matches,
            mt_bench.convert,
            has_vote_rows=True,
        ),
        Dialect(
            "reward_bench", "prompt, chosen, rejected", reward_bench.matches, reward_bench.convert
        ),
        Dialect(
            "battles",
            "left, right, winner (or model_a, model_b, winner)",
            battles.matches,
            battles.convert,
        ),
        Dialect(
            OPENAI_BATCH,
            "custom_id, method, url, body",
            openai_batch.matches,
            openai_batch.convert,
            has_unique_ids=True,
        ),
    )
}


def candidates(row: Mapping[str, Any]) -> list[Dialect]:
    """Return every format whose fields the row has."""
    return [dialect for dialect in DIALECTS.values() if dialect.matches(row)]


def known_formats() -> str:
    """Return every format with its fields, for a message."""
    return "; ".join(f"{dialect.name}: {dialect.fields}" for dialect in DIALECTS.values())
