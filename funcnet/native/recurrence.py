"""Recurrence as C, for `jit` and `to_c`: a loop over time, with a product and the functions of the cell in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources import files

from funcnet.native.writing import Writer
from funcnet.tracing.cells import GRU, GRU_BACKWARD, LSTM, LSTM_BACKWARD, RNN, RNN_BACKWARD
from funcnet.tracing.recurrence import REVERSE, TIME_PRODUCT, unpacked
from funcnet.tracing.trace import Call, Value

RECURRENCE_H = files("funcnet.native").joinpath("recurrence.h").read_text(encoding="utf-8")
GATES = {RNN: 1, LSTM: 4, GRU: 3, RNN_BACKWARD: 1, LSTM_BACKWARD: 4, GRU_BACKWARD: 3}  # columns of a matrix, to a unit
KEPT = {RNN_BACKWARD: 3, LSTM_BACKWARD: 5, GRU_BACKWARD: 6, RNN: 2, LSTM: 2, GRU: 3}  # operands that are always there
LARGEST = 256  # units up to which these loops are faster than NumPy's calls
MANY = 1 << 15  # weights from which NumPy's product over all times is the faster one


def forward(w: Writer, call: Call) -> None:
    """The steps forward in time."""
    x, *matrices, lengths, first = unpacked(call.inputs, KEPT[call.primitive], call.attributes)
    y, S, *kept = call.outputs
    rows, times, inputs = x.shape
    units = matrices[0].shape[1] // GATES[call.primitive]
    ends, initial = ends_of(w, call, lengths, times), given(w, first)
    s, step, sizes = w.pointer(S)[0], w.pointer(S)[1][2], f"{units}, {inputs}, {rows}, {times}"
    w.put(f"fn_states({s}, {step}, {given(w, x)}, {initial}, {ends}, {sizes});")
    arguments = [*addresses(w, matrices), s, str(step), *addresses(w, kept)]
    if call.primitive is LSTM:
        arguments.append(initial)
    if call.primitive is GRU:
        arguments += w.scratch(3 * units * rows)
    arguments.append(sizes)
    w.put(f"fn_{call.primitive}({', '.join(arguments)});")
    if y.use_count:
        rest = f"{int(y.ndim == 3)}, {ends}, {units}, {rows}, {times}"
        w.put(f"fn_outputs({s}, {step}, {wanted(w, y)}, 0, {rest});")
        if y.shape[-1] > units:  # c stands behind the gates
            z, steps = w.pointer(kept[0])
            w.put(f"fn_outputs({z} + {4 * units * rows}, {steps[2]}, {wanted(w, y)}, {units}, {rest});")


def backward(w: Writer, call: Call) -> None:
    """The steps back in time."""
    g, *others, lengths, _ = unpacked(call.inputs, KEPT[call.primitive], call.attributes)
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


def time_product(w: Writer, call: Call) -> None:
    """The gradient of the weights, a sum over time."""
    S, dz = call.operands
    (features, rows, _), (gates, _, times) = S.shape, dz.shape
    (out, strides), (s, steps), (d, _) = w.pointer(call.output), w.pointer(S), w.pointer(dz)
    turned, part = w.scratch(-(-gates // 16) * 16 * rows, features * gates)
    sizes = [*map(str, (features, gates, rows, times))]
    arguments = [s, str(steps[2]), d, out, str(strides[0]), turned, part, *sizes]
    w.put(f"fn_time_product({', '.join(arguments)});")


def reverse(w: Writer, call: Call) -> None:
    """Each sequence backward, and 0 past its end."""
    (x, lengths), y = call.operands, call.output
    rows, times, features = x.shape
    ends = ends_of(w, call, lengths, times)
    x_given, to = given(w, x), wanted(w, y)
    w.put(f"fn_reverse({x_given}, {to}, {ends}, {features}, {rows}, {times});")


def ends_of(w: Writer, call: Call, lengths: Value | None, times: int) -> str:
    """Where each sequence ends, once it is checked; 0 where all are of one length."""
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
    """Of values without gaps."""
    return [w.pointer(value)[0] for value in values]


def given(w: Writer, value: Value | None) -> str:
    """An array that is read, by its strides over rows, times and features."""
    return strided(w, value, "fn_given")


def wanted(w: Writer, value: Value) -> str:
    """An array that is written; none where nothing reads it."""
    return strided(w, value if value.use_count else None, "fn_wanted")


def strided(w: Writer, value: Value | None, kind: str) -> str:
    """Its address and strides; one without times has the stride 0 there."""
    if value is None:
        return f"({kind}){{0, 0, 0, 0}}"
    address, (by_row, *by_time, by_feature) = w.pointer(value)
    return f"({kind}){{{address}, {by_row}, {by_time[0] if by_time else 0}, {by_feature}}}"


def is_faster(call: Call) -> bool:
    """Whether these loops take less time than NumPy's calls."""
    if call.primitive is TIME_PRODUCT:
        return call.operands[1].elements > 0 and call.output.elements <= MANY
    x = call.outputs[1] if "backward" in call.primitive.name else call.operands[0]
    matrices = [v for v in call.operands if v.ndim == 2 and v.batch_axis is None]
    return x.elements > 0 and all(v.shape[1] // GATES[call.primitive] <= LARGEST for v in matrices)


FORMS: dict[str, Callable[[Writer, Call], None]] = {
    **{primitive.name: forward for primitive in (RNN, LSTM, GRU)},
    **{primitive.name: backward for primitive in (RNN_BACKWARD, LSTM_BACKWARD, GRU_BACKWARD)},
    TIME_PRODUCT.name: time_product,
    REVERSE.name: reverse,
}
