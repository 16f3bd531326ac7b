"""The OpenAI form of a batch: a file of requests, a completion window, judges in the metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.batches.parquet.files import TABLES
from app.batches.schemas import BatchIn, TablesBatchIn
from app.batches.stored import FORM
from app.calibrations.schemas import Name
from app.core.errors import Unprocessable
from judges.errors import SLIP, nearest

_WINDOW: Final = re.compile(r"([1-9]\d{0,5})([mhd])", re.ASCII)
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_LONGEST: Final = timedelta(days=366)
_AUTHORITY: Final = ("calibration", "cascade", "budget_usd")
_KEYS: Final = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})
_OWN: Final = frozenset(BatchIn.model_fields)
_MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class OpenAIBatchIn(BaseModel):
    """A file of requests to judge, as OpenAI clients ask for it."""

    model_config = ConfigDict(extra="forbid")
    input_file_id: Name = Field(description="the id of an uploaded file")
    endpoint: Literal["/v1/judgments"]
    completion_window: str = Field(
        description="how long the batch may take, in minutes, hours or days",
        examples=["24h"],
        pattern=f"^{_WINDOW.pattern}$",
    )
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16)] | None = Field(
        None,
        description="`calibration`, the certificate to apply, or `cascade`, a configured cascade "
        "without a promise; optionally `budget_usd`; anything else is kept and given back",
        examples=[{"calibration": "cal_5f2c0d9a7b3e4f1a2b3c4d5e"}],
    )

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, value: Any) -> Any:
        fields = value.keys() if isinstance(value, dict) else ()
        faults = [_other_form(name, value[name]) for name in fields if name in _OWN]
        if faults:
            raise ValidationError.from_exception_data("batch", faults)
        return value

    @field_validator("metadata")
    @classmethod
    def _no_misspelt_authority(cls, given: dict[str, str] | None) -> dict[str, str] | None:
        for name in given or {}:
            near = nearest(name, _AUTHORITY, alike=SLIP)
            if near and near not in (given or {}):
                raise ValueError(f"{name}: did you mean {near}? Without it nothing is promised")
        return given

    @field_validator("completion_window")
    @classmethod
    def _not_too_long(cls, text: str) -> str:
        if window_of(text) > _LONGEST:
            raise ValueError(f"is longer than {_LONGEST.days}d")
        return text

    def native(self, dataset: str) -> BatchIn:
        """Return the same request in the service's own form.

        Args:
            dataset: The id of the dataset that holds the file's requests.

        Raises:
            Unprocessable: the metadata names no valid judges.
        """
        given = self.metadata or {}
        chosen = {
            name: given[name] for name in ("calibration", "cascade", "budget_usd") if name in given
        }
        try:
            return BatchIn.model_validate({"dataset": dataset, **chosen})
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            message = fault["msg"].removeprefix("Value error, ")
            raise Unprocessable.field(["metadata", *fault["loc"]], message) from None


def _other_form(name: str, value: object) -> InitErrorDetails:
    message = "belongs to the other form of a batch, without input_file_id; give one form"
    if name in ("calibration", "cascade", "budget_usd"):
        message = f"belongs into metadata where a file is judged: metadata.{name}"
    kind = PydanticCustomError("other_form", "{message}", {"message": message})
    return InitErrorDetails(type=kind, loc=(name,), input=type(value).__name__)


def _form_of(value: object) -> str:
    if isinstance(value, OpenAIBatchIn):
        return FORM
    if isinstance(value, TablesBatchIn) or (isinstance(value, dict) and "input" in value):
        return TABLES
    return FORM if isinstance(value, dict) and _KEYS & value.keys() else "native"


AnyBatchIn = Annotated[
    Annotated[BatchIn, Tag("native")]
    | Annotated[OpenAIBatchIn, Tag(FORM)]
    | Annotated[TablesBatchIn, Tag(TABLES)],
    Discriminator(_form_of),
]


def window_of(text: str) -> timedelta:
    """Return the time that a `completion_window`, such as 24h, allows."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError("write a number and m, h or d, such as 24h")
    return int(found.group(1)) * _UNITS[found.group(2)]


@dataclass(frozen=True, slots=True)
class FileForm:
    """The fields that only a batch over an uploaded file has."""

    input_file_id: str
    completion_window: str
    metadata: dict[str, str] | None
    rejected: int

    @property
    def window(self) -> timedelta:
        """The time that the batch may take."""
        return window_of(self.completion_window)

    def as_json(self) -> dict[str, Any]:
        """Return it as the stored request keeps it."""
        return {
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "metadata": self.metadata,
            "rejected": self.rejected,
        }
