"""One epoch of training fed from arrays in several memory layouts, and from a file: what the layout costs.

Every training is the same to the last bit. The file is read through np.memmap after its pages are dropped from the page
cache, where the system can do that, so that each batch is read from the disk.
"""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from bench.report import duration, table

ROWS, FEATURES, BATCH = 200_000, 100, 256


def measure(rounds: int, dtype: np.dtype[Any], progress: Callable[[str], None], rows: int = ROWS) -> str:
    """A table: seconds of an epoch, and how many times that is as long as from a C-contiguous array."""
    import funcnet as fn

    wide = np.random.default_rng(0).normal(size=(rows, FEATURES + 1)).astype(dtype)
    target = (wide[:, 1] > 0).astype(int)
    net = fn.serial(fn.linear(32), fn.relu(), fn.linear(2))
    params, _ = net.init(fn.key(0), (FEATURES,), dtype=dtype)
    step = fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(1e-3))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "wide.npy"
        with path.open("wb") as file:
            np.save(file, wide)
            os.fsync(file.fileno())  # pages that are still to be written cannot be dropped
        x = np.ascontiguousarray(wide[:, 1:])
        columns = np.asfortranarray(x)
        sources: dict[str, Callable[[], Any]] = {
            "C-contiguous array": lambda: x,
            "array of a DataFrame (Fortran order)": lambda: columns,
            "columns of a wider array, data[:, 1:]": lambda: wide[:, 1:],
            "columns of a file, memmap[:, 1:]": lambda: np.load(path, mmap_mode="r")[:, 1:],
        }
        seconds: dict[str, list[float]] = {name: [] for name in sources}
        bits: set[bytes] = set()
        for turn in range(rounds):
            for name, source in sources.items():
                progress(f"feeding: round {turn + 1} of {rounds}: {name}")
                drop_pages(path)  # which no map holds now
                start = perf_counter()
                fitted = fn.fit(step, params, (source(), target), 1, BATCH, fn.key(0))
                seconds[name].append(perf_counter() - start)
                bits.add(fitted.params[0].weight.tobytes())
    progress("")
    if len(bits) != 1:
        raise SystemExit("the trainings differ")
    medians = {name: float(np.median(found)) for name, found in seconds.items()}
    bar = next(iter(medians.values()))
    network = f"{FEATURES}-32-2, {rows:,} rows by {BATCH}"
    body = [[name, network, duration(s), f"{s / bar:.2f}"] for name, s in medians.items()]
    return table([["data", "network", "an epoch", "ratio"], *body])


def drop_pages(path: Path) -> None:
    """Drop the file from the page cache, where the system has a call for it."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
