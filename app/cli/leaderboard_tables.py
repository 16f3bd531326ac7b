"""Tables of leaderboards for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from app.cli.cells import estimate, number, percent
from app.cli.cells import table as table_of

Body = Mapping[str, Any]


def leaderboard(console: Console, body: Body) -> None:
    """Show models by rank, whole, by criterion and by slice, and what to bear in mind."""
    _scope(console, body)
    for part in body["groups"]:
        console.print(f"\n[bold]{escape(str(part['group']))}[/]")
        if part.get("error"):
            console.print(f"[red]not rankable:[/] {escape(part['error'])}")
        else:
            _scope(console, part)
    console.print(f"\n{_ground(body)}")
    for warning in body.get("warnings", ()):
        console.print(f"[yellow]note:[/] {escape(warning)}")


def _scope(console: Console, scope: Body) -> None:
    if scope.get("rankable") is False:
        console.print(f"[red]not rankable:[/] {escape(scope['not_rankable_because'])}")
    _rows(console, scope["rows"])
    for one in scope.get("by_criterion", ()):
        console.print(f"by [bold]{escape(one['criterion'])}[/], weight {one['weight']:.3g}:")
        _rows(console, one["rows"])
    for one in scope.get("coefficients", ()):
        console.print(f"  {one['name']}: {estimate(one['estimate'])} log-odds per {_scale(one)}")


def _scale(coefficient: Body) -> str:
    return f"difference of {number(coefficient['scale'])}"


def _rows(console: Console, rows: Sequence[Body]) -> None:
    has_silence = any(row.get("unresolved") for row in rows)
    has_labels = any("labelled" in row for row in rows)
    has_votes = any(_pairs(row) != row["pairs"] for row in rows)
    votes = ["comparisons"] if has_votes else []
    more = [*(["labelled"] if has_labels else []), *(["no verdict"] if has_silence else [])]
    table = table_of("model", "rank", "rating", "win rate", "pairs", *votes, "w/l/t", *more)
    for row in rows:
        cells = [
            escape(row["model"]),
            row.get("rank_text") or str(row["rank"]),
            estimate(row["rating"]),
            estimate(row["win_rate"]),
            str(_pairs(row)),
            *([str(row["pairs"])] if has_votes else []),
            f"{number(row['wins'])}/{number(row['losses'])}/{number(row['ties'])}",
        ]
        if has_labels:
            cells.append(str(row["labelled"]))
        if has_silence:
            cells.append(f"{row['unresolved']} ({percent(row['unresolved_share'])})")
        table.add_row(*cells)
    console.print(table)


def _pairs(row: Body) -> int:
    """How many pairs a row is of; stored rows of earlier versions count comparisons alone."""
    pairs: int = row.get("distinct_pairs", row["pairs"])
    return pairs


def _ground(body: Body) -> str:
    """What it rests on, in a line or two."""
    rests_on = body["rests_on"]
    text = (
        f"{body['method']} by {body['source']} over {body['pairs']} pairs, "
        f"{body['abstained']} abstained ({body['id']})"
    )
    certificate = body.get("certificate_now")
    if certificate is not None:
        state = "revoked" if certificate.get("revoked_at") else certificate["status"]
        text += f"\ncertificate {certificate['id']}: {state} now; promise {body.get('promise')}"
    if rests_on.get("label_set_hash"):
        text += f"\nlabels {rests_on['label_set_hash'][:16]}"
    return escape(text)


def stored(console: Console, page: Body) -> None:
    """Show which leaderboards are stored, one a line."""
    table = table_of("leaderboard", "made", "dataset", "source", "method", "first")
    for one in page["data"]:
        first = one["rows"][0]["model"] if one["rows"] else "-"
        made = one["created_at"][:19]
        names = (escape(one["dataset"]), escape(one["source"]), one["method"], escape(first))
        table.add_row(one["id"], made, *names)
    console.print(table)
    if page["has_more"]:
        console.print(f"there are more: --after {page['last_id']}")


def comparison(console: Console, body: Body) -> None:
    """Show what changed between two leaderboards."""
    console.print(f"from {body['earlier']['id']} to {body['later']['id']}")
    table = table_of("model", "rating change", "win rate change", "rank", "moved surely")
    for row in body["rows"]:
        rating = row["rating_change"]
        table.add_row(
            escape(row["model"]),
            "-" if rating is None else estimate(rating),
            estimate(row["win_rate_change"]),
            f"{row['rank_before']} -> {row['rank_after']}",
            "yes" if row["rank_has_surely_changed"] else "no",
        )
    console.print(table)
    for name in ("entered", "left"):
        if body[name]:
            console.print(f"{name}: {escape(', '.join(body[name]))}")
    if body["not_comparable_because"]:
        console.print(f"[yellow]note:[/] {escape(body['not_comparable_because'])}")
    differs = ", ".join(one["what"] for one in body["differs"])
    console.print(f"differs: {escape(differs) or 'nothing'}")
