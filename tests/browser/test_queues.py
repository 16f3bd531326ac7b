"""Labelling by keys alone, through reloads, a restart of the service, and without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.app.processes import until
from tests.app.rows import labelled_rows
from tests.browser.conftest import Eyes, Site

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser
Json = dict[str, Any]


class Desk:
    """A person with a keyboard at the page of a queue."""

    def __init__(self, page: Page, site: Site, queue: str) -> None:
        self.page, self.site, self.queue = page, site, queue
        self.said: dict[str, str] = {}

    @property
    def item(self) -> str:
        return self.page.locator("[data-pair] input[name=item]").input_value()

    def open(self) -> None:
        self.page.goto(f"/label/{self.queue}?annotator=ann")
        self.ready()

    def ready(self) -> None:
        # a press that comes at once is not taken for an answer to a new pair
        self.page.wait_for_function("() => document.querySelector('[data-prompt] .text')")
        self.page.wait_for_timeout(350)

    def press(self, key: str) -> None:
        before = self.item
        self.said[before] = key
        self.page.keyboard.press(key)
        self.page.wait_for_function(
            "before => document.querySelector('[data-pair]').hidden "
            "|| document.querySelector('[data-pair] input[name=item]').value !== before",
            arg=before,
        )
        self.page.wait_for_timeout(350)

    @property
    def kept(self) -> int:
        """How many answers are in the browser alone."""
        count: int = self.page.evaluate(
            "() => Object.keys(localStorage).filter((key) => key.startsWith('label ')).length"
        )
        return count

    def sent(self) -> None:
        self.page.wait_for_function(
            "() => !Object.keys(localStorage).some((key) => key.startsWith('label '))"
        )

    def stored(self) -> Json:
        return self.site.get(f"/v1/queues/{self.queue}")


@pytest.fixture
def desk(site: Site, page: Page, request: pytest.FixtureRequest) -> Desk:
    name = request.node.name
    rows = labelled_rows(14)
    for row in rows:
        row["human"] = []
    site.upload(name, rows)
    site.post("/v1/queues", {"name": name, "dataset": name})
    return Desk(page, site, name)


def test_one_key_is_an_answer_and_nothing_is_lost(
    desk: Desk, context: BrowserContext, eyes: Eyes
) -> None:
    page = desk.page
    page.goto("/label")
    page.get_by_role("link", name=desk.queue, exact=True).click()
    page.keyboard.type("ann")
    page.keyboard.press("Enter")
    desk.ready()
    for key in "abtf":
        desk.press(key)
    skipped = desk.item
    desk.press("s")
    # a comment is typed, and Escape leaves it
    page.keyboard.press("c")
    page.keyboard.type("about a bat")
    page.keyboard.press("Escape")
    commented = desk.item
    desk.press("a")
    desk.sent()
    assert desk.stored()["votes"] == 5
    # taken back, and answered otherwise
    page.keyboard.press("u")
    page.wait_for_function(
        "it => document.querySelector('[data-pair] input[name=item]').value === it", arg=commented
    )
    page.wait_for_timeout(350)
    desk.press("b")
    desk.sent()
    # a reload shows the pair that was open, and takes the last answer back, too
    shown = desk.item
    page.reload()
    desk.ready()
    assert desk.item == shown
    page.keyboard.press("u")
    page.wait_for_function(
        "it => document.querySelector('[data-pair] input[name=item]').value === it", arg=commented
    )
    page.wait_for_timeout(350)
    desk.press("a")
    desk.sent()
    # without a network
    eyes.expected = ("ERR_", "Failed to load resource")
    context.set_offline(True)
    for key in "ab":
        desk.press(key)
    page.get_by_text("2 answers are kept in this browser").wait_for()
    assert desk.stored()["votes"] == 5
    context.set_offline(False)
    desk.sent()
    assert desk.stored()["votes"] == 7
    # while the service restarts
    desk.site.stop()
    desk.press("b")
    page.get_by_text("1 answer is kept in this browser").wait_for()
    desk.site.start()
    desk.sent()
    desk.ready()
    for _ in range(3):
        desk.press("a")
    desk.sent()
    left = len(labelled_rows(14)) - len(desk.said)
    for _ in range(left):
        desk.press("t")
    page.get_by_text("pairs that you skipped: 1").wait_for()
    page.get_by_text("13 done, 0 left").wait_for()
    desk.sent()
    found = desk.stored()
    assert (found["votes"], found["done"], found["skipped"]) == (13, 13, 1)
    [ann] = found["annotators"]
    assert (ann["answered"], ann["skipped"]) == (13, 1)
    # what is stored of each pair is what was said of it last
    said = sorted(
        "tie" if key in "tf" else key for item, key in desk.said.items() if item != skipped
    )
    humans = [
        one["human"] for one in desk.site.get(f"/v1/datasets/{desk.queue}/pairs?limit=100")["data"]
    ]
    assert sum(len(one) for one in humans) == 13
    page.get_by_role("button", name="Label them now").click()
    desk.ready()
    assert desk.item == skipped
    page.keyboard.press("t")
    page.get_by_text("Nothing is left for you here").wait_for()
    page.get_by_text("14 done, 0 left").wait_for()
    desk.sent()
    assert desk.stored()["done"] == 14
    assert len([one for one in said if one == "tie"]) == len(
        [one for votes in humans for one in votes if one["label"] == "tie"]
    )


def test_two_windows_keep_each_others_answers(
    desk: Desk, context: BrowserContext, eyes: Eyes
) -> None:
    """Both show the same pair: what is said of it last stands, once."""
    desk.open()
    other = context.new_page()
    eyes.watch(other)
    second = Desk(other, desk.site, desk.queue)
    second.open()
    assert desk.item == second.item
    eyes.expected = ("ERR_", "Failed to load resource")
    context.set_offline(True)
    desk.press("a")
    second.press("a")
    second.press("b")
    context.set_offline(False)
    desk.sent()
    until(lambda: desk.stored()["votes"] == 2)


def test_without_scripts_a_form_is_enough(desk: Desk, context: BrowserContext, site: Site) -> None:
    assert context.browser
    plain = context.browser.new_context(base_url=site.url, java_script_enabled=False)
    page = plain.new_page()
    page.goto(f"/label/{desk.queue}?annotator=bob")
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("button", name="A is better").click()
    page.get_by_text("1 done, 13 left").wait_for()
    page.get_by_role("button", name="Take the last answer back").click()
    page.get_by_text("0 done, 14 left").wait_for()
    plain.close()
    assert desk.stored()["votes"] == 0


@pytest.mark.parametrize("width", [375, 1440])
def test_the_answers_stay_in_one_place(page: Page, site: Site, width: int) -> None:
    name = f"lengths {width}"
    rows = labelled_rows(4)
    for number, row in enumerate(rows):
        row |= {"human": [], "response_a": "word " * 900 * (number % 2) + row["response_a"]}
    site.upload(name, rows)
    site.post("/v1/queues", {"name": name, "dataset": name, "guidelines": "Be kind."})
    page.set_viewport_size({"width": width, "height": 740})
    desk = Desk(page, site, name)
    desk.open()
    first = page.get_by_role("button", name="A is better")
    heights, places = set(), set()
    for _ in rows:
        heights.add(page.evaluate("() => document.documentElement.scrollHeight"))
        box = first.bounding_box()
        assert box
        places.add((box["x"], box["y"]))
        # what stands last is not behind the answers
        page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")
        foot = page.locator(".foot").bounding_box()
        assert foot
        assert foot["y"] + foot["height"] <= box["y"]
        desk.press("t")
    assert len(heights) > 1
    assert len(places) == 1
