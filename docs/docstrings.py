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
from sphinx.util.inspect import TypeAliasForwardRef

import funcnet

COLUMNS = re.compile(r"(?<=\S) {4,}(?=\S)")
CODE = re.compile(r" |def |\S+(\(\w\))? = |.*\S {4,}\S")
ANY, NP = r"~?(typing\.)?Any", r"~?(numpy\.)?"
ARRAY = re.compile(rf"{NP}ndarray\[{ANY}, {NP}dtype\[{NP}floating\[{ANY}\]{{3}}")
MARKUP = re.compile(r"`([^`]+)`|([*_|\\`])")
ITEM = re.compile(r"(Shapes|Params|Inputs|Source|[a-z_]+(?:, [a-z_]+)*): |(Raises) ")


def restructured(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText: equations and code as they are typed, options and the like as a list."""
    found: list[str] = []
    for what, group in groupby(parts(lines), key=lambda part: part[0]):
        texts = [text for _, text in group]
        if what == "code":
            found += ["", "::", "", *(f"    {column}" for text in texts for column in COLUMNS.split(text))]
        elif what == "item":
            found += ["", *map(item, texts)]
        else:
            found += [line for text in texts for line in ("", inline(text))]
    return [*found, ""]


def parts(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The lines of code, and the paragraphs and items, each in one line, with what they are."""
    current, text = "", ""
    apart = [part for line in lines for part in (COLUMNS.split(line) if ITEM.match(line) else [line])]
    for what, line in [*((kind(line), line) for line in apart), ("blank", "")]:
        if what == "text" and current:
            text = f"{text} {line}"
            continue
        if current:
            yield current, text
        current, text = (what, line) if what in ("item", "text") else ("", "")
        if what == "code":
            yield what, line


def kind(line: str) -> str:
    """What a line is, seen alone."""
    if not line.strip():
        return "blank"
    return "item" if ITEM.match(line) else "code" if CODE.match(line) else "text"


def item(line: str) -> str:
    """An entry of a list, which begins with what it is about."""
    found = ITEM.match(line)
    assert found
    return f"* **{inline(found[1] or found[2])}**{':' * bool(found[1])} {inline(line[found.end() :])}"


def inline(line: str) -> str:
    """A line in which backticks mark code, and nothing else has a meaning."""
    return MARKUP.sub(lambda m: f"``{m[1]}``" if m[1] else f"\\{m[2]}", line)


def process(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """What autodoc calls with every docstring."""
    lines[:] = restructured(lines)


def short(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A signature in which arrays go by their alias, also where a type variable's default brings them in."""
    return signature and ARRAY.sub("Array", signature), returns and ARRAY.sub("Array", returns)


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
    TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # which is what signatures of overloads show
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", short)
    app.add_directive("public", Public)
    return {"parallel_read_safe": True}
