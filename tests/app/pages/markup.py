"""Reads pages as a browser would, and holds them to what every page must have."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import httpx

# elements that have no end
_VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr", "path", "line", "circle", "rect",
}  # fmt: skip
_ADDRESSES = ("href", "src", "action", "formaction", "data", "poster", "xlink:href")
_LABELLED = {"input", "select", "textarea"}
Attributes = dict[str, str | None]


@dataclass
class Element:
    tag: str
    attributes: Attributes
    parents: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page in their order; faults of nesting are noted."""

    elements: list[Element] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []

    @classmethod
    def of(cls, response: httpx.Response) -> Page:
        assert response.headers["content-type"].startswith("text/html"), response.text[:300]
        page = cls()
        page.feed(response.text)
        page.close()
        page.faults += [f"<{one.tag}> is not closed" for one in page._open]
        return page

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        element = Element(tag, dict(attrs), tuple(one.tag for one in self._open))
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append(Element(tag, dict(attrs), tuple(one.tag for one in self._open)))

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self._open or self._open[-1].tag != tag:
            self.faults.append(f"</{tag}> closes <{self._open[-1].tag if self._open else ''}>")
            return
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [one for one in self.elements if one.tag == tag]

    def text_of(self, tag: str) -> str:
        return " ".join(" ".join(one.text.split()) for one in self.all(tag))

    @property
    def links(self) -> set[str]:
        return {one.attributes.get("href") or "" for one in self.all("a")}

    @property
    def token(self) -> str:
        found = [one for one in self.all("input") if one.attributes.get("name") == "csrf"]
        return str(found[0].attributes["value"])


def check(response: httpx.Response) -> Page:
    """Return a page after holding it to what every page must have."""
    page = Page.of(response)
    assert not page.faults
    assert [one.attributes.get("lang") for one in page.all("html")] == ["en"]
    assert len(page.all("h1")) == 1
    assert page.text_of("title").strip()
    assert [one.tag for one in page.elements if "main" in one.tag] == ["main"]
    _check_nothing_runs(response, page)
    _check_addresses(page)
    _check_labels(page)
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids)), "an id is used twice"
    return page


def _check_nothing_runs(response: httpx.Response, page: Page) -> None:
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not page.all("style")
    for element in page.elements:
        assert "style" not in element.attributes, element
        assert not [name for name in element.attributes if name.startswith("on")], element
        if element.tag == "script":
            assert not element.text.strip()
            assert element.attributes["src"]
    banned = {"iframe", "object", "embed", "base", "img", "video", "audio", "foreignobject"}
    assert not {one.tag for one in page.elements} & banned


def _check_addresses(page: Page) -> None:
    for element in page.elements:
        for name in _ADDRESSES:
            address = element.attributes.get(name)
            if address is None:
                continue
            parts = urlsplit(address)
            assert not parts.scheme, f"{element.tag} leads elsewhere: {address}"
            assert not parts.netloc, f"{element.tag} leads elsewhere: {address}"


def _check_labels(page: Page) -> None:
    named = {one.attributes.get("for") for one in page.all("label")}
    for element in page.elements:
        given = element.attributes
        if element.tag not in _LABELLED or given.get("type") == "hidden":
            continue
        has_name = given.get("id") in named or "label" in element.parents or "aria-label" in given
        assert has_name, f"{element} has no label"
    for element in page.all("svg"):
        assert element.attributes.get("aria-label"), element
    for element in [*page.all("a"), *page.all("button")]:
        assert element.text.strip() or element.attributes.get("aria-label"), element
