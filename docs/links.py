"""An extension of Sphinx: names in the text such as `fn.adam(1e-3)` lead to their entries in the reference."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx

NAME = re.compile(r"(?:fn|funcnet)\.([A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?", re.DOTALL)


def link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Make a reference of every name that stands alone, outside of links and titles, and has an entry."""
    entries = app.env.domains.python_domain.objects
    for literal in [*doctree.findall(nodes.literal)]:
        found = NAME.fullmatch(literal.astext())
        entry = entries.get(f"funcnet.{found[1]}") if found else None
        if entry is None or isinstance(literal.parent, (nodes.reference, nodes.title)):
            continue
        target = f"{app.builder.get_relative_uri(docname, entry.docname)}#{entry.node_id}"
        literal.replace_self(nodes.reference("", "", literal.deepcopy(), internal=True, refuri=target))


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True}
