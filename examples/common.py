"""What the examples share: one thread for NumPy, options, images of digits, the clock, PyTorch, tables, colours."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy is imported, so this module is imported before it;
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small networks gain nothing from threads
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

import funcnet as fn

Array: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.intp]
Losses: TypeAlias = NDArray[np.float64]
P = ParamSpec("P")
T = TypeVar("T")

BLUE, RED, GREEN, INK, GREY = "#2166ac", "#d6382d", "#3a923a", "#1a1a1a", "#8c8c8c"


class Images(NamedTuple):
    """Images of 8 x 8 pixels from 0 to 1, (n, 64), and the digit on each, (n,)."""

    pixels: Array
    digit: Labels


TEST = 450


def digit_images(key: fn.Key) -> tuple[Images, Images]:
    """The training and the test images of scikit-learn's handwritten digits, shuffled."""
    from sklearn.datasets import load_digits

    pixels, digit = load_digits(return_X_y=True)
    order = np.random.default_rng(fn.fold_in(key, "images")).permutation(len(pixels))
    pixels, digit = np.asarray(pixels[order] / 16, np.float32), np.asarray(digit[order], np.intp)
    return Images(pixels[:-TEST], digit[:-TEST]), Images(pixels[-TEST:], digit[-TEST:])


def at_least_one(text: str) -> int:
    """An option that is an int above 0."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return int(text)


def not_negative(text: str) -> int:
    """An option that is an int, not below 0."""
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return int(text)


def parser(description: str, epochs: int) -> argparse.ArgumentParser:
    """The options that all examples have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--epochs", type=at_least_one, default=epochs, help=f"epochs of training ({epochs})")
    options.add_argument("--seed", type=not_negative, default=0, help="seed of all random numbers (0)")
    options.add_argument("--figures", type=Path, default=Path("figures"), help="folder for the pictures (figures)")
    return options


def begin(description: str, epochs: int, argv: Sequence[str] | None, *modules: str) -> argparse.Namespace:
    """The options of the command line, if all that a picture and a progress bar need is there, and these modules."""
    options = parser(description, epochs).parse_args(argv)
    require("matplotlib", "tqdm", *modules)
    return options


def bar(title: str, unit: str = "epoch") -> Any:
    """A progress bar, which wraps what a loop goes through."""
    from tqdm import tqdm

    return partial(tqdm, desc=title, unit=unit)


def timed(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    """What a call returns, and the seconds it took."""
    began = time.perf_counter()
    found = function(*args, **kwargs)
    return found, time.perf_counter() - began


def has_compiler() -> bool:
    """Whether there is a C compiler for native code."""
    from funcnet.native.toolchain import find_compiler

    try:
        return bool(find_compiler())
    except fn.MissingPackageError:
        return False


def torch_on_one_thread(seed: int) -> Any:
    """PyTorch, where it is installed."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return torch


def torch_losses(
    loss_of: Callable[[Any], Any],
    optimizer: Any,
    n: int,
    epochs: int,
    batch: int,
    schedule: Any = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Losses:
    """Train in PyTorch: the mean loss of each epoch. `loss_of` takes the numbers of the rows in a batch, of `n`."""
    import torch

    losses: list[float] = []
    for _ in progress(range(epochs)):
        total = 0.0
        for rows in torch.randperm(n).split(batch):
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            total += loss.item() * len(rows)
        losses.append(total / n)
    return np.array(losses)


def require(*modules: str) -> None:
    """End with what to install, unless all are there."""
    try:
        for name in modules:
            import_module(name)
    except ImportError as error:
        raise SystemExit(f'{error}. This example needs the extra `examples`: pip install -e ".[examples]"') from None


def save(figure: Any, folder: Path, name: str) -> None:
    """Write a picture, without the date, so that equal pictures are equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name, dpi=120, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"The picture is {folder / name}.")


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """Rows with the same columns as an aligned table."""
    columns = [[name, *(row[name] for row in rows)] for name in rows[0]]
    widths = [max(map(len, column)) for column in columns]
    lines = [*zip(*columns, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
