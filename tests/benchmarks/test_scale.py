from __future__ import annotations

import pytest

from benchmarks import scale


def test_every_pair_is_a_row_where_it_is_imported_and_none_where_it_stays_in_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert scale.main(["--pairs", "2000"]) == 0
    _, _, imported, files = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (imported, files)]
    sizes = [[float(cell.replace(",", "")) for cell in row[2:5]] for row in cells]
    assert min(sizes[0]) > 100
    assert max(sizes[1]) < 20
