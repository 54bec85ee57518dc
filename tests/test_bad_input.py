"""What a user gets for input that cannot be right: each row a call, the error it raises, and words that it says.

After each, the closure still works as before and the arguments are untouched. Rows of one operator's own options stand
in the tests of its module.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

OPERATORS = {1: fn.linear(4), "squash": fn.tanh(), 3: fn.linear(2)}
CONNECTIVITY: dict[Any, list[Any]] = {1: ["squash"], "squash": [3]}
NET: Any = fn.network(OPERATORS, CONNECTIVITY)
PARAMS, _ = NET.init(fn.key(0), (3,))
rng = np.random.default_rng(0)
X, T = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32)
STEP: Any = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
CLASSIFY: Any = fn.sgd_step(NET, fn.softmax_cross_entropy(), learning_rate=0.1)
COLUMN: Any = fn.network({1: fn.linear(1)}, {})
OTHER, _ = fn.network({1: fn.linear(4), "out": fn.linear(2)}, {1: ["out"]}).init(fn.key(0), (3,))
Weights: Any = fn.Affine
untyped: Any = fn


class Frame:
    """What a table of columns looks like: no array, but it can be made one."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values


class Row(NamedTuple):
    """One mistake: the call, the error, and words that the message must hold, as regular expressions."""

    call: Callable[[], Any]
    error: type[Exception]
    words: tuple[str, ...]


def step_with(x: Any = X, target: Any = T, params: Any = PARAMS) -> Callable[[], Any]:
    return lambda: STEP(params, x, target)


def with_params(**changes: Any) -> dict[Any, Any]:
    """The params with some entries changed, or left out."""
    changed: dict[Any, Any] = {int(k[1:]): v for k, v in changes.items()}
    return {k: v for k, v in {**PARAMS, **changed}.items() if v is not None}


def ones(*shape: int, dtype: Any = np.float32) -> Any:
    return np.ones(shape, dtype)


def rate(value: Any) -> Row:
    text = re.escape(repr(value))
    return Row(
        lambda: untyped.sgd_step(NET, fn.mse(), learning_rate=value), fn.OptionError, ("learning_rate", "above 0", text)
    )


def dtype(array: Any, name: str, fix: str = r"x\.astype\(np\.float32\)") -> Row:
    return Row(step_with(array), fn.DTypeError, ("sgd_step: input 0", name, fix))


def returned(output: Any, pull: Any = None) -> fn.Layer[Any]:
    """A network around a layer of a user's own that returns what it should not."""
    function = lambda params, x: (output(x), pull or (lambda g: ((), (g,))))  # noqa: E731
    own = untyped.custom_layer(lambda key, shape, dtype=np.float32: ((), shape), function, name="mine")
    return fn.network({1: own}, {})


