"""funcnet: neural networks in pure NumPy. A network is two dicts; a layer is a pair of pure functions."""

from funcnet import tree as tree
from funcnet.arrays import Array, Shape
from funcnet.checkpoint import Checkpoint, load, save
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
    OptionError,
    ParamsError,
    ShapeError,
)
from funcnet.graph import Graph, shared
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
from funcnet.layers.linear import Affine, Weight, linear
from funcnet.layers.merge import add, average, concatenate, flatten, maximum, multiply, reshape, subtract
from funcnet.layers.softmax import log_softmax, softmax
from funcnet.losses import mse, softmax_cross_entropy
from funcnet.network import network, trace
from funcnet.random import Key, fold_in, key, split
from funcnet.summary import Operator, Summary, summary
from funcnet.training import sgd_step, value_and_grad, vjp

__all__ = [
    "add",
    "Affine",
    "Array",
    "average",
    "Checkpoint",
    "CheckpointError",
    "concatenate",
    "constant",
    "custom_layer",
    "DTypeError",
    "elementwise",
    "elu",
    "exp",
    "flatten",
    "fold_in",
    "FuncnetError",
    "Function",
    "gelu",
    "glorot_normal",
    "glorot_uniform",
    "Graph",
    "GraphError",
    "he_normal",
    "he_uniform",
    "identity",
    "Init",
    "Key",
    "key",
    "KeyTypeError",
    "LabelError",
    "Layer",
    "leaky_relu",
    "lecun_normal",
    "lecun_uniform",
    "linear",
    "load",
    "log_softmax",
    "maximum",
    "mse",
    "multiply",
    "network",
    "normal",
    "ones",
    "Operator",
    "OperatorKey",
    "OptionError",
    "orthogonal",
    "parallel",
    "ParamsError",
    "Pullback",
    "relu",
    "reshape",
    "residual",
    "save",
    "selu",
    "serial",
    "sgd_step",
    "Shape",
    "ShapeError",
    "shared",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "split",
    "subtract",
    "Summary",
    "summary",
    "tanh",
    "to_dot",
    "to_mermaid",
    "trace",
    "tree",
    "uniform",
    "value_and_grad",
    "vjp",
    "Weight",
    "zeros",
]
