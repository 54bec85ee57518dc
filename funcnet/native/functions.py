"""The text of elementwise functions in C, read from `functions.h` beside this file."""

from __future__ import annotations

from importlib.resources import files

FUNCTIONS_H = files("funcnet.native").joinpath("functions.h").read_text(encoding="utf-8")
