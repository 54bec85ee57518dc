"""Derivations: the numbers are those of the VJP, and each equation, computed as it is printed, gives its numbers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.inspection.derivation import Line
from funcnet.inspection.equations import FIELDS, Formula, Rule, Symbol, rule_of, text
from tests.inspection.test_summary import nested
from tests.support.budget import examples
from tests.support.cases import CASES, Case, square
from tests.support.strategies import Problem, problems

NET = fn.network({1: fn.linear(3), 2: fn.tanh(), 3: fn.add(), 4: fn.linear(2)}, {1: [2, 3], 2: [3], 3: [4]})
TEXT = """\
derivation of network, loss mse()
  y: the value of an operator      g: its cotangent, dL/dy      dW: the gradient of W, dL/dW
  N: rows of the batch      F, C: features, classes of a row

forward
  1 linear(3)  y1 = x W1 + b1                           y = x W + b
  2 tanh       y2 = tanh y1                             y = tanh x
  3 add        y3 = y1 + y2                             y = x_1 + ... + x_n
  4 linear(2)  y4 = y3 W4 + b4                          y = x W + b
  loss mse     L_n = mean (y4 - t)^2 over features      L_n = mean (y - t)^2 over features
               L = sum_n L_n / N

backward
  loss mse     gL = 1                                   dL / dL
               gL_n = gL / N                            of the loss of each row
  4 linear(2)  g4 = 2 gL_n (y4 - t) / F                 from loss: dy = 2 g (y - t) / F
               dW4 = y3^T g4                            dW = x^T g
               db4 = sum_n g4_n                         db = sum_n g_n
  3 add        g3 = g4 W4^T                             from 4: dx = g W^T
  2 tanh       g2 = g3                                  from 3: dx_i = g
  1 linear(3)  g1 = g3 + g2 (1 - y2^2)                  two cotangents arrive: from 3: dx_i = g; from 2: dx = g (1 - y^2)
               dW1 = x^T g1                             dW = x^T g
               db1 = sum_n g1_n                         db = sum_n g_n
  input x      gx = g1 W1^T                             from 1: dx = g W^T"""  # noqa: E501
few = settings(max_examples=examples(60))


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape)


def by_name(lines: tuple[Line, ...]) -> dict[str, Any]:
    return {str(line.name): line.value for line in lines if line.name is not None}


def test_the_text() -> None:
    assert str(fn.explain(NET, fn.mse())) == TEXT


def test_the_numbers_are_those_of_value_and_grad() -> None:
    params, _ = NET.init(fn.key(0), (2,), dtype=np.float64)
    x, t = numbers(4, 2), numbers(4, 2)[::-1]
    found = fn.explain(NET, fn.mse(), params, x, t)
    loss, gradient = fn.value_and_grad(NET, fn.mse())(params, x, t)
    values = by_name((*found.forward, *found.backward))
    np.testing.assert_allclose(values["L"], loss)
    np.testing.assert_allclose(values["dW1"], gradient[1].weight)
    np.testing.assert_allclose(values["db4"], gradient[4].bias)
    assert "(4, 3)  " in str(found)


def equal_to_the_vjp(net: Any, params: Any, inputs: Any) -> None:
    found = fn.explain(net, None, params, *inputs)
    with np.errstate(all="ignore"):
        output, pullback = net.apply.vjp(params, *inputs)
        of_params, of_inputs = pullback(tree.map(np.ones_like, output))
    symbols = {id(line.value): line.name for line in found.given}
    values = by_name(found.backward)
    for leaf, expected in zip(tree.leaves(params), tree.leaves(of_params), strict=True):
        symbol = symbols[id(leaf)]
        assert symbol is not None
        np.testing.assert_allclose(values[f"d{symbol}"], expected, rtol=1e-4, atol=1e-4 * (1 + np.abs(expected).max()))
    inputs_named = ["gx"] if len(inputs) == 1 else [f"gx{i}" for i in range(len(inputs))]
    for name, expected in zip(inputs_named, of_inputs, strict=True):
        np.testing.assert_allclose(values[name], expected, rtol=1e-4, atol=1e-4 * (1 + np.abs(expected).max()))


@few
@given(problems())
def test_on_random_networks_all_that_is_printed_are_the_cotangents_of_the_vjp(problem: Problem) -> None:
    with np.errstate(all="ignore"):
        equal_to_the_vjp(*problem.made())


class Computed:
    """A number or array in an equation. matrix: a weight or what is transposed, a factor of products of matrices."""

    def __init__(self, x: Any, matrix: bool = False) -> None:
        self.x: Any = x
        self.matrix: bool = matrix

    def with_(self, other: Any, f: Callable[[Any, Any], Any]) -> Computed:
        return Computed(f(self.x, other.x if isinstance(other, Computed) else other))

    def __add__(self, other: Any) -> Computed:
        return self.with_(other, np.add)

    def __radd__(self, other: Any) -> Computed:
        return self.with_(other, lambda a, b: b + a)

    def __sub__(self, other: Any) -> Computed:
        return self.with_(other, np.subtract)

    def __rsub__(self, other: Any) -> Computed:
        return self.with_(other, lambda a, b: b - a)

    def __mul__(self, other: Computed) -> Computed:
        return self.with_(other, np.matmul if self.matrix or getattr(other, "matrix", False) else np.multiply)

    def __rmul__(self, other: Any) -> Computed:
        return self.with_(other, np.multiply)

    def __truediv__(self, other: Any) -> Computed:
        return self.with_(other, np.divide)

    def __rtruediv__(self, other: Any) -> Computed:
        return self.with_(other, lambda a, b: b / a)

    def __pow__(self, power: int) -> Computed:
        return Computed(self.x**power)

    def __neg__(self) -> Computed:
        return Computed(-self.x)

    def __gt__(self, other: Any) -> Computed:
        return Computed(1.0 * (self.x > other))

    @property
    def transposed(self) -> Computed:
        return Computed(self.x.T, matrix=True)


def applied(f: Callable[..., Any]) -> Callable[..., Computed]:
    return lambda *xs: Computed(f(*(getattr(x, "x", x) for x in xs)))


SCOPE: dict[str, Any] = {
    "tanh": applied(np.tanh),
    "exp": applied(np.exp),
    "sigmoid": applied(lambda x: 1 / (1 + np.exp(-x))),
    "max": applied(np.maximum),
    "mean": applied(lambda x: x.mean(axis=-1)),
    "sum_n": applied(lambda x: x.sum(axis=0)),
}


def computed(formula: Formula, known: dict[str, Any]) -> Any:
    """The right side of an equation, computed as it is printed."""
    names: dict[str, Computed] = {}
    source = ""
    for part in formula:
        if isinstance(part, Symbol):
            value = known.get(str(part), known.get(str(part._replace(subscript=""))))
            names[name := f"v{len(names)}"] = Computed(value, part.letter == "W")
            source += name
        else:
            source += part
    source = (
        re.sub(r"mean (.*) over features", r"mean(\1)", source)
        .partition(" = ")[0]
        .replace("[", "(")
        .replace("]", ")")
        .replace("^T", ".transposed")
    )
    source = source.replace("^2", "**2").replace(" T", "T")
    source = re.sub(r"\b(tanh|exp) (v\d+)", r"\1(\2)", source)
    source = re.sub(r"sum_n ((?:(?! [+/] ).)*)", r"sum_n(\1)", source)
    source = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", source)
    more = {"N": Computed(known["N"]), "F": Computed(known["F"])}
    result = eval(source, {**SCOPE, **more, **names})  # noqa: S307
    return getattr(result, "x", result)


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """A network of operators whose equations can be computed as they are printed."""
    operators: dict[Any, Any] = {0: fn.linear(3)}
    connectivity: dict[Any, list[Any]] = {0: []}
    for key in range(1, draw(st.integers(2, 9))):
        kind = (
            "linear"
            if key == 1 and draw(st.booleans())
            else draw(st.sampled_from(["linear", "scalar", "merge", "merge", "pair", "residual", "shared"]))
        )
        feeders = draw(st.lists(st.integers(0, key - 1), min_size=1, max_size=3, unique=True))
        if kind == "merge":
            operators[key] = getattr(fn, draw(st.sampled_from(["add", "multiply", "average"])))()
        elif kind == "pair" and len(feeders) > 1:
            operators[key], feeders = fn.subtract(), feeders[:2]
        else:
            feeders = feeders[:1]
            scalar = draw(st.sampled_from([fn.tanh, fn.sigmoid, fn.relu, fn.identity, fn.silu]))()
            if kind == "linear":
                operators[key] = fn.linear(3, use_bias=False) if draw(st.booleans()) else fn.linear(3)
            elif kind == "residual":
                operators[key] = fn.residual(fn.linear(3), scalar)
            elif kind == "shared" and key > 1 and operators[1].apply.kind == "linear":
                operators[key] = fn.shared(1)
            else:
                operators[key] = scalar
        connectivity[key] = []
        for feeder in feeders:
            connectivity[feeder].append(key)
    ends = [key for key, fed in connectivity.items() if not fed]
    if len(ends) > 1:
        operators["end"] = fn.add()
        connectivity |= {key: ["end"] for key in ends}
    return fn.network(operators, connectivity)


@few
@given(graphs())
def test_every_equation_computed_as_it_is_printed_gives_its_numbers(net: Any) -> None:
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64)
    found = fn.explain(net, fn.mse(), params, numbers(4, 2), numbers(4, 3))
    known = by_name(found.given)
    known |= {"N": 4.0, "F": 3.0}
    lines = [*found.forward, *found.backward]
    for i, line in enumerate(lines):
        if line.name is None:
            continue
        for defined in itertools.takewhile(lambda later: later.name is None, lines[i + 1 :]):
            name, _, _, _, *side = defined.formula  # it stands behind the equation that it is used in
            known[str(name)] = computed(tuple(side), known)
        value = computed(line.formula, known)
        if line.value is not None:
            np.testing.assert_allclose(value, line.value, rtol=1e-9, atol=1e-12, err_msg=text(line.formula))
        known[str(line.name)] = value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_layer_is_explained_by_its_docstrings_equations(case: Case) -> None:
    layer = case.make()
    lines = fn.explain(layer).backward
    assert lines
    if "custom" not in case.name:
        assert "pullback" not in "".join(text(line.formula) for line in lines)


def test_attention_passes_back_to_queries_keys_and_values_by_the_values_between() -> None:
    found = re.sub(r" +", " ", str(fn.explain(fn.dot_product_attention(masked=True))))
    assert "with S = x0 x1^T / sqrt(d)" in found
    assert "with dS = P (g x2^T - sum g y)" in found
    assert "gx0 = dS x1 / sqrt(d) dq = dS k / sqrt(d)" in found
    assert "gx2 = P^T g dv = P^T g" in found
    found = str(fn.explain(fn.network({3: fn.linear(4), "at": fn.attention(2)}, {3: ["at"]})))
    assert "with k[at] = y3 W[at]_k" in found
    assert "g3 = dq[at] W[at]_q^T + dk[at] W[at]_k^T + dv[at] W[at]_v^T" in found


def test_both_directions_are_explained_with_the_inputs_that_the_layer_takes() -> None:
    layer = fn.bidirectional(fn.lstm(2, lengths=True, initial_state=True))
    found = re.sub(r" +", " ", str(fn.explain(layer)))
    assert "with c = f(r(x0); V)" in found
    assert "dV = f's for dc" in found
    assert "gx0 = f's for da + r(f's for dc)" in found
    assert "gx1" not in found
    assert "gx2 = dh_0" in found
    params, _ = layer.init(fn.key(0), (5, 2), (), (8,))
    values = by_name(
        fn.explain(
            layer, None, params, numbers(3, 5, 2).astype("f4"), np.array([5, 2, 0]), numbers(3, 8).astype("f4")
        ).backward
    )
    assert tree.structure(values["dU"]) == tree.structure(params.forward)


@pytest.mark.parametrize(
    ("kind", "begins", "passed"),
    [("rnn", "h_0 = x1", "dh_0"), ("gru", "h_0 = x1", "dh_0"), ("lstm", "h_0, c_0 = x1 cut in two", "[dh_0, dc_0]")],
)
@pytest.mark.parametrize("lengths", [False, True])
def test_a_given_initial_state_stands_for_zeros(kind: str, begins: str, passed: str, lengths: bool) -> None:
    layer = getattr(fn, kind)(2, lengths=lengths, initial_state=True)
    found = re.sub(r" +", " ", str(fn.explain(layer)))
    begins = begins.replace("x1", f"x{1 + lengths}")
    assert f"with {begins}\n" in found
    assert "h_0 = 0" not in found
    assert "c_0 = 0" not in found
    assert "y = h_T, or" in found
    assert f"gx{1 + lengths} = {passed} ds_0 = {passed}" in found


class Recurrence:
    """Computes the equations of a recurrent layer as they are written: values by name and time."""

    def __init__(self, layer: fn.Layer[Any], params: Any, x: Any, units: int) -> None:
        rule = rule_of(layer.apply)
        assert rule is not None
        self.rule: Rule = rule
        self.units: int = units
        self.gates: str = {"rnn": "", "lstm": "ifuo", "gru": "rzn"}[layer.apply.kind]
        last = slice(2 * units, None)  # of the gates of a gru
        fields = {"W": params.weight, "R": params.recurrent_weight, "b": params.bias}
        fields |= {"W_n": fields["W"][:, last], "R_a": fields["R"][:, last], "b_n": fields["b"][last]}
        self.known: dict[str, Any] = {name: Computed(value, name[0] in "WR") for name, value in fields.items()}
        self.known["b_a"] = Computed(getattr(params, "recurrent_bias", 0.0))
        zero, times = Computed(np.zeros((len(x), units))), x.shape[1]
        lefts = [step.partition(" = ")[0] for step in (*rule.between, *rule.back)]
        names = {name.partition("_")[0] for left in lefts for name in left.split(", ")}
        self.known |= {name: {0: zero, times + 1: zero} for name in names}
        self.known["x"] = {t: Computed(x[:, t - 1]) for t in range(1, times + 1)}

    def value(self, side: str, t: int) -> Any:
        side = re.sub(r"\b([a-z]+)_\(t([+-]1)\)", r"\1[t\2]", side)
        side = re.sub(r"(?<!\w)((?![tb]\b)d?[a-z])(?:_t)?(?![\w\[(])", r"\1[t]", side)
        side = side.replace("^T", ".transposed").replace("^2", "**2")
        side = re.sub(r"(?<![\w\]])\[(d.*?\])\]", r"beside(\1)", side)
        side = re.sub(r"\b(tanh|sigmoid) (\w\[t\])", r"\1(\2)", side)
        side = re.sub(r"(?<=[\w)\]]) (?=[\w(])", " * ", side)
        beside = applied(lambda *parts: np.concatenate(parts, axis=-1))
        return eval(side, {**SCOPE, **self.known, "t": t, "beside": beside})  # noqa: S307

    def run(self, step: str, t: int) -> None:
        left, side = step.split(" = ", 1)
        if left == "h_0":
            return
        found = self.value(side, t)
        for name in left.split(", "):
            name, _, at = name.partition("_")
            place = self.gates.find("n" if (name, len(self.gates)) == ("u", 3) else name)
            whole = found.x.shape[-1] != self.units and not name.startswith("d") and place >= 0
            part = slice(place * self.units, (place + 1) * self.units)
            self.known[name][t - 1 if at == "(t-1)" else t] = Computed(found.x[:, part]) if whole else found


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_the_equations_of_recurrent_layers_computed_as_they_are_written_give_their_cotangents(
    kind: str, sequences: bool
) -> None:
    layer = getattr(fn, kind)(3, return_sequences=sequences)
    params, _ = layer.init(fn.key(0), (5, 2), dtype=np.float64)
    params = tree.map(lambda p: p + 0.1, params)
    x = numbers(4, 5, 2)
    y, pullback = layer.apply.vjp(params, x)
    g = numbers(*y.shape)
    of = Recurrence(layer, params, x, 3)
    for t in range(1, 6):
        for step in of.rule.between:
            of.run(step, t)
    h = np.stack([of.known["h"][t].x for t in range(1, 6)], axis=1)
    np.testing.assert_allclose(h if sequences else h[:, -1], y, rtol=1e-12)
    upstream = {t: g[:, t - 1] if sequences else g * (t == 5) for t in range(1, 6)}
    of.known["g"] = {t: Computed(upstream.get(t, 0.0 * upstream[1])) for t in range(6)}
    of.known["dh"][5] = of.known["g"][5]
    for t in range(5, 0, -1):
        for step in of.rule.back:
            of.run(step, t)
    of_params, (dx,) = pullback(g)
    for letter, side in of.rule.cotangents.items():
        term = side.removeprefix("sum_t ").removeprefix("sum_n ")
        terms = [of.value(term, t).x for t in range(1, 6)]
        if letter == "x_t":
            np.testing.assert_allclose(np.stack(terms, axis=1), dx, rtol=1e-10)
        else:
            found = sum(part.sum(axis=0) if "sum_n" in side else part for part in terms)
            np.testing.assert_allclose(found, getattr(of_params, FIELDS[letter]), rtol=1e-10, atol=1e-14)


def test_the_gelu_by_tanh_is_explained_by_its_own_equations() -> None:
    x = numbers(5, 3)
    rule = rule_of(fn.gelu(approximate=True).apply)
    assert rule is not None
    u, slope = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3), np.sqrt(2 / np.pi) * (1 + 0.134145 * x**2)
    s = (1 + np.tanh(u)) / 2
    assert rule.cotangents == {"x": "g (s + 2 y (1 - s) v), v = sqrt(2 / pi) (1 + 0.134145 x^2)"}
    y, pullback = fn.gelu(approximate=True).apply.vjp((), x)
    np.testing.assert_allclose(y, x * s, rtol=1e-12)
    np.testing.assert_allclose(pullback(np.ones_like(x))[1][0], s + 2 * y * (1 - s) * slope, rtol=1e-12)


@pytest.mark.parametrize("loss", [fn.mse, fn.huber, fn.sigmoid_cross_entropy], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_of_elements_weigh_the_loss_of_each(loss: Any, reduction: str) -> None:
    net = fn.linear(3)
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64)
    x, t, w = numbers(4, 2), np.abs(numbers(4, 3)) / 3, np.abs(numbers(4, 3))
    found = fn.explain(net, loss(weighted=True, reduction=reduction), params, x, t, w)
    lines = {str(line.name): line for line in (*found.forward, *found.backward)}
    over = " / sum_i w_i" if reduction == "mean" else " / P"
    assert text(lines["L"].formula) == f"sum_i w_i L_i{over}"
    assert text(lines["gL_i"].formula) == f"gL w_i{over}"
    assert " / F" not in text(lines["g"].formula)
    if loss is fn.mse:
        y = net.apply(params, x)
        share = w / w.sum() if reduction == "mean" else w / 3
        np.testing.assert_allclose(lines["L"].value, (share * (y - t) ** 2).sum())
        assert text(lines["g"].formula) == "2 gL_i (y - t)"
        np.testing.assert_allclose(lines["g"].value, 2 * share * (y - t))
    rows = fn.explain(net, loss(weighted=True, reduction=reduction), params, x, t, w[:, 0])
    assert " / F" in text(next(line.formula for line in rows.backward if str(line.name) == "g"))


LOSSES = [
    ("mean", {}, ["gL_n = gL / N", "L = sum_n L_n / N"]),
    ("sum", {"reduction": "sum"}, ["gL_n = gL", "L = sum_n L_n"]),
    ("weighted", {"weighted": True}, ["gL_n = gL w_n / sum_n w_n", "L = sum_n w_n L_n / sum_n w_n"]),
    ("weighted sum", {"weighted": True, "reduction": "sum"}, ["gL_n = gL w_n", "L = sum_n w_n L_n"]),
]


@pytest.mark.parametrize(("options", "lines"), [case[1:] for case in LOSSES], ids=[case[0] for case in LOSSES])
def test_the_loss_of_a_batch_is_made_of_those_of_its_rows(options: Any, lines: list[str]) -> None:
    loss: Any = fn.mse(**options)
    found = re.sub(r" +", " ", str(fn.explain(NET, loss)))
    assert all(f" {line} " in found or f" {line}\n" in found for line in lines)


def test_a_scalar_function_of_ones_own_is_differentiated_by_name_and_a_custom_layer_by_its_pullback() -> None:
    net = fn.network({1: fn.elementwise(square), "c": fn.custom_layer(own_init, own, name="own")}, {1: ["c"]})
    found = str(fn.explain(net))
    assert "g1 = pullback(g[c])[1][0]" in found
    assert "gx = g1 square'(x)" in found
    assert "dparams[c] = pullback(g[c])[0]" in found
    params, _ = net.init(fn.key(0), (3,))
    equal = by_name(fn.explain(net, None, params, numbers(4, 3).astype(np.float32)).backward)
    np.testing.assert_array_equal(tree.leaves(equal["dparams[c]"])[0].shape, (3,))


def own_init(key: fn.Key, *shapes: fn.Shape, dtype: Any = np.float32) -> tuple[fn.Weight, fn.Shape]:
    return fn.Weight(np.ones(shapes[0][-1:], dtype)), shapes[0]


def own(params: fn.Weight, x: fn.Array) -> tuple[fn.Array, fn.Pullback[fn.Weight]]:
    return x * params.weight, lambda g: (fn.Weight((x * g).sum(axis=0)), (g * params.weight,))


def test_what_is_nested_is_written_out_under_its_path_and_its_result_under_its_own_key() -> None:
    found = str(fn.explain(nested()))
    assert "y[in] = max(y[in/a], 0)" in found
    assert "dW[left/0] = x1^T g[right/0] + x0^T g[left/0]" in found
    assert "two gradients of shared params" in found


def test_integers_have_no_cotangent_and_a_transposed_table_shares_its_gradient() -> None:
    net = fn.network({"e": fn.embedding(5, 3), "d": fn.shared("e", transposed=True)}, {"e": ["d"]})
    found = str(fn.explain(net, fn.softmax_cross_entropy()))
    assert "y[e] = E[e][x]" in found
    assert "y[d] = y[e] E[e]^T" in found
    assert "dE[e] = g[d]^T y[e] + (sum of g[e] where x = j)" in found
    assert "gx" not in found
    params, _ = net.init(fn.key(0), ())
    labels = np.arange(4)
    loss, gradient = fn.value_and_grad(net, fn.softmax_cross_entropy())(params, labels, labels)
    values = by_name((explained := fn.explain(net, fn.softmax_cross_entropy(), params, labels, labels)).backward)
    np.testing.assert_allclose(values["dE[e]"], gradient["e"].table, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_name(explained.forward)["L"], loss, rtol=1e-6)


def test_a_notebook_shows_formulas() -> None:
    shown = fn.explain(NET, fn.mse())._repr_markdown_()
    assert "$g_{1} = g_{3} + g_{2} (1 - y_{2}^2)$" in shown
    assert r"$y_{2} = \tanh y_{1}$" in shown
    assert r"$db_{4} = \sum_n g_{4,n}$" in shown
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {6}


HOSTILE = ["<script>", "a|b", "$x$", "`", "]", "\\}", "a\nb", "é", "{", "%", "&amp;", "_", "^", "x y"]


@pytest.mark.parametrize("key", HOSTILE)
def test_keys_do_no_harm(key: str) -> None:
    net = fn.network({key: fn.linear(2), 2: fn.elementwise(square, name=f"f{key}")}, {key: [2]})
    found = fn.explain(net, fn.mse())
    assert str(found).count("\n") == 17
    for line in found._repr_markdown_().splitlines():
        assert "<" not in line
        assert "`" not in line
        assert not line.startswith("|") or line.count("|") == 6
        assert line.count("$") in (0, 2)


def test_params_and_arrays_go_together() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    with pytest.raises(fn.OptionError, match="give params and arrays together"):
        fn.explain(NET, fn.mse(), params)
    with pytest.raises(fn.OptionError, match="give params and arrays together"):
        fn.explain(NET, fn.mse(), None, numbers(4, 2), numbers(4, 2))
    with pytest.raises(fn.ShapeError, match="fed by the input with shape"):
        fn.explain(NET, fn.mse(), params, numbers(4, 3), numbers(4, 2))
    with pytest.raises(fn.ShapeError, match="mse"):
        fn.explain(NET, fn.mse(), params, numbers(4, 2), numbers(4, 1))
    with pytest.raises(fn.ShapeError, match="mse takes 2 inputs"):
        fn.explain(NET, fn.mse(), params, numbers(4, 2))
