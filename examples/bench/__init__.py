"""The parts of ``examples/benchmark.py``: workloads, one implementation of them a file, checks, timing and reports."""
