"""Every table in a real terminal of 80, 100 and 120 columns, and in a pipe: nothing is cut."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import pty
import re
import struct
import sys
import termios
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.cells import cell_len
from rich.markup import escape
from typer.testing import CliRunner

from app.cli import app
from app.cli.console import note
from app.cli.tables.layout import Screen, Table
from tests.app.processes import free_port, service
from tests.app.rows import labelled_rows, ndjson

WIDTHS = (80, 100, 120)
MODELS = ("an-organisation/some-model-of-70B-instruct", "other-lab/model-v2", "東京の模型-large")
DATASET = "questions-about-rivers-and-lakes-2026"
#: A line between the outputs of two verbs.
END = "=== end of a verb ==="
ID = re.compile(r"\b(ds|cal|batch|lb|rep|key|brd|rpt|board|report)_[0-9a-f]{20,32}\b")
#: What a table says of itself where it had to do without columns, or to change its form.
LEFT_OUT = re.compile(r"left out, because \d+ columns have no room: (.+) \(--json has all\)")
#: Verbs that look at the database itself; one service answers all others.
HERE = ("keys", "doctor", "db", "verify")
STACKED = re.compile(r"one line for each column: the table is \d+ wide, and there is room for \d+")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["app.cli", "app.main"])


@dataclass(frozen=True)
class Stand:
    """A folder with something to show, the verbs that show it, and the service that answers them."""

    folder: Path
    verbs: list[list[str]]
    server: str
    key: str


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, f"{arguments}: {result.output}"
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("terminal")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DATABASE_URL", f"sqlite:///{folder}/shown.db")
        for name in ("TRIBUNAL_SERVER", "TRIBUNAL_CONFIG", "TRIBUNAL_API_KEY"):
            patch.delenv(name, raising=False)
        key = invoke("keys", "create", "the key of the continuous integration")["key"]
        assert CliRunner().invoke(app, ["keys", "signing"]).exit_code == 0
        port = free_port()
        with service(folder, port, workers=1):
            server = f"http://127.0.0.1:{port}"
            patch.setenv("TRIBUNAL_SERVER", server)
            patch.setenv("TRIBUNAL_API_KEY", key)
            yield Stand(folder, _verbs(folder), server, key)


def _verbs(folder: Path) -> list[list[str]]:
    rows = labelled_rows(300)
    for number, row in enumerate(rows):
        row["id"] = f"a-pair-with-a-name-{number:04}"
        row["model_a"], row["model_b"] = MODELS[number % 3], MODELS[(number + 1) % 3]
    (folder / "rows.jsonl").write_bytes(ndjson(rows))
    (folder / "few.jsonl").write_bytes(ndjson(rows[:3]))
    (folder / "labels.csv").write_text("pair,label\na-pair-with-a-name-0000,a\n")
    cascade = ["--judges", "cheap,dear"]
    invoke("import", "rows.jsonl", "--name", DATASET)
    # what a verb stores is stored before the first output, so that every output is the same
    invoke("judge", "few.jsonl", "--judges", "student")
    assert invoke("label", DATASET, "labels.csv", "--annotator", "someone")["accepted"] == 1
    certificate = invoke("certify", DATASET, *cascade, "--target-agreement", "0.8")["id"]
    batch = invoke("batch", DATASET, *cascade)["id"]
    boards = [
        invoke("leaderboard", DATASET, "--source", source)["id"]
        for source in ("human", "judge:dear")
    ]
    exported = CliRunner().invoke(app, ["calibrations", "export", certificate, "-o", "cert.json"])
    assert exported.exit_code == 0, exported.output
    monitor = invoke("monitors", "create", certificate, "--audit-rate", "1")["id"]
    shadow = invoke("shadows", "create", certificate, "--judge", "student")["id"]
    queue = invoke("queue", "create", DATASET, "--name", "the-queue-of-the-whole-team")["id"]
    finish = invoke("finish", DATASET, *cascade, "--max-error", "0.2")["id"]
    return [
        ["queue", "status"], ["queue", "status", queue], ["monitors", "list"],
        ["monitors", "show", monitor], ["shadows", "list"], ["shadows", "show", shadow],
        ["finish", "--resume", finish], ["replay", DATASET, "--thresholds", "cheap=0.8,dear=0.5"],
        ["verify", "cert.json"], ["judges"], ["judges", "show", "student"], ["keys", "signing"],
        ["batches", "verdicts", batch, "--limit", "3"], ["batch", DATASET, *cascade, "--estimate"],
        ["import", "few.jsonl", "--dry-run"],
        ["datasets", "list"], ["datasets", "show", DATASET],
        ["calibrations", "list"], ["calibrations", "show", certificate],
        ["batches", "list"], ["batches", "show", batch],
        ["leaderboards", "list"], ["leaderboards", "show", boards[0]],
        ["leaderboards", "compare", *boards],
        ["keys", "list"], ["doctor"], ["db", "check"],
        ["plan", DATASET, *cascade],
        ["report", DATASET, "--include", "judge_pairs", "--group-by", "task"],
        ["report", DATASET, "--health", "dear"],
        ["experiment", DATASET, *cascade, "--splits", "3", "--rules", "auto,cascaded_heuristic"],
        ["judge", "few.jsonl", "--judges", "student"],
        ["canaries", DATASET, "--judges", "student", "--pairs", "2"],
        ["label", DATASET, "labels.csv", "--annotator", "someone"],
    ]  # fmt: skip


def _run_all(stand: Stand, out: str, columns: int) -> None:
    """Be one process that runs all verbs, whose standard output is `out`."""
    sink = os.open(out, os.O_WRONLY | os.O_NOCTTY | os.O_CREAT)
    if columns:
        fcntl.ioctl(sink, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.dup2(sink, 1)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the process ends
    os.chdir(stand.folder)
    os.environ["DATABASE_URL"] = f"sqlite:///{stand.folder}/shown.db"
    os.environ["TRIBUNAL_OUTPUT"] = "table"
    for name in ("COLUMNS", "TRIBUNAL_CONFIG"):
        os.environ.pop(name, None)
    for verb in stand.verbs:
        asked = {} if verb[0] in HERE else {"SERVER": stand.server, "API_KEY": stand.key}
        for name in ("SERVER", "API_KEY"):
            os.environ.pop(f"TRIBUNAL_{name}", None)
        os.environ.update({f"TRIBUNAL_{name}": value for name, value in asked.items()})
        try:
            app(verb)
        except SystemExit as ended:
            if ended.code:
                print(f"{verb} ended with {ended.code}")  # noqa: T201
        print(f"\n{END}", flush=True)  # noqa: T201


def shown(stand: Stand, columns: int) -> dict[str, str]:
    """Return what each verb prints in a terminal of so many columns; 0: into a file."""
    target = str(stand.folder / "piped.txt")
    ours = theirs = -1
    said = bytearray()
    if columns:
        ours, theirs = pty.openpty()
        target = os.ttyname(theirs)
    reader = Thread(target=_drain, args=(ours, said)) if columns else None
    if reader is not None:
        reader.start()
    process = _FORKS.Process(target=_run_all, args=(stand, target, columns))
    process.start()
    process.join(300)
    if reader is not None:
        os.close(theirs)
        reader.join(30)
        os.close(ours)
    assert process.exitcode == 0
    text = bytes(said) if columns else Path(target).read_bytes()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.decode().replace("\r\n", "\n"))
    parts = plain.split(f"\n{END}\n")[:-1]
    assert len(parts) == len(stand.verbs)
    return {" ".join(verb): part for verb, part in zip(stand.verbs, parts, strict=True)}


def _drain(ours: int, said: bytearray) -> None:
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:  # the other side is closed
            return


def words(text: str) -> Counter[str]:
    """Return the words of an output; of what is made by the verb itself only the kind of id."""
    return Counter(ID.sub("ID", STACKED.sub("", LEFT_OUT.sub("", " ".join(text.split())))).split())


@pytest.fixture(scope="module")
def outputs(stand: Stand) -> dict[int, dict[str, str]]:
    """What each verb prints, by the width; 0: into a file."""
    return {columns: shown(stand, columns) for columns in (0, *WIDTHS)}


@pytest.mark.parametrize("columns", WIDTHS)
def test_no_cell_is_cut_and_no_id_is_broken(
    outputs: dict[int, dict[str, str]], columns: int
) -> None:
    for verb, text in outputs[columns].items():
        assert "…" not in text, verb
        whole = words(outputs[0][verb])
        broken = set(words(text)) - set(whole)
        assert not broken, f"{verb} at {columns}: {broken}\n{text}"
        if not LEFT_OUT.search(" ".join(text.split())):
            missing = set(whole) - set(words(text))
            assert not missing, f"{verb} at {columns}: {missing}\n{text}"


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_line_ends_before_the_edge(outputs: dict[int, dict[str, str]], columns: int) -> None:
    for verb, text in outputs[columns].items():
        for line in text.splitlines():
            assert cell_len(line) <= columns, f"{verb} at {columns}: {line}"


def test_a_pipe_gets_every_column_on_one_line_a_row(outputs: dict[int, dict[str, str]]) -> None:
    piped = outputs[0]
    assert not any(LEFT_OUT.search(text) or STACKED.search(text) for text in piped.values())
    (row,) = [line for line in piped["datasets list"].splitlines() if DATASET in line]
    assert re.search(rf"{DATASET} +\d{{4}}-\d\d-\d\dT\S+ +300 +300 +301 +2 +ds_\w+", row)


def printed(table: Table, width: int) -> str:
    lines, said = table.lines(width)
    return "\n".join([line for line, _ in lines] + [said]).rstrip()


def made() -> Table:
    table = Table("name", "pairs", "made", "note", drops=("note", "made"))
    table.add_row("rivers", "12", "2026", "of the north")
    table.add_row("東京", "3", "2025", "-")
    return table


def test_the_least_important_column_goes_first_and_is_named() -> None:
    assert printed(made(), 40).splitlines()[0].split() == ["name", "pairs", "made", "note"]
    assert printed(made(), 30) == (
        "name    pairs  made\nrivers     12  2026\n東京        3  2025\n"
        "left out, because 30 columns have no room: note (--json has all)"
    )
    assert "no room: note, made (--json" in printed(made(), 14)


def test_what_does_not_fit_at_all_becomes_blocks_with_every_cell() -> None:
    said = printed(made(), 10)
    assert said.startswith("name rivers\n  pairs  12\n  made   2026\n  note   of the north\nname")
    assert said.endswith("one line for each column: the table is 33 wide, and there is room for 10")


HOSTILE = "[red]x[/] :smile: \x1b[31mred\x1b[0m\x07 \u202egnp\u202c [/nothing]"
SPELT = "[red]x[/] :smile: \\x1b[31mred\\x1b[0m\\x07 \\u202egnp\\u202c [/nothing]"


def test_names_do_not_reach_a_terminal_as_markup_or_control_characters() -> None:
    out = StringIO()
    screen = Screen(out, has_edge=False)
    table = Table("name")
    table.add_row(f"{HOSTILE}\nsecond line")
    screen.print(table)
    screen.print(f"dataset {escape(HOSTILE)}")
    assert out.getvalue() == f"name\n{SPELT}\\nsecond line\ndataset {SPELT}\n"


def test_errors_spell_control_characters_out(capsys: pytest.CaptureFixture[str]) -> None:
    note("there is no dataset '\x1b]0;title\x07'")
    assert capsys.readouterr().err == "tribunal: there is no dataset '\\x1b]0;title\\x07'\n"
