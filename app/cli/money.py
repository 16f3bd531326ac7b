"""Options of a batch that costs money, or that is taken up again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.console import EXIT_USAGE, fail
from app.client import Tribunal
from app.client.bodies import BatchBody

BudgetUsd = Annotated[
    float | None,
    typer.Option("--budget-usd", min=0, help="most that judging may cost; the rest abstains"),
]
SoftBudget = Annotated[
    bool, typer.Option("--soft-budget", help="go by mean costs; the last pairs may pass the cap")
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="of the order in which a budget admits pairs")
]
RetryOption = Annotated[
    str | None, typer.Option("--retry", help="judge what this ended batch lacks, then wait for it")
]


def money_of(budget_usd: float | None, seed: int | None, *, is_soft: bool) -> dict[str, Any]:
    """Return what a request says about money."""
    if budget_usd is None:
        if is_soft or seed is not None:
            fail("--soft-budget and --seed need --budget-usd", status=EXIT_USAGE)
        return {}
    given: dict[str, Any] = {"budget_usd": budget_usd}
    if is_soft:
        given["budget"] = "soft"
    if seed is not None:
        given["seed"] = seed
    return given


def taken_up(tribunal: Tribunal, batch_id: str, money: dict[str, Any]) -> BatchBody:
    """Let an ended batch be judged where it lacks something, under a new budget if one is given."""
    if money.keys() - {"budget_usd"}:
        fail("--retry: the batch has its order and kind of budget already", status=EXIT_USAGE)
    return tribunal.retry_batch(batch_id, **money)
