"""The verb that adds labels: reads a table of them, and names every faulty row."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, NoReturn, cast

import typer

from app.cli.console import EXIT_FAILED, EXIT_USAGE, AsJson, Console, fail, note
from app.cli.options import Coding, Columns, DatasetArgument, Delimiter
from app.cli.people.label_files import FIELDS, ColumnsUnknown, LabelFile, Line, read_labels
from app.cli.service import Key, Server, open_tribunal
from app.cli.tables.certificates import fields_of
from app.cli.tables.layout import Screen, escape

if TYPE_CHECKING:
    from app.client import RequestRefused, Tribunal
    from app.client.bodies_in import Label
    from app.formats.columns.declared import Layout
    from app.formats.columns.guessing import Guess, Known

# labels that are stored together: a larger file is stored in pieces, and may be given again
_AT_ONCE: Final = 10_000
# pairs of the dataset from which the columns of an unknown table are guessed
_LOOK_PAIRS: Final = 500
_MOST_COLUMNS: Final = 30
_MOST_CODES: Final = 12


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command()(label)


def _layout(columns: list[str] | None, coding: list[str] | None, delimiter: str | None) -> Layout:
    from app.formats.columns.declared import DeclarationInvalid, Declared, Layout

    try:
        return Layout(Declared.read(columns or (), coding or (), delimiter or ""))
    except DeclarationInvalid as error:
        fail(f"--{error.name}: {error}", status=EXIT_USAGE)


def label(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="a table with a header (CSV, TSV, Parquet), or JSON: pair, label (a, b or tie; "
            "numbers need --coding), annotator; also criterion, strength, first_shown, comment; other "
            "columns are kept with each label; - reads stdin"
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="pair|prompt",
            help="what names the pair of a row: the id, or prompt with model_a and model_b; default: "
            "the id where the file has it",
        ),
    ] = None,
    columns: Columns = None,
    coding: Coding = None,
    delimiter: Delimiter = None,
    annotator: Annotated[
        str | None, typer.Option(help="who said so, where the file names no one")
    ] = None,
    voters: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="of a table with a column for each person: these columns, each with the labels of the "
            "person that it is called by",
        ),
    ] = None,
    criteria: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="of a table with a column for each criterion: these columns, each with the labels by "
            "the criterion that it is called by",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="store nothing; show the first three labels as stored")
    ] = False,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Add labels to a dataset; a label of the same person on the same pair replaces the earlier.

    Where a row is faulty nothing is stored, and every faulty row is named by its line.
    """
    if by not in (None, "pair", "prompt"):
        fail(f"--by: {by!r} is neither pair nor prompt", status=EXIT_USAGE)
    if voters and annotator:
        fail("--voters names who said so: leave out --annotator", status=EXIT_USAGE)
    if voters and criteria:
        fail("--voters and --criteria: a column is of one of both", status=EXIT_USAGE)
    layout = _layout(columns, coding, delimiter)
    spread = [name.strip() for name in (voters or criteria or "").split(",") if name.strip()]
    name_of = "criterion" if criteria else "annotator"
    labels = LabelFile(file, dataset, annotator, by, layout, spread, name_of)
    with open_tribunal(server, key, only_reads=dry_run) as tribunal:
        try:
            found = _given(tribunal, labels, is_dry=dry_run)
        except ColumnsUnknown as unknown:
            _suggest(tribunal, labels, unknown)
    for sentence in labels.notes:
        note(f"{file}: {sentence}")
    Console(as_json).show({"dataset": dataset, **found}, _preview if dry_run else _show)


def _given(tribunal: Tribunal, file: LabelFile, *, is_dry: bool) -> dict[str, Any]:
    """Store the labels of a file, piece by piece, or check them; return what became of them."""
    lines = read_labels(file)
    found: dict[str, Any] = {}
    while piece := list(islice(lines, _AT_ONCE)):
        stored = _stored(tribunal, piece, is_dry=is_dry)
        if stored is None:
            _refuse(tribunal, chain(piece, lines), file, found.get("accepted", 0))
        found = _sum(found, stored) if found else dict(stored)
    if not found:
        empty = "".join(f"; {sentence}" for sentence in file.notes)
        fail(f"{file.path}: holds no label{empty}", status=EXIT_USAGE)
    return found


