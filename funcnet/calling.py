"""Calls with arguments that a function does not take: the error names the function, the argument and the fix."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, currentframe, signature
from typing import Any, NoReturn, TypeVar, cast

from funcnet.errors import AbsentError, CallError

F = TypeVar("F", bound=Callable[..., Any])
ELSEWHERE: dict[str, Any] = {  # what other libraries call an option
    "bias": ("use_bias",),
    "lr": ("learning_rate",),
    "momentum_decay": ("momentum",),
    "p": ("rate",),
    "kernel_initializer": ("weight_init",),
    "validation_data": ("validation",),
    "validation_split": ("validation",),
    **dict.fromkeys(("hidden_size", "out_features"), ("units",)),
    **dict.fromkeys(("filters", "out_channels"), ("features",)),
    "features": ("units",),
    "num_embeddings": ("vocabulary",),
    "embedding_dim": ("features",),
    "input_dim": ("vocabulary",),
    "output_dim": ("features",),
    "num_heads": ("heads",),
    "eps": ("epsilon",),
    "epsilon": ("eps",),
    **dict.fromkeys(("negative_slope", "alpha"), ("slope", "weight_decay")),
    **dict.fromkeys(("beta_1", "betas"), ("b1",)),
    "beta_2": ("b2",),
    **dict.fromkeys(("rng", "rngs", "seed", "random_state"), ("key",)),
    "epochs": ("max_iter",),
    "learning_rate_init": ("learning_rate",),
    "solver": ("optimizer",),
    "activation": ("network",),
    **dict.fromkeys(("hidden", "hidden_layer_sizes", "module"), ("network",)),
    "T_max": ("decay_steps",),
    **dict.fromkeys(("kernel", "pool_size"), ("kernel_size",)),
}
TRAINING = "a layer such as dropout is on where a key is passed, apply(params, x, key=key)"
RATE = "the learning rate is an option of the optimizer, fn.adam(learning_rate)"
SIZES = "the layers are those of the network, FuncnetClassifier(MLP((100,), activation=fn.relu))"
FROM_INIT = "the number of inputs is known from init"
LAST_AXIS = "it works along the last axis"
LOGITS = "it takes logits, without a softmax or sigmoid before it"
REMARKS = {  # where the option of another library is
    **dict.fromkeys(
        ("in_features", "in_channels", "input_size", "input_shape", "embed_dim", "num_features"), FROM_INIT
    ),
    **dict.fromkeys(("axis", "dim"), LAST_AXIS),
    "activation": "an activation is a layer of its own: fn.serial(fn.linear(8), fn.relu())",
    "bidirectional": "a layer in both directions is fn.bidirectional(fn.lstm(8))",
    "from_logits": LOGITS,
    "keep_prob": "the rate is the probability to drop, 1 - keep_prob",
    **dict.fromkeys(("learning_rate", "lr"), RATE),
    **dict.fromkeys(("hidden", "hidden_layer_sizes"), SIZES),
    "mask": "a mask is an input, of layers made with masked=True such as fn.attention(4, masked=True)",
    "metrics": "metrics are given to fn.train_step and to fn.evaluate",
    "num_layers": "one layer after another: fn.serial(fn.lstm(8, return_sequences=True), fn.lstm(8))",
    "params": "optimizers hold no params: step.init(params) gives the first state",
    "shuffle": "a key shuffles the rows, key=fn.key(0)",
    **dict.fromkeys(("training", "train", "is_training", "deterministic"), TRAINING),
    **dict.fromkeys(
        ("weight", "class_weight", "pos_weight"),
        "with weighted=True the loss takes weights, one a row, as its last input",
    ),
    "weight_decay": "fn.adamw has it; or fn.chain(fn.add_decayed_weights(1e-4), the optimizer)",
}
DATA = "the data are one argument, the tuple (x, target)"
NOTES = {
    "linear": [FROM_INIT, REMARKS["activation"]],
    "fit": [DATA],
    "evaluate": [DATA],
    "minibatches": [DATA],
}

INIT, APPLY = "init(key, *input_shapes, dtype=np.float32)", "apply(params, *inputs, key=None)"
HELD = "params are no part of it: params, shape = layer.init(fn.key(0), input_shape) gives them"
METHODS = {  # what stands here for a method of other libraries
    **dict.fromkeys(("params", "parameters", "weights", "state_dict", "get_weights"), HELD),
    **dict.fromkeys(("forward", "predict"), "layer.apply(params, x)"),
    **dict.fromkeys(("train", "eval"), TRAINING),
    **dict.fromkeys(("backward", "grad"), "fn.value_and_grad(net, loss)(params, x, target)"),
    "compile": "fn.train_step(net, loss, optimizer)",
    "evaluate": "fn.evaluate(net, metrics, params, data)",
    "fit": "fn.fit(step, params, data, epochs, batch_size, key)",
    "save": "fn.save(path, params)",
    "step": "step = fn.train_step(net, loss, optimizer); params, state, loss = step(params, state, x, target)",
    "summary": "fn.summary(net, input_shape)",
    "zero_grad": "gradients are results, nothing adds up",
}

NAMES = {  # public functions by their names in other libraries, in lower case and without underscores
    **dict.fromkeys(("batchnorm1d", "batchnorm2d", "batchnormalization"), "batch_norm"),
    **dict.fromkeys(("bceloss", "bcewithlogitsloss", "binarycrossentropy"), "sigmoid_cross_entropy"),
    **dict.fromkeys(("conv1d", "conv2d"), "conv"),
    **dict.fromkeys(("convtranspose1d", "convtranspose2d", "conv1dtranspose", "conv2dtranspose"), "conv_transpose"),
    **dict.fromkeys(("cosineannealinglr", "cosinedecay"), "cosine_decay_schedule"),
    **dict.fromkeys(
        ("crossentropy", "crossentropyloss", "categoricalcrossentropy", "sparsecategoricalcrossentropy"),
        "softmax_cross_entropy",
    ),
    **dict.fromkeys(("dataloader", "dataset"), "minibatches"),
    "dense": "linear",
    "grad": "value_and_grad",
    "layernormalization": "layer_norm",
    **dict.fromkeys(("l1loss", "meanabsoluteerror"), "mae"),
    **dict.fromkeys(("maxpool1d", "maxpool2d", "maxpooling1d", "maxpooling2d"), "max_pool"),
    **dict.fromkeys(("averagepooling1d", "averagepooling2d", "avgpool1d", "avgpool2d"), "avg_pool"),
    **dict.fromkeys(("model", "module"), "network"),
    **dict.fromkeys(("mseloss", "meansquarederror"), "mse"),
    "multiheadattention": "attention",
    **dict.fromkeys(("prngkey", "manualseed", "seed"), "key"),
    "reducelronplateau": "reduce_on_plateau",
    "sequential": "serial",
    "swish": "silu",
}


def warn(text: str) -> None:
    """A UserWarning at the line outside of funcnet from which the call came."""
    level, frame = 1, currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "funcnet":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)


def unknown_name(name: str, public: Iterable[str]) -> AttributeError:
    """The error for a name that funcnet does not have; a name of another library is answered by the name here."""
    plain = name.lower().replace("_", "")
    own = NAMES.get(plain) or next((known for known in public if known.replace("_", "") == plain), None)
    if own is None:
        return AttributeError(f"module 'funcnet' has no attribute {name!r}")
    return AbsentError(f"funcnet has no {name}: it is called fn.{own} here")


def refuse_attribute(thing: object, name: str) -> Any:
    """The error for a missing attribute; for a method of another library it names the counterpart in funcnet."""
    kind = type(thing).__name__
    if name in METHODS:
        raise AbsentError(f"a{'n' * (kind[0] in 'AEIO')} {kind} has no {name}: {METHODS[name]}")
    raise AttributeError(f"{kind!r} object has no attribute {name!r}")


def refuse_call(layer: Any, *args: object, **options: object) -> NoReturn:
    """Raise an error: a layer is a pair, of which `apply` is the function."""
    raise CallError(f"{layer.apply.kind}: a layer is a pair (init, apply): call layer.apply(params, *inputs)")


def checks_call(function: F) -> F:
    """The function, whose error for arguments that it does not take is a `CallError`."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            raise refused(function, args, kwargs, error) from None

    return cast(F, checked)


