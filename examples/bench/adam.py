"""Training steps with Adam, beside those of Optax: alone, and many in one call. funcnet's own step is the bar.

All must agree with the textbook update in float64 before anything is timed.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from bench import naive, with_funcnet, with_jax
from bench.case import Array, Case, Linears
from bench.check import Disagreement, Judge
from bench.timing import Timing, interleave
from bench.workloads import WORKLOADS, Data, Workload, make_data

BAR = "funcnet"
CHAINS = [workload for workload in WORKLOADS if workload.family == "chain" and not workload.infer]
_BLOCK_SECONDS = 0.005
_RATE, _B1, _B2, _EPS = 1e-3, 0.9, 0.999, 1e-3


def measure(
    workloads: Sequence[Workload], options: Namespace, say: Callable[[str], None]
) -> dict[str, dict[str, Timing]]:
    """Check all implementations of each workload, then time them in turn."""
    found: dict[str, dict[str, Timing]] = {}
    for workload in workloads:
        data = make_data(workload, np.dtype(options.dtype))
        judge, cases = Judge(workload, data, textbook), dict[str, Case]()
        for name, build in implementations(options.skip).items():
            say(f"{workload.name}: checking {name}")
            try:
                cases[name] = build(workload, data)
                judge.check(name, cases[name])
            except Disagreement as error:
                sys.exit(f"\n{error}")

        def show(turn: int, name: str = workload.name) -> None:
            say(f"{name}: round {turn + 1} of {options.repeats}")

        found[workload.name] = interleave(cases, BAR, rounds=options.repeats, seconds=_BLOCK_SECONDS, progress=show)
    return found


def implementations(skipped: Sequence[str]) -> dict[str, Callable[[Workload, Data], Case]]:
    """Those that can run here, the bar first."""
    found: dict[str, Callable[[Workload, Data], Case]] = {}
    for jit in (False, True) if with_funcnet.has_compiler() else (False,):
        name = BAR + "-jit" * jit
        found[name] = partial(with_funcnet.build_adam, make=_adam, jit=jit)
        found[f"{name}-scan"] = partial(with_funcnet.build_adam, make=_adam, jit=jit, scanned=True)
    if "optax" not in skipped and with_jax.load() and find_spec("optax"):
        found["optax"] = partial(with_jax.build_adam, make=_adam)
        found["optax-scan"] = partial(with_jax.build_adam, make=_adam, scanned=True)
    return {name: build for name, build in found.items() if name not in skipped or name == BAR}


def _adam(module: Any) -> Any:
    return module.adam(_RATE, _B1, _B2, _EPS)


def textbook(workload: Workload, data: Data) -> Case:
    """m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g^2, p' = p - rate m'' / (sqrt v'' + eps), both unbiased."""
    loss_and_gradients = naive.FAMILIES[workload.family]

    def begin() -> Any:
        flat = [part for layer in data.start for part in layer]
        return flat, [np.zeros_like(p) for p in flat], [np.zeros_like(p) for p in flat], 0

    def run(state: Any, steps: int) -> tuple[Any, Any]:
        (flat, first, second, before), loss = state, 0.0
        for t in range(before + 1, before + steps + 1):
            loss, gradients = loss_and_gradients(_layers(flat), *data.arrays)
            g = [part for layer in gradients for part in layer]
            first = [_B1 * m + (1 - _B1) * own for m, own in zip(first, g, strict=True)]
            second = [_B2 * v + (1 - _B2) * own**2 for v, own in zip(second, g, strict=True)]
            flat = [
                p - _RATE * (m / (1 - _B1**t)) / (np.sqrt(v / (1 - _B2**t)) + _EPS)
                for p, m, v in zip(flat, first, second, strict=True)
            ]
        return (flat, first, second, before + steps), loss

    def read(state: Any, loss: Any) -> tuple[Linears, Array]:
        return _layers(state[0]), np.asarray(float(loss))

    return Case(begin, run, read)


def _layers(flat: Sequence[Array]) -> Linears:
    return list(zip(flat[::2], flat[1::2], strict=True))
