"""Finds and stores datasets, pairs, votes and recorded scores.

Texts are loaded only where they are asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Stores, rfc3339
from app.core.errors import NotFound
from app.core.lists import Page, Paging, fetch_page, page_of
from app.core.models import Dataset
from app.core.names import hint, is_name, shown
from app.datasets import pair_queries, stored_pairs, vote_queries
from app.datasets.records import (
    Candidate,
    PairKey,
    Vote,
    candidate_from_row,
    judged_from_row,
    key_from_row,
    pair_from_row,
    vote_from_row,
)
from app.datasets.score_columns import score_from_row
from judges.types import Pair, Score

if TYPE_CHECKING:
    from app.datasets.splits import Part

_NO_SCORES: Final[dict[str, Score]] = {}


async def find_dataset(
    session: AsyncSession, ref: str, loc: Sequence[str] = ("body", "dataset")
) -> Dataset:
    """Return the dataset of this id, else of this name.

    Args:
        session: A transaction.
        ref: The id or the name.
        loc: The field of the request that names it, with the place it is in.

    Raises:
        NotFound: unknown id and name.
    """
    dataset = await pair_queries.dataset_by_ref(session, ref) if is_name(ref) else None
    if dataset is None:
        raise NotFound.field(loc[1:], await unknown_dataset(session, ref), place=loc[0])
    return dataset


def show(dataset: Dataset) -> dict[str, Any]:
    """Return a dataset as users see it."""
    return {
        "object": "dataset",
        "id": dataset.id,
        "name": dataset.name,
        "dialect": dataset.dialect,
        "pairs": dataset.pairs,
        "groups": dataset.groups,
        "labels": dataset.labels,
        "annotators": dataset.annotators,
        "recorded_judges": dataset.recorded_judges,
        # as they are kept: a file is named where there were several
        "rejected": list(dataset.rejected),
        "rejected_count": dataset.rejected_count,
        "unmatched": 0,
        "warnings": [],
        "created_at": rfc3339(dataset.created_at),
    }


async def look(running: Stores, ref: str, loc: Sequence[str] = ("path", "ref")) -> dict[str, Any]:
    """Return a dataset as users see it, by its id or name.

    Raises:
        NotFound: unknown id and name.
    """
    async with running.db.read() as session:
        return show(await find_dataset(session, ref, loc))


async def page(running: Stores, paging: Paging) -> Page:
    """Return one page of datasets as users see them."""
    async with running.db.read() as session:
        rows = await dataset_page(session, paging)
    return page_of(rows, paging.limit, show)


async def find_datasets(session: AsyncSession, refs: Iterable[str]) -> dict[str, Dataset]:
    """Return the datasets of these ids or names, as far as there are any; one query for all."""
    possible = [ref for ref in refs if is_name(ref)]
    found = await pair_queries.datasets_by_refs(session, possible)
    known = {one.name: one for one in found} | {one.id: one for one in found}
    return {ref: known[ref] for ref in possible if ref in known}


async def unknown_dataset(session: AsyncSession, ref: str) -> str:
    """Say that no dataset has this id or name, and which one may have been meant."""
    names = await pair_queries.newest_names(session)
    see = "GET /v1/datasets" if names else "tribunal import FILE"
    return f"there is no dataset {shown(ref)}{hint(ref, names, see=see)}"


async def pair_keys(
    session: AsyncSession, dataset: Dataset, part: Part | None = None
) -> list[PairKey]:
    """Return the pairs of a dataset, or of one part of it, in order of position, without texts.

    The split is made over the groups of the whole dataset, battles included.
    """
    known: dict[str, str] = {}
    keys = [key_from_row(row, known) async for row in pair_queries.key_rows(session, dataset.seq)]
    if part is None:
        return keys
    from app.datasets.splits import (
        membership,  # only what splits needs it: pydantic is slow to load
    )

    member = membership(part, {key.group for key in keys})
    return [key for key in keys if member.holds(key.group)]


def scan(
    session: AsyncSession, dataset: Dataset
) -> AsyncIterator[Row[int, int, str, str | None, str | None]]:
    """Yield seq, position, group and hashes of every pair, however many there are."""
    return pair_queries.scan(session, dataset.seq)


async def distinct_groups(session: AsyncSession, dataset: Dataset) -> Sequence[str]:
    """Return the groups of a dataset, battles included."""
    return await pair_queries.distinct_groups(session, dataset.seq)


async def read_pairs(
    session: AsyncSession,
    dataset: Dataset,
    *,
    seqs: Sequence[int] | None = None,
    positions: tuple[int, int] | Sequence[int] | None = None,
    with_recorded: bool = True,
) -> list[tuple[PairKey, Pair]]:
    """Return pairs with texts and recorded scores, in order of position; battles are left out.

    Args:
        session: A transaction.
        dataset: Whose pairs.
        seqs: Only these pairs.
        positions: Only positions `[first, last)` as a tuple, or these as a list.
        with_recorded: Whether recorded scores are wanted.
    """
    if isinstance(positions, tuple):
        texts = await pair_queries.judged_rows(session, dataset.seq, *positions)
        seqs = [row[0] for row in texts] if with_recorded else []
        said = await stored_pairs.scores_on(session, seqs)
        return [judged_from_row(row, said.get(row[0], _NO_SCORES)) for row in texts]
    rows = await pair_queries.pair_rows(session, dataset.seq, seqs=seqs, positions=positions)
    judged = [row for row in rows if row.content is not None]
    recorded = await stored_pairs.scores_on(session, [row.seq for row in judged])
    return [(key_from_row(row), pair_from_row(row, recorded.get(row.seq, {}))) for row in judged]


async def votes(
    session: AsyncSession,
    dataset: Dataset,
    criterion: str | None = "overall",
    as_of: datetime | None = None,
) -> dict[int, list[Vote]]:
    """Return the votes by `pair_seq`, in the order they came.

    Those that are current, or were at the moment `as_of`; of one criterion, None = of every one.
    """
    found: defaultdict[int, list[Vote]] = defaultdict(list)
    plain: dict[tuple[str | None, str, str], Vote] = {}
    async for row in vote_queries.vote_rows(session, dataset.seq, criterion, as_of):
        vote = vote_from_row(row)
        # votes that say the same are one object: there are few annotators and many votes
        same = (
            vote
            if vote.details
            else plain.setdefault((vote.annotator, vote.label, vote.criterion), vote)
        )
        found[row.pair_seq].append(same)
    return dict(found)


async def recorded_scores(
    session: AsyncSession,
    dataset: Dataset,
    patterns: Sequence[str] | None = None,
    span: tuple[int, int] | None = None,
) -> dict[int, dict[str, Score]]:
    """Return recorded scores by `pair_seq` and judge.

    Args:
        session: A transaction.
        dataset: Whose pairs.
        patterns: Names of judges or globs over them (`GPT-4/*`), case matters; None = all.
        span: Of pairs from one `pair_seq` to another; None = all.
    """
    found: defaultdict[int, dict[str, Score]] = defaultdict(dict)
    judges = matching(dataset, patterns)
    async for row in vote_queries.recorded_by(session, dataset.seq, judges, span):
        found[row.pair_seq][row.judge] = score_from_row(row)
    return dict(found)


async def responses(
    session: AsyncSession, seqs: Sequence[int]
) -> AsyncIterator[dict[int, tuple[str, str]]]:
    """Yield both responses of these pairs by `pair_seq`, some hundred pairs at a time.

    The turns of a response are joined by line ends; battles, which have no texts, are left out.
    """
    async for rows in pair_queries.contents(session, seqs):
        yield {
            row.seq: ("\n".join(row.content["responses_a"]), "\n".join(row.content["responses_b"]))
            for row in rows
            if row.content is not None
        }


async def recorded_fingerprints(session: AsyncSession, dataset: Dataset, judge: str) -> set[str]:
    """Return the fingerprints that a recorded judge's scores have, failures apart."""
    return set(await vote_queries.fingerprints_of(session, dataset.seq, judge))


