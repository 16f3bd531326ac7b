"""The type of a name in a request: storable, printable, short."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from app.identifiers import MAX_LENGTH, fault_of


def _checked(name: str) -> str:
    fault = fault_of(name)
    if fault is not None:
        raise ValueError(fault)
    return name


Name = Annotated[str, Field(min_length=1, max_length=MAX_LENGTH), AfterValidator(_checked)]
