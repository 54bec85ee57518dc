"""Measure a training step of funcnet on this machine, against hand-written NumPy and, where installed, JAX and PyTorch.

    python examples/benchmark.py
    python examples/benchmark.py --only tiny,disk --dtype float64 --figure ratios.png
    python examples/benchmark.py --process
    python examples/benchmark.py --growth --figure growth.png
    python examples/benchmark.py --memory
    python examples/benchmark.py --feeding --repeats 5
    python examples/benchmark.py --layers --only lenet,max-pool
    python examples/benchmark.py --adam

Times are multiples of the best step that could be written by hand for exactly that network, with NumPy alone; with
`--layers` and `--adam`, multiples of funcnet's own step. All implementations are first checked to compute the same loss
and the same params. They are timed in turn, in short blocks. A ratio is taken within a round, and the median of a
workload's ratios is reported.
All tables are Markdown.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable

from bench.machine import hold_threads


def names(text: str) -> list[str]:
    """A comma-separated list."""
    return [name for name in text.split(",") if name]


def at_least(lowest: int) -> Callable[[str], int]:
    """A whole number no smaller than ``lowest``, as the type of an option."""

    def parse(text: str) -> int:
        if not text.isdigit() or int(text) < lowest:
            raise ArgumentTypeError(f"{text!r} is not a whole number of at least {lowest}")
        return int(text)

    return parse


def parse_options() -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=1,
        metavar="N",
        help="threads of the BLAS, of JAX and of PyTorch (1); more than one need an idle machine",
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=at_least(2), default=21, metavar="N", help="rounds of timing (21)")
    parser.add_argument("--only", type=names, default=[], metavar="NAME,...", help="only these workloads or series")
    parser.add_argument("--skip", type=names, default=[], metavar="NAME,...", help="leave out these implementations")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: it needs a C++ compiler and minutes")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--process", action="store_true", help="whole fresh processes instead of steps")
    mode.add_argument("--growth", action="store_true", help="funcnet's time against depth, width, batch and so on")
    mode.add_argument(
        "--memory", action="store_true", help="funcnet's memory and page faults, also with changing batch sizes"
    )
    mode.add_argument("--feeding", action="store_true", help="an epoch fed from other memory layouts and from a file")
    mode.add_argument(
        "--layers",
        action="store_true",
        help="convolution, recurrence and attention, as multiples of funcnet's own step",
    )
    mode.add_argument(
        "--adam", action="store_true", help="steps with Adam, beside Optax, as multiples of funcnet's own step"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON")
    parser.add_argument("--figure", metavar="FILE", help="draw the ratios, or the growth (needs matplotlib)")
    options = parser.parse_args()
    refuse_idle(parser, options)
    return options


IDLE = {
    "process": ("only", "json", "figure", "compile"),
    "growth": ("skip", "json", "compile"),
    "memory": ("skip", "json", "figure", "compile"),
    "feeding": ("only", "skip", "json", "figure", "compile"),
    "layers": ("figure", "compile"),
    "adam": ("figure", "compile"),
}
"""Options that a mode has no use for."""


def refuse_idle(parser: ArgumentParser, options: Namespace) -> None:
    """An option that would change nothing is an error."""
    given = vars(options)
    for mode, idle in IDLE.items():
        useless = [f"--{name}" for name in idle if given[mode] and given[name]]
        if useless:
            parser.error(f"--{mode} has no use for {', '.join(useless)}")


def main() -> None:
    """Hold the threads, which must happen before NumPy is imported; then run."""
    options = parse_options()
    hold_threads(options.threads)
    from bench.run import main as run

    run(options)


if __name__ == "__main__":
    main()
