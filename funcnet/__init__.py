"""funcnet: neural networks in pure NumPy. A network is two dicts; a layer is a pair of pure functions."""

import importlib as _importlib
import typing as _typing

__version__ = "0.2.0"

from funcnet import tree as tree
from funcnet.arrays import Array as Array
from funcnet.arrays import Labels as Labels
from funcnet.arrays import Matrix as Matrix
from funcnet.arrays import Shape as Shape
from funcnet.arrays import Vector as Vector
from funcnet.calling import unknown_name as _unknown_name
from funcnet.core import Function as Function
from funcnet.core import Init as Init
from funcnet.core import Layer as Layer
from funcnet.core import OperatorKey as OperatorKey
from funcnet.core import Pullback as Pullback
from funcnet.errors import AbsentError as AbsentError
from funcnet.errors import CallError as CallError
from funcnet.errors import CheckpointError as CheckpointError
from funcnet.errors import CompilerError as CompilerError
from funcnet.errors import DTypeError as DTypeError
from funcnet.errors import ExportError as ExportError
from funcnet.errors import FuncnetError as FuncnetError
from funcnet.errors import GraphError as GraphError
from funcnet.errors import KeyTypeError as KeyTypeError
from funcnet.errors import LabelError as LabelError
from funcnet.errors import MaskError as MaskError
from funcnet.errors import MissingPackageError as MissingPackageError
from funcnet.errors import NonFiniteError as NonFiniteError
from funcnet.errors import OptionError as OptionError
from funcnet.errors import ParamsError as ParamsError
from funcnet.errors import ShapeError as ShapeError
from funcnet.errors import TracingError as TracingError
from funcnet.errors import WeightError as WeightError
from funcnet.initializers import constant as constant
from funcnet.initializers import glorot_normal as glorot_normal
from funcnet.initializers import glorot_uniform as glorot_uniform
from funcnet.initializers import he_normal as he_normal
from funcnet.initializers import he_uniform as he_uniform
from funcnet.initializers import lecun_normal as lecun_normal
from funcnet.initializers import lecun_uniform as lecun_uniform
from funcnet.initializers import normal as normal
from funcnet.initializers import ones as ones
from funcnet.initializers import orthogonal as orthogonal
from funcnet.initializers import uniform as uniform
from funcnet.initializers import zeros as zeros
from funcnet.layers.activations import elementwise as elementwise
from funcnet.layers.activations import elu as elu
from funcnet.layers.activations import exp as exp
from funcnet.layers.activations import gelu as gelu
from funcnet.layers.activations import identity as identity
from funcnet.layers.activations import leaky_relu as leaky_relu
from funcnet.layers.activations import relu as relu
from funcnet.layers.activations import selu as selu
from funcnet.layers.activations import sigmoid as sigmoid
from funcnet.layers.activations import silu as silu
from funcnet.layers.activations import softplus as softplus
from funcnet.layers.activations import tanh as tanh
from funcnet.layers.attention import Attention as Attention
from funcnet.layers.attention import attention as attention
from funcnet.layers.attention import dot_product_attention as dot_product_attention
from funcnet.layers.axes import masked_mean as masked_mean
from funcnet.layers.axes import masked_sum as masked_sum
from funcnet.layers.axes import max as max
from funcnet.layers.axes import mean as mean
from funcnet.layers.axes import permute as permute
from funcnet.layers.axes import slice as slice
from funcnet.layers.axes import sum as sum
from funcnet.layers.bidirectional import Bidirectional as Bidirectional
from funcnet.layers.bidirectional import bidirectional as bidirectional
from funcnet.layers.convolution import conv as conv
from funcnet.layers.convolution import conv_transpose as conv_transpose
from funcnet.layers.dropout import dropout as dropout
from funcnet.layers.embedding import Table as Table
from funcnet.layers.embedding import embedding as embedding
from funcnet.layers.group_norm import group_norm as group_norm
from funcnet.layers.group_norm import instance_norm as instance_norm
from funcnet.layers.linear import Affine as Affine
from funcnet.layers.linear import Weight as Weight
from funcnet.layers.linear import linear as linear
from funcnet.layers.merge import add as add
from funcnet.layers.merge import average as average
from funcnet.layers.merge import concatenate as concatenate
from funcnet.layers.merge import flatten as flatten
from funcnet.layers.merge import maximum as maximum
from funcnet.layers.merge import multiply as multiply
from funcnet.layers.merge import reshape as reshape
from funcnet.layers.merge import subtract as subtract
from funcnet.layers.norm import BatchNorm as BatchNorm
from funcnet.layers.norm import Norm as Norm
from funcnet.layers.norm import Scale as Scale
from funcnet.layers.norm import batch_norm as batch_norm
from funcnet.layers.norm import layer_norm as layer_norm
from funcnet.layers.norm import rms_norm as rms_norm
from funcnet.layers.norm import scale as scale
from funcnet.layers.pooling import avg_pool as avg_pool
from funcnet.layers.pooling import max_pool as max_pool
from funcnet.layers.pooling import upsample as upsample
from funcnet.layers.position import positional_embedding as positional_embedding
from funcnet.layers.position import sinusoidal as sinusoidal
from funcnet.layers.recurrent import gru as gru
from funcnet.layers.recurrent import lstm as lstm
from funcnet.layers.recurrent import rnn as rnn
from funcnet.layers.recurring import GatedRecurrent as GatedRecurrent
from funcnet.layers.recurring import Recurrent as Recurrent
from funcnet.layers.softmax import log_softmax as log_softmax
from funcnet.layers.softmax import softmax as softmax
from funcnet.losses.classification import hinge as hinge
from funcnet.losses.classification import kl_divergence as kl_divergence
from funcnet.losses.classification import sigmoid_cross_entropy as sigmoid_cross_entropy
from funcnet.losses.classification import softmax_cross_entropy as softmax_cross_entropy
from funcnet.losses.regression import gaussian_nll as gaussian_nll
from funcnet.losses.regression import huber as huber
from funcnet.losses.regression import log_cosh as log_cosh
from funcnet.losses.regression import mae as mae
from funcnet.losses.regression import mse as mse
from funcnet.losses.regression import pinball as pinball
from funcnet.losses.regression import poisson_nll as poisson_nll
from funcnet.networks.combinators import parallel as parallel
from funcnet.networks.combinators import residual as residual
from funcnet.networks.combinators import serial as serial
from funcnet.networks.graph import Graph as Graph
from funcnet.networks.network import network as network
from funcnet.networks.network import trace as trace
from funcnet.networks.sharing import shared as shared
from funcnet.networks.sharing import transposed as transposed
from funcnet.random import Key as Key
from funcnet.random import fold_in as fold_in
from funcnet.random import key as key
from funcnet.random import split as split
from funcnet.training.gradients import sgd_step as sgd_step
from funcnet.training.gradients import value_and_grad as value_and_grad
from funcnet.training.gradients import vjp as vjp

