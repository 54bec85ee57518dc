"""Files of C as programs: a main for each of many functions, compiled, run, and what they print read back."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from funcnet.errors import MissingPackageError
from funcnet.native.toolchain import find_compiler

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")


class Run(NamedTuple):
    """A call of a C function: its file, its name, and its arguments: arrays, or `None` for the optimizer's state.

    steps: how often it is called.      inlined: for other lines in place of that call.
    """

    source: str
    name: str
    arguments: tuple[Any, ...]
    steps: int = 1


def has_compiler() -> bool:
    """Whether C can be compiled here."""
    try:
        return bool(find_compiler())
    except MissingPackageError:
        return False


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="neither FUNCNET_CC nor cc nor ziglang is here")


def c_array(name: str, x: Any) -> str:
    """An array as a static one of C."""
    kind = {"f4": "float", "f8": "double", "b1": "unsigned char"}.get(x.dtype.str[1:], "int")
    f = "f" if kind == "float" else ""
    numbers = [c_number(v, f) if x.dtype.kind == "f" else str(int(v)) for v in x.ravel()]
    return f"static {kind} {name}[{max(1, x.size)}] = {{{', '.join(numbers or ['0'])}}};\n"


def c_number(v: Any, f: str) -> str:
    """A number with all its digits."""
    if not np.isfinite(v):
        return "NAN" if np.isnan(v) else "INFINITY" if v > 0 else "-INFINITY"
    return f"{float(v)!r}{f}"


def program(runs: list[Run]) -> str:
    """All files, and a main that calls each function and prints all its arrays afterwards, and what it returned."""
    parts, lines = [], list[str]()
    for run in runs:
        parts.append(run.source)
        names: list[str] = []
        for i, x in enumerate(run.arguments):
            name = f"a_{run.name}_{i}"
            parts.append(f"static {run.name}_state {name};\n" if x is None else c_array(name, x))
            names.append(f"&{name}" if x is None else name)
            lines += [f"    {run.name}_init(&{name});"] if x is None else []
        lines.append(f"    for (int i = 0; i < {run.steps}; i++) status = {run.name}({', '.join(names)});")
        lines.append('    printf("%d\\n", status);')
        for name, x in zip(names, run.arguments, strict=True):
            if x is not None and x.dtype.kind == "f":
                lines.append(f'    for (int i = 0; i < {x.size}; i++) printf("%.17g\\n", (double){name}[i]);')
    main = ["#include <stdio.h>", "int main(void)", "{", "    int status = 0;", *lines, "    return 0;", "}", ""]
    return "".join(parts) + "\n".join(main)


def run_all(runs: list[Run], folder: Path, *flags: str, command: tuple[str, ...] = ()) -> list[tuple[int, list[Any]]]:
    """(what the function returned, its floating arrays afterwards) for each."""
    source, executable = folder / "program.c", folder / "program"
    source.write_text(program(runs), encoding="utf-8")
    compiler = command or find_compiler().command
    done = subprocess.run(
        [*compiler, *STRICT, *flags, str(source), "-o", str(executable), "-lm"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[:5000]
    ran = subprocess.run([str(executable)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[:5000]
    numbers = iter(ran.stdout.split())
    found: list[tuple[int, list[Any]]] = []
    for run in runs:
        status = int(next(numbers))
        arrays = [x for x in run.arguments if x is not None and x.dtype.kind == "f"]
        found.append(
            (status, [np.array([float(next(numbers)) for _ in range(x.size)]).reshape(x.shape) for x in arrays])
        )
    return found
