"""Break every kernel and every rule of the compiler in turn, and see the tests fail:

    python -m tests.mutation [--fast] [--jobs N] [module ...]

Each mutant runs in a process of its own, forked from one that has NumPy and pytest loaded: first the battery of laws on
the rows of the table that call the function, then, where that lets it pass, the tests of the module. Survivors must
stand in EQUIVALENT, each with the reason why nobody could tell it from the original; any other makes the command fail.
`--fast` takes a fixed part.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import io
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis  # noqa: F401 (loaded before the processes are forked)
import numpy as np  # noqa: F401
import pytest

from tests.support.equivalent import EQUIVALENT, REASONS
from tests.support.mutants import Mutant, mutants, mutated

ROOT = Path(__file__).parents[1]
LONGEST = 60  # seconds of the processor after which a mutant counts as caught: it does not come to an end
KILLERS = ("", "laws", "tests", "time")
COLUMNS = ("by laws", "by tests", "by time", "survive", "explained")
FAST = 30  # one mutant in so many
KINDS = ["tracing/primitives", "tracing/masks", "tracing/special", "losses", "layers"]
RULES = {
    "planning": ["plan", "passes"],
    "buffers": ["plan", "passes"],
    "plan": ["plan", "listing", "passes"],
    "fusion": ["fusion", "passes", "plan"],
    "blocking": ["blocking"],
    "layout": ["workspace", "programs"],
    "workspace": ["workspace", "blocking", "held"],
}
"""Modules of the compiler, and the tests that see their rules, which decide and count: no law of a layer sees these."""


class Verdict(NamedTuple):
    """What became of a mutant: killed by the laws, by the tests of its module, or not at all."""

    name: str
    kind: str
    by: str


def kernels() -> dict[str, Path]:
    """The modules whose kernels are broken, by name."""
    found: dict[str, Path] = {}
    for kind in KINDS:
        path = ROOT / "funcnet" / kind
        files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        found |= {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    found = {name: file for name, file in found.items() if not name.endswith(("__init__", "custom"))}
    return found | {f"funcnet.compiler.{name}": ROOT / f"funcnet/compiler/{name}.py" for name in RULES}


def is_rule(name: str) -> bool:
    """Whether a module belongs to the compiler."""
    return name.startswith("funcnet.compiler.")


def tests_of(module: str) -> list[str]:
    """The files of tests that are about a module."""
    last = module.rsplit(".", 1)[-1]
    if is_rule(module):
        return [str(ROOT / f"tests/compiler/test_{name}.py") for name in RULES[last]]
    also = {
        "primitives": [
            "losses",
            "labels",
            "activations",
            "dropout",
            "embedding",
            "norm",
            "reduction",
            "weights",
            "masked",
        ],
        "masks": ["attention", "masked", "primitives"],
        "special": ["activations"],
        "classification": ["losses", "labels", "weights"],
        "regression": ["losses", "weights"],
        "reduction": ["weights"],
        "axes": ["masked"],
        "norm": ["calibration"],
        "linear": ["bad_input"],
        "pooling": ["convolution"],
        "position": ["attention", "bad_sequences"],
        "recurring": ["recurrent", "bidirectional", "bad_sequences"],
        "bidirectional": ["bad_sequences"],
        "sliding": ["convolution", "bad_input"],
    }
    names = [last, *also.get(last, [])]
    files = [str(file) for name in names for file in sorted((ROOT / "tests").rglob(f"test_{name}.py"))]
    assert files, f"no tests are about {module}: name some in `also`"  # of no files, pytest would take all
    return files


class Replaced(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from code in hand."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """The module's spec, if it is the one."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: Any) -> None:
        """Run the code."""
        exec(self.code, module.__dict__)  # noqa: S102


