"""What every judge that is prompted has in its fingerprint and its notes, wherever its model runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from judges.annotators import ExampleSets, examples_hash
from judges.early_stop import EarlyStop
from judges.prompts import PromptTemplate


class Asked(Protocol):
    """How a model is asked, as far as all back ends share it."""

    @property
    def orders(self) -> str:
        """Both orders of the responses, or as posted."""
        ...

    @property
    def confidence(self) -> str:
        """Where the confidence comes from."""
        ...

    @property
    def early_stop(self) -> EarlyStop | None:
        """When not all annotators are asked."""
        ...


def scored_by_prompt(asked: Asked, template: PromptTemplate, sets: ExampleSets) -> dict[str, Any]:
    """Return what of the prompt a score depends on."""
    return {
        "template": template.content_hash,
        "labels": list(template.labels),
        "orders": asked.orders,
        "confidence": asked.confidence,
        "annotators": len(sets),
        **({"early_stop": asdict(asked.early_stop)} if asked.early_stop else {}),
        "examples": examples_hash(sets),
    }


def prompt_notes(template: PromptTemplate, sets: ExampleSets) -> dict[str, Any]:
    """Return what people are told of the prompt."""
    return {
        "template": template.name,
        "template_version": template.version,
        "examples": len(sets[0]),
    }
