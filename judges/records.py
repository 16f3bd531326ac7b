"""Reads one recorded score: what a row says that a judge said of its pair.

The first that is present counts: `p_a`; `annotators`; `label_original` with `label_swapped`; a lone
`label`; `ratings` of both responses, of which the higher one is preferred. A null or NaN means that
the judge failed on the pair, which is an answer too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard

from judges.base import JudgeSpec
from judges.errors import RecordInvalid
from judges.probability import Preference, label_to_p_a, mean_preference, parse_label
from judges.types import FailureKind, JudgeFailure, Score, TokenUsage

#: The fields of a record that are read.
RECORD_FIELDS: Final = frozenset(
    {
        "p_a", "p_tie", "annotators", "label_original", "label_swapped", "label", "ratings",
        "inconsistent", "model", "prompt_hash", "criterion", "tokens", "cost", "seconds",
    }
)  # fmt: skip
_ROUNDING: Final = 1e-9  # p_a + p_tie may exceed 1 by what decimal rounding in a file adds
_SHOWN_LENGTH: Final = 40
_MOST: Final = 1e15  # of tokens, dollars, seconds: sums of such amounts stay finite
_DECIMALS: Final = 12
_SINGLE_ORDER: Final = "single_order"
_SIDES: Final = 2


def recorded_fingerprint(
    name: str, model: str | None = None, prompt_hash: str | None = None
) -> str:
    """Return the fingerprint of recorded scores: never of the dataset they came in."""
    return recorded_spec(name, model, prompt_hash).fingerprint


def recorded_spec(name: str, model: str | None = None, prompt_hash: str | None = None) -> JudgeSpec:
    """Return the description of a judge that answers from recorded scores."""
    scored_by = {"name": name, "model": model, "prompt_hash": prompt_hash}
    return JudgeSpec(name=name, kind="recorded", model=model, scored_by=scored_by, is_local=True)


def score_from_record(name: str, record: object) -> Score:
    """Return the score that `record`, the value under `judges.<name>` of a row, holds.

    Fields that are not known are ignored: a log may carry more than a score needs.

    Raises:
        RecordInvalid: a field has the wrong type or range, or none holds a score; the message
            begins with the field's path, as in `judges.gpt-4.p_a: 1.3 is not between 0 and 1`.
    """
    path = f"judges.{name}"
    if _is_missing(record):
        return _failed(name, recorded_fingerprint(name), f"{path} is null")
    if not isinstance(record, Mapping):
        raise RecordInvalid(f"{path}: {_shown(record)} is not an object")
    read = _Record(path, record)
    fingerprint = recorded_fingerprint(name, read.text("model"), read.text("prompt_hash"))
    ratings = read.ratings()
    said = read.answer(ratings)
    criterion = read.text("criterion")
    return Score(
        judge=name,
        fingerprint=fingerprint,
        p_a=None if said.preference is None else said.preference.p_a,
        p_tie=said.preference.p_tie if said.preference and said.has_ties else None,
        annotators=said.annotators,
        ratings=ratings if said.preference else None,
        failure=JudgeFailure(FailureKind.RECORDED, said.detail) if not said.preference else None,
        usage=read.usage(),
        cost_usd=read.amount("cost"),
        seconds=read.amount("seconds"),
        flags=(*said.flags, *((f"criterion:{criterion}",) if criterion is not None else ())),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a record says of the pair; without a preference the judge failed."""

    preference: Preference | None
    has_ties: bool = False
    annotators: tuple[tuple[float | None, ...], ...] = ()
    flags: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Record:
    path: str
    fields: Mapping[Any, Any]

    def ratings(self) -> tuple[float, float] | None:
        """Return the ratings of a and of b, if both are given."""
        given = self.fields.get("ratings")
        if _is_missing(given):
            return None
        if not _is_list(given) or len(given) != _SIDES:
            raise RecordInvalid(f"{self.path}.ratings: {_shown(given)} is not [of a, of b]")
        if any(_is_missing(one) for one in given):
            return None
        a, b = (_finite(f"{self.path}.ratings.{i}", one) for i, one in enumerate(given))
        return a, b

    def answer(self, ratings: tuple[float, float] | None = None) -> _Answer:
        """Read the first of the five forms that is present."""
        if "p_a" in self.fields:
            return self._from_probability()
        if "annotators" in self.fields:
            return self._from_annotators()
        if "label_original" in self.fields or "label_swapped" in self.fields:
            return self._from_both_orders()
        if "label" in self.fields:
            return self._from_label()
        if "ratings" in self.fields:
            if ratings is None:
                return _Answer(None, detail=f"{self.path}.ratings: one is null")
            return _Answer(Preference(_sign_p_a(*ratings)))
        raise RecordInvalid(
            f"{self.path}: no score in it: give p_a, annotators, label_original with"
            " label_swapped, label, or ratings"
        )

    def text(self, key: str) -> str | None:
        """Return an optional text; an integer counts as its digits."""
        value = self.fields.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RecordInvalid(f"{self.path}.{key}: {_shown(value)} is not a string")
        return str(value)

    def amount(self, key: str) -> float | None:
        """Return an optional number that is finite and not negative."""
        value = self.fields.get(key)
        return None if _is_missing(value) else _amount(f"{self.path}.{key}", value)

    def usage(self) -> TokenUsage:
        """Return the tokens: a total, or an object of `prompt`, `completion` and `cached`."""
        tokens = self.fields.get("tokens")
        if not isinstance(tokens, Mapping):
            return TokenUsage(prompt=round(self.amount("tokens") or 0))
        parts = _Record(f"{self.path}.tokens", tokens)
        prompt, completion, cached = (
            round(parts.amount(key) or 0) for key in ("prompt", "completion", "cached")
        )
        return TokenUsage(prompt=prompt, completion=completion, cached=cached)

    def _from_probability(self) -> _Answer:
        p_a = _probability(f"{self.path}.p_a", self.fields["p_a"])
        p_tie = _probability(f"{self.path}.p_tie", self.fields.get("p_tie"))
        if p_a is None:
            return _Answer(None, detail=f"{self.path}.p_a is null")
        _check_sum(f"{self.path}.p_tie", p_a, p_tie or 0.0)
        return _Answer(Preference(p_a, p_tie or 0.0), has_ties=p_tie is not None)

    def _from_annotators(self) -> _Answer:
        path, rows = f"{self.path}.annotators", self.fields["annotators"]
        if _is_missing(rows):
            return _Answer(None, detail=f"{path} is null")
        if not _is_list(rows) or not rows:
            raise RecordInvalid(f"{path}: {_shown(rows)} is not a list of annotators")
        read = tuple(_annotator(f"{path}.{index}", row) for index, row in enumerate(rows))
        answer = _mean_over_annotators(path, read)
        return answer if answer.has_ties else self._with_common_tie(answer)

    def _with_common_tie(self, answer: _Answer) -> _Answer:
        p_tie = _probability(f"{self.path}.p_tie", self.fields.get("p_tie"))
        if p_tie is None or answer.preference is None:
            return answer
        _check_sum(f"{self.path}.p_tie", answer.preference.p_a, p_tie)
        return replace(answer, preference=Preference(answer.preference.p_a, p_tie), has_ties=True)

    def _from_both_orders(self) -> _Answer:
        keys = ("label_original", "label_swapped")
        row = tuple(self._label_p_a(key) for key in keys)
        return _mean_over_annotators(f"{self.path}.{' and '.join(keys)}", (row,))

    def _from_label(self) -> _Answer:
        is_inconsistent = self.fields.get("inconsistent") or False
        if not isinstance(is_inconsistent, bool):
            raise RecordInvalid(
                f"{self.path}.inconsistent: {_shown(is_inconsistent)} is not true or false"
            )
        p_a = self._label_p_a("label")
        if p_a is None:
            return _Answer(None, detail=f"{self.path}.label is null")
        if is_inconsistent:
            return _Answer(Preference(0.5), flags=("inconsistent",))
        return _Answer(Preference(p_a))

    def _label_p_a(self, key: str) -> float | None:
        value = self.fields.get(key)
        if _is_missing(value):
            return None
        try:
            return label_to_p_a(parse_label(value))
        except RecordInvalid as error:
            raise RecordInvalid(f"{self.path}.{key}: {error}") from None