def _sum(before: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of two pieces together; the first rows are those of the first."""
    return {
        name: _sum(value, more[name])
        if isinstance(value, dict)
        else value + more[name]
        if isinstance(value, int)
        else value
        for name, value in before.items()
    }


def _suggest(tribunal: Tribunal, file: LabelFile, unknown: ColumnsUnknown) -> NoReturn:
    """Say which columns a file has, and the command that gives them as they seem to be meant."""
    from app.formats.columns.guessing import guess

    named = ", ".join(list(unknown.table)[:_MOST_COLUMNS]) or "no column with a name"
    known = _known(tribunal, file.dataset)
    found = guess(unknown.table, known)
    lines = [f"the file has: {named}"]
    if known is not None and known.ids & unknown.table.keys():
        lines.append(
            "the first line seems to be a row: write the names of the columns above it, for example "
            "pair,label,annotator"
        )
    elif command := _command(file, found):
        lines += [
            "if these guesses are right, give (--dry-run first shows what it would store)",
            command,
        ]
        if found.codes:
            lines.append(f"and set right what these say: {', '.join(found.codes[:_MOST_CODES])}")
    else:
        lines.append(_lacking(found))
    fail(f"{file.path}, line {unknown.line}: {unknown}", status=EXIT_USAGE, lines=lines)


def _lacking(found: Guess) -> str:
    """Say what no column of a file seems to hold."""
    names_pair = {"pair", "prompt"} & found.columns.keys()
    says = "label" in found.columns or found.people or found.criteria
    what = [
        *([] if names_pair else ["the pair of a label (its id in the dataset, or its prompt)"]),
        *([] if says else ["who won (a, b or tie, or the name of a model)"]),
    ]
    return f"no column seems to hold {' or '.join(what)}"


def _known(tribunal: Tribunal, dataset: str) -> Known | None:
    """Return what the first pairs of a dataset are called; None where it cannot be read."""
    from app.client import RequestRefused
    from app.formats.columns.guessing import Known

    try:
        return Known.of(dict(row) for row in islice(tribunal.datasets.pairs(dataset), _LOOK_PAIRS))
    except RequestRefused:
        return None


def _command(file: LabelFile, found: Guess) -> str:
    """Return the command that reads a file as guessed; "" where too little is known."""
    from app.formats.columns.declared import coding_of
    from app.formats.columns.guessing import mapping_of

    own = {(name, name) for name in FIELDS} | {("pair", "id"), ("label", "winner")}
    columns = {n: column for n, column in found.columns.items() if (n, column) not in own}
    declared = file.layout.declared
    # what was declared is no guess
    said = {"pair" if name == "id" else name: column for name, column in declared.columns.items()}
    columns = {n: c for n, c in columns.items() if n not in said and c not in said.values()} | said
    there = {*found.columns, *said}
    if not {"pair", "prompt"} & there or not ("label" in there or found.people or found.criteria):
        return ""
    needs_name = not found.people and (file.annotator is not None or "annotator" not in there)
    options = {
        "--by": file.by,
        "--map": mapping_of(columns),
        "--coding": coding_of(found.codes),
        "--delimiter": declared.delimiter,
        "--criteria": ",".join(found.criteria),
        "--voters": ",".join(found.people),
        "--annotator": (file.annotator or "NAME") if needs_name else None,
    }
    words = [word for name, value in options.items() if value for word in (name, value)]
    return " ".join(map(_quoted, ["tribunal", "label", file.dataset, str(file.path), *words]))


def _quoted(part: str) -> str:
    """Return a word of a command as every shell takes it, as far as there is such a form."""
    quoted = shlex.quote(part)
    is_plain = quoted != part and not set(part) & set('"$`\\!%')
    return f'"{part}"' if is_plain else quoted


def _label_rows(lines: Sequence[Line]) -> list[Label]:
    return [cast("Label", line.row) for line in lines]


def _stored(tribunal: Tribunal, piece: Sequence[Line], *, is_dry: bool) -> Mapping[str, Any] | None:
    """Store labels, all or none, or check them; None where a row is faulty."""
    if any(line.fault for line in piece):
        return None
    from app.client import RequestRefused

    try:
        if is_dry:
            return cast("Mapping[str, Any]", tribunal.labels.check(_label_rows(piece)))
        return cast("Mapping[str, Any]", tribunal.labels.create(_label_rows(piece)))
    except RequestRefused as error:
        _by_index(error)
        return None


def _refuse(
    tribunal: Tribunal, lines: Iterator[Line], file: LabelFile, stored_before: int
) -> NoReturn:
    """Name every faulty row of the rest of a file, and exit; none of it is stored."""
    rejected: list[dict[str, Any]] = []
    count, status = 0, EXIT_FAILED
    while piece := list(islice(lines, _AT_ONCE)):
        unread = [{"line": one.number, "reason": one.fault} for one in piece if one.fault]
        status = EXIT_USAGE if unread else status
        refused = _refused(tribunal, [one for one in piece if not one.fault])
        file.unread.update(dict.fromkeys(refused.unread))
        rejected += unread + refused.rejected
        count += len(unread) + refused.total
    kept = f"; {stored_before} labels before it are stored" if stored_before else ""
    rows = "1 row is" if count == 1 else f"{count} rows are"
    rejected.sort(key=lambda one: int(one["line"]))
    fail(
        f"{file.path}: {rows} faulty, none of these labels was stored{kept}",
        status=status,
        details={"rejected": rejected, "rejected_count": count},
        lines=_coding_hint(file),
    )


def _coding_hint(file: LabelFile) -> list[str]:
    """Return how to say what labels mean that mean nothing by themselves."""
    from app.formats.columns.declared import coding_of

    codes = list(file.unread)
    if not codes:
        return []
    coding = _quoted(coding_of(codes[:_MOST_CODES]))
    more = f" (and {len(codes) - _MOST_CODES} more)" if len(codes) > _MOST_CODES else ""
    return [f"say what these labels mean, for example --coding {coding}{more}"]


class _Refused(NamedTuple):
    """Rows that the service refuses: the first with reasons, how many, and labels it cannot read."""

    rejected: list[dict[str, Any]]
    total: int
    unread: list[str]


def _refused(tribunal: Tribunal, lines: list[Line]) -> _Refused:
    """Return the rows that the service refuses."""
    from app.client import RequestRefused

    rejected: list[dict[str, Any]] = []
    unread: list[str] = []
    count = 0
    while lines:
        try:
            tribunal.labels.check(_label_rows(lines))
        except RequestRefused as error:
            faults = _by_index(error)
            rejected += [
                {"line": lines[index].number, "reason": why} for index, why in faults.items()
            ]
            unread += [
                str(lines[at].row["winner"])
                for at, why in faults.items()
                if why.startswith("label: ") and "winner" in lines[at].row
            ]
            total = error.problem.get("error_count")
            if total is not None:
                return _Refused(rejected, count + int(total), unread)
            # the service checks fields first, and pairs and datasets only where those are right
            count += len(faults)
            lines = [one for at, one in enumerate(lines) if at not in faults]
        else:
            break
    return _Refused(rejected, count, unread)


def _by_index(error: RequestRefused) -> dict[int, str]:
    """Return what is wrong with labels by their index; raise any other refusal again."""
    faults: dict[int, str] = {}
    for fault in error.problem.get("errors") or []:
        match list(fault.get("loc") or ()):
            case ["body", "labels", int(index), *fields]:
                # a label in words is sent as who won
                name = ".".join({"winner": "label"}.get(part, str(part)) for part in fields)
                said = f"{name}: {fault.get('msg')}" if name else str(fault.get("msg"))
                faults[index] = f"{faults[index]}; {said}" if index in faults else said
            case _:
                raise error
    if not faults:
        raise error
    return faults


def _show(console: Screen, body: dict[str, Any]) -> None:
    new = body["accepted"] - body["replaced"] - body["unchanged"]
    console.print(
        f"{body['accepted']} label{'s' * (body['accepted'] != 1)} for {escape(body['dataset'])}: "
        f"{new} are new, {body['replaced']} replace another label of the same person, "
        f"{body['unchanged']} were stored already"
    )
    _say_outcomes(console, body)


def _preview(console: Screen, body: dict[str, Any]) -> None:
    console.print(
        f"nothing is stored; {body['checked']} label{'s' * (body['checked'] != 1)} can be, for "
        f"{escape(body['dataset'])}"
    )
    _say_outcomes(console, body)
    for number, row in enumerate(body["rows"], start=1):
        console.print(f"[bold]label {number}[/]")
        fields_of(console, row)


def _say_outcomes(console: Screen, body: dict[str, Any]) -> None:
    said = body["labels"]
    turned = body["turned"]
    rows = "1 row has" if turned == 1 else f"{turned} rows have"
    console.print(
        f"as the pairs are stored: {said['a']} a, {said['b']} b, {said['tie']} tie"
        + (
            f"; {rows} the two sides the other way round, and {'was' if turned == 1 else 'were'} turned"
            if turned
            else ""
        )
    )
    if body["contradicted"]:
        console.print(
            f"on {body['contradicted']} pairs one person gives two labels in this file: the last "
            "one counts (give every person a name of their own)"
        )
