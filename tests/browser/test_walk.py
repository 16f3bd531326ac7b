"""What a newcomer finds with the address of the demo's service alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from examples import demo
from tests.browser.conftest import Eyes, Site
from tests.browser.test_queues import Desk

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the demo's main job on a service of its own."""
    config = str(demo.FOLDER / "tribunal.toml")
    site = Site(tmp_path_factory.mktemp("demo"), settings={"TRIBUNAL_CONFIG": config})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TRIBUNAL", [sys.executable, "-m", "app"])
        patch.setattr(demo, "STATE", site.folder)
        site.start()
        demo.run_main_job(site.url)
    yield site
    site.stop()


@pytest.fixture
def walk(chromium: Browser, shown: Site) -> Iterator[Page]:
    eyes = Eyes(shown.url)
    context = chromium.new_context(base_url=shown.url, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    eyes.watch(page)
    page.goto("/")
    yield page
    context.close()
    assert not eyes.seen


def test_where_the_cascade_was_surest_and_people_disagreed(walk: Page, shown: Site) -> None:
    walk.get_by_role("region", name="Datasets").get_by_role("link", name=demo.DATASET).click()
    walk.get_by_role("link", name="Surest where people disagree").click()
    first = walk.locator("#found tbody th").all_inner_texts()[:3]
    asked = {"people": "disagree", "sort": "surest", "limit": "3"}
    found = httpx.get(f"{shown.url}/v1/datasets/{demo.DATASET}/search", params=asked).json()["data"]
    assert first == [one["id"] for one in found]
    walk.locator("#found tbody a").first.click()
    for name in first[1:]:
        walk.keyboard.press("j")
        walk.wait_for_url(f"**/pairs/{demo.DATASET}/{name}?*")
    assert walk.locator("h1").inner_text() == first[2]
    walk.get_by_role("link", name="pairs found").click()
    assert walk.locator("#found tbody th").all_inner_texts()[:3] == first


def test_what_the_certificate_promises(walk: Page) -> None:
    walk.get_by_role("link", name="At least 90 % agree with people").click()
    said = walk.locator(".lead").inner_text().replace("\u00a0", " ")
    assert said.startswith(
        "Of the verdicts that this cascade gives, at least 90 % agree with people"
    )
    assert "with 90 % confidence; pairs that people call a tie are left out" in said


def test_ten_pairs_are_labelled(walk: Page, shown: Site) -> None:
    walk.get_by_role("link", name="labels waiting for people").click()
    walk.get_by_role("link", name=demo.QUEUE, exact=True).click()
    walk.keyboard.type("newcomer")
    walk.keyboard.press("Enter")
    desk = Desk(walk, shown, demo.QUEUE)
    desk.ready()
    for number in range(10):
        desk.press("ab"[number % 2])
    walk.get_by_text("10 done, 10 left for you").wait_for()
    desk.sent()
    assert desk.stored()["votes"] == 10


def test_double_weight_and_the_new_first_rank(walk: Page) -> None:
    walk.get_by_role("link", name="Leaderboards").click()
    walk.locator("main tbody a").first.click()
    before = walk.locator("#standing tbody").first.inner_text()
    slider = walk.get_by_role("slider", name="brevity")
    for _ in range(4):
        slider.press("ArrowRight")
    walk.wait_for_url("**criterion.brevity=2*")
    walk.wait_for_function(
        "before => document.querySelector('#standing tbody').innerText !== before", arg=before
    )
    assert "alder-large" in walk.locator("#standing .lead").inner_text()
    assert walk.locator("#standing .rank").first.inner_text().startswith(("1st", "tied for 1st"))
