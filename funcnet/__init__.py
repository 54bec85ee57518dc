"""funcnet: neural networks in pure NumPy. A network is two dicts; a layer is a pair of pure functions."""

import importlib as _importlib
import typing as _typing

__version__ = "0.2.0"

from funcnet import tree as tree
from funcnet.arrays import Array, Labels, Matrix, Shape, Vector
from funcnet.core import Function, Init, Layer, OperatorKey, Pullback
from funcnet.errors import (
    AbsentError,
    CallError,
    CheckpointError,
    CompilerError,
    DTypeError,
    ExportError,
    FuncnetError,
    GraphError,
    KeyTypeError,
    LabelError,
    MaskError,
    MissingPackageError,
    NonFiniteError,
    OptionError,
    ParamsError,
    ShapeError,
    TracingError,
    WeightError,
)
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
from funcnet.layers.activations import (
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
from funcnet.layers.attention import Attention, attention, dot_product_attention
from funcnet.layers.axes import masked_mean, masked_sum, max, mean, permute, slice, sum
from funcnet.layers.bidirectional import Bidirectional, bidirectional
from funcnet.layers.convolution import conv, conv_transpose
from funcnet.layers.dropout import dropout
from funcnet.layers.embedding import Table, embedding
from funcnet.layers.group_norm import group_norm, instance_norm
from funcnet.layers.linear import Affine, Weight, linear
from funcnet.layers.merge import add, average, concatenate, flatten, maximum, multiply, reshape, subtract
from funcnet.layers.norm import BatchNorm, Norm, Scale, batch_norm, layer_norm, rms_norm, scale
from funcnet.layers.pooling import avg_pool, max_pool, upsample
from funcnet.layers.position import positional_embedding, sinusoidal
from funcnet.layers.recurrent import gru, lstm, rnn
from funcnet.layers.recurring import GatedRecurrent, Recurrent
from funcnet.layers.softmax import log_softmax, softmax
from funcnet.losses.classification import hinge, kl_divergence, sigmoid_cross_entropy, softmax_cross_entropy
from funcnet.losses.regression import gaussian_nll, huber, log_cosh, mae, mse, pinball, poisson_nll
from funcnet.networks.combinators import parallel, residual, serial
from funcnet.networks.graph import Graph
from funcnet.networks.network import network, trace
from funcnet.networks.sharing import shared, transposed
from funcnet.random import Key, fold_in, key, split
from funcnet.training.gradients import sgd_step, value_and_grad, vjp

if _typing.TYPE_CHECKING:
    from funcnet.exports.c.source import to_c
    from funcnet.exports.jax.layer import to_jax
    from funcnet.exports.numpy.source import to_numpy
    from funcnet.exports.onnx.model import to_onnx
    from funcnet.files.checkpoint import Checkpoint, PartialCheckpoint, load, save
    from funcnet.inspection.diagrams import to_dot, to_mermaid
    from funcnet.inspection.explain import Explanation, explain
    from funcnet.inspection.summary import Operator, Summary, summary
    from funcnet.inspection.svg import to_svg
    from funcnet.layers.custom import custom_layer
    from funcnet.native.jit import jit
    from funcnet.optimizers.algorithms import adagrad, adam, adamw, lion, rmsprop, sgd
    from funcnet.optimizers.base import Optimizer, apply_updates, chain
    from funcnet.optimizers.learning_rate import learning_rate
    from funcnet.optimizers.schedules import (
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
    from funcnet.optimizers.transforms import (
        add_decayed_weights,
        clip,
        clip_by_global_norm,
        clip_by_norm,
        ema,
        scale_by_schedule,
    )
    from funcnet.optimizers.wrappers import accumulate, averaged_params, ema_params, freeze, masked
    from funcnet.training.batches import minibatches
    from funcnet.training.calibration import calibrate
    from funcnet.training.evaluation import evaluate
    from funcnet.training.fit import fit
    from funcnet.training.fit_result import Fit
    from funcnet.training.metrics import accuracy, binary_accuracy, confusion_matrix, r2, top_k_accuracy
    from funcnet.training.plateau import reduce_on_plateau, set_learning_rate
    from funcnet.training.scan import scan
    from funcnet.training.steps import train_step
    from funcnet.training.vmap import vmap

__all__ = [
    "AbsentError",
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
    "Attention",
    "attention",
    "average",
    "averaged_params",
    "avg_pool",
    "batch_norm",
    "BatchNorm",
    "Bidirectional",
    "bidirectional",
    "binary_accuracy",
    "calibrate",
    "CallError",
    "chain",
    "Checkpoint",
    "CheckpointError",
    "clip",
    "clip_by_global_norm",
    "clip_by_norm",
    "CompilerError",
    "concatenate",
    "confusion_matrix",
    "constant",
    "constant_schedule",
    "conv",
    "conv_transpose",
    "cosine_decay_schedule",
    "custom_layer",
    "dot_product_attention",
    "dropout",
    "DTypeError",
    "elementwise",
    "elu",
    "ema",
    "ema_params",
    "embedding",
    "evaluate",
    "exp",
    "explain",
    "Explanation",
    "exponential_decay",
    "ExportError",
    "Fit",
    "fit",
    "flatten",
    "fold_in",
    "freeze",
    "FuncnetError",
    "Function",
    "GatedRecurrent",
    "gaussian_nll",
    "gelu",
    "glorot_normal",
    "glorot_uniform",
    "Graph",
    "GraphError",
    "group_norm",
    "gru",
    "he_normal",
    "he_uniform",
    "hinge",
    "huber",
    "identity",
    "Init",
    "instance_norm",
    "jit",
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
    "log_cosh",
    "log_softmax",
    "lstm",
    "mae",
    "masked",
    "masked_mean",
    "masked_sum",
    "MaskError",
    "Matrix",
    "max",
    "max_pool",
    "maximum",
    "mean",
    "minibatches",
    "MissingPackageError",
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
    "pinball",
    "poisson_nll",
    "positional_embedding",
    "Pullback",
    "r2",
    "Recurrent",
    "reduce_on_plateau",
    "relu",
    "reshape",
    "residual",
    "rms_norm",
    "rmsprop",
    "rnn",
    "save",
    "Scale",
    "scale",
    "scale_by_schedule",
    "scan",
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
    "sinusoidal",
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
    "to_c",
    "to_dot",
    "to_jax",
    "to_mermaid",
    "to_numpy",
    "to_onnx",
    "to_svg",
    "top_k_accuracy",
    "trace",
    "TracingError",
    "train_step",
    "transposed",
    "tree",
    "uniform",
    "upsample",
    "value_and_grad",
    "Vector",
    "vjp",
    "vmap",
    "warmup_cosine_decay_schedule",
    "Weight",
    "WeightError",
    "zeros",
]

_LATER = {  # module: the public names that it has
    "exports.jax.layer": "to_jax",
    "exports.c.source": "to_c",
    "exports.numpy.source": "to_numpy",
    "exports.onnx.model": "to_onnx",
    "training.batches": "minibatches",
    "training.calibration": "calibrate",
    "native.jit": "jit",
    "inspection.diagrams": "to_dot to_mermaid",
    "inspection.svg": "to_svg",
    "inspection.summary": "Operator summary Summary",
    "layers.custom": "custom_layer",
    "files.checkpoint": "Checkpoint load PartialCheckpoint save",
    "training.evaluation": "evaluate",
    "inspection.explain": "explain Explanation",
    "training.fit_result": "Fit",
    "training.fit": "fit",
    "training.metrics": "accuracy binary_accuracy confusion_matrix r2 top_k_accuracy",
    "training.plateau": "reduce_on_plateau set_learning_rate",
    "optimizers.algorithms": "adagrad adam adamw lion rmsprop sgd",
    "optimizers.learning_rate": "learning_rate",
    "optimizers.schedules": "constant_schedule cosine_decay_schedule exponential_decay join_schedules "
    "linear_schedule onecycle_schedule piecewise_constant_schedule Schedule warmup_cosine_decay_schedule",
    "training.scan": "scan",
    "training.steps": "train_step",
    "training.vmap": "vmap",
    "optimizers.transforms": "add_decayed_weights clip clip_by_global_norm clip_by_norm ema scale_by_schedule",
    "optimizers.base": "apply_updates chain Optimizer",
    "optimizers.wrappers": "accumulate averaged_params ema_params freeze masked",
}


def __getattr__(name: str) -> _typing.Any:
    """Import what trains, draws or exports when it is asked for: networks and plain steps start sooner without it."""
    for part, names in _LATER.items():
        if name in names.split():
            globals()[name] = found = getattr(_importlib.import_module(f"funcnet.{part}"), name)
            return found
    raise AttributeError(f"module 'funcnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, also those that are imported later."""
    return [*__all__]
