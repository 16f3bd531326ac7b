"""What the options say about a batch over Parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.cli.arguments import given
from app.cli.console import EXIT_USAGE, fail

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
# whoever types the verb may read and write what the process may
LOCAL_FILES: Final[dict[str, Any]] = {"tables_dir": Path("/")}


@dataclass(frozen=True, slots=True)
class Files:
    """Where pairs come from and verdicts go."""

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
        """Refuse options that have no meaning where pairs and verdicts are files."""
        for name, value in others.items():
            if value is not None:
                fail(f"--input goes without {name}", status=EXIT_USAGE)
