"""Attention: weighted means of values, the weights computed from queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import sqrt
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from funcnet import tree
from funcnet.advice import ALL_TIMES
from funcnet.arrays import Array, DType, Shape
from funcnet.core import Layer, NoParams, Result, layer
from funcnet.display import shows_call
from funcnet.errors import DTypeError, ParamsError, ShapeError
from funcnet.initializers import lecun_normal, zeros
from funcnet.layers.linear import Affine, Weight, affine, drawn, product
from funcnet.options import count, flag, fraction
from funcnet.random import Key, split
from funcnet.tracing.masks import limits
from funcnet.tracing.primitives import dropout_mask
from funcnet.tracing.products import contract

Attended: TypeAlias = tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]
"""y, and the pullback that gives (dq, dk, dv)."""


class Attention(NamedTuple):
    """Params of `attention`: for queries, keys, values and the output, each as of `linear`."""

    query: Affine
    key: Weight
    value: Affine
    output: Affine


class Options(NamedTuple):
    """The number of heads, whether a query sees no later key, and the rate at which weights are dropped."""

    heads: int
    causal: bool
    rate: float


@shows_call
def dot_product_attention(*, heads: int = 1, causal: bool = False, masked: bool = False) -> Layer[NoParams]:
    """Scaled dot-product attention: each query gives a mean of the values, weighted by how well their keys fit.

    y = P v, P = softmax S over the keys, S = q k^T / sqrt(d)
    dS = P (g v^T - sum g y)        dq = dS k / sqrt(d)        dk = dS^T q / sqrt(d)        dv = P^T g

    Inputs: queries q, keys k, values v. heads: into how many parts of equal size the features are cut, each of which
    attends by itself; d is the size of a part of q. The equations are those of one head. causal: query t sees the keys
    up to t, and no later one.
    masked: with a fourth input, a mask of one bool for each key, (S,), or for each query and key, (T, S): True for a
    key that may be seen, False for one that may not, as for padding. It has no cotangent. A query that sees no key
    gives 0, and its gradients are 0. Values of keys that are not seen must be finite.
    Shapes: (T, heads d), (S, heads d), (S, heads e) and that of the mask -> (T, heads e).
    Raises OptionError where heads is not a positive int, ShapeError where it does not divide the features, where shapes
    do not fit, where there are no keys, and where causal attention has another number of keys than of queries;
    DTypeError for a mask of numbers, MaskError for one that is False everywhere, most likely the wrong way round.
    (Vaswani et al. 2017)
    """
    options = Options(count("dot_product_attention: heads", heads), flag("dot_product_attention: causal", causal), 0.0)
    places = [3] if flag("dot_product_attention: masked", masked) else []
    function = partial(_dot_product_attention, options)
    return layer("dot_product_attention", function, arity=3 + len(places), mask_inputs=places)


def _dot_product_attention(
    options: Options, params: NoParams, q: Array, k: Array, v: Array, *masks: Array
) -> Result[NoParams]:
    y, pull = attend(options, q, k, v, masks)
    return y, lambda g: ((), cast("tuple[Array, ...]", (*pull(g), *(None for _ in masks))))


@shows_call
def attention(
    heads: int, *, cross: bool = False, causal: bool = False, masked: bool = False, dropout: float = 0.0
) -> Layer[Attention]:
    """Multi-head attention: `dot_product_attention` of affine functions of the input, and an affine function of that.

    y = a W_o + b_o        a = P v        P = softmax S over the keys        S = q k^T / sqrt(d)
    q = x W_q + b_q        k = z W_k        v = z W_v + b_v
    da = g W_o^T        dS = P (da v^T - sum da a)        dq = dS k / sqrt(d)        dk = dS^T q / sqrt(d)
    dv = P^T da        dW_q = x^T dq        db_q = sum dq        dW_k = z^T dk        dW_v = z^T dv        db_v = sum dv
    dW_o = a^T g        db_o = sum g        dx = dq W_q^T        dz = dk W_k^T + dv W_v^T

    Inputs: x, and with cross=True a second sequence z, which gives the keys and the values; else z = x.
    heads, causal, masked: those of `dot_product_attention`; the mask is the last input.
    dropout: the probability to drop a weight, where a key is passed.
    Weights are drawn by `lecun_normal()`, biases are zeros. Keys have no bias: it would add the same number to all
    scores of a query, which changes no weight.
    Shapes: (T, features) -> the same; the second input is (S, any).
    Raises OptionError for bad options, ShapeError where heads does not divide the features and where causal attention
    has another number of keys than of queries; for masks as `dot_product_attention`. (Vaswani et al. 2017)
    """
    options = Options(
        count("attention: heads", heads),
        flag("attention: causal", causal),
        fraction("attention: dropout, the probability to drop,", dropout),
    )
    arity = 2 if flag("attention: cross", cross) else 1
    places = [arity] if flag("attention: masked", masked) else []
    function = partial(_attention, options, arity)
    return layer("attention", function, partial(_draw, arity), arity + len(places), mask_inputs=places, random=True)


def _draw(arity: int, key: Key, shape: Shape, *others: Shape, dtype: DType) -> Attention:
    """Square weights, but for keys and values of another sequence."""
    width, other = (s[-1] if s else 0 for s in (shape, (others[: arity - 1] or (shape,))[0]))
    rows = (width, other, other, width)
    W_q, W_k, W_v, W_o = (drawn(lecun_normal(), k, (n, width), dtype) for k, n in zip(split(key, 4), rows, strict=True))
    b_q, b_v, b_o = (drawn(zeros(), key, (width,), dtype) for _ in range(3))
    return Attention(Affine(W_q, b_q), Weight(W_k), Affine(W_v, b_v), Affine(W_o, b_o))


def _attention(
    options: Options, arity: int, params: Attention, x: Array, *others: Array, key: Key | None = None
) -> Result[Attention]:
    of_query, of_key, of_value, of_output = _unpack(params)
    cross, masks = others[: arity - 1], others[arity - 1 :]
    (z,) = cross or (x,)
    q, pull_q = affine(of_query, x)
    k, pull_k = product(of_key, z)
    v, pull_v = affine(of_value, z)
    a, pull_a = attend(options, q, k, v, masks, key)
    y, pull_y = affine(of_output, a)

    def pullback(g: Array) -> tuple[Attention, tuple[Array, ...]]:
        d_output, (da,) = pull_y(g)
        dq, dk, dv = pull_a(da)
        d_query, (dx,) = pull_q(dq)
        d_key, (of_keys,) = pull_k(dk)
        d_value, (of_values,) = pull_v(dv)
        dz = of_keys + of_values
        of_inputs = (dx, dz) if cross else (dx + dz,)
        return Attention(d_query, d_key, d_value, d_output), cast(
            "tuple[Array, ...]", (*of_inputs, *(None,) * len(masks))
        )

    return y, pullback


def _unpack(params: Any) -> Attention:
    """The params of `attention`, checked."""
    given = cast("Any", type(params))
    if not tree.same_kind(given, Attention):
        raise ParamsError(f"its params must be Attention({', '.join(Attention._fields)}), not {given.__name__}")
    return cast("Attention", params)


def attend(
    options: Options, q: Array, k: Array, v: Array, masks: tuple[Array, ...] = (), key: Key | None = None
) -> Attended:
    """Scaled dot-product attention of heads that lie side by side.

    Scores are (batch, keys, queries, heads), of which each head's are contiguous in features-first memory. Not they are
    divided by their sums but the output, which is smaller.
    """
    heads, causal, rate = options
    _check(heads, causal, q, k, v)
    scale = 1.0 / sqrt(q.shape[-1] // heads)
    scaled = q * scale
    scores = contract("nk(hc),nq(hc)->nkqh", k, scaled, heads=heads)
    if causal:
        scores = np.minimum(scores, past(k.shape[1], k.dtype))
    for mask in masks:
        scores = np.minimum(scores, seen(mask, q, k))
    largest = scores.max(axis=1, keepdims=True)
    largest = np.maximum(largest, float(np.finfo(k.dtype).min)) if masks else largest
    E = np.exp(scores - largest)
    total: Array = E.sum(axis=1)
    r = 1.0 / (total + (total == 0.0) if masks else total)  # where no key is seen, all of E is 0
    m = dropout_mask(key, rate, E) if key is not None and rate else None
    kept = E if m is None else E * m
    y = contract("nq(hv),nqh->nq(hv)", contract("nkqh,nk(hv)->nq(hv)", kept, v, heads=heads), r, heads=heads)

    def pullback(g: Array) -> tuple[Array, Array, Array]:
        g = contract("nq(hv),nqh->nq(hv)", g, r, heads=heads)
        dv = contract("nkqh,nq(hv)->nk(hv)", kept, g, heads=heads)
        dP = contract("nk(hv),nq(hv)->nkqh", v, g, heads=heads)
        dP = dP if m is None else dP * m
        dS = E * (dP - contract("nq(hv),nq(hv)->nqh", g, y, heads=heads)[:, None])
        dq = contract("nkqh,nk(hc)->nq(hc)", dS, k, heads=heads) * scale
        return dq, contract("nkqh,nq(hc)->nk(hc)", dS, scaled, heads=heads), dv

    return y, pullback


def seen(mask: Array, q: Array, k: Array) -> Array:
    """The largest score that is allowed, (batch, keys, queries or 1, 1): -inf where the mask is False, else inf."""
    of_keys, of_both = k.shape[:2], (*q.shape[:2], k.shape[1])
    if mask.shape not in (of_keys, of_both):
        raise ShapeError(
            f"its mask is {mask.shape}, but must be one bool a key, {of_keys}, or a query and key, {of_both}"
        )
    if mask.dtype.kind != "b":
        raise DTypeError(
            f"its mask has dtype {mask.dtype}, but must be bools, True for a key that may be seen: mask.astype(bool); "
            "of one that is added to scores, mask == 0"
        )
    most: Array = limits(mask, k)
    return most[:, :, None, None] if mask.ndim == 2 else most.transpose((0, 2, 1))[..., None]


@cache
def past(length: int, dtype: Any) -> Array:
    """The largest score that is allowed, of (key, query): -inf where the key comes later than the query."""
    later = np.tril(np.ones((length, length), np.bool_), -1)
    found: Array = np.where(later, -np.inf, np.inf).astype(dtype)[None, :, :, None]
    found.flags.writeable = False
    return found


def _check(heads: int, causal: bool, q: Array, k: Array, v: Array) -> None:
    """Refuse shapes that do not fit."""
    for name, x in (("queries", q), ("keys", k), ("values", v)):
        if x.ndim != 3:
            more = f", and {ALL_TIMES}" if x.ndim == 2 else ""
            raise ShapeError(
                f"its {name} are {x.shape}, but must be (batch, length, features). One sequence of features is "
                f"x[None]{more}"
            )
        if not x.shape[-1] or x.shape[-1] % heads:
            raise ShapeError(
                f"its {name} are {x.shape}: {heads} heads do not divide {x.shape[-1]} features; choose another "
                "number of heads or of features"
            )
    if q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"its queries {q.shape} and keys {k.shape} must have equally many features")
    if k.shape[1] != v.shape[1]:
        raise ShapeError(f"its keys {k.shape} and values {v.shape} must be equally many, one value for each key")
    if not k.shape[1]:
        raise ShapeError("there are no keys to attend to: give sequences of at least one place")
    if causal and q.shape[1] != k.shape[1]:
        raise ShapeError(
            f"its queries {q.shape} and keys {k.shape} must be equally many where attention is causal: query t sees "
            "the keys up to t"
        )
