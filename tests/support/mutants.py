"""Mutants of a kernel, or of a rule of the compiler: its source with one thing changed, as written in a hurry.

Each is a place in the syntax tree and what stands there instead. Its name is the function, the text before and the text
after, so that it stays the same when lines move.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

FLIPPED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}
UFUNCS: dict[type[ast.operator], str] = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
OF_RULES = frozenset({"condition", "off by one", "dropped branch", "sign", "neighbour", "order"})
"""The kinds of change that the rules of the compiler are given: they decide and count, and compute with no arrays."""
OF_ARRAYS = frozenset({"upcast", "in place"})
"""The kinds that change nothing where an operation is one of numbers."""
NEIGHBOURS = {"maximum": "minimum", "minimum": "maximum", "expm1": "exp", "log1p": "log", "max": "min", "sum": "max"}


def upcast(x: Any) -> Any:
    """float32 made float64, as a constant of NumPy's own does."""
    return x.astype("float64") if type(x).__module__ == "numpy" and x.dtype == "float32" else x


def written(ufunc: Any, x: Any, *others: Any) -> Any:
    """The result, written over the first argument where that can be."""
    shapes = [getattr(y, "shape", ()) for y in (x, *others)]
    fits = type(x).__name__ == "ndarray" and np.broadcast_shapes(*shapes) == x.shape
    return ufunc(x, *others, **({"out": x} if fits else {}))


HELPERS = {"_upcast_": upcast, "_written_": written}
"""What some changes call, by names that are to be known in every module."""


class Mutant(NamedTuple):
    """One change: of which kind, in which function, to which node (by its place in `ast.walk`), into what."""

    kind: str
    function: str
    lines: tuple[int, int]
    """Those of the outermost function, or (0, 0) for a constant of the module."""
    node: int
    replacement: ast.expr
    text: str

    def __str__(self) -> str:
        """Its name."""
        return f"{self.function}: {self.text}"


def mutants(source: str, rules: bool = False) -> list[Mutant]:
    """All mutants of a module of kernels, or of rules; those that read alike are numbered."""
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for mutant in _mutants(ast.parse(source), rules):
        if rules and mutant.kind not in OF_RULES:
            continue
        seen[str(mutant)] += 1
        count = seen[str(mutant)]
        found.append(mutant._replace(text=f"{mutant.text} #{count}") if count > 1 else mutant)
    return found


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The module with that change, which may call HELPERS."""
    tree = ast.parse(source)
    old = list(ast.walk(tree))[mutant.node]
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, copy.deepcopy(mutant.replacement))
            elif isinstance(value, list) and any(x is old for x in value):
                setattr(parent, name, [copy.deepcopy(mutant.replacement) if x is old else x for x in value])
    return ast.fix_missing_locations(tree)


def functions_of(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, str]]:
    """The functions of a module and the methods of its classes, by name."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            yield statement, statement.name
        elif isinstance(statement, ast.ClassDef):
            for method in statement.body:
                if isinstance(method, ast.FunctionDef):
                    yield method, f"{statement.name}.{method.name}"


def _mutants(tree: ast.Module, rules: bool) -> Iterator[Mutant]:
    places = {id(node): i for i, node in enumerate(ast.walk(tree))}
    for function, name in functions_of(tree):
        if rules or (is_kernel(function) and name == function.name):
            yield from _of_function(function, places, name)
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and is_number(statement.value):
            target = ast.unparse(statement.targets[0])
            for number in ast.walk(statement.value):
                if isinstance(number, ast.Constant):
                    for kind, new in constants(number):
                        text = f"{ast.unparse(number)} -> {ast.unparse(new)} ({kind})"
                        yield Mutant(kind, target, (0, 0), places[id(number)], new, text)


def _of_function(function: ast.FunctionDef, places: dict[int, int], name: str) -> Iterator[Mutant]:
    lines = (function.lineno, function.end_lineno or 0)
    for node, names in nodes_of(function):
        for kind, new in changes(node, names):
            what = "" if kind in ("upcast", "in place") else f" -> {ast.unparse(new)}"
            text = f"{ast.unparse(node)}{what} ({kind})"
            yield Mutant(kind, name, lines, places[id(node)], new, text)


def is_kernel(function: ast.FunctionDef) -> bool:
    """Whether this computes: constructors of layers, which begin no name with an underscore, only put together."""
    returned = ast.unparse(function.returns) if function.returns else ""
    return not returned.startswith("Layer[")


def is_number(value: ast.expr) -> bool:
    """Whether this is a number, or a tuple of numbers."""
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    return all(isinstance(x.operand if isinstance(x, ast.UnaryOp) else x, ast.Constant) for x in parts) and not any(
        isinstance(x, ast.Constant) and not isinstance(x.value, (int, float)) for x in parts
    )


