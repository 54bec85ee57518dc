"""The operators of the table in JAX and in PyTorch, which differentiate them by themselves.

A row for which they have no function of their own is the book's formula (tests/battery.py), with jax.numpy or torch
for NumPy; random networks are the naive interpreter (tests/naive.py), likewise. Where PyTorch calls a function by
another name than NumPy, or means another by it, the formulas that it evaluates do without.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from funcnet import tree
from tests.support import battery, images, naive
from tests.support.cases import Case

Function = Callable[..., Any]


class Framework(NamedTuple):
    """What differentiates by itself."""

    numpy: str
    """Its module in which NumPy's names are."""
    double: Callable[[], AbstractContextManager[Any]]
    """Within this, float64 stays float64."""
    vjp: Function
    functions: dict[str, Function]
    """What it has of its own, by a row's name or its first word: a function of the params and the inputs."""


def in_jax() -> Framework:
    """JAX."""
    import jax

    nn = jax.nn

    functions: dict[str, Function] = {
        "tanh": lambda p, x: jax.numpy.tanh(x),
        "sigmoid": lambda p, x: nn.sigmoid(x),
        "relu": lambda p, x: nn.relu(x),
        "leaky_relu": lambda p, x: nn.leaky_relu(x, 0.1),
        "elu": lambda p, x: nn.elu(x, 0.7),
        "selu": lambda p, x: nn.selu(x),
        "gelu": lambda p, x: nn.gelu(x, approximate=False),
        "gelu by tanh": lambda p, x: nn.gelu(x, approximate=True),
        "silu": lambda p, x: nn.silu(x),
        "softplus": lambda p, x: nn.softplus(x),
        "softmax": lambda p, x: nn.softmax(x),
        "log_softmax": lambda p, x: nn.log_softmax(x),
        **images.in_jax(),
    }
    return Framework("jax.numpy", partial(jax.enable_x64, True), jax.vjp, functions)


