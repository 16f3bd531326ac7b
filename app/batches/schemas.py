"""What a batch over files is asked with."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.calibrations.schemas import JudgeOrder, Name

_REFUSED: Final = {
    "budget_usd": "pairs that stay in files are judged without a budget: import them for one",
    "part": "pairs that stay in files have no parts: import them, or split the files",
    "dataset": "belongs to the other form of a batch, without input and output; give one form",
}
_Path = Annotated[str, Field(min_length=1, max_length=4096)]


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
