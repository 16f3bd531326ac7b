"""Limits on what one request may hold and cause, each with the name of its setting.

Work that a body causes grows with its length and no faster. What would take more is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from app.core.errors import TooLarge
from app.core.names import shown

MIB: Final = 2**20
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a service was given; a setting is named `TRIBUNAL_MAX_` and the field's name.

    Attributes:
        fields: Of one object or row, and columns of one table.
        list_items: Of one list.
        body_objects: Lists and objects of one JSON body, at any depth.
        body_values: Items of its lists and fields of its objects, all together.
        row_bytes: Of one row or cell of an upload, as text.
        rows: Of one upload, empty lines included.
        unpacked_bytes: That one upload may unpack to.
        unpacked_ratio: Bytes that may come out of one byte of a packed upload.
        page_bytes: Of the texts on one page of a list, in characters.
        couples: Of annotators, or of judges, that one report compares.
        slices: Values of the metadata field that one request slices by.
        models: That one leaderboard ranks.
    """

    fields: int = 1_000
    list_items: int = 100_000
    body_objects: int = 120_000
    body_values: int = 2_000_000
    row_bytes: int = 64 * MIB
    rows: int = 50_000_000
    unpacked_bytes: int = 64 * 1024 * MIB
    unpacked_ratio: int = 200
    page_bytes: int = 32 * MIB
    couples: int = 5_000
    slices: int = 500
    models: int = 1_000


def setting_of(name: str) -> str:
    """Return the name of the setting behind a limit."""
    return f"TRIBUNAL_MAX_{name.upper()}"


def too_many(count: int, what: str, most: int, name: str) -> str:
    """Say that something holds more than a limit allows, and name the setting."""
    return f"{count} {what}, at most {most} are allowed ({setting_of(name)})"


def more_than(most: int, what: str, name: str) -> str:
    """Say that a whole body holds more than a limit allows, and name the setting."""
    return f"holds more {what} than the {most} that are allowed ({setting_of(name)})"


Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ShapeFault:
    """A place in a JSON value that is larger than allowed."""

    loc: Location
    message: str

    def __str__(self) -> str:
        """Return the fault after the name of its place."""
        place = ".".join(shown(part)[1:-1] if isinstance(part, str) else str(part)
                         for part in self.loc)  # fmt: skip
        return f"{place}: {self.message}" if place else self.message


# a place as a chain from the inside out: most places are never named
_Place = tuple["_Place | None", str | int] | None


def shape_fault(value: object, limits: Limits) -> ShapeFault | None:
    """Return the first place of a JSON value that has too many fields, items or parts."""
    waiting: list[tuple[object, _Place]] = [(value, None)]
    parts = values = 0
    while waiting:
        inside, place = waiting.pop()
        message = _size_fault(inside, limits)
        if message is not None:
            return ShapeFault(_location(place), message)
        parts += 1
        if parts > limits.body_objects:
            return ShapeFault(
                (), more_than(limits.body_objects, "lists and objects", "body_objects")
            )
        values += len(inside) if isinstance(inside, dict | list) else 0
        if values > limits.body_values:
            return ShapeFault((), more_than(limits.body_values, "values", "body_values"))
        waiting += [
            (child, (place, key))
            for key, child in _children(inside)
            if isinstance(child, dict | list)
        ]
    return None


def _size_fault(value: object, limits: Limits) -> str | None:
    if isinstance(value, dict) and len(value) > limits.fields:
        return f"has {too_many(len(value), 'fields', limits.fields, 'fields')}: {first_of(value)}"
    if isinstance(value, list) and len(value) > limits.list_items:
        return f"has {too_many(len(value), 'items', limits.list_items, 'list_items')}"
    return None


def first_of(names: Iterable[object]) -> str:
    """Return the first of many names, as many as fit in a message."""
    some = [shown(name) for name in islice(names, _NAMED + 1)]
    return ", ".join(some[:_NAMED]) + (", ..." if len(some) > _NAMED else "")


def _children(value: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _location(place: _Place) -> Location:
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    return tuple(reversed(steps))


def check_row_count(count: int, limits: Limits) -> None:
    """Refuse an upload of too many rows.

    Raises:
        TooLarge: it has more than allowed.
    """
    if count > limits.rows:
        raise TooLarge(f"the upload has more than {limits.rows} rows ({setting_of('rows')})")


# so much may come out of an upload however small it is
ALWAYS_BYTES: Final = 64 * MIB


@dataclass(slots=True)
class Meter:
    """Counts what an upload unpacks to.

    Attributes:
        limits: That it is held to.
        packed: Bytes of the upload as it was sent.
        unpacked: Bytes that came out of it so far, over all layers of packing.
    """

    limits: Limits = field(default_factory=Limits)
    packed: int = 0
    unpacked: int = 0

    def count(self, size: int) -> None:
        """Count further bytes.

        Raises:
            TooLarge: they are more than allowed; the error names the setting.
        """
        self.unpacked += size
        self.check(0)

    def check(self, further: int) -> None:
        """Refuse what so many further bytes would be too much for, without counting them.

        Raises:
            TooLarge: they would be; the error names the setting.
        """
        limits, unpacked = self.limits, self.unpacked + further
        if unpacked > limits.unpacked_bytes:
            raise TooLarge(
                f"the upload unpacks to more than {limits.unpacked_bytes} bytes "
                f"({setting_of('unpacked_bytes')})"
            )
        by_ratio = max(ALWAYS_BYTES, limits.unpacked_ratio * self.packed)
        if unpacked > by_ratio:
            raise TooLarge(
                f"the upload of {self.packed} bytes unpacks to more than {by_ratio}, which is over "
                f"{limits.unpacked_ratio} times its size ({setting_of('unpacked_ratio')})"
            )
