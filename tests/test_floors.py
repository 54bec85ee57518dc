"""The floors of the package: which module may import which, how long it may be, and what `import funcnet` loads."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import get_origin

import pytest

import funcnet as fn

PACKAGE = Path(fn.__file__).parent

# A module may import those on lower floors, and those before it on its own.
FLOORS: dict[str, list[str]] = {
    "": ["errors", "options", "calling", "display", "structures", "tree", "advice", "arrays", "random"],
    "tracing": [
        "shapes",
        "forms",
        "primitive",
        "windows",
        "kernels",
        "trace",
        "eager",
        "primitives",
        "masks",
        "images",
        "special",
        "products",
        "recurrence",
        "cells",
    ],
    "core": ["core", "initializers"],
    "layers": [
        "activations",
        "linear",
        "merge",
        "softmax",
        "norm",
        "group_norm",
        "embedding",
        "sliding",
        "convolution",
        "pooling",
        "recurring",
        "recurrent",
        "bidirectional",
        "position",
        "attention",
        "axes",
        "dropout",
        "custom",
    ],
    "losses": ["reduction", "regression", "classification"],
    "compiler": [
        "buffers",
        "plan",
        "fusion",
        "planning",
        "blocking",
        "layout",
        "params_cache",
        "listing",
        "binding",
        "workspace",
        "program_cache",
        "programs",
    ],
    "networks": [
        "sharing",
        "graph",
        "drawing",
        "layering",
        "picture",
        "sketch",
        "gallery",
        "nesting",
        "parts",
        "combinators",
        "network",
    ],
    "optimizers": ["schedules", "base", "learning_rate", "wrappers", "transforms", "algorithms"],
    "training": [
        "splitting",
        "batches",
        "fit_result",
        "calibration",
        "weighing",
        "nonfinite",
        "mistakes",
        "flat_states",
        "gradients",
        "steps",
        "scan",
        "vmap",
        "metrics",
        "evaluation",
        "monitoring",
        "callbacks",
        "plateau",
        "epoch",
        "fit",
    ],
    "native": [
        "toolchain",
        "functions",
        "updates",
        "update_loops",
        "expressions",
        "grouping",
        "memory",
        "writing",
        "labels",
        "recurrence",
        "images",
        "calls",
        "emission",
        "table",
        "entry",
        "members",
        "states",
        "source",
        "program",
        "scanning",
        "jit",
    ],
    "files": ["replacing", "archive", "manifest", "checkpoint"],
    "inspection": [
        "structure",
        "summary",
        "diagrams",
        "equations",
        "operations",
        "derivation",
        "walk",
        "explain",
        "svg",
    ],
    "exports": ["described"],
    "exports.onnx": [
        "protobuf",
        "recording",
        "patterns",
        "writer",
        "images",
        "masks",
        "recurrence",
        "contraction",
        "operators",
        "model",
    ],
    "exports.jax": ["images", "recurrence", "rules", "layer"],
    "exports.c": ["names", "functions", "writer", "update", "source"],
    "exports.numpy": ["arrays", "lines", "calls", "trees", "source"],
    "testing": ["subject", "derivatives", "conduct", "program"],
    "sklearn": ["bases", "builder", "accepting", "base", "classifier", "regressor"],
    "mpi": ["ranks", "reduction", "sharding"],
    "__main__": ["", "__main__"],  # first the package itself, which hands on what the floors below it offer
}
PACKAGES = [name for name in FLOORS if name not in ("", "core", "__main__")]


def modules_of(floor: str, names: list[str]) -> list[str]:
    """The modules of a floor: its package's own first, or last where that hands on what the others offer."""
    if floor not in PACKAGES:
        return names
    own = [f"{floor}.{name}" for name in names]
    return [*own, floor] if floor in ("testing", "sklearn", "mpi") else [floor, *own]


ORDER = [module for floor, names in FLOORS.items() for module in modules_of(floor, names)]
LAYERS = {name for name in ORDER if name.startswith(("layers", "losses"))} | {
    "initializers",
    "tracing.special",
    "tracing.products",
}
KNOW_NO_LAYER = [name for name in ORDER if name.startswith("compiler")] + ["networks.graph"]
OPTIONAL = ["matplotlib", "tqdm", "hypothesis", "jax", "torch", "onnx", "mpi4py", "scipy", "sklearn"]
LONGEST = 300  # lines of a module

every_module = pytest.mark.parametrize("name", ORDER, ids=lambda name: name or "funcnet")


