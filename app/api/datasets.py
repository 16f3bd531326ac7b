"""`/datasets`: imported, listed, exported, deleted.

A name may hold a slash, written as %2F. Servers decode an address before it is matched, and then
such a slash cannot be told from one that separates parts: here each part is decoded by itself.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.routing import Match
from starlette.types import Scope as AsgiScope

from app.bodies.browsing import PairDetailBody, SearchBody, SimilarBody
from app.bodies.common import PageBody
from app.bodies.datasets import DatasetBody, PairBody, PreviewBody
from app.core.auth import Scope
from app.core.errors import Unprocessable
from app.core.fields import NAME_SCHEMA
from app.core.http.access import needs
from app.core.http.openapi import LOCATION, AnswerRoute, refused
from app.core.http.parameters import AsKept, NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.core.lists import Page, page_of
from app.core.names import fault_of
from app.datasets import service, similar, stored_pairs
from app.datasets.deleting import delete_dataset
from app.formats.columns.declared import DeclarationInvalid, Declared
from app.formats.registry import ALIASES, AUTO, DIALECTS
from app.formats.writing import Options
from app.imports.exporting import (
    ENDINGS,
    MEDIA_TYPES,
    REASONS,
    canonical_row,
    settings_of,
    write,
    writer_of,
)
from app.imports.importing import Imported, Preview, Wanted, import_dataset, preview
from app.imports.tables import PARQUET
from app.imports.upload import received
from app.judgments import browsing
from app.judgments.browsing import SearchIn, WantedIn
from app.judgments.reasons import all_of

# stands for a slash inside a part; decoding gives no lone surrogate, so no name holds one
_SLASH: Final = "\udc2f"


class NameRoute(AnswerRoute):
    """A route whose path parameters may hold an encoded slash."""

    def matches(self, scope: AsgiScope) -> tuple[Match, AsgiScope]:
        """Match part by part."""
        match, child = super().matches({**scope, "path": _path(scope)})
        found: dict[str, Any] = child.get("path_params", {})
        given = {name: _with_slashes(value) for name, value in found.items()}
        return match, ({**child, "path_params": given} if found else child)


def _path(scope: AsgiScope) -> str:
    raw: bytes | None = scope.get("raw_path")
    if raw is None or b"%2f" not in raw.lower():
        return str(scope["path"])
    parts = raw.decode("latin-1").split("/")
    return "/".join(unquote(part).replace("/", _SLASH) for part in parts)


def _with_slashes(value: Any) -> Any:
    return value.replace(_SLASH, "/") if isinstance(value, str) else value


class ExportQuery(BaseModel):
    """How a dataset is written."""

    model_config = ConfigDict(extra="forbid")
    format: str = Field(
        "canonical",
        max_length=64,
        description="canonical, csv, parquet, a format of another tool, or label_studio_config "
        "and argilla_settings; an unknown one is refused with all names",
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="draws which answer is shown first; written beside it"
    )
    labels: bool = Field(
        False, description="label_studio, argilla: with the votes there are; else to be labelled"
    )
    include: list[Literal["reasons"]] = Field(
        [],
        max_length=1,
        description="why judges prefer what they do, as a further field; canonical, csv, parquet",
    )


def shown_preview(name: str, found: Preview) -> dict[str, Any]:
    """Return what an import of this name would store."""
    return {
        "object": "preview",
        "name": name,
        "dialect": found.dialect,
        **found.counts,
        "recorded_judges": list(found.recorded_judges),
        "rows": [canonical_row(stored) for stored in found.rows],
        "rejected": list(found.rejected),
        "rejected_count": found.rejected_count,
        "unmatched": found.unmatched,
        "warnings": list(found.warnings),
    }


def shown_import(imported: Imported) -> dict[str, Any]:
    """Return the outcome of an import: the dataset, with what this upload's rejected rows were."""
    return {
        **service.show(imported.dataset),
        "rejected": list(imported.rejected),
        "rejected_count": imported.rejected_count,
        "unmatched": imported.unmatched,
        "warnings": list(imported.warnings),
    }


router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=NameRoute)
Ref = Annotated[str, Path(description="id or name; a slash in a name is written as %2F")]

