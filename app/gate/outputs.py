"""Reads the outputs of two models and pairs them by prompt.

Outputs come as a file, as rows in AlpacaEval's form (`instruction`, `output`, `generator`), or as a
mapping from prompt to output. The k-th output to a prompt is paired with the other model's k-th.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from app.core.names import shown

Outputs = str | Path | Mapping[str, Any] | Iterable[Mapping[str, Any]]

_PROMPT_FIELDS: Final = ("instruction", "prompt")
_OUTPUT_FIELDS: Final = ("output", "response", "completion")
_MODEL_FIELDS: Final = ("generator", "model")
_GZIP: Final = b"\x1f\x8b"
_MOST_NAMED: Final = 3


class OutputsInvalid(ValueError):
    """Outputs cannot be read, or are not of the same prompts."""


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a model to a prompt."""

    prompt: str
    text: str
    model: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answered:
    """The outputs of both models to a prompt; `number` counts those to the same prompt."""

    prompt: str
    number: int
    new: Output
    old: Output

    @property
    def is_identical(self) -> bool:
        """True if both outputs are the same text, so that no judge is needed."""
        return self.new.text == self.old.text


def side_by_side(new: Outputs, old: Outputs) -> list[Answered]:
    """Return the outputs of both models, prompt by prompt, in the order of the new ones.

    Raises:
        OutputsInvalid: one side cannot be read, or has prompts that the other lacks.
    """
    ours, theirs = _numbered(read_outputs(new, "new")), _numbered(read_outputs(old, "old"))
    _refuse_lonely("new", "old", ours, theirs)
    _refuse_lonely("old", "new", theirs, ours)
    if not ours:
        raise OutputsInvalid("new: holds no output")
    return [Answered(*key, new=output, old=theirs[key]) for key, output in ours.items()]


def read_outputs(source: Outputs, name: str) -> list[Output]:
    """Return the outputs of one model; `name` is what messages call them.

    Raises:
        OutputsInvalid: names the row and field that cannot be read.
    """
    if isinstance(source, str | Path):
        name = f"{name} ({source})"
        source = cast(Outputs, _parsed(Path(source), name))
    if isinstance(source, Mapping) and not _is_row(source):
        return [
            output
            for prompt, texts in source.items()
            for output in _of_prompt(prompt, texts, f"{name}, prompt {shown(prompt)}")
        ]
    rows = [source] if isinstance(source, Mapping) else source
    if not isinstance(rows, Iterable):
        raise OutputsInvalid(f"{name}: {shown(rows)} is neither a file nor rows")
    return [_of_row(row, f"{name}, row {at}") for at, row in enumerate(rows, start=1)]


def model_of(outputs: Iterable[Output], otherwise: str) -> str:
    """Return the name of the one model that made these, else another name."""
    names = {output.model for output in outputs}
    (only,) = names if len(names) == 1 else (None,)
    return only or otherwise


def _parsed(file: Path, name: str) -> Any:
    try:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if raw.startswith(_GZIP) else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise OutputsInvalid(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return list(_lines(text, name))


def _lines(text: str, name: str) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise OutputsInvalid(f"{name}, line {number}: is not JSON: {error}") from error


def _is_row(source: Mapping[str, Any]) -> bool:
    """Return whether a mapping is one row, such as a file of one line, and not prompts."""
    return any(name in source for name in _PROMPT_FIELDS) and any(
        name in source for name in _OUTPUT_FIELDS
    )


def _of_prompt(prompt: object, outputs: object, where: str) -> Iterator[Output]:
    for text in outputs if isinstance(outputs, list | tuple) else [outputs]:
        yield Output(_text(prompt, where, "prompt"), _text(text, where, "output"))


def _of_row(row: object, where: str) -> Output:
    if not isinstance(row, Mapping):
        raise OutputsInvalid(f"{where}: is no object with instruction and output")
    prompt = _text(_first(row, _PROMPT_FIELDS, where), where, "instruction")
    if row.get("input"):
        prompt = f"{prompt}\n\n{_text(row['input'], where, 'input')}"
    model = next((row[name] for name in _MODEL_FIELDS if isinstance(row.get(name), str)), None)
    metadata = row.get("metadata")
    return Output(
        prompt,
        _text(_first(row, _OUTPUT_FIELDS, where), where, "output"),
        model,
        metadata if isinstance(metadata, Mapping) else {},
    )


def _first(row: Mapping[str, Any], names: Sequence[str], where: str) -> object:
    for name in names:
        if name in row:
            return row[name]
    raise OutputsInvalid(f"{where}: has no {names[0]} (or {', '.join(names[1:])})")


def _text(value: object, where: str, field_name: str) -> str:
    if not isinstance(value, str):
        raise OutputsInvalid(f"{where}: {field_name}: {shown(value)} is no text")
    return value


def _numbered(outputs: Iterable[Output]) -> dict[tuple[str, int], Output]:
    seen: Counter[str] = Counter()
    found = {}
    for output in outputs:
        found[output.prompt, seen[output.prompt]] = output
        seen[output.prompt] += 1
    return found


def _refuse_lonely(
    side: str, other: str, ours: Collection[tuple[str, int]], theirs: Collection[tuple[str, int]]
) -> None:
    """Refuse prompts that one side lacks: they can be neither won nor lost."""
    lonely = [key for key in ours if key not in theirs]
    if not lonely:
        return
    count, other_count = (Counter(prompt for prompt, _ in keys) for keys in (ours, theirs))
    near = {_spelling(prompt): prompt for prompt in other_count}
    prompts = list(dict.fromkeys(prompt for prompt, _ in lonely))
    named = []
    for prompt in prompts[:_MOST_NAMED]:
        said = shown(prompt)
        if prompt in other_count:
            times = f"{count[prompt]} times in {side} and {other_count[prompt]} in {other}"
            said += f" (stands {times}; outputs to one prompt are paired in their order)"
        elif (meant := near.get(_spelling(prompt))) is not None:
            said += f" (but for blanks and case it is {shown(meant)} of {other})"
        named.append(said)
    more = f" and {len(prompts) - _MOST_NAMED} more" if len(prompts) > _MOST_NAMED else ""
    raise OutputsInvalid(
        f"{len(lonely)} outputs of {side} have none of {other} on the same prompt: "
        f"{', '.join(named)}{more}"
    )


def _spelling(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()
