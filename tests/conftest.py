"""Settings for all tests: the same examples in every run, on machines of any speed; and the package, built.

The full run has more examples: `pytest -m hypothesis --hypothesis-profile=full`. A hunt for what it misses has other
examples each time, and many: `--hypothesis-profile=hunt`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from tests.support.budget import FULL, HUNT, PLAIN

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]
for name, count in {"plain": PLAIN, "full": FULL}.items():
    settings.register_profile(
        name, derandomize=True, deadline=None, database=None, max_examples=count, suppress_health_check=SLOW
    )
settings.register_profile("hunt", deadline=None, database=None, max_examples=HUNT, suppress_health_check=SLOW)
settings.load_profile("plain")

for library in ("OMP", "OPENBLAS", "MKL"):  # before NumPy is imported: with more threads a product may have other bits
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # than those of the examples, which set the same

os.environ.setdefault("MPLBACKEND", "Agg")  # pictures of notebooks need no screen

ROOT = Path(__file__).parents[1]


class Built(NamedTuple):
    """What a release consists of."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of a copy of the project, and the wheel made of that sdist. Needs no network."""
    folder = tmp_path_factory.mktemp("built")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, folder)
        elif path.name in ("funcnet", "tests", "docs", "examples"):
            shutil.copytree(path, folder / path.name)
    sdist = build("sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return Built(sdist, build("wheel", folder / sdist.name.removesuffix(".tar.gz")))


def build(what: str, folder: Path) -> Path:
    """Build in a folder, with the setuptools that is here."""
    program = f"import setuptools.build_meta as b, sys; print(b.build_{what}('dist'), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "dist" / done.stderr.splitlines()[-1]
