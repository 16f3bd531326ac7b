"""Reading verdicts that stand in columns of any spelling, and what was not understood.

Half of a coding is never read in another one: where a value of a column cannot be read, the upload
is refused, and the message names the values. Bare numbers mean what the sender declares.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from unicodedata import normalize

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.columns.declared import Declared, code_of, coding_of, is_number

BOTH_BAD: Final = "both_bad"
_THINGS: Final = "model|response|output|answer|assistant|completion|candidate|option|generation|text|reply|system"
_HOW_MUCH: Final = (
    "(?:much|slightly|significantly|clearly|far|a bit|a little|a lot|somewhat|marginally|definitely|"
    "strongly)"
)
_WINS: Final = rf"(?: (?:(?:is|was) )?(?:{_HOW_MUCH} )?better| wins| won)?"
_SIDE: Final = re.compile(
    rf"(?:the )?(?:(?:{_THINGS})s?[ _-]?)?(a|b|left|right|first|second)(?: (?:{_THINGS}|one))?{_WINS}|"
    rf"(?:{_THINGS})s?[ _-]?(1|2){_WINS}|(?:{_HOW_MUCH} )?prefers? (?:the )?(?:(?:{_THINGS}) )?([ab])"
)
# these mean the sides of a pair here, whatever a file calls its columns
_OWN_SIDES: Final = frozenset({"response_a", "response_b"})
_A: Final = frozenset({"a", "1", "left", "first"})
_SPELLINGS: Final = {
    **dict.fromkeys(("a>b", "a>>b", "a+", "a++"), "a"),
    **dict.fromkeys(("b>a", "b>>a", "a<b", "a<<b", "b+", "b++"), "b"),
    **dict.fromkeys(
        (
            "tie", "tied", "draw", "equal", "equally good", "same", "both", "both good",
            "both_good", "bothgood", "=", "==", "tie (bothgood)", "tie (both good)", "no preference", "a=b",
            "a==b", "both are good", "about the same", "the same", "equal quality", "equally",
            "about equal", "roughly equal", "almost equal", "no difference", "neutral", "a≈b", "a~b",
        ),
        "tie",
    ),
    **dict.fromkeys(
        (
            "both bad", "both_bad", "bothbad", "tie (bothbad)", "tie (both bad)", "tie (both_bad)",
            "equally bad", "neither", "both are bad", "neither is good",
        ),
        BOTH_BAD,
    ),
}  # fmt: skip
# signs of an order stand with blanks around them or without
_ORDER: Final = re.compile(r"\s*([<>=≈~]+)\s*")
_ONLY_0_AND_1: Final = (
    "preference: holds 0 and 1 and nothing else, which are read as AlpacaEval has them: a tie, and "
    "output 1 is better; if they mean something else, say it with --coding (parameter `coding`), for "
    "example 0=a,1=b"
)
_MOST_VALUES: Final = 20
_MOST_SHOWN: Final = 8
_MOST_NAMES: Final = 1_000
_MOST_NAMED: Final = 5


class VerdictUnread(RowInvalid):
    """A verdict column holds a value that means nothing here."""


def is_empty(value: object) -> bool:
    """Return whether a cell says nothing."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def only(value: object) -> object:
    """Return what a list of one value holds, as tools write a choice; None for an empty list."""
    if not isinstance(value, list) or len(value) > 1:
        return value
    return value[0] if value else None


def spelt(value: object) -> str | None:
    """Return `a`, `b`, `tie` or `both_bad` where a text spells one of them, else None."""
    if not isinstance(value, str):
        return None
    whole = _ORDER.sub(r"\1", " ".join(normalize("NFKC", value).split()).lower())
    text = whole.strip("[]().!\"'").strip()
    known = _SPELLINGS.get(whole) or _SPELLINGS.get(text)
    if known is not None:
        return known
    side = _SIDE.fullmatch(text)
    return None if side is None else "a" if (side[1] or side[2] or side[3]) in _A else "b"


def _sides_named(
    value: object, names: Sequence[object], same: Callable[[str], str] = str
) -> list[str]:
    """Return the sides whose model has this name, whichever form of Unicode it is written in."""
    text = same(normalize("NFC", str(value).strip()))
    return [
        side
        for side, name in zip("ab", names, strict=False)
        if name is not None and same(normalize("NFC", str(name).strip())) == text
    ]


def _joined(name: str) -> str:
    """Return a name without case and without what joins its words."""
    return "".join(character for character in name.casefold() if character not in " _-")


