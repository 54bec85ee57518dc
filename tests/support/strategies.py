"""Random networks for hypothesis: as data for the naive interpreter, and as the layers that a user would write."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple, cast

import numpy as np
from hypothesis import strategies as st

import funcnet as fn
from tests.support import naive_images, naive_recurrence
from tests.support.images import Kernel
from tests.support.naive import Key, Net, Op

KEYS: list[Key] = [*range(1, 13), -1, 0, 100, "a", "b", "1", "2", "in", "out", "left", "right", "", "é", "x y"]
SCALARS = ["identity", "identity", "tanh", "relu", "relu", "sigmoid", "softmax"]
MERGES = ["add", "add", "multiply", "average", "maximum", "concatenate"]
OPAQUE = {"linear", *SCALARS, *MERGES}
BATCHES = [1, 2, 7, 40]


def layer_of(op: Op) -> Any:
    """What a user writes for this operator."""
    if op.kind == "linear":
        units, bias = op.of
        return fn.linear(units, use_bias=bias)
    if op.kind == "network":
        return network_of(*op.of)
    if op.kind == "shared":
        return fn.shared(*op.of)
    if op.kind == "reshape":
        return fn.reshape(*op.of)
    if op.kind == "list":
        return [layer_of(part) for part in op.of]
    if op.kind == "parallel":
        merge, *branches = map(layer_of, op.of)
        return fn.parallel(*branches, merge=merge)
    if op.kind in naive_images.KINDS:
        return image_layer(op)
    if op.kind in naive_recurrence.KINDS:
        return recurrent_layer(op)
    if op.kind == "opaque":
        layer = layer_of(op.of[0])
        return fn.custom_layer(layer.init, layer.apply.function, inputs=layer.apply.arity)
    return getattr(fn, op.kind)(*map(layer_of, op.of))


def image_layer(op: Op) -> Any:
    """A convolution, a pool or an enlargement."""
    if op.kind == "upsample":
        return fn.upsample(*op.of)
    size, k, padding, *rest = op.of
    axes = slice(1 if k.sequences else 0, None)
    options = {"strides": k.strides[axes], "padding": padding}
    if not rest:
        return getattr(fn, op.kind)(size, **options)
    features, bias = rest
    options |= {"dilation": k.dilation[axes], "use_bias": bias}
    if op.kind == "conv":
        options["groups"] = k.groups
    return getattr(fn, op.kind)(features, size, **options)


def recurrent_layer(op: Op) -> Any:
    """A recurrent layer, or one in both directions."""
    if op.kind == "bidirectional":
        return fn.bidirectional(recurrent_layer(*op.of))
    (cell,) = op.of
    options = {"return_sequences": cell.sequences, "initial_state": cell.begun}
    if op.kind == "lstm":
        options["return_state"] = cell.whole
    return getattr(fn, op.kind)(cell.units, **options)


def network_of(net: Net) -> Any:
    """The network that a user would make of these dicts."""
    operators = {key: layer_of(op) for key, op in net.operators.items()}
    return fn.network(operators, net.connectivity, inputs=net.inputs, output=net.output)


class Node(NamedTuple):
    """An operator in a graph that grows: the widths of what it takes, who feeds it, and the width of its value."""

    op: Op
    takes: tuple[int, ...]
    fed_by: tuple[int, ...]
    width: int


@st.composite
def unary(draw: st.DrawFn, width: int, depth: int, keep: bool = False) -> tuple[Op, int]:
    """An operator of one input, and the width of its output: that of its input, if it is to be kept."""
    kinds = ["linear", "linear", "scalar", "scalar", "merge"]
    if depth:
        kinds += ["serial", "list", "residual", "parallel", "network", "rows"]
    kind = draw(st.sampled_from(kinds))
    units = width if keep else draw(st.integers(1, 3))
    if kind == "linear":
        return Op("linear", (units, draw(st.booleans()))), units
    if kind == "scalar":
        return Op(draw(st.sampled_from(SCALARS))), width
    if kind == "merge":
        return Op(draw(st.sampled_from(MERGES))), width
    if kind == "residual":
        return Op("residual", draw(chains(width, depth - 1, keep=True))[0]), width
    if kind == "parallel":
        branches = [draw(unary(width, 0, keep=True))[0] for _ in range(draw(st.integers(1, 3)))]
        merge = draw(st.sampled_from(["add", "multiply", "maximum"]))
        return Op("parallel", (Op(merge), *branches)), width
    if kind == "rows" and not keep:
        return draw(rows(width))
    if kind == "network" and not keep:
        net, _, (out,) = draw(nets(widths=(width,), size=4, depth=0, single=True))
        return Op("network", (net,)), out
    ops, out = draw(chains(width, depth - 1, keep))
    return Op("list" if kind == "list" and depth == DEPTH else "serial", ops), out


@st.composite
def rows(draw: st.DrawFn, width: int) -> tuple[Op, int]:
    """An operator that makes two rows of features of one, and one again."""
    units = draw(st.integers(1, 3))
    ops, out = draw(chains(units, 0))
    spread = Op("linear", (2 * units, draw(st.booleans())))
    return Op("serial", (spread, Op("reshape", (2, units)), *ops, Op("flatten"))), 2 * out


@st.composite
def chains(draw: st.DrawFn, width: int, depth: int, keep: bool = False) -> tuple[tuple[Op, ...], int]:
    """Operators in series."""
    ops = []
    for _ in range(draw(st.integers(1, 3))):
        op, width = draw(unary(width, max(depth, 0), keep))
        ops.append(op)
    return tuple(ops), width


DEPTH = 2


@st.composite
def nets(
    draw: st.DrawFn,
    widths: Sequence[int] | None = None,
    size: int = 12,
    depth: int = DEPTH,
    single: bool = False,
    least: int = 0,
) -> tuple[Net, tuple[int, ...], tuple[int, ...]]:
    """(a network, the widths of its inputs, the widths of its outputs)."""
    widths = widths or draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    nodes: list[Node] = []
    for width in widths:
        op, out = draw(unary(width, depth))
        nodes.append(Node(op, (width,), (), out))
    for _ in range(draw(st.integers(max(0, least - len(nodes)), size - len(nodes)))):
        nodes.append(draw(grown(nodes, depth)))
    sinks = [i for i in range(len(nodes)) if not any(i in node.fed_by for node in nodes)]
    if single and len(sinks) > 1:
        takes = tuple(nodes[i].width for i in sinks)
        nodes.append(Node(Op("concatenate"), takes, tuple(sinks), sum(takes)))
        sinks = [len(nodes) - 1]
    more = [] if single else draw(st.lists(st.integers(0, len(nodes) - 1), unique=True, max_size=2))
    outputs = [*sinks, *(i for i in more if i not in sinks)]
    return assembled(nodes, len(widths), outputs, single or draw(st.booleans()), Random(draw(st.integers(0, 999))))


@st.composite
def grown(draw: st.DrawFn, nodes: list[Node], depth: int) -> Node:
    """One more operator, fed by some of those that there are."""
    form = draw(st.sampled_from(["unary", "merge", "merge", "concatenate", "shared", "nested"]))
    near = draw(st.integers(0, len(nodes) - 1))
    alike = [i for i, node in enumerate(nodes) if node.width == nodes[near].width]
    several = st.lists(st.sampled_from(alike), min_size=1, max_size=3, unique=True)
    if form == "merge" and len(alike) > 1:
        fed_by = draw(several)
        pair = ["subtract"] * 3 if len(fed_by) == 2 else []
        return merged(nodes, Op(draw(st.sampled_from(MERGES + pair))), fed_by)
    if form == "concatenate":
        fed_by = draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=3, unique=True))
        if sum(nodes[i].width for i in fed_by) <= 9:
            return merged(nodes, Op("concatenate"), fed_by)
    if form == "shared":
        users = [(i, j) for i, node in enumerate(nodes) for j, other in enumerate(nodes)
                 if node.op.kind not in ("shared", "identity") and node.takes == (other.width,)]  # fmt: skip
        if users:
            source, feeder = draw(st.sampled_from(users))
            return Node(Op("shared", (source,)), nodes[source].takes, (feeder,), nodes[source].width)
    if form == "nested" and depth:
        fed_by = draw(several)
        takes = tuple(nodes[i].width for i in fed_by)
        if draw(st.booleans()):
            net, _, (out,) = draw(nets(widths=takes, size=5, depth=0, single=True))
            return Node(Op("network", (net,)), takes, tuple(fed_by), out)
        merge, other = (Op(draw(st.sampled_from(MERGES[:-1]))) for _ in range(2))
        if draw(st.booleans()):
            return Node(Op("parallel", (Op("subtract"), merge, other)), takes, tuple(fed_by), takes[0])
        ops, out = draw(chains(takes[0], depth - 1))
        return Node(Op(draw(st.sampled_from(["serial", "list"])), (merge, *ops)), takes, tuple(fed_by), out)
    op, out = draw(unary(nodes[near].width, depth))
    return Node(op, (nodes[near].width,), (near,), out)


def merged(nodes: list[Node], op: Op, fed_by: list[int]) -> Node:
    """An operator that makes one value of several."""
    takes = tuple(nodes[i].width for i in fed_by)
    return Node(op, takes, tuple(fed_by), sum(takes) if op.kind == "concatenate" else takes[0])


def assembled(
    nodes: list[Node], count: int, outputs: list[int], one: bool, random: Random
) -> tuple[Net, tuple[int, ...], tuple[int, ...]]:
    """The dicts, in random order and with random keys, of nodes of which the first few are inputs."""
    keys = random.sample(KEYS if len(nodes) <= len(KEYS) else [*KEYS, *range(1000, 1060)], len(nodes))
    ops = swapped([node.op for node in nodes], random)
    named = {keys[i]: Op("shared", (keys[op.of[0]],)) if op.kind == "shared" else op for i, op in enumerate(ops)}
    operators = {key: named[key] for key in random.sample(keys, len(keys))}
    feeds = {key: [keys[i] for i, node in enumerate(nodes) if j in node.fed_by] for j, key in enumerate(keys)}
    connectivity = {key: random.sample(feeds[key], len(feeds[key])) for key in random.sample(keys, len(keys))}
    if random.random() < 0.5:
        connectivity = {key: successors for key, successors in connectivity.items() if successors}
    sinks = [key for key in keys if not feeds[key]]
    random.shuffle(outputs)
    output: Any = [keys[i] for i in outputs]
    if len(outputs) == 1 and one:
        output = None if output == sinks and random.random() < 0.5 else output[0]
    inputs = None if random.random() < 0.3 else random.sample(keys[:count], count)
    net = Net(operators, connectivity, inputs, output)
    widths = tuple(nodes[keys.index(key)].takes[0] for key in net.sources())
    return net, widths, tuple(nodes[i].width for i in outputs)


def swapped(ops: list[Op], random: Random) -> list[Op]:
    """Now and then the earlier of two operators shares the later one, not the other way round."""
    sources = [op.of[0] for op in ops if op.kind == "shared"]
    for i, op in enumerate(ops):
        if op.kind == "shared" and sources.count(op.of[0]) == 1 and random.random() < 0.5:
            ops[op.of[0]], ops[i] = Op("shared", (i,)), ops[op.of[0]]
    return ops


class Problem(NamedTuple):
    """A network with params and inputs for it."""

    net: Net
    widths: tuple[int, ...]
    outputs: tuple[int, ...]
    dtype: Any
    batch: int
    seed: int

    def made(self) -> tuple[Any, Any, tuple[Any, ...]]:
        """(network, params, inputs), all arrays read-only."""
        network = network_of(self.net)
        random = np.random.default_rng(self.seed)
        params, _ = network.init(fn.key(self.seed), *((width,) for width in self.widths), dtype=self.dtype)
        if self.seed % 2:  # not in one flat piece of memory, and biases that are not zero
            params = fn.tree.map(lambda p: (p + 0.2 * random.normal(size=p.shape)).astype(self.dtype), params)
        inputs = tuple(random.normal(size=(self.batch, width)).astype(self.dtype) for width in self.widths)
        for array in (*fn.tree.leaves(params), *inputs):
            array.flags.writeable = False
        return network, params, inputs


@st.composite
def problems(draw: st.DrawFn, single: bool = False, size: int = 12, least: int = 0) -> Problem:
    """Networks of `least` to `size` operators, with batches of several sizes, in both dtypes."""
    net, widths, outputs = draw(nets(size=size, depth=DEPTH if size <= 12 else 1, single=single, least=least))
    dtype = draw(st.sampled_from([np.float64, np.float64, np.float32]))
    return Problem(net, widths, outputs, dtype, draw(st.sampled_from(BATCHES)), draw(st.integers(0, 99)))


@st.composite
def partly_opaque(draw: st.DrawFn, problem: Problem) -> Problem:
    """The same network, but some operators are layers of a user's own, whose backward call has several outputs."""
    operators = {
        key: Op("opaque", (op,)) if op.kind in OPAQUE and draw(st.booleans()) else op
        for key, op in problem.net.operators.items()
    }
    return problem._replace(net=problem.net._replace(operators=operators))


