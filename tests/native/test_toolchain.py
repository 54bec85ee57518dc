"""The C compiler: found, run, its libraries kept, and what is said where that cannot be."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.native import toolchain
from funcnet.native.toolchain import build, cache_folder, cache_home, find_compiler

SOURCE = "int answer(void) { return 42; }\n"
STAND_IN = 'if [ "$1" = --version ]; then echo stand-in 1; exit; fi\n'
needs_posix = pytest.mark.skipif(os.name == "nt", reason="permissions and scripts are those of POSIX")
MakeCommand = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FUNCNET_CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def command(tmp_path: Path) -> MakeCommand:
    """Makes a program out of lines of the shell."""

    def make(script: str, name: str = "compiler") -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def compiler() -> toolchain.Compiler:
    """The machine's own."""
    try:
        return find_compiler()
    except fn.MissingPackageError:
        pytest.skip("neither FUNCNET_CC nor cc nor ziglang is here")


def held() -> list[str]:
    """The names of all files in the cache folder."""
    return sorted(path.name for path in cache_folder().iterdir())


def test_source_becomes_a_library_that_is_kept(compiler: toolchain.Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build(SOURCE).answer() == 42
    (name,) = held()

    def refuse(*args: Any) -> None:
        raise AssertionError("it was compiled again")

    monkeypatch.setattr(toolchain, "compile_into", refuse)
    assert build(SOURCE).answer() == 42
    assert held() == [name]
    with pytest.raises(AssertionError):
        build(SOURCE + "\n")


@pytest.mark.parametrize("named", ["cc", "gcc", "clang", f"{sys.executable} -m ziglang cc"])
def test_every_compiler_knows_the_flags(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(named.split()[0]) is None or ("ziglang" in named and find_spec("ziglang") is None):
        pytest.skip(f"{named} is not here")
    monkeypatch.setenv("FUNCNET_CC", named)
    net = fn.network({1: fn.linear(3), 2: fn.tanh(), 3: fn.linear(2)}, {1: [2], 2: [3]})
    params, _ = net.init(fn.key(0), (2,))
    x = np.ones((5, 2), np.float32)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    (new, loss), (right, other) = fn.jit(step)(params, x, x), step(params, x, x)
    np.testing.assert_allclose([loss, new[1].weight[0, 0]], [other, right[1].weight[0, 0]], rtol=2e-5)


def test_its_name_depends_on_all_that_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = toolchain.Compiler(("cc",), "14")
    names = {
        toolchain.identity(SOURCE, compiler, ("-O2",)),
        toolchain.identity(SOURCE + " ", compiler, ("-O2",)),
        toolchain.identity(SOURCE, compiler._replace(version="15"), ("-O2",)),
        toolchain.identity(SOURCE, compiler._replace(command=("gcc",)), ("-O2",)),
        toolchain.identity(SOURCE, compiler, ("-O3",)),
        toolchain.identity(SOURCE, compiler, ("-O2", "-g")),
    }
    assert len(names) == 6
    assert toolchain.identity(SOURCE, compiler, ("-O2",)) in names
    monkeypatch.setattr(toolchain, "cpu", lambda: "another one")
    assert toolchain.identity(SOURCE, compiler, ("-O2",)) not in names


def test_the_package_ziglang_compiles_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clang refuses options that gcc alone knows."""
    pytest.importorskip("ziglang")
    monkeypatch.setenv("FUNCNET_CC", f"{shlex.quote(sys.executable)} -m ziglang cc")
    net = fn.serial(fn.linear(25), fn.tanh(), fn.linear(3), fn.softmax())
    params, _ = net.init(fn.key(0), (2,))
    x, target = np.ones((5, 40, 2), np.float32), np.ones((5, 40, 3), np.float32)
    step = fn.train_step(net, fn.mse(), fn.chain(fn.clip_by_global_norm(0.1), fn.adam(0.01)))
    native, state = fn.jit(step), step.init(params)
    found, right = (fn.scan(f, params, state, x, target) for f in (native, step))
    for a, b in zip(fn.tree.leaves(found), fn.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


def test_other_flags_and_other_source_in_one_process(
    compiler: toolchain.Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(SOURCE).answer() == 42
    for answer in (7, 8):
        monkeypatch.setattr(toolchain, "FLAGS", (f"-DANSWER={answer}",))
        assert build(SOURCE.replace("42", "ANSWER")).answer() == answer
    assert len(held()) == 3


def test_the_variable_comes_before_cc_and_cc_before_the_package(
    command: MakeCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "find_spec", lambda name: object() if name == "ziglang" else None)
    monkeypatch.setattr(toolchain, "version_of", lambda command: "1")
    assert find_compiler().command == (sys.executable, "-m", "ziglang", "cc")
    cc = command("", "cc")
    assert find_compiler().command == (str(cc),)
    mine = command("", "mine")
    monkeypatch.setenv("FUNCNET_CC", f"{mine} --target 'a b'")
    assert find_compiler().command == (str(mine), "--target", "a b")


def test_no_compiler_is_an_error_that_names_all_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "find_spec", lambda name: None)
    with pytest.raises(fn.MissingPackageError, match=r"FUNCNET_CC .* `cc`.* ziglang .*'funcnet\[native\]'"):
        build(SOURCE)


def test_an_open_quote_in_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCNET_CC", "cc 'a b")
    with pytest.raises(fn.CompilerError, match="FUNCNET_CC is .* no command: No closing quotation: correct or unset"):
        find_compiler()


def test_a_variable_that_names_no_program_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCNET_CC", "no-such-compiler -O1")
    with pytest.raises(fn.CompilerError, match="FUNCNET_CC is 'no-such-compiler -O1'.* no program 'no-such-compiler'"):
        find_compiler()


@needs_posix
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo this is no C >&2; exit 3\n", "ended with status 3: .*\nthis is no C"),
        ("echo on the wrong stream; exit 1\n", "ended with status 1: .*\non the wrong stream"),
        ("for last; do :; done; kill -9 $$\n", "was ended by signal 9"),
        ("exit 0\n", "ended well but made no library"),
    ],
)
def test_what_a_broken_compiler_says_is_shown_and_nothing_is_left(
    command: MakeCommand, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    monkeypatch.setenv("FUNCNET_CC", str(command(STAND_IN + script)))
    with pytest.raises(fn.CompilerError, match=message):
        build(SOURCE)
    assert held() == []


@needs_posix
def test_a_compiler_killed_in_the_middle_of_its_output_leaves_nothing(
    command: MakeCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = 'while [ "$1" != -o ]; do shift; done; echo half a library > "$2"; kill -9 $$\n'
    monkeypatch.setenv("FUNCNET_CC", str(command(STAND_IN + half)))
    for _ in range(2):
        with pytest.raises(fn.CompilerError, match="signal 9"):
            build(SOURCE)
        assert held() == []


@needs_posix
def test_a_file_that_is_no_library_is_named(command: MakeCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    junk = 'while [ "$1" != -o ]; do shift; done; echo no library > "$2"\n'
    monkeypatch.setenv("FUNCNET_CC", str(command(STAND_IN + junk)))
    with pytest.raises(fn.CompilerError, match=r"the library .*\.so cannot be loaded: .* delete it"):
        build(SOURCE)


@needs_posix
def test_a_program_that_the_system_cannot_run(
    command: MakeCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    monkeypatch.setenv("FUNCNET_CC", str(path))
    with pytest.raises(fn.CompilerError, match="cannot be run: .*binary"):
        find_compiler()


def test_the_message_of_the_machines_own_compiler(compiler: toolchain.Compiler) -> None:
    with pytest.raises(fn.CompilerError, match="(?s)ended with status 1: .*program.c.*error"):
        build("int answer(void) { return missing; }\n")


@needs_posix
def test_the_folder_is_the_users_alone() -> None:
    mask = os.umask(0)
    try:
        assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700
    finally:
        os.umask(mask)


@needs_posix
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_may_write_is_refused(mode: int) -> None:
    cache_folder().chmod(mode)
    with pytest.raises(fn.CompilerError, match=r"funcnet may be written by others.*chmod go-w"):
        build(SOURCE)


@needs_posix
def test_a_library_that_others_may_write_is_refused(compiler: toolchain.Compiler) -> None:
    build(SOURCE)
    (name,) = held()
    (cache_folder() / name).chmod(0o722)
    with pytest.raises(fn.CompilerError, match=r"\.so may be written by others"):
        build(SOURCE)


@needs_posix
def test_what_another_user_owns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = cache_folder().stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(fn.CompilerError, match=rf"belongs to another user \(number {owner}\).*XDG_CACHE_HOME"):
        build(SOURCE)


@needs_posix
def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "cache" / "funcnet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(fn.CompilerError, match="is a link"):
        build(SOURCE)


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(fn.CompilerError, match="cache folder .*funcnet cannot be made: .*Set XDG_CACHE_HOME"):
        build(SOURCE)


def test_a_folder_that_cannot_be_written(compiler: toolchain.Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*args: Any, **options: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", read_only)
    with pytest.raises(fn.CompilerError, match="nothing can be written to .*Read-only file system.*XDG_CACHE_HOME"):
        build(SOURCE)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_home() == tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    if os.name != "nt":
        assert cache_home() == tmp_path / ".cache"
        monkeypatch.setattr(sys, "platform", "darwin")
        assert cache_home() == tmp_path / "Library" / "Caches"

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    with pytest.raises(fn.CompilerError, match="no home folder: set XDG_CACHE_HOME"):
        cache_home()


def test_threads_and_processes_that_build_the_same(compiler: toolchain.Compiler, tmp_path: Path) -> None:
    program = f"from funcnet.native.toolchain import build; print(build({SOURCE!r}).answer())"
    others = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        assert [library.answer() for library in pool.map(build, [SOURCE] * 8)] == [42] * 8
    assert [other.communicate()[0].strip() for other in others] == [b"42"] * 3
    assert len(held()) == 1
