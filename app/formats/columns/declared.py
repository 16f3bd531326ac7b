"""What a sender declares about a file: its columns, the coding of its verdicts, who is a person.

Nothing of this is guessed from a part of the file: a declaration holds for every row.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from app.core.inert import printable
from app.core.names import shown
from app.formats.canonical import PairIn
from judges.errors import nearest
from judges.types import Label

_VOTE_FIELDS: Final = (
    "annotator", "label", "criterion", "strength", "first_shown", "comment", "judge",
)  # fmt: skip
_FURTHER_FIELDS: Final = (
    "left", "right", "winner", "preference", "question_id", "prompt_id", "response", "model", "score",
    "chosen", "rejected",
)  # fmt: skip
TARGETS: Final = tuple(dict.fromkeys((*PairIn.model_fields, *_VOTE_FIELDS, *_FURTHER_FIELDS)))
_LABELS: Final[Mapping[str, Label | None]] = {
    "a": "a", "b": "b", "tie": "tie", "none": None,
}  # fmt: skip
# fields of side a and of side b
_SIDES: Final = (
    ("response_a", "response_b"), ("responses_a", "responses_b"), ("model_a", "model_b"),
    ("left", "right"),
)  # fmt: skip
_MOST_COLUMNS: Final = 30
_NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d*)?")
# what spreadsheets and programs write where there is no value
_LIKE_NOTHING: Final = frozenset(
    {"nan", "none", "null", "nil", "n/a", "#n/a", "na", "<na>", "nat", "undefined"}
)
SIDE_OF_WORD: Final = {
    "0": 0, "a": 1, "1": 1, "left": 1, "first": 1, "one": 1, "x": 1, "links": 1,
    "b": 2, "2": 2, "right": 2, "second": 2, "two": 2, "y": 2, "rechts": 2,
}  # fmt: skip
WORDS: Final = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*|\d+|[^\W\d_]+")
_TIES: Final = re.compile(
    r"=+|.*(tie|draw|equal|same|both|neither|none|gleich|egal|unentschieden|beide|keine|neutral|"
    r"undecided|unsure).*",
    re.IGNORECASE,
)
_DELIMITERS: Final = {"tab": "\t", "\\t": "\t", "semicolon": ";", "comma": ",", "pipe": "|"}
# families of models, as their names begin; a letter after `gpt` makes another word of it
_MODELS: Final = re.compile(
    r"(gpt(?![a-z])|chatgpt|o[134](-|$)|claude|gemini|gemma|llama|meta-llama|vicuna|mi[sx]tral|"
    r"qwen|qwq|deepseek|command-r|palm-?\d|phi-?\d|yi-\d|grok|kimi|glm-?\d|prometheus|alpaca_eval|"
    r"weighted_alpaca|pandalm|judgelm|autoj|skywork|nemotron)"
)


class DeclarationInvalid(ValueError):
    """A declaration cannot be read; `name` is that of the option."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(printable(message))
        self.name = name


@dataclass(frozen=True, slots=True)
class Declared:
    """What was declared about a file.

    Args:
        columns: The column of the file by the field that it stands for.
        coding: What a value of a verdict column means; None = no verdict.
        delimiter: What separates the cells of a table; "" = found from its header.
        people: Names, or patterns of names, of people.
        judges: Likewise of models.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    coding: Mapping[str, Label | None] = field(default_factory=dict)
    delimiter: str = ""
    people: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        columns: Iterable[str] = (),
        coding: Iterable[str] = (),
        delimiter: str = "",
        people: Iterable[str] = (),
        judges: Iterable[str] = (),
    ) -> Declared:
        """Read declarations as they are written: `field=column`, `value=label`, names.

        Raises:
            DeclarationInvalid: names the option that cannot be read.
        """
        return cls(
            _columns(columns),
            _coding(coding),
            _delimiter(delimiter),
            tuple(_items("people", people)),
            tuple(_items("judges", judges)),
        )

    @property
    def sides(self) -> tuple[tuple[str, str], ...]:
        """The columns that are declared for the two sides, those of side a first."""
        found = [[self.columns.get(name) for name in pair] for pair in _SIDES]
        return tuple((a, b) for a, b in found if a is not None and b is not None)

    def is_model(self, name: str) -> bool:
        """Return whether a name is a model's: as declared, else by the families of models."""
        declared = self._is_declared_model(name)
        return looks_like_model(name) if declared is None else declared

    def is_declared_person(self, name: str) -> bool:
        """Return whether a name is declared to be a person's."""
        return self._is_declared_model(name) is False

    def is_declared_judge(self, name: str) -> bool:
        """Return whether a name is declared to be a model's."""
        return self._is_declared_model(name) is True

    def _is_declared_model(self, name: str) -> bool | None:
        """Return what is declared of a name: the longest pattern that fits it decides."""
        fits = [
            (len(pattern), is_model)
            for patterns, is_model in ((self.people, False), (self.judges, True))
            for pattern in patterns
            if fnmatchcase(name.lower(), pattern.lower())
        ]
        return max(fits)[1] if fits else None