@st.composite
def with_images(draw: st.DrawFn, problem: Problem) -> Problem:
    """The same network, but some of its operators make images, or sequences, of features, and work on those first."""
    return draw(preceded(problem, featured_images()))


@st.composite
def preceded(draw: st.DrawFn, problem: Problem, parts: st.SearchStrategy[tuple[Op, ...]]) -> Problem:
    """The same network, but such parts, which turn features into others, stand before some of the linear operators,
    and before one that reads the outside.
    """

    def changed(op: Op) -> Op:
        if op.kind == "linear" and draw(st.booleans()):
            return Op("serial", (*draw(parts), op))
        rows = any(part.kind == "reshape" for part in op.of if isinstance(part, Op))  # of which each would be an image
        if op.kind in ("serial", "list", "residual", "parallel") and not rows:
            return op._replace(of=tuple(map(changed, op.of)))
        return op

    operators = {key: changed(op) for key, op in problem.net.operators.items()}
    sources = list(zip(problem.net.sources(), problem.widths, strict=True))
    if own := [(key, width) for key, width in sources if operators[key].kind != "shared"]:
        key, width = draw(st.sampled_from(own))
        op, before = operators[key], (*draw(parts), linear(width))
        operators[key] = op._replace(of=(*before, *op.of)) if op.kind == "list" else Op("serial", (*before, op))
    return problem._replace(net=problem.net._replace(operators=operators))


