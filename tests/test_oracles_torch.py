"""The operators that PyTorch has, against it; more losses and norms in tests/test_oracles.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .cases import CASES, Case
from .elsewhere import by_row, disagreement, pulled_by_torch, torch_functions

pytest.importorskip("torch")

FUNCTIONS = torch_functions()
THERE = [case for case in CASES if by_row(FUNCTIONS, case)]
TOLERANCE = {np.float64: 1e-13, np.float32: 5e-6}


def test_most_operators_are_there() -> None:
    assert len(THERE) >= 50


@pytest.mark.parametrize("case", THERE, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
def test_every_operator_agrees(case: Case, dtype: Any) -> None:
    function = by_row(FUNCTIONS, case)
    assert function
    assert max(disagreement(case, pulled_by_torch, function, dtype)) <= TOLERANCE[dtype]