def matching(dataset: Dataset, patterns: Sequence[str] | None) -> list[str]:
    """Return the recorded judges of a dataset whose names equal or match one of the patterns."""
    names = dataset.recorded_judges
    if patterns is None:
        return list(names)
    return [n for n in names if any(n == glob or fnmatchcase(n, glob) for glob in patterns)]


async def pair_seqs(session: AsyncSession, dataset: Dataset, ids: Sequence[str]) -> dict[str, int]:
    """Return the `pair_seq` of each of these ids that the dataset has."""
    return await pair_queries.seqs_by_id(session, dataset.seq, [id for id in ids if is_name(id)])


async def pairs_by_prompt(
    session: AsyncSession, dataset: Dataset, hashes: Collection[str]
) -> dict[str, list[Candidate]]:
    """Return the pairs whose prompt has one of these hashes, by the hash."""
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    for row in await pair_queries.rows_by_prompt(session, dataset.seq, sorted(hashes)):
        found[row.prompt_hash].append(candidate_from_row(row))
    return dict(found)


async def candidates(
    session: AsyncSession, dataset: Dataset, seqs: Sequence[int]
) -> dict[int, Candidate]:
    """Return these pairs by their `pair_seq`."""
    rows = await pair_queries.pair_rows(session, dataset.seq, seqs=seqs, positions=None)
    return {row.seq: candidate_from_row(row) for row in rows}


