"""Every route of the service has a verb in both clients, and the verbs do what they say."""

from __future__ import annotations

import inspect
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from app.bodies.batches import BatchBody, FileBody, PreferencesCardBody
from app.bodies.health import HealthCardBody, HistoryBody, ReportComparisonBody
from app.bodies.leaderboards import LeaderboardBody, LeaderboardComparisonBody
from app.bodies.reports import ReportBody
from app.client import AsyncTribunal, NotFound, Tribunal
from app.client.bodies_in import Label
from app.client.calls import Resource
from app.client.paging import AsyncPages, Pages
from app.core.settings import Settings
from app.main import create_app
from tests.app.processes import free_port, service
from tests.app.rows import labelled_rows

Route = tuple[str, str]
# one verb may stand for several routes
_SAME_AS: Final[Mapping[Route, Route]] = {
    ("GET", "/v1/reports/health"): ("POST", "/v1/reports/health"),
}
_ARGUMENTS: Final[Mapping[str, Any]] = {
    "pairs": [], "prompts": [], "labels": [], "criteria": {"overall": 1.0}, "source": io.BytesIO(),
    "answers": [], "tasks": [], "document": {},
}  # fmt: skip
_GENERAL = ("get", "post", "close")


def routes_of(app: FastAPI) -> set[Route]:
    paths: Mapping[str, Mapping[str, Any]] = app.openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def without_verb(app: FastAPI, asked: Iterable[Route]) -> set[Route]:
    """Return the routes that no request of these asks."""
    routes = routes_of(app)
    reached = {_route_of(routes, method, path) for method, path in asked}
    return {route for route in routes if _SAME_AS.get(route, route) not in reached}


def _route_of(routes: set[Route], method: str, path: str) -> Route | None:
    fitting = [
        (verb, template)
        for verb, template in routes
        if verb == method and re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path)
    ]
    return min(fitting, key=lambda route: route[1].count("{"), default=None)


