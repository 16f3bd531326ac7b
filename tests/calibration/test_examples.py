"""The examples in the docstrings of the calibration package do what they show."""

import doctest
import importlib
import pkgutil

import pytest

import calibration

MODULES = [
    "calibration",
    *sorted(each.name for each in pkgutil.walk_packages(calibration.__path__, "calibration.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_do_what_they_show(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
