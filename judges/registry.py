"""Makes the judges and cascades that the configuration describes.

An error names the path of the key that is wrong, and for an unknown key the nearest known one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from judges.base import Judge, JudgeHealth, JudgeSpec
from judges.configuration import (
    BY,
    OVERALL,
    AskedTable,
    CascadeTable,
    JudgeTable,
    OpenAITable,
    RecordedTable,
    RewardTable,
    StudentTable,
    VllmTable,
    adapters_of,
    check_memory,
    engine_settings,
    openai_settings,
    read_cascade,
    read_judge,
    reward_settings,
    tables,
    vllm_settings,
)
from judges.errors import ExamplesInsufficient, JudgeConfigurationInvalid
from judges.openai.clients import Transport, checked_base_url
from judges.openai.judge import OpenAIJudge
from judges.openai.settings import OpenAISettings, check_headers, load_tokenizer, token_requests
from judges.prompting.examples import ExampleSets, LabelledPair, draw_annotators
from judges.prompting.templates import PromptTemplate, load_template
from judges.recorded import Jury, RecordedJudge
from judges.reward.judge import RewardJudge
from judges.reward.poolers import HostedPooler, ServedPooler
from judges.reward.settings import FEWEST_FOR_TAU, FittedOn, RewardSettings
from judges.student.judge import StudentJudge
from judges.student.model import StudentModel
from judges.types import FailureKind, JudgeFailure, Pair, Score
from judges.vllm.engine import EngineHost
from judges.vllm.judge import VllmJudge
from judges.vllm.settings import VllmSettings, is_path
from judges.vllm.weights import FolderHasher, FolderHashes


class WaitingJudge:
    """A placeholder for a configured judge; it fails on every pair and says what it waits for.

    `is_starting`: it will be made in a while.
    """

    def __init__(
        self, name: str, model: str | None, waits_for: str, *, is_starting: bool = False
    ) -> None:
        self._is_starting = is_starting
        self._failure = JudgeFailure(FailureKind.UNAVAILABLE, waits_for)
        self._spec = JudgeSpec(
            name=name, kind="waiting", model=model, scored_by={"name": name, "model": model}
        )

    @property
    def spec(self) -> JudgeSpec:
        """Return a description; the judge itself will have another fingerprint."""
        return self._spec

    async def score(self, pair: Pair) -> Score:
        """Return the failure."""
        return Score(self._spec.name, self._spec.fingerprint, p_a=None, failure=self._failure)

    async def health(self) -> JudgeHealth:
        """Say what is missing."""
        return JudgeHealth(False, self._failure.detail, self._is_starting)

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


Examples = Callable[[str], Sequence[LabelledPair]]

STUDENT: Final = "student"
DEFAULT_CASCADE: Final = "default"
# a temperature fitted on fewer is a guess
HASHING: Final = "hashing the model folder, then the model loads"


@dataclass(frozen=True, slots=True)
class Registry:
    """The configured judges and cascades.

    Attributes:
        judges: By name, in the order of the configuration; the student is among them.
        cascades: Names of judges, from cheap to strong, by the cascade's name; `default` is among
            them.
        thresholds: The confidences that a cascade without a certificate asks for, where declared.
    """

    judges: Mapping[str, Judge]
    cascades: Mapping[str, tuple[str, ...]]
    thresholds: Mapping[str, tuple[float, ...]]

    @classmethod
    def from_config(  # noqa: PLR0913 - what judges need from outside, each by its name
        cls,
        config: Mapping[str, Any],
        *,
        transport: Transport | None = None,
        examples: Examples | None = None,
        environ: Mapping[str, str] = os.environ,
        engines: EngineHost | None = None,
        folders: FolderHashes | None = None,
    ) -> Registry:
        """Make the judges that `config` describes; its other tables are not looked at.

        Args:
            config: The parsed configuration, with `judges` and `cascades`, both optional.
            transport: How judges behind HTTP are reached; the network by default.
            examples: Gives the labelled pairs of a dataset by its name, for few-shot examples;
                `LookupError` for an unknown dataset. A judge that needs it then waits:
                it is listed, is not ready, and fails every pair as `UNAVAILABLE`.
            environ: Where API keys and the default `OPENAI_BASE_URL` are read from.
            engines: Hosts the models of judges of kind `vllm`; it outlives the registry.
            folders: What the folders of hosted models hold; a judge whose folder is not among them
                waits until it is hashed. None: they are read now, which can take seconds.

        Raises:
            JudgeConfigurationInvalid: Names the key.
        """
        check_memory(config, environ)
        workshop = _Workshop(transport, examples, environ, engines, folders, adapters_of(config))
        made: dict[str, Judge] = {}
        several: dict[str, tuple[str, ...]] = {}
        for name, table in tables(config, "judges").items():
            ours = workshop.judges(name, table)
            made |= ours
            if name not in ours:
                several[name] = tuple(ours)
        _check_servers(made)
        configured = _cascades_of(config)
        _check_criteria(configured, several)
        cascades = {name: tuple(table.judges) for name, table in configured.items()}
        cascades.setdefault(DEFAULT_CASCADE, _default_cascade(made))
        if STUDENT not in made:
            made[STUDENT] = StudentJudge(STUDENT)
        thresholds = {
            name: tuple(table.thresholds)
            for name, table in configured.items()
            if table.thresholds is not None
        }
        return cls(MappingProxyType(made), MappingProxyType(cascades), MappingProxyType(thresholds))

    async def aclose(self) -> None:
        """Close every judge."""
        for judge in self.judges.values():
            await judge.aclose()


def example_datasets(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the datasets that the configured judges take examples from.

    Raises:
        JudgeConfigurationInvalid: Names the key.
    """
    read = [read_judge(name, table) for name, table in tables(config, "judges").items()]
    named = [
        table.examples_from if isinstance(table, AskedTable) else table.tau_from
        for table in read
        if isinstance(table, AskedTable | RewardTable)
    ]
    return frozenset(name for name in named if name)


