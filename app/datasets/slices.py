"""Slices of a dataset: pairs with the same value of one metadata field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.core.errors import Unprocessable
from app.core.inert import storable
from app.core.limits import Limits, too_many
from app.core.names import shown
from app.datasets.records import PairKey


def slice_name(value: object) -> str:
    """Return the name of the slice of a metadata value.

    Characters that cannot be stored are escaped: arrays of texts drop a NUL at the end.
    """
    return storable(str(value))


def slice_of(metadata: Mapping[str, object], field: str) -> str:
    """Return the slice of a pair, by a metadata field; empty where the field is absent."""
    value = metadata.get(field.removeprefix("metadata."))
    return "" if value is None else slice_name(value)


def slice_names(keys: Sequence[PairKey], field: str) -> list[str | None]:
    """Return each pair's value of a metadata field as text, None where it has none.

    Args:
        keys: The pairs.
        field: Name of the field; `metadata.task` and `task` are the same.
    """
    name = field.removeprefix("metadata.")
    values = [key.metadata.get(name) for key in keys]
    return [None if value is None else slice_name(value) for value in values]


def refuse_many(names: Iterable[str | None], limits: Limits, loc: tuple[str, str]) -> None:
    """Refuse a field to slice by that has very many values; `loc` is its place in the request.

    Raises:
        Unprocessable: it has more than allowed.
    """
    count = len({name for name in names if name is not None})
    if count > limits.slices:
        message = f"the field has {too_many(count, 'values', limits.slices, 'slices')}"
        raise Unprocessable(f"{loc[1]}: {message}", errors=[{"loc": list(loc), "msg": message}])


def refuse_unknown_field(names: Sequence[str | None], field: str, loc: tuple[str, str]) -> None:
    """Refuse a field to slice by that no pair has; `loc` is its place in the request.

    Raises:
        Unprocessable: there are pairs and none has the field.
    """
    if names and all(name is None for name in names):
        message = f"no pair has the metadata field {shown(field)}"
        raise Unprocessable(f"{loc[1]}: {message}", errors=[{"loc": list(loc), "msg": message}])
