"""The code of a page: its blocks of Python, run in order, in one fresh namespace; what they print is on the page too.

`python pages.py README.md docs/tutorial.md` runs pages where nothing but funcnet is installed.
"""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

FENCE = re.compile(r"^```([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page, and the number of its first line."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in FENCE.finditer(text)]


def run(page: Path) -> list[str]:
    """Run a page; where a block of text follows one of Python, it must be what that one prints. What differs, told."""
    names: dict[str, Any] = {"__name__": "__main__"}  # so that a page can show how a script begins
    wrong: list[str] = []
    for block, after in pairwise([*blocks(page), Block("", "", 0)]):
        if block.language == "python":
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
            if after.language == "text" and printed.getvalue() != after.text:
                wrong.append(
                    f"{page.name}, line {after.line}: the page says\n{after.text}but printed is\n{printed.getvalue()}"
                )
    return wrong


if __name__ == "__main__":
    sys.exit("\n".join(told for page in sys.argv[1:] for told in run(Path(page))) or 0)
