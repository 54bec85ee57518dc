"""An extension of Sphinx: the public names of a module, with their docstrings; equations stay as they are typed."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc, isclass, unwrap
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
CODE = re.compile(r" |def |\S+(\(\w\))? = |.*\S {4,}\S")
PYTHON = re.compile(r"def |import |.*\bfn\.\w+\(")
MARKUP = re.compile(r"`([^`]+)`|([*_|\\`])")
ITEM = re.compile(r"(Shapes|Params|Inputs|Source|[a-z_]+(?:, [a-z_]+)*): |(Raises) ")


def restructured(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText: equations and code as they are typed, options and the like as a list."""
    found: list[str] = []
    for what, group in groupby(parts(lines), key=lambda part: part[0]):
        texts = [text for _, text in group]
        if what == "code":
            language = "python" if any(map(PYTHON.match, texts)) else "none"
            columns = [f"    {column}" for text in texts for column in COLUMNS.split(text)]
            found += ["", f".. code-block:: {language}", "", *columns]
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


class Public(SphinxDirective):
    """`.. public:: funcnet.losses` documents what funcnet hands on from this module, in the module's order.

    With `:qualified:`, what the module itself declares public, under the module's name.
    """

    required_arguments = 1
    has_content = False
    option_spec: ClassVar[dict[str, Any]] = {"qualified": directives.flag}

    def run(self) -> list[nodes.Node]:
        """The nodes of the entries."""
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
    thing = getattr(home, name)
    if isclass(thing) and get_origin(thing) is None:
        return directive("class", [name + fields(source_of(thing)[0])], thing.__doc__)
    if callable(thing) and hasattr(thing, "__code__"):
        return directive("function", [name + signature(node) for node in source_of(thing)], thing.__doc__)
    return directive("data", [name], text)


def directive(kind: str, signatures: list[str], docstring: str | None) -> list[str]:
    """A directive of Sphinx for one object, of one signature or several."""
    first, *others = signatures
    body = restructured(cleandoc(docstring or "").split("\n"))
    lines = [f".. py:{kind}:: {first}", *(f"{'':{len(kind) + 9}}{other}" for other in others), ""]
    return [*lines, *(f"    {line}" for line in body), ""]


def source_of(thing: Any) -> list[Any]:
    """The definition of a function or class as it is written; of an overloaded function all overloads."""
    plain = unwrap(thing)
    body = ast.parse(Path(sys.modules[plain.__module__].__file__ or "").read_text(encoding="utf-8")).body
    found = [node for node in body if getattr(node, "name", None) == plain.__name__]
    return found[:-1] if len(found) > 1 else found


def signature(node: ast.FunctionDef) -> str:
    """The parameters and the result, with their types as they are written."""
    for parameter in [*node.args.args[:1]]:
        if parameter.arg in ("self", "cls"):
            node.args.args.remove(parameter)
    result = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    return f"({ast.unparse(node.args)}){result}"


def fields(node: ast.ClassDef) -> str:
    """The parameters of a class: those of `__init__`, or the fields of a NamedTuple."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return signature(part)
    if any(ast.unparse(base).startswith("NamedTuple") for base in node.bases):
        return f"({', '.join(ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign))})"
    return ""


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    app.add_directive("public", Public)
    return {"parallel_read_safe": True}
