"""The battery of laws, over the table of operators; a public operator without a row in it fails."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import funcnet as fn
from tests.support.battery import KINKS, check_formula, check_kinks
from tests.support.cases import CASES, Case

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def returns_a_layer(thing: Any) -> bool:
    """Whether a public name is a constructor of layers."""
    return inspect.isfunction(thing) and str(inspect.signature(thing).return_annotation).startswith("Layer[")


def test_every_public_operator_has_a_row() -> None:
    operators = {name for name in fn.__all__ if returns_a_layer(getattr(fn, name))}
    assert {"linear", "serial", "network", "elementwise", "custom_layer", "mse"} <= operators
    assert operators - {case.name.split(" ")[0] for case in CASES} == set()


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@every_case
def test_every_law_holds(case: Case) -> None:
    case.check()


@every_case
def test_the_value_is_that_of_the_book(case: Case) -> None:
    check_formula(case)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in KINKS], ids=lambda case: case.name)
def test_kinks_follow_the_convention(case: Case) -> None:
    check_kinks(case)