_IN_PATH = ("path", "ref")
_WRITTEN = {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()}
_EXPORTED = {
    "X-Tribunal-Loss": {
        "description": "counts, as a JSON object, what the format cannot hold",
        "schema": {"type": "string"},
    },
    "Content-Disposition": {"description": "the file's name", "schema": {"type": "string"}},
}
_ROW = {"$ref": "#/components/schemas/PairIn"}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "Rows, one JSON object a line, a JSON array of them, CSV or another table in text "
        "with a header, or Parquet; or files of any of these, joined where their format comes in several; gzip is "
        "recognised. Unknown fields of a row move into its `metadata`.",
        "content": {
            "application/x-ndjson": {"schema": _ROW},
            "application/json": {"schema": {"type": "array", "items": _ROW}},
            "text/csv": {"schema": {"type": "string"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                    "required": ["file"],
                }
            },
        },
    }
}


class Reading(BaseModel):
    """How the rows of an upload are read."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(
        description="unique; give it again to bring further labels", json_schema_extra=NAME_SCHEMA
    )
    dialect: str = Field(
        AUTO,
        description="row format; auto = by the fields",
        json_schema_extra={"enum": [AUTO, *DIALECTS, *ALIASES]},
    )
    strict: bool = Field(False, description="refuse all if one row is bad")
    dry_run: bool = Field(
        False, description="store nothing; the answer has the first rows as they would be stored"
    )
    map: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="columns by the field that they stand for: `prompt=question,label=verdict`, or "
        "a JSON object",
    )
    coding: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="what the values of a verdict column mean: `1=a,2=b,0=tie,9=none`, or a JSON "
        "object; none is no vote",
    )
    delimiter: str = Field(
        "", max_length=16, description="of a table: one character, or tab; default: by its header"
    )
    people: list[str] = Field(
        default_factory=list,
        max_length=1000,
        description="annotators that are people, as names or patterns such as expert_*",
    )
    judges: list[str] = Field(
        default_factory=list,
        max_length=1000,
        description="annotators that are models, as names or patterns such as gpt*",
    )

    def declared(self) -> Declared:
        """Return what is declared of the file.

        Raises:
            Unprocessable: a declaration cannot be read.
        """
        try:
            return Declared.read(self.map, self.coding, self.delimiter, self.people, self.judges)
        except DeclarationInvalid as error:
            raise Unprocessable.field([error.name], str(error), place="query") from None


@router.post(
    "",
    status_code=201,
    response_model=DatasetBody,
    responses={
        201: {"headers": LOCATION},
        200: {
            "model": DatasetBody | PreviewBody,
            "description": "the same name and content were there, or this was a dry run",
            "headers": LOCATION,
        },
        **refused(400, 409, 413, 415),
    },
    openapi_extra=_BODY,
)
@needs(Scope.JUDGE)
async def create(
    request: Request,
    running: Running,
    reading: Annotated[Reading, Query()],
) -> Response:
    """Import a dataset; bad rows are reported with number and reason, the rest is kept."""
    name = reading.name
    fault = fault_of(name)
    if fault is not None:
        raise Unprocessable(f"name: {fault}", errors=[{"loc": ["query", "name"], "msg": fault}])
    folder = running.settings.spool_dir
    wanted = Wanted(name, reading.dialect, reading.strict, folder, reading.declared())
    pool = running.pools.imports
    with pool.admitted():
        async with received(request, folder, limits=running.settings.limits) as uploaded:
            run = pool.run_for_client
            if reading.dry_run:
                return TextsResponse(
                    shown_preview(name, await preview(uploaded.files, wanted, run))
                )
            imported = await import_dataset(running.db, uploaded.files, wanted, running.now(), run)
    await running.reload_if_waiting()
    headers_out = {"location": f"/v1/datasets/{imported.dataset.id}"}
    status = 201 if imported.is_new else 200
    return TextsResponse(shown_import(imported), status, headers_out)


@router.get("", response_model=PageBody[DatasetBody], responses=refused(404))
@needs(Scope.READ)
async def list_datasets(running: Running, paging: NewestFirst) -> Page:
    """List datasets, those imported last first."""
    return await service.page(running, paging)


@router.get("/{ref}", response_model=DatasetBody)
@needs(Scope.READ)
async def read(ref: Ref, running: Running) -> Response:
    """Return one dataset by its id or name."""
    return TextsResponse(await service.look(running, ref, _IN_PATH))


@router.get("/{ref}/pairs", response_model=PageBody[PairBody])
@needs(Scope.READ)
async def list_pairs(ref: Ref, running: Running, paging: AsKept) -> Response:
    """List the pairs of a dataset as canonical rows, in the order of the file."""
    async with running.db.read() as session:
        dataset = await service.find_dataset(session, ref, _IN_PATH)
        rows = await stored_pairs.stored_page(session, dataset, paging)
    page = page_of(rows, paging.limit, canonical_row)
    return TextsResponse(page)


@router.get("/{ref}/search", response_model=SearchBody)
@needs(Scope.READ)
async def search_pairs(ref: Ref, running: Running, asked: Annotated[SearchIn, Query()]) -> Response:
    """Find pairs by what people, a judge or a cascade said of them, and by their texts.

    One request looks at a bounded number of pairs: `last_id` says how far it came.
    """
    return TextsResponse(await browsing.search(running, ref, asked))


PairId = Annotated[str, Path(description="id of a pair; a slash in it is written as %2F")]


@router.get("/{ref}/pairs/{pair}", response_model=PairDetailBody)
@needs(Scope.READ)
async def read_pair(
    ref: Ref, pair: PairId, running: Running, asked: Annotated[WantedIn, Query()]
) -> Response:
    """Return all that is known of one pair: texts, labels with their history, scores, verdicts.

    With the parameters of a search, its previous and next pair are those that the search finds.
    """
    return TextsResponse(await browsing.pair_detail(running, ref, pair, asked))


@router.get("/{ref}/pairs/{pair}/similar", response_model=SimilarBody)
@needs(Scope.READ)
async def read_similar(ref: Ref, pair: PairId, running: Running) -> Response:
    """List pairs of the same prompt, then of the same group, then the nearest by their features."""
    return TextsResponse(await similar.similar(running, ref, pair))


@router.get(
    "/{ref}/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": _WRITTEN,
            "description": "the dataset in the format asked for",
            "headers": _EXPORTED,
        },
        **refused(409),
    },
)
@needs(Scope.READ)
async def export(
    ref: Ref,
    running: Running,
    options: Annotated[ExportQuery, Query()],
) -> Response:
    """Return a dataset in another format.

    The header `X-Tribunal-Loss` counts, as a JSON object, what the format cannot hold.
    """
    async with running.db.read() as session:
        dataset = await service.find_dataset(session, ref, _IN_PATH)
    settings = settings_of(options.format)
    if settings is not None:
        return Response(settings[0], media_type=settings[1])
    writer = writer_of(options.format)
    # no connection is taken before there is room
    async with running.pools.exports.turn(), running.db.read() as session:
        dataset = await service.find_dataset(session, ref, _IN_PATH)
        how = Options(options.seed, options.labels, running.settings.spool_dir)
        reasons = all_of if REASONS in options.include else None
        written = await write(session, dataset, writer, how, reasons)
    name = f"{dataset.id}.{ENDINGS[writer.form]}"
    headers = {
        "X-Tribunal-Loss": json.dumps(written.loss),
        "Content-Length": str(written.size),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return StreamingResponse(written.pieces(), media_type=MEDIA_TYPES[writer.form], headers=headers)


@router.delete("/{ref}", status_code=204, responses=refused(409))
@needs(Scope.ADMIN)
async def delete(
    ref: Ref,
    running: Running,
    force: Annotated[bool, Query(description="also where certificates rest on it")] = False,
) -> None:
    """Delete a dataset with all that hangs on it.

    With it go its pairs, labels and recorded scores; the certificates that rest on its labels; the
    batches on its pairs and those, of whatever dataset, that were judged under these certificates;
    every verdict of these certificates and batches; its leaderboards and its agreement reports. The
    scores that live judges gave its pairs stay and are found again if the pairs come back.

    409 names the batches that have not ended: cancel them first, or wait. 409 names the
    certificates that rest on it, unless `force=true`.
    """
    async with running.db.write() as session:
        dataset = await service.find_dataset(session, ref, _IN_PATH)
        await delete_dataset(session, dataset, force=force)
