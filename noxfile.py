#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""What needs environments of its own: the package on every Python and NumPy, and the site of the docs.

`nox -s package` tests the wheel, built from the sdist, on every Python that is here: laws, steps, files, docs.
`nox -s package -- tests` runs the whole suite.
`nox -s docs` builds the site in build/docs; warnings are errors, and so is what a page loads from another host.
`nox -s types` asks pyright how complete the types are.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
TEST = nox.project.dependency_groups(PYPROJECT, "test")
CHOSEN = [
    *("tests/test_laws.py", "tests/training/test_gradients.py", "tests/training/test_steps.py"),
    *("tests/files/test_checkpoint.py", "tests/test_docs.py", "tests/test_newcomer.py", "tests/test_package.py"),
]
OLDEST = "numpy==2.0.*"  # as pyproject.toml says; the newest Pythons have no wheel of it

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
@nox.parametrize("numpy", [OLDEST, "numpy"], ids=["oldest", "newest"])
def package(session: nox.Session, numpy: str) -> None:
    """Build the sdist, the wheel from it, and run tests of the sdist on the installed wheel."""
    if numpy == OLDEST and session.python not in ("3.11", "3.12"):
        session.skip("NumPy 2.0 has no wheels for this Python")
    folder = Path(session.create_tmp()).resolve()
    source, wheel = built(session, folder)
    session.install("--only-binary", "numpy", numpy, str(wheel), *TEST)
    session.chdir(source)
    session.run("python", "-P", "-m", "funcnet")
    session.run("python", "-P", "-m", "pytest", "--import-mode=importlib", "-m", "", *(session.posargs or CHOSEN))


def built(session: nox.Session, folder: Path) -> tuple[Path, Path]:
    """The unpacked sdist, and the wheel made of it; built from a copy, so that sessions may run side by side."""
    shutil.rmtree(folder / "copy", ignore_errors=True)
    shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(".?*", "build", "dist", "*.egg-info"))
    session.install("build", "setuptools>=77")
    session.chdir(folder / "copy")
    session.run("python", "-m", "build", "--no-isolation", silent=True)
    (sdist,), (wheel,) = Path("dist").glob("*.tar.gz"), Path("dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(filter="data")
    return Path(sdist.name.removesuffix(".tar.gz")).resolve(), wheel.resolve()


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site, which needs no other host."""
    session.install("-e", ".", *nox.project.dependency_groups(PYPROJECT, "docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")
    session.run("python", "-P", "tests/assets.py", "build/docs")


@nox.session
def types(session: nox.Session) -> None:
    """Every type that the installed wheel shows is known, and the same to every checker."""
    _, wheel = built(session, Path(session.create_tmp()).resolve())
    session.install(str(wheel), "pyright[nodejs]")
    session.run("pyright", "--verifytypes", "funcnet", "--ignoreexternal")


if __name__ == "__main__":
    nox.main()
