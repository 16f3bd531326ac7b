"""Options that several verbs share, and how their texts are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, overload

import typer

from app.cli.console import EXIT_USAGE, fail
from app.cli.service import read_settings

if TYPE_CHECKING:
    from app.bodies.batches import BatchBody
    from app.client import Tribunal
    from app.client.http import ResultForm


Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN,...",
        help="which column of the file is which field: prompt=question,response_a=answer_1,"
        "response_b=answer_2,label=verdict,...",
    ),
]
Coding = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VALUE=LABEL,...",
        help="what the values of the verdict column mean: 1=a,2=b,0=tie; none is no vote",
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(help="of a table: one character, or tab; default: told by its header"),
]


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of an NDJSON file, or name the faulty line; - is standard input."""
    number = 0
    try:
        with sys.stdin if str(file) == "-" else file.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    yield json.loads(line)
    except UnicodeDecodeError as error:
        fail(f"{file}: is not UTF-8: {error}", status=EXIT_USAGE)
    except (ValueError, RecursionError) as error:
        fail(f"{file}, line {number}: {error}", status=EXIT_USAGE)
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", status=EXIT_USAGE)


def one_row_of(file: Path, what: str = "one pair") -> dict[str, Any]:
    """Return the only object of a JSON or NDJSON file; - is standard input."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        rows = _objects(text)
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", status=EXIT_USAGE)
    except (ValueError, RecursionError) as error:
        fail(f"{file}: {error}", status=EXIT_USAGE)
    if len(rows) != 1 or not isinstance(rows[0], dict):
        fail(f"{file}: it holds {len(rows)} rows: give {what}, a JSON object", status=EXIT_USAGE)
    return rows[0]


def _objects(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [json.loads(line) for line in lines]
    return found if isinstance(found, list) else [found]


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given; the service has its own defaults for the others."""
    return {name: value for name, value in options.items() if value is not None}


def cascade_of(cascade: str | None, judges: str | None) -> str | dict[str, Any] | None:
    """Return the cascade of a request from the two ways of giving one."""
    if cascade is not None and judges is not None:
        fail("give --cascade or --judges, not both", status=EXIT_USAGE)
    return {"judges": names_of(judges)} if judges is not None else cascade


