"""Layers beyond the linear one: training steps of small networks, beside PyTorch and JAX.

funcnet's own step is the bar. A network starts from funcnet's first params in every library, and all must compute the
same loss, and move the params alike, before anything is timed.
"""

import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bench import with_funcnet, with_jax, with_torch
from bench.case import Array, Case, training_case
from bench.check import STEPS, TOLERANCES, Disagreement
from bench.timing import Timing, interleave

BAR = "funcnet"
_BLOCK_SECONDS = 0.02


class Batch(NamedTuple):
    """The inputs of a network, batch first, and its target: labels, or numbers like its output."""

    inputs: tuple[Array, ...]
    target: Array


class Peer(NamedTuple):
    """A network in another library.

    given: its params, NumPy's arrays, from the leaves of funcnet's.    back: the leaves from its params.
    arrays: its inputs and its target, from those of funcnet.
    output: computes, from params and inputs in the library's own arrays, what goes into the loss.
    """

    given: Callable[[list[Array]], list[Array]]
    back: Callable[[list[Array]], list[Array]]
    arrays: Callable[[Batch], tuple[Array, ...]]
    output: Callable[..., Any]


@dataclass(frozen=True)
class Block:
    """A network that is measured. Its loss is softmax cross-entropy if the target are labels, else the squared error.

    draw: its batch, from a generator and the dtype of all floating arrays.
    network: made of the module funcnet.      torch, jax: the same, each made of that module.
    """

    name: str
    title: str
    draw: Callable[[np.random.Generator, Any], Batch]
    network: Callable[[Any], Any]
    torch: Callable[[Any], Peer]
    jax: Callable[[Any], Peer]
    rate: float = 0.01


def measure(blocks: list[Block], options: Namespace, say: Callable[[str], None]) -> dict[str, dict[str, Timing]]:
    """Check all implementations of each block, then time them in turn."""
    found: dict[str, dict[str, Timing]] = {}
    for block in blocks:
        batch = block.draw(np.random.default_rng(0), np.dtype(options.dtype))
        cases: dict[str, Case] = {}
        for name, build in implementations(batch, options.skip).items():
            say(f"{block.name}: checking {name}")
            cases[name] = build(block, batch)
            if name != BAR:
                check(f"{block.name}: {name}", cases[BAR], cases[name], np.dtype(options.dtype))

        def show(turn: int, name: str = block.name) -> None:
            say(f"{name}: round {turn + 1} of {options.repeats}")

        found[block.name] = interleave(cases, BAR, rounds=options.repeats, seconds=_BLOCK_SECONDS, progress=show)
    return found


def implementations(batch: Batch, skipped: list[str]) -> dict[str, Callable[[Block, Batch], Case]]:
    """Those that can run here, the bar first; PyTorch has two layouts of images."""
    found: dict[str, Callable[[Block, Batch], Case]] = {BAR: in_funcnet}
    if with_funcnet.has_compiler():
        found["funcnet-jit"] = partial(in_funcnet, native=True)
    if "torch" not in skipped and with_torch.load():
        found["torch"] = in_torch
        if any(x.ndim == 4 for x in batch.inputs):
            found["torch-channels-last"] = partial(in_torch, channels_last=True)
    if "jax" not in skipped and with_jax.load():
        found["jax"] = in_jax
    return {name: build for name, build in found.items() if name not in skipped or name == BAR}


def check(where: str, bar: Case, case: Case, dtype: np.dtype[Any]) -> None:
    """Leave unless the losses, the params and their movements agree."""
    tolerance = TOLERANCES[dtype]
    begun: Any = bar.read(bar.begin(), 0.0)[0]
    for steps in STEPS:
        (expected, loss), (got, other) = (each.read(*each.run(each.begin(), steps)) for each in (bar, case))
        pairs = [(loss, other, tolerance.value)]
        pairs += [(a - start, b - start, tolerance.movement) for a, b, start in zip(expected, got, begun, strict=True)]
        for a, b, relative in pairs:
            if a.shape != b.shape or not np.abs(a - b).max() <= 10 * relative * max(np.abs(a).max(), 1e-4):
                sys.exit(f"\n{Disagreement(f'{where} after {steps} steps differs from funcnet')}")


