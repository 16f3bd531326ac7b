"""The names of an upload: which are nearly the same, which look like none, and who votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from unicodedata import normalize

from app.core.models import OVERALL
from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow
from app.formats.columns.declared import is_like_nothing, looks_like_model
from app.formats.columns.verdicts import Heard
from judges.recorded import score_from_record
from judges.types import Score

_MOST_NAMES: Final = 20_000
_MOST_ALIKE: Final = 5


@dataclass(slots=True)
class Names:
    """The names of an upload by what they name, to find those that are nearly the same."""

    alike: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    count: int = 0
    like_nothing: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, row: ParsedRow) -> None:
        """Take the names of a row."""
        self._add("models", (row.model_a, row.model_b))
        self._add("annotators", (vote.annotator for vote in row.votes))
        self._add("judges", row.recorded)
        criterion = row.pair.criterion if row.pair else None
        self._add("criteria", (criterion, *(vote.criterion for vote in row.votes)))
        if row.pair and row.group != row.pair.prompt_hash:
            self._add("groups", (row.group,))
        self._note_nothing("pairs", row.id)
        self._note_nothing("groups", row.group)

    def _add(self, what: str, names: Iterable[str | None]) -> None:
        known = self.alike.setdefault(what, {})
        for name in names:
            if name is None or self.count >= _MOST_NAMES:
                continue
            self._note_nothing(what, name)
            spellings = known.setdefault(_seen_as(name), set())
            self.count += name not in spellings
            spellings.add(name)

    def _note_nothing(self, what: str, name: str) -> None:
        if is_like_nothing(name):
            self.like_nothing.setdefault(what, {})[shown(name)] = None

    def add_annotators(self, names: Iterable[str | None]) -> None:
        """Take the names of people who voted on pairs of other rows."""
        self._add("annotators", names)

    def sentences(self) -> list[str]:
        """Return which names look alike, and which look like no name."""
        found = [
            f"{what} named {', '.join(names)}: this is taken for a name; where it means that there "
            "is none, leave the cell empty (null in JSON)"
            for what, names in self.like_nothing.items()
        ]
        for what, known in self.alike.items():
            near = [sorted(names) for names in known.values() if len(names) > 1]
            listed = [" and ".join(_told_apart(names)) for names in near[:_MOST_ALIKE]]
            more = f", and {len(near) - _MOST_ALIKE} more" if len(near) > _MOST_ALIKE else ""
            if near:
                is_plain = all(len(set(map(_composed, names))) == len(names) for names in near)
                how = "case or blanks" if is_plain else "case, blanks or Unicode form"
                found.append(
                    f"{what} whose names differ only by {how} are kept apart: "
                    f"{', '.join(listed)}{more}"
                )
        return found


def _seen_as(name: str) -> str:
    """Return a name as people see it: without its case, blanks and Unicode form."""
    return "".join(_composed(name).split()).casefold()


def _composed(name: str) -> str:
    return normalize("NFKC", name)


def _told_apart(names: Sequence[str]) -> Iterable[str]:
    """Return names for a message; those that look the same by the numbers of their characters."""
    forms = Counter(map(_composed, names))
    for name in names:
        yield ascii(name) if forms[_composed(name)] > 1 else shown(name)


def with_judges_apart(row: ParsedRow, heard: Heard) -> ParsedRow:
    """Return a row in which the votes of declared judges are recorded scores.

    A name that looks like a model's, and is not declared, votes as a person does, and is noted.

    Raises:
        RowInvalid: a judge has two verdicts on the pair.
    """
    judged = [vote for vote in row.votes if _is_judge(vote.annotator, heard)]
    if not judged:
        return row
    recorded: dict[str, Score] = dict(row.recorded)
    for vote in judged:
        name = f"{vote.annotator}{'' if vote.criterion == OVERALL else f':{vote.criterion}'}"
        score = score_from_record(name, {"label": vote.label})
        if recorded.setdefault(name, score) != score:
            raise RowInvalid(f"judges: {shown(name)} has two verdicts on this pair")
        heard.note_who("annotator", name, is_model=True)
    people = tuple(vote for vote in row.votes if vote not in judged)
    return replace(row, votes=people, recorded=recorded)


def fault_of_voters(names: Iterable[str | None], heard: Heard) -> str:
    """Return why votes on the pair of another row are not read; "" where they are people's."""
    judge = next((name for name in names if _is_judge(name, heard)), None)
    if judge is None:
        return ""
    return (
        f"annotator: {shown(judge)} is declared to be a judge, and a vote on the pair of another row is "
        "a person's: give the verdict of a judge in the row of the pair, in judges"
    )


def _is_judge(name: str | None, heard: Heard) -> bool:
    """Return whether a voter is declared to be a judge; note one that only looks like a model."""
    if name is None:
        return False
    is_judge = heard.declared.is_declared_judge(name)
    if not is_judge and looks_like_model(name):
        heard.note_who("annotator", name, is_model=False)
    return is_judge