MATRIX: dict[str, Row] = {
    "integers": dtype(X.astype(int), "int64"),
    "booleans": dtype(X > 0, "bool"),
    "objects": dtype(X.astype(object), "object"),
    "strings": dtype(X.astype(str), "<U"),
    "complex numbers": dtype(X.astype(complex), "complex128", r"x\.real"),
    "dates": dtype(X.astype("M8[s]"), "datetime64", r"\(x - x\.min\(\)\) / np\.timedelta64\(1, 'D'\)"),
    "a masked array": dtype(np.ma.array(X, mask=X > 0), "masked", r"x\.filled"),
    "a matrix": dtype(X.view(np.matrix), "np.matrix", r"np\.asarray\(x\)"),
    "a ragged list": dtype([[1.0, 2.0, 3.0], [1.0]], "ragged", "pad or cut"),
    "a table of objects": dtype(Frame(X.astype(object)), "object", r"np\.asarray\(x, np\.float32\)"),
    "nothing": dtype(None, "NoneType", "not an array"),
    "a generator": dtype((row for row in X), "generator", "not an array"),
    "float16, and no params": Row(
        lambda: untyped.tanh().apply((), X.astype(np.float16)), fn.DTypeError, ("tanh", "float16", "cast")
    ),
    "big-endian, and no params": Row(
        lambda: untyped.tanh().apply((), X.astype(">f4")), fn.DTypeError, ("tanh", ">f4", "cast")
    ),
    "two dtypes, and no params": Row(
        lambda: untyped.add().apply((), X, X.astype(float)), fn.DTypeError, ("add", "float32, float64", "one dtype")
    ),
    "params second": Row(lambda: STEP(X, PARAMS, T), fn.DTypeError, ("input 0", "dict", "params come first")),
}
SHAPES: dict[str, Row] = {
    "one row, to a network": Row(
        lambda: NET.apply(PARAMS, X[0]), fn.ShapeError, ("operator 1", r"\(3,\)", r"x\[None\]")
    ),
    "one row, to a layer": Row(
        lambda: untyped.linear(4).apply(PARAMS[1], X[0]), fn.ShapeError, ("linear", r"x\[None\]")
    ),
    "one row, to a step": Row(step_with(X[0]), fn.ShapeError, ("batch sizes 3, 5", r"x\[None\]")),
    "a scalar": Row(step_with(1.0), fn.ShapeError, ("input 0 is a scalar", r"x\[None\]")),
    "rows too wide": Row(step_with(ones(5, 7)), fn.ShapeError, ("operator 1", r"\(5, 7\)", r"\(3, 4\)", "3 features")),
    "batches of two lengths": Row(step_with(X, T[:3]), fn.ShapeError, ("5, 3", "axis 0 is the batch")),
    "(n,) against (n, 1)": Row(
        lambda: untyped.sgd_step(COLUMN, fn.mse(), learning_rate=0.1)(COLUMN.init(fn.key(0), (3,))[0], X, T[:, 0]),
        fn.ShapeError,
        ("mse", r"\(5, 1\)", r"\(5,\)", "nothing is broadcast"),
    ),
    "an empty batch into a mean": Row(
        step_with(X[:0], T[:0]), fn.ShapeError, ("mse", "the batch is empty, and has no mean")
    ),
    "no target": Row(lambda: STEP(PARAMS, X), fn.ShapeError, (r"loss \(mse\) takes 2 inputs", "1 arrive")),
    "a target too many": Row(
        lambda: STEP(PARAMS, X, T, T), fn.ShapeError, (r"loss \(mse\) takes 2 inputs", "3 arrive")
    ),
    "no input": Row(lambda: NET.apply(PARAMS), fn.ShapeError, ("network takes 1 input", "given 0")),
    "an input too many": Row(lambda: NET.apply(PARAMS, X, X), fn.ShapeError, ("network takes 1 input", "given 2")),
    "a loss of rows": Row(
        lambda: untyped.sgd_step(NET, learning_rate=0.1)(PARAMS, X), fn.ShapeError, (r"\(5, 2\)", "fn.mse")
    ),
}
LABELS: dict[str, Row] = {
    "a label out of range": Row(
        lambda: CLASSIFY(PARAMS, X, np.full(5, 7)), fn.LabelError, ("label 7", "2 classes", "0 to 1")
    ),
    "a label below zero": Row(lambda: CLASSIFY(PARAMS, X, np.full(5, -1)), fn.LabelError, ("label -1", "0 to 1")),
    "floating labels": Row(
        lambda: CLASSIFY(PARAMS, X, np.zeros(5)), fn.ShapeError, ("softmax_cross_entropy", r"t\.astype\(int\)")
    ),
}
PARAMETERS: dict[str, Row] = {
    "of another network": Row(step_with(params=OTHER), fn.ParamsError, ("'out'", "no operator with params")),
    "a missing key": Row(
        step_with(params=with_params(_3=None)), fn.ParamsError, ("operator 3", r"Affine\(weight, bias\)", r"not \(\)")
    ),
    "an extra key": Row(step_with(params=with_params(_9=PARAMS[1])), fn.ParamsError, ("9", "no operator")),
    "params for who has none": Row(
        step_with(params={**PARAMS, "squash": PARAMS[1]}), fn.ParamsError, ("'squash'", "has no params")
    ),
    "a weight that does not fit": Row(
        step_with(params=with_params(_3=Weights(ones(5, 2), ones(2)))),
        fn.ShapeError,
        ("operator 3", r"\(5, 2\)", "operator 'squash'"),
    ),
    "a bias that does not fit": Row(
        step_with(params=with_params(_3=Weights(ones(4, 2), ones(3)))),
        fn.ParamsError,
        ("operator 3", r"\(4, 2\)", r"\(3,\)"),
    ),
    "one of another dtype": Row(
        step_with(params=with_params(_3=Weights(ones(4, 2, dtype=float), ones(2)))),
        fn.ParamsError,
        (r"params\[3\]\.weight", "float64", "cast"),
    ),
    "one of integers": Row(
        step_with(params=with_params(_3=Weights(ones(4, 2, dtype=int), ones(2)))), fn.ParamsError, ("int64", "init")
    ),
    "lists": Row(
        step_with(params=with_params(_3=Weights([[1.0]], [1.0]))),
        fn.ParamsError,
        (r"params\[3\]\.weight", "init returns"),
    ),
    "a plain tuple": Row(
        step_with(params=with_params(_3=tuple(PARAMS[3]))), fn.ParamsError, ("operator 3", "a tuple of 2")
    ),
    "all of float16": Row(
        step_with(params=tree.map(lambda p: p.astype(np.float16), PARAMS)),
        fn.ParamsError,
        ("float16", "float32 or float64"),
    ),
    "all big-endian": Row(
        step_with(params=tree.map(lambda p: p.astype(">f4"), PARAMS)), fn.ParamsError, (">f4", "float32 or float64")
    ),
    "the pair of init": Row(step_with(params=(PARAMS, (2,))), fn.ParamsError, ("pair", r"params, shape = init\(")),
    "a list": Row(step_with(params=[PARAMS]), fn.ParamsError, ("a dict", "list")),
    "none at all": Row(step_with(params=None), fn.ParamsError, ("a dict", "NoneType")),
    "keys made strings": Row(
        step_with(params={str(k): v for k, v in PARAMS.items()}), fn.ParamsError, ("'1'", "no operator")
    ),
}
OPTIONS: dict[str, Row] = {
    **{f"a learning rate of {value!r}": rate(value) for value in (0, -1.0, np.nan, np.inf, "0.1", None, True)},
    "no layer to step": Row(
        lambda: untyped.sgd_step(NET.apply, learning_rate=0.1), fn.GraphError, ("argument 0", "not a layer")
    ),
    "a loss not called": Row(
        lambda: untyped.sgd_step(NET, fn.mse, learning_rate=0.1), fn.GraphError, (r"fn\.mse\(\.\.\.\)",)
    ),
    "no layer to vjp": Row(lambda: untyped.vjp(NET.apply, PARAMS, X), fn.GraphError, ("vjp", "not a layer")),
    "no layer to trace": Row(lambda: untyped.trace(NET.apply, PARAMS, X), fn.GraphError, ("trace", "not a layer")),
    "units of a float": Row(lambda: untyped.linear(2.5), fn.OptionError, ("linear: units", "2.5")),
    "an initializer's name": Row(
        lambda: untyped.linear(2, weight_init="he"), fn.OptionError, ("weight_init", r"fn\.he_normal\(\)", "'he'")
    ),
    "an initializer not called": Row(
        lambda: untyped.linear(2, bias_init=fn.zeros), fn.OptionError, ("bias_init", r"fn\.zeros\(")
    ),
    "elementwise of a name": Row(lambda: untyped.elementwise("tanh"), fn.OptionError, ("elementwise", "'tanh'")),
    "elementwise without a pullback": Row(
        lambda: untyped.elementwise(np.tanh).apply((), X), fn.OptionError, ("tanh", r"\(output, pullback\)", "ndarray")
    ),
}
INIT: dict[str, Row] = {
    "an int": Row(lambda: NET.init(fn.key(0), 3), fn.ShapeError, (r"such as \(2,\)", "3")),
    "an array": Row(lambda: NET.init(fn.key(0), X), fn.ShapeError, ("without the batch axis",)),
    "None for the batch": Row(
        lambda: NET.init(fn.key(0), (None, 3)), fn.ShapeError, ("without the batch axis", "None")
    ),
    "the batch among the lengths": Row(
        lambda: (net := untyped.serial(fn.flatten(), fn.linear(2))).apply(net.init(fn.key(0), (5, 3))[0], X),
        fn.ShapeError,
        ("linear", r"\(15, 2\)", "Was init given a shape with the batch axis"),
    ),
    "no shape": Row(lambda: NET.init(fn.key(0)), fn.ShapeError, ("1 input", "0 shapes")),
    "two shapes": Row(lambda: NET.init(fn.key(0), (3,), (3,)), fn.ShapeError, ("1 input", "2 shapes")),
    "two shapes, for a residual": Row(
        lambda: untyped.residual(fn.tanh()).init(fn.key(0), (3,), (3,)), fn.ShapeError, ("residual", "2 shapes")
    ),
    "a seed instead of a key": Row(lambda: NET.init(0, (3,)), fn.KeyTypeError, (r"fn\.key\(0\)",)),
    "a seed instead of a key, later": Row(lambda: NET.apply(PARAMS, X, key=7), fn.KeyTypeError, (r"fn\.key\(7\)",)),
    "a seed instead of a key, in a step": Row(lambda: STEP(PARAMS, X, T, key=7), fn.KeyTypeError, (r"fn\.key\(7\)",)),
    "float16": Row(
        lambda: NET.init(fn.key(0), (3,), dtype=np.float16), fn.DTypeError, ("float16", r"np\.float32 or np\.float64")
    ),
    "no dtype": Row(lambda: NET.init(fn.key(0), (3,), dtype="banana"), fn.DTypeError, ("'banana'", r"np\.float32")),
}
COTANGENTS: dict[str, Row] = {
    "of another shape": Row(lambda: pullback(NET)(ones(5, 3)), fn.ShapeError, (r"\(5, 3\)", r"\(5, 2\)")),
    "a number for an array": Row(lambda: pullback(NET)(1.0), fn.ShapeError, (r"\(\)", r"\(5, 2\)")),
    "integers": Row(lambda: pullback(NET)(ones(5, 2, dtype=int)), fn.DTypeError, ("cotangent", "int64")),
    "nothing": Row(lambda: pullback(NET)(None), fn.ShapeError, ("must be one array", "NoneType")),
    "a tuple for one output": Row(lambda: pullback(NET)((T,)), fn.ShapeError, ("must be one array", "tuple of 1")),
    "one for two outputs": Row(
        lambda: pullback(fn.network(OPERATORS, CONNECTIVITY, output=[1, 3]))(T),
        fn.ShapeError,
        ("a tuple of 2 arrays", "not one array"),
    ),
}
OWN: dict[str, Row] = {
    "an output of another shape": Row(
        lambda: returned(lambda x: x[:, :1]).apply({}, X), fn.ShapeError, ("mine: its output", r"\(5, 1\)", r"\(5, 3\)")
    ),
    "an output of another dtype": Row(
        lambda: returned(lambda x: x.astype(float)).apply({}, X),
        fn.DTypeError,
        ("mine: its output", "float64", "float32"),
    ),
    "a cotangent of another shape": Row(
        lambda: returned(lambda x: x, lambda g: ((), (g[:1],))).apply.vjp({}, X)[1](X),
        fn.ShapeError,
        ("mine: the cotangent of input 0", r"\(1, 3\)"),
    ),
    "no pullback": Row(
        lambda: untyped.custom_layer(lambda key, s, dtype=np.float32: ((), s), lambda p, x: x, name="mine").apply(
            (), X
        ),
        fn.OptionError,
        ("mine", r"\(output, pullback\)"),
    ),
}
GRAPHS: dict[str, Row] = {
    "several mistakes at once": Row(
        lambda: untyped.network(
            {1: fn.tanh(), 2: fn.tanh(), 3: fn.add(), 5: fn.tanh()}, {1: [2, 7], 2: [3], 3: [2]}, output=5
        ),
        fn.GraphError,
        (r"\d problems in the graph", "names 7, which is not in operators", "is a cycle"),
    ),
    "a layer not called": Row(
        lambda: untyped.network({1: fn.tanh}, {}), fn.GraphError, ("1", r"call it, fn\.tanh|fn\.tanh\(")
    ),
    "inputs that are fed": Row(
        lambda: untyped.network({1: fn.tanh(), 2: fn.tanh()}, {1: [2]}, inputs=[2]),
        fn.GraphError,
        ("2", r"fn\.identity\(\)"),
    ),
    "shapes that do not fit": Row(
        lambda: untyped.network({1: fn.linear(2), 2: fn.linear(3), 3: fn.add()}, {1: [3], 2: [3]}).init(
            fn.key(0), (2,), (2,)
        ),
        fn.ShapeError,
        (r"operator 3 \(add\)", r"operator 1 with shape \(2,\)", r"operator 2 with shape \(3,\)"),
    ),
}
IMAGE = np.ones((2, 8, 8, 3), np.float32)