def in_funcnet(block: Block, batch: Batch, *, native: bool = False) -> Case:
    """The compiled step, or the same as native code."""
    import funcnet as fn

    net = block.network(fn)
    loss = fn.softmax_cross_entropy() if batch.target.dtype.kind == "i" else fn.mse()
    step: Any = fn.sgd_step(net, loss, learning_rate=block.rate)

    step = fn.jit(step) if native else step
    return training_case(step, partial(begin, block, batch), fn.tree.leaves, (*batch.inputs, batch.target))


def begin(block: Block, batch: Batch) -> Any:
    """funcnet's first params."""
    import funcnet as fn

    (dtype,) = {x.dtype for x in batch.inputs if x.dtype.kind == "f"} or {np.dtype(np.float32)}
    params, _ = block.network(fn).init(fn.key(0), *(x.shape[1:] for x in batch.inputs), dtype=dtype)
    return params


def leaves(block: Block, batch: Batch) -> list[Array]:
    """The leaves of funcnet's first params."""
    import funcnet as fn

    return fn.tree.leaves(begin(block, batch))


def in_torch(block: Block, batch: Batch, *, channels_last: bool = False) -> Case:
    """Eager mode, with an update in place."""
    import torch

    torch_: Any = torch
    peer = block.torch(torch)
    f: Any = torch.nn.functional
    loss_of = f.cross_entropy if batch.target.dtype.kind == "i" else f.mse_loss

    def made(array: Array) -> Any:
        tensor: Any = torch_.tensor(array)
        images = channels_last and tensor.ndim == 4
        return tensor.contiguous(memory_format=torch.channels_last) if images else tensor

    def start() -> Any:
        return [made(p).requires_grad_() for p in peer.given(leaves(block, batch))]

    def step(params: Any, *arrays: Any) -> tuple[Any, Any]:
        loss = loss_of(peer.output(params, *arrays[:-1]), arrays[-1])
        gradients = torch.autograd.grad(loss, params)
        with torch.no_grad():
            torch_._foreach_add_(params, gradients, alpha=-block.rate)
        return params, loss.detach()

    def back(params: Any) -> list[Array]:
        return peer.back([p.detach().numpy() for p in params])

    return training_case(step, start, back, tuple(map(made, peer.arrays(batch))))


def in_jax(block: Block, batch: Batch) -> Case:
    """``jax.jit`` of the gradient and the update."""
    import jax

    jax_: Any = jax
    jnp = jax_.numpy
    jax_.config.update("jax_enable_x64", any(x.dtype == np.float64 for x in batch.inputs))
    peer = block.jax(jax)

    def loss_of(params: Any, *arrays: Any) -> Any:
        y, target = peer.output(params, *arrays[:-1]), arrays[-1]
        if target.dtype.kind != "i":
            return jnp.mean((y - target) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax_.nn.log_softmax(y), target[..., None], axis=-1))

    @jax_.jit  # type: ignore[untyped-decorator]
    def step(params: Any, *arrays: Any) -> tuple[Any, Any]:
        loss, gradients = jax_.value_and_grad(loss_of)(params, *arrays)
        return jax_.tree.map(lambda p, g: p - block.rate * g, params, gradients), loss

    def start() -> Any:
        return [jnp.asarray(p) for p in peer.given(leaves(block, batch))]

    def back(params: Any) -> list[Array]:
        return peer.back([np.asarray(p) for p in params])

    case = training_case(step, start, back, tuple(map(jnp.asarray, peer.arrays(batch))))
    return with_jax.waiting(case)
