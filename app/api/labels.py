"""`/labels`: what people said, added one by one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.bodies.common import PageBody
from app.bodies.datasets import CheckedBody, LabelBody, LabelsBody
from app.core.auth import Scope
from app.core.http.access import needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.openapi import refused
from app.core.http.parameters import NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.labels import posting
from app.labels.schemas import LabelsIn

router = APIRouter(prefix="/labels", tags=["labels"], route_class=IdempotentRoute)


@router.post("", status_code=201, response_model=LabelsBody, responses=refused(404))
@needs(Scope.JUDGE)
async def create(body: LabelsIn, running: Running) -> LabelsBody:
    """Store labels on pairs of datasets; nothing is stored if one of them cannot be."""
    async with running.db.write() as session:
        return await posting.post(session, body.labels, running.now())


@router.post("/check", response_model=CheckedBody, responses=refused(404))
@needs(Scope.JUDGE)
async def check(body: LabelsIn, running: Running) -> CheckedBody:
    """Refuse what posting these labels would refuse, and show how they would be stored; none is."""
    async with running.db.read() as session:
        return await posting.check(session, body.labels)


@router.get("", response_model=PageBody[LabelBody], responses=refused(404))
@needs(Scope.READ)
async def list_labels(
    running: Running,
    paging: NewestFirst,
    dataset: Annotated[str | None, Query(description="id or name")] = None,
    history: Annotated[bool, Query(description="replaced labels too")] = False,
) -> Response:
    """List labels, those that came last first."""
    async with running.db.read() as session:
        page = await posting.label_page(session, dataset, paging, with_history=history)
    return TextsResponse(page)
