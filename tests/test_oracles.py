"""What no row of the table asks for: every loss and reduction against PyTorch, losses against Optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from tests.support.elsewhere import Framework, in_jax, in_torch, pulled, torch_losses, worst

rng = np.random.default_rng(0)
Y, T = rng.normal(size=(2, 6, 4)) * 2
DISTRIBUTIONS = np.exp(T) / np.exp(T).sum(axis=1, keepdims=True)
LOG_Q = Y - np.log(np.exp(Y).sum(axis=1, keepdims=True))
LABELS = T.argmax(axis=1)
COUNTS, SIGNS, YES_OR_NO = np.round(np.abs(T)), np.sign(T), (T > 0) * 1.0
VARIANCES = np.abs(Y[::-1]) + 0.1
SEQUENCES = rng.normal(size=(6, 5, 4))
SCALE, BIAS, MEAN, VAR = np.abs(rng.normal(size=(4, 4))) + 0.5


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
        "calibrated batch_norm": Pair(
            fn.batch_norm(),
            fn.BatchNorm(SCALE, BIAS, MEAN, VAR),
            (Y,),
            lambda p, x: f.batch_norm(x, p.mean.detach(), p.var.detach(), p.scale, p.bias),
        ),
        "max": Pair(fn.max((1, 2)), (), (np.round(SEQUENCES),), lambda p, x: torch.amax(x, (1, 2))),
    }
    for reduction in ("mean", "sum", "none"):
        found |= {f"{name}, {reduction}": pair for name, pair in losses_of_torch(reduction).items()}
    return found


def losses_of_torch(reduction: Any) -> dict[str, Pair]:
    """Every loss that PyTorch has."""
    rows = torch_losses()

    def reduced(name: str, **options: float) -> Callable[..., Any]:
        def function(p: Any, *inputs: Any) -> Any:
            terms = rows[name](*inputs, **options)
            return terms if reduction == "none" else getattr(terms, reduction)()

        return function

    how: Any = {"reduction": reduction}
    cross_entropy = fn.softmax_cross_entropy(label_smoothing=0.1, **how)
    smoothed = reduced("softmax_cross_entropy", label_smoothing=0.1)
    return {
        "mse": Pair(fn.mse(**how), (), (Y, T), reduced("mse")),
        "mae": Pair(fn.mae(**how), (), (Y, T), reduced("mae")),
        "huber": Pair(fn.huber(0.7, **how), (), (Y, T), reduced("huber", delta=0.7)),
        "poisson": Pair(fn.poisson_nll(**how), (), (Y, COUNTS), reduced("poisson_nll")),
        "gaussian": Pair(fn.gaussian_nll(**how), (), (Y, VARIANCES, T), reduced("gaussian_nll")),
        "labels": Pair(cross_entropy, (), (Y, LABELS), smoothed),
        "distributions": Pair(cross_entropy, (), (Y, DISTRIBUTIONS), smoothed),
        "sigmoid": Pair(fn.sigmoid_cross_entropy(**how), (), (Y, YES_OR_NO), reduced("sigmoid_cross_entropy")),
        "kl": Pair(fn.kl_divergence(**how), (), (LOG_Q, DISTRIBUTIONS), reduced("kl_divergence")),
    }


def by_optax() -> dict[str, Pair]:
    """What Optax has: one loss an element, or a row."""
    losses: Any = pytest.importorskip("optax").losses
    smooth = losses.smooth_labels
    return {
        "mse": Pair(fn.mse(), (), (Y, T), lambda p, y, t: losses.squared_error(y, t).mean()),
        "huber": Pair(fn.huber(0.7), (), (Y, T), lambda p, y, t: losses.huber_loss(y, t, delta=0.7).mean()),
        "log_cosh": Pair(fn.log_cosh(), (), (Y, T), lambda p, y, t: losses.log_cosh(y, t).mean()),
        "labels": Pair(
            fn.softmax_cross_entropy(), (), (Y, LABELS),
            lambda p, z, t: losses.softmax_cross_entropy_with_integer_labels(z, t).mean(),
        ),
        "smoothed": Pair(
            fn.softmax_cross_entropy(label_smoothing=0.2), (), (Y, DISTRIBUTIONS),
            lambda p, z, t: losses.softmax_cross_entropy(z, smooth(t, 0.2)).mean(),
        ),
        "sigmoid": Pair(
            fn.sigmoid_cross_entropy(), (), (Y, YES_OR_NO),
            lambda p, z, t: losses.sigmoid_binary_cross_entropy(z, t).mean(),
        ),
        "hinge": Pair(fn.hinge(), (), (Y, SIGNS), lambda p, y, t: losses.hinge_loss(y, t).mean()),
        "kl": Pair(fn.kl_divergence(), (), (LOG_Q, DISTRIBUTIONS), lambda p, y, t: losses.kl_divergence(y, t).mean()),
    }  # fmt: skip


def agree(pairs: dict[str, Pair], framework: Framework) -> None:
    """Demand the same output, and the same cotangents of all that is floating."""
    for name, pair in pairs.items():
        output, pullback = pair.layer.apply.vjp(pair.params, *pair.inputs)
        g = np.random.default_rng(1).normal(size=np.shape(output))
        value, cotangents = pulled(pair.elsewhere, pair.params, list(pair.inputs), g, framework)
        assert worst([output], [value]) <= 1e-13, name
        assert worst(tree.leaves(pullback(g)), cotangents) <= 1e-13, name


def test_pytorch_computes_the_same() -> None:
    agree(by_torch(), in_torch())


def test_optax_computes_the_same() -> None:
    agree(by_optax(), in_jax())
