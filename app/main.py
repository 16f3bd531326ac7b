"""The application: the one place where everything is put together.

`create_app` takes settings and, for tests, a transport for the judges; nothing is global.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from typing import Any

import httpx
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.routing import BaseRoute

from app.api.batches import preferences_router as preferences
from app.api.batches import router as batches
from app.api.calibrations import experiments_router as experiments
from app.api.calibrations import plans_router as plans
from app.api.calibrations import router as calibrations
from app.api.datasets import router as datasets
from app.api.files import router as files
from app.api.finishes import router as finishes
from app.api.judgments import canaries_router as canaries
from app.api.judgments import catalogue_router as catalogue
from app.api.judgments import replays_router as replays
from app.api.judgments import router as judgments
from app.api.labels import router as labels
from app.api.leaderboards import router as leaderboards
from app.api.monitors import router as monitors
from app.api.queues import files_router as queue_files
from app.api.queues import router as queues
from app.api.reports import router as reports
from app.api.shadows import router as shadows
from app.batches.stored import unfinished as unfinished_batches
from app.batches.worker.loop import go_round, work_forever
from app.bodies.common import AliveBody, ReadyBody
from app.calibrations.service import resume as resume_calibrations
from app.core import telemetry
from app.core.auth import Scope
from app.core.db import Database
from app.core.errors import NotReady
from app.core.http.access import AccessControl, Open, may_read, needs
from app.core.http.idempotency import purge_forever
from app.core.http.middleware import BodyLimit, RequestContext
from app.core.http.middleware import router as descriptions
from app.core.http.openapi import UNFORESEEN, AnswerRoute, DescribedAPI, refused
from app.core.http.parameters import Running, refuse_while_opening
from app.core.http.problems import TextsResponse, install_error_handlers, install_outage_handlers
from app.core.migrate import upgrade
from app.core.outages import RETRY_AFTER, outages
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.core.tasks import Stopping, noticing_stop
from app.finishes.service import resume as resume_finishes
from app.imports.upload import remove_left_over
from app.monitors.alarms import ask_canaries_forever
from app.monitors.service import gauges
from app.monitors.webhooks import deliver_forever
from app.pages import boards as pages_boards
from app.pages import judges as pages_judges
from app.pages import labelling as pages_labelling
from app.pages import lists as pages_lists
from app.pages import ongoing as pages_ongoing
from app.pages import pairs as pages_pairs
from app.pages import reports as pages_reports
from app.pages import results as pages_results
from app.pages import signin as pages_signin
from app.reports.health import lines_of_config
from app.reports.service import resume as resume_reports
from app.scores.judges import load_registry, unasked_judges
from app.shadows.asking import ask_forever
from judges.configuration import model_folders
from judges.registry import HASHING
from judges.vllm.engine import EngineHost
from judges.vllm.weights import FolderHasher, HashFolder

_log = logging.getLogger(__name__)
_DESCRIPTION = """Which of two answers do people prefer, and how sure is that?

