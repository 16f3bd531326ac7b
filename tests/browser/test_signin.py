"""Signing in with a browser; these tests come last, since the service asks for keys from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Eyes, Site

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser


def _sign_in(page: Page, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")


def test_a_browser_signs_in_with_a_key_and_out_again(
    site: Site, context: BrowserContext, page: Page, eyes: Eyes
) -> None:
    eyes.expected = ("status of 401", "status of 403")
    key = site.key("browser")
    page.goto("/datasets")
    page.wait_for_url("**/signin?next=/datasets")
    _sign_in(page, "trib_wrong")
    assert "key" in page.get_by_role("alert").inner_text()
    _sign_in(page, key)
    page.wait_for_url("**/datasets")
    [cookie] = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("() => document.cookie") == ""
    page.goto("/docs")
    page.locator(".swagger-ui, #swagger-ui, h1, h2").first.wait_for()
    # a form of another session is refused
    page.goto("/judges")
    form = page.locator("form:has([name=prompt])")
    form.locator("[name=csrf]").evaluate("field => { field.value = 'forged'; }")
    for name in ("prompt", "response_a"):
        form.locator(f"[name={name}]").fill("Why?")
    form.get_by_role("button").click()
    page.get_by_text("was not made for this session").wait_for()
    page.goto("/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/signin")
    page.goto("/")
    page.wait_for_url("**/signin")


def test_an_expired_session_leads_to_signing_in_and_keeps_answers(
    site: Site, page: Page, eyes: Eyes
) -> None:
    eyes.expected = ("status of 401", "ERR_", "Failed to load resource")
    admin = site.key("admin")
    key = site.key("ann", "--scope", "label", "--annotator", "ann")
    site.upload_with(admin, "expiring")
    site.stop()
    # long enough to answer once, and over soon after
    site.settings["TRIBUNAL_SESSION_HOURS"] = str(4 / 3600)
    site.start()
    page.goto("/label/expiring")
    _sign_in(page, key)
    page.locator("[data-prompt] .text").wait_for()
    page.wait_for_timeout(4_200)
    page.keyboard.press("a")
    page.get_by_text("1 answer is kept in this browser").wait_for()
    site.stop()
    del site.settings["TRIBUNAL_SESSION_HOURS"]
    site.start()
    page.goto("/label/expiring")
    _sign_in(page, key)
    page.get_by_text("1 done, 2 left").wait_for()
    page.wait_for_function(
        "() => !Object.keys(localStorage).some((key) => key.startsWith('label '))"
    )