@overload
def names_of(text: str) -> list[str]: ...
@overload
def names_of(text: str | None) -> list[str] | None: ...
def names_of(text: str | None) -> list[str] | None:
    """Return names separated by commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def numbers_of(text: str | None) -> list[float] | None:
    """Return numbers separated by commas."""
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        return fail(f"{text!r}: numbers separated by commas are expected", status=EXIT_USAGE)


def methods_of(text: str | None) -> str | list[str] | None:
    """Return a method, or several separated by commas."""
    return text.split(",") if text is not None and "," in text else text


def part_of(text: str | None) -> dict[str, Any] | None:
    """Return a part of a dataset from side:fraction:seed."""
    if text is None:
        return None
    try:
        side, fraction, seed = text.split(":")
        return {"side": side, "fraction": float(fraction), "seed": int(seed)}
    except ValueError:
        return fail(
            "--part: write side:fraction:seed, such as calibration:0.5:0", status=EXIT_USAGE
        )


def stem_of(file: Path) -> str:
    """Return the name of a file without its endings: `pairs` of `pairs.jsonl.gz`."""
    return file.name.split(".")[0] or file.name


def one_of(dataset: str | None, resume: str | None) -> None:
    """Refuse a verb that is given neither a dataset nor an id to resume, or both."""
    if (dataset is None) == (not resume):
        fail("give a dataset, or --resume with an id", status=EXIT_USAGE)


def weights_of(given_: list[str] | None, option: str = "--criterion") -> dict[str, float] | None:
    """Return names and their weights from NAME=WEIGHT, divided at the last =."""
    weights = {}
    for text in given_ or ():
        name, _, number = text.rpartition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            fail(f"{option} {text!r}: write NAME=WEIGHT", status=EXIT_USAGE)
        if not name.strip():
            fail(f"{option} {text!r}: write NAME=WEIGHT", status=EXIT_USAGE)
    return weights or None


DatasetArgument = Annotated[str, typer.Argument(help="id or name of a dataset")]
DatasetOrResume = Annotated[
    str | None, typer.Argument(help="id or name of a dataset; none with --resume")
]
Judges = Annotated[
    str | None, typer.Option(help="judges from cheap to strong, separated by commas")
]
Cascade = Annotated[str | None, typer.Option(help="a configured cascade")]
Calibration = Annotated[str | None, typer.Option(help="id of a certificate")]
PartOption = Annotated[
    str | None, typer.Option(help="side:fraction:seed, such as calibration:0.5:0")
]
Patience = Annotated[float, typer.Option(min=0, help="seconds to wait for a server that goes away")]

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
ResultsOption = Annotated[
    Path | None,
    typer.Option(help="write verdicts here, as NDJSON, or as .csv or .parquet by the name"),
]
WithOption = Annotated[
    str | None,
    typer.Option(
        "--with", help="beside the verdicts, of texts and reasons what is named: texts,reasons"
    ),
]
EstimateOption = Annotated[
    bool, typer.Option("--estimate", help="say what it would cost; judge nothing")
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
    """Judge what an ended batch lacks, under a new budget if one is given."""
    if money.keys() - {"budget_usd"}:
        fail("--retry: the batch has its order and kind of budget already", status=EXIT_USAGE)
    return tribunal.retry_batch(batch_id, **money)


InputFiles = Annotated[
    str | None,
    typer.Option("--input", help="Parquet files of pairs instead of a dataset, as a pattern"),
]
OutputFolder = Annotated[
    str | None,
    typer.Option("--output", help="folder for their verdicts and scores; run again, it goes on"),
]
RowsPerPart = Annotated[
    int | None, typer.Option("--rows-per-part", min=1, help="default: 5000 rows a shard and part")
]
# the user of the command line may read and write what its process may
LOCAL_FILES: Final[dict[str, Any]] = {"tables_dir": Path("/")}


@dataclass(frozen=True, slots=True)
class Files:
    """Files as the input and output of a batch."""

    request: dict[str, Any]

    @classmethod
    def of(
        cls, pattern: str | None, output: str | None, rows_per_part: int | None, server: str | None
    ) -> Files | None:
        """Read the options; None where none is given."""
        if pattern is None and output is None:
            if rows_per_part is not None:
                fail("--rows-per-part needs --input and --output", status=EXIT_USAGE)
            return None
        if pattern is None or output is None:
            fail("--input and --output belong together", status=EXIT_USAGE)
        if server is None:
            pattern, output = str(Path(pattern).absolute()), str(Path(output).absolute())
        return cls(given(input=pattern, output=output, rows_per_part=rows_per_part))

    def refuse(self, **others: object) -> None:
        """Refuse options that do not apply to a batch of files."""
        for name, value in others.items():
            if value is not None:
                fail(f"--input goes without {name}", status=EXIT_USAGE)


RAY: Final = "ray"
Look = Callable[[Any], None]

EngineOption = Annotated[
    str | None, typer.Option("--engine", help="ray: workers on a Ray cluster judge the batch")
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="auto (default) joins a cluster, local starts one on this machine alone"),
]
RayWorkersOption = Annotated[
    int | None, typer.Option("--ray-workers", min=1, help="how many; default: one for each node")
]
RayGpus = Annotated[
    float | None, typer.Option(min=0, help="GPUs of each worker, for judges hosted in it")
]


@dataclass(frozen=True, slots=True)
class Engine:
    """What the options say about the engine; `name` is None for the ordinary workers."""

    name: str | None
    address: str | None
    workers: int | None
    gpus: float | None

    @classmethod
    def of(
        cls, name: str | None, address: str | None, workers: int | None, gpus: float | None
    ) -> Engine:
        """Read the options, and refuse an engine that is not installed before anything starts."""
        if name not in (None, RAY):
            fail(f"--engine: {name!r} is none of: {RAY}", status=EXIT_USAGE)
        if name is None and (address, workers, gpus) != (None, None, None):
            fail("--ray-... options need --engine ray", status=EXIT_USAGE)
        if name == RAY:
            _refuse_missing()
        return cls(name, address, workers, gpus)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the service in this process: it leaves the work to the engine."""
        return {"workers": 0} if self.name else {}

    @property
    def options(self) -> tuple[str, ...]:
        """The options as they are typed."""
        pairs = (
            ("--engine", self.name), ("--ray-address", self.address),
            ("--ray-workers", self.workers), ("--ray-gpus", self.gpus),
        )  # fmt: skip
        return tuple(
            str(word) for option, value in pairs if value is not None for word in (option, value)
        )

    @contextmanager
    def working_on(self, batch_id: str, **changed: Any) -> Iterator[Look | None]:
        """Keep the engine's workers running; yield a function to be called at every look.

        `changed` are settings of the workers, instead of the environment's.
        """
        if self.name is None:
            yield None
            return
        from app.ray import cluster

        placement = cluster.Placement(self.address or "auto", self.workers, self.gpus or 0.0)
        try:
            handed = cluster.Handed.of(read_settings().model_copy(update=changed))
            with cluster.working_on(batch_id, handed, placement) as workers:
                yield lambda batch: _look(workers, batch)
        except (cluster.EngineFailed, cluster.EngineMissing) as error:
            fail(f"{error}; batch {batch_id} is kept")


def _look(workers: Any, batch: Any) -> None:
    # by the last look the workers have ended, because nothing is left to do
    if batch["status"] == "in_progress":
        workers.look()


def _refuse_missing() -> None:
    from app.ray.cluster import EngineMissing, refuse_missing

    try:
        refuse_missing()
    except EngineMissing as error:
        fail(str(error))


def form_of(results: Path | None) -> ResultForm:
    """Return the form of a file of verdicts by its name."""
    suffix = results.suffix.lower() if results else ""
    return "csv" if suffix == ".csv" else "parquet" if suffix == ".parquet" else "ndjson"


class Carried(NamedTuple):
    """What a file of verdicts carries beside them."""

    texts: bool = False
    reasons: bool = False

    @classmethod
    def of(cls, include: str | None, results: Path | None) -> Carried:
        """Read the option; refuse what verdicts do not carry."""
        names = [name.strip() for name in include.split(",")] if include else []
        unknown = next((name for name in names if name not in cls._fields), None)
        if unknown is not None:
            known = " or ".join(cls._fields)
            fail(
                f"--with: {unknown!r} is nothing that verdicts carry: give {known}",
                status=EXIT_USAGE,
            )
        if names and results is None:
            fail("--with belongs to a file of verdicts: give --results FILE", status=EXIT_USAGE)
        return cls(*(name in names for name in cls._fields))

    def options(self, results: Path | None) -> list[str]:
        """Return the options that ask for such a file."""
        if results is None:
            return []
        names = ",".join(name for name, is_carried in self._asdict().items() if is_carried)
        return ["--results", str(results), *(["--with", names] if names else [])]
