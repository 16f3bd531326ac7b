"""`/queues`: pairs handed out to people, and their answers.

A key with the scope `label` opens claims, answers and undoing, and for its own annotator alone.
"""

from __future__ import annotations

import io
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from app.bodies.common import PageBody
from app.bodies.queues import AnswersBody, ClaimBody, ItemBody, QueueBody, QueueImportBody
from app.core.auth import Scope
from app.core.errors import NotAllowed, Unprocessable
from app.core.http.access import caller_of, needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.openapi import AnswerRoute, refused
from app.core.http.parameters import NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.core.limits import Meter
from app.finishes import service as finishes
from app.imports.upload import UploadedFile, media_type_of
from app.monitors import service as monitors
from app.queues import answering, exchange, progress, service
from app.queues.schemas import AnswersIn, ClaimIn, QueueIn, Tool, UndoIn

router = APIRouter(prefix="/queues", tags=["queues"], route_class=IdempotentRoute)
Ref = Annotated[str, Path(max_length=1600, description="id or name")]


def annotator_of(http: Request, asked: str | None) -> str:
    """Return for whom a request is.

    Raises:
        NotAllowed: the key is another annotator's.
        Unprocessable: nobody is named.
    """
    caller = caller_of(http)
    own = None if caller.may(Scope.ADMIN) else caller.annotator
    if own is not None and asked not in (None, own):
        raise NotAllowed(f"annotator: this key is that of {own!r}")
    who = asked if asked is not None else own
    if who is None:
        raise Unprocessable.field(["annotator"], "say who labels")
    return who


async def _answers_came(running: Running, queue: str) -> None:
    """Tell those who wait for the answers of a queue."""
    await monitors.answers_came(running, queue)
    await finishes.answers_came(running, queue)


async def _claimed(
    running: Running, queue: str | None, annotator: str, request: ClaimIn
) -> ClaimBody:
    return await service.claim(running, queue, annotator, request.n, again=request.again)


@router.post("", status_code=201, response_model=QueueBody, responses=refused(404))
@needs(Scope.JUDGE)
async def create(request: QueueIn, running: Running) -> Response:
    """Make a queue of pairs that people are to label."""
    queue = await service.create(running, request)
    return TextsResponse(await progress.look(running, queue.id), 201)


@router.get("", response_model=PageBody[QueueBody], responses=refused(404))
@needs(Scope.READ)
async def list_queues(running: Running, paging: NewestFirst) -> Response:
    """List queues, those made last first."""
    return TextsResponse(await progress.list_queues(running, paging))


@router.post("/claim", response_model=ClaimBody, responses=refused(404))
@needs(Scope.LABEL)
async def claim_from_all(request: ClaimIn, running: Running, http: Request) -> Response:
    """Claim pairs of all queues: audits first, then calibration, ranking, and what was asked for."""
    annotator = annotator_of(http, request.annotator)
    return TextsResponse(await _claimed(running, None, annotator, request))


@router.get("/{queue}", response_model=QueueBody, responses=refused(404))
@needs(Scope.READ)
async def read(queue: Ref, running: Running) -> Response:
    """Return a queue: progress, how people agree, and whose labels should be looked at."""
    return TextsResponse(await progress.look(running, queue))


@router.post("/{queue}/claim", response_model=ClaimBody, responses=refused(404))
@needs(Scope.LABEL)
async def claim(queue: Ref, request: ClaimIn, running: Running, http: Request) -> Response:
    """Claim pairs: those that are this person's already, then free ones, in the queue's order.

    Nothing in the answer names a model or a judge, and which response stands left is drawn.
    """
    annotator = annotator_of(http, request.annotator)
    return TextsResponse(await _claimed(running, queue, annotator, request))


@router.post(
    "/{queue}/answers", status_code=201, response_model=AnswersBody, responses=refused(404)
)
@needs(Scope.LABEL)
async def answer(queue: Ref, request: AnswersIn, running: Running, http: Request) -> dict[str, Any]:
    """Store answers as labels of the dataset; the same answer again is the same answer.

    409 where an answer cannot count, because its pair has its votes already or was never claimed:
    all others are stored, and what came too late is kept beside the votes.
    """
    annotator = annotator_of(http, request.annotator)
    try:
        return {"answers": await answering.answer(running, queue, annotator, request.answers)}
    finally:
        await _answers_came(running, queue)


@router.post("/{queue}/undo", response_model=ItemBody, responses=refused(404))
@needs(Scope.LABEL)
async def undo(queue: Ref, request: UndoIn, running: Running, http: Request) -> Response:
    """Take an answer, or a skip, back; the pair is this person's again."""
    annotator = annotator_of(http, request.annotator)
    return TextsResponse(await answering.undo(running, queue, annotator, request.item))


files_router = APIRouter(prefix="/queues", tags=["queues"], route_class=AnswerRoute)
_ANY_BODY = {
    "requestBody": {
        "required": True,
        "description": "The tool's own export: a JSON array, or one JSON object a line.",
        "content": {
            "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
            "application/x-ndjson": {"schema": {"type": "object"}},
        },
    }
}


@files_router.get(
    "/{queue}/export",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/json": {"schema": {"type": "string"}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
            "description": "the tasks in the tool's own form",
        },
        **refused(404),
    },
)
@needs(Scope.READ)
async def export(
    queue: Ref,
    running: Running,
    format: Annotated[Tool, Query(description="the tool that people label in")] = "label_studio",
) -> Response:
    """Return what is left to label as tasks of another tool, blind; import takes them back."""
    text, media_type = await exchange.export(running, queue, format)
    return Response(text, media_type=media_type)


@files_router.post(
    "/{queue}/import",
    response_model=QueueImportBody,
    responses=refused(400, 404, 409),
    openapi_extra=_ANY_BODY,
)
@needs(Scope.JUDGE)
async def import_answers(queue: Ref, running: Running, http: Request) -> Response:
    """Take what people answered in another tool; the side that was drawn is undone."""
    body = await http.body()
    meter = Meter(running.settings.limits, packed=len(body))
    file = UploadedFile(io.BytesIO(body), media_type_of(http.headers), meter=meter)
    imported = await exchange.import_answers(running, queue, file)
    await _answers_came(running, queue)
    return TextsResponse(imported)
