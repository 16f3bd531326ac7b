"""Answers as pandas tables: one row a verdict, model, judge or rule; estimates in columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from app.client.errors import PandasMissing

if TYPE_CHECKING:
    import pandas as pd

# where the rows of an answer are: the first of these that it has
_ROWS: Final = ("rows", "verdicts", "frontier", "judges", "data")
_ENDS: Final = ("low", "high", "n")


def to_pandas(answer: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return verdicts, a leaderboard, a report, a plan or an experiment as a table.

    An estimate becomes the columns `x`, `x_low`, `x_high` and `x_n`; what lies deeper is named with
    dots, such as `composition.student`. Of a report the table holds the judges.

    Args:
        answer: What the client returned, or any iterable of such rows.

    Raises:
        PandasMissing: pandas is not installed.
        TypeError: the answer holds no rows.
    """
    if not isinstance(answer, Mapping):
        return rows_frame(answer)
    for name in _ROWS:
        if isinstance(answer.get(name), list):
            return rows_frame(answer[name])
    raise TypeError(f"this answer holds no rows; it holds {', '.join(answer)}")


def rows_frame(rows: Iterable[Any]) -> pd.DataFrame:
    """Return rows as a table.

    Raises:
        PandasMissing: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise PandasMissing(
            "tables need pandas, which is not installed: it comes with the extra `pandas`, "
            "pip install 'tribunal-judge[pandas]'"
        ) from error
    return pd.DataFrame.from_records([dict(_cells(row)) for row in rows])


def _cells(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        name = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            yield name, value
        elif "value" in value and "low" in value:
            yield name, value["value"]
            yield from ((f"{name}_{end}", value.get(end)) for end in _ENDS)
        else:
            yield from _cells(value, f"{name}.")
