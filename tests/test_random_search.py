"""Property tests draw the same examples in every run, and remember those that a search found."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.database import ReadOnlyDatabase

from tests.conftest import SEARCH_FACTOR

pytestmark = pytest.mark.skipif(SEARCH_FACTOR > 1, reason="a random search draws others each time")


def test_the_seed_of_property_tests_is_fixed(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getoption("--hypothesis-seed") == "0"


def test_examples_that_a_search_found_are_drawn_and_not_changed() -> None:
    assert isinstance(hypothesis.settings().database, ReadOnlyDatabase)