if _typing.TYPE_CHECKING:
    from funcnet.exports.c.source import to_c as to_c
    from funcnet.exports.jax.layer import to_jax as to_jax
    from funcnet.exports.numpy.source import to_numpy as to_numpy
    from funcnet.exports.onnx.model import to_onnx as to_onnx
    from funcnet.files.checkpoint import Checkpoint as Checkpoint
    from funcnet.files.checkpoint import PartialCheckpoint as PartialCheckpoint
    from funcnet.files.checkpoint import load as load
    from funcnet.files.checkpoint import save as save
    from funcnet.inspection.diagrams import to_dot as to_dot
    from funcnet.inspection.diagrams import to_mermaid as to_mermaid
    from funcnet.inspection.explain import Explanation as Explanation
    from funcnet.inspection.explain import explain as explain
    from funcnet.inspection.summary import Operator as Operator
    from funcnet.inspection.summary import Summary as Summary
    from funcnet.inspection.summary import summary as summary
    from funcnet.inspection.svg import to_svg as to_svg
    from funcnet.layers.custom import custom_layer as custom_layer
    from funcnet.native.jit import jit as jit
    from funcnet.optimizers.algorithms import adagrad as adagrad
    from funcnet.optimizers.algorithms import adam as adam
    from funcnet.optimizers.algorithms import adamw as adamw
    from funcnet.optimizers.algorithms import lion as lion
    from funcnet.optimizers.algorithms import rmsprop as rmsprop
    from funcnet.optimizers.algorithms import sgd as sgd
    from funcnet.optimizers.base import Optimizer as Optimizer
    from funcnet.optimizers.base import apply_updates as apply_updates
    from funcnet.optimizers.base import chain as chain
    from funcnet.optimizers.learning_rate import learning_rate as learning_rate
    from funcnet.optimizers.schedules import Schedule as Schedule
    from funcnet.optimizers.schedules import constant_schedule as constant_schedule
    from funcnet.optimizers.schedules import cosine_decay_schedule as cosine_decay_schedule
    from funcnet.optimizers.schedules import exponential_decay as exponential_decay
    from funcnet.optimizers.schedules import join_schedules as join_schedules
    from funcnet.optimizers.schedules import linear_schedule as linear_schedule
    from funcnet.optimizers.schedules import onecycle_schedule as onecycle_schedule
    from funcnet.optimizers.schedules import piecewise_constant_schedule as piecewise_constant_schedule
    from funcnet.optimizers.schedules import warmup_cosine_decay_schedule as warmup_cosine_decay_schedule
    from funcnet.optimizers.transforms import add_decayed_weights as add_decayed_weights
    from funcnet.optimizers.transforms import clip as clip
    from funcnet.optimizers.transforms import clip_by_global_norm as clip_by_global_norm
    from funcnet.optimizers.transforms import clip_by_norm as clip_by_norm
    from funcnet.optimizers.transforms import ema as ema
    from funcnet.optimizers.transforms import scale_by_schedule as scale_by_schedule
    from funcnet.optimizers.wrappers import accumulate as accumulate
    from funcnet.optimizers.wrappers import averaged_params as averaged_params
    from funcnet.optimizers.wrappers import ema_params as ema_params
    from funcnet.optimizers.wrappers import freeze as freeze
    from funcnet.optimizers.wrappers import masked as masked
    from funcnet.training.batches import minibatches as minibatches
    from funcnet.training.calibration import calibrate as calibrate
    from funcnet.training.evaluation import evaluate as evaluate
    from funcnet.training.fit import fit as fit
    from funcnet.training.fit_result import Fit as Fit
    from funcnet.training.metrics import accuracy as accuracy
    from funcnet.training.metrics import binary_accuracy as binary_accuracy
    from funcnet.training.metrics import confusion_matrix as confusion_matrix
    from funcnet.training.metrics import r2 as r2
    from funcnet.training.metrics import top_k_accuracy as top_k_accuracy
    from funcnet.training.plateau import reduce_on_plateau as reduce_on_plateau
    from funcnet.training.plateau import set_learning_rate as set_learning_rate
    from funcnet.training.scan import scan as scan
    from funcnet.training.steps import train_step as train_step
    from funcnet.training.vmap import vmap as vmap

    __all__: list[str]


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

if not _typing.TYPE_CHECKING:  # type checkers know the names by the imports, and refuse any other

    def __getattr__(name):
        """Import what trains, draws or exports when it is asked for, so that networks and plain steps start sooner."""
        for part, names in _LATER.items():
            if name in names.split():
                globals()[name] = found = getattr(_importlib.import_module(f"funcnet.{part}"), name)
                return found
        raise _unknown_name(name, __all__)

    def __dir__():
        """The public names, also those that are imported later."""
        return [*__all__]

    _names = [name for name, thing in globals().items() if name == "tree" or type(thing) is not type(tree)]
    _names = [*(name for name in _names if name[0] != "_"), *" ".join(_LATER.values()).split()]
    __all__ = sorted(_names, key=lambda name: (name.lower(), name))
