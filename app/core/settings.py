"""Every setting of the service, read once from the environment.

Names start with `TRIBUNAL_`; `DATABASE_URL` is honoured too. Judges and cascades are described in
one TOML file (`TRIBUNAL_CONFIG`, else `tribunal.toml` in the working folder, else none).
"""

from __future__ import annotations

import logging
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.db import DEFAULT_URL, WAIT_SECONDS, checked_url
from app.core.errors import ConfigurationInvalid
from app.core.limits import Limits

_LIMITS: Final = Limits()

_HOST_NAME = re.compile(r"[\w.-]+|[0-9a-f]*:[0-9a-f]*:[0-9a-f:]*", re.ASCII)


class Settings(BaseSettings):
    """Settings of one service process."""

    model_config = SettingsConfigDict(env_prefix="TRIBUNAL_", extra="ignore", frozen=True)

    database_url: str = Field(
        DEFAULT_URL,
        validation_alias=AliasChoices("database_url", "DATABASE_URL", "TRIBUNAL_DATABASE_URL"),
        repr=False,  # it may hold a password
    )
    database_wait_seconds: float = Field(
        WAIT_SECONDS,
        gt=0,
        description="how long a request waits for a connection or for another writer",
    )
    config: Path | None = None
    max_body_bytes: int = Field(64 * 2**20, ge=1024)
    max_fields: int = Field(_LIMITS.fields, ge=50)
    max_list_items: int = Field(_LIMITS.list_items, ge=1)
    max_body_objects: int = Field(_LIMITS.body_objects, ge=1)
    max_body_values: int = Field(_LIMITS.body_values, ge=1)
    max_row_bytes: int = Field(_LIMITS.row_bytes, ge=1024)
    max_rows: int = Field(_LIMITS.rows, ge=1)
    max_unpacked_bytes: int = Field(_LIMITS.unpacked_bytes, ge=1024)
    max_unpacked_ratio: int = Field(_LIMITS.unpacked_ratio, ge=1)
    max_page_bytes: int = Field(_LIMITS.page_bytes, ge=1024)
    max_couples: int = Field(_LIMITS.couples, ge=1)
    max_slices: int = Field(_LIMITS.slices, ge=1)
    max_models: int = Field(_LIMITS.models, ge=2)
    spool_dir: Path | None = None
    secret: SecretStr | None = None
    signing_key: SecretStr | None = Field(
        None, description="secret key that signs certificates: 64 hexadecimal digits"
    )
    trusted_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="whose signed certificates are imported; separated by commas; empty: all"
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="names of this service, beside those of loopback; separated by commas"
    )
    session_hours: float = Field(
        12.0, gt=0, le=24 * 365, description="how long a browser stays signed in"
    )
    hide_docs: bool = Field(False, description="the documentation pages need a key, too")
    idempotency_hours: float = Field(
        24.0, gt=0, description="how long the answer to an `Idempotency-Key` is kept"
    )
    log_level: str = "info"
    log_json: bool = False
    shard_size: int = Field(2_000, ge=1)
    lease_seconds: float = Field(12.0, gt=0)
    label_lease_seconds: float = Field(
        900.0, gt=0, description="how long a pair is one person's to label"
    )
    checkpoint_seconds: float = Field(
        2.0, gt=0, description="scores of a shard are stored so often"
    )
    node: str | None = Field(None, description="name of the place whose processes see one another")
    workers: int = Field(2, ge=0, description="shards that one process works on at a time")
    max_attempts: int = Field(
        5, ge=1, description="shards, reports and calibrations that end so many processes"
    )
    inline_scores: int = Field(
        5_000, ge=0, description="most local scores that a request computes before it answers 202"
    )
    report_wait_s: float = Field(
        20.0, ge=0, description="how long a request waits for a report before it answers 202"
    )
    pairs_in_flight: int = Field(256, ge=1)
    provider_poll_seconds: float = Field(
        30.0, gt=0, description="how often batches at a judge's provider are looked at"
    )
    provider_collect_seconds: float = Field(
        300.0, gt=0, description="questions for such a batch wait for others so long at most"
    )
    provider_settle_seconds: float = Field(
        120.0,
        gt=0,
        description="after a request that makes such a batch and is not answered, it is looked for"
        " in the provider's list after so long; before, it could still arrive",
    )
    provider_lines: int = Field(50_000, ge=1, description="most questions in such a batch")
    long_work: int = Field(
        2, ge=1, description="imports that run at a time; of the other kinds of long work, likewise"
    )
    long_work_waiting: int = Field(
        32, ge=0, description="how many more of a kind may wait before one is refused"
    )
    max_connections: int = Field(1_000, ge=1, description="connections open at a time")
    header_seconds: float = Field(10.0, gt=0, description="how long a header may take to come")
    body_seconds: float = Field(
        30.0, gt=0, description="how long a body may take, beside its bytes at the least rate"
    )
    send_seconds: float = Field(
        60.0, gt=0, description="how long a client may leave an answer unread, likewise"
    )
    min_bytes_per_second: float = Field(1_000.0, gt=0, description="the least rate of both")
    shutdown_seconds: int = Field(
        5, ge=0, description="how long requests under way may take after a signal to stop"
    )
    tables_dir: Path | None = Field(
        None, description="batches may read and write Parquet files in this folder; none: nowhere"
    )

    @field_validator("database_url")
    @classmethod
    def _name_an_async_driver(cls, url: str) -> str:
        return checked_url(url)

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_names(cls, names: Any) -> Any:
        if not isinstance(names, str):
            return names
        found = tuple(name.strip().lower().removesuffix(".") for name in names.split(","))
        for name in filter(None, found):
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a host: give names without ports")
        return tuple(filter(None, found))

    @field_validator("signing_key")
    @classmethod
    def _secret_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", key.get_secret_value()):
            raise ValueError("it is not 64 hexadecimal digits (openssl rand -hex 32 makes some)")
        return key

    @field_validator("trusted_keys", mode="before")
    @classmethod
    def _split_keys(cls, keys: Any) -> Any:
        if not isinstance(keys, str):
            return keys
        found = [key.strip().lower().removeprefix("ed25519:") for key in keys.split(",")]
        for key in filter(None, found):
            if not re.fullmatch(r"[0-9a-f]{64}", key):
                raise ValueError(f"{key!r} is not a public key: see tribunal keys signing")
        return tuple(filter(None, found))

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        known = [name.lower() for name in logging.getLevelNamesMapping()]
        if level.lower() not in known:
            raise ValueError(f"{level!r} is none of {', '.join(known)}")
        return level

    @property
    def limits(self) -> Limits:
        """The limits on what one request may hold."""
        return Limits(**{one.name: getattr(self, f"max_{one.name}") for one in fields(Limits)})

    @property
    def config_path(self) -> Path | None:
        """The file that describes the judges, if any."""
        if self.config is not None:
            return self.config
        default = Path("tribunal.toml")
        return default if default.is_file() else None

    def load_config(self) -> dict[str, Any]:
        """Return the TOML tables of the configuration file, empty without one.

        Raises:
            ConfigurationInvalid: the file is missing or is not TOML.
        """
        path = self.config_path
        if path is None:
            return {}
        try:
            return _beside(path, tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationInvalid(f"{path}: {error}") from error


def _beside(file: Path, tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a file with the paths of students, which start beside it.

    An adapter is the name of one at a hub unless there is such a folder.
    """
    judges = tables.get("judges")
    if not isinstance(judges, dict):
        return tables
    beside = file.absolute().parent
    return {**tables, "judges": {name: _placed(beside, table) for name, table in judges.items()}}


def _placed(beside: Path, table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    placed = {
        key: str(beside / Path(table[key]).expanduser())
        for key in ("weights", "adapter")
        if isinstance(table.get(key), str) and table[key]
    }
    if "adapter" in placed and not Path(placed["adapter"]).is_dir():
        del placed["adapter"]
    return {**table, **placed}
