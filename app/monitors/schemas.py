"""Requests to monitors."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.formats.base import AnyText, TrimmedName
from app.formats.canonical import HumanLabel

OnAlarm = Literal["alarm", "suspend", "revoke"]


class MonitorIn(BaseModel):
    """Which certificate to watch, how closely, and what an alarm does."""

    model_config = ConfigDict(extra="forbid")
    calibration: str = Field(max_length=64)
    audit_rate: float = Field(
        0.02,
        gt=0,
        le=1,
        description="probability of each prompt's accepted verdict, by day or batch",
    )
    abstained_rate: float = Field(0.0, ge=0, le=1, description="the same for abstentions, apart")
    failure_probability: float = Field(
        0.05, ge=1e-9, le=0.5, description="of an alarm, ever, while the promise holds"
    )
    slices: str | None = Field(None, min_length=1, max_length=512, description="a metadata field")
    on_alarm: OnAlarm = "alarm"
    webhook: str | None = Field(
        None, max_length=2_000, description="told of alarms by a signed POST"
    )
    votes_per_pair: int = Field(1, ge=1, le=100)
    canaries: bool = Field(
        True,
        description="ask live judges about pairs of the certificate again; a judge that answers "
        "otherwise suspends it. 100 calls a judge at the start, then one an hour or 1,000 verdicts",
    )
    canary_seconds: float = Field(3_600.0, ge=1, le=2_592_000, description="between two asks")

    @field_validator("webhook")
    @classmethod
    def _an_address(cls, url: str | None) -> str | None:
        if url is not None:
            if not url.isascii() or not url.isprintable():
                raise ValueError("give an address in ASCII, with other characters percent-encoded")
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("give an address that starts with http:// or https://")
            if parts.username or parts.password:
                raise ValueError("an address with a password would be shown to every reader")
        return url


class AuditAnswer(BaseModel):
    """What one person says of a verdict that was drawn."""

    model_config = ConfigDict(extra="forbid")
    judgment: str = Field(max_length=64, description="the verdict_id of the stored verdict")
    label: HumanLabel = Field(description="which response is better, as the pair was posted")
    annotator: TrimmedName
    comment: AnyText | None = None


class AuditAnswersIn(BaseModel):
    """Answers to audits."""

    model_config = ConfigDict(extra="forbid")
    answers: list[AuditAnswer] = Field(min_length=1, max_length=1_000)
