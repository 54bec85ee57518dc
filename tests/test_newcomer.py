"""The newcomer's ten minutes: README and tutorial, typed in order, where only the wheel and its needs are installed."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import typing_extensions

from .conftest import ROOT, Built

PAGES = [ROOT / "README.md", ROOT / "docs" / "tutorial.md"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds the wheel, and NumPy and typing-extensions from this one."""
    folder = tmp_path_factory.mktemp("newcomer")
    venv.create(folder, symlinks=True)
    interpreter = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    with ZipFile(built.wheel) as wheel:  # which is all that installing one of pure Python does
        wheel.extractall(packages)
    numpy = Path(np.__file__).parent
    for needed in (numpy, numpy.with_name("numpy.libs"), Path(typing_extensions.__file__)):
        if needed.exists():
            (packages / needed.name).symlink_to(needed)
    return interpreter


def test_the_environment_is_fresh(python: Path) -> None:
    program = (
        "import importlib.util as u, funcnet; print(funcnet.__file__, *map(u.find_spec, ['pytest', 'hypothesis']))"
    )
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True)
    place, *others = done.stdout.split()
    assert Path(place).is_relative_to(python.parents[1])
    assert others == ["None", "None"]


def test_readme_and_tutorial_run_from_top_to_bottom(python: Path, tmp_path: Path) -> None:
    command = [*map(str, (python, "-I", "-W", "error", ROOT / "tests" / "pages.py", *PAGES))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
