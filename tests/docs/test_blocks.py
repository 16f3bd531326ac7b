"""Every command and code block of the README and of docs/ runs, and prints what it is shown to."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from app.cli import app as command_line
from app.core.settings import Settings
from judges.configuration import read_cascade, read_judge, tables
from tests.docs.conftest import reader_environment
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands
from tests.packaging.wheel import InstalledWheel

_MOST_NOT_RUN = 16
_SECONDS = 120
_LANGUAGES = {"console", "python", "toml", "json", "csv", "text"}
_MADE_UP_IDS = re.compile(r"\b(cal|batch|lb|rep|ds|mon)_\.\.\.")
_TWO_IDS = re.compile(r"\b(\w+)_\.\.\. \1_\.\.\.")
_REAL_IDS = re.compile(r"\b(cal|batch|lb|rep|ds|mon)_[0-9a-f]{24}\b")
_OURS = re.compile(r"^\s*(?:from|import) tribunal\b", re.M)
_NOT_RUN = [
    block
    for page in PAGES
    for block in blocks(page)
    if block.language == "console" and block.reason_not_to_run is not None
]


class Reader:
    """Somebody who types a page from its top to its end, in a folder with the examples.

    `cal_...` and its like stand for the id that the page saw last; two in a row, for the last two.
    """

    def __init__(self, folder: Path, wheel: InstalledWheel, port: int) -> None:
        self._folder = folder
        self._wheel = wheel
        self._port = port
        self._environment = reader_environment(wheel)
        self._exported = folder / ".exported"
        self._exported.touch()
        self._ids: dict[str, list[str]] = {}
        self._said = ""
        shutil.copytree(ROOT / "examples", folder / "examples")

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.file is not None:
            (self._folder / block.file).write_text(self._filled_in(block.text), encoding="utf-8")
        elif block.language == "console" and not block.note:
            self._type(block)
        elif block.language == "python":
            self._said = self._python(block)
        elif (block.language, block.note) == ("text", "output"):
            assert_shown(block.text.splitlines(), self._said, block.place)

    def _type(self, block: Block) -> None:
        status = 0
        typed = commands(block)
        for command, following in zip(typed, [*typed[1:], None], strict=True):
            script = (
                f". {self._exported}; (exit {status})\n{self._filled_in(command.text)}\n"
                f"__status=$?; export -p > {self._exported}; exit $__status"
            )
            status, output = self._run(["bash", "-c", script])
            place = f"{block.place}: {command.text}"
            if following is None or following.text != "echo $?":
                assert status == 0, f"{place}: status {status}\n{output}"
            assert_shown(command.shown, output, place)

    def _python(self, block: Block) -> str:
        # other packages' clients are not in the package's environment
        python = self._wheel.python if _OURS.search(block.text) else Path(sys.executable)
        status, output = self._run([str(python), "-c", self._filled_in(block.text)])
        assert status == 0, f"{block.place}: {output}"
        return output

    def _run(self, command: list[str]) -> tuple[int, str]:
        result = subprocess.run(
            command, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        for found in _REAL_IDS.finditer(result.stdout):
            seen = self._ids.setdefault(found[1], [])
            self._ids[found[1]] = [one for one in seen if one != found[0]] + [found[0]]
        return result.returncode, result.stdout

    def _filled_in(self, text: str) -> str:
        text = re.sub(r"(127\.0\.0\.1|localhost):8000", rf"\1:{self._port}", text)
        text = _TWO_IDS.sub(lambda two: " ".join(self._last(two[1], 2)), text)
        return _MADE_UP_IDS.sub(lambda one: self._last(one[1], 1)[0], text)

    def _last(self, kind: str, number: int) -> list[str]:
        seen = self._ids.get(kind, [])
        # a page that has seen none speaks of the id of somebody else
        return seen[-number:] if len(seen) >= number else [f"{kind}_..."] * number


def assert_shown(shown: tuple[str, ...] | list[str], output: str, place: str) -> None:
    """Check that the lines shown were printed in this order; `...` stands for anything."""
    wanted = " ".join(" ".join(shown).split())
    got = " ".join(output.split())
    pattern = ".*?".join(re.escape(part.strip()) for part in wanted.split("..."))
    assert re.search(pattern, got), f"{place}: shown\n  {wanted}\nbut printed\n  {got}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_shows(
    page: Path, tmp_path: Path, installed_wheel: InstalledWheel, service_port: int
) -> None:
    reader = Reader(tmp_path, installed_wheel, service_port)
    for block in blocks(page):
        reader.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    for block in blocks(page):
        assert block.language in _LANGUAGES, f"{block.place}: {block.language!r}"
        if block.reason_not_to_run is not None:
            assert block.language == "console", f"{block.place}: only commands may be left out"
            assert len(block.reason_not_to_run.split()) >= 2, f"{block.place}: give a reason"
        elif block.file is None and block.note:
            known = {("console", "server"), ("text", "output")}
            assert (block.language, block.note) in known, f"{block.place}: {block.note!r}"


def test_few_commands_are_left_out() -> None:
    assert 0 < len(_NOT_RUN) <= _MOST_NOT_RUN


@pytest.mark.parametrize("block", _NOT_RUN, ids=lambda block: block.place)
def test_commands_that_are_not_run_exist_with_their_options(block: Block) -> None:
    for command in commands(block):
        for words in _simple_commands(command.text):
            if words[:1] == ["tribunal"]:
                _assert_verb(words[1:], block.place)
            elif words[:1] == ["make"]:
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_targets_that_the_readme_names_exist(target: str) -> None:
    assert f"$ make {target} " in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize(
    "block",
    [b for page in PAGES for b in blocks(page) if b.language == "toml" and b.file is None],
    ids=lambda block: block.place,
)
def test_a_configuration_that_is_shown_is_read_as_the_service_reads_it(
    block: Block, tmp_path: Path
) -> None:
    (tmp_path / "tribunal.toml").write_text(block.text, encoding="utf-8")
    config = Settings(config=tmp_path / "tribunal.toml").load_config()
    for name, judge in tables(config, "judges").items():
        read_judge(name, judge)
    for name, cascade in tables(config, "cascades").items():
        read_cascade(name, cascade)
    assert set(config) <= {"judges", "cascades", "health"}
    assert tomllib.loads(block.text)


@pytest.mark.parametrize(
    "block",
    [b for page in PAGES for b in blocks(page) if b.language == "json"],
    ids=lambda block: block.place,
)
def test_json_that_is_shown_is_json(block: Block) -> None:
    json.loads(block.text)


def _simple_commands(text: str) -> list[list[str]]:
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            found.append([])
        else:
            found[-1].append(word)
    return found


def _assert_verb(words: list[str], place: str) -> None:
    verb: Any = typer.main.get_command(command_line)
    while isinstance(verb, click.Group) or hasattr(verb, "commands"):
        assert set(words[:1]) & set(verb.commands), f"{place}: {words[:1]} is no verb"
        verb, words = verb.commands[words[0]], words[1:]
    known = {option for parameter in verb.params for option in parameter.opts}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known | {"--help"}, f"{place}: {word}"