class Recorder(httpx.MockTransport):
    """Notes every request, and gives an answer that ends all waiting."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.asked: set[Route] = set()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.add((request.method, request.url.path))
        counts = {"total": 0, "completed": 0, "failed": 0}
        body = {
            "id": "x", "status": "completed", "data": [], "has_more": False,
            "request_counts": counts,
        }  # fmt: skip
        if request.url.path.endswith("/events"):
            return httpx.Response(200, text=f"id: 0-completed\ndata: {json.dumps(body)}\n\n")
        if re.search("/(results|content|metrics|(queues|datasets)/.*/export)$", request.url.path):
            return httpx.Response(200, text="")
        return httpx.Response(200, json=body)


def methods_of(client: Any) -> Iterator[Callable[..., Any]]:
    """Yield the verbs of a client and of its groups."""
    for name in dir(client):
        if name.startswith("_") or name in _GENERAL:
            continue
        found = getattr(client, name)
        if isinstance(found, Resource):
            yield from methods_of(found)
        elif callable(found):
            yield found


def arguments_of(method: Callable[..., Any]) -> tuple[list[Any], dict[str, Any]]:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            continue
        value = io.BytesIO() if name == "target" else _ARGUMENTS.get(name, "x")
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            positional.append(value)
    return positional, named


def test_every_route_has_a_verb_that_blocks(settings: Settings) -> None:
    recorder = Recorder()
    with Tribunal("http://server", transport=recorder) as client:
        for method in methods_of(client):
            positional, named = arguments_of(method)
            answer = method(*positional, **named)
            if isinstance(answer, Pages | Iterator):
                list(answer)
    assert without_verb(create_app(settings), recorder.asked) == set()


async def test_every_route_has_a_verb_that_is_awaited(settings: Settings) -> None:
    recorder = Recorder()
    async with AsyncTribunal("http://server", transport=recorder) as client:
        for method in methods_of(client):
            positional, named = arguments_of(method)
            answer = method(*positional, **named)
            if isinstance(answer, AsyncPages | AsyncIterator):
                async for _ in answer:
                    pass
            else:
                await answer
    assert without_verb(create_app(settings), recorder.asked) == set()


def test_a_route_without_a_verb_is_found(settings: Settings) -> None:
    app = create_app(settings)

    @app.get("/v1/weather/{place}")
    async def weather(place: str) -> dict[str, str]:
        return {"place": place}

    recorder = Recorder()
    with Tribunal("http://server", transport=recorder) as client:
        for method in methods_of(client):
            positional, named = arguments_of(method)
            answer = method(*positional, **named)
            if isinstance(answer, Pages | Iterator):
                list(answer)
    assert without_verb(app, recorder.asked) == {("GET", "/v1/weather/{place}")}


@contextmanager
def opened(where: str, folder: Path) -> Iterator[Tribunal]:
    if where == "in process":
        with Tribunal(settings=Settings(database_url=f"sqlite:///{folder}/client.db")) as client:
            yield client
        return
    port = free_port()
    with service(folder, port, workers=1), Tribunal(f"http://127.0.0.1:{port}") as client:
        yield client


def check(kind: Any, found: Any) -> None:
    TypeAdapter(kind).validate_python(found)


@pytest.mark.parametrize("where", ["in process", "server"])
def test_verbs_of_reports_boards_files_and_progress(where: str, tmp_path: Path) -> None:
    with opened(where, tmp_path) as client:
        assert client.alive()["status"] == "ok"
        assert client.ready()["status"] == "ready"
        client.import_dataset(labelled_rows(60), name="rivers")
        batch = client.create_batch(dataset="rivers", cascade={"judges": ["cheap"]})
        seen = list(client.batch_events(batch["id"]))
        check(list[BatchBody], seen)
        assert seen[-1]["request_counts"]["completed"] == 60
        _boards(client)
        _reports(client, batch["id"])
        _files(client, tmp_path)
        card = client.batches.preferences_card(batch["id"], promise="any")
        check(PreferencesCardBody, card)
        assert "tribunal_verdicts_total" in client.metrics()


def _boards(client: Tribunal) -> None:
    first = client.leaderboard(dataset="rivers")
    second = client.leaderboard(dataset="rivers", ties="exclude")
    check(LeaderboardComparisonBody, client.leaderboards.compare(first["id"], second["id"]))
    styles: list[Label] = [
        {
            "dataset": "rivers",
            "pair": f"p{n}",
            "annotator": "ann",
            "label": "ab"[n % 3 == 0],
            "criterion": "style",
        }
        for n in range(0, 60, 2)
    ]
    client.labels.create(styles)
    board = client.leaderboard(dataset="rivers", criteria={"overall": 1.0, "style": 1.0})
    check(LeaderboardBody, client.leaderboards.reweight(board["id"], {"overall": 2.0, "style": 1}))


def _reports(client: Tribunal, batch_id: str) -> None:
    first, second = client.report(dataset="rivers"), client.report(dataset="rivers", seed=1)
    check(ReportComparisonBody, client.reports.compare(first["id"], second["id"]))
    check(HistoryBody, client.reports.history("rivers", judge="cheap"))
    check(ReportBody, client.reports.of_batch(batch_id))
    card = client.health_card(dataset="rivers", judge="cheap", lines={"kappa": 0.99})
    check(HealthCardBody, card)
    same = client.reports.health(card["report"], "cheap", lines={"kappa": 0.99})
    assert same == card
    assert client.reports.health(card["report"], "cheap", lines={"kappa": None}) != card


def _files(client: Tribunal, folder: Path) -> None:
    line = {
        "custom_id": "q1", "method": "POST", "url": "/v1/judgments",
        "body": {"id": "q1", "prompt": "Why?", "response_a": "Rain.", "response_b": ""},
    }  # fmt: skip
    path = folder / "requests.jsonl"
    path.write_text(json.dumps(line) + "\n")
    uploaded = client.upload_file(path)
    check(FileBody, uploaded)
    assert uploaded["requests"] == 1
    assert [one["id"] for one in client.files.list()] == [uploaded["id"]]
    assert client.files.retrieve(uploaded["id"])["bytes"] == len(path.read_bytes())
    read = io.BytesIO()
    client.file_content(uploaded["id"], read)
    assert read.getvalue() == path.read_bytes()
    assert client.files.delete(uploaded["id"])["deleted"]
    with pytest.raises(NotFound):
        client.files.retrieve(uploaded["id"])


def test_a_stream_of_events_that_breaks_off_is_taken_up_again() -> None:
    """The server is told the last event that was heard."""
    counts = {"total": 2, "completed": 0, "failed": 0}
    bodies: list[Any] = [
        {"id": "b", "status": status, "request_counts": {**counts, "completed": done}}
        for status, done in (("in_progress", 1), ("completed", 2))
    ]
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("last-event-id"))
        if len(asked) == 2:
            raise httpx.ReadError("broken")
        number = min(len(asked) - 1, 1)
        text = f"id: {number}\ndata: {json.dumps(bodies[number])}\n\n: still there\n\n"
        return httpx.Response(200, text=text)

    with Tribunal("http://server", transport=httpx.MockTransport(answer)) as client:
        assert list(client.batch_events("b")) == bodies
    assert asked == [None, "0", "0"]
