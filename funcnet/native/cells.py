"""Recurrent calls as calls of the C functions of `cells.h`: a loop over sequences, and one back over times."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from importlib.resources import files
from typing import Any, Protocol

from funcnet.compiler.buffers import written
from funcnet.tracing.recurrence import unpacked
from funcnet.tracing.trace import Call, Value

CELLS_H = files("funcnet.native").joinpath("cells.h").read_text(encoding="utf-8")


class Lines(Protocol):
    """Where lines of C go, and how values are called there."""

    T: str

    def put(self, *lines: str) -> None:
        """Lines of C."""
        ...

    def element(self, value: Value, indices: Sequence[str]) -> str:
        """The element of a value at these indices."""
        ...

    def steps(self, value: Value) -> Sequence[int]:
        """How many elements apart in memory its elements are along each axis."""
        ...

    def cell(self, name: str) -> str:
        """The name of a function of `cells.h`."""
        ...

    def refuse(self, call: Call, wrong: str, instead: str) -> list[str]:
        """Lines that leave the function where a call reads what is wrong, or do something instead and set a status."""
        ...


def functions(names: Collection[str]) -> list[str]:
    """The functions of `cells.h` of these names and those that they call, in its order."""
    texts = {re.findall(r"fn_\w+", text)[0]: text for text in re.findall(r"^static (?:.|\n)*?^}\n", CELLS_H, re.M)}
    needed, wanted = set[str](), {*names}
    while wanted:
        needed |= wanted
        wanted = {used for name in wanted for used in re.findall(r"fn_\w+", texts[name])} - needed
    return [text for name, text in texts.items() if name in needed]


def put_call(w: Lines, name: str, *arguments: Any) -> None:
    """A line that calls a function."""
    w.put(f"{w.cell(name)}({', '.join(map(str, arguments))});")


def kept(w: Lines, value: Value, feature: int = 0) -> list[Any]:
    """What is kept of sequence n: its address at a feature and the first time, and the steps of features and times."""
    features, _, times = w.steps(value)
    return [f"&{w.element(value, [str(feature), 'n', '0'])}", features, times]


def all_kept(w: Lines, *values: Value) -> list[Any]:
    """The same of several arrays."""
    return [argument for value in values for argument in kept(w, value)]


def rows_of(w: Lines, value: Value, feature: int = 0) -> list[Any]:
    """Sequence n in an input or output, and the steps of features and, if it has times, of these."""
    place = ["n", *["0"] * (value.ndim - 2), str(feature)]
    return [f"&{w.element(value, place)}", *reversed(w.steps(value)[1:])]


def matrix(w: Lines, value: Value, row: int = 0) -> list[Any]:
    """A matrix from a row on, and its steps."""
    return [f"&{w.element(value, [str(row), '0'])}", *w.steps(value)]


def made(call: Call) -> Sequence[Value]:
    """The outputs that need memory: those that something reads, and what steps keep for the next ones."""
    return call.outputs if call.primitive.name in FORWARD or len(call.outputs) == 1 else written(call)


class Cell:
    """A recurrent call of sequences: how its values are handed to the functions.

    end: where each sequence ends.      first: the state before the first time, if it is given.
    """

    def __init__(self, w: Lines, call: Any, count: int) -> None:
        self.w = w
        self.call = call
        self.given: list[Any]
        self.lengths: Any
        self.first: Any
        *self.given, self.lengths, self.first = unpacked(call.inputs, count, call.attributes)
        self.written: set[int] = {id(y) for y in written(call)}

    def begin(self, rows: int, times: int, *local: str, checks: bool) -> None:
        """The loop over sequences, which ends with `end`."""
        w, end = self.w, str(times)
        lines = [f"{w.T} {', '.join(local)};"]
        if self.lengths is not None:
            wrong, end = f"end < 0 || end > {times}", "end"
            refused = w.refuse(self.call, wrong, "end = 0;") if checks else [f"if ({wrong}) end = 0;"]
            lines += [f"long end = (long){w.element(self.lengths, ['n'])};", *refused]
        self.end: str = end
        w.put(f"for (long n = 0; n < {rows}; n++) {{", *lines)

    def put_states(self, states: Value, x: Value, *parts: list[Any]) -> None:
        """All but what the steps compute. parts: h, or h and c, before the first time."""
        size = self.size_of(states, x)
        put_call(
            self.w, "fn_states", states.shape[2], x.shape[2], size, self.end, *rows_of(self.w, x), *kept(self.w, states)
        )
        for i, part in enumerate(parts):
            first = ["NULL", 0] if self.first is None else rows_of(self.w, self.first, i * size)
            put_call(self.w, "fn_begin", size, *(["0", 0] if self.first is None else first), *part[:2])

    def size_of(self, states: Value, x: Value) -> int:
        """The units: the states are [h; 1; x]."""
        return int(states.shape[0] - x.shape[2] - 1)

    def put_results(self, size: int, *parts: list[Any]) -> None:
        """The output, and the end of the loop. parts: h, or h and c, at all times."""
        y = self.call.outputs[0]
        for i, part in enumerate(parts[: y.shape[-1] // size] if id(y) in self.written else []):
            to = rows_of(self.w, y, i * size)
            if y.ndim == 2:
                put_call(self.w, "fn_last", size, self.end, *part, *to)
            else:
                put_call(self.w, "fn_all", y.shape[1], size, self.end, *part, *to)
        self.w.put("}")

    def put_back(self, times: int, size: int, step: Callable[[str], None], *cotangents: str) -> None:
        """From the last time to the first: what arrives there, and the step."""
        self.w.put(*(f"for (long u = 0; u < {size}; u++) {d}[u] = 0;" for d in cotangents))
        self.put_arriving(str(times), size, *cotangents)
        self.w.put(f"for (long t = {times - 1}; t >= 0; t--) {{")
        step("t")
        self.put_arriving("t", size, *cotangents)
        self.w.put("}")
        of_first = self.call.outputs[2]
        for i, d in enumerate(cotangents if id(of_first) in self.written else ()):
            to = self.w.element(of_first, ["n", f"({i * size} + u)"])
            self.w.put(f"for (long u = 0; u < {size}; u++) {to} = {d}[u];")

    def put_arriving(self, time: str, size: int, *cotangents: str) -> None:
        """Add the cotangents of the output at the state before a time."""
        g = self.given[0]
        name = "fn_from_last" if g.ndim == 2 else "fn_from_all"
        for i, d in enumerate(cotangents[: g.shape[-1] // size]):
            put_call(self.w, name, time, size, self.end, *rows_of(self.w, g, i * size), d)

    def put_of_inputs(self, dz: Value, gate: int, weights: Value, row: int) -> None:
        """dx = W dz at each time, and the end of the loop."""
        dx = self.call.outputs[1]
        if id(dx) in self.written:
            _, times, features = dx.shape
            to, feature, time = rows_of(self.w, dx)
            at, gate_step, time_step = kept(self.w, dz, gate)
            arguments = [features, weights.shape[1], *matrix(self.w, weights, row)]
            self.w.put(f"for (long t = 0; t < {times}; t++) {{")
            put_call(
                self.w, "fn_carry", *arguments, f"{at} + t * {time_step}", gate_step, f"{to} + t * {time}", feature
            )
            self.w.put("}")
        self.w.put("}")


def _rnn(w: Lines, call: Any) -> None:
    cell = Cell(w, call, 2)
    (x, M), (_, states) = cell.given, call.outputs
    size, times = M.shape[1], x.shape[1]
    cell.begin(x.shape[0], times, f"z[{size}]", checks=True)
    h = kept(w, states)
    cell.put_states(states, x, h)
    put_call(w, "fn_rnn", times, M.shape[0], size, *matrix(w, M), *h, "z")
    cell.put_results(size, h)


def _rnn_back(w: Lines, call: Any) -> None:
    cell = Cell(w, call, 3)
    (_, M, states), dz = cell.given, call.outputs[0]
    size, times = M.shape[1], dz.shape[2]
    cell.begin(dz.shape[1], times, f"dh[{size}]", checks=False)

    def step(t: str) -> None:
        put_call(w, "fn_rnn_back", t, size, *matrix(w, M), *kept(w, states), *kept(w, dz), "dh")

    cell.put_back(times, size, step, "dh")
    cell.put_of_inputs(dz, 0, M, size + 1)


def _lstm(w: Lines, call: Any) -> None:
    cell = Cell(w, call, 2)
    (x, M), (_, states, gates, tanh_c) = cell.given, call.outputs
    size, times = M.shape[1] // 4, x.shape[1]
    cell.begin(x.shape[0], times, f"z[{4 * size}]", checks=True)
    h, c = kept(w, states), kept(w, gates, 4 * size)
    cell.put_states(states, x, h, c)
    arrays = [*matrix(w, M), *all_kept(w, states, gates, tanh_c)]
    put_call(w, "fn_lstm", times, M.shape[0], size, *arrays, "z")
    cell.put_results(size, h, c)


def _lstm_back(w: Lines, call: Any) -> None:
    cell = Cell(w, call, 5)
    (_, M, _, gates, tanh_c), dz = cell.given, call.outputs[0]
    size, times = M.shape[1] // 4, dz.shape[2]
    cell.begin(dz.shape[1], times, f"dh[{size}]", f"dc[{size}]", checks=False)

    def step(t: str) -> None:
        arrays = [*matrix(w, M), *all_kept(w, gates, tanh_c, dz)]
        put_call(w, "fn_lstm_back", t, size, *arrays, "dh", "dc")

    cell.put_back(times, size, step, "dh", "dc")
    cell.put_of_inputs(dz, 0, M, size + 1)


def _gru(w: Lines, call: Any) -> None:
    cell = Cell(w, call, 3)
    (x, R, W), (_, states, gates, news, differences) = cell.given, call.outputs
    size, times = R.shape[1] // 3, x.shape[1]
    cell.begin(x.shape[0], times, f"z[{6 * size}]", checks=True)
    h = kept(w, states)
    cell.put_states(states, x, h)
    arrays = [*matrix(w, R), *matrix(w, W), *all_kept(w, states, gates, news, differences)]
    put_call(w, "fn_gru", times, x.shape[2], size, *arrays, "z")
    cell.put_results(size, h)


def _gru_back(w: Lines, call: Any) -> None:
    cell = Cell(w, call, 6)
    (_, R, W, gates, news, differences), dz = cell.given, call.outputs[0]
    size, times = R.shape[1] // 3, dz.shape[2]
    cell.begin(dz.shape[1], times, f"dh[{size}]", f"z[{size}]", checks=False)

    def step(t: str) -> None:
        arrays = [*matrix(w, R), *all_kept(w, gates, news, differences, dz)]
        put_call(w, "fn_gru_back", t, size, *arrays, "dh", "z")

    cell.put_back(times, size, step, "dh")
    cell.put_of_inputs(dz, size, W, 1)


def _time_product(w: Lines, call: Any) -> None:
    (states, dz), y = call.inputs, call.output
    count, gates = y.shape
    w.put(f"for (long k = 0; k < {count}; k++) {{")
    w.put(f"for (long u = 0; u < {gates}; u++) {w.element(y, 'ku')} = 0;", "}")
    w.put(f"for (long n = 0; n < {dz.shape[1]}; n++) {{")
    put_call(w, "fn_time_product", dz.shape[2], count, gates, *kept(w, states), *kept(w, dz), *matrix(w, y))
    w.put("}")


def _reverse(w: Lines, call: Any) -> None:
    """Each sequence backward, and 0 past its end."""
    (x, lengths), y = call.inputs, call.output
    rows, times, features = x.shape
    found = w.element(x, ["n", "(t < end ? end - 1 - t : 0)", "u"])
    w.put(f"for (long n = 0; n < {rows}; n++) {{", f"const long end = (long){w.element(lengths, ['n'])};")
    w.put(f"for (long t = 0; t < {times}; t++) {{")
    w.put(f"for (long u = 0; u < {features}; u++) {w.element(y, 'ntu')} = t < end ? {found} : 0;", "}", "}")


FORWARD = {"rnn", "lstm", "gru"}
RULES: dict[str, Callable[[Lines, Any], None]] = {
    "rnn": _rnn,
    "rnn backward": _rnn_back,
    "lstm": _lstm,
    "lstm backward": _lstm_back,
    "gru": _gru,
    "gru backward": _gru_back,
    "time_product": _time_product,
    "reverse": _reverse,
}