@contextmanager
def forked(work: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """The end of a pipe from a process that does the work, gone when the block ends."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(there, *arguments))
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.kill()
        process.join()


def called_by_row(pipe: Any, files: dict[str, Path]) -> None:
    """Send, for each row of the table, the (module, line) of the functions that its battery calls."""
    from tests.support.battery import battery
    from tests.support.cases import CASES

    names = {str(file): name for name, file in files.items()}
    rows: list[set[tuple[str, int]]] = []
    for case in CASES:
        called: set[tuple[str, int]] = set()

        def note(frame: FrameType, event: str, _: Any, called: set[tuple[str, int]] = called) -> None:
            if event == "call" and frame.f_code.co_filename in names:
                called.add((names[frame.f_code.co_filename], frame.f_code.co_firstlineno))

        sys.setprofile(note)
        try:
            battery(case)
        finally:
            sys.setprofile(None)
        rows.append(called)
    pipe.send(rows)


def judged(pipe: Any, name: str, broken: CodeType, rows: list[int]) -> None:
    """Send who kills the mutant: "laws", "tests" or nobody."""
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
    sys.meta_path.insert(0, Replaced(name, broken))
    sys.dont_write_bytecode = True
    try:
        from tests.support.battery import battery
        from tests.support.cases import CASES

        for row in rows:
            battery(CASES[row])
    except BaseException:  # a mutant may do anything at all
        pipe.send("laws")
        return
    with redirect_stdout(io.StringIO()):
        code = pytest.main(
            ["-x", "--assert=plain", "-p", "no:cacheprovider", "--hypothesis-profile=full", *tests_of(name)]
        )
    pipe.send({0: "", 1: "tests"}.get(int(code), f"pytest ended with {code!r}"))


def killer(name: str, mutant: Mutant | None, rows: list[int]) -> str:
    """Who kills a module with this change: "time" where it comes to no end, or ends the process."""
    file = kernels()[name]
    source = file.read_text(encoding="utf-8")
    code = compile(mutated(source, mutant) if mutant else source, file, "exec")
    with forked(judged, name, code, rows) as pipe:
        try:
            by = str(pipe.recv()) if pipe.poll(10 * LONGEST) else "time"
        except EOFError:
            by = "time"
    if by not in KILLERS:
        raise RuntimeError(f"{name}: {by}")
    return by


def rows_of(mutant: Mutant, name: str, called: list[set[tuple[str, int]]]) -> list[int]:
    """The rows whose battery calls the mutated function; for a constant, anything in its module."""
    first, last = mutant.lines if mutant.lines[1] else (1, 10**9)
    return [i for i, row in enumerate(called) if any(m == name and first <= line <= last for m, line in row)]


def run(modules: list[str], every: int, jobs: int, report: Callable[[str], None]) -> list[Verdict]:
    """The verdicts on every so-manieth mutant."""
    files = {name: file for name, file in kernels().items() if not modules or name.rsplit(".", 1)[-1] in modules}
    with forked(called_by_row, kernels()) as pipe:
        called = pipe.recv()
    verdicts: list[Verdict] = []
    number = 0
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        for name, file in files.items():
            before, began = len(verdicts), time.perf_counter()
            found = mutants(file.read_text(encoding="utf-8"), is_rule(name))
            taken = [mutant for i, mutant in enumerate(found, start=number + 1) if i % every == 0]
            number += len(found)
            # the laws have just let every row pass, to see what it calls
            if taken and (by := pool.submit(killer, name, None, []).result()):
                raise RuntimeError(f"{name} is killed by {by} as it is")
            rows = [[] if is_rule(name) else rows_of(mutant, name, called) for mutant in taken]
            for mutant, by in zip(taken, pool.map(killer, [name] * len(taken), taken, rows), strict=True):
                verdicts.append(Verdict(f"{name.removeprefix('funcnet.')}.{mutant}", mutant.kind, by))
            report(line(name, verdicts[before:]) + f"  {time.perf_counter() - began:5.0f} s")
    return verdicts


def line(name: str, verdicts: list[Verdict]) -> str:
    """A line of the table."""
    by = Counter(v.by for v in verdicts)
    explained = sum(v.name in EQUIVALENT for v in verdicts if not v.by)
    counts = (len(verdicts), by["laws"], by["tests"], by["time"], by[""], explained)
    return f"{name:30}" + "".join(f"{count:10}" for count in counts)


def problems(verdicts: list[Verdict], all_of_them: bool) -> list[str]:
    """Survivors without a reason, and reasons for what does not survive, or is not there."""
    survived = {v.name for v in verdicts if not v.by}
    killed = {v.name for v in verdicts if v.by}
    found = [f"survived: {name}" for name in sorted(survived - EQUIVALENT.keys())]
    found += [f"explained, but killed: {name}" for name in sorted(killed & EQUIVALENT.keys())]
    if all_of_them:
        found += [f"explained, but no mutant: {name}" for name in sorted(EQUIVALENT.keys() - survived - killed)]
    return found


def score(verdicts: list[Verdict], wrong: int) -> str:
    """The last line."""
    killed = sum(bool(v.by) for v in verdicts)
    explained = sum(v.name in EQUIVALENT for v in verdicts if not v.by)
    return f"score: {killed} of {len(verdicts)} killed, {explained} equivalent for a reason, {wrong} unexplained"


def main() -> int:
    """Print the score; 1 where a survivor is not explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    modules = sorted(name.rsplit(".", 1)[-1] for name in kernels())
    parser.add_argument("modules", nargs="*", metavar="module", help=f"of {', '.join(modules)}; by default all")
    parser.add_argument("--fast", action="store_true", help=f"one mutant in {FAST}, of the kernels alone")
    parser.add_argument("--jobs", type=int, default=1, help="how many mutants at a time")
    options = parser.parse_args()
    if unknown := sorted(set(options.modules) - set(modules)):
        parser.error(f"no module with kernels is called {', '.join(unknown)}: there are {', '.join(modules)}")
    print(f"{'module':30}" + "".join(f"{word:>10}" for word in ("mutants", *COLUMNS)))
    asked = options.modules or [name.rsplit(".", 1)[-1] for name in kernels() if not (options.fast and is_rule(name))]
    verdicts = run(asked, FAST if options.fast else 1, options.jobs, lambda text: print(text, flush=True))
    print(line("all", verdicts))
    for kind, count in sorted(Counter(v.kind for v in verdicts).items()):
        survived = [v for v in verdicts if v.kind == kind and not v.by]
        print(f"  {kind:16}{count - len(survived):6} of {count} killed")
    if not options.fast:
        for reason, names in REASONS.items():
            print(f"equivalent, for {reason}:", *names, sep="\n    ")
    wrong = problems(verdicts, not options.modules and not options.fast)
    print(*wrong, sep="\n")
    print(score(verdicts, len(wrong)))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
