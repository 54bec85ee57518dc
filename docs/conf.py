"""The site of the docs: pages in Markdown, the reference from the docstrings. Building it needs no network."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "funcnet"
author = copyright = "The funcnet developers"
release = metadata.version("funcnet")

extensions = ["myst_nb", "docstrings", "links", "mathml"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"  # the outputs of notebooks are stored in them, and the tests hold them to what is printed
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"funcnet {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
highlight_language = "none"  # blocks that name no language are equations and commands

python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
