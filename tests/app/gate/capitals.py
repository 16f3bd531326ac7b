"""A small world that the embedded judge knows well: full answers and shrugs."""

from __future__ import annotations

from typing import Any

from app.client import Tribunal

SHRUG = "I do not know."


def prompt(number: int) -> str:
    return f"Tell me about the capital of country number {number}."


def full(number: int) -> str:
    return (
        f"The capital of country {number} lies on a river; it grew around its harbour, and today "
        "most people there work in trade, in offices, and in the schools of the old town."
    )


def good(n: int, start: int = 200) -> dict[str, str]:
    """Outputs of a model that answers everything."""
    return {prompt(start + i): full(start + i) for i in range(n)}


def bad(n: int, start: int = 200) -> dict[str, str]:
    """Outputs of a model that answers nothing."""
    return {prompt(start + i): SHRUG for i in range(n)}


def rows(outputs: dict[str, str], model: str) -> list[dict[str, Any]]:
    """Return outputs in AlpacaEval's form."""
    return [
        {"instruction": asked, "output": text, "generator": model, "dataset": "capitals"}
        for asked, text in outputs.items()
    ]


def certified(client: Tribunal) -> str:
    """Certify the embedded judge on labels of this world, and return the certificate's id."""
    labelled = []
    for number in range(200):
        first, second = (full(number), SHRUG) if number % 2 else (SHRUG, full(number))
        label = {"annotator": "anna", "label": "a" if number % 2 else "b"}
        labelled.append(
            {"prompt": prompt(number), "response_a": first, "response_b": second, "human": [label]}
        )
    client.import_dataset(labelled, name="capitals")
    certificate = client.certify(
        dataset="capitals", cascade={"judges": ["student"]}, target_agreement=0.9
    )
    assert certificate["status"] == "certified"
    return certificate["id"]