@dataclass(frozen=True, slots=True)
class _Hosting:
    """Where a model is hosted, and the hash of its folder if it is in one."""

    engines: EngineHost
    weights: str | None


@dataclass(frozen=True, slots=True)
class _Workshop:
    transport: Transport | None
    examples: Examples | None
    environ: Mapping[str, str]
    engines: EngineHost | None
    folders: FolderHashes | None
    adapters: Mapping[str, Mapping[str, Any]]

    def judges(self, name: str, content: object) -> dict[str, Judge]:
        """Return the judges of a table: one, or one for each of several criteria."""
        table = read_judge(name, content)
        criteria = (table.criteria or [OVERALL]) if isinstance(table, AskedTable) else [OVERALL]
        if len(criteria) == 1:
            return {name: self._judge(name, table, criteria[0])}
        return {f"{name}{BY}{one}": self._judge(f"{name}{BY}{one}", table, one) for one in criteria}

    def _judge(self, name: str, table: JudgeTable, criterion: str) -> Judge:
        match table:
            case StudentTable():
                return _student(name, table)
            case RecordedTable(members=None):
                return RecordedJudge(name, model=table.model, prompt_hash=table.prompt_hash)
            case RecordedTable():
                return Jury(name, table.members or ())
            case RewardTable():
                return self._reward(name, table)
            case _:
                return self._asked(name, table, criterion)

    def _asked(self, name: str, table: OpenAITable | VllmTable, criterion: str) -> Judge:
        path = f"judges.{name}"
        try:
            template = load_template(table.template_source, table.labels, table.rating_scale)
            template = template if criterion == OVERALL else template.by(criterion)
            sets = self._sets(table)
        except ExamplesInsufficient as error:
            return WaitingJudge(name, table.model, f"{path}.examples_from: {error}")
        except JudgeConfigurationInvalid as error:
            raise JudgeConfigurationInvalid(f"{path}.{error}") from error
        if isinstance(table, VllmTable):
            return self._hosted(vllm_settings(name, table), template, sets)
        return self._remote(openai_settings(name, table, self.environ), template, sets)

    def _remote(
        self, settings: OpenAISettings, template: PromptTemplate, sets: ExampleSets
    ) -> Judge:
        by_token = None
        if settings.tokenizer is not None:
            try:
                by_token = token_requests(settings.tokenizer, settings.revision, template.labels)
            except JudgeConfigurationInvalid as error:
                raise JudgeConfigurationInvalid(f"judges.{settings.name}.{error}") from error
        return OpenAIJudge(
            settings,
            template,
            sets,
            by_token=by_token,
            transport=self.transport,
            environ=self.environ,
        )

    def _hosted(self, settings: VllmSettings, template: PromptTemplate, sets: ExampleSets) -> Judge:
        found = self._weights(settings.name, settings.engine.model)
        if isinstance(found, WaitingJudge):
            return found
        adapter = None
        if settings.adapter is not None:
            adapter = self._hash_of(settings.name, "adapter", settings.adapter)
        if isinstance(adapter, WaitingJudge):
            return adapter
        own = settings.engine
        # all judges of the model share the engine, whichever adapters they use
        options = {**self.adapters.get(own.key, {}), **own.options}
        settings = replace(
            settings,
            weights=found.weights,
            adapter_weights=adapter,
            engine=replace(own, options=options),
        )
        return VllmJudge(settings, template, sets, found.engines.engine(settings.engine))

    def _weights(self, name: str, model: str) -> _Hosting | WaitingJudge:
        """Return where a model is hosted and its folder's hash, or what its judge waits for."""
        weights = self._hash_of(name, "model", model)
        if isinstance(weights, WaitingJudge):
            return weights
        if self.engines is None:
            return WaitingJudge(name, model, f"judges.{name}: this process hosts no models")
        return _Hosting(self.engines, weights)

    def _hash_of(self, judge: str, key: str, folder: str) -> str | WaitingJudge | None:
        """Return the hash of a folder, None for a hub name, or what the judge waits for."""
        if not is_path(folder):
            return None
        if not Path(folder).is_dir():
            return WaitingJudge(judge, folder, f"judges.{judge}.{key}: no folder {folder!r}")
        folders = FolderHasher().read([folder]) if self.folders is None else self.folders
        if folder in folders.unreadable:
            detail = f"judges.{judge}.{key}: {folders.unreadable[folder]}"
            return WaitingJudge(judge, folder, detail)
        if folder not in folders.hashes:
            return WaitingJudge(judge, folder, HASHING, is_starting=True)
        return folders.hashes[folder]

    def _reward(self, name: str, table: RewardTable) -> Judge:
        path = f"judges.{name}"
        try:
            template = load_template(table.template or "pairwise")
            fitted = None
            if table.tau_from is not None:
                fitted = FittedOn.of(self._labelled(table.tau_from), table.tau_groups)
                if len(fitted.pairs) < FEWEST_FOR_TAU:
                    detail = f"{len(fitted.pairs)} labelled pairs are too few to fit tau on"
                    raise ExamplesInsufficient(detail)
        except ExamplesInsufficient as error:
            return WaitingJudge(name, table.model, f"{path}.tau_from: {error}")
        except JudgeConfigurationInvalid as error:
            raise JudgeConfigurationInvalid(f"{path}.{error}") from error
        settings = reward_settings(name, table, fitted)
        if table.base_url is not None:
            return RewardJudge(settings, template, self._served(name, table, settings))
        found = self._weights(name, table.model)
        if isinstance(found, WaitingJudge):
            return found
        engine = engine_settings(table)
        settings = replace(settings, engine=engine, weights=found.weights)
        pooler = HostedPooler(found.engines.engine(engine), table.timeout_s)
        return RewardJudge(settings, template, pooler)

    def _served(self, name: str, table: RewardTable, settings: RewardSettings) -> ServedPooler:
        path = f"judges.{name}"
        address = checked_base_url(f"{path}.base_url", table.base_url or "").rstrip("/")
        try:
            check_headers(table.headers)
            tokenizer = None
            if table.tokenizer is not None:
                tokenizer = load_tokenizer(table.tokenizer, table.revision)
        except JudgeConfigurationInvalid as error:
            raise JudgeConfigurationInvalid(f"{path}.{error}") from None
        asked = OpenAISettings(
            name=name,
            base_url=address.removesuffix("/v1"),
            model=table.model,
            concurrency=table.concurrency,
            timeout_s=table.timeout_s,
            attempts=table.attempts,
            api_key_env=table.api_key_env,
            headers=table.headers,
            query=table.query,
        )
        return ServedPooler(asked, settings.endpoint, tokenizer, self.environ, self.transport)

    def _sets(self, table: AskedTable) -> ExampleSets:
        if table.examples_from is None:
            return ((),)
        return draw_annotators(
            self._labelled(table.examples_from),
            table.annotators,
            table.example_count,
            np.random.default_rng(table.examples_seed),
            labels=table.example_labels,
            with_ties=len(table.labels) > 2 and table.confidence != "rating",
        )

    def _labelled(self, dataset: str) -> Sequence[LabelledPair]:
        try:
            return () if self.examples is None else self.examples(dataset)
        except LookupError as error:
            detail = f"no dataset {dataset!r} to take examples from has been imported"
            raise ExamplesInsufficient(detail) from error