Pairs are judged by a cascade of judge models whose thresholds were certified on human labels: with
probability 1 - `failure_probability` at least `target_agreement` of the verdicts given agree with
people. `p_a` is always the probability that `response_a` is better: 0.83 means "a with 83 %".
"""


def create_app(
    settings: Settings | None = None,
    *,
    judge_transport: httpx.AsyncBaseTransport | None = None,
    loads_models: bool = True,
    hash_folder: HashFolder | None = None,
    asks_for_keys: bool = True,
) -> FastAPI:
    """Return the service. It opens its database and judges when it starts, not here.

    Args:
        settings: Read from the environment by default.
        judge_transport: How judges behind HTTP are reached; the network by default.
        loads_models: Hosted models load when the service starts, not when they are first asked.
        hash_folder: Reads what a hosted model's folder holds; while it does, only the operations'
            endpoints answer.
        asks_for_keys: Requests need a key where keys exist; not so inside a client's own process.
    """
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = open_runtime(settings, judge_transport, loads_models, hash_folder)
        async with opened as running:
            running.asks_for_keys = asks_for_keys
            app.state.runtime = running
            if running.opening is None or not loads_models:
                await _start_work(running)
            else:
                running.start(_start_work(running), "opening of the judges")
            stopping = Stopping()
            app.state.stopping = stopping
            with noticing_stop(stopping.begin):
                yield

    app = DescribedAPI(
        title="Tribunal",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        routes=_routes(),
        # the framework's own pages would need no key
        openapi_url=None,
    )
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(AccessControl)
    app.add_middleware(RequestContext)
    install_error_handlers(app)
    install_outage_handlers(app)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Build every route, once for all applications of a process.

    Reading the parameters of all endpoints takes a tenth of a second. A route holds nothing of its
    application, so `dependency_overrides` of one have no effect.
    """
    router = APIRouter(responses=UNFORESEEN)
    router.include_router(_operations)
    router.include_router(descriptions)
    for feature in (
        datasets, files, labels, catalogue, calibrations, plans, judgments, batches, leaderboards,
        reports, canaries, experiments, preferences, queues, queue_files,
        monitors, replays, finishes, shadows,
    ):  # fmt: skip
        router.include_router(
            feature,
            prefix="/v1",
            dependencies=[Depends(refuse_while_opening)],
            default_response_class=TextsResponse,
        )
    router.include_router(pages_signin.router)
    router.include_router(pages_signin.assets_router)
    for pages in (
        pages_lists.router,
        pages_judges.router,
        pages_labelling.router,
        pages_pairs.router,
        pages_boards.router,
        pages_reports.router,
        pages_results.router,
        pages_ongoing.router,
    ):
        router.include_router(pages, dependencies=[Depends(refuse_while_opening)])
    return router.routes


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None = None,
    loads_models: bool = True,
    hash_folder: HashFolder | None = None,
) -> AsyncIterator[Runtime]:
    """Open database and judges, and close them again, also when a later step of opening fails.

    Judges whose models' folders have to be hashed are left to `Runtime.open_judges`.
    """
    async with AsyncExitStack() as stack:
        db = Database(settings.database_url, settings.database_wait_seconds)
        stack.push_async_callback(db.aclose)
        await upgrade(db)
        remove_left_over(settings.spool_dir)
        config = settings.load_config()
        engines = EngineHost(is_eager=loads_models)
        stack.push_async_callback(engines.aclose)
        load = partial(load_registry, config, db, transport, engines)
        running = Runtime(
            settings=settings,
            db=db,
            registry=await load(None),
            load_registry=partial(load, FolderHasher(hash_folder)),
            health_lines=lines_of_config(config),
        )
        running.opening = HASHING if model_folders(config) else None
        stack.push_async_callback(running.aclose)
        _name_unasked_judges(config, running)
        yield running


def _name_unasked_judges(config: Mapping[str, Any], running: Runtime) -> None:
    names = unasked_judges(config, running.registry.cascades.values())
    if names:
        _log.info(
            "configured judges in no cascade, asked only where a request names them: %s",
            ", ".join(names),
        )


async def _start_work(running: Runtime) -> None:
    """Start the workers of this process, and take up what an earlier one left unfinished."""
    await running.open_judges()
    await resume_calibrations(running)
    await resume_reports(running)
    if running.settings.workers:
        await resume_finishes(running)
        running.start(ask_forever(running), "asking of candidates")
        running.start(ask_canaries_forever(running), "asking of canaries")
    if running.asks_for_keys:
        running.start(purge_forever(running), "purging of stored answers")
        running.start(deliver_forever(running), "delivery of alarms")
    for number in range(running.settings.workers):
        running.start(work_forever(running), f"worker {number}")
    if running.settings.workers:
        running.start(go_round(running), "files for providers")


_operations = APIRouter(tags=["operations"], route_class=AnswerRoute)


@_operations.get("/healthz", response_model=AliveBody)
@needs(Open.PROBE)
async def healthz() -> AliveBody:
    """Say that the process is up."""
    return {"status": "ok"}


@_operations.get("/readyz", response_model=ReadyBody, responses=refused(503))
@needs(Open.PROBE)
async def readyz(request: Request, running: Running) -> dict[str, Any]:
    """Say whether the database answers and at least one judge can; 503 if not.

    Those who may read are told about each judge.
    """
    fault = await running.db.fault()
    health = await running.health_of_judges()
    told = await may_read(request, running)
    judges = {n: {"ready": h.is_ready, "detail": h.detail} for n, h in health.items()}
    can_judge = any(h.is_ready for h in health.values())
    why = fault or running.opening or (None if can_judge else "no judge can answer")
    if why is not None:
        headers = RETRY_AFTER if fault else None
        if told:
            raise NotReady(why, extra={"judges": judges}, headers=headers)
        raise NotReady("not ready", headers=headers)
    return {"status": "ready", **({"database": "ok", "judges": judges} if told else {})}


@_operations.get("/metrics", response_class=PlainTextResponse)
@needs(Scope.READ)
async def prometheus(running: Running) -> Response:
    """Return the metrics in the Prometheus text format."""
    try:
        batches, watched = await unfinished_batches(running), await gauges(running)
    except outages():
        # the counters of this process are told also while the database is away
        batches, watched = [], []
    return Response(telemetry.exposition(batches, watched), media_type="text/plain; version=0.0.4")
