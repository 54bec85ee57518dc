"""funcnet: neural networks in pure NumPy. A network is two dicts; a layer is a pair of pure functions."""

import importlib as _importlib
import typing as _typing

from funcnet import tree as tree
from funcnet.arrays import Array, Labels, Matrix, Shape, Vector
from funcnet.compose import parallel, residual, serial
from funcnet.core import Function, Init, Layer, OperatorKey, Pullback
from funcnet.custom import custom_layer
from funcnet.diagrams import to_dot, to_mermaid
from funcnet.errors import (
    CheckpointError,
    DTypeError,
    FuncnetError,
    GraphError,
    KeyTypeError,
    LabelError,
    NonFiniteError,
    OptionError,
    ParamsError,
    ShapeError,
    WeightError,
)
from funcnet.graph import Graph
from funcnet.initializers import (
    constant,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    orthogonal,
    uniform,
    zeros,
)
from funcnet.layers.axes import masked_mean, masked_sum, max, mean, permute, slice, sum
from funcnet.layers.dropout import dropout
from funcnet.layers.elementwise import (
    elementwise,
    elu,
    exp,
    gelu,
    identity,
    leaky_relu,
    relu,
    selu,
    sigmoid,
    silu,
    softplus,
    tanh,
)
from funcnet.layers.embedding import Table, embedding
from funcnet.layers.linear import Affine, Weight, linear
from funcnet.layers.merge import add, average, concatenate, flatten, maximum, multiply, reshape, subtract
from funcnet.layers.norm import BatchNorm, Norm, Scale, batch_norm, layer_norm, rms_norm, scale
from funcnet.layers.softmax import log_softmax, softmax
from funcnet.losses.classification import hinge, kl_divergence, sigmoid_cross_entropy, softmax_cross_entropy
from funcnet.losses.regression import gaussian_nll, huber, mae, mse, poisson_nll
from funcnet.network import network, trace
from funcnet.random import Key, fold_in, key, split
from funcnet.sharing import shared, transposed
from funcnet.summary import Operator, Summary, summary
from funcnet.training import sgd_step, value_and_grad, vjp

if _typing.TYPE_CHECKING:
    from funcnet.batches import minibatches
    from funcnet.calibration import calibrate
    from funcnet.checkpoint import Checkpoint, PartialCheckpoint, load, save
    from funcnet.evaluation import evaluate
    from funcnet.fit_result import Fit
    from funcnet.fitting import fit
    from funcnet.metrics import accuracy, binary_accuracy, confusion_matrix, r2
    from funcnet.optimizers import adagrad, adam, adamw, learning_rate, lion, rmsprop, sgd
    from funcnet.plateau import reduce_on_plateau, set_learning_rate
    from funcnet.schedules import (
        Schedule,
        constant_schedule,
        cosine_decay_schedule,
        exponential_decay,
        join_schedules,
        linear_schedule,
        onecycle_schedule,
        piecewise_constant_schedule,
        warmup_cosine_decay_schedule,
    )
    from funcnet.steps import train_step
    from funcnet.transforms import add_decayed_weights, clip, clip_by_global_norm, clip_by_norm, ema, scale_by_schedule
    from funcnet.updates import Optimizer, apply_updates, chain
    from funcnet.wrappers import accumulate, averaged_params, ema_params, freeze, masked

