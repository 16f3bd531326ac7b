"""Reads stored pairs with all that is known of them: texts, labels and recorded scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound
from app.core.lists import Cut, Paging, Rows
from app.core.models import Dataset, Label
from app.core.names import is_name, shown
from app.datasets import pair_queries, vote_queries
from app.datasets.records import PairKey, Vote, key_from_row, pair_from_row, vote_from_row
from app.datasets.score_columns import score_from_row
from judges.types import Pair, Score


@dataclass(frozen=True, slots=True)
class StoredPair:
    """All that is stored of one pair; `pair` is None for a battle."""

    key: PairKey
    pair: Pair | None
    votes: Sequence[Vote]
    recorded: Mapping[str, Score]


async def stored_page(session: AsyncSession, dataset: Dataset, paging: Paging) -> Rows[StoredPair]:
    """Return one page of pairs with all that is stored of them, and one more where there is one.

    A page of very long pairs ends early.

    Raises:
        NotFound: `after` is the id of no pair of the dataset.
    """
    after, position = paging.after, None
    if after is not None:
        position = await position_of(session, dataset, after)
        if position is None:
            raise NotFound(f"after: there is no {shown(after)} in this dataset")
    rows = await pair_queries.asked_rows(session, dataset.seq, paging, position)
    seqs = [row.seq for row in rows]
    recorded = await scores_on(session, seqs)
    found = await votes_on(session, seqs)
    return rows.map(
        lambda row: StoredPair(
            key=key_from_row(row),
            pair=None if row.content is None else pair_from_row(row, recorded.get(row.seq, {})),
            votes=found[row.seq],
            recorded=recorded.get(row.seq, {}),
        )
    )


async def stored_pair(session: AsyncSession, dataset: Dataset, pair_id: str) -> StoredPair:
    """Return all that is stored of one pair.

    Raises:
        NotFound: the dataset has none of this id.
    """
    position = await position_of(session, dataset, pair_id)
    if position is None:
        raise NotFound(f"there is no pair {shown(pair_id)} in dataset {shown(dataset.name)}")
    one = Paging(1, None, "asc")
    [row, *_] = await pair_queries.asked_rows(session, dataset.seq, one, position - 1)
    recorded = (await scores_on(session, [row.seq])).get(row.seq, {})
    return StoredPair(
        key=key_from_row(row),
        pair=None if row.content is None else pair_from_row(row, recorded),
        votes=(await votes_on(session, [row.seq]))[row.seq],
        recorded=recorded,
    )


async def votes_on(session: AsyncSession, seqs: Sequence[int]) -> defaultdict[int, list[Vote]]:
    """Return the current votes on these pairs, in the order they came, by `pair_seq`."""
    found: defaultdict[int, list[Vote]] = defaultdict(list)
    for row in await vote_queries.votes_on(session, seqs):
        found[row.pair_seq].append(vote_from_row(row))
    return found


async def scores_on(
    session: AsyncSession, seqs: Sequence[int], judges: Sequence[str] | None = None
) -> dict[int, dict[str, Score]]:
    """Return the recorded scores of these pairs, by `pair_seq` and judge; None = every judge's."""
    found: defaultdict[int, dict[str, Score]] = defaultdict(dict)
    async for row in vote_queries.recorded_on(session, seqs, judges):
        found[row.pair_seq][row.judge] = score_from_row(row)
    return dict(found)


async def position_of(session: AsyncSession, dataset: Dataset, pair_id: str) -> int | None:
    """Return the position of a pair, None where the dataset has none of this id."""
    if not is_name(pair_id):
        return None
    return await pair_queries.position_of(session, dataset.seq, pair_id)


async def neighbours(
    session: AsyncSession, dataset: Dataset, position: int
) -> tuple[str | None, str | None]:
    """Return the ids of the pairs before and behind a position."""
    return (
        await pair_queries.id_beside(session, dataset.seq, position, behind=False),
        await pair_queries.id_beside(session, dataset.seq, position, behind=True),
    )


async def label_history(session: AsyncSession, pair_seq: int, most: int) -> Sequence[Label]:
    """Return the labels of a pair, replaced ones too, the newest first."""
    return await vote_queries.history_of(session, pair_seq, most)


async def related(
    session: AsyncSession, dataset: Dataset, key: PairKey, most: int
) -> list[PairKey]:
    """Return other pairs of the same prompt, then others of the same group, each by position."""
    rows = await pair_queries.related_rows(session, dataset.seq, key, most)
    return [key_from_row(row) for row in rows]


async def windows(
    session: AsyncSession, dataset: Dataset, after: int, size: int, *, with_texts: bool = False
) -> tuple[list[tuple[PairKey, str | None]], bool]:
    """Return the next pairs behind a position, and whether there are more behind these.

    Args:
        session: A transaction.
        dataset: Whose pairs.
        after: The position of the last pair already seen; -1 for none.
        size: How many pairs; fewer where their texts are very long.
        with_texts: Whether each comes with its texts, without regard to case.
    """
    if not with_texts:
        keys = await pair_queries.keys_behind(session, dataset.seq, after, size + 1)
        return [(key_from_row(row), None) for row in keys[:size]], len(keys) > size
    rows = await pair_queries.page_rows(session, dataset.seq, after + 1, size + 1)
    has_more = len(rows) > size or isinstance(rows, Cut)
    return [(key_from_row(row), _all_texts(row.content)) for row in rows[:size]], has_more


def _all_texts(content: Mapping[str, Any] | None) -> str:
    if content is None:
        return ""
    said = [text for _, text in content["conversation"]]
    return "\n".join([*said, *content["responses_a"], *content["responses_b"]]).casefold()


async def prompts_of(session: AsyncSession, seqs: Sequence[int]) -> dict[int, str]:
    """Return the first user turn of each of these pairs that has texts, by `pair_seq`."""
    found = {}
    async for rows in pair_queries.contents(session, seqs):
        for row in rows:
            turns = row.content["conversation"] if row.content is not None else ()
            said = next((text for role, text in turns if role == "user"), None)
            if said is not None:
                found[row.seq] = said
    return found
