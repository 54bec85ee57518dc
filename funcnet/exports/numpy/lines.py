"""Lines of Python: those that differ in numbers alone become a loop, and long ones are broken."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import NamedTuple

NUMBER = re.compile(r"(?<![\w.\"'-])(\d+)(?![\w.\"'])")
LONGEST, FEWEST = 40, 3  # lines of a loop, and how often it must run
WIDTH = 110


class Line(NamedTuple):
    """The text of a line around its whole numbers, and these."""

    texts: tuple[str, ...]
    numbers: tuple[int, ...]


def parsed(line: str) -> Line:
    """The line, taken apart."""
    parts = NUMBER.split(line)
    return Line(tuple(parts[::2]), tuple(map(int, parts[1::2])))


def rolled(lines: Sequence[str], index: str) -> list[str]:
    """The lines with loops over `index` in place of groups of lines whose numbers grow or shrink by steps."""
    parts, found, at = [*map(parsed, lines)], list[str](), 0
    while at < len(lines):
        length, count = longest(parts, at)
        if count < FEWEST:
            found.append(lines[at])
            at += 1
        else:
            found += loop(parts[at : at + length], parts[at + length : at + 2 * length], count, index)
            at += length * count
    return found


def longest(parts: Sequence[Line], at: int) -> tuple[int, int]:
    """(lines, repetitions) of the loop from here that covers most lines, the shortest of such."""
    best = (1, 1)
    for length in range(1, min(LONGEST, (len(parts) - at) // FEWEST) + 1):
        if parts[at].texts != parts[at + length].texts:
            continue
        count = repetitions(parts, at, length)
        if count >= FEWEST and length * count > best[0] * best[1]:
            best = length, count
    return best


def repetitions(parts: Sequence[Line], at: int, length: int) -> int:
    """How often the lines come again, each time with the same steps from number to number."""
    count, steps = 1, list[tuple[int, ...]]()
    for start in range(at + length, len(parts) - length + 1, length):
        now, before = parts[start : start + length], parts[start - length : start]
        if any(a.texts != b.texts for a, b in zip(now, before, strict=True)):
            break
        moved = [
            tuple(x - y for x, y in zip(a.numbers, b.numbers, strict=True)) for a, b in zip(now, before, strict=True)
        ]
        if steps and moved != steps:
            break
        steps = moved
        count += 1
    return count


def loop(first: Sequence[Line], second: Sequence[Line], count: int, index: str) -> list[str]:
    """The loop, from its first two rounds. It counts as the first number does that moves by 1, else from 0."""
    pairs = [(a, b - a) for x, y in zip(first, second, strict=True) for a, b in zip(x.numbers, y.numbers, strict=True)]
    begin, step = next(((a, d) for a, d in pairs if abs(d) == 1), (0, 1))
    heads = {1: f"{begin + count}" if begin == 0 else f"{begin}, {begin + count}", -1: f"{begin}, {begin - count}, -1"}
    lines = [f"for {index} in range({heads[step]}):"]
    for a, b in zip(first, second, strict=True):
        numbers = [term(x, (y - x) * step, begin, index) for x, y in zip(a.numbers, b.numbers, strict=True)]
        lines.append("    " + "".join(text + number for text, number in zip(a.texts, [*numbers, ""], strict=True)))
    return lines


def term(start: int, step: int, begin: int, index: str) -> str:
    """A number that is `start` where the index is `begin`, and moves by so much with it."""
    if not step:
        return str(start)
    rest = start - step * begin
    if step == -1:
        return f"{rest} - {index}"
    by = index if step == 1 else f"{step} * {index}"
    return by if not rest else f"{by} {'+' if rest > 0 else '-'} {abs(rest)}"


def broken(line: str) -> Iterator[str]:
    """The line, broken behind commas where it is long: those within the fewest brackets that do."""
    indent, before, start = " " * (len(line) - len(line.lstrip()) + 4), "", 0
    commas = [*commas_of(line)] if len(line) > WIDTH else []
    while len(before) + len(line) - start > WIDTH:
        fitting = [(depth, -end) for depth, end in commas if start < end <= start + WIDTH - len(before)]
        if not fitting:
            break
        end = -min(fitting)[1]
        yield before + line[start:end]
        start, before = end + 1, indent
    yield before + line[start:]


def commas_of(line: str) -> Iterator[tuple[int, int]]:
    """Within how many brackets each comma stands, and where it ends."""
    skipped, depth = len(line) - len(line.lstrip()), 0
    for token in tokenize.generate_tokens(StringIO(line.lstrip()).readline):
        depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
        if token.string == ",":
            yield depth, skipped + token.end[1]