def slides(kind: str) -> Any:
    """The constructor of a layer that slides, with all but the options to try."""
    make: Any = getattr(fn, kind)
    return partial(make, 4) if kind.startswith("conv") else make


def of_window(kind: str, words: tuple[str, ...], error: type[Exception] = fn.OptionError, **options: Any) -> Row:
    """Options that a layer refuses, in its own name."""
    size = options.pop("kernel_size", (3, 3))
    return Row(lambda: slides(kind)(size, **options), error, (f"^{kind}: ", *words))


def of_image(kind: str, x: Any, error: type[Exception], *words: str) -> Row:
    """An input that a layer refuses, drawn for images of 8 x 8 with three channels."""

    def call() -> Any:
        net = fn.network({"layer": slides(kind)((3, 3))}, {})
        params, _ = net.init(fn.key(0), (8, 8, 3))
        return net.apply(params, x)

    return Row(call, error, ("input 0" if error is fn.DTypeError else rf"operator 'layer' \({kind}\)", *words))


SLIDING = ("conv", "conv_transpose", "max_pool", "avg_pool")
IMAGES: dict[str, Row] = {
    f"{kind}: {name}": row
    for kind in SLIDING
    for name, row in {
        "a stride of 0": of_window(kind, ("strides must be an int of at least 1", "not 0"), strides=(1, 0)),
        "strides of bools": of_window(kind, ("strides", "not True"), strides=True),
        "strides of floats": of_window(kind, ("strides", r"not 1\.5"), strides=1.5),
        "strides of three axes": of_window(kind, ("each of the 2 axes", r"\(1, 1, 1\)"), strides=(1, 1, 1)),
        "a negative size": of_window(kind, ("kernel_size", "at least 1", "not -3"), kernel_size=(-3, 3)),
        "a size of bools": of_window(kind, ("kernel_size", "not True"), kernel_size=(True, 3)),
        "a size of floats": of_window(kind, ("kernel_size", r"not 3\.0"), kernel_size=3.0),
        "three axes": of_window(kind, ("one int or two", r"\(3, 3, 3\)"), kernel_size=(3, 3, 3)),
        "padding in capitals": of_window(kind, ("'SAME'", "did you mean 'same'"), padding="SAME"),
        "padding of another name": of_window(kind, ("'valid', 'same' or a pair", "not 'full'$"), padding="full"),
        "padding of no name": of_window(kind, ("'valid', 'same' or a pair", "not None$"), padding=None),
        "padding of three ints": of_window(kind, (r"not \(1, 0, 1\)$",), padding=(1, 0, 1)),
        "padding of triples": of_window(kind, ("a pair",), padding=((1, 1, 1), (0, 0, 0))),
        "padding of one axis": of_window(kind, (r"such as \(\(1, 0\),\)",), kernel_size=3, padding="full"),
        "padding of one int": of_window(kind, ("not 1, did you mean", r"\(\(1, 1\), \(1, 1\)\)"), padding=1),
        "padding of ints": of_window(kind, ("did you mean", r"\(\(1, 1\), \(0, 0\)\)"), padding=(1, 0)),
        "negative padding": of_window(kind, ("padding", "at least 0", "not -1"), padding=((-1, 0), (0, 0))),
        "padding of bools": of_window(kind, ("padding", "not True"), padding=((True, 0), (0, 0))),
        "one image": of_image(kind, IMAGE[0], fn.ShapeError, r"one row alone is x\[None\]"),
        "one channel": of_image(kind, IMAGE[..., 0], fn.ShapeError, r"one channel alone x\[\.\.\., None\]"),
        "flat images": of_image(kind, IMAGE.reshape(2, -1), fn.ShapeError, r"fn\.reshape\(height, width, 1\)"),
        "bytes": of_image(kind, IMAGE.astype(np.uint8), fn.DTypeError, "uint8", "astype"),
    }.items()
} | {
    "a dilation of 0": of_window("conv", ("dilation must be an int of at least 1, not 0",), dilation=0),
    "groups of 0": of_window("conv", ("groups must be an int of at least 1, not 0",), groups=0),
    "groups and features": of_window("conv", ("groups must divide the 4 features, and 3 does not",), groups=3),
    "groups and channels": Row(
        lambda: fn.conv(4, (3, 3), groups=2).init(fn.key(0), (8, 8, 3)),
        fn.ShapeError,
        ("^conv: ", "groups must divide the 3 channels", "2 does not"),
    ),
    "groups of a transposed convolution": of_window("conv_transpose", ("no argument groups",), fn.CallError, groups=2),
    "a dilated pool": of_window("max_pool", ("no argument dilation",), fn.CallError, dilation=2),
    "channels first": of_image(
        "conv", IMAGE.transpose(0, 3, 1, 2), fn.ShapeError, r"channels come last, x\.transpose\(\(0, 2, 3, 1\)\)"
    ),
    "other channels": of_image(
        "conv_transpose", IMAGE[..., :2], fn.ShapeError, "takes 3 channels, and its input has 2"
    ),
    "no rows of pixels": of_image("conv_transpose", IMAGE[:, :0], fn.ShapeError, "has no elements"),
    "an image smaller than the kernel": of_image(
        "conv", IMAGE[:, :2], fn.ShapeError, "over 3 elements", "only 2 along"
    ),
    "an image smaller than the window": of_image("avg_pool", IMAGE[:, :, :1], fn.ShapeError, "only 1 along"),
    "padding as large as the window": of_window("max_pool", (r"\(3, 0\) must be smaller",), padding=((3, 0), (0, 0))),
    "a shape with the batch": Row(
        lambda: fn.conv(4, (3, 3)).init(fn.key(0), (2, 8, 8, 3)), fn.ShapeError, ("^conv: ", "those of one row")
    ),
    "images for a kernel of one axis": Row(
        lambda: fn.conv(4, 3).init(fn.key(0), (8, 8, 3)), fn.ShapeError, ("over 1 axis", r"such as \(3, 3\)")
    ),
    "a factor of 0": Row(lambda: fn.upsample((2, 0)), fn.OptionError, ("^upsample: factor", "not 0")),
    "a factor of floats": Row(lambda: untyped.upsample(1.5), fn.OptionError, ("^upsample: factor", r"not 1\.5")),
    "PyTorch's kernel": Row(
        lambda: fn.conv(4, (3, 3)).apply(fn.Affine(ones(4, 3, 3, 3), ones(4)), IMAGE),
        fn.ParamsError,
        (r"weight is \(4, 3, 3, 3\)", r"must be \(3, 3, channels, features\)"),
    ),
}
ROWS = {
    f"{table}: {name}": row
    for table, rows in {
        "x": MATRIX,
        "shapes": SHAPES,
        "labels": LABELS,
        "params": PARAMETERS,
        "options": OPTIONS,
        "init": INIT,
        "cotangent": COTANGENTS,
        "a layer of one's own": OWN,
        "graph": GRAPHS,
        "images": IMAGES,
    }.items()
    for name, row in rows.items()
}