def sides_of_columns(value: object, columns: Iterable[Sequence[str]]) -> set[str]:
    """Return the sides whose column has this name, but for case, blanks and signs between words.

    Args:
        value: What a verdict says.
        columns: The column of side a and that of side b, of the responses or of the models.
    """
    text = _joined(str(value).strip())
    return {
        side
        for pair in columns
        for side, name in zip("ab", pair, strict=True)
        if _joined(name) == text
    }


def may_mean_other(code: str, columns: Iterable[Sequence[str]]) -> bool:
    """Return whether a word for a side may mean the other one, as columns are called.

    Where they are counted from 0 a number may, and where they stand crosswise any word may.
    """
    for a, b in columns:
        if a.endswith("0") and b.endswith("1"):
            if any(character.isdigit() for character in code):
                return True
        elif spelt(a) == "b" or spelt(b) == "a":
            return True
    return False


def _is_torn(said: str | None, value: object, names: Sequence[object]) -> bool:
    """Return whether a value that says one thing is, but for its case, the name of another side."""
    sides = _sides_named(value, names, str.casefold)
    return len(sides) == 1 and said != sides[0]


@dataclass(slots=True)
class Unread:
    """Values of one column that could not be read: how often, and where first."""

    counts: Counter[str] = field(default_factory=Counter)
    total: int = 0
    line: int = 0
    has_numbers: bool = False
    is_torn: bool = False
    is_open: bool = False
    is_quiet: bool = False


