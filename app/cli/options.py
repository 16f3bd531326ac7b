"""Options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

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
Patience = Annotated[
    float, typer.Option(min=0, help="seconds to wait for a server that went away meanwhile")
]