def pullback(net: fn.Layer[Any, Any]) -> Any:
    return net.apply.vjp(PARAMS, X)[1]


def bits(*trees: Any) -> list[bytes]:
    return [np.asarray(a).tobytes() for a in tree.leaves(trees)]


@pytest.mark.parametrize("name", ROWS)
def test_the_error_says_what_where_and_how_to_mend_it(name: str) -> None:
    row = ROWS[name]
    expected, arguments = bits(STEP(PARAMS, X, T), NET.apply(PARAMS, X)), bits(PARAMS, OTHER, X, T)
    for _ in range(2):
        with pytest.raises(row.error) as caught:
            row.call()
        assert isinstance(caught.value, fn.FuncnetError)
        assert [words for words in row.words if not re.search(words, str(caught.value))] == [], str(caught.value)
        assert bits(STEP(PARAMS, X, T), NET.apply(PARAMS, X)) == expected
    assert bits(PARAMS, OTHER, X, T) == arguments


ACCEPTED: dict[str, Callable[[Any], Any]] = {
    "float64": lambda x: x.astype(np.float64),
    "big-endian": lambda x: x.astype(">f4"),
    "a list": lambda x: x.tolist(),
    "a table": Frame,
    "in Fortran order": np.asfortranarray,
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_floating_input_is_cast_to_the_dtype_of_the_params(name: str) -> None:
    assert bits(STEP(PARAMS, ACCEPTED[name](X), T)) == bits(STEP(PARAMS, X, T))


def test_float16_is_widened_to_the_dtype_of_the_params() -> None:
    narrow = X.astype(np.float16)
    assert bits(STEP(PARAMS, narrow, T)) == bits(STEP(PARAMS, narrow.astype(np.float32), T))


def test_a_rate_of_float64_leaves_float32() -> None:
    step = fn.sgd_step(NET, fn.mse(), learning_rate=np.float64(0.1))
    assert bits(step(PARAMS, X, T)) == bits(STEP(PARAMS, X, T))


def test_dicts_changed_after_compiling_have_no_effect() -> None:
    operators, connectivity = dict(OPERATORS), {k: list(v) for k, v in CONNECTIVITY.items()}
    inputs, output = [1], [3]
    net = fn.network(operators, connectivity, inputs=inputs, output=output)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    operators["squash"] = fn.exp()
    del operators[3]
    connectivity["squash"].clear()
    connectivity[1].append(3)
    inputs.append(3)
    output.clear()
    assert bits(step(PARAMS, X, T)) == bits(STEP(PARAMS, X, T))
    assert bits(net.init(fn.key(0), (3,))[0]) == bits(PARAMS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_propagate_as_in_numpy(value: float) -> None:
    x = X.copy()
    x[1, 2] = value
    W, b = PARAMS[1]
    with np.errstate(invalid="ignore"):
        expected = np.tanh(x @ W + b) @ PARAMS[3].weight + PARAMS[3].bias
        np.testing.assert_allclose(NET.apply(PARAMS, x), expected, rtol=1e-5, atol=1e-6)
        _, loss = STEP(PARAMS, x, T)
    assert np.isnan(loss) == np.isnan(expected).any()


EXPLODING = fn.network({"in": fn.linear(2), "boom": fn.exp(), "after": fn.tanh()}, {"in": ["boom"], "boom": ["after"]})
LARGE, _ = EXPLODING.init(fn.key(0), (3,))
FINITE: dict[str, tuple[Any, Any, Any, tuple[str, ...]]] = {
    "an operator": (
        LARGE,
        X * np.array([[1e9], [0], [0], [0], [0]], np.float32),
        T,
        (r"operator 'boom' \(exp\)", r"\d infinite of 10 elements"),
    ),
    "an input": (LARGE, X * np.float32(np.nan), T, ("input 0", "15 NaN of 15 elements")),
    "a target": (LARGE, X, T + np.float32(np.inf), ("input 1", "10 infinite of 10 elements")),
    "params": (
        {"in": fn.Affine(LARGE["in"].weight * np.float32(np.nan), LARGE["in"].bias)},
        X,
        T,
        (r"params\['in'\]\.weight", "6 NaN of 6"),
    ),
    "the loss": (LARGE, X, T + np.float32(1e30), ("the loss", "1 infinite of 1")),
}


@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("maker", ["sgd_step", "value_and_grad"])
def test_check_finite_names_the_first_culprit_and_the_count(maker: str, name: str) -> None:
    rate: dict[str, Any] = {"learning_rate": 0.1} if maker == "sgd_step" else {}
    careful, careless = (getattr(fn, maker)(EXPLODING, fn.mse(), check_finite=check, **rate) for check in (True, False))
    params, x, target, words = FINITE[name]
    expected = bits(careless(LARGE, X, T))
    with np.errstate(all="ignore"):
        careless(params, x, target)
        for _ in range(2):
            with pytest.raises(fn.NonFiniteError) as caught:
                careful(params, x, target)
            assert [w for w in (maker, *words) if not re.search(w, str(caught.value))] == [], str(caught.value)
            assert isinstance(caught.value, FloatingPointError)
            assert bits(careful(LARGE, X, T)) == expected


def test_check_finite_names_the_gradient_and_the_update() -> None:
    net = fn.network({1: fn.linear(1)}, {})
    params: Any = {1: fn.Affine(ones(1, 1) * np.float32(1e-30), ones(1))}
    x, target = np.full((1, 1), 1e30, np.float32), np.full((1, 1), -1e15, np.float32)
    with np.errstate(all="ignore"), pytest.raises(fn.NonFiniteError, match=r"the gradient of params\[1\]\.weight"):
        fn.value_and_grad(net, fn.mse(), check_finite=True)(params, x, target)
    near: Any = {1: fn.Affine(np.full((2, 1), 3e38, np.float32), np.zeros(1, np.float32))}
    step = fn.sgd_step(net, fn.mse(), learning_rate=1e20, check_finite=True)
    with np.errstate(all="ignore"), pytest.raises(fn.NonFiniteError, match="lower the learning rate"):
        step(near, np.array([[1, -1]], np.float32), np.full((1, 1), 5e17, np.float32))


def test_check_finite_of_what_is_no_network_names_its_kind() -> None:
    net = fn.serial(fn.linear(2), fn.exp())
    params, _ = net.init(fn.key(0), (3,))
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1, check_finite=True)
    with np.errstate(all="ignore"), pytest.raises(fn.NonFiniteError, match="the output of serial has .* infinite"):
        step(params, X * np.float32(1e9), T)
