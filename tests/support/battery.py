"""What every row of the table is put through: the laws, the book's formula, and the convention at kinks.

FORMULAS, by a row's name or its first word: the value in textbook NumPy, from the params and the inputs.
KINKS: inputs that stand on a kink or right beside it, each one number, and the derivative by each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

import funcnet as fn
from funcnet import tree
from tests.support import images
from tests.support.cases import Case

Formula = Callable[..., Any]
ROWS = 40  # enough that every branch of a formula is taken
TOLERANCE = 1e-13
TINY = 1e-200
SELU = (1.6732632423543772, 1.0507009873554805)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def elu(x: Any, alpha: float, scale: float = 1.0) -> Any:
    return scale * np.where(x > 0, x, alpha * np.expm1(x))


def normal_cdf(x: Any) -> Any:
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def affine(p: Any, x: Any) -> Any:
    return x @ p[0] + (p[1] if len(p) == 2 else 0)


def over_features(x: Any) -> Any:
    return x.reshape(len(x), -1).mean(axis=1)


def squares(y: Any, t: Any) -> Any:
    return over_features((y - t) ** 2)


def huber_terms(y: Any, t: Any, delta: float) -> Any:
    d = np.abs(y - t)
    return np.where(d <= delta, d**2 / 2, delta * (d - delta / 2))


def huber(y: Any, t: Any, delta: float) -> Any:
    return over_features(huber_terms(y, t, delta))


def weighted_mean(terms: Any, w: Any) -> Any:
    return np.sum(w * terms) / np.sum(w)


def gaussian(m: Any, v: Any, t: Any) -> Any:
    return over_features((np.log(v) + (m - t) ** 2 / v) / 2)


def cross_entropy(z: Any, t: Any, smoothing: float = 0.0) -> Any:
    t = np.eye(z.shape[-1], dtype=z.dtype)[t] if t.ndim < z.ndim else t
    t = (1 - smoothing) * t + smoothing / z.shape[-1]
    return -np.sum(t * np.log(softmax(z)), axis=-1)


def binary_cross_entropy(z: Any, t: Any) -> Any:
    return -over_features(t * np.log(sigmoid(z)) + (1 - t) * np.log(sigmoid(-z)))


def divergence(y: Any, t: Any) -> Any:
    return np.sum(t * (np.log(t) - y), axis=1)


def standardised(x: Any, axis: Any) -> Any:
    d = x - np.mean(x, axis=axis, keepdims=True)
    return d / np.sqrt(np.mean(d**2, axis=axis, keepdims=True) + 1e-5)


def in_groups(groups: int, p: Any, x: Any, epsilon: float = 1e-5) -> Any:
    apart = x.reshape(*x.shape[:-1], groups, -1)
    axes = (*range(1, x.ndim - 1), x.ndim)
    d = apart - np.mean(apart, axis=axes, keepdims=True)
    return (d / np.sqrt(np.mean(d**2, axis=axes, keepdims=True) + epsilon)).reshape(x.shape) * p[0] + p[1]


def states(step: Any, p: Any, x: Any, s: Any) -> list[Any]:
    """The states before the first time and after each one, from step(p, x_t, s) -> s."""
    found = [s]
    for t in range(x.shape[1]):
        found.append(step(p, x[:, t], found[-1]))
    return found


def last_state(found: list[Any], lengths: Any = None) -> Any:
    """The state at each sequence's own end, or the one before the first time where its length is 0."""
    if lengths is None:
        return found[-1]
    return sum(state * (lengths == t)[:, None] for t, state in enumerate(found))


def all_states(found: list[Any], lengths: Any = None) -> Any:
    """The states after all times, 0 past the end of each sequence."""
    if lengths is not None:
        found = [state * (lengths >= t)[:, None] for t, state in enumerate(found)]
    return np.stack(found[1:], 1)


def zero_state(p: Any, x: Any, parts: int = 1) -> Any:
    return x[:, 0, :1] * 0 + np.concatenate([p[1][:, 0]] * parts) * 0


