from __future__ import annotations

import pytest

from examples.make_outputs import MODELS, OUTPUTS, make_outputs


@pytest.mark.parametrize("model", MODELS)
def test_the_outputs_are_what_the_sources_give(model: str) -> None:
    assert (OUTPUTS / f"{model}.json").read_bytes() == make_outputs(model)
