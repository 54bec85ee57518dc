"""The update of an optimizer as loops in C, for `jit` and `to_c`."""

from __future__ import annotations

import re
from typing import NamedTuple

from funcnet.native.updates import Update


class Places(NamedTuple):
    """The names in the loops of an update in C; `{}` is the name of a vector of the state.

    head: of a loop over all i.      hints: what stands before a loop, and before one that adds up a number.
    kept: how a new number of the state is written, for `{}`.      ends: where each array of params ends.
    """

    T: str
    head: str
    gradient: str
    params: str
    new_params: str
    state: str
    new_state: str
    hints: tuple[str, str] = ("", "")
    kept: str = "{}"
    ends: tuple[int, ...] = ()


def loops_of(update: Update, places: Places, finite: str = "") -> list[str]:
    """The update in C: a loop for each pass. finite: the name of a number that becomes NaN where a new param is not."""
    T, lines, factor = places.T, list[str](), ""
    for number, (own, after) in enumerate(update.passes()):
        body = [f"T u = {f'{factor} * ' if factor else ''}{places.gradient}[i];"]
        vectors = [v for v in update.vectors if any(v in (name, *re.findall(r"\w+", text)) for name, text in own)]
        body += [f"T {v} = {places.state.format(v)}[i];" for v in vectors]
        if not after or any("p" in re.findall(r"\w+", text) for _, text in own):
            body.insert(0, f"const T p = {places.params}[i];")
        body += [f"{'' if name == 'u' or name in vectors else 'const T '}{name} = {text};" for name, text in own]
        body += [f"{places.new_state.format(v)}[i] = {places.kept.format(v)};" for v in vectors]
        single = number in update.own_norms
        added = "" if single else "norm" if after else finite
        if after:
            body += [f"{places.gradient}[i] = u;"] * bool(own or factor) + ["norm += (double)u * u;"] * (not single)
        elif finite:
            body += ["const T sum = p + u;", f"{finite} += sum - sum;", f"{places.new_params}[i] = sum;"]
        else:
            body.append(f"{places.new_params}[i] = p + u;")
        hint = places.hints[bool(added)].format(added)
        loop = [*[hint] * bool(hint), places.head, *(f"    {line}" for line in body), "}"]
        if single:
            lines += [*loop * bool(own or factor), *own_norms(after, places)]
            factor = ""
            continue
        if after:
            factor = f"factor_{number}"
            loop = ["    " + line for line in ("double norm = 0;", *loop, "norm = sqrt(norm);")]
            loop = [f"T {factor};", "{", *loop, f"    {factor} = (T)({after});", "}"]
        lines += loop
    return [re.sub(r"\bT\b", T, line) for line in lines]


def own_norms(factor: str, places: Places) -> list[str]:
    """Each array of u multiplied by an expression of its own norm."""
    g = f"{places.gradient}[i]"
    return [
        "{",
        f"    static const long ends[] = {{{', '.join(map(str, (0, *places.ends)))}}};",
        f"    for (long k = 0; k < {len(places.ends)}; k++) {{",
        "        double norm = 0;",
        f"        {places.hints[1].format('norm')}",
        f"        for (long i = ends[k]; i < ends[k + 1]; i++) norm += (double){g} * {g};",
        "        norm = sqrt(norm);",
        f"        const T factor = (T)({factor});",
        f"        {places.hints[0]}",
        f"        for (long i = ends[k]; i < ends[k + 1]; i++) {g} *= factor;",
        "    }",
        "}",
    ]
