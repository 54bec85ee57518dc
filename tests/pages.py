"""The code of a page: its blocks of Python, run in order, in one fresh namespace; what they print is on the page too.

`python -P tests/pages.py README.md docs/tutorial.md` runs pages where nothing but funcnet is installed.
With `--write` before the pages, what their blocks print is written into them.
Notebooks are run the same way; `jupyter execute --inplace` writes what they print.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple

FENCE = re.compile(r"^```([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page, and the number of its first line."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; of a notebook its cells of code, and what they print."""
    if page.suffix == ".ipynb":
        return cells(page)
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in FENCE.finditer(text)]


def cells(notebook: Path) -> list[Block]:
    """The cells of code of a notebook, each followed by what it prints. A block's line is the number of its cell."""
    found: list[Block] = []
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            printed = [line for out in cell["outputs"] if out["output_type"] == "stream" for line in out["text"]]
            found += [Block("python", "".join(cell["source"]), number), Block("text", "".join(printed), number)]
    return found


class Difference(NamedTuple):
    """A block of text that is not what the block of Python before it prints."""

    block: Block
    printed: str


@contextmanager
def as_main() -> Iterator[dict[str, Any]]:
    """The names of a fresh main module, so that a page is a script whose functions pickle."""
    usual, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield vars(sys.modules["__main__"])
    finally:
        sys.modules["__main__"] = usual


def differences(page: Path) -> list[Difference]:
    """Run the Python of a page; a block of text that follows one must be what that one prints. Those that are not."""
    found: list[Difference] = []
    pairs = list(pairwise([*blocks(page), Block("", "", 0)]))
    with TemporaryDirectory() as folder, chdir(folder), as_main() as names:  # where pages may write files
        for block, after in pairs:
            if block.language == "python":
                printed = io.StringIO()
                with redirect_stdout(printed):
                    exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
                if after.language == "text" and printed.getvalue() != after.text:
                    found.append(Difference(after, printed.getvalue()))
    return found


def run(page: Path) -> list[str]:
    """Run a page, and tell where it says something else than it prints."""
    return [
        f"{page.name}, line {block.line}: the page says\n{block.text}but printed is\n{printed}"
        for block, printed in differences(page)
    ]


def rewrite(page: Path) -> None:
    """Put what the blocks print into the page."""
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    for block, printed in reversed(differences(page)):
        lines[block.line - 1 : block.line - 1 + block.text.count("\n")] = [printed]
    page.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        for path in sys.argv[2:]:
            rewrite(Path(path))
    else:
        sys.exit("\n".join(told for path in sys.argv[1:] for told in run(Path(path))) or 0)