@dataclass(slots=True)
class Layout:
    """The declared columns, applied to the files of one upload.

    A column that has the name of a declared field, but is not the declared one, keeps its cells
    under `source_` and its name.
    """

    declared: Declared = field(default_factory=Declared)
    seen: dict[str, None] = field(default_factory=dict)

    def of(self, header: Sequence[str]) -> list[tuple[str, int]]:
        """Return the field of each column of a table with the column's place."""
        columns = self.declared.columns
        if not columns:
            return [(name, place) for place, name in enumerate(header)]
        self.seen.update(dict.fromkeys(header))
        declared = [
            (target, header.index(source)) for target, source in columns.items() if source in header
        ]
        used = set(columns.values())
        others = [
            (f"source_{name}" if name in columns else name, place)
            for place, name in enumerate(header)
            if name not in used
        ]
        return [*declared, *others]

    def row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row with its columns under the names of the fields that they stand for."""
        if not self.declared.columns:
            return row
        names = list(row)
        return {name: row[names[place]] for name, place in self.of(names)}

    def check(self) -> None:
        """Refuse declared columns that none of the rows had.

        Raises:
            DeclarationInvalid: names them, and the columns there are.
        """
        sources = dict.fromkeys(self.declared.columns.values())
        absent = [source for source in sources if source not in self.seen]
        if absent and self.seen:
            there = ", ".join(shown(name) for name in list(self.seen)[:_MOST_COLUMNS])
            missing = ", ".join(map(shown, absent))
            raise DeclarationInvalid("map", f"there is no column {missing}; there is {there}")


def looks_like_model(name: str) -> bool:
    """Return whether a name begins as the names of a family of models do."""
    return _MODELS.match(name.strip().lower()) is not None


def code_of(value: object) -> str:
    """Return a value of a verdict column as a coding spells it.

    1, 1.0, "+1" and "1 " are one value, and so are 0.5, "0.50" and "0,5".
    """
    text = str(value).strip()
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        return text.lower()
    plain = text.replace(",", ".").lstrip("+")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "-", "") else plain


def is_like_nothing(value: object) -> bool:
    """Return whether a text reads as programs write a missing value."""
    return isinstance(value, str) and value.strip().lower() in _LIKE_NOTHING


def is_number(value: object) -> bool:
    """Return whether a value is a bare number, as a number or as its digits."""
    return isinstance(value, int | float) or (
        isinstance(value, str) and _NUMBER.fullmatch(value.strip()) is not None
    )


def side_in(name: str) -> int:
    """Return which side a name says, 0 for none: `left system` before `right system`."""
    words = [word.lower() for word in WORDS.findall(name)]
    return next((SIDE_OF_WORD[word] for word in reversed(words) if word in SIDE_OF_WORD), 0)


def coding_of(values: Iterable[str]) -> str:
    """Return a coding that values of a verdict column may have, for the sender to set right.

    Example:
        >>> coding_of(["2", "0", "1"]), coding_of(["True", "False"]), coding_of(["-1", "1"])
        ('0=a,1=tie,2=b', 'True=a,False=b', '-1=a,1=b')
    """
    codes = sorted({code_of(v) if is_number(v) else v.strip() for v in values})
    if any("=" in code for code in codes):
        return json.dumps(dict(item.rsplit("=", 1) for item in _codes(codes)), ensure_ascii=False)
    return ",".join(quoted_item(item) for item in _codes(codes))


def _codes(codes: Sequence[str]) -> Iterator[str]:
    numbers = sorted((one for one in codes if is_number(one)), key=lambda v: float(_dotted(v)))
    if numbers:
        middle = 0.0 if float(_dotted(numbers[0])) < 0 else max(len(numbers) - 1, 1) / 2
        for place, code in enumerate(numbers):
            at = float(_dotted(code)) if float(_dotted(numbers[0])) < 0 else place
            yield f"{code}={'a' if at < middle else 'b' if at > middle else 'tie'}"
    words = [one for one in codes if not is_number(one)]
    are_truths = {one.lower() for one in words} <= {"true", "false", "yes", "no", "y", "n"}
    for word in sorted(words, key=lambda one: one.lower() in ("false", "no", "n")):
        if are_truths:
            yield f"{word}={'b' if word.lower() in ('false', 'no', 'n') else 'a'}"
        elif is_like_nothing(word):
            yield f"{word}=none"
        else:
            # what means nothing here is left open, so that the sender has to say it
            side = {1: "a", 2: "b"}.get(side_in(word), "?")
            yield f"{word}={'tie' if _TIES.fullmatch(word) else side}"


def _dotted(number: str) -> str:
    return number.replace(",", ".")


def quoted_item(item: str) -> str:
    """Return an item of a list that commas separate."""
    return '"' + item.replace('"', '""') + '"' if set(item) & set(',"') else item


def _items(option: str, texts: Iterable[str]) -> Iterator[str]:
    """Yield the items of comma-separated texts; quotes protect a comma."""
    for text in texts:
        try:
            rows = list(csv.reader([text], skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise DeclarationInvalid(option, f"{shown(text)} cannot be read: {error}") from None
        yield from (item.strip() for row in rows for item in row if item.strip())


def _pairs(option: str, texts: Iterable[str], form: str) -> Iterator[tuple[str, str]]:
    for text in texts:
        if text.lstrip().startswith("{"):
            yield from _object(option, text)
            continue
        for item in _items(option, [text]):
            key, separator, value = item.partition("=")
            if not separator or not key.strip() or not value.strip():
                raise DeclarationInvalid(option, f"{shown(item)} is not of the form {form}")
            yield key.strip(), value.strip()


def _object(option: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DeclarationInvalid(option, f"{shown(text)} is not a JSON object: {error}") from None
    for key, value in found.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise DeclarationInvalid(option, f"{shown(key)}: {shown(value)} is not a name")
        yield key, "none" if value is None else str(value)


def _columns(texts: Iterable[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for said, source in _pairs("map", texts, "field=column"):
        target = "id" if said == "pair" else said  # as files of labels call it
        if target not in TARGETS:
            near = nearest(target, TARGETS)
            meant = f"; did you mean {near}?" if near else f" among {', '.join(TARGETS)}"
            raise DeclarationInvalid("map", f"there is no field {shown(target)}{meant}")
        if columns.setdefault(target, source) != source:
            raise DeclarationInvalid("map", f"{target} is given two columns")
    return columns


def _coding(texts: Iterable[str]) -> dict[str, Label | None]:
    coding: dict[str, Label | None] = {}
    for value, meaning in _pairs("coding", texts, "value=label"):
        if meaning.lower() not in _LABELS:
            known = ", ".join(_LABELS)
            raise DeclarationInvalid("coding", f"{value}: {shown(meaning)} is none of {known}")
        label = _LABELS[meaning.lower()]
        if coding.setdefault(code_of(value), label) != label:
            raise DeclarationInvalid("coding", f"{value} is given two meanings")
    return coding


def _delimiter(text: str) -> str:
    found = _DELIMITERS.get(text.lower(), text)
    if found and (len(found) != 1 or found in '"\r\n' or found == "\0"):
        raise DeclarationInvalid("delimiter", f"{shown(text)} is not one character, or tab")
    return found
