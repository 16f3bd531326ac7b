from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import pages


@pytest.mark.slow
async def test_every_page_is_measured_with_few_and_with_more_verdicts(tmp_path: Path) -> None:
    urls = [f"sqlite+aiosqlite:///{tmp_path}/{n}.db" for n in range(2)]
    found = await pages.measured(urls, 1_500, 1)
    assert {"/", "/batches/batch_ID", "/v1/judgments"} <= {one.page for one in found}
    assert all(one.seconds > 0 and one.against > 0 for one in found)
