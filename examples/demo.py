"""The main job on the bundled example, through a real server: `make demo`.

Without the repository it is `python -m tribunal.examples.demo`.

Starts the service on a fresh SQLite database, drives it with the command line, and shows what
each step gave. In a terminal the service then stays up until Ctrl-C.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

FOLDER = Path(__file__).resolve().parent
STATE = Path(".demo").resolve()
TRIBUNAL = [sys.executable, "-m", "tribunal.app"]
DATASET = "four-models"
QUEUE = "twenty-by-hand"
GUIDELINES = (
    "Take the response that you would rather get. Correct beats well written; where both are correct, "
    "take the one that does what was asked, no more and no less."
)
HALF = "0.5:0"
# a response is briefer if it has at least this share of words less
BRIEFER = 0.1
START_SECONDS = 60.0


def main() -> int:
    """Run the demo and return its exit status."""
    # somebody reads this, also where it goes through a pipe
    os.environ.setdefault("TRIBUNAL_OUTPUT", "table")
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir()
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite+aiosqlite:///{STATE}/tribunal.db",
        "TRIBUNAL_CONFIG": str(FOLDER / "tribunal.toml"),
        "TRIBUNAL_LOG_LEVEL": "warning",
    }
    say("start the service: SQLite, embedded judge, no GPU, no key")
    with subprocess.Popen([*TRIBUNAL, "serve", "--port", str(port)], env=environment) as server:
        try:
            wait_until_ready(url, server)
            report = run_main_job(url)
            where_to_look(url, report)
            if sys.stdout.isatty():
                print("\nThe service stays up; Ctrl-C ends it.")
                server.wait()
        except KeyboardInterrupt:
            pass
        finally:
            server.terminate()
    return 0


def run_main_job(url: str) -> dict[str, Any]:
    """Import, certify, judge, rank, report; return the report."""
    say("import 428 synthetic pairs with labels of simulated annotators and two simulated judges")
    tribunal(url, "import", str(FOLDER / "pairs.jsonl"), "--name", DATASET)

    say("certify the cascade on half of the prompts: at least 90 % agreement, with 90 % confidence")
    certify = ("certify", DATASET, "--cascade", "demo", "--target-agreement", "0.9")
    tribunal(url, *certify, "--part", f"calibration:{HALF}")
    certificate = newest(url, "calibrations")

    say("judge the other half in a batch, and look at some verdicts")
    held = ("--calibration", certificate["id"], "--part", f"test:{HALF}")
    tribunal(url, "batch", DATASET, *held, "--results", str(STATE / "verdicts.ndjson"))
    show_verdicts(STATE / "verdicts.ndjson")

    say("rank the models by the cascade's verdicts on the other half, then by people")
    tribunal(url, "leaderboard", DATASET, "--source", "cascade", *held)
    tribunal(url, "leaderboard", DATASET)

    say("label by a second criterion, which response is briefer, and rank by both")
    write_brevity(STATE / "brevity.csv")
    tribunal(url, "label", DATASET, str(STATE / "brevity.csv"))
    both = ("--criterion", "overall=1", "--criterion", "brevity=1")
    tribunal(url, "leaderboard", DATASET, *both)

    say("how well do people, judges and cascade agree on the other half?")
    judges = ("--judges", "student,simulated-small,simulated-large")
    tribunal(url, "report", DATASET, *held, *judges)

    say("20 pairs wait for people, that is for you")
    (STATE / "guidelines.txt").write_text(GUIDELINES)
    asked = ("--labels", "20", "--part", f"test:{HALF}")
    told = ("--name", QUEUE, "--guidelines", str(STATE / "guidelines.txt"))
    tribunal(url, "queue", "create", DATASET, *told, *asked)
    return newest(url, "reports")


def where_to_look(url: str, report: dict[str, Any]) -> None:
    """Say what can be opened next."""
    say("where to look next")
    print(f"  all of it as pages  {url}/")
    print(f"  pairs to label      {url}/label/{QUEUE}")
    print(f"  rank by weights     {url}/leaderboards/{newest(url, 'leaderboards')['id']}")
    print(f"  the report          {url}/reports/{report['id']}")
    print(f"  API with examples   {url}/docs")
    print(f"  all certificates    {url}/v1/calibrations")
    print(f"  stored verdicts     {url}/v1/judgments?dataset={DATASET}")
    print(f"  the same data later: DATABASE_URL=sqlite:///{_near(STATE / 'tribunal.db')} \\")
    command = _near(Path(sys.executable).with_name("tribunal"))
    print(f"    TRIBUNAL_CONFIG={_near(FOLDER / 'tribunal.toml')} {command} serve")


def write_brevity(file: Path) -> None:
    """Write labels of who is briefer: simulated, like all others, by counting words."""
    with (FOLDER / "pairs.jsonl").open(encoding="utf-8") as lines, file.open("w") as labels:
        writer = csv.writer(labels)
        writer.writerow(["pair", "annotator", "label", "criterion"])
        for row in map(json.loads, lines):
            a, b = (len(row[f"response_{side}"].split()) for side in "ab")
            is_close = abs(a - b) <= BRIEFER * max(a, b)
            label = "tie" if is_close else "a" if a < b else "b"
            writer.writerow([row["id"], "sim-brief", label, "brevity"])


def show_verdicts(file: Path) -> None:
    """Print the first few verdicts of a batch."""
    with file.open(encoding="utf-8") as lines:
        for _, line in zip(range(4), lines, strict=False):
            verdict = json.loads(line)
            tiers = ", ".join(f"{t['judge']} {t['confidence'] or 0:.2f}" for t in verdict["tiers"])
            print(f"  {verdict['id']}: {verdict['label'] or 'abstained'} ({tiers})")


def tribunal(url: str, *arguments: str) -> None:
    """Run a verb of the command line and let its output through."""
    print("$ tribunal", *(_short(one) for one in arguments), flush=True)
    result = subprocess.run([*TRIBUNAL, *arguments, "--server", url], check=False)
    if result.returncode:
        raise SystemExit(f"tribunal {arguments[0]} ended with status {result.returncode}")


def newest(url: str, what: str) -> dict[str, Any]:
    """Return what a verb has just made: the first of a list, which is newest first."""
    answer = httpx.get(f"{url}/v1/{what}", params={"limit": 1}).raise_for_status()
    return dict(answer.json()["data"][0])


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the service answers."""
    for _ in range(int(START_SECONDS / 0.2)):
        if server.poll() is not None:
            raise SystemExit(f"the service ended with status {server.returncode}")
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit(f"the service was not ready after {START_SECONDS:.0f} seconds")


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


def _short(argument: str) -> str:
    path = Path(argument)
    return str(_near(path)) if path.is_absolute() else argument


def _near(path: Path) -> Path:
    """Shorten a path where it lies below the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _free_port() -> int:
    """Take 8000 if it is free, so that the addresses are those of the manual."""
    for wanted in (8000, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
    raise SystemExit("no port is free")


if __name__ == "__main__":
    raise SystemExit(main())
