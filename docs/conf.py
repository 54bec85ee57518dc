"""The site of the docs: pages in Markdown, the reference from the docstrings. Building it needs no network."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "funcnet"
author = copyright = "The funcnet developers"
release = metadata.version("funcnet")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "docstrings"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"funcnet {release}"

autodoc_type_aliases = {
    name: name
    for name in (
        "Array",
        "Connectivity",
        "DType",
        "Key",
        "Labels",
        "Matrix",
        "NetworkParams",
        "NoParams",
        "OperatorKey",
        "Operators",
        "Pullback",
        "Result",
        "Scalar",
        "Shape",
        "Vector",
    )
}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
