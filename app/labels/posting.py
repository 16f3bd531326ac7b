"""Posts labels, by the names of datasets and pairs, and lists stored ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import rfc3339
from app.core.errors import NotFound, Unprocessable
from app.core.field_errors import named
from app.core.lists import Page, Paging, page_of
from app.core.models import Dataset, Label
from app.core.names import shown
from app.datasets import service as datasets
from app.labels import service
from app.labels.schemas import LabelIn
from app.labels.service import LabelChanges, NewLabel

_PREFIX: Final = "lab_"
_MOST_FAULTS: Final = 100
_MOST_HINTS: Final = 5
_MOST_DIGITS: Final = 18


async def post(session: AsyncSession, posted: Sequence[LabelIn], moment: datetime) -> LabelChanges:
    """Store all labels, or none if one is faulty; the error names its index."""
    known = await datasets.find_datasets(session, {label.dataset for label in posted})
    await datasets.lock(session, known.values())
    seqs = await _places(session, posted, known)
    new = [
        NewLabel(
            seqs[known[label.dataset].seq, label.pair],
            label.annotator,
            label.label,
            label.criterion,
            label.details,
        )
        for label in posted
    ]
    changes = await service.post_labels(session, new, moment)
    for dataset in {dataset.seq: dataset for dataset in known.values()}.values():
        await datasets.refresh_label_counts(session, dataset)
    return changes


async def check(session: AsyncSession, posted: Sequence[LabelIn]) -> None:
    """Refuse what `post` would refuse."""
    known = await datasets.find_datasets(session, {label.dataset for label in posted})
    await _places(session, posted, known)


async def _places(
    session: AsyncSession, posted: Sequence[LabelIn], known: dict[str, Dataset]
) -> dict[tuple[int, str], int]:
    """Return the `pair_seq` of each pair that is labelled, by dataset and id."""
    seqs = await _pair_seqs(session, known, posted)
    _check(posted, known, await _unknown(session, posted, known), seqs)
    return seqs


async def label_page(
    session: AsyncSession,
    dataset_ref: str | None,
    paging: Paging,
    *,
    with_history: bool,
) -> Page:
    """Return one page of labels.

    Raises:
        NotFound: unknown dataset, or `after` is not the id of a label.
    """
    dataset = None if dataset_ref is None else await datasets.find_dataset(session, dataset_ref)
    rows = await service.page_rows(
        session,
        dataset_seq=dataset.seq if dataset else None,
        paging=paging,
        after=_number(paging.after),
        with_history=with_history,
    )
    return page_of(rows, paging.limit, lambda row: _shown(*row))


async def _unknown(
    session: AsyncSession, posted: Sequence[LabelIn], known: Mapping[str, Dataset]
) -> dict[str, str]:
    """Return the message for each unknown dataset; only the first ones get a hint."""
    refs = dict.fromkeys(label.dataset for label in posted if label.dataset not in known)
    hinted = {
        ref: await datasets.unknown_dataset(session, ref) for ref in islice(refs, _MOST_HINTS)
    }
    return {ref: hinted.get(ref, f"there is no dataset {shown(ref)}") for ref in refs}


async def _pair_seqs(
    session: AsyncSession, known: dict[str, Dataset], posted: Sequence[LabelIn]
) -> dict[tuple[int, str], int]:
    seqs: dict[tuple[int, str], int] = {}
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for label in posted:
        ids[label.dataset].add(label.pair)
    for ref, dataset in known.items():
        found = await datasets.pair_seqs(session, dataset, sorted(ids[ref]))
        seqs |= {(dataset.seq, pair_id): seq for pair_id, seq in found.items()}
    return seqs


def _check(
    posted: Sequence[LabelIn],
    known: Mapping[str, Dataset],
    unknown: Mapping[str, str],
    seqs: Mapping[tuple[int, str], int],
) -> None:
    errors: list[dict[str, Any]] = []
    for index, label in enumerate(posted):
        dataset = known.get(label.dataset)
        if dataset is None:
            fault = ("dataset", unknown.get(label.dataset, ""))
        elif (dataset.seq, label.pair) not in seqs:
            fault = ("pair", f"the dataset has no pair {shown(label.pair)}")
        else:
            continue
        errors.append({"loc": ["body", "labels", index, fault[0]], "msg": fault[1]})
    if errors:
        # as everywhere: an unknown dataset is "not found", whatever else is wrong
        refused = Unprocessable if all(_is_of_a_pair(e) for e in errors) else NotFound
        raise refused(
            named(errors, most=1),
            errors=errors[:_MOST_FAULTS],
            extra={"error_count": len(errors)},
        )


def _is_of_a_pair(error: dict[str, Any]) -> bool:
    return bool(error["loc"][-1] == "pair")


def _number(after: str | None) -> int | None:
    if after is None:
        return None
    digits = after.removeprefix(_PREFIX)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise NotFound(f"after: {shown(after)} is no id of a label")
    return int(digits)


def _shown(label: Label, pair: str, dataset: str) -> dict[str, Any]:
    return {
        **label.details,
        "object": "label",
        "id": f"{_PREFIX}{label.seq}",
        "dataset": dataset,
        "pair": pair,
        "annotator": label.annotator,
        "label": label.label,
        "criterion": label.criterion,
        "created_at": rfc3339(label.created_at),
        "replaced_at": label.replaced_at and rfc3339(label.replaced_at),
    }
