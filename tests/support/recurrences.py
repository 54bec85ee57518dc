"""Random recurrent layers for hypothesis, in random networks: in chains, and one that goes on from another's state."""

from __future__ import annotations

from math import prod

from hypothesis import strategies as st

from tests.support.naive import Key, Net, Op
from tests.support.naive_recurrence import Cell
from tests.support.strategies import Problem, image_operators, preceded


@st.composite
def with_recurrence(draw: st.DrawFn, problem: Problem) -> Problem:
    """The same network, but some of its operators make sequences of features, and read those first."""
    return draw(preceded(problem, chains() | continued()))


@st.composite
def recurrent(draw: st.DrawFn, sequences: bool, begun: bool = False) -> tuple[Op, int]:
    """A recurrent layer, and the features that it gives."""
    kind = draw(st.sampled_from(["rnn", "lstm", "gru"]))
    cell = Cell(draw(st.integers(1, 3)), sequences, kind == "lstm" and draw(st.booleans()), begun)
    op = Op(kind, (cell,))
    if draw(st.integers(0, 3)):
        return op, cell.features(kind)
    return Op("bidirectional", (op,)), 2 * cell.features(kind)


@st.composite
def made(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Op, Op]:
    """Sequences of that shape out of features."""
    return Op("linear", (prod(shape), draw(st.booleans()))), Op("reshape", shape)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Op, ...]:
    """Recurrent layers in series, operators on sequences between them, features at the end."""
    shape: tuple[int, ...] = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    ops: list[Op] = [*draw(made(shape))]
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            op, shape = draw(image_operators(shape))
        else:
            op, features = draw(recurrent(sequences=True))
            shape = shape[0], features
        ops.append(op)
    last = Op("flatten") if draw(st.booleans()) else draw(recurrent(sequences=False))[0]
    return *ops, last


@st.composite
def continued(draw: st.DrawFn) -> tuple[Op, ...]:
    """A layer from an initial state, and one that shares its params, from its last state or from the same."""
    op, _ = draw(recurrent(sequences=False, begun=True))
    one = op.of[0] if op.kind == "bidirectional" else op
    (cell,) = one.of
    ways = 1 if op is one else 2
    state, inputs = ways * cell.state(one.kind), draw(st.integers(1, 3))
    first, second = ((draw(st.integers(1, 4)), inputs) for _ in range(2))
    operators: dict[Key, Op] = {
        "in": Op("identity"),
        "x": Op("serial", draw(made(first))),
        "y": Op("serial", draw(made(second))),
        "h": Op("linear", (state, draw(st.booleans()))),
        "f": op,
        "g": Op("shared", ("f",)),
        "both": Op("concatenate"),
    }
    from_last = cell.features(one.kind) == cell.state(one.kind) and draw(st.booleans())
    connectivity: dict[Key, list[Key]] = {
        "in": ["x", "y", "h"],
        "x": ["f"],
        "y": ["g"],
        "h": ["f"] if from_last else ["f", "g"],
        "f": ["g", "both"] if from_last else ["both"],
        "g": ["both"],
    }
    return (Op("network", (Net(operators, connectivity),)),)
