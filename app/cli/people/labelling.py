"""One person who labels pairs at a terminal: what is shown, which key is pressed, what it says."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import typer

from app.cli.console import note
from app.cli.options import given
from app.cli.tables.layout import harmless

if TYPE_CHECKING:
    from app.bodies.queues import ClaimBody, ItemBody
    from app.client import Tribunal

_HELP: Final = """\
a: A is better    b: B is better    t: tie, neither is better    f: both are fine
s: skip    u: undo    c: comment    g: guidelines    q: quit"""
_LEFT, _RIGHT = "\x1b[D", "\x1b[C"
# the keys of the page; the arrows and the rest are for who thinks of sides
_ANSWERS: Final = {
    "a": "left", "l": "left", "1": "left", _LEFT: "left", "\x1bOD": "left",
    "b": "right", "r": "right", "2": "right", _RIGHT: "right", "\x1bOC": "right",
    "t": "tie", "f": "both", "s": "skip",
}  # fmt: skip
_SAID: Final = {
    "left": "A is better", "right": "B is better", "tie": "tie", "both": "both are fine",
    "skip": "skipped",
}  # fmt: skip
_END: Final = "q"
_UNKNOWN: Final = "?"
# what a key reader returns where more than one key came at once; no key is called so
PASTED: Final = "pasted"
# pairs that were skipped and are claimed again at once; the service gives no more
_AGAIN: Final = 100


class _Given(NamedTuple):
    """An answer or a skip that can be taken back."""

    queue: str
    item: str


class Labelling:
    """One person at a terminal.

    Args:
        tribunal: The service.
        annotator: Who labels; None where the key says it.
        next_key: Returns the key that is pressed next, `PASTED`, and "q" at the end.
        clock: Seconds, from any start.
    """

    def __init__(
        self,
        tribunal: Tribunal,
        annotator: str | None,
        next_key: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._tribunal, self._annotator = tribunal, annotator
        self._next_key, self._clock = next_key, clock
        self._given: list[_Given] = []
        # a pair that was skipped and then answered counts as answered
        self._said: dict[str, str] = {}
        self._comment: str | None = None
        self._guided: set[str] = set()
        self._left: ClaimBody | None = None
        self._offered = False

    def run(self, queue: str | None, most: int | None) -> str:
        """Ask about pairs until there are none, or the person leaves; return how it ended."""
        typer.echo(_HELP)
        again: ItemBody | None = None
        while most is None or self._counts()[0] < most:
            item = again or self._next(queue)
            if item is None:
                break
            self._left = None
            self._show(item)
            said = self._asked(item)
            if said is None:
                break
            again = said if isinstance(said, dict) else None
        return self._closing()

    def _counts(self) -> tuple[int, int]:
        """Return how many pairs were answered, and how many are skipped."""
        skipped = Counter(self._said.values())["skip"]
        return len(self._said) - skipped, skipped

    def _closing(self) -> str:
        answers, skips = self._counts()
        counted = _counted(answers, "answer") + (f", {_counted(skips, 'skip')}" if skips else "")
        if self._left is None:
            return f"{counted}; go on with the same command"
        skipped, others = self._left["skipped"], self._left["for_others"]
        left = []
        if skipped:
            it, is_ = ("it", "is") if skipped == 1 else ("them", "are")
            left.append(
                f"{_counted(skipped, 'pair')} that you skipped {is_} left: the same command offers "
                f"{it} again, and another person may label {it}"
            )
        if others:
            left.append(
                f"{_counted(others, 'pair')} can only be answered by other people: they hold them, "
                "or their votes are wanted beside yours"
            )
        return f"{counted}; {'; '.join(left) or 'nothing is left to label'}"

    def _next(self, queue: str | None) -> ItemBody | None:
        """Return the next pair; once, where nothing else is left, offer what was skipped."""
        found = self._claim(queue)
        skipped = found["skipped"]
        if not found["items"] and skipped and not self._offered:
            self._offered = True
            it, is_ = ("it", "is") if skipped == 1 else ("them", "are")
            typer.echo(
                f"\n{_counted(skipped, 'pair')} you skipped {is_} left: label {it} now? (y/n) ",
                nl=False,
            )
            # any other key is a no: the same command asks again
            agreed = self._next_key() == "y"
            typer.echo("yes" if agreed else "no")
            if agreed:
                found = self._claim(queue, n=_AGAIN, again=True)
        self._left = found
        return found["items"][0] if found["items"] else None

    def _claim(self, queue: str | None, **options: Any) -> ClaimBody:
        ask, options = self._tribunal.queues, {"annotator": self._annotator, **options}
        return ask.claim(queue, **options) if queue else ask.claim_from_all(**options)

    def _show(self, item: ItemBody) -> None:
        if item["queue"] not in self._guided:
            self._guided.add(item["queue"])
            if item["guidelines"]:
                _show_text("guidelines", item["guidelines"])
        texts: list[tuple[str, Any]] = [("prompt", item.get("prompt"))]
        texts += [(turn["role"], turn["content"]) for turn in item.get("messages", ())]
        for heading, text in (*texts, ("A", item["left"]), ("B", item["right"])):
            if text is not None:
                _show_text(heading, text if isinstance(text, str) else "\n\n".join(text))
        self._ask(item)

    def _ask(self, item: ItemBody, why: str = "") -> None:
        about = "" if item["criterion"] == "overall" else f" ({harmless(item['criterion'])})"
        typer.echo(f"\n{why}which is better{about}? ", nl=False)

    def _asked(self, item: ItemBody) -> ItemBody | str | None:
        """Return what was said, an item to be shown again, or None to leave."""
        started = self._clock()
        while True:
            pressed = self._next_key()
            if pressed == _END:
                typer.echo("")
                self._drop_comment()
                return None
            said = _ANSWERS.get(pressed)
            if said in ("tie", "both") and not item["allow_tie"]:
                self._ask(item, "this queue takes no ties\n")
            elif said is not None:
                self._answer(item, said, self._clock() - started)
                return said
            elif pressed == "u":
                undone = self._undo(item)
                if undone is not None:
                    return undone
            else:
                self._aside(item, pressed)

    def _aside(self, item: ItemBody, pressed: str) -> None:
        """Do what a key asks for that is no answer, and ask about the same pair again."""
        if pressed == "c":
            self._take_comment(item)
        elif pressed == "g":
            _show_text("guidelines", item["guidelines"] or "this queue has none")
            self._ask(item)
        elif pressed == PASTED:
            self._ask(item, "several characters came at once: none is an answer. Press one\n")
        else:
            self._ask(item, f"{_HELP}\n")

    def _answer(self, item: ItemBody, said: str, seconds: float) -> None:
        from app.client import RequestRefused

        typer.echo(_SAID[said])
        if said == "skip":
            self._drop_comment()
        answer: Any = {"item": item["item"], "label": said, "seconds": round(seconds, 2)}
        answer |= given(comment=self._comment)
        try:
            self._tribunal.queues.answer(item["queue"], [answer], annotator=self._annotator)
        except RequestRefused as error:
            if error.status != 409:
                raise
            # the answer came too late; it is kept, and there are other pairs
            note(str(error))
        self._given.append(_Given(item["queue"], item["item"]))
        self._said[item["item"]] = said
        self._comment = None

    def _take_comment(self, item: ItemBody) -> None:
        typer.echo("")
        try:
            text = str(
                typer.prompt("comment (an empty line: none)", default="", show_default=False)
            )
        except typer.Abort:  # Ctrl-C or Ctrl-D leave the comment, not the pair
            text = ""
            typer.echo("")
        # Escape is a character here, and whoever presses it wants to leave
        is_none = not text.strip() or "\x1b" in text
        self._comment = None if is_none else text.strip()
        self._ask(item, "no comment\n" if is_none else "the comment goes with your next answer\n")

    def _drop_comment(self) -> None:
        if self._comment is not None:
            typer.echo("the comment is not kept: comments go with answers")
            self._comment = None

    def _undo(self, item: ItemBody) -> ItemBody | None:
        if not self._given:
            self._ask(item, "there is nothing to undo\n")
            return None
        last = self._given.pop()
        self._said.pop(last.item, None)
        typer.echo("undone")
        return self._tribunal.queues.undo(last.queue, last.item, annotator=self._annotator)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _show_text(heading: str, text: str) -> None:
    typer.echo(f"\n--- {harmless(heading)} ---\n{harmless(text)}")


# --- keys ---

_PASTE_BEGINS, _PASTE_ENDS = b"\x1b[200~", b"\x1b[201~"
# a terminal that knows this marks pasted text
_MARK_PASTES: Final = ("\x1b[?2004h", "\x1b[?2004l")
# a key that sends several characters, such as an arrow
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])")
_CHUNK: Final = 4096
# what comes within this many seconds came at once: arrows over a network, pasted text
_AT_ONCE_SECONDS: Final = 0.05
_PASTE_SECONDS: Final = 5.0


@contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """Read single keys from a terminal, else one from each line."""
    if not sys.stdin.isatty():
        yield _from_lines
        return
    import termios
    import tty

    stream = sys.stdin.fileno()
    before = termios.tcgetattr(stream)

    def pressed() -> str:
        # only while a key is waited for: comments are typed, or pasted, as lines
        try:
            # what was typed before is kept
            tty.setcbreak(stream, termios.TCSADRAIN)
            _to_terminal(_MARK_PASTES[0])
            return _read_key(stream)
        finally:
            _to_terminal(_MARK_PASTES[1])
            termios.tcsetattr(stream, termios.TCSADRAIN, before)

    yield pressed


def _to_terminal(characters: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(characters)
        sys.stdout.flush()


def _read_key(stream: int) -> str:
    import os
    import select

    typed = os.read(stream, _CHUNK)
    if not typed:
        return _END
    while True:
        is_pasting = _PASTE_BEGINS in typed and _PASTE_ENDS not in typed
        wait = _PASTE_SECONDS if is_pasting else _AT_ONCE_SECONDS
        if not select.select([stream], [], [], wait)[0]:
            break
        more = os.read(stream, _CHUNK)
        if not more:
            break
        typed += more
    return key_of(typed)


def key_of(typed: bytes) -> str:
    r"""Return the key that sent these characters, `PASTED` where no single key did.

    Example:
        >>> key_of(b"A"), key_of(b"ab"), key_of(b"\x1b[200~a\x1b[201~")
        ('a', 'pasted', 'pasted')
    """
    text = typed.decode("utf-8", "replace")
    if text in _ANSWERS:
        return text
    if len(text) == 1:
        return text.lower()
    return _UNKNOWN if _SEQUENCE.fullmatch(text) else PASTED


def _from_lines() -> str:
    line = sys.stdin.readline()
    key = line.strip().lower()
    if len(key) > 1:
        return PASTED
    return key or (_UNKNOWN if line else _END)
