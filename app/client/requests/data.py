"""Requests about datasets, their pairs, and the labels of people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack
from urllib.parse import quote

from app.bodies.browsing import PairDetailBody, SearchBody, SimilarBody
from app.bodies.common import PageBody
from app.bodies.datasets import CheckedBody, DatasetBody, LabelBody, LabelsBody, PairBody
from app.client.bodies_in import Label, ListQuery, SearchQuery, WantedQuery
from app.client.calls import Call
from app.client.requests.paths import at, given


def export_of(dataset: str) -> str:
    """Return the path of a dataset in another format."""
    return at("datasets", dataset, "export")


def dataset(dataset: str) -> Call[DatasetBody]:
    """Return a dataset by its id or name."""
    return Call("GET", at("datasets", dataset), is_repeatable=True)


def datasets(**query: Unpack[ListQuery]) -> Call[PageBody[DatasetBody]]:
    """List datasets, those imported last first."""
    return Call("GET", "/v1/datasets", given(**query), is_repeatable=True)


def pairs(dataset: str, **query: Unpack[ListQuery]) -> Call[PageBody[PairBody]]:
    """List the pairs of a dataset as canonical rows, in the order of the file."""
    return Call("GET", at("datasets", dataset, "pairs"), given(**query), is_repeatable=True)


def search(dataset: str, **query: Unpack[SearchQuery]) -> Call[SearchBody]:
    """Find pairs by what people, a judge or a cascade said of them; see `SearchQuery`."""
    return Call("GET", at("datasets", dataset, "search"), given(**query), is_repeatable=True)


def pair(dataset: str, pair_id: str, **query: Unpack[WantedQuery]) -> Call[PairDetailBody]:
    """Return all that is known of one pair; its neighbours are those of a search, if one is given."""
    path = at("datasets", dataset, "pairs", quote(pair_id, safe=""))
    return Call("GET", path, given(**query), is_repeatable=True)


def similar_pairs(dataset: str, pair_id: str) -> Call[SimilarBody]:
    """List pairs of the prompt or group of one pair, then those with the nearest features."""
    path = at("datasets", dataset, "pairs", quote(pair_id, safe=""), "similar")
    return Call("GET", path, is_repeatable=True)


def delete_dataset(dataset: str, *, force: bool = False) -> Call[None]:
    """Delete a dataset and all that refers to it; `force` also where certificates rest on it."""
    return Call("DELETE", at("datasets", dataset), {"force": str(force).lower()})


def add_labels(labels: Sequence[Label]) -> Call[LabelsBody]:
    """Store the labels of people, all or none."""
    return Call("POST", "/v1/labels", body={"labels": list(labels)}, takes_key=True)


def check_labels(labels: Sequence[Label]) -> Call[CheckedBody]:
    """Check labels as `create` does, and store none."""
    return Call("POST", "/v1/labels/check", body={"labels": list(labels)}, is_repeatable=True)


def labels(
    dataset: str | None = None, *, history: bool = False, **query: Unpack[ListQuery]
) -> Call[PageBody[LabelBody]]:
    """List labels, those that came last first, with `history` also replaced ones."""
    asked = given(dataset=dataset, history=str(history).lower(), **query)
    return Call("GET", "/v1/labels", asked, is_repeatable=True)
