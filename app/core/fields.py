"""Names as fields of a request. Apart from `names`, which a look at the database needs: pydantic is slow to load."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, WithJsonSchema

from app.core.names import MAX_LENGTH, storing_fault


def _checked(name: str) -> str:
    fault = storing_fault(name)
    if fault is not None:
        raise ValueError(fault)
    return name


# what `names.fault_of` says, for the description of the API: the message of a faulty name is its own
NAME_SCHEMA: Final[dict[str, Any]] = {
    "minLength": 1,
    "maxLength": MAX_LENGTH,
    "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$",
}
Name = Annotated[str, AfterValidator(_checked), WithJsonSchema({"type": "string", **NAME_SCHEMA})]
# as the key of an object, whose description has no place for a pattern
Key = Annotated[
    str,
    AfterValidator(_checked),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_LENGTH}),
]
