"""The tables of names in the docs: a row for each operator, and names that the frameworks really have."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import funcnet as fn

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"


class Row(NamedTuple):
    """A row of a table: the names in code of each column, by the column's heading."""

    name: str
    equation: str
    elsewhere: dict[str, list[str]]


def rows() -> list[Row]:
    """All rows of all tables of the page."""
    found: list[Row] = []
    heading: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| funcnet"):
            heading = cells
        elif line.startswith("| `"):
            names = {column: re.findall("`([^`]*)`", cell) for column, cell in zip(heading, cells, strict=True)}
            found.append(Row(names.pop("funcnet")[0], cells[1], names))
    return found


def names_in(column: str) -> list[str]:
    return sorted({name for row in rows() for name in row.elsewhere.get(column, [])})


def belongs(name: str) -> bool:
    """Whether it makes a layer, an optimizer or a schedule, or is a metric."""
    thing = getattr(fn, name)
    if not inspect.isfunction(thing):
        return False
    made = str(inspect.signature(thing).return_annotation)
    return made.startswith(("Layer[", "Optimizer", "Schedule")) or thing.__module__ == "funcnet.training.metrics"


def test_every_operator_and_optimizer_has_a_row_and_only_one() -> None:
    assert sorted(row.name for row in rows()) == sorted(filter(belongs, fn.__all__))


def test_every_row_has_an_equation_and_a_word_on_each_framework() -> None:
    for row in rows():
        assert row.equation
        assert len(row.elsewhere) >= 3
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        assert not re.search(r"\|\s*\|", line), line


@pytest.mark.parametrize(
    ("framework", "column"), [("jax", "JAX"), ("optax", "Optax"), ("torch", "PyTorch"), ("sklearn", "scikit-learn")]
)
def test_the_frameworks_have_these_names(framework: str, column: str) -> None:
    pytest.importorskip(framework)
    names = [name for name in names_in(column) if "." in name]
    assert len(names) > 2
    for name in names:
        first, *rest = name.split(".")
        importlib.import_module(".".join([first, *rest[:-1]]))
        assert reduce(getattr, rest, importlib.import_module(first)) is not None


def test_onnx_has_these_operators() -> None:
    onnx: Any = pytest.importorskip("onnx")
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    assert set(names_in("ONNX")) <= known
