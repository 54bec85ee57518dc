"""How much memory programs need, which of them are let go, and how the arrays of a call find theirs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.compiler import program_cache
from funcnet.compiler.layout import Layout
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.program_cache import Program, ProgramCache
from tests.support.blocks import run_in_small_blocks


class Sized(NamedTuple):
    """A plan of which only the size counts."""

    size: int
    calls: tuple[Any, ...] = ()


def program(size: int, workspaces: int = 0) -> Program[Any]:
    """A program without params, with so many workspaces that nobody uses."""
    without: ParamsCache[Any] = ParamsCache(Layout(tree.structure({}), [], np.dtype(np.float32)))
    plans: Any = {1: Sized(size)}
    made = Program(plans, [(0, 1)], without)
    unused: Any = [object()] * workspaces
    made.pool.extend(unused)
    return made


def left(cache: ProgramCache[Any], size: int = 10) -> list[Any]:
    """The signatures of the programs that are left when one more has come."""
    cache.add("params", "new", program(size))
    return [*cache.by_signature]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> ProgramCache[Any]:
    """Three programs: of 10 bytes, of 20 bytes with three workspaces, of 30 bytes."""
    found = ProgramCache[Any]()
    for name, size, workspaces in ("a", 10, 0), ("b", 20, 3), ("c", 30, 1):
        found.add("params", name, program(size, workspaces))
    return found


@pytest.mark.parametrize(
    ("most", "names"),
    [(110, "a b c new"), (109, "b c new"), (100, "b c new"), (99, "c new"), (40, "c new"), (39, "new"), (0, "new")],
)
def test_those_made_first_are_let_go_until_the_rest_needs_no_more_than_so_many_bytes(
    cache: ProgramCache[Any], most: int, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_cache, "MAX_BYTES", most)
    assert left(cache) == names.split()


@pytest.mark.parametrize(("most", "names"), [(4, "a b c new"), (3, "b c new"), (2, "c new"), (1, "new"), (0, "new")])
def test_those_made_first_are_let_go_until_there_are_no_more_than_so_many(
    cache: ProgramCache[Any], most: int, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_cache, "MAX_PROGRAMS", most)
    assert left(cache) == names.split()


def test_no_call_finds_a_program_that_was_let_go(cache: ProgramCache[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cache.remember(cache.by_signature["a"], (np.zeros((2, 3)),), keyed=False)
    assert (cache.latest[0], len(cache.recent)) == (cache.by_signature["a"], 1)
    monkeypatch.setattr(program_cache, "MAX_PROGRAMS", 3)
    left(cache)
    assert (cache.latest[0], len(cache.recent)) == (None, 0)


def test_the_params_of_a_program_are_known_as_long_as_it_is_kept(
    cache: ProgramCache[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.add("other params", "d", program(10))
    assert {*cache.params_caches} == {"params", "other params"}
    monkeypatch.setattr(program_cache, "MAX_PROGRAMS", 1)
    left(cache)
    assert {*cache.params_caches} == {"params"}


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("small", [True, False])
def test_a_program_needs_its_plans_its_calls_and_vectors_of_params(
    blocks: int, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in_small_blocks(monkeypatch)
    monkeypatch.setattr(program_cache, "BYTES_PER_CALL", 7)
    monkeypatch.setattr("funcnet.compiler.params_cache.MAX_HELD_BYTES", 1000 * small)
    net = fn.serial(fn.linear(3), fn.tanh())
    params, _ = net.init(fn.key(0), (4,))
    gradient = fn.value_and_grad(net, fn.mse())
    x = np.random.default_rng(0).normal(size=(2 * blocks, 4)).astype(np.float32)
    found = gradient(params, x, x[:, :3])
    (made,) = gradient._programs.by_signature.values()
    of_plans = sum(plan.size + 7 * len(plan.calls) for plan in made.plans.values())
    assert len(made.spans) == blocks
    assert made.size == of_plans + 4 * (4 * 3 + 3) * (small + 2 * (blocks > 1))
    assert (len(made.pool[0].program) == 1) == (blocks > 1), "blocks run in one call"
    output, pullback = net.apply.vjp(params, x)
    loss, of_loss = fn.mse().apply.vjp((), output, x[:, :3])
    np.testing.assert_allclose(found[0], loss, rtol=1e-5)
    expected, _ = pullback(of_loss(np.float32(1))[1][0])
    for a, b in zip(tree.leaves(found[1]), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
