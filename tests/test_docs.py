"""README and the docs: every block of Python runs and prints what the page says; the reference has all public names."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import funcnet as fn
from tests import pages

from .conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
MODULES = re.findall(r"^\.\. public:: (\S+)$", (DOCS / "reference.md").read_text(encoding="utf-8"), re.MULTILINE)
NEEDS = {  # what the blocks of a page import that is optional
    "jax-and-optax.md": ["jax", "optax"],
    "keras.md": ["jax", "keras"],
    "lbfgs.md": ["scipy"],
    "mpi.md": ["mpi4py.MPI"],
    "onnx.md": ["onnxruntime"],
    "playground.ipynb": ["matplotlib"],
    "pytorch.md": ["torch"],
    "race-of-optimizers.ipynb": ["matplotlib"],
    "safetensors.md": ["safetensors"],
    "scikit-learn.md": ["sklearn"],
    "sweeps.md": ["joblib", "distributed"],
}
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # of Keras
def test_the_blocks_of_a_page_run_and_print_what_it_says(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.name == "keras.md":  # Keras reads this when it is imported
        monkeypatch.setenv("KERAS_BACKEND", "jax")
    if page.name == "deploy.md" and shutil.which("cc") is None:
        pytest.skip("there is no cc here")
    for name in NEEDS.get(page.name, []):
        pytest.importorskip(name)
    assert pages.run(page) == []


@every_page
def test_blocks_are_of_known_languages(page: Path) -> None:
    known = {"python", "text", "mermaid", "{toctree}", "{include}", "{eval-rst}"}
    assert {block.language.split()[0] for block in pages.blocks(page)} <= known


@every_page
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    prose = pages.FENCE.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_page_that_prints_something_else_is_reported_and_mended(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nprint(1)\n```\n\n```text\n2\n```\n", encoding="utf-8")
    assert pages.run(page) == ["page.md, line 8: the page says\n2\nbut printed is\n1\n"]
    pages.rewrite(page)
    assert page.read_text(encoding="utf-8") == "# A page\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n"


def test_blocks_of_a_page_share_names_and_pages_do_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\nassert x == 1\n```\n", encoding="utf-8")
    assert pages.run(page) == []
    page.write_text("```python\nx\n```\n", encoding="utf-8")
    with pytest.raises(NameError):
        pages.run(page)


def test_a_notebook_that_prints_something_else_is_found(tmp_path: Path) -> None:
    text = (DOCS / "notebooks" / "one-neuron.ipynb").read_text(encoding="utf-8")
    changed = tmp_path / "changed.ipynb"
    changed.write_text(text.replace('print(f\\"z = ', 'print(f\\"Z = '), encoding="utf-8")
    (found,) = pages.run(changed)
    assert "but printed is\nZ = " in found


def test_every_notebook_is_shown_and_has_exercises_with_solutions() -> None:
    shown = (DOCS / "notebooks" / "index.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) >= 5
    for notebook in NOTEBOOKS:
        assert f"\n{notebook.stem}\n" in shown
        text = notebook.read_text(encoding="utf-8")
        assert "## Exercise" in text
        assert text.count('"hide-cell"') == text.count("## Exercise")


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    names = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")} - {"index"}
    assert {name for name in names if f"\n{name}\n" not in index} == set()


def test_every_public_name_is_in_the_reference() -> None:
    shown = {name for module in MODULES for name in defined(module)}
    assert set(fn.__all__) - shown == {"tree"}
    assert {"funcnet.tree", "funcnet.testing"} <= set(MODULES)


def defined(module: str) -> set[str]:
    """The names that a module of the package defines."""
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(source.read_text(encoding="utf-8")).body
    aliases = {ast.unparse(node.target) for node in body if isinstance(node, ast.AnnAssign)}
    return aliases | {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def test_the_tutorial_explains_every_value_that_the_program_shows() -> None:
    page = DOCS / "tutorial.md"
    (program,) = (block.text for block in pages.blocks(page) if block.text.startswith("value_and_grad: "))
    shown = re.findall(r"^  \S.*?  ((?:d \[.*?; bias\])|[vg]\d+) \(\d*", program, re.MULTILINE)
    table = page.read_text(encoding="utf-8").split("| lines | equation |\n|---|---|\n")[1].split("\n\n")[0]
    explained = [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert explained == shown


def functions() -> list[str]:
    return [name for name in fn.__all__ if inspect.isfunction(getattr(fn, name))]


@pytest.mark.parametrize("name", functions())
def test_a_docstring_begins_with_a_line_in_words(name: str) -> None:
    first = str(inspect.getdoc(getattr(fn, name))).split("\n")[0]
    assert first[0].isupper() or first[0] == "`"
    assert first.endswith((".", ":")) or "(" in first
    assert not re.search(r" = |->| {4,}", first.split("`")[0])


@pytest.mark.parametrize("name", functions())
def test_a_docstring_says_what_is_raised(name: str) -> None:
    assert re.search(r"\b[Rr]aises\b", str(inspect.getdoc(getattr(fn, name))))


@pytest.mark.parametrize("name", functions())
def test_the_errors_of_a_docstring_are_there(name: str) -> None:
    named = re.findall(r"\b[A-Z]\w+Error\b", str(inspect.getdoc(getattr(fn, name))))
    assert [error for error in named if not hasattr(fn, error) and not hasattr(builtins, error)] == []


EXAMPLE = re.compile(r"Example: `([^`]+)`", re.DOTALL)


@pytest.mark.parametrize("name", [name for name in functions() if EXAMPLE.search(str(getattr(fn, name).__doc__))])
def test_the_example_of_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = fn.network({1: fn.linear(4), 2: fn.tanh(), 3: fn.linear(1)}, {1: [2], 2: [3], 3: []})
    step = fn.train_step(net, fn.mse(), fn.adam(1e-3))
    params, _ = net.init(fn.key(0), (2,))
    x, target, key, epoch = np.ones((3200, 2), np.float32), np.zeros((3200, 1), np.float32), fn.key(1), 0
    names = {"fn": fn, "np": np, "net": net, "params": params, "x": x, "target": target, "y": target, "key": key}
    names |= {"step": step, "epoch": epoch, "data": (x[:64], target[:64]), "held_out": (x[:64], target[:64])}
    names |= {"logits": np.zeros((2, 3), np.float32), "labels": np.array([0, 2]), "state": step.init(params)}
    names |= {"updates": params, "Path": Path}
    if name in SPECIAL:
        exec(SPECIAL[name], names)
    found = EXAMPLE.search(str(inspect.getdoc(getattr(fn, name))))
    assert found
    exec(found[1], names)


SPECIAL = {
    "elementwise": "square = lambda x: (x * x, lambda g: g * (2.0 * x))",
    "scan": "step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)",
    "vmap": "step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)\n"
    "params = fn.tree.map(lambda p: np.stack([p, p]), params)",
    "fold_in": "step = 3",
    "custom_layer": "def init(key, shape, dtype=np.float32): return (), shape\n"
    "def function(params, x): return x, lambda g: ((), (g,))",
    "to_jax": "jax = __import__('pytest').importorskip('jax')\nto_jax = fn.to_jax",
}
"""What the example of a function takes for granted beside the usual names."""
