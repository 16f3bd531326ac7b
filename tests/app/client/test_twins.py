"""The blocking and the awaited client: the same verbs, lists, retries, tables, bars."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from stamina.instrumentation import set_on_retry_hooks

import app.client.http
from app.client import (
    AsyncTribunal,
    CannotConnect,
    Conflict,
    ConnectionLost,
    NotFound,
    PandasMissing,
    RequestRefused,
    TooManyRequests,
    Tribunal,
    to_pandas,
)
from app.client.bodies_in import JudgeOrder, Label
from app.client.calls import Listing, Resource, Verb
from app.client.resources import Verbs
from app.core.errors import TribunalError
from app.core.settings import Settings
from tests.app.processes import free_port, service
from tests.app.rows import labelled_rows, ndjson

JUDGES: JudgeOrder = {"judges": ["cheap", "dear"]}
PAIR = {"id": "x", "prompt": "Why?", "response_a": "Rain.", "response_b": ""}
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{tmp_path}/client.db")


@pytest.fixture
def opened(own_settings: Settings) -> Iterator[Tribunal]:
    with Tribunal(settings=own_settings) as client:
        yield client


@pytest.fixture
async def awaited(own_settings: Settings) -> AsyncIterator[AsyncTribunal]:
    async with AsyncTribunal(settings=own_settings) as client:
        yield client


async def test_the_main_job_awaited(awaited: AsyncTribunal, tmp_path: Path) -> None:
    file = tmp_path / "rivers.jsonl"
    file.write_bytes(ndjson(labelled_rows(200)))
    dataset = await awaited.import_dataset(file, name="rivers")
    certificate = await awaited.certify(dataset="rivers", cascade=JUDGES, target_agreement=0.8)
    assert (dataset["pairs"], certificate["status"]) == (200, "certified")
    plan = await awaited.plan(dataset="rivers", cascade=JUDGES, target_agreements=[0.8])
    assert plan["frontier"][0]["status"] == "certified"
    assert (await awaited.judge([PAIR]))["verdicts"][0]["judge"] == "student"
    looks: list[str] = []
    created = await awaited.create_batch(dataset="rivers", cascade=JUDGES)
    batch = await awaited.wait(created["id"], on_progress=lambda b: looks.append(b["status"]))
    assert batch["status"] == looks[-1] == "completed"
    verdicts = [verdict async for verdict in awaited.batch_results(batch["id"])]
    assert len(verdicts) == 200
    assert len(await awaited.batch_results(batch["id"]).to_pandas()) == 200
    assert (await awaited.leaderboard(dataset="rivers"))["rows"]
    assert (await awaited.report(dataset="rivers"))["pairs"] == 200
    with pytest.raises(NotFound):
        await awaited.batch("batch_1/../../x")


async def test_the_awaited_client_opens_with_its_first_request(own_settings: Settings) -> None:
    client = AsyncTribunal(settings=own_settings)
    assert (await client.get("/readyz"))["status"] == "ready"
    await client.import_dataset(labelled_rows(3), name="rows")
    assert [found["name"] async for found in client.datasets.list()] == ["rows"]
    await client.close()


async def test_rows_that_break_off_raise_their_own_error(awaited: AsyncTribunal) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield labelled_rows(1)[0]
        raise ZeroDivisionError("the rows end here")

    with pytest.raises(ZeroDivisionError, match="the rows end here"):
        await awaited.import_dataset(rows(), name="rows")
    with pytest.raises(TypeError, match="not JSON serializable"):
        await awaited.import_dataset([{"prompt": object()}], name="rows")
    assert [found async for found in awaited.datasets.list()] == []


async def test_a_service_that_cannot_start_says_so_to_who_awaits(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[judges.x]\nkind = 3\n")
    wrong = Settings(database_url=f"sqlite:///{tmp_path}/x.db", config=tmp_path / "wrong.toml")
    with pytest.raises(TribunalError, match="kind"):
        async with AsyncTribunal(settings=wrong):
            pass


def test_groups_of_verbs(opened: Tribunal) -> None:
    opened.import_dataset(labelled_rows(60), name="rivers")
    assert opened.datasets.retrieve("rivers")["pairs"] == 60
    made = opened.calibrations.create(dataset="rivers", cascade=JUDGES, target_agreement=0.6)
    assert opened.calibrations.retrieve(made["id"])["id"] == made["id"]
    assert opened.calibrations.revoke(made["id"])["revoked_at"]
    label: Label = {"dataset": "rivers", "pair": "p0", "annotator": "bert", "label": "b"}
    assert opened.labels.create([label])["accepted"] == 1
    assert opened.labels.create([{**label, "label": "a"}])["replaced"] == 1
    assert sum(one["annotator"] == "bert" for one in opened.labels.list("rivers")) == 1
    assert sum(one["annotator"] == "bert" for one in opened.labels.list(history=True)) == 2
    board = opened.leaderboards.create(dataset="rivers")
    assert opened.leaderboards.retrieve(board["id"])["rows"] == board["rows"]
    report = opened.report(dataset="rivers")
    assert opened.reports.retrieve(report["id"])["pairs"] == 60
    opened.judgments.create([PAIR])
    assert [one["id"] for one in opened.judgments.list(status="accepted")] == ["x"]
    batch = opened.wait(opened.batches.create(dataset="rivers", cascade=JUDGES)["id"])
    assert opened.batches.retrieve(batch["id"])["status"] == "completed"
    assert [one["name"] for one in opened.judges.list()] == ["student"]
    assert [one["judges"] for one in opened.cascades.list()] == [["student"]]
    with pytest.raises(Conflict, match="force"):
        opened.datasets.delete("rivers")
    assert not opened.datasets.delete("rivers", force=True)
    assert list(opened.datasets.list()) == []


def test_lists_are_fetched_page_by_page(opened: Tribunal) -> None:
    opened.import_dataset(labelled_rows(25), name="rivers")
    pairs = opened.datasets.pairs("rivers", limit=10)
    assert [len(page) for page in pairs.pages()] == [10, 10, 5]
    assert [pair["id"] for pair in pairs] == [f"p{number}" for number in range(25)]
    assert [pair["id"] for pair in opened.datasets.pairs("rivers", after="p22")] == ["p23", "p24"]


async def test_lists_are_awaited_page_by_page(awaited: AsyncTribunal) -> None:
    await awaited.import_dataset(labelled_rows(25), name="rivers")
    pairs = awaited.datasets.pairs("rivers", limit=10)
    assert [len(page) async for page in pairs.pages()] == [10, 10, 5]
    assert [pair["id"] for pair in await pairs.to_list()] == [f"p{n}" for n in range(25)]
    assert len(await pairs.to_pandas()) == 25


def test_the_clients_have_the_same_verbs_all_of_them_explained() -> None:
    def public(kind: type) -> dict[str, Any]:
        return {name: member for name, member in inspect.getmembers(kind) if name[0] != "_"}

    one, other = public(Tribunal), public(AsyncTribunal)
    assert one.keys() == other.keys()
    for name in ("wait", "wait_for_calibration", "import_dataset", "certify", "report"):
        signatures = [inspect.signature(members[name]) for members in (one, other)]
        assert signatures[0].parameters == signatures[1].parameters
    kinds: list[type] = [Verbs, *Resource.__subclasses__()]
    verbs = [member for kind in kinds for member in vars(kind).values()]
    verbs = [one for one in verbs if isinstance(one, Verb | Listing)]
    assert len(verbs) > 25
    assert all(one.__doc__ for one in verbs)


def test_wrong_arguments_are_seen_by_type_checkers_and_raised() -> None:
    """An `ignore` that is not needed is an error, so that mypy checks these, too."""
    with Network().client() as client:
        for call in (
            lambda: client.wait(),  # type: ignore[call-arg]
            lambda: client.judge(),  # type: ignore[call-arg]
            lambda: client.datasets.pairs(),  # type: ignore[call-arg]
        ):
            with pytest.raises(TypeError):
                call()
        with pytest.raises(TypeError, match="AsyncBaseTransport"):
            Tribunal("server", transport=httpx.HTTPTransport())  # type: ignore[arg-type]


class Network:
    """Answers or fails as planned, and remembers what was sent."""

    def __init__(self, *plan: Exception | httpx.Response) -> None:
        self.plan = list(plan)
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        planned = self.plan.pop(0) if self.plan else httpx.Response(200, json={"id": "x"})
        if isinstance(planned, Exception):
            raise planned
        return planned

    def client(self, *, is_remote: bool = True, **options: Any) -> Tribunal:
        address = "http://server" if is_remote else None
        return Tribunal(address, transport=httpx.MockTransport(self), **options)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """How long was waited before each retry; all other tests do not wait."""
    monkeypatch.setattr(app.client.http, "_FIRST_PAUSE_S", 0.01)
    waited: list[float] = []
    set_on_retry_hooks([lambda details: waited.append(details.wait_for)])
    with stamina.set_testing(False):
        yield waited
    set_on_retry_hooks(None)


def busy(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"detail": "busy"}, headers=headers)


def test_what_a_server_was_too_busy_for_is_sent_again_when_it_says(pauses: list[float]) -> None:
    network = Network(busy(429, **{"retry-after": "0.07"}), busy(503))
    assert network.client().judge([PAIR])
    assert pauses == [0.07, pytest.approx(0.025, abs=0.005)]
    assert len({request.headers["idempotency-key"] for request in network.sent}) == 1


@pytest.mark.parametrize(
    ("failure", "ask", "attempts"),
    [
        (httpx.ConnectError("refused"), lambda c: c.canaries(dataset="x"), 3),
        (httpx.ReadError("reset"), lambda c: c.get("/x"), 3),
        (httpx.ReadError("reset"), lambda c: c.plan(dataset="x"), 3),
        (httpx.ReadError("reset"), lambda c: c.judge([PAIR]), 3),
        (httpx.ReadError("reset"), lambda c: c.canaries(dataset="x"), 1),
        (httpx.ReadError("reset"), lambda c: c.post("/x", {}), 1),
        (busy(504), lambda c: c.canaries(dataset="x"), 1),
        (busy(504), lambda c: c.get("/x"), 3),
        (busy(500), lambda c: c.get("/x"), 1),
        (busy(422), lambda c: c.get("/x"), 1),
        (busy(503, **{"retry-after": "3600"}), lambda c: c.get("/x"), 1),
    ],
)
def test_what_may_have_been_done_is_sent_again_only_where_that_does_no_harm(
    failure: Exception | httpx.Response, ask: Callable[[Tribunal], Any], attempts: int
) -> None:
    network = Network(*[failure] * 5)
    with pytest.raises((CannotConnect, ConnectionLost, RequestRefused)):
        ask(network.client())
    assert len(network.sent) == attempts


def test_in_process_no_key_is_sent_and_retries_can_be_switched_off() -> None:
    network = Network()
    network.client(is_remote=False).judge([PAIR])
    assert "idempotency-key" not in network.sent[0].headers
    network = Network(busy(429))
    with pytest.raises(TooManyRequests) as error:
        network.client(max_retries=0).get("/x")
    assert error.value.status == 429
    assert error.value.retry_after_s is None


async def test_the_awaited_client_sends_again_too() -> None:
    network = Network(busy(503, **{"retry-after": "0"}), httpx.ReadError("reset"))
    client = AsyncTribunal("http://server", transport=httpx.MockTransport(network))
    assert await client.judge([PAIR])
    assert len(network.sent) == 3
    lost = httpx.MockTransport(Network(httpx.ReadError("reset")))
    with pytest.raises(ConnectionLost):
        await AsyncTribunal("server", transport=lost).canaries(dataset="x")


def test_a_request_that_was_answered_but_not_heard_is_done_once(tmp_path: Path) -> None:
    """A real server, and a network that loses the first answer."""
    port = free_port()
    posts = []

    class LosesTheFirst(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if request.method == "POST":
                posts.append(request)
                if len(posts) == 1:
                    await response.aread()
                    await response.aclose()
                    raise httpx.ReadError("the answer was lost")
            return response

    with service(tmp_path, port, workers=0):
        address = f"http://127.0.0.1:{port}"
        with Tribunal(address) as client:
            client.import_dataset(labelled_rows(5), name="rivers")
        with Tribunal(address, transport=LosesTheFirst()) as client:
            created = client.create_batch(dataset="rivers", cascade=JUDGES)
            assert [batch["id"] for batch in client.batches.list()] == [created["id"]]
    assert len(posts) == 2


def test_tables(opened: Tribunal) -> None:
    opened.import_dataset(labelled_rows(120), name="rivers")
    board = to_pandas(opened.leaderboard(dataset="rivers"))
    assert set(board["model"]) == {"left", "right"}
    assert (board["rating_low"] <= board["rating"]).all()
    report = to_pandas(opened.report(dataset="rivers"))
    assert set(report["judge"]) == {"cheap", "dear"}
    assert "agreement_high" in report
    plan = to_pandas(opened.plan(dataset="rivers", cascade=JUDGES, target_agreements=[0.7, 0.8]))
    assert list(plan["target_agreement"]) == [0.7, 0.8]
    assert "composition.dear" in plan
    verdicts = to_pandas(opened.judge([PAIR]))
    assert list(verdicts["id"]) == ["x"]
    assert len(opened.datasets.pairs("rivers").to_pandas()) == 120
    assert to_pandas([]).empty
    with pytest.raises(TypeError, match="holds no rows"):
        to_pandas((opened.datasets.retrieve("rivers")["rejected"] and {}) or {"id": "x"})


def test_tables_without_pandas_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PandasMissing, match=r"tribunal-judge\[pandas\]"):
        to_pandas([{"a": 1}])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "is_shown"),
    [(Terminal, None, True), (Terminal, False, False), (io.StringIO, None, False)],
)
def test_a_bar_is_shown_where_a_person_looks(
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    progress: bool | None,
    is_shown: bool,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    said = stream()
    monkeypatch.setattr(sys, "stderr", said)
    counts = {"total": 40, "completed": 10, "failed": 2, "accepted": 9, "abstained": 1}
    tiers = [{"judge": "cheap", "asked": 12}, {"judge": "dear", "asked": 3}]
    progress_of = {"pairs_per_second": 2.5, "seconds_left": 11.2, "tiers": tiers}
    bodies = [
        {"id": "b", "status": status, "request_counts": counts}
        | {"progress": progress_of, "cost_usd": 0.25}
        for status in ("in_progress", "completed")
    ]
    network = Network(*(httpx.Response(200, json=body) for body in bodies))
    assert network.client().wait("b", progress=progress)["status"] == "completed"
    for words in ("12/40", "2.5/s, 11 s left, 0.2500 USD, cheap 12 > dear 3"):
        assert (words in said.getvalue()) is is_shown
    network = Network(*(httpx.Response(200, json={"status": s}) for s in ("running", "certified")))
    network.client().wait_for_calibration("c", progress=progress)
    assert ("calibrating" in said.getvalue()) is is_shown


def test_a_report_takes_weights_of_criteria_as_leaderboards_do() -> None:
    network = Network(*(httpx.Response(200, json={"status": "completed"}) for _ in range(3)))
    with network.client() as client:
        client.report(dataset="x", criteria={"wit": 3, "a=b": 0.5})
        client.report(dataset="x", criterion="overall=1", criteria={"wit": 3})
        client.report(dataset="x", criterion=["overall=1"])
    asked = [request.url.params.get_list("criterion") for request in network.sent]
    assert asked == [["wit=3", "a=b=0.5"], ["overall=1", "wit=3"], ["overall=1"]]
    assert not any("criteria" in request.url.params for request in network.sent)


def test_a_report_that_takes_long_is_waited_for() -> None:
    bodies = [{"id": "r", "status": s} for s in ("pending", "running", "completed")]
    network = Network(*(httpx.Response(200, json=body) for body in bodies))
    assert network.client().report(dataset="x")["status"] == "completed"
    paths = [request.url.path for request in network.sent]
    assert paths == ["/v1/reports/agreement", "/v1/reports/r", "/v1/reports/r"]
