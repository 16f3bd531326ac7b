"""Requests before they are sent, and the methods of both clients that are made from them.

A `Verb` turns a function that describes a request into a method. On a blocking client the method
returns the answer, on an asynchronous one an awaitable of it; a `Listing` likewise returns pages.
Type checkers see which.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, overload

from app.bodies.common import PageBody
from app.client.paging import AsyncPages, Pages

Json = dict[str, Any]
P = ParamSpec("P")
AnswerT = TypeVar("AnswerT")
RowT = TypeVar("RowT")
ModeT = TypeVar("ModeT")


class Blocking:
    """Marks clients whose methods return answers."""


class Awaited:
    """Marks clients whose methods return awaitables."""


@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT]):
    """A request, before anything is sent.

    Attributes:
        method: The HTTP method.
        path: Below the server's address.
        params: The query of the address.
        body: Sent as JSON, if there is one.
        is_repeatable: Sending it twice has the effect of sending it once, so that it is sent again
            where the answer was lost.
        takes_key: The server keeps its answer under an `Idempotency-Key`.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | Sequence[Any] | None = None
    is_repeatable: bool = False
    takes_key: bool = False


class Performs(Generic[ModeT]):
    """Sends what calls describe."""

    def _perform(self, call: Call[Any]) -> Any:
        raise NotImplementedError

    def _pages(self, call: Call[Any]) -> Any:
        raise NotImplementedError


class Resource(Performs[ModeT]):
    """A group of verbs, sent by a client."""

    def __init__(self, client: Performs[ModeT]) -> None:
        self._client = client

    def _perform(self, call: Call[Any]) -> Any:
        return self._client._perform(call)

    def _pages(self, call: Call[Any]) -> Any:
        return self._client._pages(call)


class Verb(Generic[P, AnswerT]):
    """A method whose request a function describes."""

    def __init__(self, describe: Callable[P, Call[AnswerT]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Verb[P, AnswerT]: ...
    @overload
    def __get__(self, client: Performs[Blocking], owner: type) -> Callable[P, AnswerT]: ...
    @overload
    def __get__(
        self, client: Performs[Awaited], owner: type
    ) -> Callable[P, Coroutine[Any, Any, AnswerT]]: ...
    def __get__(self, client: Performs[Any] | None, owner: type) -> Any:
        """Return the method of a client."""
        if client is None:
            return self

        @wraps(self.describe)
        def send(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client._perform(self.describe(*args, **kwargs))

        return send


class Listing(Generic[P, RowT]):
    """A method that returns a list, page by page; a function describes its first page."""

    def __init__(self, describe: Callable[P, Call[PageBody[RowT]]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Listing[P, RowT]: ...
    @overload
    def __get__(self, client: Performs[Blocking], owner: type) -> Callable[P, Pages[RowT]]: ...
    @overload
    def __get__(self, client: Performs[Awaited], owner: type) -> Callable[P, AsyncPages[RowT]]: ...
    def __get__(self, client: Performs[Any] | None, owner: type) -> Any:
        """Return the method of a client."""
        if client is None:
            return self

        @wraps(self.describe)
        def turn(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client._pages(self.describe(*args, **kwargs))

        return turn