def _sign_p_a(a: float, b: float) -> float:
    return 0.5 if a == b else float(a > b)


def preferences_by_order(
    row: Sequence[float | None],
) -> tuple[Preference | None, Preference | None]:
    """Return one annotator's preference with a shown first and with a shown second.

    Args:
        row: p_a with a shown first, p_a with a shown second, then no, one or two tie probabilities.
    """
    first, second, *ties = row
    tie_first, tie_second = (ties[0] or 0.0, ties[-1] or 0.0) if ties else (0.0, 0.0)
    return (
        None if first is None else Preference(first, tie_first),
        None if second is None else Preference(second, tie_second),
    )


def _mean_over_annotators(path: str, rows: tuple[tuple[float | None, ...], ...]) -> _Answer:
    answered = [[p for p in preferences_by_order(row) if p is not None] for row in rows]
    given = [mean_preference(orders) for orders in answered if orders]
    if not given:
        return _Answer(None, annotators=rows, detail=f"{path}: no order was answered")
    flags = [_SINGLE_ORDER] if any(len(orders) == 1 for orders in answered) else []
    if len(given) < len(rows):
        flags.append(f"annotators_missing:{len(rows) - len(given)}")
    has_ties = any(len(row) > 2 for row in rows)
    return _Answer(mean_preference(given), has_ties, rows, tuple(flags))


