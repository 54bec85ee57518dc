"""The steps of a run: build and check every implementation of a workload, time them in turn, report."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, thread_time
from typing import Protocol, TypeVar

import numpy as np

from bench import handwritten, machine, naive, process, report, with_funcnet, with_jax, with_torch
from bench.case import Case
from bench.check import Disagreement, Judge
from bench.timing import Timing, interleave
from bench.workloads import WORKLOADS, Data, Workload, make_data

Build = Callable[[Workload, Data], Case]


class Named(Protocol):
    """What ``--only`` chooses from."""

    @property
    def name(self) -> str:  # pyright: ignore[reportReturnType]
        """What it is called on the command line."""


T = TypeVar("T", bound=Named)

BAR = "hand-written"
SCANS = ("funcnet-scan", "funcnet-jit-scan", "jax-scan")
BLOCK_SECONDS = 0.005
_PEERS = ("jax", "jax-scan", "torch", "torch-compile")


def main(options: Namespace) -> None:
    """Measure what the options ask for; print tables; write the files."""
    facts = machine.describe() | {"dtype": options.dtype}
    print(machine.in_a_line(facts), end="\n\n", flush=True)
    if options.process:
        print(process.measure(options.repeats, options.skip, progress))
    elif options.growth:
        show_growth(options, facts)
    elif options.memory:
        show_memory(options)
    elif options.feeding:
        show_feeding(options)
    elif options.layers:
        show_layers(options, facts)
    elif options.adam:
        show_adam(options, facts)
    else:
        show_steps(options, facts)


def show_steps(options: Namespace, facts: Mapping[str, str]) -> None:
    """A step of every workload by every implementation."""
    results = {}
    implementations = installed(options.skip, options.compile)
    for workload in chosen(options.only, WORKLOADS):
        results[workload.name] = measure(workload, implementations, options)
    tell(results, options, facts)
    if options.figure:
        from bench.figure import draw

        draw(Path(options.figure), results, facts)


def tell(results: Mapping[str, dict[str, Timing]], options: Namespace, facts: Mapping[str, str]) -> None:
    """Print the tables of steps, and write them to the file that the options name."""
    progress("")
    print(report.summary_table(results), report.results_table(results), sep="\n\n")
    if options.json:
        report.write_json(Path(options.json), results, facts)


def show_growth(options: Namespace, facts: Mapping[str, str]) -> None:
    """How funcnet's times grow."""
    require_funcnet()
    from bench import growth

    clock = thread_time if options.threads == 1 else perf_counter
    setting = growth.Setting(np.dtype(options.dtype), options.repeats, clock, progress)
    curves = [growth.measure(series, setting) for series in chosen(options.only, growth.SERIES)]
    progress("")
    print(growth.table(curves))
    if options.figure:
        from bench.growth_figure import draw

        draw(Path(options.figure), curves, facts)


def show_memory(options: Namespace) -> None:
    """What funcnet's steps take and leave behind."""
    require_funcnet()
    from bench import memory, probe

    if not probe.available():
        sys.exit("--memory reads /proc/self/statm, which this system does not have")
    workloads = chosen(options.only, memory.WORKLOADS)
    print(*memory.measure(workloads, options.dtype, progress), sep="\n\n")


def show_feeding(options: Namespace) -> None:
    """What other memory layouts of the data cost."""
    require_funcnet()
    from bench import feeding

    print(feeding.measure(options.repeats, np.dtype(options.dtype), progress))


def show_layers(options: Namespace, facts: Mapping[str, str]) -> None:
    """Steps of networks of other layers than linear ones."""
    require_funcnet()
    from bench import layer_blocks, layers

    results = layers.measure(chosen(options.only, layer_blocks.BLOCKS), options, progress)
    tell(results, options, facts)


def show_adam(options: Namespace, facts: Mapping[str, str]) -> None:
    """Steps with an optimizer."""
    require_funcnet()
    from bench import adam

    results = adam.measure(chosen(options.only, adam.CHAINS), options, progress)
    tell(results, options, facts)


def require_funcnet() -> None:
    """Leave where there is nothing to measure."""
    if not with_funcnet.load():
        sys.exit("funcnet is not installed")


def chosen(names: Sequence[str], every: Sequence[T]) -> list[T]:
    """Those of these names, in the order of their definition; all, where none is named."""
    known = {one.name: one for one in every}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"--only: there is no {', '.join(unknown)}. There are: {', '.join(known)}.")
    return [one for name, one in known.items() if name in names or not names]


def installed(skipped: Sequence[str], compiled: bool) -> dict[str, Build]:
    """The implementations that can run here, the bar first."""
    found: dict[str, Build] = {BAR: handwritten.build}
    if with_funcnet.load():
        found["funcnet"] = with_funcnet.build
        found["funcnet-scan"] = with_funcnet.build_scan
        if with_funcnet.has_compiler():
            found["funcnet-jit"] = with_funcnet.build_jit
            found["funcnet-jit-scan"] = with_funcnet.build_jit_scan
    found["naive"] = naive.build
    if "jax" not in skipped and with_jax.load():
        found["jax"] = with_jax.build
        found["jax-scan"] = with_jax.build_scan
    if "torch" not in skipped and with_torch.load():
        found["torch"] = with_torch.build_eager
        if compiled:
            found["torch-compile"] = with_torch.build_compiled
    return {name: build for name, build in found.items() if name not in skipped or name == BAR}


def measure(workload: Workload, implementations: dict[str, Build], options: Namespace) -> dict[str, Timing]:
    """Check all implementations of a workload, then time them."""
    data = make_data(workload, np.dtype(options.dtype))
    judge, cases = Judge(workload, data), {}
    for name, build in implementations.items():
        if workload.infer and name in SCANS:
            continue
        progress(f"{workload.name}: checking {name}")
        try:
            case = build(workload, data)
            judge.check(name, case)
        except Disagreement as error:
            sys.exit(f"\n{error}")
        except Exception as error:
            if name not in _PEERS:
                raise
            reason = next(iter(str(error).splitlines()), "")
            print(f"\n{workload.name}: {name} left out: {type(error).__name__}: {reason}", file=sys.stderr)
            continue
        cases[name] = case

    def show(turn: int) -> None:
        progress(f"{workload.name}: round {turn + 1} of {options.repeats}")

    return interleave(cases, BAR, rounds=options.repeats, seconds=BLOCK_SECONDS, progress=show)


def progress(text: str) -> None:
    """One line on stderr, written over the last one."""
    print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)
