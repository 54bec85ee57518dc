"""What the examples share: one thread for NumPy, the options of their command lines, colours, how a picture is kept."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy is imported, so this module is imported before it;
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small networks gain nothing from threads
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

BLUE, RED, GREEN, INK, GREY = "#2166ac", "#d6382d", "#3a923a", "#1a1a1a", "#8c8c8c"


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
    options.add_argument("--epochs", type=at_least_one, default=epochs, help=f"passes over the training set ({epochs})")
    options.add_argument("--seed", type=not_negative, default=0, help="what all random numbers follow from (0)")
    options.add_argument("--figures", type=Path, default=Path("figures"), help="folder of the picture (figures)")
    return options


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
