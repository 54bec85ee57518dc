"""Recurrence as C, for `jit` and `to_c`: a loop over time with a product and the functions of the cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files

from funcnet.native.writing import Writer
from funcnet.tracing.cells import GRU, GRU_BACKWARD, LSTM, LSTM_BACKWARD, RNN, RNN_BACKWARD
from funcnet.tracing.recurrence import REVERSE, TIME_PRODUCT, unpacked
from funcnet.tracing.trace import Call, Value

RECURRENCE_H = files("funcnet.native").joinpath("recurrence.h").read_text(encoding="utf-8")
TIME_PRODUCT_H = files("funcnet.native").joinpath("time_product.h").read_text(encoding="utf-8")
GATES = {RNN: 1, LSTM: 4, GRU: 3, RNN_BACKWARD: 1, LSTM_BACKWARD: 4, GRU_BACKWARD: 3}  # a unit's columns of weights
REQUIRED = {RNN_BACKWARD: 3, LSTM_BACKWARD: 5, GRU_BACKWARD: 6, RNN: 2, LSTM: 2, GRU: 3}  # fewest operands
LARGEST = 256  # units up to which these loops are faster than NumPy's calls
NONE = "({}){{0, 0, 0, 0}}"
FEW_TIMES = 4  # times from which packing the matrices is faster
TOGETHER = 256  # columns of states and cotangents side by side in one product of a tile
WIDEST = 32  # numbers in two vectors, at most


def forward(w: Writer, call: Call) -> None:
    """The steps forward in time."""
    x, *matrices, lengths, first = unpacked(call.inputs, REQUIRED[call.primitive], call.attributes)
    y, S, *kept = call.outputs
    rows, times, inputs = x.shape
    units = matrices[0].shape[1] // GATES[call.primitive]
    ends, initial = ends_of(w, call, lengths, times), given(w, first)
    s, step, sizes = w.pointer(S)[0], w.pointer(S)[1][2], f"{units}, {inputs}, {rows}, {times}"
    w.put(f"fn_states({s}, {step}, {given(w, x)}, {initial}, {ends}, {sizes});")
    M, sk, own = packed(w, matrices, times, [3 * units * rows] if call.primitive is GRU else [])
    arguments = [*M, sk, s, str(step), *addresses(w, kept)]
    if call.primitive is LSTM:
        arguments.append(initial)
    w.put(f"fn_{call.primitive}({', '.join([*arguments, *own, sizes])});")
    if y.use_count:
        rest = f"{int(y.ndim == 3)}, {ends}, {units}, {rows}, {times}"
        w.put(f"fn_outputs({s}, {step}, {wanted(w, y)}, 0, {rest});")
        if y.shape[-1] > units:  # c stands behind the gates
            z, steps = w.pointer(kept[0])
            w.put(f"fn_outputs({z} + {4 * units * rows}, {steps[2]}, {wanted(w, y)}, {units}, {rest});")


def backward(w: Writer, call: Call) -> None:
    """The steps back in time."""
    g, *others, lengths, _ = unpacked(call.inputs, REQUIRED[call.primitive], call.attributes)
    dz, dx, of_initial = call.outputs
    units, (rows, times, inputs) = others[0].shape[1] // GATES[call.primitive], dx.shape
    read = [v for v in others if call.primitive is not LSTM_BACKWARD or v is not others[1]]  # but for LSTM's states
    arguments = [*addresses(w, [*read, dz]), given(w, g), str(int(g.ndim == 3)), ends_of(w, call, lengths, times)]
    if call.primitive is RNN_BACKWARD:
        arguments.insert(2, str(w.pointer(others[1])[1][2]))
    if call.primitive is LSTM_BACKWARD:
        arguments.append(str(int(g.shape[-1] > units)))
    arguments += [wanted(w, dx), wanted(w, of_initial), *w.scratch((2 * units + inputs) * rows)]
    name = str(call.primitive).replace(" ", "_")
    arguments += map(str, (units, inputs, rows, times))
    w.put(f"fn_{name}({', '.join(arguments)});")


def packed(w: Writer, matrices: Sequence[Value], times: int, own: Sequence[int]) -> tuple[list[str], str, list[str]]:
    """(addresses of the matrices for every time, the step between their rows, memory of these sizes).

    Where products have tiles, and there are enough times, the matrices are packed for the tiles.
    """
    columns = matrices[0].shape[1]
    packs = w.has_tiles and times >= FEW_TIMES and columns > 1
    places = w.scratch(*(packs * v.elements for v in matrices), *own)
    room, rest = places[: len(matrices)], places[len(matrices) :]
    if not packs:
        return addresses(w, matrices), str(columns), rest
    for matrix, to in zip(matrices, room, strict=True):
        w.put(f"fn_pack({w.pointer(matrix)[0]}, {columns}, {to}, {columns}, {matrix.shape[0]});")
    return room, "FN_PACKED", rest


def time_product(w: Writer, call: Call) -> None:
    """The gradient of the weights, a sum over time, by the blocks of it that the call computes."""
    S, dz = call.operands
    (features, rows, _), (gates, _, times) = S.shape, dz.shape
    (out, (step, _)), (s, steps), (d, of_d) = w.pointer(call.output), w.pointer(S), w.pointer(dz)
    at_once = max(1, TOGETHER // max(rows, 1))
    for block in call.attributes.get("blocks", [(slice(features), slice(gates))]):
        (row, to_row, _), (column, to_column, _) = block[0].indices(features), block[1].indices(gates)
        (turned,) = w.scratch((WIDEST * at_once if w.has_tiles else to_column - column) * rows)
        given = f"{s} + {row * rows}, {steps[2]}, {d} + {column * rows}, {of_d[2]}"
        to = f"{out} + {row * step + column}, {step}, {turned}"
        sizes = f"{to_row - row}, {to_column - column}, {rows}, {times}"
        w.put(f"fn_time_product({given}, {to}, {sizes}, {at_once});")


def reverse(w: Writer, call: Call) -> None:
    """Each sequence in reverse order, and 0 past its end."""
    (x, lengths), y = call.operands, call.output
    rows, times, features = x.shape
    ends = ends_of(w, call, lengths, times)
    x_given, to = given(w, x), wanted(w, y)
    w.put(f"fn_reverse({x_given}, {to}, {ends}, {features}, {rows}, {times});")


def ends_of(w: Writer, call: Call, lengths: Value | None, times: int) -> str:
    """The address of the checked lengths; 0 where all sequences have one length."""
    if lengths is None:
        return "0"
    (rows,) = lengths.shape
    ends = w.ends(rows)
    w.put(
        f"for (long n = 0; n < {rows}; n++) {{",
        f"    {ends}[n] = (long){w.element(lengths, 'n')};",
        f"    if ({ends}[n] < 0 || {ends}[n] > {times}) {w.refusal(call, f'{ends}[n] = 0;')}",
        "}",
    )
    return ends


def addresses(w: Writer, values: Iterable[Value]) -> list[str]:
    """The addresses of dense values."""
    return [w.pointer(value)[0] for value in values]


def given(w: Writer, value: Value | None) -> str:
    """An operand, with its strides over rows, times and features."""
    return NONE.format("fn_given") if value is None else strided("fn_given", *w.given(value))


def wanted(w: Writer, value: Value) -> str:
    """An output; 0 where it is unread."""
    return strided("fn_wanted", *w.pointer(value)) if value.use_count else NONE.format("fn_wanted")


def strided(kind: str, address: str, strides: Sequence[int]) -> str:
    """Its address and strides; one without times has the stride 0 there."""
    by_row, *by_time, by_feature = strides
    return f"({kind}){{{address}, {by_row}, {by_time[0] if by_time else 0}, {by_feature}}}"


def reads_as_given(call: Call, value: Value) -> bool:
    """Whether these loops read the array of the caller."""
    return call.primitive in (RNN, LSTM, GRU) and call.operands[0] is value and is_faster(call)


def is_faster(call: Call) -> bool:
    """Whether these loops are faster than the calls of NumPy."""
    if call.primitive is TIME_PRODUCT:
        return call.operands[1].elements > 0
    x = call.outputs[1] if "backward" in call.primitive.name else call.operands[0]
    matrices = [v for v in call.operands if v.ndim == 2 and v.batch_axis is None]
    return x.elements > 0 and all(v.shape[1] // GATES[call.primitive] <= LARGEST for v in matrices)


FORMS: dict[str, Callable[[Writer, Call], None]] = {
    **{primitive.name: forward for primitive in (RNN, LSTM, GRU)},
    **{primitive.name: backward for primitive in (RNN_BACKWARD, LSTM_BACKWARD, GRU_BACKWARD)},
    TIME_PRODUCT.name: time_product,
    REVERSE.name: reverse,
}
