"""Guesses which column of an unknown table is which, from names and from what stands in them.

A guess is never acted on: it becomes the `--map` that a message suggests, and the sender confirms it
by giving it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.formats.columns.declared import (
    SIDE_OF_WORD,
    WORDS,
    code_of,
    is_number,
    quoted_item,
    side_in,
)
from app.formats.columns.flat import LIKE_A_VERDICT, VOTER
from app.formats.columns.verdicts import is_empty, only, spelt
from app.formats.joining import plain

# of the values of a column, how many must be what the column is taken for
_MOST: Final = 0.5
_NEARLY_ALL: Final = 0.9
_LIKE_A_NAME: Final = 60  # characters
_MOST_CODES: Final = 11  # a scale from -5 to 5
_FEW: Final = 5  # words of a text that is no name
_ID: Final = re.compile(
    r"(pair|item|example|sample|row|comparison|task|case|record)?[ _-]?(id|key|nr|no|number|uid|uuid)|"
    r"pair|pair[ _-]?name",
    re.IGNORECASE,
)
_PROMPT: Final = re.compile(
    r"(.*[ _-])?(prompt|question|instruction|query|request|frage)s?([ _-](text|content|body))?",
    re.IGNORECASE,
)
_MODEL: Final = re.compile(
    r".*(model|system|generator|player|bot|assistant|engine|llm).*", re.IGNORECASE
)
_RESPONSE: Final = re.compile(
    r".*(response|output|answer|completion|generation|reply|text|candidate|antwort).*",
    re.IGNORECASE,
)
_WHO: Final = re.compile(r"who|by|judge|voter|voted[ _-]?by|initials|name|wer", re.IGNORECASE)
_CRITERION: Final = re.compile(r"criteri(on|a)|aspect|dimension|kriterium", re.IGNORECASE)
_COMMENT: Final = re.compile(
    r".*(comment|remark|note|reason|explanation|rationale|justification|feedback|kommentar|bemerkung).*",
    re.IGNORECASE,
)
# what is said of a model or response is neither
_ABOUT: Final = re.compile(
    r".*(time|length|len|score|rating|tokens?|count|words?|chars?|id|cost|price|seconds)([ _-]?\w)?",
    re.IGNORECASE,
)
_OTHER_VERDICTS: Final = re.compile(r"confidence|certainty|seconds|duration|time.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Known:
    """What some pairs of the dataset are called, that a table of labels is about."""

    ids: frozenset[str] = frozenset()
    prompts: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    responses: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Known:
        """Return what canonical rows say."""
        pairs = list(rows)
        asked = [row.get("prompt") for row in pairs]
        return cls(
            frozenset(str(row["id"]) for row in pairs if "id" in row),
            frozenset(plain(one[0] if isinstance(one, list) else one) for one in asked if one),
            frozenset(str(row[n]) for row in pairs for n in ("model_a", "model_b") if row.get(n)),
            frozenset(
                plain(row[n]) for row in pairs for n in ("response_a", "response_b") if row.get(n)
            ),
        )


@dataclass(slots=True)
class Guess:
    """What the columns of a table of labels may be.

    Args:
        columns: The column by the field that it may stand for.
        people: Columns that may each hold the votes of one person.
        criteria: Columns that may each hold what a person says by one criterion.
        codes: What stands in the column of labels and means nothing by itself.
    """

    columns: dict[str, str] = field(default_factory=dict)
    people: list[str] = field(default_factory=list)
    criteria: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)


def guess(table: Mapping[str, Sequence[Any]], known: Known | None = None) -> Guess:
    """Return what the columns of a table may be.

    Args:
        table: The first values of each column.
        known: Of the dataset; None where nothing is known.
    """
    look = _Look({name: _texts(values) for name, values in table.items() if name}, known or Known())
    look.find()
    return look.found


def _texts(values: Sequence[Any]) -> list[str]:
    return [str(one).strip() for value in values if not is_empty(one := only(value))]


class _Look:
    """Looks at the columns of a table, field after field; a column that is taken is taken once."""

    def __init__(self, table: Mapping[str, list[str]], known: Known) -> None:
        self._left = {name: values for name, values in table.items() if values}
        self._known = known
        self.found = Guess()
        self._models: set[str] = set(known.models)

    def find(self) -> None:
        """Look for every field."""
        self._take("pair", self._pair())
        self._take("prompt", self._prompt())
        self._take_two("response", self._responses())
        self._take_two("model", self._model_columns())
        self._verdicts()
        self._take("annotator", self._annotator())
        if self.found.people and "annotator" in self.found.columns:
            # who said it is named already
            self.found.people, self.found.criteria = [], self.found.people
        self._take("criterion", self._named(_CRITERION))
        self._take("comment", self._named(_COMMENT))

    def _take(self, name: str, column: str | None) -> None:
        if column is not None:
            self.found.columns[name] = column
            self._left.pop(column)

    def _take_two(self, name: str, columns: Sequence[str]) -> None:
        if len(columns) == 2:
            ordered = sorted(columns, key=side_in)
            if name == "model":
                self._models |= {one for column in columns for one in self._left[column]}
            for side, column in zip("ab", ordered, strict=True):
                self._take(f"{name}_{side}", column)

    def _named(self, pattern: re.Pattern[str]) -> str | None:
        return next((name for name in self._left if pattern.fullmatch(name)), None)

    def _holding(self, there: frozenset[str], *, is_text: bool = False) -> list[str]:
        """Return the columns most of whose values are among those that are known."""
        return [
            name
            for name, values in self._left.items()
            if _share(plain(one) in there if is_text else one in there for one in values) >= _MOST
        ]

    def _pair(self) -> str | None:
        if self._known.ids:
            return next(iter(self._holding(self._known.ids)), None)
        return self._named(_ID)

    def _prompt(self) -> str | None:
        if found := self._holding(self._known.prompts, is_text=True):
            return found[0]
        return None if self._known.prompts else self._named(_PROMPT)

    def _responses(self) -> list[str]:
        found = self._holding(self._known.responses, is_text=True)
        if found or self._known.responses:
            return found
        return [n for n, vs in self._left.items() if _RESPONSE.fullmatch(n) and _are_texts(vs)]

    def _model_columns(self) -> list[str]:
        found = self._holding(self._known.models) if self._known.models else []
        found = [name for name in found if not LIKE_A_VERDICT.fullmatch(name)] or found
        if not found and not self._known.models:
            found = [n for n in self._left if _MODEL.fullmatch(n) and side_in(n) > 0]
        return found[:2]

    def _is_verdict(self, values: Sequence[str]) -> bool:
        return _share(spelt(one) is not None or one in self._models for one in values) >= (
            _NEARLY_ALL
        )

    def _verdicts(self) -> None:
        """Find the column that says who won, or those of several people."""
        said = [name for name, values in self._left.items() if self._is_verdict(values)]
        coded = [
            name
            for name, values in self._left.items()
            if len({code_of(one) for one in values}) <= _MOST_CODES and not _are_texts(values)
        ]
        # a score of each side says who won only together with the other
        of_sides = {
            name for pair in _pairs_of_sides(self._left) for name in pair if not VOTER.match(name)
        }
        like = [
            name
            for name in dict.fromkeys((*said, *coded))
            if LIKE_A_VERDICT.fullmatch(name)
            and name not in of_sides
            and not _COMMENT.fullmatch(name)
            and not _OTHER_VERDICTS.fullmatch(name)
        ]
        people = [name for name in like if VOTER.match(name) and WORDS.findall(name)[-1].isdigit()]
        people = people if len(people) > 1 else [n for n in said if n not in (*like, *of_sides)]
        best = next((name for name in like if name in said and name not in people), None) or next(
            (name for name in like if name not in people), None
        )
        if best is None and len(people) == 1:
            [best] = people
        if best is None and len(people) > 1:
            self.found.people = people
        columns = [best] if best is not None else self.found.people
        values = {one for name in columns for one in self._left[name]}
        self.found.codes = sorted(v for v in values if spelt(v) is None and v not in self._models)
        for name in self.found.people:
            self._left.pop(name)
        self._take("label", best)

    def _annotator(self) -> str | None:
        named = next((n for n in self._left if VOTER.fullmatch(n)), None) or self._named(_WHO)
        if named is not None or self.found.people:
            return named
        rows = max((len(values) for values in self._left.values()), default=0)
        alike = [
            name
            for name, values in self._left.items()
            if 1 < len(set(values)) <= rows / 2
            and not _COMMENT.fullmatch(name)
            and all(len(one) <= _LIKE_A_NAME and not is_number(one) for one in values)
        ]
        return alike[0] if len(alike) == 1 else None


def _share(found: Iterable[bool]) -> float:
    said = list(found)
    return sum(said) / len(said) if said else 0.0


def _are_texts(values: Sequence[str]) -> bool:
    """Return whether most values are more than names."""
    return _share(len(one) > _LIKE_A_NAME or len(one.split()) > _FEW for one in values) > _MOST


def _pairs_of_sides(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the names of two columns that differ in the side alone, that of the first side first."""
    by_stem: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        words = [word.lower() for word in WORDS.findall(name)]
        if any(word in SIDE_OF_WORD for word in words):
            by_stem.setdefault(tuple(w for w in words if w not in SIDE_OF_WORD), []).append(name)
    for found in by_stem.values():
        if len(found) == 2:
            a, b = sorted(found, key=side_in)
            yield a, b


def sides_in(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two columns that seem to hold the models or responses of the two sides.

    Example:
        >>> sides_in(["id", "right_model", "left_model"])
        ('left_model', 'right_model')
    """
    return next(
        (
            pair
            for pair in _pairs_of_sides(names)
            if all(
                (_MODEL.fullmatch(n) or _RESPONSE.fullmatch(n)) and not _ABOUT.fullmatch(n)
                for n in pair
            )
        ),
        None,
    )


def mapping_of(columns: Mapping[str, str]) -> str:
    """Return columns by field as `--map` takes them."""
    return ",".join(quoted_item(f"{name}={column}") for name, column in columns.items())