def refused(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: TypeError) -> TypeError:
    """The error for a call that Python refused; any other TypeError as it is."""
    found = signature(function)
    try:
        found.bind(*args, **kwargs)
    except TypeError as refusal:
        *_, owner, name = ["", *function.__qualname__.split(".")]
        name, shown = owner if name == "__init__" else name, dict(found.parameters)
        shown.pop("self", None)
        parameters = [*shown]
        unknown = [_unknown(given, parameters) for given in kwargs if given not in parameters]
        plain = f"it is {name}({', '.join(_listed(shown.values()))})"
        remarks = [REMARKS[given] for given in kwargs if given in REMARKS and given not in parameters]
        remarks = [remark for remark in remarks if remark is not RATE or "learning_rate" not in parameters]
        if any(hasattr(arg, "__array__") for arg in args) and not parameters:
            remarks.append(f"it makes a layer, which computes by its apply: fn.{name}().apply((), x)")
        notes = dict.fromkeys([*remarks, *NOTES.get(name, [])])
        return CallError("; ".join([f"{name}: {', '.join(unknown) or refusal}", plain, *notes]))
    return error


def refuse_options(name: str, call: str, options: Mapping[str, object]) -> NoReturn:
    """Raise the error for unknown keywords of a function of arrays, which takes only a key. call: its signature."""
    unknown = ", ".join(_unknown(given, ["key"]) for given in options)
    remarks = dict.fromkeys(REMARKS[given] for given in options if given in REMARKS)
    raise CallError("; ".join([f"{name}: {unknown}", f"it is {call}", *remarks]))


