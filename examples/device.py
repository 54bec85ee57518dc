"""Train without Python: a network's training step as a file of C, in a program that includes neither NumPy nor funcnet.

    python examples/device.py                 # about three seconds
    python examples/device.py --epochs 20     # a quick look

The program stands for a small device: it has the first params and the data as constants, takes every step by the C
file that `fn.to_c` wrote, and prints the losses. Python takes the same steps; the table and the picture compare the
two. It needs a C compiler (FUNCNET_CC, cc or the extra `native`) and the extra `examples`:
pip install -e ".[examples,native]"
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import common
import numpy as np
from common import Array, markdown

import funcnet as fn
from funcnet.native.toolchain import find_compiler

ROWS = 64
LEARNING_RATE = 0.01
STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-pedantic", "-Werror"]

operators = {"hidden": fn.linear(16), "wave": fn.tanh(), "logit": fn.linear(1)}
connectivity = {"hidden": ["wave"], "wave": ["logit"]}
net = fn.network(operators, connectivity)
step = fn.train_step(net, fn.sigmoid_cross_entropy(), fn.adam(LEARNING_RATE))


class Trained(NamedTuple):
    """The loss before each step, (steps,), and all params afterwards in one vector."""

    losses: Array
    params: Array


def draw_data(key: fn.Key) -> tuple[Array, Array]:
    """Points in a square, (n, 2), and 1 inside a circle, else 0, (n, 1)."""
    x = np.random.default_rng(key).uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    return x, ((x**2).sum(axis=1, keepdims=True) < 0.5).astype(np.float32)


def on_the_device(params: Any, x: Array, target: Array, steps: int) -> Trained:
    """Write the files, compile and run them."""
    with TemporaryDirectory() as folder:
        source, main_file, executable = (Path(folder, name) for name in ("train.c", "main.c", "device"))
        source.write_text(fn.to_c(step, params, x, target, name="train"))
        main_file.write_text(program(params, x, target, steps))
        line = [*find_compiler().command, *STRICT, str(main_file), "-o", str(executable), "-lm"]
        subprocess.run(line, check=True)
        printed = subprocess.run([str(executable)], capture_output=True, text=True, check=True).stdout
    numbers = np.array(printed.split(), np.float32)
    return Trained(numbers[:steps], numbers[steps:])


def in_python(params: Any, x: Array, target: Array, steps: int, progress: Any = iter) -> Trained:
    """The same steps."""
    state, losses = step.init(params), []
    for _ in progress(range(steps)):
        params, state, loss = step(params, state, x, target)
        losses.append(loss)
    return Trained(np.array(losses), flat(params))


# This was all. Below: the main of the device, the table and the picture.


def flat(params: Any) -> Array:
    """All params, one behind the other, as the C file takes them."""
    return np.concatenate([leaf.ravel() for leaf in fn.tree.leaves(params)])


def constants(name: str, array: Array, kind: str = "const float") -> str:
    """An array of C, with all digits."""
    return f"static {kind} {name}[{array.size}] = {{{', '.join(f'{v:.9g}' for v in array.ravel())}}};\n"


def program(params: Any, x: Array, target: Array, steps: int) -> str:
    """The main of the device: it takes the steps and prints the losses, then the params."""
    vector = flat(params)
    return f"""#include <stdio.h>
#include "train.c"
{constants("params", vector, "float")}{constants("x", x)}{constants("target", target)}
int main(void)
{{
    static train_state state;
    float loss[1];
    train_init(&state);
    for (int i = 0; i < {steps}; i++) {{
        if (train(params, &state, x, target, loss)) return 1;
        printf("%.9g\\n", (double)loss[0]);
    }}
    for (int i = 0; i < {vector.size}; i++) printf("%.9g\\n", (double)params[i]);
    return 0;
}}
"""


def rows(device: Trained, python: Trained) -> list[dict[str, str]]:
    """The table: a row for some of the steps."""
    places = sorted({0, len(device.losses) // 10, len(device.losses) // 2, len(device.losses) - 1})
    return [
        {
            "step": f"{i + 1}",
            "loss on the device": f"{device.losses[i]:.6f}",
            "loss in Python": f"{python.losses[i]:.6f}",
            "difference": f"{abs(float(device.losses[i]) - float(python.losses[i])):.1e}",
        }
        for i in places
    ]


def draw(folder: Path, device: Trained, python: Trained) -> None:
    """Both loss curves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.semilogy(python.losses, color=common.BLUE, linewidth=5, alpha=0.4, label="funcnet in Python")
    ax.semilogy(device.losses, color=common.INK, linewidth=1, label="the C file alone")
    ax.set(xlabel="step", ylabel="loss")
    ax.legend(frameon=False)
    common.save(figure, folder, "device.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Train twice, print the table, draw the picture."""
    options = common.begin("Run a training step in C, without Python.", 1000, argv)
    key = fn.key(options.seed)
    x, target = draw_data(fn.fold_in(key, "data"))
    params, _ = net.init(fn.fold_in(key, "weights"), (2,))
    device = on_the_device(params, x, target, options.epochs)
    python = in_python(params, x, target, options.epochs, common.bar("Python", "step"))
    print(markdown(rows(device, python)))
    source = fn.to_c(step, params, x, target, name="train")
    print(f"""
{len(source.splitlines())} lines of C for {len(device.params)} params; steps of Adam on {ROWS} rows.
The params differ by at most {np.abs(device.params - python.params).max():.1e} after {options.epochs} steps.""")
    draw(options.figures, device, python)


if __name__ == "__main__":
    main()
