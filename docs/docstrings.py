"""An extension of Sphinx: the public names of a module, with their docstrings; equations stay as they are typed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import isclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, ClassVar, get_origin

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import funcnet

COLUMNS = re.compile(r"(?<=\S) {4,}(?=\S)")
CODE = re.compile(r" |def |return |\S+(\(\w\))? = |.*\S {4,}\S")
ITEM = re.compile(r"(Shapes|Params|Inputs|Source|[a-z_]+(?:, [a-z_]+)*): |(Raises) ")


def restructured(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText: equations and code as they are typed, options and the like as a list."""
    marked = [(kind(line), line) for line in lines]
    found: list[str] = []
    for what, group in groupby(joined(marked), key=lambda pair: pair[0]):
        texts = [text for _, text in group]
        if what == "code":
            found += ["", "::", "", *(f"    {part}" for text in texts for part in COLUMNS.split(text))]
        else:
            found += ["", *(item(text) if what == "item" else inline(text) for text in texts)]
    return [*found, ""]


def kind(line: str) -> str:
    """What a line is, seen alone."""
    if not line.strip():
        return "blank"
    return "code" if CODE.match(line) else "item" if ITEM.match(line) else "text"


def joined(marked: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The lines, an item's in one; a blank line ends an item."""
    current: list[str] = []
    for what, line in [*marked, ("blank", "")]:
        if current and what == "text":
            current.append(line)
            continue
        if current:
            yield "item", " ".join(current)
        current = [line] if what == "item" else []
        if what in ("code", "text"):
            yield what, line
        elif what == "blank":
            yield "text", ""


def item(line: str) -> str:
    """An entry of a list, which begins with what it is about."""
    found = ITEM.match(line)
    assert found
    return f"* **{inline(found[1] or found[2])}**{':' * bool(found[1])} {inline(line[found.end() :])}"


def inline(line: str) -> str:
    """A line in which backticks mark code, and nothing else has a meaning."""
    pieces = line.split("`")
    escaped = [re.sub(r"([*_|\\])", r"\\\1", piece) for piece in pieces[::2]]
    code = [f"``{piece}``" for piece in pieces[1::2]]
    return "".join(text for pair in zip(escaped, [*code, ""], strict=True) for text in pair)


def process(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """What autodoc calls with every docstring."""
    lines[:] = restructured(lines)


class Public(SphinxDirective):
    """`.. public:: funcnet.losses` documents what funcnet hands on from this module, in the module's order.

    With `:qualified:`, what the module itself declares public, under the module's name.
    """

    required_arguments = 1
    has_content = False
    option_spec: ClassVar[dict[str, Any]] = {"qualified": directives.flag}

    def run(self) -> list[nodes.Node]:
        """The nodes that autodoc makes."""
        module = import_module(self.arguments[0])
        if "qualified" in self.options:
            lines = [line for name in module.__all__ for line in entry(module, name, "")]
        else:
            handed_on = [(name, text) for name, text in defined(module) if name in funcnet.__all__]
            lines = [line for name, text in handed_on for line in entry(funcnet, name, text)]
        lines = [f".. currentmodule:: {module.__name__ if 'qualified' in self.options else 'funcnet'}", "", *lines]
        return self.parse_text_to_nodes(StringList(lines, source=module.__name__))


def defined(module: Any) -> Iterator[tuple[str, str]]:
    """The classes, functions and aliases that a module defines. An alias without a string under it is private."""
    body = ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
    overloads: set[str] = set()
    for node, after in pairwise([*body, ast.Pass()]):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in overloads:
            overloads.add(node.name)
            yield node.name, ""
        elif isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
            yield ast.unparse(node.target), ast.literal_eval(after.value)


def entry(home: Any, name: str, text: str) -> list[str]:
    """The directive that documents one name, with the string under it where it is an alias."""
    thing, full = getattr(home, name), f"{home.__name__}.{name}"
    if isclass(thing) and get_origin(thing) is None:
        return [f".. autoclass:: {full}", ""]
    if callable(thing) and hasattr(thing, "__code__"):
        return [f".. autofunction:: {full}", ""]
    return [f".. py:data:: {name}", "", *(f"    {line}" for line in restructured(text.split("\n"))), ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    app.connect("autodoc-process-docstring", process)
    app.add_directive("public", Public)
    return {"parallel_read_safe": True}
