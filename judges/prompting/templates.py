"""Render versioned prompt templates.

Only the prompt is sanitised; stored and hashed texts stay unchanged. The part shared by all pairs
comes first, so that a server can cache the prefix. Each section is enclosed in tags. If a text
contains something that looks like a tag, the pair's tags get a suffix that does not occur in its
texts. A text that states a verdict stays as it is and is flagged.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import SandboxedEnvironment

from judges.errors import JudgeConfigurationInvalid, nearest
from judges.prompting.examples import Example
from judges.prompting.neutralising import as_seen, neutralise
from judges.prompting.ratings import Scale
from judges.types import Label, Message, Pair

DELIMITER: Final = "injection:delimiter"
VERDICT: Final = "injection:verdict"

_FOLDER: Final = Path(__file__).with_name("prompts")
_PARTS: Final = ("instructions", "pair", "verdict")
_RATING_PARTS: Final = ("instructions", "example", "response", "verdict")
_LABELS: Final = (
    "the words that the model is to answer with: labels[0] for the first response shown, labels[1] "
    "for the second and, if there is a third, labels[2] for neither"
)
# what each part of a template may use
VARIABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "instructions": {"labels": _LABELS},
    "pair": {
        "labels": _LABELS,
        "criterion": "what to judge by, or none",
        "conversation": "the messages, each with role and text",
        "responses": "the two responses in the order shown, each with its label and its turns",
        "open": "open(name): the tag that begins a section; texts cannot imitate it",
        "close": "close(name): the tag that ends a section",
    },
    "verdict": {"labels": _LABELS},
}
_WORDS: Final = "the words that the model is to answer with, the worst first"
_SHOWN: Final = {
    name: VARIABLES["pair"][name] for name in ("criterion", "conversation", "open", "close")
}
# what each part of a template may use that asks to rate one response
RATING_VARIABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "instructions": {
        "labels": _WORDS,
        "scale": "the values, the worst first, each with its label and its value",
        "recoded": "whether the labels are other words than the values",
    },
    "example": {
        "labels": _WORDS,
        **_SHOWN,
        "responses": "the two responses of an example, each with its label, 1 or 2, and its turns",
        "preferred": "the label of the response that people preferred, or nothing",
    },
    "response": {"labels": _WORDS, **_SHOWN, "turns": "the turns of the response to be rated"},
    "verdict": {"labels": _WORDS},
}
_ROLES: Final = ("system", "user", "assistant", "tool")
_OTHER_ROLE: Final = "participant"
# Without a pair that uses them; `List<Tool>` is ordinary code.
_ROLE_TAGS: Final = r"system|user|assistant|participant|developer|human|(?-i:tool)"
_SUFFIX_LENGTH: Final = 8
# What judges are usually asked for, besides the words of the template itself.
_SIDE: Final = r"(?:response|assistant|answer|output|option|model)"
_ASKED: Final = (
    r"(?:better|best|preferred|winning|chosen)\W{1,3}(?:response|answer|assistant|output|option)"
    r"|(?:final\W{1,3})?(?:verdict|winner|judge?ment)"
)
_ENVIRONMENT: Final = SandboxedEnvironment(
    autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt: the shared part, the pair, and the flags of sanitising."""

    shared: str
    query: str
    flags: tuple[str, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt as a conversation: shared part as system message, pair as user message."""
        return (Message("system", self.shared), Message("user", self.query))

    @property
    def text(self) -> str:
        """The prompt as one text, to be completed by the verdict."""
        return f"{self.shared}\n\n{self.query}"


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """One pair in one response order, with the flags of sanitising."""

    text: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class PromptTemplate:
    """A template for one set of labels.

    Attributes:
        name: Name or path of the template.
        version: For display only; the fingerprint uses `content_hash`.
        parts: Jinja sources of `instructions`, `pair` and `verdict`.
        labels: Labels of the first response, the second response and, optionally, neither.
        criterion: What to judge by, in place of what a pair says; None: what the pair says.
        scale: What each response is rated by, alone; None: two responses are compared.
    """

    name: str
    version: int
    parts: dict[str, str]
    labels: tuple[str, ...]
    criterion: str | None = None
    scale: Scale | None = None

    @cached_property
    def content_hash(self) -> str:
        """Hash of the template sources."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode("ascii")).hexdigest()

    @cached_property
    def variables(self) -> dict[str, list[str]]:
        """The variables that each part uses."""
        return {
            part: sorted(find_undeclared_variables(_ENVIRONMENT.parse(source)))
            for part, source in self.parts.items()
        }

    def by(self, criterion: str) -> PromptTemplate:
        """Return the template with what to judge by.

        Raises:
            JudgeConfigurationInvalid: It does not show a criterion.
        """
        part = "pair" if self.scale is None else "response"
        if "criterion" not in self.variables[part]:
            raise JudgeConfigurationInvalid(
                f"criteria: the part {part} of the template {self.name!r} does not use criterion"
            )
        return replace(self, criterion=criterion)

    def shared(self, examples: Sequence[Example] = ()) -> str:
        """Render the instructions and the examples, each example in its posted order."""
        instructions = self._compiled["instructions"].render(labels=self.labels)
        shown = [
            f"{self.query(example.pair).text} {self._answer(example.label)}" for example in examples
        ]
        return "\n\n".join((instructions.strip("\n"), *shown))

    def queries(self, pair: Pair, *, both: bool = True) -> list[RenderedPair]:
        """Render all that a simulated annotator is asked: the pair as posted, then swapped.

        Args:
            pair: The pair.
            both: Whether to ask in both orders.
        """
        return [self.query(pair, swapped=swapped) for swapped in (False, True)[: 1 + both]]

    def query(self, pair: Pair, *, swapped: bool = False) -> RenderedPair:
        """Render the pair in the given order, up to the verdict."""
        texts = _Texts()
        responses = (pair.responses_a, pair.responses_b)
        shown = responses[::-1] if swapped else responses
        values = self._shown_of(pair, texts)
        values["responses"] = [
            {"label": label, "turns": [texts.add(turn) for turn in turns]}
            for label, turns in zip(self.labels[:2], shown, strict=True)
        ]
        return self._asked("pair", values, texts)

    def _shown_of(self, pair: Pair, texts: _Texts) -> dict[str, Any]:
        """Return what every part shows of a pair but its responses."""
        criterion = pair.criterion if self.criterion is None else self.criterion
        return {
            "labels": self.labels,
            "criterion": None if criterion is None else texts.add(criterion),
            "conversation": [
                {"role": m.role if m.role in _ROLES else _OTHER_ROLE, "text": texts.add(m.content)}
                for m in pair.conversation
            ],
        }

    def _asked(self, part: str, values: dict[str, Any], texts: _Texts) -> RenderedPair:
        rendered = self._between_tags(part, values, texts)
        verdict = self._compiled["verdict"].render(labels=self.labels)
        return RenderedPair(f"{rendered.strip()}\n{verdict}", tuple(sorted(texts.flags)))

    def render(
        self, pair: Pair, *, swapped: bool = False, examples: Sequence[Example] = ()
    ) -> Prompt:
        """Render the whole prompt for one pair, order and simulated annotator."""
        query = self.query(pair, swapped=swapped)
        return Prompt(self.shared(examples), query.text, query.flags)

    @cached_property
    def _compiled(self) -> dict[str, Any]:
        return {part: _ENVIRONMENT.from_string(source) for part, source in self.parts.items()}

    @property
    def _spellings(self) -> tuple[str, ...]:
        """How an answer may be spelt in a text that states one."""
        return self.labels

    @cached_property
    def _verdicts(self) -> re.Pattern[str]:
        """What states a verdict as this template, or a usual judge, would write it."""
        words = re.findall(r"\w+", self._compiled["verdict"].render(labels=self.labels))
        own = r"\W{1,5}".join(re.escape(word) for word in words)
        label = "|".join(re.escape(label) for label in self._spellings)
        asked = rf"{own}|{_ASKED}" if own else _ASKED
        side = rf"(?:{_SIDE}\W{{1,3}})?(?:(?-i:{label})|this|neither|tie)(?!\w)"
        return re.compile(
            rf"(?<!\w)(?:{asked})(?:\W{{1,8}}|\W{{1,3}}is\W{{1,5}}){side}"
            rf"|\[\[(?-i:{label})\]\]"
            rf"|(?<!\w){_SIDE}\W{{1,3}}(?-i:{label})\W{{1,3}}(?:is|was)\s(?:clearly\s)?"
            rf"(?:the\s)?(?:better|best|winner|preferred)(?!\w)",
            re.IGNORECASE,
        )

    def _between_tags(self, part: str, values: dict[str, Any], texts: _Texts) -> str:
        tags = _Tags()
        rendered = self._compiled[part].render(values, open=tags.open, close=tags.close)
        seen = [as_seen(text) for text in texts.clean]
        if any(self._verdicts.search(text) for text in seen):
            texts.flags.add(VERDICT)
        if not tags.occur_in(seen):
            return str(rendered)
        texts.flags.add(DELIMITER)
        tags = _Tags(_unused_suffix(texts.clean))
        return str(self._compiled[part].render(values, open=tags.open, close=tags.close))

    def _answer(self, label: Label) -> str:
        try:
            return self.labels[("a", "b", "tie").index(label)]
        except IndexError:
            raise ValueError("an example is a tie, but the template knows two labels") from None


@dataclass(frozen=True)
class RatingTemplate(PromptTemplate):
    """A template by which each response is rated alone.

    Its parts are `instructions`, `example`, `response` and `verdict`. A simulated annotator sees
    pairs that people compared as its examples: these say what people prefer, on no scale of theirs.
    """

    def shared(self, examples: Sequence[Example] = ()) -> str:
        """Render the instructions and the examples."""
        scale = _scale_of(self)
        instructions = self._compiled["instructions"].render(
            labels=self.labels,
            scale=[
                {"label": label, "value": value}
                for label, value in zip(scale.labels, scale.values, strict=True)
            ],
            recoded=scale.is_recoded,
        )
        shown = (self._compared(example) for example in examples)
        return "\n\n".join((instructions.strip("\n"), *shown))

    def queries(self, pair: Pair, *, both: bool = True) -> list[RenderedPair]:
        """Render all that a simulated annotator is asked: to rate a, and to rate b."""
        return [self.query(pair), self.query(pair, swapped=True)]

    def query(self, pair: Pair, *, swapped: bool = False) -> RenderedPair:
        """Render the question about response a or, `swapped`, about response b."""
        texts = _Texts()
        values = self._shown_of(pair, texts)
        turns = pair.responses_b if swapped else pair.responses_a
        values["turns"] = [texts.add(turn) for turn in turns]
        return self._asked("response", values, texts)

    def _compared(self, example: Example) -> str:
        texts, pair = _Texts(), example.pair
        values = self._shown_of(pair, texts)
        values["responses"] = [
            {"label": label, "turns": [texts.add(turn) for turn in turns]}
            for label, turns in (("1", pair.responses_a), ("2", pair.responses_b))
        ]
        values["preferred"] = {"a": "1", "b": "2", "tie": ""}[example.label]
        return self._between_tags("example", values, texts).strip()

    @property
    def _spellings(self) -> tuple[str, ...]:
        """The words and, since people write these, the values."""
        return (*self.labels, *(str(value) for value in reversed(_scale_of(self).values)))


def _scale_of(template: PromptTemplate) -> Scale:
    assert template.scale is not None
    return template.scale


#: The name of a template that stands in the configuration itself.
INLINE: Final = "inline"


def load_template(
    source: str | Mapping[str, Any],
    labels: Sequence[str] = ("A", "B"),
    scale: Scale | None = None,
) -> PromptTemplate:
    """Load a template by name, from the path of a TOML file, or from its parts.

    Args:
        source: A name, a path, or the parts `instructions`, `pair` and `verdict` with an optional
            `version`. A part that is left out is that of `pairwise`.
        labels: The words that the model is to answer with.
        scale: Rate each response alone by this, with its words in place of `labels`. The parts are
            then `instructions`, `example`, `response` and `verdict`, those left out of `rating`.

    Raises:
        JudgeConfigurationInvalid: The template does not exist or is invalid, or the labels are not
            two or three different words.
    """
    made = _Made(_PARTS, tuple(labels), None)
    if scale is None:
        _check_labels(labels)
    else:
        made = _Made(_RATING_PARTS, scale.labels, scale)
    if not isinstance(source, str):
        return _inline(source, made)
    name = source
    is_path = "/" in name or "\\" in name or name.endswith(".toml")
    path = Path(name) if is_path else _FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(made.names)
        raise JudgeConfigurationInvalid(f"template: {name!r} not found; known: {known}, or a path")
    try:
        return made.template(name, tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise JudgeConfigurationInvalid(f"template: {name!r} cannot be used: {error!r}") from error


def _inline(source: Mapping[str, Any], made: _Made) -> PromptTemplate:
    known = (*made.parts, "version")
    unknown = next((part for part in source if part not in known), None)
    if unknown is not None:
        near = nearest(unknown, known)
        hint = f", did you mean {near!r}?" if near else ""
        raise JudgeConfigurationInvalid(
            f"template.{unknown}: unknown part{hint}; known: {', '.join(known)}"
        )
    ours = tomllib.loads((_FOLDER / f"{made.names[0]}.toml").read_text(encoding="utf-8"))
    return made.template(INLINE, {**{part: ours[part] for part in made.parts}, **source})


@dataclass(frozen=True, slots=True)
class _Made:
    """What templates of one kind are made of."""

    parts: tuple[str, ...]
    labels: tuple[str, ...]
    scale: Scale | None

    @property
    def names(self) -> tuple[str, ...]:
        """The templates that come with the package."""
        return ("pairwise", "verbalized") if self.scale is None else ("rating",)

    def template(self, name: str, content: Mapping[str, Any]) -> PromptTemplate:
        """Return the template of this content; raise `JudgeConfigurationInvalid` if it is none."""
        try:
            parts = {part: content[part] for part in self.parts}
            wrong = next((part for part in self.parts if not isinstance(parts[part], str)), None)
            if wrong is not None:
                raise TypeError(f"{wrong} is not a text")
            kind = PromptTemplate if self.scale is None else RatingTemplate
            version = int(content.get("version", 1))
            template = kind(name, version, parts, self.labels, scale=self.scale)
            probe = Pair("", (Message("user", ""),), ("",), ("",), criterion="")
            template.render(probe, examples=[Example(probe, "a")])
        except (TypeError, ValueError, LookupError, TemplateError) as error:
            message = f"template: {name!r} cannot be used: {error!r}"
            raise JudgeConfigurationInvalid(message) from error
        return template


class _Texts:
    """Collects the sanitised texts of one prompt and the flags of their changes."""

    def __init__(self) -> None:
        self.clean: list[str] = []
        self.flags: set[str] = set()

    def add(self, text: str) -> str:
        clean, flags = neutralise(text)
        self.clean.append(clean)
        self.flags |= flags
        return clean


class _Tags:
    """Opening and closing tags with one suffix; records the tags used."""

    def __init__(self, suffix: str = "") -> None:
        self._suffix = suffix
        self._used: set[str] = set()

    def open(self, name: str) -> str:
        self._used.add(name)
        return f"<{name}{self._suffix}>"

    def close(self, name: str) -> str:
        return f"</{name}{self._suffix}>"

    def occur_in(self, texts: Sequence[str]) -> bool:
        """Return whether a text, as seen, holds something like one of the tags."""
        if not self._used:
            return False
        # possessive: a long run of spaces is read once
        names = "|".join(_spelled(name) for name in sorted(self._used))
        look_alike = re.compile(
            rf"<\s*+(?:/\s*+)?+(?:(?:{names})(?!\w)|(?:{_ROLE_TAGS})\s*+>)"
            rf"|[\[{{]\s*+/\s*+(?:{names}|{_ROLE_TAGS})\s*+[\]}}]",
            re.IGNORECASE,
        )
        return any(look_alike.search(text) for text in texts)


def _spelled(name: str) -> str:
    return re.escape(name).replace("_", r"[\s_-]{0,2}")


def _unused_suffix(texts: Sequence[str]) -> str:
    # Sort, so that the suffix does not depend on the response order.
    material = json.dumps(sorted(texts)).encode("ascii")
    digests = (hashlib.sha256(n.to_bytes(8, "big") + material).hexdigest() for n in count())
    suffixes = (digest[:_SUFFIX_LENGTH] for digest in digests)
    return next(f"-{one}" for one in suffixes if not any(one in text for text in texts))


def _check_labels(labels: Sequence[str]) -> None:
    is_word = all(re.fullmatch(r"[^\s<>]{1,32}", label) for label in labels)
    if len(labels) not in (2, 3) or len(set(labels)) != len(labels) or not is_word:
        raise JudgeConfigurationInvalid(
            f"labels: {list(labels)!r} are not two or three different words, the third for a tie"
        )
