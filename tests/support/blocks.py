"""Batches of a few rows, in blocks."""

from __future__ import annotations

import pytest

from funcnet.compiler import blocking


def run_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every batch of four rows or more run in blocks of two, where the program allows it."""
    for name, value in {"FEWEST": 2, "CACHE": 1, "LINE": 2}.items():
        monkeypatch.setattr(blocking, name, value)