def nodes_of(function: ast.FunctionDef) -> Iterator[tuple[ast.expr, list[str]]]:
    """The expressions of a function, and, inside its pullback, the names that could be mistaken for one another.

    Annotations and the words of an error are nobody's mathematics.
    """
    inputs = [a.arg for a in (*function.args.args, *([function.args.vararg] if function.args.vararg else []))]
    assigned = [n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names = list(dict.fromkeys(name for name in (*inputs, *assigned) if name != "params"))

    def walk(node: ast.AST, known: list[str]) -> Iterator[tuple[ast.expr, list[str]]]:
        if isinstance(node, (ast.Raise, ast.JoinedStr)):
            return
        if isinstance(node, ast.expr):
            yield node, known
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "args", "decorator_list") and isinstance(
                node, (ast.FunctionDef, ast.Lambda, ast.AnnAssign, ast.arg)
            ):
                continue
            inner = names if node is not function and isinstance(node, (ast.FunctionDef, ast.Lambda)) else known
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, inner)

    for part in function.body:
        yield from walk(part, [])


def changes(node: ast.expr, names: list[str]) -> Iterator[tuple[str, ast.expr]]:
    """(kind, what stands in its place) for one expression."""
    if isinstance(node, ast.BinOp):
        yield from operations(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield ("sign" if isinstance(node.op, ast.USub) else "condition"), node.operand
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield "transpose", node.value
    elif isinstance(node, ast.Call):
        yield from calls(node)
    elif isinstance(node, ast.Constant):
        yield from constants(node)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        yield "condition", ast.Compare(node.left, [COMPARED[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BoolOp):
        for i, _ in enumerate(node.values):
            rest = node.values[:i] + node.values[i + 1 :]
            yield "condition", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.IfExp):
        yield "dropped branch", node.body
        yield "dropped branch", node.orelse
    elif isinstance(node, ast.Tuple) and names and len(node.elts) > 1 and isinstance(node.ctx, ast.Load):
        yield "wrong residual", ast.Tuple([node.elts[1], node.elts[0], *node.elts[2:]], ast.Load())
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and node.slice.step is not None:
        yield "order", node.value
    elif isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
        others = [name for name in names if name != node.id]
        for other in others[:2]:
            yield "wrong residual", ast.Name(other, ast.Load())


def operations(node: ast.BinOp) -> Iterator[tuple[str, ast.expr]]:
    """Changes of a sum, a product and the like."""
    kind = "sign" if isinstance(node.op, (ast.Add, ast.Sub)) else "factor"
    if type(node.op) in FLIPPED:
        yield kind, ast.BinOp(node.left, FLIPPED[type(node.op)](), node.right)
    if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
        dropped = "factor" if kind == "factor" else "dropped branch"
        yield dropped, node.left
        if isinstance(node.op, (ast.Add, ast.Mult)):
            yield dropped, node.right
        yield "upcast", ast.Call(ast.Name("_upcast_", ast.Load()), [node], [])
        if isinstance(node.left, ast.Name):
            ufunc = ast.Attribute(ast.Name("np", ast.Load()), UFUNCS[type(node.op)], ast.Load())
            yield "in place", ast.Call(ast.Name("_written_", ast.Load()), [ufunc, node.left, node.right], [])
    if isinstance(node.op, ast.MatMult):
        yield "transpose", ast.BinOp(node.right, ast.MatMult(), node.left)


def calls(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Changes of a call: the function left out, or taken for its neighbour; an axis taken for another."""
    if not isinstance(node.func, ast.Attribute):
        return
    method, of_numpy = node.func.attr, isinstance(node.func.value, ast.Name) and node.func.value.id == "np"
    plain = node.args and not any(isinstance(x, ast.Starred) for x in node.args)
    if of_numpy and plain and len(node.args) <= 2 and method not in ("copyto", "full_like", "empty_like", "arange"):
        yield "dropped branch", node.args[0]
        if len(node.args) == 2:
            yield "dropped branch", node.args[1]
        elif isinstance(node.args[0], ast.Name) and isinstance(getattr(np, method), np.ufunc):
            yield "in place", ast.Call(ast.Name("_written_", ast.Load()), [node.func, node.args[0]], [])
    if not of_numpy and method in ("sum", "max"):
        yield "missing sum", node.func.value
    if method in NEIGHBOURS:
        func = ast.Attribute(node.func.value, NEIGHBOURS[method], ast.Load())
        yield "neighbour", ast.Call(func, node.args, node.keywords)
    for i, keyword in enumerate(node.keywords):
        if keyword.arg == "axis":
            other = 0 if ast.unparse(keyword.value) == "-1" else -1
            keywords = [*node.keywords[:i], ast.keyword("axis", ast.Constant(other)), *node.keywords[i + 1 :]]
            yield "axis", ast.Call(node.func, node.args, keywords)


def constants(node: ast.Constant) -> Iterator[tuple[str, ast.expr]]:
    """Changes of a number; integers count things, so they are off by one."""
    if isinstance(node.value, float):
        yield "factor", ast.Constant(node.value * 2.0 if node.value else 1.0)
        yield "eps", ast.Constant(node.value * (1.0 + 1e-5) if node.value else 1e-5)
    elif type(node.value) is int:
        yield "off by one", ast.Constant(node.value + 1)
