"""Tables of what a service has: its judges, keys and database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from app.cli.console import number as _number
from app.cli.tables.layout import Body, Screen, Table, escape
from app.cli.tables.verdicts import reason_line

_EMBEDDED = "none: the embedded judge alone"


def doctor(console: Screen, body: Body) -> None:
    """Show what is configured and whether it works."""
    lines = [
        *_places(body),
        *(
            ("judge", "ok" if one["is_ready"] else "down", f"{one['name']} {one['detail']}")
            for one in body["judges"]
        ),
        *(("cascade", "ok", f"{n}: {' -> '.join(js)}") for n, js in body["cascades"].items()),
    ]
    width = max(len(status) for _, status, _ in lines)
    for what, status, detail in lines:
        console.print(f"{what:<10}  {status:<{max(width, 4)}}  {escape(detail.rstrip())}")


def judges(console: Screen, body: Sequence[Body]) -> None:
    """Show the configured judges, one after the other."""
    for one in body:
        _judge_lines(console, one)


def judge(console: Screen, body: Body) -> None:
    """Show a judge, and what each part of its template may use."""
    from judges.prompting.templates import RATING_VARIABLES, VARIABLES  # it loads Jinja

    _judge_lines(console, body)
    if body["template"] is None:
        return
    rates = "response" in body["template"]["variables"]
    for part, variables in (RATING_VARIABLES if rates else VARIABLES).items():
        console.print(f"the part {part} of a template may use:")
        for name, what in variables.items():
            console.print(f"  {name}: {escape(what)}")


def tried(console: Screen, body: Body) -> None:
    """Show how a judge judged one pair: prompts, tokens read, score and cost."""
    for one in body["exchanges"]:
        _exchange(console, one)
    cost = "unknown" if body["cost_usd"] is None else f"{body['cost_usd']:.6f} USD"
    said = body["label"] or ("failed" if body["failure"] else "no preference")
    console.print(
        f"{escape(body['judge'])}: [bold]{said}[/], p_a {_number(body['p_a'])}, confidence "
        f"{_number(body['confidence'])}; {_counted(body['tokens'])}; cost {cost}"
    )
    if ratings := body.get("ratings"):
        tau = body.get("tau")
        told = "" if tau is None else f"; tau {tau:g}, so that p_a is sigmoid((a - b) / {tau:g})"
        console.print(f"rated: a {ratings['a']:.3f}, b {ratings['b']:.3f}{told}")
    if body["failure"]:
        console.print(f"[red]{body['failure']['kind']}:[/] {escape(body['failure']['detail'])}")
    if body["flags"]:
        console.print(f"flags: {escape(', '.join(body['flags']))}")
    if body.get("reason"):
        reason_line(console, {**body, "id": "reason"})


def _exchange(console: Screen, one: Body) -> None:
    shown = "alone" if one["is_alone"] else "shown first"
    console.print(f"[bold]annotator {one['annotator']}, {one['shown_first']} {shown}[/]")
    for role, text in _parts(one):
        console.print(f"--- {role}")
        console.print(escape(text))
    console.print(f"--- the model wrote {escape(json.dumps(one['text'], ensure_ascii=False))}")
    if one["failure"]:
        console.print(f"[red]failed:[/] {escape(one['failure']['detail'])}")
    for read in one["read"]:
        spelled = f" label {read['label']}" if read["label"] else ""
        log = "-" if read["logprob"] is None else f"{read['logprob']:.4f}"
        console.print(f"    {log:>9}  {escape(repr(read['token']))}{escape(spelled)}")
    console.print(f"    {_counted(one['tokens'])}")


def _parts(exchange: Body) -> Iterator[tuple[str, str]]:
    for message in exchange["messages"]:
        yield message["role"], message["content"]
    if not exchange["messages"]:
        yield "prompt", exchange["prompt"]


def _counted(tokens: Body) -> str:
    return (
        f"{tokens['prompt']} tokens read, {tokens.get('cached', 0)} of them from a cache, "
        f"{tokens['completion']} written"
    )


def _judge_lines(console: Screen, body: Body) -> None:
    health = body["health"]
    ready = "ready" if health["ready"] else f"not ready: {health['detail']}"
    console.print(f"[bold]{escape(body['name'])}[/]: {body['kind']}, {escape(ready)}")
    prices = [body[name] for name in ("price_input", "price_output")]
    if body["model"]:
        console.print(f"  model {escape(body['model'])}")
    if learnt := body["training_prompts"]:
        console.print(f"  knows {learnt} prompts, which calibrate no certificate of it")
    if None not in prices:
        console.print(f"  {prices[0]:g} USD a million tokens read, {prices[1]:g} written")
    if (template := body["template"]) is not None:
        labels = ", ".join(template["labels"])
        named = f"template {template['name']}, version {template['version']}, labels {labels}"
        console.print(f"  {escape(named)}")
        for part, variables in template["variables"].items():
            console.print(f"    {part} uses {escape(', '.join(variables) or 'nothing')}")


_DATABASES = {
    "none": "there is none yet; the first verb that stores something makes it",
    "empty": "without tables yet; the first verb that stores something makes them",
    "old": "of an older version; the next verb upgrades it, and so does tribunal db upgrade",
}


def _places(body: Body) -> Iterator[tuple[str, str, str]]:
    """Say where the service is, or what it would use in this process."""
    if "server" in body:
        yield "server", body["server"]["status"], body["server"]["url"]
        return
    database, configuration = body["database"], body["configuration"]
    said = _DATABASES.get(database["status"])
    yield "database", database["status"], f"{database['url']}{f' ({said})' if said else ''}"
    yield "configured", configuration["status"], configuration["path"] or _EMBEDDED


def keys(console: Screen, body: Sequence[Body]) -> None:
    """Show keys without their secrets."""
    table = Table("name", "id", "scopes", "last used", "ends", drops=("last used", "scopes"))
    for key in body:
        scopes = ",".join(key["scopes"])
        if key["annotator"] is not None:
            scopes += f" of {key['annotator']}"
        used = (key["last_used_at"] or "-")[:10]
        table.add_row(key["name"], key["id"], scopes, used, _end_of(key))
    console.print(table)


def _end_of(key: Body) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {key['revoked_at'][:10]}"
    return "-" if key["expires_at"] is None else str(key["expires_at"][:16])


def schema(console: Screen, body: Body) -> None:
    """Show the revision of a database's schema."""
    console.print(f"database {body['status']}: revision {body['revision'] or 'none (empty)'}")
