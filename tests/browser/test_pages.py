"""Every page in a real browser: nothing fails, nothing is asked elsewhere, axe finds no fault."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
import pytest

from tests.app.rows import labelled_rows
from tests.browser.conftest import (
    LISTS,
    NASTY,
    ODD,
    Eyes,
    Site,
    everything,
    opened,
    overflow,
    violations,
)  # fmt: skip

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

pytestmark = pytest.mark.browser
# A phone by day is looked at for everything, a large screen by night for what depends on width or
# colour; a page is of the same colours at each width, and as wide by night as by day.
Look = tuple[int, Literal["light", "dark"], tuple[str, ...]]
LOOKS: tuple[Look, ...] = (
    (375, "light", ()),
    (1440, "dark", ("color-contrast", "scrollable-region-focusable", "target-size")),
)
RAN = """() => window.ran !== undefined || getComputedStyle(document.body).display !== 'block'
    || document.querySelector('main img, main script, main style, main svg svg, a[href^=javascript]')"""
# the width of a sheet of paper in print
PAPER = 690


def _faults(page: Page, address: str) -> list[str]:
    """Return what is wrong with a page on a phone and on a large screen, by day and by night."""
    opened(page, address)
    found = [f"{address}: a text of a pair is more than a text"] if page.evaluate(RAN) else []
    for width, scheme, rules in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        where = f"{address} at {width} px, {scheme}"
        if wider := overflow(page):
            found.append(f"{where}: {wider} px too wide")
        found += [f"{where}: {one}" for one in violations(page, *rules)]
    return found


def _all_faults(page: Page, addresses: Iterable[str]) -> list[str]:
    return [fault for address in addresses for fault in _faults(page, address)]


def test_pages_of_an_empty_service(site: Site, page: Page) -> None:
    # the first test of all: what others store stays
    assert site.get("/v1/datasets")["data"] == []
    assert not _all_faults(page, [*LISTS.values(), "/signin"])


def test_pages_of_everything(pages: dict[str, str], page: Page, eyes: Eyes) -> None:
    """Of no pair, one pair, and a hundred, some of which hold texts that want to be more."""
    eyes.expected = ("status of 404",)
    assert not _all_faults(page, pages.values())


@pytest.mark.slow
def test_pages_of_many_pairs(site: Site, page: Page) -> None:
    page.set_default_timeout(60_000)
    made = everything(site, "many", labelled_rows(100_000))
    assert not _all_faults(page, [*LISTS.values(), *made.values()])


def test_texts_are_shown_as_texts(pages: dict[str, str], page: Page) -> None:
    """`eyes` sees every request and every dialog."""
    page.goto(pages["pair"])
    assert NASTY in page.locator(".side").first.inner_text()
    assert page.locator("h1").inner_text() == ODD
    # the script puts the texts of the next pair into the page
    page.goto(pages["label"])
    page.wait_for_function("() => document.querySelector('[data-prompt]').innerText.length > 5")
    for _ in range(4):
        page.wait_for_timeout(300)
        page.keyboard.press("s")
    assert not page.evaluate(RAN)


def test_a_phone_shows_responses_above_the_answers(pages: dict[str, str], page: Page) -> None:
    page.goto(pages["label"])
    page.wait_for_function("() => document.querySelector('[data-prompt]').innerText.length > 5")
    bar = page.locator(".choices").bounding_box()
    assert bar
    assert bar["height"] < 110
    assert abs(bar["y"] + bar["height"] - 740) < 2


def _typed(slider: Locator, *keys: str) -> None:
    slider.focus()
    for key in keys:
        slider.press(key)


def test_sliders_rank_again(pages: dict[str, str], page: Page) -> None:
    page.goto(pages["weighed"])
    for name in ("criterion.style", "slice.lakes"):
        slider = page.locator(f'[id="{name}"]')
        before = page.locator("#standing .num").all_inner_texts()
        _typed(slider, *["ArrowRight"] * 4)
        assert page.locator(f'output[for="{name}"]').inner_text() == "2"
        page.wait_for_url(f"**{name}=2*")
        assert page.locator("#standing .num").all_inner_texts() != before
    assert "1st" in page.locator("#standing .rank").first.inner_text()
    # the address holds the weights
    page.reload()
    assert page.locator('[id="criterion.style"]').input_value() in ("2", "2.0")


def test_a_slider_moves_along_the_targets(pages: dict[str, str], page: Page) -> None:
    page.goto(pages["certificate"])
    slider = page.locator("#nodes-at")
    shown = page.locator("#nodes [data-node]:visible")
    seen = []
    for key in ("Home", "ArrowRight", "ArrowRight"):
        _typed(slider, key)
        assert shown.count() == 1
        said = slider.get_attribute("aria-valuetext") or ""
        assert said.split(":")[0] in shown.inner_text()
        assert page.locator("#nodes .chosen").count() == 1
        seen.append(said)
    assert len(set(seen)) == 3


def test_files_of_pages_need_nothing_else(
    pages: dict[str, str], site: Site, context: BrowserContext, tmp_path: Path
) -> None:
    kept = Eyes("file:")
    page = context.new_page()
    kept.watch(page)
    for name in ("report", "leaderboard", "health"):
        address = pages[name].split("?")[0]
        file = tmp_path / f"{name}.html"
        given = f"/v1{address.replace('/judges/', '/health?judge=')}&format=html"
        at = given if name == "health" else f"{address}/export"
        file.write_text(httpx.get(site.url + at).raise_for_status().text)
        assert not _faults(page, file.as_uri())
        assert page.locator("a[href], link, script").count() == 0
    assert not kept.seen


def test_pages_fit_on_paper(pages: dict[str, str], page: Page) -> None:
    page.set_viewport_size({"width": PAPER, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    for name in ("report", "health", "certificate", "leaderboard", "pair"):
        page.goto(pages[name])
        assert overflow(page) == 0, name
        assert not page.get_by_role("navigation").first.is_visible()
        # every column of a table is on the sheet
        cut = page.evaluate(
            "width => [...document.querySelectorAll('.scroll > table')]"
            ".filter((one) => one.getBoundingClientRect().right > width).length",
            PAPER,
        )
        assert cut == 0, name


def test_the_pair_browser_by_keys_alone(pages: dict[str, str], site: Site, page: Page) -> None:
    def at(address: str) -> None:
        page.wait_for_url(lambda url: url == site.url + address)

    first = pages["pair"].split("?")[0]
    page.goto(pages["pairs"])
    for _ in range(80):
        page.keyboard.press("Tab")
        on = page.evaluate("() => document.activeElement.getAttribute('href') ?? ''")
        if on.startswith("/pairs/"):
            break
    page.keyboard.press("Enter")
    at(first)
    for key, then in (
        ("j", "/pairs/rivers/p1"),
        ("k", first),
        ("d", f"{first}?marked=true"),
        ("j", "/pairs/rivers/p1?marked=true"),
    ):
        page.keyboard.press(key)
        at(then)


def test_similar_pairs_come_on_request(pages: dict[str, str], page: Page) -> None:
    page.goto("/pairs/rivers/p5")
    page.get_by_text("Show pairs of the same prompt").click()
    page.locator("#similar .button").wait_for(state="detached")
    assert page.url.endswith("/pairs/rivers/p5")
