"""Makes the configured judges; few-shot examples come from datasets of this service.

The examples of a judge are part of its fingerprint, so they must not change when somebody adds
labels: only the labels that came with the dataset count, unless it came without any.

A judge is asked only where the configuration or a request says so: a table that describes one more
judge must not make every request without a cascade pay for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from app.datasets import service as datasets
from app.db import Database
from app.errors import ConfigurationInvalid, NotFound
from judges.configuration import model_folders
from judges.errors import JudgeConfigurationInvalid
from judges.prompting.examples import LabelledPair
from judges.registry import DEFAULT_CASCADE, STUDENT, Registry, example_datasets
from judges.vllm.engine import EngineHost
from judges.vllm.weights import NOTHING_HASHED, FolderHasher


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
