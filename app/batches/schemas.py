"""Requests for batches over datasets and over Parquet files."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.calibrations.schemas import JudgeOrder, Name
from app.core.inert import printable
from app.datasets.splits import Part


class BatchIn(BaseModel):
    """A dataset, or a part of it, to judge under a certificate or by a cascade."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name")
    calibration: str | None = Field(None, max_length=64)
    cascade: Name | JudgeOrder | None = Field(None, description="without a promise")
    part: Part | None = None
    budget_usd: float | None = Field(
        None, ge=0, description="the most that judging may cost; pairs it does not cover abstain"
    )
    budget: Literal["hard", "soft"] = Field(
        "hard",
        description="hard: the most that a pair may cost must be left before it is begun; soft: "
        "what pairs have cost on average, so that the last ones may cost a little too much",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the order in which a budget admits pairs")

    @model_validator(mode="after")
    def _one_authority(self) -> BatchIn:
        if self.calibration is not None and self.cascade is not None:
            raise ValueError("give calibration or cascade, not both")
        return self


class RetryIn(BaseModel):
    """How to take up a batch that has ended."""

    model_config = ConfigDict(extra="forbid")
    budget_usd: float | None = Field(None, ge=0, description="a new budget for the whole batch")


_REFUSED: Final = {
    "budget_usd": "pairs that stay in files are judged without a budget: import them for one",
    "part": "pairs that stay in files have no parts: import them, or split the files",
    "dataset": "belongs to the other form of a batch, without input and output; give one form",
}
_MOST_PATH: Final = 4_096
_MOST_FOLDERS: Final = 64
_MOST_PART_BYTES: Final = 255


def _checked_path(path: str) -> str:
    """Refuse what names no file on any system, before any is looked for.

    Raises:
        ValueError: it does; the message says why.
    """
    if printable(path) != path:
        raise ValueError("holds a control character")
    parts = path.split("/")
    if ".." in parts:
        raise ValueError("leads out of the folder of tables")
    if len(parts) > _MOST_FOLDERS:
        raise ValueError(f"has {len(parts)} folders, at most {_MOST_FOLDERS} are allowed")
    if max(len(part.encode()) for part in parts) > _MOST_PART_BYTES:
        raise ValueError(f"has a name of more than {_MOST_PART_BYTES} bytes")
    return path


_Path = Annotated[
    str,
    Field(min_length=1, max_length=_MOST_PATH),
    AfterValidator(_checked_path),
]


class TablesBatchIn(BaseModel):
    """Parquet files to judge under a certificate or by a cascade; the verdicts become files too."""

    model_config = ConfigDict(extra="forbid")
    input: _Path = Field(description="Parquet files, as a pattern", examples=["pairs/*.parquet"])
    output: _Path = Field(description="folder of the parts", examples=["verdicts"])
    dialect: str = Field("auto", max_length=64, description="format of the rows")
    calibration: str | None = Field(None, max_length=64)
    cascade: Name | JudgeOrder | None = Field(None, description="without a promise")
    rows_per_part: int = Field(5_000, ge=1, le=10_000_000)

    @model_validator(mode="before")
    @classmethod
    def _say_what_is_refused(cls, value: Any) -> Any:
        names = value.keys() & _REFUSED.keys() if isinstance(value, dict) else ()
        faults = [
            _fault(name) for name in sorted(names) if value[name] is not None or name == "dataset"
        ]
        if faults:
            raise ValidationError.from_exception_data("batch", faults)
        return value

    @model_validator(mode="after")
    def _one_authority(self) -> TablesBatchIn:
        if self.calibration is not None and self.cascade is not None:
            raise ValueError("give calibration or cascade, not both")
        return self


def _fault(name: str) -> InitErrorDetails:
    kind = PydanticCustomError("refused", "{message}", {"message": _REFUSED[name]})
    return InitErrorDetails(type=kind, loc=(name,), input=name)
