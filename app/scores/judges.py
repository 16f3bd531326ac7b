"""Which judges a request means (ONE resolver, with its three sources).

The examples of a judge are part of its fingerprint, so they must not change when somebody adds
labels: only the labels that came with the dataset count, unless it came without any.

A judge is asked only where the configuration or a request says so: a table that describes one more
judge must not make every request without a cascade pay for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database
from app.core.errors import ConfigurationInvalid, NotFound, Unprocessable
from app.core.models import Dataset
from app.core.names import hint, shown
from app.datasets import service as datasets
from judges.base import Judge
from judges.configuration import model_folders
from judges.errors import JudgeConfigurationInvalid
from judges.prompting.examples import LabelledPair
from judges.recorded import RecordedJudge
from judges.registry import DEFAULT_CASCADE, STUDENT, Registry, example_datasets
from judges.vllm.engine import EngineHost
from judges.vllm.weights import NOTHING_HASHED, FolderHasher


def judge_names(registry: Registry, cascade: str | Sequence[str]) -> tuple[str, ...]:
    """Return the judges of a configured cascade, or the given ones, from cheap to strong.

    Raises:
        Unprocessable: no cascade has this name, or a judge is named twice.
    """
    if isinstance(cascade, str):
        if cascade not in registry.cascades:
            meant = hint(cascade, sorted(registry.cascades), see="tribunal doctor")
            raise Unprocessable.field(["cascade"], f"there is no cascade {shown(cascade)}{meant}")
        return tuple(registry.cascades[cascade])
    names = tuple(cascade)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Unprocessable.field(["cascade", "judges"], f"{twice!r} is named twice")
    return names


def configured_judges(registry: Registry, cascade: str) -> list[Judge]:
    """Return the judges of a configured cascade; those not configured answer from posted scores.

    Raises:
        Unprocessable: no cascade has this name.
    """
    return [registry.resolve(name) for name in judge_names(registry, cascade)]


def unknown_judge(name: str, known: Iterable[str], where: str) -> str:
    """Say that a judge is neither configured nor recorded `where`, and which may have been meant.

    Args:
        name: The name that no judge has.
        known: The names there are, the likelier ones first.
        where: Where it was looked for, beside the configuration.
    """
    meant = hint(name, known, see="tribunal doctor")
    return f"{shown(name)} is neither configured nor recorded {where}{meant}"


async def judges_for(
    session: AsyncSession, registry: Registry, dataset: Dataset, names: Sequence[str]
) -> list[Judge]:
    """Return the judges of these names for a dataset.

    A name that is not configured is a recorded judge of the dataset.

    Raises:
        Unprocessable: a name is neither configured nor recorded in the dataset, or it is recorded
            with several models or prompts, which are several judges.
    """
    return [
        registry.judges[name]
        if name in registry.judges
        else await _recorded_judge(session, registry, dataset, name)
        for name in names
    ]


async def _recorded_judge(
    session: AsyncSession, registry: Registry, dataset: Dataset, name: str
) -> Judge:
    loc = ["cascade", "judges"]
    if name not in dataset.recorded_judges:
        where = f"in {shown(dataset.name)}"
        raise Unprocessable.field(
            loc, unknown_judge(name, [*dataset.recorded_judges, *registry.judges], where)
        )
    fingerprints = await datasets.recorded_fingerprints(session, dataset, name)
    if len(fingerprints) > 1:
        raise Unprocessable.field(
            loc,
            f"{name!r} is recorded with {len(fingerprints)} different models or prompts in "
            f"{dataset.name!r}: give each its own name",
        )
    return RecordedJudge(name, fingerprint=next(iter(fingerprints), None))


def judges_of_certificate(registry: Registry, fingerprints: Mapping[str, str]) -> list[Judge]:
    """Return the judges that a certificate names; those not configured answer from records."""
    return [
        registry.judges[name]
        if name in registry.judges
        else RecordedJudge(name, fingerprint=fingerprint)
        for name, fingerprint in fingerprints.items()
    ]


def changed_fingerprints(
    registry: Registry, fingerprints: Mapping[str, str]
) -> list[dict[str, str]]:
    """Return the judges that are no longer the certified ones, with both fingerprints."""
    changed = []
    for name, certified in fingerprints.items():
        if name in registry.judges:
            configured = registry.judges[name].spec.fingerprint
        elif certified.startswith("recorded:"):
            continue
        else:
            configured = "not configured"
        if configured != certified:
            changed.append({"judge": name, "certified": certified, "configured": configured})
    return changed


async def load_registry(
    config: Mapping[str, Any],
    db: Database,
    transport: httpx.AsyncBaseTransport | None,
    engines: EngineHost,
    hasher: FolderHasher | None,
) -> Registry:
    """Return the judges of a configuration; the models of hosted ones begin to load.

    Without a hasher the judges whose models are in folders wait.

    Raises:
        ConfigurationInvalid: names the key that is wrong.
    """
    try:
        folders = NOTHING_HASHED
        if hasher is not None:
            folders = await asyncio.to_thread(hasher.read, model_folders(config))
        examples = {
            name: pairs
            for name in example_datasets(config)
            if (pairs := await _labelled_pairs(db, name)) is not None
        }
        return Registry.from_config(
            _with_default_cascade(config),
            transport=transport,
            examples=examples.__getitem__,
            engines=engines,
            folders=folders,
        )
    except JudgeConfigurationInvalid as error:
        raise ConfigurationInvalid(str(error)) from error


def unasked_judges(config: Mapping[str, Any], cascades: Iterable[Iterable[str]]) -> list[str]:
    """Return the configured judges that no cascade asks, in the order of the configuration."""
    asked = {name for judges in cascades for name in judges}
    return [name for name in config.get("judges", {}) if name not in asked]


def _with_default_cascade(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let the embedded judge alone be the default cascade, unless another one is declared."""
    cascades = config.get("cascades", {})
    if not isinstance(cascades, Mapping):
        return config  # said with the path of the key by whoever reads it
    default = {DEFAULT_CASCADE: {"judges": [STUDENT]}}
    return {**config, "cascades": {**default, **cascades}}


async def _labelled_pairs(db: Database, name: str) -> list[LabelledPair] | None:
    async with db.read() as session:
        try:
            dataset = await datasets.find_dataset(session, name)
        except NotFound:
            return None
        votes = await datasets.original_votes(session, dataset)
        stored = await datasets.read_pairs(session, dataset, seqs=list(votes))
    return [
        LabelledPair(pair, tuple((v.annotator, v.label) for v in votes[key.seq]), key.group)
        for key, pair in stored
    ]