def _student(name: str, table: StudentTable) -> StudentJudge:
    if table.weights is None:
        return StudentJudge(name)
    try:
        model = StudentModel.load_file(Path(table.weights))
    except JudgeConfigurationInvalid as error:
        raise JudgeConfigurationInvalid(f"judges.{name}.weights: {error}") from error
    return StudentJudge(name, model=model)


def _check_servers(made: Mapping[str, Judge]) -> None:
    """Refuse two judges that would share scores although different servers answer.

    Judges of one fingerprint share scores. An alias such as `judge` may stand for another model on
    another server, unless a revision says that it is the same.

    Raises:
        JudgeConfigurationInvalid: Names the judges.
    """
    first_of: dict[str, OpenAIJudge] = {}
    for name, judge in made.items():
        if not isinstance(judge, OpenAIJudge):
            continue
        other = first_of.setdefault(judge.spec.fingerprint, judge)
        if other.server != judge.server and judge.spec.scored_by["revision"] is None:
            raise JudgeConfigurationInvalid(
                f"judges.{name}.revision: missing: the judge asks for the model"
                f" {judge.spec.model!r} as {other.spec.name!r} does, but at another server; give"
                " both a revision: different ones if the models differ, the same if they do not"
            )


def _check_criteria(
    cascades: Mapping[str, CascadeTable], several: Mapping[str, tuple[str, ...]]
) -> None:
    """Refuse cascades that name a table of several judges.

    Raises:
        JudgeConfigurationInvalid: Names the cascade and the judges.
    """
    for name, table in cascades.items():
        for judge in table.judges:
            if judge in several:
                raise JudgeConfigurationInvalid(
                    f"cascades.{name}.judges: {judge!r} has several criteria: name one of"
                    f" {', '.join(several[judge])}"
                )


def _default_cascade(made: Mapping[str, Judge]) -> tuple[str, ...]:
    live = tuple(n for n, j in made.items() if not isinstance(j, RecordedJudge | Jury))
    return live or (STUDENT,)


def _cascades_of(config: Mapping[str, Any]) -> dict[str, CascadeTable]:
    return {name: read_cascade(name, table) for name, table in tables(config, "cascades").items()}
