"""Every format by name; detection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.formats import (
    alpaca_eval,
    arena_hard,
    argilla,
    battles,
    cje,
    joining,
    judge_bench,
    label_studio,
    lmarena,
    mt_bench,
    openai_batch,
    pointwise,
    preferences,
    reward_bench,
    selective_evaluation,
    tables,
)
from app.formats.base import RowInvalid
from app.formats.columns import flat
from app.formats.columns.verdicts import Heard
from app.formats.joining import Join
from app.formats.writing import Writer

AUTO: Final = "auto"
CANONICAL: Final = "canonical"
OPENAI_BATCH: Final = "openai_batch"
# other names by which a format is asked for
ALIASES: Final = {"evalica": "battles", "arena_rank": "battles"}


def _no_notes(row: Mapping[str, Any]) -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row in the form that its format converts; `is_vote`: it is one vote on its pair."""

    row: Mapping[str, Any]
    is_vote: bool = False


def _as_it_is(row: Mapping[str, Any], heard: Heard) -> Sequence[Prepared]:
    return [Prepared(row)]


def _alpaca_eval(row: Mapping[str, Any], heard: Heard) -> Sequence[Prepared]:
    return [Prepared(one, is_vote="human" in one) for one in alpaca_eval.prepared(row, heard)]


def _prepared(
    variant: Callable[[Mapping[str, Any], Heard], Sequence[Mapping[str, Any]]],
) -> Callable[[Mapping[str, Any], Heard], Sequence[Prepared]]:
    return lambda row, heard: [Prepared(one) for one in variant(row, heard)]


def _canonical(row: Mapping[str, Any], heard: Heard) -> Sequence[Prepared]:
    row = joining.with_id(row)
    if joining.is_vote(row):
        return [Prepared(flat.without_numbers(row, heard))]
    made, is_vote = flat.lowered(row, heard)
    return [Prepared(made, is_vote)]


def _label_studio(row: Mapping[str, Any], heard: Heard) -> Sequence[Prepared]:
    is_vote = label_studio.is_flat(row)
    return [Prepared(one, is_vote) for one in label_studio.prepared(row, heard)]


def _only_joined(row: Mapping[str, Any], line: int) -> Mapping[str, Any]:
    raise RowInvalid("is not a pair by itself: import it with the files it belongs to")


@dataclass(frozen=True, slots=True)
class Dialect:
    """A row format.

    Args:
        name: By which it is asked for.
        fields: What it is known by, for messages.
        matches: Whether a row has its fields.
        convert: Makes a canonical row of one row and its line number.
        has_vote_rows: Every row is a vote of its own, so that equal rows are as many votes;
            elsewhere a row that says nothing new is a repetition.
        has_unique_ids: An id twice is a fault, repetition or not: every row is to be answered by
            itself.
        join: How rows come together that are no pairs by themselves.
        notes: What of a row is not kept, counted.
        prepare: Brings a published variant of the format into the form that `convert` reads, its
            verdicts as declared; one row may hold several pairs.
        keeps_first: Further fields of rows on one pair may differ, as where each judge has a row.
        is_preference: The chosen answer of one row may not be the rejected one of another.
    """

    name: str
    fields: str
    matches: Callable[[Mapping[str, Any]], bool]
    convert: Callable[[Mapping[str, Any], int], Mapping[str, Any]]
    has_vote_rows: bool = False
    has_unique_ids: bool = False
    join: Join | None = None
    notes: Callable[[Mapping[str, Any]], Mapping[str, int]] = _no_notes
    prepare: Callable[[Mapping[str, Any], Heard], Sequence[Prepared]] = _as_it_is
    keeps_first: bool = False
    is_preference: bool = False

    @property
    def is_foreign(self) -> bool:
        """Return whether rows have to be converted."""
        return self.name != CANONICAL


def _is_canonical(row: Mapping[str, Any]) -> bool:
    if lmarena.is_55k(row) or argilla.is_table(row):
        return False
    has_texts = ("prompt" in row or "messages" in row) and any(
        name in row for name in ("response_a", "responses_a", "response_b", "responses_b")
    )
    is_battle = "model_a" in row and "model_b" in row and ("human" in row or "judges" in row)
    return has_texts or is_battle or joining.is_vote(joining.with_id(row))


def _is_mt_bench(row: Mapping[str, Any]) -> bool:
    is_text = mt_bench.is_question(row) or mt_bench.is_answer(row)
    return mt_bench.matches(row) or is_text


def _has_generations(row: Mapping[str, Any]) -> bool:
    return preferences.has_generations(row) and not reward_bench.matches(row)


