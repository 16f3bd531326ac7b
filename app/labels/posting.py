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
from app.core.http.field_errors import named
from app.core.lists import Page, Paging, page_of
from app.core.models import Dataset, Label
from app.core.names import shown
from app.datasets import service as datasets
from app.formats.base import trim
from app.labels import service
from app.labels.finding import Place, Wanted, place_of
from app.labels.schemas import LabelIn
from app.labels.service import LabelChanges, NewLabel
from judges.probability import swap_label

_PREFIX: Final = "lab_"
_MOST_FAULTS: Final = 100
_MOST_HINTS: Final = 5
_MOST_DIGITS: Final = 18


async def post(session: AsyncSession, posted: Sequence[LabelIn], moment: datetime) -> LabelChanges:
    """Store all labels, or none if one is faulty; the error names its index."""
    known = await datasets.find_datasets(session, {label.dataset for label in posted})
    await datasets.lock(session, known.values())
    places = await _places(session, posted, known)
    new = [_new_label(label, place) for label, place in zip(posted, places, strict=True)]
    changes = await service.post_labels(session, new, moment)
    for dataset in {dataset.seq: dataset for dataset in known.values()}.values():
        await datasets.refresh_label_counts(session, dataset)
    return changes


async def check(session: AsyncSession, posted: Sequence[LabelIn]) -> None:
    """Refuse what `post` would refuse."""
    known = await datasets.find_datasets(session, {label.dataset for label in posted})
    await _places(session, posted, known)


def _new_label(label: LabelIn, place: Place) -> NewLabel:
    said, details = label.label, label.details
    if place.is_turned:
        said = swap_label(said)
        if "first_shown" in details:
            details["first_shown"] = swap_label(details["first_shown"])
    return NewLabel(place.pair_seq, label.annotator, said, label.criterion, details)


async def _places(
    session: AsyncSession, posted: Sequence[LabelIn], known: dict[str, Dataset]
) -> list[Place]:
    """Return the pair that each label is on."""
    seqs = await _pair_seqs(session, known, posted)
    by_prompt = await _by_prompt(session, known, posted)
    found: list[Place | str] = []
    for index, label in enumerate(posted):
        dataset = known.get(label.dataset)
        if dataset is None:
            found.append("")
        elif label.pair is None:
            found.append(by_prompt[index])
        elif (seq := seqs.get((dataset.seq, label.pair))) is not None:
            found.append(Place(seq))
        else:
            found.append(f"the dataset has no pair {shown(label.pair)}")
    _check(posted, found, await _unknown(session, posted, known), known)
    return [place for place in found if isinstance(place, Place)]


async def _by_prompt(
    session: AsyncSession, known: Mapping[str, Dataset], posted: Sequence[LabelIn]
) -> dict[int, Place | str]:
    """Return the pairs that labels name by their prompt, or why none is meant, by index."""
    found: dict[int, Place | str] = {}
    by_dataset: defaultdict[str, dict[int, Wanted]] = defaultdict(dict)
    for index, label in enumerate(posted):
        if label.prompt is not None:
            one = Wanted(label.prompt, label.model_a, label.model_b)
            by_dataset[label.dataset][index] = one
    for ref, dataset in known.items():
        if wanted := by_dataset.get(ref):
            hashes = {one.prompt_hash for one in wanted.values()}
            pairs = await datasets.pairs_by_prompt(session, dataset, hashes)
            found |= {index: place_of(one, pairs) for index, one in wanted.items()}
    return found


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
    return page_of(rows, paging.limit, lambda row: shown_label(*row))


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
        if label.pair is not None:
            ids[label.dataset].add(label.pair)
    for ref, dataset in known.items():
        # an import trims the names of pairs, but what was stored before may have blanks around it
        wanted = sorted({*ids[ref], *map(trim, ids[ref])})
        there = await datasets.pair_seqs(session, dataset, wanted)
        for pair_id in ids[ref]:
            seq = there.get(pair_id, there.get(trim(pair_id)))
            if seq is not None:
                seqs[dataset.seq, pair_id] = seq
    return seqs


def _check(
    posted: Sequence[LabelIn],
    found: Sequence[Place | str],
    unknown: Mapping[str, str],
    known: Mapping[str, Dataset],
) -> None:
    errors: list[dict[str, Any]] = []
    for index, (label, place) in enumerate(zip(posted, found, strict=True)):
        if isinstance(place, Place):
            continue
        if label.dataset not in known:
            fault = ("dataset", unknown.get(label.dataset, ""))
        else:
            fault = ("prompt" if label.pair is None else "pair", place)
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
    return error["loc"][-1] in ("pair", "prompt")


def _number(after: str | None) -> int | None:
    if after is None:
        return None
    digits = after.removeprefix(_PREFIX)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise NotFound(f"after: {shown(after)} is no id of a label")
    return int(digits)


def shown_label(label: Label, pair: str, dataset: str) -> dict[str, Any]:
    """Return a label as users see it."""
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
