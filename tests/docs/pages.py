"""The pages of documentation, and the fenced blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(?P<info>.*)$")
_PROMPT = "$ "


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; its first word says the language, the rest what a test does with it."""

    page: Path
    line: int
    language: str
    note: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file of the reader that the block shows, if it shows one."""
        return self.note.removeprefix("file=") if self.note.startswith("file=") else None

    @property
    def reason_not_to_run(self) -> str | None:
        return self.note.removeprefix("no-run:").strip() if self.note.startswith("no-run") else None


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block, and the lines that it is shown to print."""

    text: str
    shown: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if fence is None:
            inside.append(line)
        elif opened is None:
            opened, inside = (number, fence["info"]), []
        else:
            language, _, note = opened[1].partition(" ")
            found.append(Block(page, opened[0], language, note.strip(), "\n".join(inside) + "\n"))
            opened = None
    assert opened is None, f"{page.name}: the block of line {opened} is not closed"
    return found


def commands(block: Block) -> list[Command]:
    """Split a console block: `$ ` begins a command, which quotes or a backslash continue."""
    found: list[tuple[str, list[str]]] = []
    is_open = False
    for line in block.text.splitlines():
        if is_open:
            text, shown = found[-1]
            found[-1] = (f"{text}\n{line}", shown)
        elif line.startswith(_PROMPT):
            found.append((line.removeprefix(_PROMPT), []))
        else:
            assert found, f"{block.place}: output before the first command"
            found[-1][1].append(line)
            continue
        is_open = _goes_on(found[-1][0])
    assert not is_open, f"{block.place}: the last command does not end"
    return [Command(text, tuple(shown)) for text, shown in found]


def _goes_on(command: str) -> bool:
    return command.endswith("\\") or command.count("'") % 2 == 1


def prose(page: Path) -> str:
    """Return a page without its blocks and tables."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))
