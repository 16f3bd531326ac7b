"""The README is in short sentences, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, prose

_MOST_WORDS = 30
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_LINKING = (*PAGES, ROOT / "examples" / "README.md", ROOT / "benchmarks" / "README.md")


def sentences(page: Path) -> list[str]:
    """Split the prose of a page at full stops, colons before a block, and empty lines."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n|^\s*[-*#]+\s", prose(page), flags=re.M):
        flat = " ".join(paragraph.split())
        found += re.split(r"(?<=[.?!:])\s+(?=[^a-z])", flat)
    return [one for one in found if one]


def test_no_sentence_of_the_readme_is_long() -> None:
    long = [one for one in sentences(ROOT / "README.md") if len(one.split()) > _MOST_WORDS]
    assert not long


@pytest.mark.parametrize("page", _LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(file), f"{page.name}: {target}"


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in readme


def test_the_files_that_the_map_of_the_code_names_exist() -> None:
    text = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:app|judges|calibration|migrations)/[\w/.]+)`", text)
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []
    defined = re.findall(r"`(\w+)` in `((?:app|judges|calibration)/[\w/]+\.py)`", text)
    assert len(defined) > 5
    assert [
        (name, path) for name, path in defined if name not in (ROOT / path).read_text("utf-8")
    ] == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