@st.composite
def featured_images(draw: st.DrawFn) -> tuple[Op, ...]:
    """Operators that make images of features, work on them, and give features again."""
    shape = draw(shapes())
    return (
        linear(int(np.prod(shape)), draw(st.booleans())),
        Op("reshape", shape),
        *draw(image_chains(shape)),
        Op("flatten"),
    )


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """Of small images or sequences."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    return *lengths, draw(st.integers(1, 3))


@st.composite
def image_chains(draw: st.DrawFn, shape: tuple[int, ...]) -> list[Op]:
    """Operators on images in series."""
    ops: list[Op] = []
    for _ in range(draw(st.integers(1, 3))):
        op, shape = draw(image_operators(shape))
        ops.append(op)
    return ops


@st.composite
def image_operators(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Op, tuple[int, ...]]:
    """An operator on images of that shape, and the shape of what it makes."""
    kind = draw(st.sampled_from([*naive_images.KINDS, "conv", "scalar", "linear", "residual", "parallel"]))
    *lengths, channels = shape
    if kind == "scalar":
        return Op(draw(st.sampled_from(["identity", "tanh", "relu", "sigmoid"]))), shape
    if kind == "linear":
        units = draw(st.integers(1, 3))
        return Op("linear", (units, draw(st.booleans()))), (*lengths, units)
    if kind == "residual":
        return Op("residual", (draw(same_conv(shape)),)), shape
    if kind == "parallel":
        branches = [draw(same_conv(shape)), *draw(st.sampled_from([[], [Op("tanh")], [Op("identity"), Op("relu")]]))]
        merge = draw(st.sampled_from(["add", "multiply", "maximum", "concatenate"]))
        made = channels * len(branches) if merge == "concatenate" else channels
        return Op("parallel", (Op(merge), *branches)), (*lengths, made)
    if kind == "upsample":
        factor = tuple(draw(st.integers(1, 2)) for _ in lengths)
        return Op(kind, (factor,)), (*(n * times for n, times in zip(lengths, factor, strict=True)), channels)
    return draw(windowed(kind, shape))


@st.composite
def same_conv(draw: st.DrawFn, shape: tuple[int, ...]) -> Op:
    """A convolution that keeps the shape."""
    *lengths, channels = shape
    size = tuple(draw(st.integers(1, 3)) for _ in lengths)
    pads = [((n - 1) // 2, n // 2) for n in size]
    kernel = kernel_of(pads, [1] * len(size), [1] * len(size), draw(st.sampled_from([1, channels])))
    return Op("conv", (size, kernel, "same", channels, draw(st.booleans())))


@st.composite
def windowed(draw: st.DrawFn, kind: str, shape: tuple[int, ...]) -> tuple[Op, tuple[int, ...]]:
    """A convolution or a pool, and the shape of what it makes."""
    *lengths, channels = shape
    size = tuple(draw(st.integers(1, 3)) for _ in lengths)
    strides = [draw(st.integers(1, 3)) for _ in lengths]
    gaps = [draw(st.integers(1, 2)) if kind.startswith("conv") else 1 for _ in lengths]
    extents = [(n - 1) * gap + 1 for n, gap in zip(size, gaps, strict=True)]
    transposed = kind == "conv_transpose"
    most = [n - 1 if kind.endswith("pool") else 2 for n in size]
    pads = [(draw(st.integers(0, n)), draw(st.integers(0, n))) for n in most]
    lack = [e - n - sum(pad) for e, n, pad in zip(extents, lengths, pads, strict=True)]
    if transposed:  # of whose output the padding is cut off
        lack = [sum(pad) + 1 - (n - 1) * s - e for n, s, e, pad in zip(lengths, strides, extents, pads, strict=True)]
    padding: Any = draw(st.sampled_from(["explicit", "valid", "same"]))
    if padding == "valid" and (transposed or all(n >= e for n, e in zip(lengths, extents, strict=True))):
        pads = [(0, 0) for _ in lengths]
    elif padding == "same" or max(lack) > 0:
        padding = "same"
        pads = [same_pads(transposed, *each) for each in zip(lengths, extents, strides, strict=True)]
    else:
        padding = tuple(pads)
    if transposed:
        found = [
            n * s if padding == "same" else (n - 1) * s + e - sum(pad)
            for n, s, e, pad in zip(lengths, strides, extents, pads, strict=True)
        ]
    else:
        found = [(n + sum(p) - e) // s + 1 for n, s, e, p in zip(lengths, strides, extents, pads, strict=True)]
    groups = draw(st.sampled_from([1, channels])) if kind == "conv" else 1
    kernel = kernel_of(pads, strides, gaps, groups)
    if kind.endswith("pool"):
        return Op(kind, (size, kernel, padding)), (*found, channels)
    features = groups * draw(st.integers(1, 2))
    return Op(kind, (size, kernel, padding, features, draw(st.booleans()))), (*found, features)


def same_pads(transposed: bool, length: int, extent: int, stride: int) -> tuple[int, int]:
    """The padding for ceil(length / stride) windows, an odd one at the end; below 0 where an output is longer."""
    missing = extent - stride if transposed else (-(-length // stride) - 1) * stride + extent - length
    before = max(0, missing) // 2
    return before, missing - before if transposed else max(0, missing) - before


def kernel_of(pads: Sequence[Any], strides: Sequence[int], dilation: Sequence[int], groups: int) -> Kernel:
    """What the naive interpreter is told, written out for two axes."""
    sequences = len(pads) == 1
    steps, padding, gaps = (
        cast("Any", (*[first] * sequences, *given)) for first, given in ((1, strides), ((0, 0), pads), (1, dilation))
    )
    return Kernel(steps, padding, gaps, groups, sequences)


def linear(units: int, bias: bool = True) -> Op:
    """A linear operator."""
    return Op("linear", (units, bias))


def op(kind: str, *of: Any) -> Op:
    """An operator of this kind."""
    return Op(kind, of)


INNER = Net({1: linear(2), "s": op("tanh"), 3: op("add")}, {1: ["s", 3], "s": [3]})
NESTED = Net({"deep": op("network", INNER), 2: op("residual", op("network", INNER))}, {"deep": [2]})

PATTERNS: dict[str, Net] = {
    "the example": Net(
        {1: linear(25), 2: op("tanh"), 3: linear(25), 4: op("sigmoid"), 5: op("add"), 6: linear(2)},
        {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6], 6: []},
        [1],
        6,
    ),
    "an add that feeds two relus": Net(
        {1: linear(3), 2: linear(3), 3: op("add"), 4: op("relu"), 5: op("relu"), 6: op("multiply")},
        {1: [3], 2: [3], 3: [4, 5], 4: [6], 5: [6]},
    ),
    "relus that read one value, one of them last": Net(
        {1: linear(3), 2: op("relu"), 3: op("tanh"), 4: op("relu"), 5: op("add")},
        {1: [2, 3, 4], 2: [5], 3: [5], 4: [5]},
    ),
    "a chain of identities": Net(
        {i: op("identity") if i != 3 else linear(2) for i in range(1, 7)}, {i: [i + 1] for i in range(1, 6)}
    ),
    "a value times itself": Net(
        {1: linear(3), 2: op("identity"), 3: op("identity"), 4: op("multiply")}, {1: [2, 3], 2: [4], 3: [4]}
    ),
    "a value less itself": Net(
        {1: linear(3), 2: op("identity"), 3: op("subtract"), 4: linear(2)}, {1: [2, 3], 2: [3], 3: [4]}
    ),
    "the maximum of equal values": Net(
        {1: linear(3), 2: op("identity"), 3: op("identity"), 4: op("maximum")}, {1: [2, 3, 4], 2: [4], 3: [4]}
    ),
    "outputs that feed others": Net(
        {1: linear(3), 2: op("tanh"), 3: linear(2)}, {1: [2], 2: [3]}, None, [2, 1, 3]
    ),
    "one value out thrice": Net({1: op("tanh"), 2: op("identity"), 3: op("identity")}, {1: [2, 3]}, None, [1, 3, 2]),
    "an input that goes out": Net({1: op("identity"), 2: linear(2)}, {1: [2]}, None, [2, 1]),
    "one output in a list": Net({1: linear(2)}, {}, None, [1]),
    "a layer in series with itself": Net(
        {1: linear(2), 2: op("shared", 1), 3: op("shared", 1)}, {1: [2], 2: [3]}
    ),
    "shared before its source": Net(
        {"a": op("shared", "b"), "b": linear(2), "c": op("add")}, {"a": ["b", "c"], "b": ["c"]}
    ),
    "twins": Net(
        {"x": op("identity"), "y": op("identity"), 1: linear(3), 2: op("shared", 1), "-": op("subtract")},
        {"y": [2], "x": [1], 2: ["-"], 1: ["-"]},
        ["y", "x"],
    ),
    "linears of one value, added": Net(
        {0: op("tanh"), 1: linear(3), 2: linear(3), 3: linear(3, False), 4: op("add")},
        {0: [1, 2, 3], 3: [4], 1: [4], 2: [4]},
    ),
    "linears of views, added": Net(
        {0: linear(2), 1: op("softmax"), 2: linear(3), 3: linear(3, False), 4: op("average"), 5: op("softmax")},
        {0: [1, 3], 1: [2], 2: [4], 3: [4], 4: [5]},
    ),
    "joined both ways round": Net(
        {1: linear(1), 2: linear(3), 3: op("concatenate"), 4: op("concatenate"), 5: op("multiply"), 6: linear(1)},
        {2: [4, 3], 1: [3, 4], 3: [5], 4: [5], 5: [6]},
    ),
    "a part of a joined value goes on": Net(
        {1: linear(2), 2: op("relu"), 3: op("concatenate"), 4: op("relu"), 5: op("concatenate")},
        {1: [2, 3, 5], 2: [3], 3: [4], 4: [5]},
    ),
    "networks in networks": Net({1: op("network", NESTED), 2: op("network", NESTED)}, {1: [2]}),
    "a network shared": Net({1: op("network", INNER), 2: op("shared", 1), 3: op("tanh")}, {1: [2], 2: [3]}),
    "no params": Net({1: op("tanh"), 2: op("network", Net({1: op("relu")}, {})), 3: op("add")}, {1: [2, 3], 2: [3]}),
    "merges of one": Net(
        {1: op("add"), 2: op("multiply"), 3: op("maximum"), 4: op("average")}, {1: [2], 2: [3], 3: [4]}
    ),
    "series, parallels and residuals": Net(
        {
            1: op("list", linear(2), op("tanh")),
            2: op("parallel", op("concatenate"), op("serial", linear(2), op("relu")), op("identity")),
            3: op("residual", op("tanh"), linear(4), op("residual", op("sigmoid"))),
        },
        {1: [2], 2: [3]},
    ),
    "rows of features": Net(
        {
            1: linear(6),
            2: op("reshape", 3, 2),
            3: linear(4),
            4: linear(4, False),
            5: op("softmax"),
            6: op("multiply"),
            7: op("concatenate"),
            8: op("reshape", 2, -1),
            9: linear(3),
            "out": op("flatten"),
        },
        {1: [2], 2: [3, 4, 7], 3: [5, 6], 4: [6], 5: [6], 6: [7], 7: [8], 8: [9], 9: ["out"]},
    ),
    "ones for rows of features, and then fewer for rows": Net(
        {
            1: op("list", linear(4, False), op("reshape", 2, 2), linear(1), linear(1, False), op("flatten")),
            2: op("list", linear(2, False), op("reshape", 2, 1), linear(2, False), op("flatten"), linear(1)),
            3: op("concatenate"),
        },
        {1: [3], 2: [3]},
    ),
    "a view that goes out": Net(
        {1: linear(4), 2: op("reshape", 1, 4), 3: op("reshape", 1, 1, 4), 4: op("flatten")}, {1: [2], 2: [3], 3: [4]}
    ),
    "wide": Net(
        {1: linear(96), 2: op("sigmoid"), 3: linear(96), 4: op("add"), 5: op("tanh"), 6: linear(1)},
        {1: [2], 2: [3, 4], 3: [4], 4: [5], 5: [6]},
    ),
}  # fmt: skip


def pattern(name: str, dtype: Any = np.float64, batch: int = 7, seed: int = 1) -> Problem:
    """One of the patterns, each of whose inputs has two features, as a problem."""
    net = PATTERNS[name]
    shape = network_of(net).init(fn.key(0), *((2,) for _ in net.sources()))[1]
    widths = tuple(width for (width,) in (shape if isinstance(net.output, list) else [shape]))
    return Problem(net, (2,) * len(net.sources()), widths, dtype, batch, seed)