__all__ = [
    "accumulate",
    "accuracy",
    "adagrad",
    "adam",
    "adamw",
    "add",
    "add_decayed_weights",
    "Affine",
    "apply_updates",
    "Array",
    "average",
    "averaged_params",
    "batch_norm",
    "BatchNorm",
    "binary_accuracy",
    "calibrate",
    "chain",
    "Checkpoint",
    "CheckpointError",
    "clip",
    "clip_by_global_norm",
    "clip_by_norm",
    "concatenate",
    "confusion_matrix",
    "constant",
    "constant_schedule",
    "cosine_decay_schedule",
    "custom_layer",
    "dropout",
    "DTypeError",
    "elementwise",
    "elu",
    "ema",
    "ema_params",
    "embedding",
    "evaluate",
    "exp",
    "exponential_decay",
    "Fit",
    "fit",
    "flatten",
    "fold_in",
    "freeze",
    "FuncnetError",
    "Function",
    "gaussian_nll",
    "gelu",
    "glorot_normal",
    "glorot_uniform",
    "Graph",
    "GraphError",
    "he_normal",
    "he_uniform",
    "hinge",
    "huber",
    "identity",
    "Init",
    "join_schedules",
    "Key",
    "key",
    "KeyTypeError",
    "kl_divergence",
    "LabelError",
    "Labels",
    "Layer",
    "layer_norm",
    "leaky_relu",
    "learning_rate",
    "lecun_normal",
    "lecun_uniform",
    "linear",
    "linear_schedule",
    "lion",
    "load",
    "log_softmax",
    "mae",
    "masked",
    "masked_mean",
    "masked_sum",
    "Matrix",
    "max",
    "maximum",
    "mean",
    "minibatches",
    "mse",
    "multiply",
    "network",
    "NonFiniteError",
    "Norm",
    "normal",
    "onecycle_schedule",
    "ones",
    "Operator",
    "OperatorKey",
    "Optimizer",
    "OptionError",
    "orthogonal",
    "parallel",
    "ParamsError",
    "PartialCheckpoint",
    "permute",
    "piecewise_constant_schedule",
    "poisson_nll",
    "Pullback",
    "r2",
    "reduce_on_plateau",
    "relu",
    "reshape",
    "residual",
    "rms_norm",
    "rmsprop",
    "save",
    "Scale",
    "scale",
    "scale_by_schedule",
    "Schedule",
    "selu",
    "serial",
    "set_learning_rate",
    "sgd",
    "sgd_step",
    "Shape",
    "ShapeError",
    "shared",
    "sigmoid",
    "sigmoid_cross_entropy",
    "silu",
    "slice",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "split",
    "subtract",
    "sum",
    "Summary",
    "summary",
    "Table",
    "tanh",
    "to_dot",
    "to_mermaid",
    "trace",
    "train_step",
    "transposed",
    "tree",
    "uniform",
    "value_and_grad",
    "Vector",
    "vjp",
    "warmup_cosine_decay_schedule",
    "Weight",
    "WeightError",
    "zeros",
]

_LATER = {
    "batches": ["minibatches"],
    "calibration": ["calibrate"],
    "checkpoint": ["Checkpoint", "load", "PartialCheckpoint", "save"],
    "evaluation": ["evaluate"],
    "fit_result": ["Fit"],
    "fitting": ["fit"],
    "metrics": ["accuracy", "binary_accuracy", "confusion_matrix", "r2"],
    "plateau": ["reduce_on_plateau", "set_learning_rate"],
    "optimizers": ["adagrad", "adam", "adamw", "learning_rate", "lion", "rmsprop", "sgd"],
    "schedules": [
        "constant_schedule",
        "cosine_decay_schedule",
        "exponential_decay",
        "join_schedules",
        "linear_schedule",
        "onecycle_schedule",
        "piecewise_constant_schedule",
        "Schedule",
        "warmup_cosine_decay_schedule",
    ],
    "steps": ["train_step"],
    "transforms": ["add_decayed_weights", "clip", "clip_by_global_norm", "clip_by_norm", "ema", "scale_by_schedule"],
    "updates": ["apply_updates", "chain", "Optimizer"],
    "wrappers": ["accumulate", "averaged_params", "ema_params", "freeze", "masked"],
}


def __getattr__(name: str) -> _typing.Any:
    """Import what trains when it is asked for: networks and plain steps start sooner without it."""
    for part, names in _LATER.items():
        if name in names:
            globals()[name] = found = getattr(_importlib.import_module(f"funcnet.{part}"), name)
            return found
    raise AttributeError(f"module 'funcnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, also those that are imported later."""
    return [*__all__]
