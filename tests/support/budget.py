"""How many examples the tests of properties try: all of them in the full run, a part in the plain one."""

from __future__ import annotations

from hypothesis import settings

FULL, PLAIN, HUNT = 150, 40, 5000
LEAST = 10


def examples(count: int) -> int:
    """For a test that asks for so many in the full run."""
    return min(count, max(LEAST, part(count))) if settings().max_examples < FULL else part(count)


def part(count: int) -> int:
    """In proportion to the profile."""
    return count * settings().max_examples // FULL
