"""Posts labels, by the names of datasets and pairs, and lists stored ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.datasets import CheckedBody, LabelsBody, OutcomesBody
from app.core.db import rfc3339
from app.core.errors import NotFound, Unprocessable
from app.core.http.field_errors import named
from app.core.lists import Page, Paging, page_of
from app.core.models import Dataset, Label
from app.core.names import shown
from app.core.pools import beside_if_many
from app.datasets import service as datasets
from app.datasets.records import Candidate
from app.formats.base import RowInvalid, trim, whole_text
from app.formats.columns.verdicts import BOTH_BAD
from app.labels import service
from app.labels.finding import Place, Wanted, others_than, place_in, place_of
from app.labels.schemas import LabelIn
from app.labels.service import NewLabel
from judges.probability import parse_label, swap_label

_PREFIX: Final = "lab_"
_MOST_FAULTS: Final = 100
_MOST_HINTS: Final = 5
_MOST_DIGITS: Final = 18
# labels that a check shows
_MOST_ROWS: Final = 3


async def post(session: AsyncSession, posted: Sequence[LabelIn], moment: datetime) -> LabelsBody:
    """Store all labels, or none if one is faulty; the error names its index."""
    known = await datasets.find_datasets(session, {label.dataset for label in posted})
    await datasets.lock(session, known.values())
    new = await _new_labels(session, posted, known)
    changes = await service.post_labels(session, new, moment)
    for dataset in {dataset.seq: dataset for dataset in known.values()}.values():
        await datasets.refresh_label_counts(session, dataset)
    tally = await beside_if_many(len(new), _Tally.of, new)
    return {
        "accepted": len(posted),
        "replaced": changes.replaced,
        "unchanged": changes.unchanged,
        "contradicted": changes.contradicted,
        "labels": tally.outcomes,
        "turned": tally.turned,
    }


async def check(session: AsyncSession, posted: Sequence[LabelIn]) -> CheckedBody:
    """Refuse what `post` would refuse, and show the first labels as it would store them."""
    known = await datasets.find_datasets(session, {label.dataset for label in posted})
    new = await _new_labels(session, posted, known)
    ids = await service.pair_ids(session, [label.pair_seq for label in new[:_MOST_ROWS]])
    tally = await beside_if_many(len(new), _Tally.of, new)
    return {
        "checked": len(posted),
        "contradicted": await beside_if_many(len(new), service.contradicted, new),
        "labels": tally.outcomes,
        "turned": tally.turned,
        "rows": [
            {
                "dataset": known[one.dataset].id,
                "pair": ids[label.pair_seq],
                "annotator": label.annotator,
                "label": label.label,
                "criterion": label.criterion,
                **label.details,
            }
            for one, label in zip(posted, new[:_MOST_ROWS], strict=False)
        ],
    }


class _Tally(NamedTuple):
    """What labels say of the pairs as they are stored, and how many were turned."""

    outcomes: OutcomesBody
    turned: int

    @classmethod
    def of(cls, labels: Sequence[NewLabel]) -> _Tally:
        """Return the counts of labels."""
        n = Counter([label.label for label in labels])
        turned = sum([label.is_turned for label in labels])
        return cls({"a": n["a"], "b": n["b"], "tie": n["tie"]}, turned)


def _new_label(label: LabelIn, place: Place) -> NewLabel:
    details = label.kept
    said = place.side_of(label.winner or "") if label.label is None else label.label
    if said == BOTH_BAD:
        said, details["both_bad"] = "tie", True
    if place.is_turned:
        said = swap_label(parse_label(said))
        if "first_shown" in details:
            details["first_shown"] = swap_label(details["first_shown"])
    return NewLabel(
        place.pair_seq, label.annotator, said, label.criterion, details, place.is_turned
    )


async def _new_labels(
    session: AsyncSession, posted: Sequence[LabelIn], known: dict[str, Dataset]
) -> list[NewLabel]:
    """Return each label on its pair; refuse all if one is faulty."""
    by_id = await _by_id(session, known, posted)
    by_prompt = await _by_prompt(session, known, posted)
    unknown = await _unknown(session, posted, known)
    places = {**by_id, **by_prompt}
    return await beside_if_many(len(posted), _placed, posted, known.keys(), places, unknown)


def _placed(
    posted: Sequence[LabelIn],
    known: Collection[str],
    places: Mapping[int, Place | str],
    unknown: Mapping[str, str],
) -> list[NewLabel]:
    """Return each label on its place; refuse all if one has none, or cannot be read there."""
    found: list[NewLabel | _Fault] = []
    for index, label in enumerate(posted):
        if label.dataset not in known:
            found.append(_Fault("dataset", ""))
            continue
        place = places[index]
        if isinstance(place, str):
            found.append(_Fault("prompt" if label.pair is None else "pair", place))
            continue
        try:
            found.append(_new_label(label, place))
        except RowInvalid as error:
            found.append(_Fault("label" if label.winner is None else "winner", str(error)))
    _check(posted, found, unknown)
    return [label for label in found if isinstance(label, NewLabel)]


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is wrong with a field of a label."""

    field: str
    message: str


