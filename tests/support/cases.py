"""The table of operators: a row for each, over which every law runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

import funcnet as fn
from funcnet.testing import check_layer
from funcnet.testing.subject import Subject


class Case(NamedTuple):
    """One operator: how a user makes it, and the shapes of its inputs without the batch axis."""

    name: str
    make: Callable[[], fn.Layer[Any, Any]]
    shapes: tuple[tuple[int, ...], ...]
    holomorphic: bool = True
    """Whether its function can be given complex numbers."""
    options: Mapping[str, Any] = MappingProxyType({})
    """What else `check_layer` is told: rowwise, labels, masks, domain, extreme."""

    def dtypes(self, floating: Any) -> list[Any]:
        """The dtype of each input."""
        kinds = dict.fromkeys(self.options.get("labels", ()), np.dtype(np.intp))
        kinds |= dict.fromkeys(self.options.get("masks", ()), np.dtype(np.bool_))
        return [kinds.get(i, floating) for i in range(len(self.shapes))]

    def subject(self, batch: int, holomorphic: bool = False, seed: int = 0) -> Subject:
        """The layer on trial, as the laws take it."""
        known = {name: value for name, value in self.options.items() if name in Subject._fields}
        options: dict[str, Any] = {"rowwise": True, "labels": {}, "masks": (), "domain": None, "extreme": 1.0} | known
        return Subject(
            layer=self.make(), shapes=self.shapes, batch=batch, holomorphic=holomorphic, seed=seed, **options
        )

    def inputs(self, draw: Callable[..., Any], rows: int, floating: Any) -> list[Any]:
        """One batch of what it takes; `draw(size=shape)` gives numbers."""
        arrays = self.subject(rows).inputs(draw, rows)
        return [x.astype(dtype) for x, dtype in zip(arrays, self.dtypes(floating), strict=True)]

    def check(self) -> None:
        """Run every law."""
        check_layer(self.make(), *self.shapes, holomorphic=self.holomorphic, **self.options)


def square(x: fn.Array) -> tuple[fn.Array, Callable[[fn.Array], fn.Array]]:
    return x * x, lambda g: g * (2.0 * x)


def halved_below(x: fn.Array) -> tuple[fn.Array, Callable[[fn.Array], fn.Array]]:
    mask = x > -0.5
    return np.where(mask, x, 0.5 * x - 0.25), lambda g: 0.5 * np.where(mask, g, 0.0) + 0.5 * g


def init_scale(key: fn.Key, *shapes: fn.Shape, dtype: Any = np.float32) -> tuple[fn.Weight, fn.Shape]:
    return fn.Weight(np.ones(shapes[0][-1:], dtype)), shapes[0]


def scale(params: fn.Weight, x: fn.Array) -> tuple[fn.Array, fn.Pullback[fn.Weight]]:
    return x * params.weight, lambda g: (fn.Weight((x * g).sum(axis=0)), (g * params.weight,))


def at_least_half(x: fn.Array) -> fn.Array:
    return np.abs(x) + 0.5


POSITIVE: dict[str, Any] = {"domain": np.abs}
WEIGHTS = POSITIVE  # for which the sum is not 0 by chance
VARIANCES: dict[str, Any] = {"domain": at_least_half}
LENGTHS: dict[str, Any] = {"labels": {1: 5}}  # of sequences of 4 times
WHOLE_BATCH: dict[str, Any] = {"rowwise": False}


def tied(layer: fn.Layer[Any]) -> fn.Layer[Any]:
    """A layer, and its weight transposed."""
    return fn.network({1: layer, 2: fn.shared(1, transposed=True)}, {1: [2]})


CASES = [
    Case("linear", lambda: fn.linear(3), ((4,),)),
    Case("linear without bias", lambda: fn.linear(3, use_bias=False), ((4,),)),
    Case("linear of one unit", lambda: fn.linear(1), ((1,),)),
    Case("linear over sequences", lambda: fn.linear(3), ((5, 4),)),
    Case("linear without bias over sequences", lambda: fn.linear(2, use_bias=False), ((3, 5, 4),)),
    Case("identity", fn.identity, ((4,),)),
    Case("tanh", fn.tanh, ((4,),)),
    Case("sigmoid", fn.sigmoid, ((4,),)),
    Case("relu", fn.relu, ((4,),), False),
    Case("leaky_relu", lambda: fn.leaky_relu(0.1), ((4,),), False),
    Case("elu", lambda: fn.elu(0.7), ((4,),), False),
    Case("selu", fn.selu, ((2, 3),), False),
    Case("gelu", fn.gelu, ((4,),), False),
    Case("gelu by tanh", lambda: fn.gelu(approximate=True), ((4,),)),
    Case("silu", fn.silu, ((4,),)),
    Case("softplus", fn.softplus, ((4,),), False),
    Case("exp", fn.exp, ((4,),), options={"extreme": 80.0}),
    Case("elementwise", lambda: fn.elementwise(square), ((4,),)),
    Case("elementwise of where", lambda: fn.elementwise(halved_below), ((4,),), False),
    Case("custom_layer", lambda: fn.custom_layer(init_scale, scale), ((4,),)),
    Case("softmax", fn.softmax, ((4,),)),
    Case("softmax over sequences", fn.softmax, ((2, 4),)),
    Case("log_softmax", fn.log_softmax, ((4,),)),
    Case("add", fn.add, ((4,), (4,), (4,))),
    Case("add of one", fn.add, ((4,),)),
    Case("subtract", fn.subtract, ((4,), (4,))),
    Case("multiply", fn.multiply, ((4,), (4,), (4,))),
    Case("multiply of one", fn.multiply, ((4,),)),
    Case("average", fn.average, ((2, 3), (2, 3), (2, 3))),
    Case("average of one", fn.average, ((4,),)),
    Case("maximum", fn.maximum, ((4,), (4,), (4,)), False),
    Case("concatenate", fn.concatenate, ((2,), (3,), (1,))),
    Case("concatenate sequences", fn.concatenate, ((5, 2), (5, 3))),
    Case("flatten", fn.flatten, ((2, 3),)),
    Case("reshape", lambda: fn.reshape(3, -1), ((2, 6),)),
    Case("reshape of rows", lambda: fn.reshape(6, 2), ((2, 3, 2),)),
    Case("mse", fn.mse, ((4,), (4,))),
    Case("mse over sequences", fn.mse, ((2, 3), (2, 3))),
    Case("softmax_cross_entropy", fn.softmax_cross_entropy, ((4,), (4,)), False),
    Case("softmax_cross_entropy of labels", fn.softmax_cross_entropy, ((4,), ()), options={"labels": {1: 4}}),
    Case("mse of weighted rows", lambda: fn.mse(weighted=True), ((4,), (4,), ()), False, WEIGHTS),
    Case("mse summed", lambda: fn.mse(reduction="sum"), ((2, 3), (2, 3))),
    Case("mse of each row", lambda: fn.mse(reduction="none"), ((4,), (4,))),
    Case("mse of one number a row", lambda: fn.mse(reduction="none"), ((), ())),
    Case("mse summed over weighted rows", lambda: fn.mse(reduction="sum", weighted=True), ((2, 3), (2, 3), ())),
    Case("mse of each weighted row", lambda: fn.mse(reduction="none", weighted=True), ((4,), (4,), ())),
    Case("mae", fn.mae, ((4,), (4,)), False),
    Case("mae of each row", lambda: fn.mae(reduction="none"), ((2, 3), (2, 3)), False),
    Case("huber", lambda: fn.huber(0.7), ((4,), (4,)), False),
    Case("huber of each row", lambda: fn.huber(reduction="none"), ((2, 3), (2, 3)), False),
    Case("log_cosh", fn.log_cosh, ((4,), (4,)), False),
    Case("log_cosh of each row", lambda: fn.log_cosh(reduction="none"), ((2, 3), (2, 3)), False),
    Case("pinball", lambda: fn.pinball(0.9), ((4,), (4,)), False),
    Case("pinball of each row", lambda: fn.pinball(0.25, reduction="none"), ((2, 3), (2, 3)), False),
    Case("poisson_nll", fn.poisson_nll, ((4,), (4,)), options={"extreme": 80.0}),
    Case("gaussian_nll", fn.gaussian_nll, ((4,), (4,), (4,)), False, VARIANCES),
    Case("gaussian_nll of small variances", lambda: fn.gaussian_nll(epsilon=0.3), ((4,), (4,), (4,)), False),
    Case(
        "gaussian_nll of weighted rows",
        lambda: fn.gaussian_nll(weighted=True),
        ((4,), (4,), (4,), ()),
        False,
        VARIANCES,
    ),
    Case("softmax_cross_entropy smoothed", lambda: fn.softmax_cross_entropy(label_smoothing=0.1), ((4,), (4,))),
    Case(
        "softmax_cross_entropy of smoothed labels",
        lambda: fn.softmax_cross_entropy(label_smoothing=0.1, reduction="none"),
        ((4,), ()),
        options={"labels": {1: 4}},
    ),
    Case(
        "softmax_cross_entropy of weighted rows",
        lambda: fn.softmax_cross_entropy(weighted=True),
        ((4,), (), ()),
        False,
        {"labels": {1: 4}, **WEIGHTS},
    ),
    Case("mse of weighted elements", lambda: fn.mse(weighted=True), ((2, 3), (2, 3), (2, 3)), False, WEIGHTS),
    Case(
        "mse summed over weighted elements",
        lambda: fn.mse(reduction="sum", weighted=True),
        ((4,), (4,), (4,)),
        False,
    ),
    Case(
        "huber of each row of weighted elements",
        lambda: fn.huber(reduction="none", weighted=True),
        ((2, 3), (2, 3), (2, 3)),
        False,
    ),
    Case(
        "gaussian_nll of weighted elements",
        lambda: fn.gaussian_nll(weighted=True),
        ((4,), (4,), (4,), (4,)),
        False,
        VARIANCES,
    ),
    Case(
        "sigmoid_cross_entropy of weighted elements",
        lambda: fn.sigmoid_cross_entropy(weighted=True),
        ((4,), (4,), (4,)),
        False,
        WEIGHTS,
    ),
    Case("softmax_cross_entropy over sequences", fn.softmax_cross_entropy, ((5, 4), (5,)), options={"labels": {1: 4}}),
    Case("softmax_cross_entropy of distributions over sequences", fn.softmax_cross_entropy, ((5, 4), (5, 4)), False),
    Case(
        "softmax_cross_entropy of each label of sequences",
        lambda: fn.softmax_cross_entropy(label_smoothing=0.1, reduction="none"),
        ((5, 4), (5,)),
        options={"labels": {1: 4}},
    ),
    Case(
        "softmax_cross_entropy of weighted sequences",
        lambda: fn.softmax_cross_entropy(weighted=True),
        ((5, 4), (5,), ()),
        False,
        {"labels": {1: 4}, **WEIGHTS},
    ),
    Case(
        "softmax_cross_entropy of weighted labels",
        lambda: fn.softmax_cross_entropy(weighted=True),
        ((5, 4), (5,), (5,)),
        False,
        {"labels": {1: 4}, **WEIGHTS},
    ),
    Case(
        "softmax_cross_entropy of labels but one",
        lambda: fn.softmax_cross_entropy(ignore_label=2),
        ((5, 4), (5,)),
        False,
        {"labels": {1: 4}},
    ),
    Case(
        "softmax_cross_entropy of weighted labels but one",
        lambda: fn.softmax_cross_entropy(ignore_label=2, reduction="sum", weighted=True),
        ((4,), (), ()),
        False,
        {"labels": {1: 4}},
    ),
    Case("sigmoid_cross_entropy", fn.sigmoid_cross_entropy, ((4,), (4,)), False),
    Case("sigmoid_cross_entropy of each row", lambda: fn.sigmoid_cross_entropy(reduction="none"), ((4,), (4,)), False),
    Case("hinge", fn.hinge, ((4,), (4,)), False),
    Case("kl_divergence", fn.kl_divergence, ((4,), (4,)), False, POSITIVE),
    Case("kl_divergence of each row", lambda: fn.kl_divergence(reduction="none"), ((4,), (4,)), False, POSITIVE),
    Case("dropout", lambda: fn.dropout(0.5), ((4,),)),
    Case("scale", fn.scale, ((4,),)),
    Case("scale over sequences", fn.scale, ((5, 3),)),
    Case("layer_norm", fn.layer_norm, ((4,),)),
    Case("layer_norm over sequences", fn.layer_norm, ((5, 3),)),
    Case("layer_norm of one feature", fn.layer_norm, ((1,),)),
    Case("rms_norm", lambda: fn.rms_norm(epsilon=0.01), ((4,),)),
    Case("rms_norm over sequences", fn.rms_norm, ((5, 3),)),
    Case("batch_norm", fn.batch_norm, ((4,),), options=WHOLE_BATCH),
    Case("batch_norm over sequences", fn.batch_norm, ((5, 3),), options=WHOLE_BATCH),
    Case("group_norm", lambda: fn.group_norm(2), ((2, 3, 4),)),
    Case("group_norm of one group of sequences", lambda: fn.group_norm(1), ((3, 2),)),
    Case("group_norm without places", lambda: fn.group_norm(2, epsilon=0.01), ((6,),)),
    Case("instance_norm", fn.instance_norm, ((3, 2, 2),)),
    Case("instance_norm over sequences", fn.instance_norm, ((5, 3),)),
    Case("conv", lambda: fn.conv(4, (2, 3)), ((3, 5, 2),)),
    Case("conv of sequences", lambda: fn.conv(2, 3, padding="same"), ((4, 3),)),
    Case("conv without bias", lambda: fn.conv(3, (2, 2), use_bias=False), ((3, 4, 2),)),
    Case("conv with strides", lambda: fn.conv(2, (3, 2), strides=(2, 3), padding="same"), ((5, 4, 2),)),
    Case("conv of groups", lambda: fn.conv(4, (2, 2), padding=((1, 0), (0, 1)), groups=2), ((3, 2, 4),)),
    Case("conv with dilation", lambda: fn.conv(3, (2, 2), dilation=2), ((4, 3, 2),)),
    Case("conv_transpose", lambda: fn.conv_transpose(3, (2, 3)), ((2, 3, 2),)),
    Case("conv_transpose with strides", lambda: fn.conv_transpose(2, (2, 3), strides=2, padding="same"), ((2, 3, 3),)),
    Case("conv_transpose of sequences", lambda: fn.conv_transpose(2, 3, strides=2, use_bias=False), ((3, 2),)),
    Case("max_pool", lambda: fn.max_pool((2, 2)), ((4, 5, 2),), False),
    Case(
        "max_pool of windows that overlap", lambda: fn.max_pool((3, 2), strides=1, padding="same"), ((3, 4, 2),), False
    ),
    Case("max_pool of sequences", lambda: fn.max_pool(2), ((5, 3),), False),
    Case("avg_pool", lambda: fn.avg_pool((2, 2)), ((4, 5, 2),)),
    Case("avg_pool with padding", lambda: fn.avg_pool((3, 2), strides=2, padding="same"), ((4, 3, 2),)),
    Case("avg_pool of sequences", lambda: fn.avg_pool(3, strides=1), ((4, 3),)),
    Case("upsample", lambda: fn.upsample((2, 3)), ((2, 3, 2),)),
    Case("upsample of sequences", lambda: fn.upsample(2), ((3, 2),)),
    Case("embedding", lambda: fn.embedding(7, 3), ((),), options={"labels": {0: 7}}),
    Case("embedding of sequences", lambda: fn.embedding(3, 4), ((5,),), options={"labels": {0: 3}}),
    Case("rnn", lambda: fn.rnn(3), ((5, 2),), False),
    Case("rnn of all times", lambda: fn.rnn(3, return_sequences=True), ((5, 2),), False),
    Case("rnn of unequal lengths", lambda: fn.rnn(3, lengths=True), ((4, 2), ()), False, LENGTHS),
    Case("lstm", lambda: fn.lstm(3), ((5, 2),), False),
    Case("lstm of all times", lambda: fn.lstm(3, return_sequences=True), ((5, 2),), False),
    Case("lstm of unequal lengths", lambda: fn.lstm(3, lengths=True), ((4, 2), ()), False, LENGTHS),
    Case(
        "lstm of all times of unequal lengths",
        lambda: fn.lstm(3, return_sequences=True, lengths=True),
        ((4, 2), ()),
        False,
        LENGTHS,
    ),
    Case("gru", lambda: fn.gru(3), ((5, 2),), False),
    Case("gru of all times", lambda: fn.gru(3, return_sequences=True), ((5, 2),), False),
    Case("gru of unequal lengths", lambda: fn.gru(3, lengths=True), ((4, 2), ()), False, LENGTHS),
    Case("rnn with an initial state", lambda: fn.rnn(3, initial_state=True), ((4, 2), (3,)), False),
    Case(
        "lstm of states with an initial state",
        lambda: fn.lstm(2, return_state=True, return_sequences=True, initial_state=True),
        ((4, 3), (4,)),
        False,
    ),
    Case(
        "lstm of unequal lengths with an initial state",
        lambda: fn.lstm(2, return_state=True, lengths=True, initial_state=True),
        ((4, 3), (), (4,)),
        False,
        LENGTHS,
    ),
    Case(
        "gru of all times of unequal lengths with an initial state",
        lambda: fn.gru(3, return_sequences=True, lengths=True, initial_state=True),
        ((4, 2), (), (3,)),
        False,
        LENGTHS,
    ),
    Case("gru with an initial state", lambda: fn.gru(3, initial_state=True), ((4, 2), (3,)), False),
    Case("bidirectional", lambda: fn.bidirectional(fn.gru(2)), ((4, 3),), False),
    Case(
        "bidirectional of all times",
        lambda: fn.bidirectional(fn.lstm(2, return_sequences=True, initial_state=True)),
        ((4, 3), (8,)),
        False,
    ),
    Case(
        "bidirectional of all times of unequal lengths",
        lambda: fn.bidirectional(fn.rnn(2, return_sequences=True, lengths=True)),
        ((4, 3), ()),
        False,
        LENGTHS,
    ),
    Case(
        "bidirectional of unequal lengths with an initial state",
        lambda: fn.bidirectional(fn.lstm(2, return_state=True, lengths=True, initial_state=True)),
        ((4, 2), (), (8,)),
        False,
        LENGTHS,
    ),
    Case("positional_embedding", fn.positional_embedding, ((5, 4),)),
    Case("sinusoidal", fn.sinusoidal, ((5, 3),)),
    Case("dot_product_attention", fn.dot_product_attention, ((5, 4), (3, 4), (3, 4))),
    Case("dot_product_attention of heads", lambda: fn.dot_product_attention(heads=2), ((3, 4), (5, 4), (5, 6))),
    Case(
        "dot_product_attention that is causal",
        lambda: fn.dot_product_attention(heads=2, causal=True),
        ((4, 4), (4, 4), (4, 4)),
    ),
    Case("attention", lambda: fn.attention(2), ((3, 4),)),
    Case("attention that is causal", lambda: fn.attention(2, causal=True, dropout=0.5), ((3, 4),)),
    Case("attention to another sequence", lambda: fn.attention(2, cross=True), ((3, 4), (5, 3))),
    Case(
        "dot_product_attention to the keys of a mask",
        lambda: fn.dot_product_attention(heads=2, masked=True),
        ((3, 4), (5, 4), (5, 4), (5,)),
        False,
        {"masks": (3,)},
    ),
    Case(
        "attention with a mask",
        lambda: fn.attention(2, causal=True, masked=True),
        ((3, 4), (3, 3)),
        False,
        {"masks": (1,)},
    ),
    Case("mean", lambda: fn.mean(-1), ((4,),)),
    Case("mean over two axes", lambda: fn.mean((1, 2), keepdims=True), ((5, 3, 2),)),
    Case("sum", lambda: fn.sum(1), ((5, 3),)),
    Case("sum over two axes", lambda: fn.sum((-1, 1)), ((5, 3, 2),)),
    Case("max", lambda: fn.max(-1, keepdims=True), ((4,),), False),
    Case("max over two axes", lambda: fn.max((1, 3)), ((5, 3, 2),), False),
    Case("masked_mean", lambda: fn.masked_mean(1), ((5, 3), (5,)), False, POSITIVE),
    Case(
        "masked_mean over two axes", lambda: fn.masked_mean((1, 2), keepdims=True), ((4, 3, 2), (4, 3)), False, POSITIVE
    ),
    Case("masked_mean of bools", lambda: fn.masked_mean(1), ((5, 3), (5,)), False, {"masks": (1,)}),
    Case("masked_sum of bools", lambda: fn.masked_sum(1), ((5, 3), (5, 1)), False, {"masks": (1,)}),
    Case("masked_sum", lambda: fn.masked_sum(1), ((5, 3), (5, 1)), False),
    Case("masked_sum of elements", lambda: fn.masked_sum(1, keepdims=True), ((5, 3), (5, 3)), False),
    Case("masked_sum of numbers", lambda: fn.masked_sum(-1), ((5,), (5,)), False),
    Case("slice", lambda: fn.slice(None, 3, 2), ((4,),)),
    Case("slice of sequences", lambda: fn.slice(0, -1, axis=1), ((5, 3),)),
    Case("permute", lambda: fn.permute(2, 1), ((5, 3),)),
    Case("permute three axes", lambda: fn.permute(3, 1, 2), ((2, 3, 4),)),
    Case("serial of a slice", lambda: fn.serial(fn.slice(0, 3, axis=1), fn.linear(2)), ((5, 3),)),
    Case("serial of a permutation", lambda: fn.serial(fn.permute(2, 1), fn.linear(4), fn.layer_norm()), ((5, 3),)),
    Case("serial into a permutation", lambda: fn.serial(fn.linear(2), fn.permute(2, 1)), ((5, 3),)),
    Case(
        "serial of an embedding", lambda: fn.serial(fn.embedding(7, 3), fn.linear(2)), ((),), options={"labels": {0: 7}}
    ),
    Case(
        "parallel of embeddings",
        lambda: fn.parallel(fn.embedding(7, 3), fn.serial(fn.embedding(7, 2), fn.linear(3))),
        ((4,),),
        options={"labels": {0: 7}},
    ),
    Case("serial", lambda: fn.serial(fn.linear(3), fn.tanh(), fn.linear(2)), ((4,),)),
    Case("parallel", lambda: fn.parallel(fn.linear(3), fn.serial(fn.linear(3), fn.sigmoid())), ((4,),)),
    Case("parallel with merge", lambda: fn.parallel(fn.linear(3), fn.linear(2), merge=fn.concatenate()), ((4,),)),
    Case("residual", lambda: fn.residual(fn.linear(4), fn.tanh()), ((4,),)),
    Case("network", lambda: fn.network({1: fn.linear(3), 2: fn.tanh(), 3: fn.add()}, {1: [2, 3], 2: [3]}), ((4,),)),
    Case(
        "network of two outputs", lambda: fn.network({1: fn.linear(3), 2: fn.tanh()}, {1: [2]}, output=[1, 2]), ((4,),)
    ),
    Case("network with tied weights", lambda: tied(fn.linear(3)), ((4,),)),
    Case("network with tied weights without a bias", lambda: tied(fn.linear(3, use_bias=False)), ((5, 4),)),
    Case("network with tied logits", lambda: tied(fn.embedding(7, 3)), ((),), options={"labels": {0: 7}}),
]
