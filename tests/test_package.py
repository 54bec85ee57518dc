"""The package as users get it: what the wheel and the sdist hold, what importing loads, and what it says of itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

import funcnet

from .conftest import ROOT, Built

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
GROUPS: dict[str, list[Any]] = PYPROJECT["dependency-groups"]
LARGEST = 500_000  # bytes: NumPy's own wheel is thirty times as large

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def metadata(built: Built) -> Message:
    with ZipFile(built.wheel) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(wheel.read(name).decode("utf-8"))


def test_the_wheel_is_small_and_pure(built: Built) -> None:
    assert built.wheel.name == f"funcnet-{PROJECT['version']}-py3-none-any.whl"
    assert built.wheel.stat().st_size < LARGEST


def test_the_wheel_holds_every_module_and_the_mark_of_types_and_no_more(built: Built) -> None:
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "funcnet").rglob("*.*") if path.suffix in (".py", ".h")}
    with ZipFile(built.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == source | {"funcnet/py.typed"}


def test_the_sdist_holds_what_its_tests_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "noxfile.py", "mypy.ini"} <= held
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    assert tests <= held
    assert not any(".pyc" in name for name in held)


def test_it_requires_numpy_and_typing_extensions_alone(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert [re.split("[<>=]", line)[0] for line in required] == ["numpy", "typing-extensions"]


def test_the_classifiers_begin_with_the_oldest_python(metadata: Message) -> None:
    found = re.findall(r"Python :: (3\.\d+)$", "\n".join(metadata.get_all("Classifier", [])), re.MULTILINE)
    assert found == [f"3.{minor}" for minor in range(11, 11 + len(found))]
    assert metadata["Requires-Python"] == f">={found[0]}"


def test_the_extra_for_tests_is_the_groups_for_tests_and_checks() -> None:
    assert PROJECT["optional-dependencies"]["test"] == sorted(GROUPS["test"] + GROUPS["check"])


def test_one_version_everywhere() -> None:
    told = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    changes = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert told == changes[:1] == [PROJECT["version"]] == [funcnet.__version__] == [version("funcnet")]


def test_package_indexes_show_the_first_program_and_no_link_that_leads_nowhere(metadata: Message) -> None:
    shown = str(metadata.get_payload())
    assert "fn.network(operators, connectivity)" in shown
    assert "](docs" not in shown


def test_importing_loads_the_standard_library_and_what_is_required() -> None:
    program = "import sys; before = {*sys.modules}; import funcnet; print(*({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names
    assert {"funcnet", "numpy"} <= loaded <= {"funcnet", "numpy", "typing_extensions"}


@pytest.mark.parametrize("threads", ["3", None])
def test_it_tells_what_a_bug_report_needs(threads: str | None) -> None:
    given = {"OMP_NUM_THREADS": threads} if threads else {}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "funcnet"], env=given, capture_output=True, text=True, check=True
    )
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert told["funcnet"] == PROJECT["version"]
    assert told["numpy"] == np.__version__
    assert told["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert told["BLAS"].split()[0]
    assert told["threads"] == ("OMP_NUM_THREADS=3" if threads else "as the BLAS chooses: no variable is set")
