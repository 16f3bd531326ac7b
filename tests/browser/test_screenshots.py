"""Pictures of every page, to be looked at: `make screenshots`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.conftest import Eyes, opened, violations

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def test_pictures_of_every_page(
    pages: dict[str, str], page: Page, eyes: Eyes, tmp_path: Path
) -> None:
    eyes.expected = ("status of 404",)
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    faults = []
    for name, address in pages.items():
        opened(page, address)
        for width in (375, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                faults += [f"{name} at {width} px, {scheme}: {one}" for one in violations(page)]
                page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
    assert not faults
    assert len(list(folder.glob("*.png"))) >= 4 * len(pages)
