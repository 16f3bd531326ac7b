"""Rows of pairs with their texts, read and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from app.datasets.keys import PairKey as PairKey
from app.datasets.keys import Vote as Vote
from app.datasets.keys import vote_from_row as vote_from_row
from app.db import texts_from_json
from judges.types import Message, Pair, Score


def judged_from_row(row: Sequence[Any], recorded: dict[str, Score]) -> tuple[PairKey, Pair]:
    """Make key and pair of a row of `queries.judged_rows`, of which batches read very many."""
    seq, position, name, group, prompt, content, swapped, model_a, model_b, details, texts = row
    metadata = json.loads(details) if details != "{}" else {}
    key = PairKey(seq, position, name, group, prompt, content, swapped, model_a, model_b, metadata)
    said = texts_from_json(texts)
    pair = Pair(
        name,
        tuple([Message(role, text) for role, text in said["conversation"]]),
        tuple(said["responses_a"]),
        tuple(said["responses_b"]),
        model_a,
        model_b,
        said["criterion"],
        recorded,
    )
    return key, pair


def pair_content(pair: Pair) -> dict[str, Any]:
    """Return the texts of a pair as its row keeps them."""
    return {
        "conversation": [[turn.role, turn.content] for turn in pair.conversation],
        "responses_a": pair.responses_a,
        "responses_b": pair.responses_b,
        "criterion": pair.criterion,
    }


def pair_from_row(row: Row[Any], recorded: dict[str, Score]) -> Pair:
    """Return the pair whose texts a row keeps."""
    content = row.content
    return Pair(
        id=row.id,
        conversation=tuple(Message(role, text) for role, text in content["conversation"]),
        responses_a=tuple(content["responses_a"]),
        responses_b=tuple(content["responses_b"]),
        model_a=row.model_a,
        model_b=row.model_b,
        criterion=content["criterion"],
        recorded=recorded,
    )
