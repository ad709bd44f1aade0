"""What is made as JSON has the shape that it is declared to have."""

from __future__ import annotations

import importlib
import pkgutil
from typing import get_type_hints

import pytest
from typing_extensions import is_typeddict

import guard.admin.json

SHAPES = [
    value
    for module in pkgutil.iter_modules(guard.admin.json.__path__, "guard.admin.json.")
    for value in vars(importlib.import_module(module.name)).values()
    if is_typeddict(value) and value.__module__ == module.name
]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_can_be_read_at_run_time_and_says_what_it_is(shape: type) -> None:
    assert get_type_hints(shape)
    assert shape.__name__.startswith("_") or shape.__doc__


def test_no_two_shapes_have_one_name() -> None:
    names = [shape.__name__ for shape in SHAPES]
    assert len(names) > 30
    assert len(set(names)) == len(names)