def outputs(p: Any, x: Any) -> Any:
    """Of states [h c], h."""
    return x[..., : len(p[1])]


def rnn(p: Any, x: Any, h: Any) -> Any:
    return np.tanh(x @ p[0] + h @ p[1] + p[2])


def lstm(p: Any, x: Any, s: Any) -> Any:
    n = len(p[1])
    h, c = s[:, :n], s[:, n:]
    z = x @ p[0] + h @ p[1] + p[2]
    i, f, g, o = (z[:, k * n : (k + 1) * n] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return np.concatenate([sigmoid(o) * np.tanh(c), c], axis=-1)


def gru(p: Any, x: Any, h: Any) -> Any:
    u, v, n = x @ p[0] + p[2], h @ p[1], h.shape[1]
    r, z = (sigmoid(u[:, k : k + n] + v[:, k : k + n]) for k in (0, n))
    new = np.tanh(u[:, 2 * n :] + r * (v[:, 2 * n :] + p[3]))
    return (1 - z) * new + z * h


def backward(step: Any, p: Any, x: Any, s: Any, lengths: Any) -> list[Any]:
    """The states of a layer that reads each sequence from its last time to its first, in the order of time."""
    found = [s]
    for t in range(x.shape[1] - 1, -1, -1):
        found.append(step(p, x[:, t], found[-1]) * (lengths > t)[:, None] + s * (lengths <= t)[:, None])
    return found[::-1]


def both(forward: Any, backward: Any) -> Any:
    return np.concatenate([forward, backward], axis=-1)


WAVES = [[f(t / 10000 ** (i / 3)) for f, i in ((math.sin, 0), (math.cos, 0), (math.sin, 2))] for t in range(5)]


def attended(heads: int, q: Any, k: Any, v: Any, causal: bool = False, mask: Any = None) -> Any:
    """Attention of each head by itself, from scores that are sums over features."""
    size, width = q.shape[-1] // heads, v.shape[-1] // heads
    later = np.tril(np.ones((q.shape[1], k.shape[1]))) == 0
    found = []
    for h in range(heads):
        part, values = slice(h * size, (h + 1) * size), v[..., h * width : (h + 1) * width]
        scores = np.einsum("nqc,nkc->nqk", q[..., part], k[..., part]) / math.sqrt(size)
        weights = softmax(np.where(later, -math.inf, scores) if causal else scores)
        if mask is not None:
            weights = weights * (mask[:, None] if mask.ndim == 2 else mask)
            total = np.sum(weights, axis=-1, keepdims=True)
            weights = weights / np.where(total == 0, np.ones_like(total), total)
        found.append(np.einsum("nqk,nkv->nqv", weights, values))
    return np.concatenate(found, axis=-1)


def attention(heads: int, p: Any, x: Any, z: Any, causal: bool = False, mask: Any = None) -> Any:
    """The same of affine functions, and an affine function of that."""
    return affine(p[3], attended(heads, affine(p[0], x), z @ p[1][0], affine(p[2], z), causal, mask))


FORMULAS: dict[str, Formula] = {
    "linear": affine,
    "identity": lambda p, x: x,
    "tanh": lambda p, x: 1 - 2 / (np.exp(2 * x) + 1),
    "sigmoid": lambda p, x: sigmoid(x),
    "relu": lambda p, x: np.where(x > 0, x, 0),
    "leaky_relu": lambda p, x: np.where(x > 0, x, 0.1 * x),
    "elu": lambda p, x: elu(x, 0.7),
    "selu": lambda p, x: elu(x, *SELU),
    "gelu": lambda p, x: x * normal_cdf(x),
    "gelu by tanh": lambda p, x: x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
    "silu": lambda p, x: x * sigmoid(x),
    "softplus": lambda p, x: np.logaddexp(0, x),
    "exp": lambda p, x: np.exp(x),
    "elementwise": lambda p, x: x**2,
    "elementwise of where": lambda p, x: np.maximum(x, -0.5) + 0.5 * np.minimum(x + 0.5, 0),
    "custom_layer": lambda p, x: x * p[0],
    "softmax": lambda p, x: softmax(x),
    "log_softmax": lambda p, x: x - np.logaddexp.reduce(x, axis=-1)[..., None],
    "add": lambda p, *xs: reduce(np.add, xs),
    "subtract": lambda p, a, b: a - b,
    "multiply": lambda p, *xs: np.prod(np.stack(xs), axis=0),
    "average": lambda p, *xs: np.mean(np.stack(xs), axis=0),
    "maximum": lambda p, *xs: reduce(np.maximum, xs),
    "concatenate": lambda p, *xs: np.concatenate(xs, axis=-1),
    "flatten": lambda p, x: x.reshape(len(x), 6),
    "reshape": lambda p, x: x.reshape(len(x), 3, 4),
    "reshape of rows": lambda p, x: x.reshape(len(x), 6, 2),
    "mse": lambda p, y, t: np.mean((y - t) ** 2),
    "mse of weighted rows": lambda p, y, t, w: np.average(squares(y, t), weights=w),
    "mse summed": lambda p, y, t: np.sum(squares(y, t)),
    "mse of each row": lambda p, y, t: squares(y, t),
    "mse of one number a row": lambda p, y, t: (y - t) ** 2,
    "mse summed over weighted rows": lambda p, y, t, w: np.sum(w * squares(y, t)),
    "mse of each weighted row": lambda p, y, t, w: w * squares(y, t),
    "mae": lambda p, y, t: np.mean(np.abs(y - t)),
    "mae of each row": lambda p, y, t: over_features(np.abs(y - t)),
    "huber": lambda p, y, t: np.mean(huber(y, t, 0.7)),
    "huber of each row": lambda p, y, t: huber(y, t, 1.0),
    "log_cosh": lambda p, y, t: np.mean(np.log(np.cosh(y - t))),
    "log_cosh of each row": lambda p, y, t: over_features(np.log(np.cosh(y - t))),
    "pinball": lambda p, y, t: np.mean(np.maximum(0.9 * (t - y), -0.1 * (t - y))),
    "pinball of each row": lambda p, y, t: over_features(np.maximum(0.25 * (t - y), -0.75 * (t - y))),
    "poisson_nll": lambda p, y, t: np.mean(np.exp(y) - t * y),
    "gaussian_nll": lambda p, m, v, t: np.mean(gaussian(m, v, t)),
    "gaussian_nll of small variances": lambda p, m, v, t: np.mean(gaussian(m, np.maximum(v, 0.3), t)),
    "gaussian_nll of weighted rows": lambda p, m, v, t, w: np.average(gaussian(m, v, t), weights=w),
    "softmax_cross_entropy": lambda p, z, t: np.mean(cross_entropy(z, t)),
    "softmax_cross_entropy smoothed": lambda p, z, t: np.mean(cross_entropy(z, t, 0.1)),
    "softmax_cross_entropy of smoothed labels": lambda p, z, t: cross_entropy(z, t, 0.1),
    "softmax_cross_entropy of weighted rows": lambda p, z, t, w: np.average(cross_entropy(z, t), weights=w),
    "mse of weighted elements": lambda p, y, t, w: weighted_mean((y - t) ** 2, w),
    "mse summed over weighted elements": lambda p, y, t, w: np.sum(over_features(w * (y - t) ** 2)),
    "huber of each row of weighted elements": lambda p, y, t, w: over_features(w * huber_terms(y, t, 1.0)),
    "gaussian_nll of weighted elements": lambda p, m, v, t, w: weighted_mean((np.log(v) + (m - t) ** 2 / v) / 2, w),
    "sigmoid_cross_entropy of weighted elements": lambda p, z, t, w: weighted_mean(
        -(t * np.log(sigmoid(z)) + (1 - t) * np.log(sigmoid(-z))), w
    ),
    "softmax_cross_entropy of each label of sequences": lambda p, z, t: cross_entropy(z, t, 0.1),
    "softmax_cross_entropy of weighted sequences": lambda p, z, t, w: weighted_mean(
        np.mean(cross_entropy(z, t), axis=1), w
    ),
    "softmax_cross_entropy of weighted labels": lambda p, z, t, w: weighted_mean(cross_entropy(z, t), w),
    "softmax_cross_entropy of labels but one": lambda p, z, t: weighted_mean(cross_entropy(z, t), t != 2),
    "softmax_cross_entropy of weighted labels but one": lambda p, z, t, w: np.sum(cross_entropy(z, t) * w * (t != 2)),
    "sigmoid_cross_entropy": lambda p, z, t: np.mean(binary_cross_entropy(z, t)),
    "sigmoid_cross_entropy of each row": lambda p, z, t: binary_cross_entropy(z, t),
    "hinge": lambda p, y, t: np.mean(np.maximum(0, 1 - y * t)),
    "kl_divergence": lambda p, y, t: np.mean(divergence(y, t)),
    "kl_divergence of each row": lambda p, y, t: divergence(y, t),
    "dropout": lambda p, x: x,
    "scale": lambda p, x: x * p[0],
    "layer_norm": lambda p, x: standardised(x, -1) * p[0] + p[1],
    "group_norm": lambda p, x: in_groups(2, p, x),
    "group_norm of one group of sequences": lambda p, x: in_groups(1, p, x),
    "group_norm without places": lambda p, x: in_groups(2, p, x, 0.01),
    "instance_norm": lambda p, x: standardised(x, tuple(range(1, x.ndim - 1))) * p[0] + p[1],
    "rms_norm": lambda p, x: x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 0.01) * p[0],
    "rms_norm over sequences": lambda p, x: x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5) * p[0],
    "batch_norm": lambda p, x: standardised(x, tuple(range(x.ndim - 1))) * p[0] + p[1],
    "rnn": lambda p, x, *n: last_state(states(rnn, p, x, zero_state(p, x)), *n),
    "rnn of all times": lambda p, x: all_states(states(rnn, p, x, zero_state(p, x))),
    "rnn with an initial state": lambda p, x, h: last_state(states(rnn, p, x, h)),
    "lstm": lambda p, x, *n: outputs(p, last_state(states(lstm, p, x, zero_state(p, x, 2)), *n)),
    "lstm of all times": lambda p, x: outputs(p, all_states(states(lstm, p, x, zero_state(p, x, 2)))),
    "lstm of all times of unequal lengths": lambda p, x, n: outputs(
        p, all_states(states(lstm, p, x, zero_state(p, x, 2)), n)
    ),
    "lstm of states with an initial state": lambda p, x, s: all_states(states(lstm, p, x, s)),
    "lstm of unequal lengths with an initial state": lambda p, x, n, s: last_state(states(lstm, p, x, s), n),
    "gru": lambda p, x, *n: last_state(states(gru, p, x, zero_state(p, x)), *n),
    "gru of all times": lambda p, x: all_states(states(gru, p, x, zero_state(p, x))),
    "gru with an initial state": lambda p, x, h: last_state(states(gru, p, x, h)),
    "gru of all times of unequal lengths with an initial state": lambda p, x, n, h: all_states(states(gru, p, x, h), n),
    "bidirectional": lambda p, x: both(
        last_state(states(gru, p[0], x, zero_state(p[0], x))),
        backward(gru, p[1], x, zero_state(p[1], x), x[:, 0, 0] * 0 + 4)[0],
    ),
    "bidirectional of all times": lambda p, x, s: both(
        outputs(p[0], all_states(states(lstm, p[0], x, s[:, :4]))),
        outputs(p[1], np.stack(backward(lstm, p[1], x, s[:, 4:], x[:, 0, 0] * 0 + 4)[:-1], 1)),
    ),
    "bidirectional of all times of unequal lengths": lambda p, x, n: both(
        all_states(states(rnn, p[0], x, zero_state(p[0], x)), n),
        np.stack(backward(rnn, p[1], x, zero_state(p[1], x), n)[:-1], 1),
    ),
    "bidirectional of unequal lengths with an initial state": lambda p, x, n, s: both(
        last_state(states(lstm, p[0], x, s[:, :4]), n), backward(lstm, p[1], x, s[:, 4:], n)[0]
    ),
    "embedding": lambda p, i: np.eye(len(p[0]), dtype=p[0].dtype)[i] @ p[0],
    "positional_embedding": lambda p, x: x + p[0],
    "sinusoidal": lambda p, x: x + np.asarray(WAVES, dtype=x.dtype),
    "dot_product_attention": lambda p, q, k, v: attended(1, q, k, v),
    "dot_product_attention of heads": lambda p, q, k, v: attended(2, q, k, v),
    "dot_product_attention that is causal": lambda p, q, k, v: attended(2, q, k, v, causal=True),
    "attention": lambda p, x: attention(2, p, x, x),
    "attention that is causal": lambda p, x: attention(2, p, x, x, causal=True),
    "dot_product_attention to the keys of a mask": lambda p, q, k, v, m: attended(2, q, k, v, mask=m),
    "attention with a mask": lambda p, x, m: attention(2, p, x, x, causal=True, mask=m),
    "attention to another sequence": lambda p, x, z: attention(2, p, x, z),
    "mean": lambda p, x: np.mean(x, axis=1),
    "mean over two axes": lambda p, x: np.mean(x, axis=(1, 2), keepdims=True),
    "sum": lambda p, x: np.einsum("nij->nj", x),
    "sum over two axes": lambda p, x: np.einsum("nijk->nj", x),
    "max": lambda p, x: np.sort(x, axis=1)[:, -1:],
    "max over two axes": lambda p, x: np.sort(x.transpose(0, 2, 1, 3).reshape(len(x), 3, 10), axis=2)[..., -1],
    "masked_mean": lambda p, x, m: np.einsum("nij,ni->nj", x, m) / np.sum(m, axis=1)[:, None],
    "masked_mean over two axes": lambda p, x, m: (np.einsum("nijk,nij->nk", x, m) / np.sum(m, axis=(1, 2))[:, None])[
        :, None, None, :
    ],
    "masked_sum": lambda p, x, m: np.sum(x * m, axis=1),
    "masked_sum of elements": lambda p, x, m: np.sum(x * m, axis=1, keepdims=True),
    "masked_sum of numbers": lambda p, x, m: np.sum(x * m, axis=1),
    "slice": lambda p, x: x[:, [0, 2]],
    "slice of sequences": lambda p, x: x[:, [0, 1, 2, 3]],
    "permute": lambda p, x: np.einsum("nij->nji", x),
    "permute three axes": lambda p, x: np.einsum("nijk->nkij", x),
    "serial": lambda p, x: affine(p[2], np.tanh(affine(p[0], x))),
    "serial of a slice": lambda p, x: affine(p[1], x[:, :3]),
    "serial of a permutation": lambda p, x: (
        standardised(affine(p[1], np.einsum("nij->nji", x)), -1) * p[2][0] + p[2][1]
    ),
    "serial into a permutation": lambda p, x: np.einsum("nij->nji", affine(p[0], x)),
    "serial of an embedding": lambda p, i: affine(p[1], p[0][0][i]),
    "parallel of embeddings": lambda p, i: p[0][0][i] + affine(p[1][1], p[1][0][0][i]),
    "parallel": lambda p, x: affine(p[0], x) + sigmoid(affine(p[1][0], x)),
    "parallel with merge": lambda p, x: np.concatenate([affine(p[0], x), affine(p[1], x)], axis=-1),
    "residual": lambda p, x: x + np.tanh(affine(p[0], x)),
    "network": lambda p, x: affine(p[1], x) + np.tanh(affine(p[1], x)),
    "network with tied weights": lambda p, x: affine(p[1], x) @ p[1][0].T,
    "network with tied weights without a bias": lambda p, x: affine(p[1], x) @ p[1][0].T,
    "network with tied logits": lambda p, i: p[1][0][i] @ p[1][0].T,
    "network of two outputs": lambda p, x: (affine(p[1], x), np.tanh(affine(p[1], x))),
    **images.FORMULAS,
}

