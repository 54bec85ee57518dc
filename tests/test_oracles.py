"""Losses and layers against PyTorch and Optax, values and gradients, where those are installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

rng = np.random.default_rng(0)
Y, T = rng.normal(size=(2, 6, 4)) * 2
DISTRIBUTIONS = np.exp(T) / np.exp(T).sum(axis=1, keepdims=True)
LOG_Q = Y - np.log(np.exp(Y).sum(axis=1, keepdims=True))
LABELS = T.argmax(axis=1)
COUNTS, SIGNS, YES_OR_NO = np.round(np.abs(T)), np.sign(T), (T > 0) * 1.0
VARIANCES = np.abs(Y[::-1]) + 0.1
SEQUENCES, INDICES = rng.normal(size=(6, 5, 4)), rng.integers(7, size=(6, 5))
SCALE, BIAS, MEAN, VAR = np.abs(rng.normal(size=(4, 4))) + 0.5
TABLE = rng.normal(size=(7, 4))


class Pair(NamedTuple):
    """A layer with params and inputs, and the same function elsewhere, of the params and the inputs."""

    layer: Any
    params: Any
    inputs: tuple[Any, ...]
    elsewhere: Callable[..., Any]


def by_torch() -> dict[str, Pair]:
    """What PyTorch has."""
    torch: Any = pytest.importorskip("torch")
    f = torch.nn.functional
    found: dict[str, Pair] = {
        "layer_norm": Pair(
            fn.layer_norm(), fn.Norm(SCALE, BIAS), (SEQUENCES,), lambda s, b, x: f.layer_norm(x, (4,), s, b)
        ),
        "rms_norm": Pair(fn.rms_norm(), fn.Scale(SCALE), (SEQUENCES,), lambda s, x: f.rms_norm(x, (4,), s, 1e-5)),
        "batch_norm": Pair(
            fn.batch_norm(),
            fn.BatchNorm(SCALE, BIAS, None, None),
            (SEQUENCES,),
            lambda s, b, x: f.batch_norm(x.mT, None, None, s, b, training=True).mT,
        ),
        "calibrated batch_norm": Pair(
            fn.batch_norm(),
            fn.BatchNorm(SCALE, BIAS, MEAN, VAR),
            (Y,),
            lambda s, b, m, v, x: f.batch_norm(x, m.detach(), v.detach(), s, b) + 0 * (m + v),
        ),
        "embedding": Pair(fn.embedding(7, 4), fn.Table(TABLE), (INDICES,), lambda e, i: f.embedding(i, e)),
        "max": Pair(fn.max((1, 2)), (), (np.round(SEQUENCES),), lambda x: torch.amax(x, (1, 2))),
        "permute": Pair(fn.permute(2, 1), (), (SEQUENCES,), lambda x: torch.permute(x, (0, 2, 1))),
    }
    for reduction in ("mean", "sum", "none"):
        found |= {f"{name}, {reduction}": pair for name, pair in losses_of_torch(f, reduction).items()}
    return found


def losses_of_torch(f: Any, reduction: Any) -> dict[str, Pair]:
    """PyTorch leaves or reduces the elements; here a row's are averaged first, or summed where they are classes."""

    def each(function: Callable[..., Any], *, classes: bool = False) -> Callable[..., Any]:
        def total(*inputs: Any) -> Any:
            terms = function(*inputs)
            rows = terms if terms.ndim == 1 else terms.sum(1) if classes else terms.mean(1)
            return rows if reduction == "none" else getattr(rows, reduction)()

        return total

    def smoothed(z: Any, t: Any) -> Any:
        return f.cross_entropy(z, t, reduction="none", label_smoothing=0.1)

    cross_entropy = fn.softmax_cross_entropy(reduction=reduction, label_smoothing=0.1)
    none: Any = {"reduction": "none"}
    how: Any = {"reduction": reduction}
    return {
        "mse": Pair(fn.mse(**how), (), (Y, T), each(lambda y, t: f.mse_loss(y, t, **none))),
        "mae": Pair(fn.mae(**how), (), (Y, T), each(lambda y, t: f.l1_loss(y, t, **none))),
        "huber": Pair(fn.huber(0.7, **how), (), (Y, T), each(lambda y, t: f.huber_loss(y, t, delta=0.7, **none))),
        "poisson": Pair(fn.poisson_nll(**how), (), (Y, COUNTS), each(lambda y, t: f.poisson_nll_loss(y, t, **none))),
        "gaussian": Pair(
            fn.gaussian_nll(**how), (), (Y, VARIANCES, T), each(lambda m, v, t: f.gaussian_nll_loss(m, t, v, **none))
        ),
        "labels": Pair(cross_entropy, (), (Y, LABELS), each(smoothed)),
        "distributions": Pair(cross_entropy, (), (Y, DISTRIBUTIONS), each(smoothed)),
        "sigmoid": Pair(
            fn.sigmoid_cross_entropy(**how),
            (),
            (Y, YES_OR_NO),
            each(lambda z, t: f.binary_cross_entropy_with_logits(z, t, **none)),
        ),
        "kl": Pair(
            fn.kl_divergence(**how), (), (LOG_Q, DISTRIBUTIONS), each(lambda y, t: f.kl_div(y, t, **none), classes=True)
        ),
    }