DIALECTS: Final[dict[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            CANONICAL,
            "prompt or messages, response_a, response_b (or model_a, model_b, human; or id, label)",
            _is_canonical,
            lambda row, line: row,
            join=joining.VOTES_JOIN,
            prepare=_canonical,
        ),
        Dialect(
            "alpaca_eval",
            "instruction, output_1, output_2",
            alpaca_eval.matches,
            alpaca_eval.convert,
            prepare=_alpaca_eval,
            keeps_first=True,
        ),
        Dialect(
            "alpaca_eval_outputs",
            "instruction, output, generator; a file a model",
            alpaca_eval.is_output,
            _only_joined,
            join=alpaca_eval.OUTPUTS_JOIN,
        ),
        Dialect(
            "mt_bench",
            "question_id, model_1, model_2, g1_winner, g2_winner "
            "(or question_id, model_a, model_b, winner, judge; or question_id, turns with "
            "question_id, model_id, choices)",
            _is_mt_bench,
            mt_bench.convert,
            has_vote_rows=True,
            join=mt_bench.ANSWERS_JOIN,
            prepare=_prepared(mt_bench.prepared),
        ),
        Dialect(
            "arena_hard",
            "uid, judge, model, baseline, games (or uid, prompt with uid, model, messages)",
            arena_hard.matches,
            _only_joined,
            join=arena_hard.JOIN,
            prepare=_prepared(arena_hard.prepared),
        ),
        Dialect(
            "lmarena_55k",
            "prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie",
            lmarena.is_55k,
            lmarena.convert_55k,
            notes=lmarena.notes_55k,
        ),
        Dialect(
            "lmarena_140k",
            "model_a, model_b, winner, conversation_a, conversation_b (or messages_a, messages_b)",
            lmarena.is_140k,
            lmarena.convert_140k,
            notes=lmarena.notes_140k,
            prepare=_prepared(lmarena.prepared_140k),
        ),
        Dialect(
            "reward_bench",
            "prompt, chosen, rejected",
            reward_bench.matches,
            reward_bench.convert,
            prepare=_prepared(preferences.prepared),
            is_preference=True,
        ),
        Dialect(
            "judge_bench",
            "question, response_A, response_B, label",
            judge_bench.matches,
            judge_bench.convert,
            prepare=_prepared(judge_bench.prepared),
            keeps_first=True,
        ),
        Dialect(
            "battles",
            "left, right, winner (or model_a, model_b, winner)",
            battles.matches,
            battles.convert,
            prepare=_prepared(battles.prepared),
        ),
        Dialect(
            OPENAI_BATCH,
            "custom_id, method, url, body",
            openai_batch.matches,
            openai_batch.convert,
            has_unique_ids=True,
        ),
        Dialect(
            "selective_evaluation",
            "instruction, outputs, preferences, probs; a file a judge",
            selective_evaluation.matches,
            _only_joined,
            join=selective_evaluation.JOIN,
            prepare=_prepared(selective_evaluation.prepared),
        ),
        Dialect(
            "cje",
            "prompt_id, response, judge_score, oracle_label; a file a policy",
            cje.matches,
            _only_joined,
            join=cje.JOIN,
        ),
        Dialect(
            "pointwise",
            "prompt or messages, response, model, human with scores (or score, annotator)",
            pointwise.matches,
            _only_joined,
            join=pointwise.JOIN,
            prepare=_prepared(pointwise.prepared),
        ),
        Dialect(
            "label_studio",
            "data with two texts, annotations",
            label_studio.matches,
            label_studio.convert,
            notes=label_studio.notes,
            prepare=_label_studio,
        ),
        Dialect(
            "argilla",
            "fields with prompt, response1, response2; responses",
            argilla.matches,
            argilla.convert,
            prepare=_prepared(argilla.prepared),
        ),
        Dialect(
            "distilabel",
            "instruction, generations, ratings",
            _has_generations,
            lambda row, line: row,
            prepare=_prepared(preferences.generation_pairs),
        ),
    )
}


def candidates(row: Mapping[str, Any]) -> list[Dialect]:
    """Return every format whose fields the row has.

    A row in no other format that has a prompt and two answers under other names is canonical.
    """
    found = [dialect for dialect in DIALECTS.values() if dialect.matches(row)]
    return found or ([DIALECTS[CANONICAL]] if flat.matches(row) else [])


def known_formats() -> dict[str, str]:
    """List every format by name with its typical fields, for a message."""
    return {dialect.name: dialect.fields for dialect in DIALECTS.values()}


WRITERS: Final[dict[str, Writer]] = {
    writer.name: writer
    for writer in (
        Writer("canonical", "lines", tables.canonical_rows),
        Writer("csv", "csv", tables.csv_rows, tables.COLUMNS),
        Writer("parquet", "parquet", tables.rows, tables.COLUMNS),
        Writer("alpaca_eval", "array", alpaca_eval.rows),
        Writer("mt_bench", "lines", mt_bench.rows),
        Writer("arena_hard", "lines", arena_hard.rows),
        Writer("reward_bench", "lines", reward_bench.rows),
        Writer("evalica", "csv", battles.evalica_rows, battles.FIELDS),
        Writer("arena_rank", "csv", battles.arena_rank_rows, battles.MODEL_FIELDS),
        Writer("cje", "lines", cje.rows),
        Writer("pointwise", "lines", pointwise.rows),
        Writer("label_studio", "array", label_studio.rows),
        Writer("argilla", "array", argilla.rows),
        Writer("openai_batch", "lines", openai_batch.rows),
    )
}
