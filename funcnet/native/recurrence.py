"""Recurrence as C: a loop over time, in which a product and the functions of the cell are made at each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources import files

from funcnet.native.writing import Writer, tile_rows
from funcnet.tracing.cells import GRU, GRU_BACKWARD, LSTM, LSTM_BACKWARD, RNN, RNN_BACKWARD
from funcnet.tracing.recurrence import TIME_PRODUCT
from funcnet.tracing.trace import Call, Value

RECURRENCE_H = files("funcnet.native").joinpath("recurrence.h").read_text(encoding="utf-8")
GATES = {RNN: 1, LSTM: 4, GRU: 3, RNN_BACKWARD: 1, LSTM_BACKWARD: 4, GRU_BACKWARD: 3}  # columns of a matrix, to a unit
LARGEST = 256  # units up to which these loops are faster than NumPy's calls
MANY = 1 << 15  # weights from which NumPy's product over all times is the faster one


def forward(e: Writer, call: Call) -> bool:
    """The steps forward in time."""
    x, M, *_ = call.operands
    y, S, *kept = call.outputs
    units = M.shape[1] // GATES[call.primitive]
    if not in_c(call, x, units):
        return False
    e.scope(call)
    s, step, initial = e.pointer(S)[0], e.pointer(S)[1][2], given(e, call.operands[-1], call.attributes["given"])
    rows, times, inputs = x.shape
    sizes = f"{units}, {inputs}, {rows}, {times}"
    e.put(f"fn_states({s}, {step}, {given(e, x)}, {initial}, {sizes});")
    matrices = call.operands[1 : 2 + (call.primitive is GRU)]
    arguments = [*addresses(e, matrices), s, str(step), *addresses(e, kept)]
    if call.primitive is LSTM:
        arguments.append(initial)
    if call.primitive is GRU:
        arguments.append("fn_turned")
        e.turned = max(e.turned, 3 * units * rows)
    e.put(f"fn_{call.primitive}({', '.join(arguments)}, {sizes}, {tile_rows(M.shape[1])});")
    if y.use_count:
        rest = f"{int(y.ndim == 3)}, {units}, {rows}, {times}"
        e.put(f"fn_outputs({s}, {step}, {wanted(e, y)}, 0, {rest});")
        if y.shape[-1] > units:  # c stands behind the gates
            z, steps = e.pointer(kept[0])
            e.put(f"fn_outputs({z} + {4 * units * rows}, {steps[2]}, {wanted(e, y)}, {units}, {rest});")
    return True


def backward(e: Writer, call: Call) -> bool:
    """The steps back in time."""
    g, M, *others = call.operands
    dz, dx, of_initial = call.outputs
    units = M.shape[1] // GATES[call.primitive]
    if not in_c(call, dx, units):
        return False
    e.scope(call)
    kept = others[1:] if call.primitive is LSTM_BACKWARD else others  # the states themselves are not read
    arguments = [*addresses(e, (M, *kept)), *addresses(e, [dz]), given(e, g), str(int(g.ndim == 3))]
    if call.primitive is RNN_BACKWARD:
        arguments.insert(2, str(e.pointer(kept[0])[1][2]))
    if call.primitive is LSTM_BACKWARD:
        arguments.append(str(int(g.shape[-1] > units)))
    rows, times, inputs = dx.shape
    e.turned = max(e.turned, (2 * units + inputs) * rows)
    arguments += [wanted(e, dx), wanted(e, of_initial), "fn_turned"]
    name = str(call.primitive).replace(" ", "_")
    tiles = f"{tile_rows(units)}, {tile_rows(inputs)}"
    e.put(f"fn_{name}({', '.join(arguments)}, {units}, {inputs}, {rows}, {times}, {tiles});")
    return True


def in_c(call: Call, x: Value, units: int) -> bool:
    """Whether there are few enough units, and sequences that are of one length, with rows, times and inputs."""
    return "lengths" not in call.attributes["given"] and x.elements > 0 and units <= LARGEST


def addresses(e: Writer, values: Iterable[Value]) -> list[str]:
    """Of values without gaps."""
    return [e.pointer(value)[0] for value in values]


def given(e: Writer, value: Value, wanted: object = True) -> str:
    """An array that is read, by its strides over rows, times and features; none where it is not wanted."""
    return strided(e, value if wanted else None, "fn_given")


def wanted(e: Writer, value: Value) -> str:
    """An array that is written; none where nothing reads it."""
    return strided(e, value if value.use_count else None, "fn_wanted")


def strided(e: Writer, value: Value | None, kind: str) -> str:
    """Its address and strides; one without times has the stride 0 there."""
    if value is None:
        return f"({kind}){{0, 0, 0, 0}}"
    address, (by_row, *by_time, by_feature) = e.pointer(value)
    return f"({kind}){{{address}, {by_row}, {by_time[0] if by_time else 0}, {by_feature}}}"


def time_product(e: Writer, call: Call) -> bool:
    """The gradient of the weights, a sum over time."""
    S, dz = call.operands
    (features, rows, _), (gates, _, times) = S.shape, dz.shape
    if not dz.elements or features * gates > MANY:
        return False
    (out, strides), (s, steps), (d, _) = e.pointer(call.output), e.pointer(S), e.pointer(dz)
    turned = -(-gates // 16) * 16 * rows
    e.turned = max(e.turned, turned + features * gates)
    e.scope(call)
    sizes = f"{features}, {gates}, {rows}, {times}, {tile_rows(features)}"
    e.put(f"fn_time_product({s}, {steps[2]}, {d}, {out}, {strides[0]}, fn_turned, fn_turned + {turned}, {sizes});")
    return True


FORMS: dict[str, Callable[[Writer, Call], bool]] = {
    **{primitive.name: forward for primitive in (RNN, LSTM, GRU)},
    **{primitive.name: backward for primitive in (RNN_BACKWARD, LSTM_BACKWARD, GRU_BACKWARD)},
    TIME_PRODUCT.name: time_product,
}
