"""One service and one Chromium for all tests in a browser, and eyes for what must not happen there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from tests.app.processes import PATIENCE_SECONDS, free_port, service, tribunal, until
from tests.app.rows import labelled_rows, ndjson

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
Json = dict[str, Any]
# what is made of many pairs takes minutes
_LONG = 900.0
MANY = 10_000
NASTY = (
    "<script>window.ran=1</script><img src=//evil.test/x onerror=window.ran=2>"
    "<svg onload=window.ran=3><style>body{display:none}</style></svg> "
    "[link](javascript:window.ran=4) <a href='javascript:window.ran=5'>here</a> "
    "{{ 7*7 }} @import url(//evil.test/c.css); </div></section></main>"
)
# what addresses and tables are broken by
ODD = "p/0 100%\u200b \"'<b>?&#;\\ü"
FOREIGN = "مرحبا بالعالم، أي نهر أطول؟ 世界上最长的河流是哪一条？ 👩‍👩‍👧‍👦🏳️‍🌈 ‮backwards‬"
CODE = "```python\ndef f(x):\n\treturn x\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n"


@dataclass
class Site:
    """The service, which may be stopped and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        settings = {"DATABASE_URL": f"sqlite+aiosqlite:///{self.folder}/pages.db", **self.settings}
        self._open.enter_context(service(self.folder, self.port, workers=1, settings=settings))

    def stop(self) -> None:
        self._open.close()

    def get(self, path: str) -> Json:
        answer = httpx.get(self.url + path, timeout=_LONG)
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found

    def post(self, path: str, body: Json) -> Json:
        answer = httpx.post(self.url + path, json=body, timeout=_LONG)
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found

    def upload(self, name: str, rows: list[Json]) -> None:
        headers = {"content-type": "application/x-ndjson"}
        answer = httpx.post(
            f"{self.url}/v1/datasets",
            params={"name": name},
            content=ndjson(rows),
            headers=headers,
            timeout=_LONG,
        )
        assert answer.status_code == 201, answer.text

    def upload_with(self, key: str, name: str) -> None:
        """Store three pairs and a queue of them, with a key."""
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as client:
            client.post(
                "/v1/datasets",
                params={"name": name},
                content=ndjson(labelled_rows(3)),
                headers={"content-type": "application/x-ndjson"},
            ).raise_for_status()
            client.post("/v1/queues", json={"name": name, "dataset": name}).raise_for_status()

    def key(self, *options: str) -> str:
        """Make a key."""
        environment = {"DATABASE_URL": f"sqlite+aiosqlite:///{self.folder}/pages.db"}
        arguments = ("keys", "create", *options, "--json")
        with tribunal(self.folder, "keys", *arguments, environment=environment) as running:
            assert running.process.wait(PATIENCE_SECONDS) == 0, running.said
            found: str = httpx.Response(200, content=running.out.read_bytes()).json()["key"]
        return found


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.start()
    yield site
    site.stop()


def everything(site: Site, name: str, rows: list[Json], **asked: Any) -> dict[str, str]:
    """Store rows and make something of each kind from them; return the addresses by name.

    Args:
        site: The service.
        name: Of the dataset, and of a queue over it.
        rows: Labelled, each with the verdicts of two recorded judges.
        asked: Of the certificate, in place of what is asked here.
    """
    site.upload(name, rows)
    cascade = {"judges": ["cheap", "dear"]}
    certificate = site.post(
        "/v1/calibrations",
        {"dataset": name, "cascade": cascade, "target_agreement": 0.7, **asked},
    )
    by = (
        {"calibration": certificate["id"]}
        if certificate["status"] == "certified"
        else {"cascade": cascade}
    )
    # one pair has no strengths
    method = "bradley_terry" if len(rows) > 1 else "win_rate"
    ranked = {"dataset": name, "group_by": "task", "method": method}
    board = site.post("/v1/leaderboards", ranked)
    part = f"&calibration={certificate['id']}" if "calibration" in by else ""
    # resamples of very many pairs take long: one judge is enough for a page
    part = "&judges=cheap" if len(rows) > MANY else part
    report = site.get(f"/v1/reports/agreement?dataset={name}{part}")
    # that of many pairs is made in the background
    until(lambda: site.get(f"/v1/reports/{report['id']}")["status"] == "completed", _LONG)
    site.post("/v1/queues", {"name": name, "dataset": name, "guidelines": f"Be kind. {NASTY}"})
    batch = site.post("/v1/batches", {"dataset": name, **by})
    until(lambda: site.get(f"/v1/batches/{batch['id']}")["status"] == "completed", _LONG)
    return {
        "dataset": f"/datasets/{name}",
        "pairs": f"/datasets/{name}/pairs",
        "surest": f"/datasets/{name}/pairs?people=disagree&sort=surest",
        "pair": f"/pairs/{name}/{quote(rows[0]['id'], safe='')}?marked=true",
        "certificate": f"/calibrations/{certificate['id']}",
        "batch": f"/batches/{batch['id']}",
        "leaderboard": f"/leaderboards/{board['id']}?matrix=true",
        "report": f"/reports/{report['id']}",
        "health": f"/reports/{report['id']}/judges/cheap",
        "queue": f"/queues/{name}",
        # where there is little else, by somebody with a long name
        "label": f"/label/{name}?annotator=ann{'W' * 150 if len(rows) == 1 else ''}",
    }


