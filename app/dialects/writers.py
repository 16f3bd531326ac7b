"""Every format that a dataset can be written in, by name."""

from __future__ import annotations

from typing import Final

from app.dialects import (
    alpaca_eval_writing,
    arena_hard_writing,
    argilla_writing,
    battles,
    battles_writing,
    cje_writing,
    label_studio_writing,
    mt_bench_writing,
    openai_requests,
    reward_bench_writing,
    table_writing,
)
from app.dialects.writing import Writer

WRITERS: Final[dict[str, Writer]] = {
    writer.name: writer
    for writer in (
        Writer("canonical", "lines", table_writing.canonical_rows),
        Writer("csv", "csv", table_writing.rows, table_writing.COLUMNS),
        Writer("parquet", "parquet", table_writing.rows, table_writing.COLUMNS),
        Writer("alpaca_eval", "array", alpaca_eval_writing.rows),
        Writer("mt_bench", "lines", mt_bench_writing.rows),
        Writer("arena_hard", "lines", arena_hard_writing.rows),
        Writer("reward_bench", "lines", reward_bench_writing.rows),
        Writer("evalica", "csv", battles_writing.evalica_rows, battles.FIELDS),
        Writer("arena_rank", "csv", battles_writing.arena_rank_rows, battles.MODEL_FIELDS),
        Writer("cje", "lines", cje_writing.rows),
        Writer("label_studio", "array", label_studio_writing.rows),
        Writer("argilla", "array", argilla_writing.rows),
        Writer("openai_batch", "lines", openai_requests.rows),
    )
}
