"""Every page in a real browser: nothing fails, nothing is asked elsewhere, axe finds no fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.conftest import NASTY, Eyes, Site, overflow, violations

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
LISTS = (
    "/", "/datasets", "/calibrations", "/batches", "/leaderboards", "/reports", "/judges", "/label",
    "/monitors", "/signin",
)  # fmt: skip
LOOKS: tuple[tuple[int, Literal["light", "dark"]], ...] = ((375, "light"), (1440, "dark"))


def _faults(page: Page, address: str) -> list[str]:
    """Return what is wrong with a page on a phone by day, and on a large screen by night."""
    page.goto(address)
    found = []
    for width, scheme in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        where = f"{address} at {width} px, {scheme}"
        if wider := overflow(page):
            found.append(f"{where}: {wider} px too wide")
        found += [f"{where}: {one}" for one in violations(page)]
    return found


def test_pages_of_an_empty_service(site: Site, page: Page) -> None:
    # the first test of all: what others store stays
    assert site.get("/v1/datasets")["data"] == []
    assert not [fault for address in LISTS for fault in _faults(page, address)]


def test_pages_of_everything(pages: dict[str, str], page: Page, eyes: Eyes) -> None:
    eyes.expected = ("status of 404",)
    assert not [fault for address in pages.values() for fault in _faults(page, address)]


def test_texts_are_shown_as_texts(pages: dict[str, str], page: Page) -> None:
    """`eyes` sees every request and every dialog."""
    for name in ("pair", "pairs", "dataset", "label", "queue"):
        page.goto(pages[name])
        page.wait_for_load_state("networkidle")
        assert page.evaluate("() => window.ran") is None, name
        assert page.evaluate("() => getComputedStyle(document.body).display") == "block"
        assert page.locator("main img, main script, main svg svg, a[href^=javascript]").count() == 0
    page.goto("/pairs/rivers/p0")
    assert NASTY in page.locator(".side").first.inner_text()
    page.goto(pages["label"])
    page.locator("[data-pair]").wait_for()
    page.wait_for_function("() => document.querySelector('[data-prompt]').innerText.length > 5")
    assert page.evaluate("() => window.ran") is None


def test_the_pair_browser_by_keys_alone(pages: dict[str, str], page: Page) -> None:
    page.goto(pages["pairs"])
    for _ in range(80):
        page.keyboard.press("Tab")
        at = page.evaluate("() => document.activeElement.getAttribute('href') ?? ''")
        if at.startswith("/pairs/"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/pairs/rivers/p0")
    page.keyboard.press("j")
    page.wait_for_url("**/pairs/rivers/p1")
    page.keyboard.press("k")
    page.wait_for_url("**/pairs/rivers/p0")
    page.keyboard.press("d")
    page.wait_for_url("**/pairs/rivers/p0?marked=true")
    page.keyboard.press("j")
    page.wait_for_url("**/pairs/rivers/p1?marked=true")


def test_similar_pairs_come_on_request(pages: dict[str, str], page: Page) -> None:
    page.goto("/pairs/rivers/p5")
    page.get_by_text("Show pairs of the same prompt").click()
    page.locator("#similar .button").wait_for(state="detached")
    assert page.url.endswith("/pairs/rivers/p5")