@dataclass(slots=True)
class Heard:
    """What the verdicts of one upload said, as far as they could be read.

    `line` is where the row in hand stands, `columns` what its two responses are called in the file.
    `preferences` are those of AlpacaEval that were read.
    """

    declared: Declared = field(default_factory=Declared)
    line: int = 0
    read: Counter[str] = field(default_factory=Counter)
    unread: dict[str, Unread] = field(default_factory=dict)
    is_coding_used: bool = False
    who: dict[str, tuple[dict[str, None], dict[str, None]]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    columns: tuple[tuple[str, str], ...] = ()
    preferences: set[float] = field(default_factory=set)

    def label(self, place: str, value: object, names: Sequence[object] = ()) -> str | None:
        """Return what a verdict column says: `a`, `b`, `tie`, `both_bad`; None = nothing.

        Args:
            place: The column.
            value: Its value.
            names: The names of the two models; a value that equals one of them is that model.

        Raises:
            VerdictUnread: the value is no verdict.
            RowInvalid: it is the name of both models.
        """
        value = only(value)
        if is_empty(value):
            return None
        found, is_known = self._found(value, names)
        if is_known:
            self.read[place] += 1
            return found
        if len(_sides_named(value, names)) > 1:
            raise RowInvalid(f"{place}: {shown(value)} is the name of both models")
        self._note_unread(place, value, is_open=False)
        if found is not None:
            self.unread[place].is_torn = True
            raise VerdictUnread(f"{place}: {shown(value)} means one side and names the other")
        why = "is a number without a coding" if is_number(value) else "is none of a, b, tie"
        raise VerdictUnread(f"{place}: {shown(value)} {why}")

    def label_or_text(self, place: str, value: object, names: Sequence[object]) -> object:
        """Return what `label` returns, but a text that means nothing as it is.

        Raises:
            VerdictUnread: it is a number, or means one side and names the other.
        """
        found, is_known = self._found(value, names)
        if is_number(value) or is_known or found is not None:
            return self.label(place, value, names)
        return value

    def is_coded(self, value: object) -> bool:
        """Return whether a verdict needs the coding: a number, or a value that it holds."""
        return is_number(value) or self.is_declared(value)

    def is_declared(self, value: object) -> bool:
        """Return whether the coding holds a value."""
        return code_of(value) in self.declared.coding

    def answer(self, place: str, value: object, *, is_quiet: bool = False) -> str | None:
        """Return what an answer to a question says that need not be one about the better side.

        Of a quiet place nothing is told as long as none of its answers is a verdict.
        """
        if is_empty(value):
            return None
        found, is_known = self._found(value, ())
        if is_known:
            self.read[place] += 1
            return found
        self._note_unread(place, value, is_open=True)
        self.unread[place].is_quiet = is_quiet
        return None

    def _found(self, value: object, names: Sequence[object]) -> tuple[str | None, bool]:
        """Return what a value says, and whether that is certain.

        The name of the column of a response is that response, and the name of one of the two models
        is that model, a letter too. Where a coding, a word for a side, or the name but for its case
        says another side, nothing is certain. Where columns stand crosswise, a word for a side may
        mean the column or the side.
        """
        code = code_of(value)
        named = _sides_named(value, names)
        columns = (*self.declared.sides, *self.columns)
        sides = sides_of_columns(value, columns) if columns else set()
        said: str | None
        if code in self.declared.coding:
            self.is_coding_used = True
            said = self.declared.coding[code]
        elif len(sides) == 1:
            [said] = sides
        elif len(named) == 1:
            is_word = len(code) > 1 and spelt(value) not in (None, named[0])
            return named[0], not is_word
        else:
            said = spelt(value)
            if said is None:
                return None, False
            if said in ("a", "b") and code not in _OWN_SIDES and may_mean_other(code, columns):
                return said, False
        return said, said is None or not _is_torn(said, value, names)

    def _note_unread(self, place: str, value: object, *, is_open: bool) -> None:
        unread = self.unread.setdefault(place, Unread(line=self.line, is_open=is_open))
        unread.has_numbers = unread.has_numbers or is_number(value)
        unread.total += 1
        spelling = code_of(value) if is_number(value) else shown(value)
        if spelling in unread.counts or len(unread.counts) < _MOST_VALUES:
            unread.counts[spelling] += 1

    def is_model(self, place: str, name: str) -> bool:
        """Return whether a name of this column is a model's, and note for whom it was taken."""
        is_model = self.declared.is_model(name)
        self.note_who(place, name, is_model=is_model)
        return is_model

    def note_who(self, place: str, name: str, *, is_model: bool) -> None:
        """Note for whom a name is taken."""
        names = self.who.setdefault(place, ({}, {}))[is_model]
        if len(names) < _MOST_NAMES:
            names[name] = None

    def faults(self) -> list[str]:
        """Return why the upload cannot be read: a column of which a part means nothing."""
        return [
            _fault(place, unread)
            for place, unread in self.unread.items()
            if not unread.is_open or self.read[place]
        ]

    def sentences(self) -> list[str]:
        """Return what the sender should know about the verdicts of an upload that was read."""
        found = [
            f"{unread.total} answers of {place} ({_listed(unread.counts)}) say of "
            "neither response that it is better and were not read; if they do, say what they mean "
            f"with --coding (parameter `coding`), for example {_example(unread)}"
            for place, unread in self.unread.items()
            if unread.is_open and not unread.is_quiet and not self.read[place]
        ]
        found += [_taken(place, *names) for place, names in self.who.items()]
        if self.preferences == {0.0, 1.0}:
            found.append(_ONLY_0_AND_1)
        if self.declared.coding and not self.is_coding_used:
            found.append("coding: no value of a verdict column was read with it")
        return found + [counted(what, count) for what, count in self.notes.items()]


def counted(what: str, count: int) -> str:
    """Return a sentence with its count, in place of `{n}` or at its end."""
    return what.replace("{n}", str(count)) if "{n}" in what else f"{what}: {count}"


def _listed(values: Iterable[str]) -> str:
    names = sorted(values)
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _example(unread: Unread) -> str:
    return coding_of(value.strip("'\"") for value in unread.counts)


def _fault(place: str, unread: Unread) -> str:
    counted = ", ".join(
        f"{value} ({count} times)" for value, count in sorted(unread.counts.items())[:_MOST_SHOWN]
    )
    if unread.is_torn:
        return (
            f"{place}: a value means one side, and is the name of the model of the other, or of the "
            f"other's column: {counted}, first in line {unread.line}. Write response_a or response_b "
            "for a side, or say what it means with --coding (parameter `coding`). Nothing was stored"
        )
    what = (
        f"{'/'.join(sorted(unread.counts)[:_MOST_SHOWN])} is ambiguous, say which is which"
        if unread.has_numbers
        else "not every value is a verdict or the name of one of the two models"
    )
    return (
        f"{place}: {what}: {counted}, first in line {unread.line}. Say what they mean with --coding "
        f"(parameter `coding`), for example {_example(unread)}. Nothing was stored, because half of "
        "a column says something else than the whole"
    )


def _taken(place: str, people: dict[str, None], models: dict[str, None]) -> str:
    parts = [
        f"for {what}: {_first(names)}"
        for what, names in (("people", people), ("judges", models))
        if names
    ]
    return (
        f"{place}: taken {'; '.join(parts)}; if this is wrong, say who is who with --people or "
        "--judges (parameters `people`, `judges`)"
    )


def _first(names: dict[str, None]) -> str:
    listed = ", ".join(list(names)[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    about = "at least " if len(names) == _MOST_NAMES else ""
    return listed + (f" and {about}{more} more" if more > 0 else "")


def with_vote(row: dict[str, Any], said: str, annotator: object) -> dict[str, Any]:
    """Return a row with one more vote of a person."""
    vote: dict[str, Any] = {"annotator": annotator, "label": "tie" if said == BOTH_BAD else said}
    if said == BOTH_BAD:
        vote["both_bad"] = True
    return {**row, "human": [*(row.get("human") or ()), vote]}
