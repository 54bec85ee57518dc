"""The machine that is measured, and the number of threads, which must be set before NumPy is imported."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_MARK = "FUNCNET_BENCHMARK_THREADS"
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_SWITCHES = (
    *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES", "FUNCNET_CC"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "XLA_FLAGS"),
)


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that may use so many threads, in NumPy's BLAS and in the peers."""
    chosen = dict.fromkeys(_POOLS, str(threads))
    chosen |= {"NPROC": str(threads), "JAX_PLATFORMS": "cpu", _MARK: str(threads)}
    if threads == 1:
        chosen["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), "--xla_cpu_multi_thread_eigen=false"]).strip()
    return os.environ | chosen


def hold_threads(threads: int) -> None:
    """Start this program again with that many threads, unless it has them already."""
    if os.environ.get(_MARK) == str(threads):
        return
    sys.exit(subprocess.call([sys.executable, *sys.orig_argv[1:]], env=environment(threads)))


def describe() -> dict[str, str]:
    """The machine, the versions, the compiler, and every switch in the environment that changes how fast they are."""
    import numpy as np

    import funcnet

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    facts = {
        "cpu": f"{_cpu()}, {os.cpu_count()} cores",
        "vectors": _vectors(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "numpy": f"{np.__version__}, {blas['name']} {blas['version']}",
        "threads": os.environ.get(_MARK, "not held"),
        "compiler": _compiler(),
        "funcnet": funcnet.__version__,
    }
    for name in ("jax", "torch"):
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    switches = {name: os.environ[name] for name in _SWITCHES if name in os.environ}
    if switches:
        facts["environment"] = ", ".join(f"{name}={value}" for name, value in switches.items())
    return facts


def in_a_line(facts: Mapping[str, str]) -> str:
    """All facts as one line of text."""
    plain = ("cpu", "system", "dtype")
    return "; ".join(fact if name in plain else f"{name}: {fact}" for name, fact in facts.items()) + "."


def _compiler() -> str:
    """The C compiler of `fn.jit`."""
    import funcnet
    from funcnet.native.toolchain import find_compiler

    try:
        return find_compiler().version.partition("\n")[0]
    except funcnet.FuncnetError:
        return "none"


def _vectors() -> str:
    """The widest vector instructions of the CPU, and of those that NumPy has been told to use."""
    import numpy as np

    found = [str(name) for name in np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])]
    if any(name.startswith(("AVX512", "X86_V4")) for name in found):
        return "AVX-512"
    if any(name in ("AVX2", "X86_V3") for name in found):
        return "AVX2"
    return found[-1] if found else "those of the platform"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
