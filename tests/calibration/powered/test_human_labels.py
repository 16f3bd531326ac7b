from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration.errors import InvalidArgument
from calibration.powered import HumanLabels
from calibration.powered.labels import labelled_sample

NAN = float("nan")


def test_names_become_numbers_in_their_order() -> None:
    labels = HumanLabels([1.0, NAN, 0.0], groups=["q2", "q1", "q2"], strata=[7, 7, 3])
    found = labelled_sample(labels, 3)
    assert found.group.tolist() == [1, 0, 1]
    assert found.stratum.tolist() == [1, 1, 0]
    assert (found.n_labelled, found.n_groups, found.n_labelled_groups) == (2, 2, 1)


@pytest.mark.parametrize("field", ["groups", "strata"])
@pytest.mark.parametrize("names", [[None, "a", "a"], ["a", 1, 2], [NAN, 1.0, 1.0]])
def test_missing_or_mixed_names_are_refused(field: str, names: Any) -> None:
    array = np.array(names, dtype=np.float64 if names[1] == 1.0 and names[0] != "a" else object)
    labels = HumanLabels([1.0, 0.0, 1.0], **{field: array})
    with pytest.raises(InvalidArgument, match=f"^labels.{field}"):
        labelled_sample(labels, 3)


def test_shares_labelled_replace_strata() -> None:
    labels = HumanLabels([1.0, NAN, NAN, 0.0], strata=["x", "x", "x", "y"])
    found = labelled_sample(labels, 4).without_strata()
    assert found.inverse.tolist() == [3.0, 0.0, 0.0, 1.0]
    assert not found.stratum.any()
