"""Queues for people: the list, one pair a screen to be labelled, and how a queue is going.

Labelling works with forms alone; the module of the pages makes it one key a pair, and keeps answers
in the browser while the service cannot be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from app.api import datasets as datasets_api
from app.api import queues as queues_api
from app.api.queues import Ref
from app.core.auth import Scope
from app.core.errors import Conflict, TribunalError, Unprocessable
from app.core.http.access import caller_of, needs
from app.core.http.field_errors import field_errors, named
from app.core.http.parameters import Running
from app.core.lists import Paging
from app.core.runtime import Runtime
from app.pages.frame import ANYBODY, PageRoute, checked_form, go_to, page, paging, part, with_query
from app.pages.lists import dataset_names
from app.queues import labelling, progress, service
from app.queues.schemas import AnswersIn, ClaimIn, QueueIn, UndoIn

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_NEWEST: Final = Paging(50, None, "desc")


@router.get("/label")
@needs(ANYBODY)
async def queues_page(request: Request, running: Running) -> Response:
    """List the queues: what waits for people."""
    return await _queues_shown(request, running, {})


@router.post("/label")
@needs(Scope.JUDGE)
async def make_queue(request: Request, running: Running) -> Response:
    """Make a queue over a dataset, and go to it."""
    form = await checked_form(request)
    given = {name: text.strip() for name, text in form.items() if text.strip()}
    try:
        queue = await service.create(running, QueueIn.model_validate(given))
    except ValidationError as error:
        fault = named(field_errors(error.errors(), form))
    except TribunalError as error:
        fault = error.detail
    else:
        return go_to(f"/label/{part(queue.name)}")
    return await _queues_shown(request, running, form, fault)


async def _queues_shown(
    request: Request, running: Runtime, form: Mapping[str, str], fault: str | None = None
) -> Response:
    caller = caller_of(request)
    reads, labels = caller.may(Scope.READ), caller.may(Scope.LABEL)
    makes = reads and caller.may(Scope.JUDGE)
    found = (await datasets_api.list_datasets(running, _NEWEST))["data"] if makes else []
    return await page(
        request,
        "queues",
        status=422 if fault else 200,
        api="/v1/queues" if reads else None,
        listed=await labelling.list_briefly(running, paging(running, request)),
        reads=reads,
        labels=labels,
        datasets=[one["name"] for one in found if one["pairs"]],
        form=form,
        fault=fault,
    )


@router.get("/queues/{queue}")
@needs(Scope.READ)
async def queue_page(queue: Ref, request: Request, running: Running) -> Response:
    """Show how far a queue is, how people agree, and whose labels should be looked at."""
    body = await progress.look(running, queue)
    names = await dataset_names(running, [body["dataset"]])
    return await page(
        request,
        "queue",
        api=f"/v1/queues/{part(body['id'])}",
        body=body,
        dataset=names[body["dataset"]],
    )


@router.get("/label/{queue}")
@needs(ANYBODY)
async def label_page(queue: Ref, request: Request, running: Running) -> Response:
    """Show the pair that a person has claimed; who may not label is shown how the queue is going."""
    if not caller_of(request).may(Scope.LABEL):
        return go_to(f"/queues/{part(queue)}")
    given = request.query_params.get("annotator") or None
    try:
        asked = ClaimIn(annotator=given).annotator
    except ValidationError as error:
        fault = named(field_errors(error.errors(), request.query_params))
        return await _shown(request, running, queue, None, fault)
    return await _shown(request, running, queue, _annotator(request, asked))


@router.post("/label/{queue}")
@needs(Scope.LABEL)
async def label(queue: Ref, request: Request, running: Running) -> Response:
    """Take an answer, or an answer back, and claim the next pair, or one that was skipped."""
    form = await checked_form(request)
    asked = {"annotator": form.get("annotator") or None}
    claim = ClaimIn.model_validate(asked)
    who = _annotator(request, claim.annotator)
    if who is None:
        raise Unprocessable.field(["annotator"], "say who labels")
    last = None
    try:
        if item := form.get("undo"):
            undone = UndoIn.model_validate({**asked, "item": item})
            await queues_api.undo(queue, undone, running, request)
        elif "say" in form:
            last = form.get("item", "")
            given = AnswersIn.model_validate({**asked, "answers": [_answer(form)]})
            await queues_api.answer(queue, given, running, request)
    except Conflict as error:
        await service.claim(running, queue, who, 1)
        return await _shown(request, running, queue, who, error.detail)
    await service.claim(running, queue, who, 1, again="again" in form)
    return go_to(with_query(f"/label/{part(queue)}", {}, annotator=asked["annotator"], last=last))


def _answer(form: Mapping[str, str]) -> dict[str, Any]:
    comment = form.get("comment", "").strip()
    return {
        "item": form.get("item", ""),
        "label": form["say"],
        **({"comment": comment} if comment else {}),
    }


def _annotator(request: Request, asked: str | None) -> str | None:
    """Return who labels, None where that is not known yet.

    Raises:
        NotAllowed: the key is another annotator's.
    """
    try:
        return queues_api.annotator_of(request, asked)
    except Unprocessable:
        return None


async def _shown(
    request: Request,
    running: Runtime,
    queue: str,
    annotator: str | None,
    fault: str | None = None,
) -> Response:
    if annotator is None:
        brief = await labelling.brief(running, queue)
        status = 422 if fault else 200
        return await page(request, "labeller", status=status, queue=brief, fault=fault)
    desk = await labelling.desk(running, queue, annotator)
    return await page(
        request,
        "label",
        status=409 if fault else 200,
        queue=desk.queue,
        desk=desk,
        annotator=annotator,
        last=request.query_params.get("last"),
        fault=fault,
    )
