"""Every operator of the table, and random networks, against JAX, which differentiates by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from funcnet import tree

from .cases import CASES, Case
from .elsewhere import disagreement, jax_function, network_in_jax, pulled_by_jax, worst
from .strategies import PATTERNS, Problem, pattern, problems
from .test_network import solved

jax: Any = pytest.importorskip("jax")

TOLERANCE = {np.float64: 1e-13, np.float32: 5e-6}
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@both_dtypes
def test_every_operator_agrees(case: Case, dtype: Any) -> None:
    assert max(disagreement(case, pulled_by_jax, jax_function(case), dtype)) <= TOLERANCE[dtype]


def check_network(problem: Problem) -> None:
    s = solved(problem)
    output, pullback = s.network.apply.vjp(s.params, *s.inputs)
    cotangent = s.cotangents if isinstance(problem.net.output, list) else s.cotangents[0]
    expected, cotangents = pulled_by_jax(network_in_jax(problem.net), s.params, list(s.inputs), cotangent)
    assert worst(tree.leaves(output), tree.leaves(expected)) <= s.tolerance
    assert worst(tree.leaves(pullback(cotangent)), cotangents) <= s.tolerance


@settings(max_examples=12)
@given(problems())
def test_random_networks_agree(problem: Problem) -> None:
    check_network(problem)


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_agree(name: str) -> None:
    check_network(pattern(name))
