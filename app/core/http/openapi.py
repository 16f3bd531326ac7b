"""The OpenAPI document: the types of every route's answers.

The types only describe. Answers are sent as they are made: to validate them would take longer than
to make them, and would refuse what earlier versions stored.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import (
    Any,
    ClassVar,
    Final,
    NotRequired,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from fastapi import FastAPI, Request, Response
from fastapi.datastructures import Default, DefaultPlaceholder
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import TypedDictSchema
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send
from typing_extensions import Doc

from app.bodies.common import JsonValue, ProblemBody
from app.core.http.access import Need, Open, allow, need_of, scopes_of
from app.core.http.json_bodies import hold_to_limits
from app.core.http.parameters import get_runtime
from app.core.http.problems import MEDIA_TYPE
from app.core.limits import Limits

Json = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]
LOCATION: Final = {"Location": {"description": "where it is found", "schema": {"type": "string"}}}
_JSON: Final = "application/json"
_SCHEMAS: Final = "#/components/schemas/{model}"
_KEY: Final = "key"
_KEY_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key that `tribunal keys create` made, with the scope that the operation "
    "names; `admin` is all. Where no keys exist, requests from this machine need none.",
}
_REFUSED: Final = {
    400: "the body cannot be read",
    401: "a key is needed, or this one is unknown, revoked or expired",
    403: "the key lacks the scope, the request comes from elsewhere and there are no keys, or a "
    "web page of another site sends it",
    404: "something that the request names does not exist",
    406: "no form of the answer is among those that `Accept` names",
    409: "the request contradicts what is stored",
    413: "the body is too large",
    415: "the body is not said to be JSON",
    422: "a field is wrong; `errors` says which",
    503: "nothing can answer now",
}


def refused(*statuses: int) -> Responses:
    """Describe refusals that a route may give, beside those that every route of its kind gives."""
    return {status: _refusal(_REFUSED[status]) for status in statuses}


def _refusal(words: str) -> dict[str, Any]:
    schema = {"$ref": _SCHEMAS.format(model=ProblemBody.__name__)}
    return {"description": words, "content": {MEDIA_TYPE: {"schema": schema}}}


_NOT_NAMED: Final = Default(None)
# refusals that no route declares
UNFORESEEN: Final[Responses] = {
    "4XX": _refusal("the request is refused"),
    "5XX": _refusal("the service cannot answer"),
}


_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])
_LONG_LISTS: Final = "_has_long_lists"


def long_lists(endpoint: _Endpoint) -> _Endpoint:
    """Let one list of a body be as long as the whole body may be: it has a column for each field."""
    setattr(endpoint, _LONG_LISTS, True)
    return endpoint


class AnswerRoute(APIRoute):
    """A route whose answers are described by their types and sent without a check.

    `response_model`, and `model` in `responses`, name the types. Summary and description are the
    endpoint's docstring.
    """

    # statuses that every POST of such a route may refuse with
    refuses_posts_with: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        response_model: Any = _NOT_NAMED,
        responses: Responses | None = None,
        **options: Any,
    ) -> None:
        has_type = response_model is not None and not isinstance(response_model, DefaultPlaceholder)
        super().__init__(
            path,
            endpoint,
            response_model=Any if has_type else response_model,
            responses={status: _untyped(said) for status, said in (responses or {}).items()},
            **options,
        )
        # a router that includes this one makes the route again from these
        if has_type:
            self.response_model = response_model
        self.responses = responses or {}
        # the first line of the docstring says in words what the function's name says
        summary, _, rest = inspect.cleandoc(endpoint.__doc__ or "").partition("\n")
        self.summary, self.description = summary.rstrip("."), rest.strip()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler: JSON bodies are held to the limits before their fields are read."""
        handle, field = super().get_route_handler(), self.body_field
        if field is None:
            return handle

        async def within_limits(request: Request) -> Response:
            await hold_to_limits(request, self._within(get_runtime(request).settings.limits), field)
            return await handle(request)

        return within_limits

    def _within(self, limits: Limits) -> Limits:
        if not getattr(self.endpoint, _LONG_LISTS, False):
            return limits
        return replace(limits, list_items=max(limits.list_items, limits.body_values))

    @property
    def need(self) -> Need:
        """What a request to this route needs, as its endpoint declares."""
        return need_of(self.endpoint)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, if its caller may send it; its body is not read before."""
        if scope["method"] in self.methods:
            allow(scope, self.need)
        await super().handle(scope, receive, send)

    @property
    def bodies(self) -> dict[int, Any]:
        """The type of the JSON body of every status that has one."""
        bodies = {int(status): said["model"] for status, said in self.responses.items()
                  if "model" in said}  # fmt: skip
        if self.response_field is not None:
            bodies[self.status_code or HTTPStatus.OK] = self.response_model
        return bodies


def _untyped(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "model"}


class DescribedAPI(FastAPI):
    """A service whose OpenAPI document has the type of every answer and every refusal."""

    def openapi(self) -> Json:
        """Return the description; it is made when it is first asked for."""
        if self.openapi_schema is None:
            made = super().openapi()
            routes = [route for route in _answering(self.routes) if route.include_in_schema]
            _add_bodies(made, routes)
            made["components"]["securitySchemes"] = {_KEY: _KEY_SCHEME}
            for route in routes:
                for operation in _operations(made, route):
                    _add_security(operation, route.need)
                    _add_refusals(operation, route)
        return self.openapi_schema or {}


def _answering(routes: Iterable[BaseRoute]) -> Iterator[AnswerRoute]:
    return (route for route in routes if isinstance(route, AnswerRoute))


def _operations(description: Json, route: AnswerRoute) -> Iterator[Json]:
    return (description["paths"][route.path_format][method.lower()] for method in route.methods)


class _Schemas(GenerateJsonSchema):
    """Makes schemas that say of a field what its `Doc` says."""

    def typed_dict_schema(self, schema: TypedDictSchema) -> JsonSchemaValue:
        made = super().typed_dict_schema(schema)
        hints = get_type_hints(schema["cls"], include_extras=True) if "cls" in schema else {}
        for name, hint in hints.items():
            if (said := _doc_of(hint)) is not None and name in made["properties"]:
                made["properties"][name]["description"] = said
        return made


def _doc_of(hint: Any) -> str | None:
    if get_origin(hint) is NotRequired:
        (hint,) = get_args(hint)
    notes = getattr(hint, "__metadata__", ())
    return next((note.documentation for note in notes if isinstance(note, Doc)), None)


def _add_bodies(description: Json, routes: Iterable[AnswerRoute]) -> None:
    places = [
        (operation["responses"][str(int(status))], body)
        for route in routes
        for operation in _operations(description, route)
        for status, body in route.bodies.items()
    ]
    # many answers share a type, and reading one takes milliseconds
    types = {id(body): body for body in (ProblemBody, *(body for _, body in places))}
    schemas, made = TypeAdapter.json_schemas(
        [(number, "serialization", TypeAdapter(body)) for number, body in types.items()],
        ref_template=_SCHEMAS,
        schema_generator=_Schemas,
    )
    for answer, body in places:
        content = answer.setdefault("content", {}).setdefault(_JSON, {})
        content["schema"] = schemas[id(body), "serialization"]
    definitions: Json = made["$defs"]
    for name, schema in definitions.items():
        # generators of clients name a class by the title: that of every kind of page would be one
        schema["title"] = name
    definitions[JsonValue.__name__]["description"] = "any JSON value"
    components = description["components"]["schemas"]
    description["components"]["schemas"] = dict(sorted((components | definitions).items()))


def _add_security(operation: Json, need: Need) -> None:
    """Say which scope a key needs for an operation."""
    operation["security"] = [{_KEY: [one.value]} for one in scopes_of(need)]


def _add_refusals(operation: Json, route: AnswerRoute) -> None:
    """Add what every route of this kind may refuse."""
    found = [403] if isinstance(route.need, Open) else [401, 403, 503]
    if route.param_convertors:
        found.append(404)
    if route.body_field is not None:
        found += [400, 413, 415, 422]
    elif "parameters" in operation:
        found.append(422)
    if "POST" in route.methods:
        found += route.refuses_posts_with
    for status, said in refused(*found).items():
        operation["responses"].setdefault(str(status), said)
