"""A client of the service: of a server, or of the service in this process.

`Tribunal` blocks, `AsyncTribunal` is awaited; both have the same methods.
"""

from __future__ import annotations

from app.client.blocking import Tribunal
from app.client.bodies_in import Part
from app.client.calls import Json
from app.client.client import AsyncTribunal
from app.client.display import to_pandas
from app.client.errors import (
    BadRequest,
    CannotConnect,
    Conflict,
    ConnectionInvalid,
    ConnectionLost,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotReady,
    NotTribunal,
    PandasMissing,
    RequestRefused,
    ServerFailed,
    TooLarge,
    TooManyRequests,
    TribunalClientError,
    Unprocessable,
)
from app.client.in_process import InProcessTransport

__all__ = [
    "AsyncTribunal",
    "BadRequest",
    "CannotConnect",
    "Conflict",
    "ConnectionInvalid",
    "ConnectionLost",
    "InProcessTransport",
    "Json",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotReady",
    "NotTribunal",
    "PandasMissing",
    "Part",
    "RequestRefused",
    "ServerFailed",
    "TooLarge",
    "TooManyRequests",
    "Tribunal",
    "TribunalClientError",
    "Unprocessable",
    "to_pandas",
]
