"""Requests generated from the service's own description, each answered as described or refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.core.transport import Response as AnyResponse
from schemathesis.generation.modes import GenerationMode

from app.main import create_app
from app.settings import Settings
from tests.app import rows
from tests.conftest import client_of
from tests.app.problems import fault_of_answer

_EXAMPLES: Final = 12
