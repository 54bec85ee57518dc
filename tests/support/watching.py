"""A module imported from code in hand, and what its functions do while others run: what calls them, with what types."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import time
from collections.abc import Generator, Sequence
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support.mutants import functions_of, nodes_of


class Replaced(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from code in hand."""

    def __init__(self, codes: dict[str, CodeType]) -> None:
        self.codes = codes

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """The module's spec, if it is one of these."""
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.codes else None

    def exec_module(self, module: Any) -> None:
        """Run the code."""
        exec(self.codes[module.__name__], module.__dict__)  # noqa: S102


class Seen:
    """What watched modules did: the functions called since `take`, by (module, line); operations, by (module, node)."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, int]] = set()
        self.of_arrays: set[tuple[str, int]] = set()
        self.of_numbers: set[tuple[str, int]] = set()

    def result(self, module: str, node: int, x: Any) -> Any:
        """The result of an operation, as it is."""
        array = isinstance(x, (np.ndarray, np.generic)) or type(x).__module__.startswith("funcnet.")
        (self.of_arrays if array else self.of_numbers).add((module, node))
        return x

    def take(self) -> frozenset[tuple[str, int]]:
        """The functions called since it was last asked."""
        taken = frozenset(self.functions)
        self.functions.clear()
        return taken

    def numbers(self) -> set[tuple[str, int]]:
        """The operations whose results were all numbers, tuples and the like: no array."""
        return self.of_numbers - self.of_arrays


def watched(source: str, module: str) -> ast.Module:
    """The module, whose functions and operations tell `_seen_`, a name to be known in every module, of themselves."""
    tree = ast.parse(source)
    places = {id(node): i for i, node in enumerate(ast.walk(tree))}
    for function, _ in functions_of(tree):
        operations = {id(node) for node, _ in nodes_of(function) if isinstance(node, ast.BinOp)}
        line = function.lineno
        _Telling(operations, places, module).visit(function)
        function.body.insert(0, ast.parse(f"_seen_.functions.add({(module, line)})").body[0])
    return ast.fix_missing_locations(tree)


class _Telling(ast.NodeTransformer):
    """Puts these operations into calls of `_seen_.result`."""

    def __init__(self, operations: set[int], places: dict[int, int], module: str) -> None:
        self.operations, self.places, self.module = operations, places, module

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:  # noqa: N802
        """The call."""
        place = self.places[id(node)]
        self.generic_visit(node)
        if id(node) not in self.operations:
            return node
        tell = ast.Attribute(ast.Name("_seen_", ast.Load()), "result", ast.Load())
        return ast.Call(tell, [ast.Constant(self.module), ast.Constant(place), node], [])


class Test(NamedTuple):
    """A test: its file, how many seconds it takes, and the functions that it calls."""

    file: str
    seconds: float
    calls: frozenset[tuple[str, int]]


class Watcher:
    """For pytest: notes what each test calls. What is called while tests are collected counts for all."""

    def __init__(self, seen: Seen) -> None:
        self.seen, self.tests = seen, dict[str, Test]()

    def pytest_collection_finish(self) -> None:
        """Note what the import of the tests has called."""
        self.at_import = self.seen.take()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run a test."""
        began = time.process_time()
        result = yield
        calls = self.seen.take() | self.at_import
        self.tests[item.nodeid] = Test(str(item.path), time.process_time() - began, calls)
        return result


class Chosen:
    """For pytest: runs these tests alone, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.order = {test: i for i, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the others."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order), key=lambda item: self.order[item.nodeid]
        )