def source_of(name: str) -> Path:
    """The file of a module."""
    path = PACKAGE.joinpath(*name.split(".")) if name else PACKAGE
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def parsed(name: str) -> ast.Module:
    return ast.parse(source_of(name).read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    """The name, within the package, of the module in a file."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def imported(name: str) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in its text."""
    package = ["funcnet", *filter(None, name.split("."))]
    if source_of(name).name != "__init__.py":
        package.pop()
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            yield from (within(alias.name) for alias in node.names if alias.name.split(".")[0] == "funcnet")
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            full = ".".join([*above, *filter(None, [node.module])])
            if full.split(".")[0] == "funcnet":
                inside = [within(f"{full}.{alias.name}") for alias in node.names]
                yield from (name if name in ORDER else within(full) for name in inside)


def within(full: str) -> str:
    """A module's name without that of the package."""
    return full.removeprefix("funcnet").removeprefix(".")


def test_every_module_has_its_place() -> None:
    assert sorted(map(module_of, PACKAGE.rglob("*.py"))) == sorted(ORDER)


def test_the_contributor_is_reported_of_every_module() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]*) \| ([^|]*) \| [^|]* \|$", text.replace("\\", ""), re.MULTILINE)
    told = [(floor.strip("`").replace("ground", ""), names.split(", ")) for floor, names in rows[1:]]
    assert told == [*FLOORS.items()][:-1]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_which_floors_it_imports(package: str) -> None:
    """ "Imports core and tracing." or "Imports training and all below it."; the ground floor needs no mention."""
    _, _, sentence = str(ast.get_docstring(parsed(package))).rpartition("Imports ")
    named = set(re.findall(r"\w+", sentence)) & {*FLOORS}
    used = {floor_of(name) for module in modules_of(package, FLOORS[package]) for name in imported(module)}
    used -= {"", package}
    if "all below" in sentence:
        floors = [*FLOORS]
        assert used <= {*floors[: floors.index(max(named, key=floors.index, default=package)) + 1]}
    else:
        assert used == named


def floor_of(module: str) -> str:
    """The floor on which a module is."""
    return next(floor for floor, names in FLOORS.items() if module in modules_of(floor, names))


@every_module
def test_imports_go_downward(name: str) -> None:
    below = ORDER[: ORDER.index(name)]
    assert [other for other in imported(name) if other not in below] == []


def test_imports_are_found() -> None:
    assert {"errors"} <= set(imported("tree"))  # from .errors import ...
    assert {"tree", "tracing.trace"} <= set(imported("core"))  # from funcnet import tree
    assert {"core", "tracing.special"} <= set(imported("layers.activations"))
    assert {"tree", "layers.linear"} <= set(imported(""))


@pytest.mark.parametrize("name", KNOW_NO_LAYER)
def test_what_plans_and_runs_knows_no_layer(name: str) -> None:
    assert LAYERS.isdisjoint(imported(name))


@every_module
def test_no_file_is_long(name: str) -> None:
    assert len(source_of(name).read_text(encoding="utf-8").splitlines()) <= LONGEST


@every_module
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(parsed(name))


def test_importing_loads_nothing_optional_and_no_random_numbers() -> None:
    program = "import sys, funcnet, funcnet.testing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "funcnet.networks.network" in loaded
    assert loaded.isdisjoint([*OPTIONAL, "numpy.random"])


def test_the_public_names_are_those_that_type_checkers_see() -> None:
    imports = [node for node in ast.walk(parsed("")) if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in imports for alias in node.names if alias.asname == alias.name]
    assert sorted(names, key=lambda name: (name.lower(), name)) == fn.__all__
    assert sorted(dir(fn)) == sorted(fn.__all__)
    assert all(getattr(fn, name) is not None for name in fn.__all__)


def test_names_imported_later_are_those_that_type_checkers_see() -> None:
    block, _ = (node for node in parsed("").body if isinstance(node, ast.If))
    later: dict[str, list[str]] = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            later.setdefault(str(node.module), []).extend(alias.name for alias in node.names)
    assert {module: set(names) for module, names in later.items()} == {
        f"funcnet.{part}": set(names.split()) for part, names in fn._LATER.items()
    }
    for module, names in later.items():
        for name in names:
            assert getattr(fn, name) is getattr(importlib.import_module(module), name)


def test_networks_and_plain_steps_do_not_import_what_trains() -> None:
    program = "import sys, funcnet as fn; fn.sgd_step; print(*sys.modules); fn.adam; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in done.stdout.splitlines())
    assert not {f"funcnet.{part}" for part in fn._LATER} & before
    assert "funcnet.optimizers.algorithms" in after


def test_what_there_is_not_is_reported() -> None:
    with pytest.raises(AttributeError, match="module 'funcnet' has no attribute 'adamm'"):
        _ = importlib.import_module("funcnet").adamm


@pytest.mark.parametrize("name", fn.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    thing = getattr(fn, name)
    if get_origin(thing) is not None:
        assert name in described_aliases()
    else:
        assert inspect.getdoc(thing)
        assert not str(thing.__doc__).startswith(f"{name}(")  # which is what a NamedTuple writes itself


def described_aliases() -> set[str]:
    """Aliases with a string right under them."""
    pairs = [pair for name in ORDER for pair in pairwise(parsed(name).body)]
    return {ast.unparse(a.target) for a, b in pairs if isinstance(a, ast.AnnAssign) and is_text(b)}


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