def check_takes(name: str, function: Callable[..., Any], *arguments: str, hint: str = "", **options: str) -> None:
    """Refuse a function of the user that cannot be called with these arguments and options, given by name."""
    try:
        found = signature(function)
    except (TypeError, ValueError):  # a callable of which Python knows no signature
        return
    try:
        found.bind(*arguments, **options)
    except TypeError as refusal:
        called = ", ".join([*arguments, *(f"{option}={value}" for option, value in options.items())])
        takes = ", ".join(_listed(found.parameters.values()))
        raise CallError(f"{name} is called as f({called}), but is f({takes}): {refusal}{hint}") from None


def _unknown(given: str, parameters: list[str]) -> str:
    """A keyword that is none of the parameters, and the one that was probably meant."""
    near = [name for name in ELSEWHERE.get(given, ()) if name in parameters]
    near = near or ([] if given in REMARKS else get_close_matches(given, parameters, 1))
    return f"there is no argument {given}{f', did you mean {near[0]}?' if near else ''}"


def _listed(parameters: Iterable[Parameter]) -> list[str]:
    """The parameters with their defaults, without their types."""
    listed: list[str] = []
    for parameter in parameters:
        star = "*" * (parameter.kind is Parameter.VAR_POSITIONAL) + "**" * (parameter.kind is Parameter.VAR_KEYWORD)
        if parameter.kind is Parameter.KEYWORD_ONLY and not any(name.startswith("*") for name in listed):
            listed.append("*")
        has_default = parameter.default is not Parameter.empty
        listed.append(f"{star}{parameter.name}{f'={parameter.default!r}' if has_default else ''}")
    return listed
