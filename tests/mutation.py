"""Break every kernel and every rule of the compiler in turn, and see the tests fail:

    python -m tests.mutation [--fast] [--jobs N] [module ...]

Each mutant runs in a process of its own, forked from one that has NumPy and pytest loaded: first the battery of laws on
the rows of the table that call the function, then, where that lets it pass, those tests of the module that call it, the
quickest first. Survivors must stand in EQUIVALENT, each with the reason why nobody could tell it from the original; any
other makes the command fail. `--fast` takes a fixed part.
"""

from __future__ import annotations

import argparse
import ast
import builtins
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
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support.budget import FULL
from tests.support.equivalent import EQUIVALENT, REASONS
from tests.support.mutants import HELPERS, OF_ARRAYS, Mutant, mutants, mutated
from tests.support.watching import Chosen, Replaced, Seen, Test, Watcher, watched

ROOT = Path(__file__).parents[1]
LONGEST = 20  # seconds of the processor, and three times what its tests take: a mutant that comes to no end is caught
WITHOUT = ("cacheprovider", "xdist", "unraisableexception", "threadexception")  # plugins that take time
PYTEST = ["--assert=plain", "--hypothesis-profile=mutants", *(f"-pno:{plugin}" for plugin in WITHOUT)]
settings.register_profile(  # that of the full run, but a failing example is not made smaller
    "mutants",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=FULL,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
KILLERS = ("", "laws", "tests", "time")
COLUMNS = ("by laws", "by tests", "by time", "survive", "explained")
FAST = 30  # one mutant in so many
KINDS = ["tracing/primitives", "tracing/masks", "tracing/special", "losses", "layers"]
RULES = {
    "compiler.planning": ["plan", "passes"],
    "compiler.buffers": ["buffers", "plan", "passes"],
    "compiler.plan": ["plan", "listing", "passes"],
    "compiler.listing": ["listing", "whole_listings"],
    "compiler.fusion": ["fusion", "passes", "plan"],
    "compiler.blocking": ["blocking"],
    "compiler.layout": ["layout", "workspace", "programs"],
    "compiler.binding": ["binding", "programs"],
    "compiler.params_cache": ["params_cache"],
    "compiler.program_cache": ["program_cache", "programs"],
    "compiler.programs": ["programs", "listing", "blocking"],
    "compiler.workspace": ["rebinding", "workspace", "blocking", "held"],
    "tracing.images": ["tracing/images", "convolution"],
    "tracing.windows": ["windows", "convolution"],
    "tracing.products": ["products", "attention"],
    "tracing.cells": ["cells", "recurrent", "bidirectional", "sequences"],
    "tracing.recurrence": ["cells", "recurrent", "bidirectional", "bad_sequences", "sequences"],
}
"""Modules that decide, count and put calls together, and the tests that see their rules."""
ALSO = {
    "primitives": ["losses", "labels", "activations", "dropout", "embedding", "norm", "reduction", "weights", "masked"],
    "masks": ["attention", "masked", "primitives"],
    "special": ["activations"],
    "classification": ["losses", "labels", "weights"],
    "regression": ["losses", "weights"],
    "reduction": ["weights", "labels", "losses", "means"],
    "axes": ["masked"],
    "norm": ["calibration", "fixes"],
    "linear": ["bad_input", "fixes"],
    "pooling": ["convolution"],
    "convolution": ["fixes"],
    "embedding": ["fixes"],
    "recurrent": ["fixes"],
    "attention": ["fixes"],
    "position": ["attention", "bad_sequences", "fixes"],
    "recurring": ["recurrent", "bidirectional", "bad_sequences", "fixes"],
    "bidirectional": ["bad_sequences"],
    "sliding": ["convolution", "bad_input", "fixes"],
}
"""Modules of kernels, and the tests that are about them besides those of their own name."""


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
    return found | {f"funcnet.{name}": ROOT / f"funcnet/{name.replace('.', '/')}.py" for name in RULES}


def is_rule(name: str) -> bool:
    """Whether a module has rules; others have kernels."""
    return name.removeprefix("funcnet.") in RULES


def tests_of(module: str) -> list[str]:
    """The files of tests that are about a module."""
    last = module.rsplit(".", 1)[-1]
    names = RULES[module.removeprefix("funcnet.")] if is_rule(module) else [last, *ALSO.get(last, [])]
    patterns = [f"{folder}{slash}test_{name}.py" for folder, slash, name in (name.rpartition("/") for name in names)]
    files = [str(file) for pattern in patterns for file in sorted((ROOT / "tests").rglob(pattern))]
    assert files, f"no tests are about {module}: name some in ALSO"  # of no files, pytest would take all
    return files


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


def install(codes: dict[str, ast.Module], files: dict[str, Path], names: dict[str, Any]) -> None:
    """Have these modules imported from this code, and these names known in every one."""
    compiled = {name: compile(tree, files[name], "exec") for name, tree in codes.items()}
    sys.meta_path.insert(0, Replaced(compiled))
    builtins.__dict__.update(names)


def watch_rows(pipe: Any, files: dict[str, Path]) -> None:
    """Send, for each row of the table, the functions that its battery calls, and the operations that see no array."""
    seen = Seen()
    install(
        {name: watched(file.read_text(encoding="utf-8"), name) for name, file in files.items()}, files, {"_seen_": seen}
    )
    from tests.support.battery import battery
    from tests.support.cases import CASES

    at_import = seen.take()
    rows: list[frozenset[tuple[str, int]]] = []
    for case in CASES:
        battery(case)
        rows.append(seen.take() | at_import)
    pipe.send((rows, seen.of_numbers, seen.of_arrays))


def watch_tests(pipe: Any, name: str) -> None:
    """Send the tests of a module, the quickest first, with what they call, and the operations that see no array."""
    seen, file = Seen(), kernels()[name]
    install({name: watched(file.read_text(encoding="utf-8"), name)}, {name: file}, {"_seen_": seen})
    watcher = Watcher(seen)
    words = io.StringIO()
    with redirect_stdout(words):
        code = pytest.main([*PYTEST, *tests_of(name)], [watcher])
    tests = dict(sorted(watcher.tests.items(), key=lambda item: item[1].seconds))
    pipe.send((tests, seen.of_numbers, seen.of_arrays) if code == 0 else words.getvalue())


def judged(pipe: Any, name: str, mutant: Mutant, rows: list[int], tests: dict[str, Test], folder: str) -> None:
    """Send who kills the mutant: "laws", "tests" or nobody."""
    longest = LONGEST + 3 * int(sum(test.seconds for test in tests.values()))
    resource.setrlimit(resource.RLIMIT_CPU, (longest, longest))
    file = kernels()[name]
    install({name: mutated(file.read_text(encoding="utf-8"), mutant)}, {name: file}, HELPERS)
    try:
        if rows:
            from tests.support.battery import battery
            from tests.support.cases import CASES
        for row in rows:
            battery(CASES[row])
    except BaseException:  # a mutant may do anything at all
        pipe.send("laws")
        return
    files = dict.fromkeys(test.file for test in tests.values())
    with redirect_stdout(io.StringIO()):
        code = pytest.main([*PYTEST, "-x", f"--basetemp={folder}/pytest", *files], [Chosen([*tests])]) if tests else 0
    pipe.send({0: "", int(pytest.ExitCode.NO_TESTS_COLLECTED): "no test"}.get(int(code), "tests"))


def killer(name: str, mutant: Mutant, rows: list[int], tests: dict[str, Test]) -> str:
    """Who kills a module with this change: "time" where it comes to no end, or ends the process."""
    with TemporaryDirectory() as folder, forked(judged, name, mutant, rows, tests, folder) as pipe:
        try:
            by = str(pipe.recv()) if pipe.poll(5 * LONGEST + 10 * sum(t.seconds for t in tests.values())) else "time"
        except EOFError:
            by = "time"
    if by not in KILLERS:
        raise RuntimeError(f"{name}.{mutant}: {by}")
    return by


def calls(mutant: Mutant, name: str, called: frozenset[tuple[str, int]]) -> bool:
    """Whether the mutated function is among those called; for a constant, any of its module."""
    return any(module == name and mutant.lines[0] in (0, line) for module, line in called)


def run(modules: list[str], every: int, jobs: int, report: Callable[[str], None]) -> list[Verdict]:
    """The verdicts on every so-manieth mutant."""
    files = {name: file for name, file in kernels().items() if not modules or name.rsplit(".", 1)[-1] in modules}
    seen_by_laws = {name: file for name, file in files.items() if not name.startswith("funcnet.compiler.")}
    with forked(watch_rows, seen_by_laws) as pipe:
        called, of_numbers, of_arrays = pipe.recv()
    verdicts: list[Verdict] = []
    number = 0
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        for name, file in files.items():
            before, began = len(verdicts), time.perf_counter()
            found = mutants(file.read_text(encoding="utf-8"), is_rule(name))
            taken = [mutant for i, mutant in enumerate(found, start=number + 1) if i % every == 0]
            number += len(found)
            if not taken:
                continue
            with forked(watch_tests, name) as pipe:
                answer = pipe.recv()
            if isinstance(answer, str):
                raise RuntimeError(f"the tests of {name} fail as it is:\n{answer}")
            numbers = (of_numbers | answer[1]) - of_arrays - answer[2]
            taken = [x for x in taken if x.kind not in OF_ARRAYS or (name, x.node) not in numbers]
            rows = [[i for i, row in enumerate(called) if calls(x, name, row)] for x in taken]
            tests = [{k: test for k, test in answer[0].items() if calls(x, name, test.calls)} for x in taken]
            for mutant, by in zip(taken, pool.map(killer, [name] * len(taken), taken, rows, tests), strict=True):
                verdicts.append(Verdict(f"{name.removeprefix('funcnet.')}.{mutant}", mutant.kind, by))
                if not by and verdicts[-1].name not in EQUIVALENT:
                    report(f"survived: {verdicts[-1].name}")
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
    with TemporaryDirectory() as folder:  # where each module is compiled once, not in each process anew
        sys.dont_write_bytecode, sys.pycache_prefix = False, folder
        verdicts = run(asked, FAST if options.fast else 1, options.jobs, lambda text: print(text, flush=True))
    print(line("all", verdicts))
    for kind, count in sorted(Counter(v.kind for v in verdicts).items()):
        survived = [v for v in verdicts if v.kind == kind and not v.by]
        print(f"  {kind:16}{count - len(survived):6} of {count} killed")
    survivors = {v.name for v in verdicts if not v.by}
    for reason, names in REASONS.items():
        if found := [name for name in names if name in survivors]:
            print(f"equivalent, for {reason}:", *found, sep="\n    ")
    wrong = problems(verdicts, not options.modules and not options.fast)
    print(*wrong, sep="\n")
    print(score(verdicts, len(wrong)))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