async def lock(session: AsyncSession, known: Iterable[Dataset]) -> None:
    """Make other transactions that change these datasets' labels wait for this one."""
    await pair_queries.lock(session, {dataset.seq for dataset in known})


async def dataset_named(session: AsyncSession, name: str) -> Dataset | None:
    """Return the dataset of this name."""
    return await pair_queries.dataset_by_name(session, name)


async def keys_in_order(session: AsyncSession, dataset: Dataset) -> AsyncIterator[PairKey]:
    """Yield the pairs of a dataset by position, without their texts and few of them in memory."""
    async for row in pair_queries.key_rows(session, dataset.seq):
        yield key_from_row(row)


async def add_pairs(
    session: AsyncSession, dataset: Dataset, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Store pairs of a dataset, by column names, with JSON as text."""
    await pair_queries.insert_pairs(session, [{**row, "dataset_seq": dataset.seq} for row in rows])


async def seqs_by_position(
    session: AsyncSession, dataset: Dataset, first: int, last: int
) -> dict[int, int]:
    """Return the `pair_seq` of every pair at positions `[first, last)`."""
    return await pair_queries.seqs_by_position(session, dataset.seq, first, last)


async def add_recorded(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store scores that came with pairs, by column names, with JSON as text."""
    await vote_queries.insert_recorded(session, rows)


async def refresh_group_count(session: AsyncSession, dataset: Dataset) -> None:
    """Count the groups of a dataset again after its pairs changed."""
    await pair_queries.set_groups(session, dataset.seq)


async def refresh_pair_count(session: AsyncSession, dataset: Dataset) -> None:
    """Count the pairs and groups of a dataset again after pairs were added."""
    await pair_queries.set_pairs(session, dataset.seq)
    await pair_queries.set_groups(session, dataset.seq)


async def refresh_label_counts(session: AsyncSession, dataset: Dataset) -> None:
    """Bring the label counts of a dataset up to date after its labels changed."""
    await vote_queries.refresh_label_counts(session, dataset.seq)


async def count_labels(session: AsyncSession, dataset: Dataset, more: int | None) -> None:
    """Bring the label counts up to date where a person who has labels there gave so many more.

    None: all labels are counted again, which takes time where there are many.
    """
    if more is None:
        await refresh_label_counts(session, dataset)
    elif more:
        await vote_queries.add_to_labels(session, dataset.seq, more)


async def dataset_page(session: AsyncSession, paging: Paging) -> Sequence[Dataset]:
    """Return one page of datasets and one row more where there is one.

    Raises:
        NotFound: `after` is the id of none.
    """
    return await fetch_page(session, pair_queries.all_datasets(), Dataset, paging)


async def original_votes(session: AsyncSession, dataset: Dataset) -> dict[int, list[Vote]]:
    """Return the votes that came with the import, later replaced or not, by `pair_seq`.

    They never change; a dataset that came without labels gives the current ones.
    """
    found: defaultdict[int, list[Vote]] = defaultdict(list)
    for row in await vote_queries.original_vote_rows(session, dataset):
        found[row.pair_seq].append(vote_from_row(row))
    return dict(found) or await votes(session, dataset)


_PAGE = 1_000

Sides = tuple[Sequence[str], Sequence[str]]


async def response_sides(
    session: AsyncSession, dataset: Dataset
) -> AsyncIterator[tuple[int, Sides]]:
    """Yield the seq of each pair that has texts, and the turns of both its responses."""
    first = 0
    while rows := await pair_queries.page_rows(session, dataset.seq, first, _PAGE):
        for row in rows:
            if row.content is not None:
                yield row.seq, (row.content["responses_a"], row.content["responses_b"])
        first = rows[-1].position + 1
