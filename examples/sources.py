"""Reads the prompts under `sources/`: written out one by one, or templates with slots.

A template's numbers are worked out here, so that a right answer is right because it was computed.
"""

from __future__ import annotations

import ast
import operator
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "sources"

#: Flaws that are written out with the prompt; all others are planted by `examples.flaws`.
WRITTEN_FLAWS = ("wrong_fact", "wrong_number", "changes_meaning", "ignores_constraint", "bug")

_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One task with one or two good answers and the flawed ones that were written for it.

    Attributes:
        group: name of the prompt, unique; the unit that is exchangeable.
        answers: good answers that differ in wording only.
        written: flawed answers by flaw, one for each wording or one for all.
        facts: what a reader may check the answer by; goes into the row's metadata.
        is_template: whether the text came from a template with slots.
    """

    group: str
    task: str
    text: str
    input: str | None
    answers: tuple[str, ...]
    written: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, str | int]
    is_template: bool


def load_prompts(folder: Path = FOLDER) -> list[Prompt]:
    """Return every prompt under a folder, files by name and prompts in file order."""
    prompts: list[Prompt] = []
    for path in sorted(folder.glob("*.toml")):
        source = tomllib.loads(path.read_text(encoding="utf-8"))
        task = source["task"]
        prompts += [_written_out(task, entry) for entry in source.get("prompt", [])]
        for template in source.get("template", []):
            prompts += _filled_in(task, template)
    return prompts


def _written_out(task: str, entry: Mapping[str, Any]) -> Prompt:
    return Prompt(
        group=f"{task}-{entry['id']}",
        task=task,
        text=entry["prompt"],
        input=entry.get("input"),
        answers=_wordings(entry),
        written={flaw: (entry[flaw].strip(),) for flaw in WRITTEN_FLAWS if flaw in entry},
        facts={},
        is_template=False,
    )


def _wordings(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(entry[key].strip() for key in ("good", "also_good") if key in entry)


def _filled_in(task: str, template: Mapping[str, Any]) -> Iterator[Prompt]:
    for number, case in enumerate(template["cases"], start=1):
        slots = dict(zip(template["slots"], case, strict=True))
        right = _with_steps(slots, template, slip=None)
        yield Prompt(
            group=f"{task}-{template['id']}-{number}",
            task=task,
            text=_capitalised(template["prompt"].format(**slots)),
            input=template["input"].format(**slots) if "input" in template else None,
            answers=_answers(template, right),
            written=_written_for(template, slots),
            facts=_facts(template, right),
            is_template=True,
        )


def _answers(template: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_capitalised(wording.format(**values)) for wording in _wordings(template))


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _written_for(
    template: Mapping[str, Any], slots: Mapping[str, Any]
) -> Mapping[str, tuple[str, ...]]:
    if "slip" in template:
        return {"wrong_number": _answers(template, _with_steps(slots, template, template["slip"]))}
    return {"wrong_fact": (_capitalised(template["wrong_fact"].format(**slots)),)}


def _facts(template: Mapping[str, Any], right: Mapping[str, Any]) -> Mapping[str, str | int]:
    if "steps" not in template:
        return {}
    names = {name: ast.Constant(right[name]) for name in template["slots"]}
    filled = _Substitute(names).visit(ast.parse(template["expression"], mode="eval"))
    return {"expression": ast.unparse(filled), "answer": right[template["steps"][-1][0]]}


class _Substitute(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.names[node.id]


def _with_steps(
    slots: Mapping[str, Any], template: Mapping[str, Any], slip: list[str] | None
) -> dict[str, Any]:
    values = dict(slots)
    for name, formula in template.get("steps", []):
        is_slip = slip is not None and slip[0] == name
        values[name] = whole_number(slip[1] if slip and is_slip else formula, values)
    return values


def whole_number(formula: str, values: Mapping[str, int]) -> int:
    """Return what a formula of whole numbers and names comes to.

    Raises:
        KeyError: a name without a value, or an operator other than + - * // %.
    """
    return _value(ast.parse(formula, mode="eval").body, values)


def _value(node: ast.expr, values: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=sign, right=right):
            return _OPERATORS[type(sign)](_value(left, values), _value(right, values))
    raise KeyError(ast.unparse(node))