async def _by_id(
    session: AsyncSession, known: Mapping[str, Dataset], posted: Sequence[LabelIn]
) -> dict[int, Place | str]:
    """Return the pairs that labels name by their id, or why none is meant, by index."""
    seqs = await _pair_seqs(session, known, posted)
    found: dict[int, Place | str] = {}
    to_read: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for index, label in enumerate(posted):
        dataset = known.get(label.dataset)
        if dataset is None or label.pair is None:
            continue
        seq = seqs.get((dataset.seq, label.pair))
        if seq is None:
            found[index] = f"the dataset has no pair {shown(label.pair)}"
        elif label.winner is None and label.response_a is None and label.model_a is None:
            found[index] = Place(seq)
        else:
            to_read[label.dataset][index] = seq
    for ref, wanted in to_read.items():
        pairs = await datasets.candidates(session, known[ref], sorted(set(wanted.values())))
        found |= await beside_if_many(len(wanted), _places_in, posted, wanted, pairs)
    return found


def _places_in(
    posted: Sequence[LabelIn], wanted: Mapping[int, int], pairs: Mapping[int, Candidate]
) -> dict[int, Place | str]:
    return {
        index: place_in(_wanted(posted[index]), pairs[seq])
        or others_than(_wanted(posted[index]), pairs[seq])
        for index, seq in wanted.items()
    }


def _wanted(label: LabelIn) -> Wanted:
    return Wanted(
        label.prompt or "", label.model_a, label.model_b, label.response_a, label.response_b
    )


async def _by_prompt(
    session: AsyncSession, known: Mapping[str, Dataset], posted: Sequence[LabelIn]
) -> dict[int, Place | str]:
    """Return the pairs that labels name by their prompt, or why none is meant, by index."""
    found: dict[int, Place | str] = {}
    by_dataset: defaultdict[str, dict[int, Wanted]] = defaultdict(dict)
    for index, label in enumerate(posted):
        if label.prompt is not None:
            by_dataset[label.dataset][index] = _wanted(label)
    for ref, dataset in known.items():
        if wanted := by_dataset.get(ref):
            hashes = {one.prompt_hash for one in wanted.values()}
            pairs = await datasets.pairs_by_prompt(session, dataset, hashes)
            found |= await beside_if_many(len(wanted), _places_of, wanted, pairs)
    return found


def _places_of(
    wanted: Mapping[int, Wanted], pairs: Mapping[str, Sequence[Candidate]]
) -> dict[int, Place | str]:
    return {index: place_of(one, pairs) for index, one in wanted.items()}


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
    session: AsyncSession, known: Mapping[str, Dataset], posted: Sequence[LabelIn]
) -> dict[tuple[int, str], int]:
    seqs: dict[tuple[int, str], int] = {}
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for label in posted:
        if label.pair is not None:
            ids[label.dataset].add(label.pair)
    for ref, dataset in known.items():
        # an import trims the names of pairs, but what was stored before may have blanks around it
        spellings = {one: (one, trim(one), whole_text(trim(one))) for one in ids[ref]}
        wanted = sorted({name for names in spellings.values() for name in names})
        there = await datasets.pair_seqs(session, dataset, wanted)
        for pair_id, names in spellings.items():
            found = [there[name] for name in names if name in there]
            if found:
                seqs[dataset.seq, pair_id] = found[0]
    return seqs


def _check(
    posted: Sequence[LabelIn],
    found: Sequence[NewLabel | _Fault],
    unknown: Mapping[str, str],
) -> None:
    errors: list[dict[str, Any]] = []
    for index, (label, fault) in enumerate(zip(posted, found, strict=True)):
        if isinstance(fault, _Fault):
            message = fault.message or unknown.get(label.dataset, "")
            errors.append({"loc": ["body", "labels", index, fault.field], "msg": message})
    if errors:
        # as everywhere: an unknown dataset is "not found", whatever else is wrong
        refused = Unprocessable if all(_is_of_a_pair(e) for e in errors) else NotFound
        raise refused(
            named(errors, most=1),
            errors=errors[:_MOST_FAULTS],
            extra={"error_count": len(errors)},
        )


def _is_of_a_pair(error: dict[str, Any]) -> bool:
    return bool(error["loc"][-1] != "dataset")


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