LISTS = {
    "overview": "/",
    "datasets": "/datasets",
    "calibrations": "/calibrations",
    "batches": "/batches",
    "leaderboards": "/leaderboards",
    "reports": "/reports",
    "judges": "/judges",
    "queues": "/label",
    "monitors": "/monitors",
    "finishes": "/finishes",
    "shadows": "/shadows",
}


@pytest.fixture(scope="session")
def pages(site: Site) -> dict[str, str]:
    """Store something of each kind, and return the addresses of all pages by name."""
    rows = labelled_rows(100)
    rows[0] |= {"id": ODD, "model_a": "m" * 500}
    rows[1] |= {"model_a": f"ü مرحبا 世界 👩‍👩‍👧‍👦 {NASTY}"}
    texts = (NASTY, FOREIGN, CODE, "long " * 8_000)
    for row, text in zip(rows, texts, strict=False):
        row |= {"prompt": f"{text} {row['id']}", "response_a": text, "response_b": f"{text}!"}
    rows[0]["metadata"] = {"task": NASTY[:60], "W" * 200: "a long name"}
    for number, row in enumerate(rows):
        # two people, who judge by two criteria; a tie links the models of odd names to the others
        first = row["human"][0]["label"]
        style = "ab"[number // 2 % 2]
        row["human"] += [
            {"annotator": "bert", "label": label if number > 1 else "tie", "criterion": criterion}
            for label, criterion in (("a", "overall"), (first, "help"), (style, "style"))
        ]
    made = everything(site, "rivers", rows, menu=[0.65, 0.7, 0.75])
    one = everything(site, "one", labelled_rows(1))
    criteria = {"dataset": "rivers", "criteria": {"help": 1, "style": 1}, "group_by": "task"}
    weighed = site.post("/v1/leaderboards", criteria)
    certificate = made["certificate"].split("/")[-1]
    monitor = site.post("/v1/monitors", {"calibration": certificate, "audit_rate": 1.0})
    shadow = site.post(
        "/v1/shadows", {"calibration": certificate, "judge": "student", "share": 1.0}
    )
    site.upload("unfinished", labelled_rows(120))
    finish = site.post("/v1/finishes", {"dataset": "unfinished", "max_error": 0.2})
    return {
        **LISTS,
        **made,
        **{f"{name}-one": address for name, address in one.items()},
        "pairs-none": "/datasets/one/pairs?text=nothing+has+this",
        # what is audited is a dataset of its own, without a pair so far
        "pairs-no": f"/datasets/audits%20of%20{monitor['id']}/pairs",
        "dataset-no": f"/datasets/audits%20of%20{monitor['id']}",
        "pair-foreign": "/pairs/rivers/p1",
        "pair-code": "/pairs/rivers/p2",
        "pair-long": "/pairs/rivers/p3",
        "similar": "/pairs/rivers/p5/similar",
        "weighed": f"/leaderboards/{weighed['id']}",
        "labeller": "/label/rivers",
        "monitor": f"/monitors/{monitor['id']}",
        "shadow": f"/shadows/{shadow['id']}",
        "finish": f"/finishes/{finish['id']}",
        "missing": "/reports/none",
    }


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    assert path, "install chromium, or leave these tests out: -m 'not browser'"
    with sync_playwright() as playwright:
        # a container has no namespaces to build a sandbox of; the pages are our own
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Eyes:
    """What pages did that they must not do."""

    url: str
    seen: list[str] = field(default_factory=list)
    # statuses and failures that a test brings about
    expected: tuple[str, ...] = ()

    def watch(self, page: Page) -> None:
        page.on("console", lambda said: self._note(said.type, said.text))
        page.on("pageerror", lambda error: self.seen.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self._dismiss(dialog))
        page.on("request", lambda request: self._asked(request.url))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(one in text for one in self.expected):
            self.seen.append(f"{kind}: {text}")

    def _dismiss(self, dialog: Any) -> None:
        self.seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.seen.append(f"request: {url}")


@pytest.fixture
def eyes(site: Site) -> Iterator[Eyes]:
    eyes = Eyes(site.url)
    yield eyes
    assert not eyes.seen


@pytest.fixture
def context(chromium: Browser, site: Site) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=site.url, viewport={"width": 375, "height": 740})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, eyes: Eyes) -> Page:
    page = context.new_page()
    eyes.watch(page)
    return page


def opened(page: Page, address: str) -> None:
    """Go to a page, and wait for what it loads by itself: a curve, the pair to be labelled."""
    page.goto(address)
    page.wait_for_function(
        "() => !document.querySelector('#curve[data-hx-trigger=load]')"
        " && !document.querySelector('[data-queue] [data-pair][hidden] ~ [data-over][hidden]')"
    )


def violations(page: Page, *rules: str) -> list[str]:
    """Return what axe finds wrong with a page, by all its rules or by some."""
    if not page.evaluate("() => window.axe !== undefined"):
        page.evaluate(AXE)
    found = page.evaluate(
        "rules => axe.run(document, {resultTypes: ['violations'], "
        "...(rules.length ? {runOnly: rules} : {})})",
        list(rules),
    )
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found["violations"]
        for node in one["nodes"][:3]
    ]


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    wider: int = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    return max(0, wider)