def in_torch() -> Framework:
    """PyTorch."""
    import torch

    f: Any = torch.nn.functional
    of_rows = torch_losses()
    mse, cross_entropy, gaussian = (of_rows[key] for key in ("mse", "softmax_cross_entropy", "gaussian_nll"))

    def weighted(rows: Any, w: Any) -> Any:
        return (w * rows).sum() / w.sum()

    def labels_of(z: Any, t: Any, **options: Any) -> Any:
        return cross_entropy(z.movedim(-1, 1), t, **options)

    def apart(heads: int, x: Any) -> Any:
        return x.unflatten(-1, (heads, -1)).movedim(2, 1)

    def side_by_side(x: Any) -> Any:
        return x.movedim(1, 2).flatten(2)

    def masked_heads(p: Any, x: Any, m: Any) -> Any:
        q, k, v = (apart(2, f.linear(x, w[0].T, *w[1:])) for w in p[:3])
        mask = torch.tril(m[:, None] != 0)
        y = side_by_side(f.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        return f.linear(y, p[3][0].T, p[3][1])

    def multi_head(p: Any, x: Any, z: Any, mask: Any = None) -> Any:
        query, key, value, output = p
        bias = torch.cat([query[1], torch.zeros_like(query[1]), value[1]])
        q, k, v = (y.movedim(0, 1) for y in (x, z, z))
        weights = {f"{name}_proj_weight": w[0].T for name, w in zip("qkv", (query, key, value), strict=True)}
        y, _ = f.multi_head_attention_forward(
            q, k, v, x.shape[-1], 2, None, bias, None, None, False, 0.0, output[0].T, output[1],
            attn_mask=mask, use_separate_proj_weight=True, need_weights=False, training=False, **weights,
        )  # fmt: skip
        return y.movedim(0, 1)

    functions: dict[str, Function] = {
        "linear": lambda p, x: f.linear(x, p[0].T, *p[1:]),
        "tanh": lambda p, x: torch.tanh(x),
        "sigmoid": lambda p, x: torch.sigmoid(x),
        "relu": lambda p, x: torch.relu(x),
        "leaky_relu": lambda p, x: f.leaky_relu(x, 0.1),
        "elu": lambda p, x: f.elu(x, 0.7),
        "selu": lambda p, x: torch.selu(x),
        "gelu": lambda p, x: f.gelu(x),
        "gelu by tanh": lambda p, x: f.gelu(x, approximate="tanh"),
        "silu": lambda p, x: f.silu(x),
        "softplus": lambda p, x: f.softplus(x),
        "softmax": lambda p, x: torch.softmax(x, -1),
        "log_softmax": lambda p, x: torch.log_softmax(x, -1),
        "flatten": lambda p, x: torch.flatten(x, 1),
        "mse": lambda p, y, t: f.mse_loss(y, t),
        "mse of weighted rows": lambda p, y, t, w: weighted(mse(y, t), w),
        "mse summed": lambda p, y, t: mse(y, t).sum(),
        "mse of each row": lambda p, y, t: mse(y, t),
        "mse of one number a row": lambda p, y, t: f.mse_loss(y, t, reduction="none"),
        "mse summed over weighted rows": lambda p, y, t, w: (w * mse(y, t)).sum(),
        "mse of each weighted row": lambda p, y, t, w: w * mse(y, t),
        "mae": lambda p, y, t: f.l1_loss(y, t),
        "mae of each row": lambda p, y, t: of_rows["mae"](y, t),
        "huber": lambda p, y, t: f.huber_loss(y, t, delta=0.7),
        "huber of each row": lambda p, y, t: of_rows["huber"](y, t),
        "poisson_nll": lambda p, y, t: f.poisson_nll_loss(y, t),
        "gaussian_nll": lambda p, m, v, t: f.gaussian_nll_loss(m, t, v),
        # PyTorch has a least variance too, but lets the gradient pass where it is in force.
        "gaussian_nll of small variances": lambda p, m, v, t: f.gaussian_nll_loss(m, t, v.clamp(min=0.3)),
        "gaussian_nll of weighted rows": lambda p, m, v, t, w: weighted(gaussian(m, v, t), w),
        "softmax_cross_entropy": lambda p, z, t: f.cross_entropy(z, t),
        "softmax_cross_entropy smoothed": lambda p, z, t: f.cross_entropy(z, t, label_smoothing=0.1),
        "softmax_cross_entropy of smoothed labels": lambda p, z, t: cross_entropy(z, t, label_smoothing=0.1),
        "softmax_cross_entropy of weighted rows": lambda p, z, t, w: weighted(cross_entropy(z, t), w),
        "softmax_cross_entropy over sequences": lambda p, z, t: f.cross_entropy(z.movedim(-1, 1), t),
        "softmax_cross_entropy of distributions over sequences": lambda p, z, t: labels_of(z, t.movedim(-1, 1)).mean(),
        "softmax_cross_entropy of each label of sequences": lambda p, z, t: labels_of(z, t, label_smoothing=0.1),
        "softmax_cross_entropy of weighted sequences": lambda p, z, t, w: weighted(labels_of(z, t).mean(1), w),
        "softmax_cross_entropy of weighted labels": lambda p, z, t, w: weighted(labels_of(z, t), w),
        "softmax_cross_entropy of labels but one": lambda p, z, t: f.cross_entropy(z.movedim(-1, 1), t, ignore_index=2),
        "softmax_cross_entropy of weighted labels but one": lambda p, z, t, w: (
            w * cross_entropy(z, t, ignore_index=2)
        ).sum(),
        "mse of weighted elements": lambda p, y, t, w: f.mse_loss(y, t, weight=w),
        "mse summed over weighted elements": lambda p, y, t, w: (w * f.mse_loss(y, t, reduction="none")).sum() / 4,
        "huber of each row of weighted elements": lambda p, y, t, w: (
            (w * f.huber_loss(y, t, reduction="none")).flatten(1).mean(1)
        ),
        "gaussian_nll of weighted elements": lambda p, m, v, t, w: weighted(
            f.gaussian_nll_loss(m, t, v, reduction="none"), w
        ),
        "sigmoid_cross_entropy of weighted elements": lambda p, z, t, w: weighted(
            f.binary_cross_entropy_with_logits(z, t, reduction="none"), w
        ),
        "sigmoid_cross_entropy": lambda p, z, t: f.binary_cross_entropy_with_logits(z, t),
        "sigmoid_cross_entropy of each row": lambda p, z, t: of_rows["sigmoid_cross_entropy"](z, t),
        "hinge": lambda p, y, t: f.margin_ranking_loss(y, torch.zeros_like(y), t, margin=1.0),
        "kl_divergence": lambda p, y, t: f.kl_div(y, t, reduction="batchmean"),
        "kl_divergence of each row": lambda p, y, t: of_rows["kl_divergence"](y, t),
        "dropout": lambda p, x: f.dropout(x, training=False),
        "layer_norm": lambda p, x: f.layer_norm(x, x.shape[-1:], *p),
        "group_norm": lambda p, x: f.group_norm(x.movedim(-1, 1), 2, *p).movedim(1, -1),
        "group_norm of one group of sequences": lambda p, x: f.group_norm(x.movedim(-1, 1), 1, *p).movedim(1, -1),
        "group_norm without places": lambda p, x: f.group_norm(x, 2, *p, 0.01),
        "instance_norm": lambda p, x: f.instance_norm(x.movedim(-1, 1), None, None, *p).movedim(1, -1),
        "rms_norm": lambda p, x: f.rms_norm(x, x.shape[-1:], *p, 0.01),
        "rms_norm over sequences": lambda p, x: f.rms_norm(x, x.shape[-1:], *p, 1e-5),
        "batch_norm": lambda p, x: f.batch_norm(x.movedim(-1, 1), None, None, *p[:2], training=True).movedim(1, -1),
        "embedding": lambda p, i: f.embedding(i, *p),
        "dot_product_attention": lambda p, q, k, v: f.scaled_dot_product_attention(q, k, v),
        "dot_product_attention of heads": lambda p, q, k, v: side_by_side(
            f.scaled_dot_product_attention(*(apart(2, x) for x in (q, k, v)))
        ),
        "dot_product_attention that is causal": lambda p, q, k, v: side_by_side(
            f.scaled_dot_product_attention(*(apart(2, x) for x in (q, k, v)), is_causal=True)
        ),
        "attention": lambda p, x: multi_head(p, x, x),
        "attention that is causal": lambda p, x: multi_head(
            p, x, x, torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        ),
        "attention to another sequence": multi_head,
        "dot_product_attention to the keys of a mask": lambda p, q, k, v, m: side_by_side(
            f.scaled_dot_product_attention(*(apart(2, x) for x in (q, k, v)), attn_mask=m[:, None, None] != 0)
        ),
        "attention with a mask": masked_heads,
        "sum": lambda p, x: torch.sum(x, 1),
        "sum over two axes": lambda p, x: torch.sum(x, (1, 3)),
        "max": lambda p, x: torch.amax(x, 1, keepdim=True),
        "max over two axes": lambda p, x: torch.amax(x, (1, 3)),
        "slice of sequences": lambda p, x: torch.narrow(x, 1, 0, 4),
        "permute": lambda p, x: torch.permute(x, (0, 2, 1)),
        "permute three axes": lambda p, x: torch.permute(x, (0, 3, 1, 2)),
        **images.in_torch(),
    }
    return Framework("torch", nullcontext, torch.func.vjp, functions)


FRAMEWORKS: dict[str, Callable[[], Framework]] = {"jax": in_jax, "torch": in_torch}


def torch_losses() -> dict[str, Function]:
    """The loss of each row: PyTorch leaves its elements, which are averaged, or for kl_divergence summed."""
    import torch

    f: Any = torch.nn.functional

    def averaged(loss: Function) -> Function:
        return lambda *inputs, **options: loss(*inputs, reduction="none", **options).flatten(1).mean(1)

    return {
        "mse": averaged(f.mse_loss),
        "mae": averaged(f.l1_loss),
        "huber": averaged(f.huber_loss),
        "poisson_nll": averaged(f.poisson_nll_loss),
        "gaussian_nll": averaged(lambda m, v, t, **options: f.gaussian_nll_loss(m, t, v, **options)),
        "softmax_cross_entropy": partial(f.cross_entropy, reduction="none"),
        "sigmoid_cross_entropy": averaged(f.binary_cross_entropy_with_logits),
        "kl_divergence": lambda y, t: f.kl_div(y, t, reduction="none").sum(1),
    }


@cache
def in_namespace(name: str, numpy: str) -> Any:
    """The module of that name, of NumPy formulas, loaded once more with another module for NumPy."""
    spec: Any = importlib.util.spec_from_file_location(
        f"{name}_in_{numpy.replace('.', '_')}", str(sys.modules[name].__file__)
    )
    again = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = again
    spec.loader.exec_module(again)
    again.__dict__["np"] = importlib.import_module(numpy)
    return again


def function_of(case: Case, framework: Framework) -> Function:
    """A row's function; that of its first word only where the book's formula is that of its first word too."""
    functions = framework.functions
    own = functions.get(case.name)
    if case.name not in battery.FORMULAS:
        own = own or functions.get(case.name.split(" ")[0])
    function: Function = own or in_namespace(battery.__name__, framework.numpy).formula_of(case)
    return function


def pulled(
    function: Function, params: Any, inputs: list[Any], cotangent: Any, framework: Framework
) -> tuple[Any, list[Any]]:
    """(output, cotangents of all floating leaves)."""
    array = partial(importlib.import_module(framework.numpy).asarray, copy=True)
    leaves, structure = tree.flatten((params, inputs))
    places = [i for i, x in enumerate(leaves) if x.dtype.kind == "f"]

    def of_floating(*values: Any) -> Any:
        again = list(map(array, leaves))
        for i, value in zip(places, values, strict=True):
            again[i] = value
        p, xs = tree.unflatten(structure, again)
        return function(p, *xs)

    with framework.double():
        output, pull = framework.vjp(of_floating, *(array(leaves[i]) for i in places))
        cotangents = pull(tree.map(array, cotangent))
        return tree.map(np.asarray, output), list(map(np.asarray, cotangents))


def disagreement(case: Case, dtype: Any, framework: Framework) -> tuple[float, float]:
    """(worst error of the value, of a cotangent), in units of the largest element or of 1."""
    layer, params, inputs = battery.subject_of(case, dtype)
    output, pullback = layer.apply.vjp(params, *inputs)
    rng = np.random.default_rng(5)
    cotangent = tree.map(lambda y: np.asarray(rng.normal(size=np.shape(y)), dtype), output)
    found = tree.leaves(pullback(cotangent))
    theirs, expected = pulled(function_of(case, framework), params, inputs, cotangent, framework)
    return worst(tree.leaves(output), tree.leaves(theirs)), worst(found, expected)


def worst(found: Any, expected: Any) -> float:
    """The largest difference, in units of the largest element or of 1; NaN where one is NaN."""
    errors = [0.0]
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        errors.append(float(np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(b).max(initial=0.0))))
    return float(np.max(errors))


class Blind:
    """Watches nothing: what the naive interpreter is given where another than NumPy runs it."""

    def kink(self, distances: Any) -> None:
        """Nothing."""

    def size(self, x: Any) -> Any:
        """The value itself."""
        return x


def network_in(net: Any, framework: Framework) -> Function:
    """A network of the naive interpreter, whose values a framework computes."""
    again = in_namespace(naive.__name__, framework.numpy)

    def function(params: Any, *inputs: Any) -> Any:
        outputs = again.Evaluation(net, params, inputs, Blind()).outputs()
        return tuple(outputs) if isinstance(net.output, list) else outputs[0]

    return function
