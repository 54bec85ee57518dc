"""Replace a file by a new one in one piece: at every moment the path is the old file or the new one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from typing import Any, BinaryIO, cast

from funcnet.errors import CheckpointError

RANDOM = 8  # bytes in the name of an unfinished file
SHORT = 64  # bytes of a name that every file system takes


def file_path(path: Any, call: str) -> str:
    """A path as str. CheckpointError unless it is a str or gives one, as a Path does, that the system can express.

    call: how the function is called that is given it.
    """
    kind = cast("Any", type(path))
    found = path.__fspath__() if hasattr(kind, "__fspath__") else path
    if not isinstance(found, str):
        fix = ": os.fsdecode gives a str" if type(found) is bytes else f": it comes first, {call}"
        raise CheckpointError(f"a path is a str or a pathlib.Path; got {type(found).__name__}{fix}")
    try:
        encoded = os.fsencode(found)
    except UnicodeEncodeError as error:
        raise CheckpointError(f"the path {found!r} cannot be a file's name: {error}") from None
    if b"\0" in encoded:
        raise CheckpointError(f"the path {found!r} cannot be a file's name: it holds a NUL")
    return found


def explained(name: str, path: str, error: OSError) -> OSError:
    """An error for a path, with the fix; any other error as it is. name: of the function given the path."""
    if error.errno not in (errno.ENOENT, errno.EISDIR):
        return error
    folder, file = os.path.split(path)
    if not path:
        fix = "the path is empty: give the name of a file, such as 'model.npz'"
    elif error.errno == errno.EISDIR:
        fix = f"this is a folder: give the name of a file, such as {os.path.join(path, 'model.npz')!r}"
    elif not os.path.isdir(folder or os.curdir):
        fix = f"there is no folder {folder!r}" + f": make it first, os.makedirs({folder!r})" * (name == "save")
    else:
        near = get_close_matches(file, os.listdir(folder or os.curdir), 1)
        meant = f"did you mean {os.path.join(folder, near[0])!r}?" if near else "give the path that save was given"
        fix = f"there is no such file in {folder or os.getcwd()!r}: {meant}"
    return type(error)(error.errno, f"{name}: {fix}", path)


def replace(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Write a new file beside its place, bring it to the disk, and move it there.

    Links are followed and stay. A file that is replaced keeps its permissions (read, write, execute); meanwhile the
    new one is readable by its owner alone. A new file has the permissions that `open` would give it. An exception, an
    interrupt, at any line, also removes the unfinished file and closes every descriptor.
    Raises what `open(path, "w")` would, before anything is written; OSError where the path is a FIFO or a device.
    """
    path, mode = _target(path)
    folder, name = os.path.split(path)
    part = os.path.join(folder, _part(name))
    stream = None
    # All that needs undoing is in one try: an interrupt where a `with` ends would leave its file open.
    try:
        opener = partial(os.open, mode=0o666 if mode is None else 0o600)
        stream = open(part, "xb", opener=opener)  # noqa: SIM115
        write(stream)
        stream.flush()
        if mode is not None:
            os.chmod(part, mode)
        os.fsync(stream.fileno())
        stream.close()
        os.replace(part, path)
    except BaseException:
        try:
            with suppress(OSError):  # the disk may be full
                if stream is not None:
                    stream.close()
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)
        raise
    if os.name == "posix":  # where the name too has to reach the disk
        _sync_folder(folder or os.curdir)


def _target(path: str) -> tuple[str, int | None]:
    """(the path to write to, the permissions of the file there, None where there is none)."""
    _check_name(path)
    try:
        there = os.stat(path)  # which raises ELOOP for a loop of links
    except FileNotFoundError:
        there = None
    while os.path.islink(path):
        path = os.path.join(os.path.dirname(path), os.readlink(path))
        _check_name(path)
    if there is None:
        return path, None
    if stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(there.st_mode):
        raise OSError(errno.EINVAL, "save writes regular files only, and this is a FIFO, a socket or a device", path)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return path, stat.S_IMODE(there.st_mode) & 0o777


def _check_name(path: str) -> None:
    """Refuse a path that can only be a folder's, or lies in a folder that is not there."""
    bare = path.rstrip(os.sep)
    folder, name = os.path.split(bare)
    os.stat(path if name in ("", os.curdir, os.pardir) else folder or os.curdir)
    if bare != path:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def _part(name: str) -> str:
    """`.<name>.<hexadecimal>.part`, the name cut where that would be longer than what the system is known to take."""
    ending = f".{os.urandom(RANDOM).hex()}.part"
    room = max(len(os.fsencode(name)), SHORT) - len(ending) - 1
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return f".{name}{ending}"


def _sync_folder(folder: str) -> None:
    descriptors: list[int] = []
    try:
        descriptors.append(os.open(folder, os.O_RDONLY))
        os.fsync(descriptors[0])
        os.close(descriptors.pop())
    except BaseException:
        while descriptors:
            os.close(descriptors.pop())
        raise
