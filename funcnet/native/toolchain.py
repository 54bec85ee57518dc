"""The C compiler, and the loaded libraries that it makes of C source, once for each machine.

A library is kept in the user's cache folder under the hash of everything that it depends on: the source, the command
and its flags, the compiler's version and the CPU. So no library is ever replaced by a different one, which a process
that has loaded the first would not notice. It is compiled in a folder of its own and moved into its place in one piece.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from funcnet.errors import CompilerError, MissingPackageError

FLAGS = (
    *("-O2", "-ftree-vectorize", "-march=native", "-std=gnu11", "-w"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing", "-fopenmp-simd"),
)
"""As fast as -O3, with which gcc 12 gave wrong results; values of several types share memory. Without
-fno-trapping-math gcc leaves most loops alone; -ffast-math would change results. All compilers know these."""
SHARED = ("-shared",) if os.name == "nt" else ("-shared", "-fPIC")
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
LONGEST = 4000  # characters of a compiler's message that an error shows
CPU_FIELDS = ("model name", "flags", "CPU implementer", "CPU part", "Features", "isa")


class Compiler(NamedTuple):
    """A C compiler: its command and its version."""

    command: tuple[str, ...]
    version: str


def find_compiler() -> Compiler:
    """The C compiler: the command in FUNCNET_CC, else `cc`, else that of the package ziglang.

    FUNCNET_CC is a command, with arguments if need be, such as `gcc-14` or `ccache clang`.
    Raises MissingPackageError where there is none, CompilerError where that of FUNCNET_CC cannot be run.
    """
    named = os.environ.get("FUNCNET_CC", "").strip()
    if named:
        try:
            command = tuple(shlex.split(named, posix=os.name != "nt"))
        except ValueError as error:
            raise CompilerError(f"FUNCNET_CC is {named!r}, which is no command: {error}: correct or unset it") from None
        if shutil.which(command[0]) is None:
            raise CompilerError(f"FUNCNET_CC is {named!r}, but there is no program {command[0]!r}: correct or unset it")
    elif (found := shutil.which("cc")) is not None:
        command = (found,)
    elif find_spec("ziglang") is not None:
        command = (sys.executable, "-m", "ziglang", "cc")
    else:
        raise MissingPackageError(
            "native code needs a C compiler, and none was found: FUNCNET_CC names none, there is no program `cc`, and "
            "the package ziglang is not installed. Set FUNCNET_CC to the command of a compiler, install one that is "
            "called cc, or pip install 'funcnet[native]'"
        )
    return Compiler(command, version_of(command))


@cache
def version_of(command: tuple[str, ...]) -> str:
    """The version that a compiler prints, asked once in a process."""
    return run_compiler((*command, "--version")).strip()


def build(source: str) -> ctypes.CDLL:
    """A shared library made of C source, loaded; compiled unless the cache holds it.

    Raises MissingPackageError where there is no compiler. Raises CompilerError, with the compiler's own message, where
    compiling fails, and where the cache folder cannot be written or belongs to others.
    """
    compiler = find_compiler()
    library = cache_folder() / f"{identity(source, compiler, FLAGS)}.{'dll' if os.name == 'nt' else 'so'}"
    if not library.exists():
        compile_into(library, source, (*compiler.command, *FLAGS, *SHARED))
    check_private(library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompilerError(
            f"the library {library} cannot be loaded: {error}. If it is damaged, delete it; if programs may not be "
            "run from that folder, set XDG_CACHE_HOME to another one"
        ) from None


def identity(source: str, compiler: Compiler, flags: Sequence[str]) -> str:
    """A name for the library that these make on this CPU, and for no other one."""
    parts = (source, *compiler.command, compiler.version, *flags, *SHARED, cpu())
    return hashlib.sha256(b"".join(f"{len(part)}:{part}".encode() for part in parts)).hexdigest()[:40]


@cache
def cpu() -> str:
    """A description of this machine's CPU and its instructions."""
    known = [platform.system(), platform.machine(), platform.processor()]
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        first = ""
    return "\n".join([*known, *(line for line in first.splitlines() if line.startswith(CPU_FIELDS))])


def cache_folder() -> Path:
    """The user's cache folder for libraries, made if need be: only its owner may look into it.

    Raises CompilerError where it cannot be made, belongs to another user, or may be written by others: who can write
    a library there could run code of their own in this process.
    """
    folder = cache_home() / "funcnet"
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CompilerError(
            f"the cache folder {folder} cannot be made: {error.strerror}. Set XDG_CACHE_HOME to a folder that can be "
            "written"
        ) from None
    check_private(folder)
    return folder


def cache_home() -> Path:
    """The cache folder of the user's programs: XDG_CACHE_HOME, or the folder of the system."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):
        return Path(named)
    if os.name == "nt" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"])
    try:
        home = Path.home()
    except RuntimeError:
        raise CompilerError(
            "this user has no home folder: set XDG_CACHE_HOME to a folder that can be written"
        ) from None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def check_private(path: Path) -> None:
    """Refuse a folder or a file of another user, or one that others may write. Windows keeps a user's own folders."""
    if sys.platform == "win32":
        return
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise CompilerError(f"{path} is a link, which may lead to files of others: remove it")
    if status.st_uid != os.geteuid():
        raise CompilerError(
            f"{path} belongs to another user (number {status.st_uid}), who could put other code there: remove it, or "
            "set XDG_CACHE_HOME to a folder of your own"
        )
    if status.st_mode & OTHERS_MAY_WRITE:
        raise CompilerError(f"{path} may be written by others, who could put other code there: chmod go-w {path}")


def compile_into(library: Path, source: str, command: Sequence[str]) -> None:
    """Compile in a new folder beside the library, and move the result to its place in one step.

    Whatever happens meanwhile, the path holds the whole library or nothing.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".part-", dir=library.parent) as part:
            written, made = Path(part, "program.c"), Path(part, library.name)
            written.write_text(source, encoding="utf-8")
            run_compiler((*command, str(written), "-o", str(made), "-lm"))
            if not made.exists():
                raise CompilerError(f"the C compiler ended well but made no library: {shlex.join(command)}")
            made.chmod(0o700)
            os.replace(made, library)
    except OSError as error:
        raise CompilerError(
            f"nothing can be written to the cache folder {library.parent}: {error.strerror}. Set XDG_CACHE_HOME to a "
            "folder that can be written"
        ) from None


def run_compiler(command: Sequence[str]) -> str:
    """Run the compiler and return its output. Raises CompilerError, with the compiler's message, where that fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    except OSError as error:
        raise CompilerError(f"the C compiler cannot be run: {shlex.join(command)}: {error.strerror}") from None
    if done.returncode:
        code = done.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        message = (done.stderr or done.stdout)[:LONGEST].strip()
        raise CompilerError(f"the C compiler {how}: {shlex.join(command)}\n{message}".rstrip())
    return done.stdout
