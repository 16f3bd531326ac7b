"""Bodies of the API's answers, shared by the server and the client.

A client must load no server, so this file imports types only. TypedDict comes from
typing_extensions because pydantic, which makes the schemas, reads no other before Python 3.12.
The server may send more than is named here. A field that is not always there is `NotRequired`.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from typing_extensions import Doc, TypeAliasType, TypedDict

Label = Literal["a", "b", "tie"]
Promise = Literal["certified", "suspended", "none"]
# any JSON value, where users get back what they gave: metadata, a request
JsonValue = TypeAliasType("JsonValue", Any)
ItemT = TypeVar("ItemT")


class PageBody(TypedDict, Generic[ItemT]):
    """One page of a list."""

    object: Literal["list"]
    data: list[ItemT]
    first_id: str | None
    last_id: Annotated[str | None, Doc("give it as `after` for the next page")]
    has_more: bool


class Estimate(TypedDict):
    """A number with its interval."""

    value: float | None
    low: float | None
    high: float | None
    confidence_level: float
    n: Annotated[int, Doc("number of cases")]


class FieldFault(TypedDict):
    """What is wrong with one field of a request."""

    loc: Annotated[list[str | int], Doc("where the field is: body, query, path or header first")]
    msg: str


class OpenAIErrorBody(TypedDict):
    """A refusal as OpenAI clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ProblemBody(TypedDict):
    """Why a request was refused (RFC 9457); some refusals have fields of their own besides."""

    type: str
    title: str
    status: int
    detail: str
    instance: NotRequired[str]
    errors: NotRequired[list[FieldFault]]
    error: NotRequired[Annotated[OpenAIErrorBody, Doc("under /v1/files and /v1/batches")]]


class ComponentHealth(TypedDict):
    """Whether something can answer, and what it says of itself."""

    ready: bool
    detail: str


class AliveBody(TypedDict):
    """The process is up."""

    status: Literal["ok"]


class ReadyBody(TypedDict):
    """The database answers, and at least one judge can; more than that with a key alone."""

    status: Literal["ready"]
    database: NotRequired[Literal["ok"]]
    judges: NotRequired[dict[str, ComponentHealth]]


class SaidBody(TypedDict):
    """What a verdict was, or would be."""

    status: Literal["accepted", "abstained", "failed"]
    label: Label | None