def _annotator(path: str, row: object) -> tuple[float | None, ...]:
    if not _is_list(row) or not 2 <= len(row) <= 4:
        raise RecordInvalid(
            f"{path}: {_shown(row)} is not [p_a shown first, p_a shown second] or, with ties,"
            " [.., .., p_tie]"
        )
    numbers = tuple(_probability(f"{path}.{index}", value) for index, value in enumerate(row))
    first, second, *ties = numbers
    if ties:
        _check_sum(path, first or 0.0, ties[0] or 0.0)
        _check_sum(path, second or 0.0, ties[-1] or 0.0)
    return numbers


def _probability(path: str, value: object) -> float | None:
    if _is_missing(value):
        return None
    number = _number(path, value)
    if not 0.0 <= number <= 1.0:
        raise RecordInvalid(f"{path}: {_shown(value)} is not between 0 and 1")
    return round(number, _DECIMALS)


def _amount(path: str, value: object) -> float:
    number = _number(path, value)
    if not 0.0 <= number <= _MOST:
        raise RecordInvalid(f"{path}: {_shown(value)} is not a number from 0 to {_MOST:g}")
    return number


def _finite(path: str, value: object) -> float:
    number = _number(path, value)
    if not -_MOST <= number <= _MOST:
        raise RecordInvalid(f"{path}: {_shown(value)} is not a number from -{_MOST:g} to {_MOST:g}")
    return number


def _number(path: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordInvalid(f"{path}: {_shown(value)} is not a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check_sum(path: str, p_a: float, p_tie: float) -> None:
    if p_a + p_tie > 1.0 + _ROUNDING:
        raise RecordInvalid(f"{path}: p_a {p_a} and p_tie {p_tie} add up to more than 1")


def _is_missing(value: object) -> bool:
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."


def _failed(name: str, fingerprint: str, detail: str) -> Score:
    failure = JudgeFailure(FailureKind.RECORDED, detail)
    return Score(judge=name, fingerprint=fingerprint, p_a=None, failure=failure)
