"""`python -m funcnet` prints the facts for a bug report: versions, the BLAS, and the settings of threads."""

from __future__ import annotations

import os
import platform

import numpy as np

import funcnet

SWITCHES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
)
"""The variables that change how many threads NumPy's BLAS uses, and which of its kernels."""


def report() -> dict[str, str]:
    """What is at work here, by name."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    switches = [f"{name}={os.environ[name]}" for name in SWITCHES if name in os.environ]
    return {
        "funcnet": funcnet.__version__,
        "numpy": np.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "BLAS": f"{blas['name']} {blas['version']}",
        "threads": ", ".join(switches) or "as the BLAS chooses: no variable is set",
    }


if __name__ == "__main__":
    print("\n".join(f"{name:8} {fact}" for name, fact in report().items()))
