"""A file is replaced in one piece: after any failure, and an interrupt at any line, the old one is there, alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import funcnet as fn
from funcnet.files import replacing
from tests.support.budget import examples

OLD: dict[Any, Any] = {1: np.arange(3.0), "n": 7}
NEW: dict[Any, Any] = {1: np.arange(4.0), "n": 8}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.npz"


class Interrupts:
    """Raises KeyboardInterrupt at one line of all those that run inside, in whatever module they are."""

    def __init__(self, at: int) -> None:
        self.at, self.lines = at, 0
        self.raised = False

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and not self.raised:
            self.lines += 1
            if self.lines == self.at:
                self.raised = True
                raise KeyboardInterrupt
        return self.trace


def save_interrupted(path: Path, params: Any, at: int) -> tuple[Interrupts, BaseException | None]:
    """(what has been counted, what `save` has raised)."""
    interrupts, before = Interrupts(at), sys.gettrace()
    sys.settrace(interrupts.trace)
    try:
        fn.save(path, params, metadata={"n": params["n"]})
    except BaseException as error:
        return interrupts, error
    finally:
        sys.settrace(before)
    return interrupts, None


def descriptors() -> list[str]:
    """Those that are open, besides the one that lists them."""
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return [os.readlink(link) for link in links if link.is_symlink()]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")
def test_an_interrupt_at_any_line_is_a_keyboard_interrupt_and_leaves_a_whole_file(path: Path) -> None:
    fn.save(path, OLD)
    before = len(descriptors())
    old, at, news = path.read_bytes(), 0, 0
    path.chmod(0o600)
    while True:
        at += 1
        interrupts, caught = save_interrupted(path, NEW, at)
        if not interrupts.raised:
            break
        assert type(caught) is KeyboardInterrupt, (at, caught)
        assert len(descriptors()) == before  # while the exception, and with it every frame, is alive
        assert os.listdir(path.parent) == [path.name]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        now = path.read_bytes()
        if now != old:
            news += 1
            assert fn.load(path, NEW).params["n"] == 8
            path.write_bytes(old)
    assert caught is None
    assert at > 300
    assert 0 < news < 20  # those that came after the renaming
    assert fn.load(path, NEW).params["n"] == 8


class Saves(RuleBasedStateMachine):
    """Saves over saves, some of them interrupted: what is loaded is the last that was saved."""

    folder: Path

    @initialize()
    def start(self) -> None:
        self.path = self.folder / "machine.npz"
        self.path.unlink(missing_ok=True)
        self.now: int | None = None

    def params(self, n: int) -> dict[Any, Any]:
        return {"n": n, 1: np.full(5, n, np.float64)}

    @rule(n=st.integers(0, 2**40))
    def save(self, n: int) -> None:
        fn.save(self.path, self.params(n), metadata={"n": n})
        self.now = n

    @rule(n=st.integers(0, 2**40), at=st.integers(1, 900))
    def save_interrupted(self, n: int, at: int) -> None:
        interrupts, caught = save_interrupted(self.path, self.params(n), at)
        assert type(caught) is (KeyboardInterrupt if interrupts.raised else type(None))
        if caught is None or (self.path.exists() and self.loaded().metadata["n"] == n):
            self.now = n

    @rule(bad=st.sampled_from([{"n": object()}, {"n": 2**63}, {("n",): 1}, {"n": np.array("a")}]))
    def save_what_cannot_be_kept(self, bad: Any) -> None:
        with pytest.raises(fn.CheckpointError):
            fn.save(self.path, bad)

    @rule(mode=st.sampled_from([0o600, 0o640, 0o644, 0o666, 0o755]))
    def change_mode(self, mode: int) -> None:
        if self.now is not None:
            self.path.chmod(mode)

    @rule()
    def load_a_part(self) -> None:
        if self.now is not None:
            found = fn.load(self.path, {"n": 0, "other": 5}, partial=True)
            assert found.params == {"n": self.now, "other": 5}
            assert (found.missing, found.unexpected) == (("params['other']",), ("params[1]",))

    def loaded(self) -> fn.Checkpoint[dict[Any, Any], None]:
        return fn.load(self.path, self.params(0))

    @invariant()
    def the_file_is_whole_and_alone(self) -> None:
        assert os.listdir(self.folder) == [self.path.name] * (self.now is not None)
        if self.now is not None:
            found = self.loaded()
            assert (found.params["n"], found.metadata) == (self.now, {"n": self.now})
            np.testing.assert_array_equal(found.params[1], self.now)


def test_saves_over_saves(tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    Saves.folder = tmp_path
    run_state_machine_as_test(
        Saves, settings=settings(max_examples=examples(30), stateful_step_count=15, deadline=None)
    )


# Permissions


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [0o600, 0o400 | 0o200, 0o640, 0o644, 0o660, 0o666, 0o755, 0o777])
def test_a_file_keeps_its_mode_and_is_never_readable_by_more(
    path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fn.save(path, OLD)
    path.chmod(mode)
    seen: list[int] = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.extend(stat.S_IMODE(part.stat().st_mode) for part in path.parent.glob(".*.part"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    chmod = os.chmod

    def look_first(part: str, mode: int) -> None:
        seen.append(stat.S_IMODE(os.stat(part).st_mode))
        chmod(part, mode)

    monkeypatch.setattr(os, "chmod", look_first)
    fn.save(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert seen == [0o600, mode]


@pytest.mark.usefixtures("umask")
def test_bits_that_run_a_file_as_another_are_not_kept(path: Path) -> None:
    fn.save(path, OLD)
    path.chmod(0o4755)
    fn.save(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_or_file_that_may_not_be_written_is_refused(path: Path) -> None:
    fn.save(path, OLD)
    path.chmod(0o400)
    with pytest.raises(PermissionError):
        fn.save(path, NEW)
    path.chmod(0o600)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            fn.save(path, NEW)
    finally:
        path.parent.chmod(0o700)
    assert fn.load(path, OLD).params["n"] == 7
    assert os.listdir(path.parent) == [path.name]


# Paths


@pytest.mark.parametrize("size", [1, 40, 41, 42, 63, 64, 65, 246, 250, 255])
@pytest.mark.parametrize("letter", ["a", "é", "界", "🙂"])
def test_a_name_of_any_length_that_the_system_takes(tmp_path: Path, size: int, letter: str) -> None:
    name = letter * (size // len(letter.encode())) or "x"
    for params in (OLD, NEW):
        fn.save(tmp_path / name, params)
    assert os.listdir(tmp_path) == [name]
    part = replacing._part(name)
    assert len(part.encode()) <= max(len(name.encode()), 64)
    assert part.startswith("." + name[:10]) or size > 41
    assert part != replacing._part(name)


def test_a_name_that_the_system_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error:  # noqa: PT011 (the number is compared)
        fn.save(tmp_path / ("a" * 256), OLD)
    assert error.value.errno == errno.ENAMETOOLONG
    assert os.listdir(tmp_path) == []


def raised(call: Any, *args: Any) -> tuple[type, int | None]:
    """(type, errno) of what a call raises."""
    with pytest.raises(OSError) as error:  # noqa: PT011 (the number is compared)
        call(*args)
    return type(error.value), error.value.errno


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "d", "d/", "d/.", "d/new/", "d/new//", "new/", "no/file", "no/file/", "no/../file", "no/.", "no/..",
     "file/", "file/x", "file/.", "loop", "loop/", "to-loop", "loop/x", "to-d", "to-d/", "to-none/", "to-no/file",
     "to-lost", "d/" + "a" * 256],
)  # fmt: skip
def test_what_open_refuses_is_refused_alike_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    Path("file").write_text("old")
    links = {"loop": "loop", "to-loop": "loop", "to-d": "d", "to-none": "none", "to-no": "no", "to-lost": "no/file"}
    for link, target in links.items():
        Path(link).symlink_to(target)
    before = sorted(os.walk("."))
    assert raised(fn.save, name, OLD) == raised(open, name, "w")
    assert sorted(os.walk(".")) == before
    assert Path("file").read_text() == "old"


@pytest.mark.parametrize(
    "name", ["new", "./new", "d/new", "d/../new", "to-file", "to-new", "to-to-new", "d/up", "to-d/new"]
)
def test_what_open_writes_is_written_at_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    Path("file").write_text("old")
    links = {"to-file": "file", "to-new": "new", "to-to-new": f"{tmp_path}/to-new", "d/up": "../up", "to-d": "d"}
    for link, target in links.items():
        Path(link).symlink_to(target)
    fn.save(name, OLD)
    saved = fn.load(name, OLD).params
    assert saved["n"] == 7
    assert all(Path(link).is_symlink() for link in links)
    before = sorted(os.walk("."))
    with open(name, "w") as file:  # where it is that `open` writes to: no other file comes into being
        file.write("x")
    assert sorted(os.walk(".")) == before


def test_a_fifo_a_socket_and_a_device_are_neither_replaced_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "fifo", tmp_path / "link", tmp_path / "socket", Path("/dev/null"), Path("/dev/full")):
            kind = stat.S_IFMT(path.stat().st_mode)
            with pytest.raises(OSError, match="regular files only"):
                fn.save(path, OLD)
            assert stat.S_IFMT(path.stat().st_mode) == kind
    assert sorted(os.listdir(tmp_path)) == ["fifo", "link", "socket"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (b"file", "got bytes: os.fsdecode"),
        (3, "got int"),
        (None, "got NoneType"),
        (Path, "got type"),
        ("a\0b", "holds a NUL"),
        ("\ud800", "cannot be a file's name"),
        ("a\udc80\ud9ff", "cannot be a file's name"),
    ],
)
def test_a_path_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (fn.save, fn.load):
        with pytest.raises(fn.CheckpointError, match=words):
            call(path, OLD)
    assert os.listdir(tmp_path) == []


def test_a_name_of_any_bytes(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    fn.save(path, OLD)
    assert fn.load(path, OLD).params["n"] == 7