LEAST = float(np.finfo(np.float64).tiny)
NEAR = (1.0 - 1e-6, 1.0)

KINKS: dict[str, list[tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "mae": [((2.0, 2.0), (0.0, 0.0))],
    "mae of each row": [((2.0, 2.0), (0.0, 0.0))],
    "pinball": [((2.0, 2.0), (0.0, 0.0))],
    "pinball of each row": [((2.0, 2.0), (0.0, 0.0))],
    "hinge": [
        ((1.0, 1.0), (0.0, 0.0)),
        ((-1.0, -1.0), (0.0, 0.0)),
        ((0.5, 2.0), (0.0, 0.0)),
        (NEAR, (-0.125, -NEAR[0] / 8)),
    ],
    "kl_divergence of each row": [
        ((-1.0, 0.0), (0.0, math.log(LEAST) + 1.0)),
        ((-1.0, LEAST), (-LEAST, math.log(LEAST) + 1.0)),
        ((-1.0, 0.5), (-0.5, math.log(0.5) + 2.0)),
    ],
    "gaussian_nll of small variances": [((0.0, 0.3, 0.0), (0.0, 0.0, 0.0))],
    "max": [((1.0,), (0.25,))],
    "relu": [((0.0,), (0.0,)), ((-0.0,), (0.0,)), ((TINY,), (1.0,)), ((-TINY,), (0.0,))],
    "leaky_relu": [((0.0,), (0.1,)), ((-0.0,), (0.1,)), ((TINY,), (1.0,)), ((-TINY,), (0.1,))],
    "elu": [((0.0,), (0.7,)), ((-0.0,), (0.7,)), ((TINY,), (1.0,)), ((-TINY,), (0.7,))],
    "selu": [((0.0,), (SELU[0] * SELU[1],)), ((TINY,), (SELU[1],)), ((-TINY,), (SELU[0] * SELU[1],))],
    "maximum": [
        ((1.0, 1.0, 1.0), (0.25, 0.25, 0.5)),
        ((2.0, 1.0, 2.0), (0.5, 0.0, 0.5)),
        ((1.0, 1.0, 0.0), (0.5, 0.5, 0.0)),
    ],
}


def formula_of(case: Case) -> Formula:
    """The book's formula for a row."""
    return FORMULAS.get(case.name) or FORMULAS[case.name.split(" ")[0]]


def subject_of(case: Case, dtype: Any = np.float64, scale: float = 1.0) -> tuple[fn.Layer[Any, Any], Any, list[Any]]:
    """(layer, params, inputs), as the laws draw them, the inputs scaled."""
    subject = case.subject(ROWS, case.holomorphic, seed=1)
    params, inputs = subject.point(dtype)
    return subject.layer, params, [(x * scale).astype(dtype) if x.dtype.kind == "f" else x for x in inputs]


def check_formula(case: Case) -> None:
    """The value is the book's, near zero and far from it."""
    for scale in (1.0, 8.0):
        layer, params, inputs = subject_of(case, scale=scale)
        found = layer.apply(params, *inputs)
        with np.errstate(over="ignore"):
            expected = formula_of(case)(params, *inputs)
        for y, right in zip(tree.leaves(found), tree.leaves(expected), strict=True):
            largest = max(1.0, np.abs(right).max(initial=0.0))
            np.testing.assert_allclose(y, right, rtol=0, atol=TOLERANCE * largest, err_msg=case.name)


def check_kinks(case: Case) -> None:
    """The derivative on a kink is the one that is written down."""
    for numbers, expected in KINKS.get(case.name, []):
        inputs = [np.full((2, *shape), number) for number, shape in zip(numbers, case.shapes, strict=True)]
        output, pullback = case.make().apply.vjp((), *inputs)
        for dx, right in zip(pullback(np.ones_like(output))[1], expected, strict=True):
            np.testing.assert_allclose(dx, right, rtol=1e-15, err_msg=case.name)


def battery(case: Case) -> None:
    """Everything that a row is put through."""
    check_kinks(case)
    check_formula(case)
    case.check()