def by_optax() -> dict[str, Pair]:
    """What Optax has: one loss an element, or a row."""
    losses: Any = pytest.importorskip("optax").losses
    smooth = losses.smooth_labels
    return {
        "mse": Pair(fn.mse(), (), (Y, T), lambda y, t: losses.squared_error(y, t).mean()),
        "huber": Pair(fn.huber(0.7), (), (Y, T), lambda y, t: losses.huber_loss(y, t, delta=0.7).mean()),
        "labels": Pair(
            fn.softmax_cross_entropy(), (), (Y, LABELS),
            lambda z, t: losses.softmax_cross_entropy_with_integer_labels(z, t).mean(),
        ),
        "smoothed": Pair(
            fn.softmax_cross_entropy(label_smoothing=0.2), (), (Y, DISTRIBUTIONS),
            lambda z, t: losses.softmax_cross_entropy(z, smooth(t, 0.2)).mean(),
        ),
        "sigmoid": Pair(
            fn.sigmoid_cross_entropy(), (), (Y, YES_OR_NO),
            lambda z, t: losses.sigmoid_binary_cross_entropy(z, t).mean(),
        ),
        "hinge": Pair(fn.hinge(), (), (Y, SIGNS), lambda y, t: losses.hinge_loss(y, t).mean()),
        "kl": Pair(fn.kl_divergence(), (), (LOG_Q, DISTRIBUTIONS), lambda y, t: losses.kl_divergence(y, t).mean()),
    }  # fmt: skip


def agree(name: str, pair: Pair, value: Any, cotangents: list[Any], g: Any, tolerance: float) -> None:
    """Demand the same output, and the same cotangents of all that is floating."""
    output, pullback = pair.layer.apply.vjp(pair.params, *pair.inputs)
    np.testing.assert_allclose(output, value, rtol=tolerance, atol=tolerance, err_msg=name)
    for found, expected in zip(tree.leaves(pullback(g)), cotangents, strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def test_pytorch_computes_the_same() -> None:
    torch: Any = pytest.importorskip("torch")
    for name, pair in by_torch().items():
        arrays = [torch.tensor(np.array(x)) for x in (*tree.leaves(pair.params), *pair.inputs)]
        leaves = [x.requires_grad_() for x in arrays if x.is_floating_point()]
        value = pair.elsewhere(*arrays)
        g = np.random.default_rng(1).normal(size=tuple(value.shape))
        cotangents = torch.autograd.grad(value, leaves, torch.tensor(g))
        agree(name, pair, value.detach().numpy(), [c.numpy() for c in cotangents], g, 1e-12)


def test_optax_computes_the_same() -> None:
    pairs = by_optax()
    jax: Any = pytest.importorskip("jax")
    for name, pair in pairs.items():
        with jax.enable_x64(True):
            places = [i for i, x in enumerate(pair.inputs) if x.dtype.kind == "f"]
            value, cotangents = jax.value_and_grad(pair.elsewhere, places)(*pair.inputs)
            agree(name, pair, np.asarray(value), [np.asarray(c) for c in cotangents], 1.0, 1e-12)
