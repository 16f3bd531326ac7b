"""The tables of the configuration, checked: one class for each kind of judge, and cascades."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from judges.errors import JudgeConfigurationInvalid, nearest
from judges.openai.replies import Endpoint
from judges.openai.settings import LIMITS, Confidence, Omittable, Orders, SystemRole
from judges.prompting.annotators import EarlyStop
from judges.prompting.examples import MAX_ANNOTATORS, ExampleLabels
from judges.prompting.ratings import Scale
from judges.reasons import DEFAULT_FOR, DEFAULT_TOKENS, ReasonSettings, checked_choice
from judges.reward.settings import Input, RewardEndpoint
from judges.vllm.settings import Overflow

_FEWEST_TO_COMPARE: Final = 2  # one annotator alone has no standard deviation
_FEW: Final = 5  # N and K of the paper's experiments
_DEFAULT_LABELS: Final = ("A", "B")
_VERBALIZED_TOKENS: Final = 16
_DEFAULT_SCALE: Final = (1, 10)
_WITH_EXAMPLES: Final = ("annotators", "rating")
_SECRET: Final = ("headers", "query")

#: The criterion of a judge that is told none: which response is better on the whole.
OVERALL: Final = "overall"
#: Between the name of a table and a criterion, where one table makes several judges.
BY: Final = ":"

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StudentTable(_Table):
    """The embedded judge, or with `weights` a student that was distilled."""

    kind: Literal["student"]
    weights: Annotated[str, Field(min_length=1)] | None = None


class RecordedTable(_Table):
    """Recorded scores of one name, or a jury of those whose names match `members`."""

    kind: Literal["recorded"]
    members: Annotated[list[str], Field(min_length=1)] | None = None
    model: str | None = None
    prompt_hash: str | None = None


class AskedTable(_Table):
    """Settings of every judge that is asked live: prompt, examples, labels, prices."""

    model: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    annotators: Annotated[int, Field(ge=1, le=MAX_ANNOTATORS)] = _FEW
    examples: Annotated[int, Field(ge=0, le=64)] | None = None
    examples_from: str | None = None
    example_labels: ExampleLabels = "auto"
    examples_seed: Annotated[int, Field(ge=0)] = 0
    orders: Orders = "both"
    template: str | dict[str, Any] | None = None
    criteria: Annotated[list[str], Field(min_length=1, max_length=16)] | None = None
    confidence: Confidence = "annotators"
    labels: list[str] = Field(default_factory=lambda: list(_DEFAULT_LABELS))
    scale: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    endpoint: Endpoint = "chat"
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    early_annotators: Annotated[int, Field(ge=1, lt=MAX_ANNOTATORS)] | None = None
    early_confidence: Annotated[float, Field(gt=0.5, le=1)] | None = None
    one_by_one: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    reasons: bool = False
    reason_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    reasons_for: str | None = None
    price_input: Price | None = None
    price_output: Price | None = None

    @property
    def example_count(self) -> int:
        """Return the number of examples per annotator."""
        return _FEW if self.examples is None else self.examples

    @property
    def template_source(self) -> str | dict[str, Any]:
        """Return the template, by default the one for this kind of confidence."""
        ours = self.confidence if self.confidence in ("verbalized", "rating") else "pairwise"
        return self.template or ours

    @property
    def rating_scale(self) -> Scale | None:
        """Return what each response is rated by, None where two responses are compared.

        Raises:
            JudgeConfigurationInvalid: The bounds make no scale, or `labels` do not fit it.
        """
        if self.confidence != "rating":
            return None
        labels = self.labels if "labels" in self.model_fields_set else None
        return Scale.of(self.scale or _DEFAULT_SCALE, labels)

    @property
    def answer_tokens(self) -> int:
        """Return the most tokens of one answer."""
        is_verbalized = self.confidence == "verbalized"
        return self.max_tokens or (_VERBALIZED_TOKENS if is_verbalized else 1)

    @property
    def early_stop(self) -> EarlyStop | None:
        """Return when not all annotators are asked."""
        if self.one_by_one:
            first = max(_FEWEST_TO_COMPARE, self.early_annotators or 0)
            return EarlyStop(first, self.early_confidence, self.one_by_one)
        if self.early_annotators is None or self.early_confidence is None:
            return None
        return EarlyStop(self.early_annotators, self.early_confidence)

    @property
    def reason_settings(self) -> ReasonSettings | None:
        """Return when the judge says why, None where it never does."""
        if not self.reasons:
            return None
        return ReasonSettings(self.reason_tokens or DEFAULT_TOKENS, self.reasons_for or DEFAULT_FOR)

    @model_validator(mode="after")
    def _criteria_differ(self) -> Self:
        given = self.criteria or []
        wrong = next((one for one in given if not one.strip() or not one.isprintable()), None)
        if wrong is not None:
            raise ValueError(f"criteria: {wrong!r} is no name of a criterion")
        if len(set(given)) < len(given):
            raise ValueError("criteria: a name occurs twice")
        return self

    @model_validator(mode="after")
    def _reasons_are_asked_for(self) -> Self:
        for name in ("reason_tokens", "reasons_for"):
            if getattr(self, name) is not None and not self.reasons:
                raise ValueError(f"{name}: goes with reasons = true")
        if self.reasons_for is not None:
            try:
                checked_choice(self.reasons_for)
            except ValueError as error:
                raise ValueError(f"reasons_for: {error}") from None
        return self

    @model_validator(mode="after")
    def _early_stop_is_whole(self) -> Self:
        if self.one_by_one and self.annotators <= _FEWEST_TO_COMPARE:
            raise ValueError("one_by_one: needs three annotators or more")
        is_half = (self.early_annotators is None) != (self.early_confidence is None)
        if is_half and not self.one_by_one:
            raise ValueError("early_annotators: goes with early_confidence")
        if self.early_annotators is not None and self.early_annotators >= self.annotators:
            raise ValueError(f"early_annotators: must be fewer than {self.annotators} annotators")
        return self

    @model_validator(mode="after")
    def _rating_is_of_one_response(self) -> Self:
        if self.confidence != "rating":
            if self.scale is not None:
                raise ValueError('scale: goes with confidence = "rating"')
            return self
        if self.orders != "both":
            raise ValueError("orders: a rating is of one response, which has no order")
        if self.reasons:
            raise ValueError("reasons: a judge that rates each response alone gives none")
        return self

    @model_validator(mode="after")
    def _examples_have_a_source(self) -> Self:
        if self.confidence not in _WITH_EXAMPLES and (self.examples or self.examples_from):
            raise ValueError(f"confidence: {self.confidence} takes no examples")
        if self.examples and self.examples_from is None:
            raise ValueError("examples_from: needed where examples are to be shown")
        return self


class OpenAITable(AskedTable):
    """A judge behind an OpenAI-compatible server."""

    kind: Literal["openai"]
    base_url: str | None = None
    tokenizer: Annotated[str, Field(min_length=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 20
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)
    omit: list[Omittable] = Field(default_factory=list)
    system_role: SystemRole = "auto"
    min_label_mass: Annotated[float, Field(ge=0, le=1)] | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    concurrency: Annotated[int, Field(ge=1)] = 64
    max_reply_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    attempts: Annotated[int, Field(ge=1)] = 5
    longest_wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    budget_usd: Price | None = None
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    batch_endpoint: bool = False
    batch_price: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _provider_batches_fit(self) -> Self:
        if self.batch_price is not None and not self.batch_endpoint:
            raise ValueError("batch_price: goes with batch_endpoint = true")
        if self.batch_endpoint and self.budget_usd is not None:
            raise ValueError(
                "budget_usd: limits the calls of one process, and a batch at the provider outlives"
                " it; with batch_endpoint give each batch a budget_usd"
            )
        return self

    @model_validator(mode="after")
    def _budget_has_prices(self) -> Self:
        if self.budget_usd is not None and None in (self.price_input, self.price_output):
            raise ValueError("budget_usd: needs price_input and price_output")
        return self

    @model_validator(mode="after")
    def _omitted_is_not_set(self) -> Self:
        for name in ("temperature", "max_tokens"):
            if name in self.omit and getattr(self, name) is not None:
                raise ValueError(f"omit: {name!r} is left out and set as well")
        is_limited = not LIMITS.isdisjoint(self.extra_body)
        if self.budget_usd is not None and "max_tokens" in self.omit and not is_limited:
            raise ValueError(
                "budget_usd: without max_tokens an answer may cost anything; set"
                " extra_body.max_completion_tokens"
            )
        return self

    @model_validator(mode="after")
    def _tokens_have_a_tokenizer(self) -> Self:
        if (self.endpoint == "tokens") != (self.tokenizer is not None):
            raise ValueError('tokenizer: goes with endpoint = "tokens", and that needs it')
        if self.endpoint == "tokens" and self.confidence == "verbalized":
            raise ValueError('endpoint: "tokens" reads labels, not a verbalized confidence')
        return self


class VllmTable(AskedTable):
    """A judge whose model this process hosts."""

    kind: Literal["vllm"]
    adapter: Annotated[str, Field(min_length=1)] | None = None
    engine: dict[str, Any] = Field(default_factory=dict)
    devices: Annotated[str, Field(pattern=r"[0-9A-Za-z\-]+(,[0-9A-Za-z\-]+)*")] | None = None
    thinking_tokens: Annotated[int, Field(ge=0)] = 0
    thinking_end: Annotated[str, Field(min_length=1)] = "</think>"
    template_options: dict[str, Any] = Field(default_factory=dict)
    endpoint: Literal["chat", "completions"] = "chat"
    overflow: Overflow = "fail"
    concurrency: Annotated[int, Field(ge=1)] = 256
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0

    @property
    def engine_options(self) -> dict[str, Any]:
        """Return the options of the engine."""
        return self.engine


class RewardTable(_Table):
    """A reward model or classifier, hosted by this process or, with `base_url`, by `vllm serve`."""

    kind: Literal["reward"]
    model: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    base_url: str | None = None
    endpoint: RewardEndpoint | None = None
    tokenizer: Annotated[str, Field(min_length=1)] | None = None
    input: Input = "response"
    first_label: Annotated[int, Field(ge=0, le=1)] = 0
    template: str | dict[str, Any] | None = None
    chat_template: str | None = None
    template_options: dict[str, Any] = Field(default_factory=dict)
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    tau_from: str | None = None
    tau_groups: Annotated[int, Field(ge=10, le=2000)] = 100
    engine: dict[str, Any] = Field(default_factory=dict)
    devices: Annotated[str, Field(pattern=r"[0-9A-Za-z\-]+(,[0-9A-Za-z\-]+)*")] | None = None
    concurrency: Annotated[int, Field(ge=1)] = 256
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    attempts: Annotated[int, Field(ge=1)] = 5
    headers: dict[str, str] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    price_input: Price | None = None

    @property
    def engine_options(self) -> dict[str, Any]:
        """Return the options of the engine: it pools, and generates nothing."""
        return {"runner": "pooling", **self.engine}

    @model_validator(mode="after")
    def _tau_is_one_number(self) -> Self:
        if self.tau is not None and self.tau_from is not None:
            raise ValueError("tau: is given, or fitted by tau_from, not both")
        if self.input == "pair" and (self.tau, self.tau_from) != (None, None):
            raise ValueError('tau: input = "pair" gives probabilities and needs none')
        if self.input == "response" and self.template is not None:
            raise ValueError('template: goes with input = "pair"; see chat_template')
        return self

    @model_validator(mode="after")
    def _server_is_whole(self) -> Self:
        if self.base_url is None and self.endpoint is not None:
            raise ValueError("endpoint: goes with base_url")
        if self.base_url is not None and (self.engine or self.devices):
            raise ValueError("engine: goes with a model that this process hosts, not with base_url")
        needs_tokens = self.base_url is not None and self.endpoint != "score"
        if needs_tokens != (self.tokenizer is not None):
            raise ValueError(
                'tokenizer: goes with base_url, unless endpoint = "score", and is needed there:'
                " prompts are laid out here"
            )
        if self.endpoint == "score" and self.input == "pair":
            raise ValueError('endpoint: "score" takes a conversation and a response')
        return self


class CascadeTable(_Table):
    """Judges from cheap to strong, and their thresholds where no certificate is in force."""

    judges: Annotated[list[str], Field(min_length=1)]
    thresholds: list[float] | None = None

    @model_validator(mode="after")
    def _thresholds_fit(self) -> Self:
        if len(set(self.judges)) < len(self.judges):
            raise ValueError("judges: a name occurs twice")
        if self.thresholds is None:
            return self
        if len(self.thresholds) != len(self.judges):
            raise ValueError(f"thresholds: one for each of the {len(self.judges)} judges is needed")
        if not all(0 <= threshold <= 1 or threshold == math.inf for threshold in self.thresholds):
            raise ValueError("thresholds: each is between 0 and 1, or inf for a judge never asked")
        return self


TableT = TypeVar("TableT", bound=_Table)
HostedTable = VllmTable | RewardTable
JudgeTable = StudentTable | RecordedTable | OpenAITable | VllmTable | RewardTable

_TABLES: Final[dict[str, type[JudgeTable]]] = {
    "openai": OpenAITable,
    "student": StudentTable,
    "recorded": RecordedTable,
    "vllm": VllmTable,
    "reward": RewardTable,
}


def tables(config: Mapping[str, Any], section: str) -> Mapping[str, object]:
    """Return the tables under `section` by name.

    Raises:
        JudgeConfigurationInvalid: The section is no table.
    """
    content = config.get(section, {})
    if not isinstance(content, Mapping):
        raise JudgeConfigurationInvalid(f"{section}: must be a table of tables")
    unprintable = next((name for name in content if not name.isprintable()), None)
    if unprintable is not None:
        raise JudgeConfigurationInvalid(
            f"{section}: the name {unprintable!a} holds a character that cannot be printed"
        )
    return content


def read_judge(name: str, content: object) -> JudgeTable:
    """Return the checked table of one judge.

    Raises:
        JudgeConfigurationInvalid: Names the key.
    """
    path = f"judges.{name}"
    if not isinstance(content, Mapping):
        raise JudgeConfigurationInvalid(f"{path}: must be a table")
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in _TABLES:
        known = ", ".join(_TABLES)
        near = _did_you_mean(str(kind), _TABLES)
        what = "missing" if kind is None else f"{kind!r} is unknown"
        raise JudgeConfigurationInvalid(f"{path}.kind: {what}{near}; known: {known}")
    return _read(path, _TABLES[kind], content)


def read_cascade(name: str, content: object) -> CascadeTable:
    """Return the checked table of one cascade.

    Raises:
        JudgeConfigurationInvalid: Names the key.
    """
    if not isinstance(content, Mapping):
        raise JudgeConfigurationInvalid(f"cascades.{name}: must be a table")
    return _read(f"cascades.{name}", CascadeTable, content)


def _read(path: str, table: type[TableT], content: Mapping[str, Any]) -> TableT:
    try:
        return table.model_validate(dict(content))
    except ValidationError as error:
        problems = [_described(path, table, problem) for problem in error.errors()]
        raise JudgeConfigurationInvalid("; ".join(problems)) from None


def _described(path: str, table: type[_Table], problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = _did_you_mean(key, table.model_fields)
        return f"{path}.{key}: unknown key{near}; known: {', '.join(table.model_fields)}"
    if problem["type"] == "value_error":
        return f"{path}.{str(problem['msg']).removeprefix('Value error, ')}"
    if key.partition(".")[0] in _SECRET:  # the value may be a key
        return f"{path}.{key}: {problem['msg']}"
    return f"{path}.{key}: {problem['msg']}, not {problem['input']!r:.40}"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = nearest(word, known)
    return f", did you mean {near!r}?" if near else ""
