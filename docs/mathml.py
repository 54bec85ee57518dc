"""An extension of Sphinx: formulas become MathML while the site is built: pages need no script and no network."""

from __future__ import annotations

from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

SPACE = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", SPACE)


def mathml(formula: str, *, as_block: bool = False) -> str:
    r"""The MathML of a formula. An index goes beside an accented letter, not below it: \bar{v}_4."""
    text = tex2mathml(formula, as_block=as_block)
    text = text.replace("<mo>&ApplyFunction;</mo>", '<mspace width="0.17em" />')  # tanh x, not tanhx
    tree = ElementTree.fromstring(text)
    for element in [*tree.iter(f"{{{SPACE}}}munderover")]:
        letter, index, accent = element
        if letter.tag != f"{{{SPACE}}}mo":
            accented = ElementTree.Element(f"{{{SPACE}}}mover")
            accented.extend([letter, accent])
            element.tag = f"{{{SPACE}}}msub"
            element[:] = [accented, index]
    for element in tree.iter(f"{{{SPACE}}}mover"):
        element.set("accent", "false")  # as an accent, fonts without a table of accents put it into the letter
    return ElementTree.tostring(tree, encoding="unicode")


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """A formula in a line of text."""
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """A formula by itself, which scrolls where the screen is narrow."""
    translator.body.append(f'<div class="math">{mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer; `html_math_renderer = "mathml"` chooses it."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
