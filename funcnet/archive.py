"""The file of a checkpoint: an npz in which no byte changes unnoticed.

    manifest.json, <name>.npy, <name>.npy, ..., the zip's directory, SHA-256 of all before it, in hexadecimal

The digest stands where a zip has its comment, so `numpy.load` reads the file too. Nothing is compressed, and equal
content is an equal file. What is read is never looked into for how much memory it wants: whoever reads says what has to
be there, and bytes that are not exactly that are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from math import prod
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np

from funcnet.arrays import Shape
from funcnet.errors import CheckpointError

Stored: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MANIFEST = "manifest.json"
DIGEST = 64  # characters
CHUNK = 1 << 20  # bytes read at a time
FOREIGN = (zipfile.BadZipFile, struct.error, EOFError, KeyError, OSError, OverflowError, RuntimeError, ValueError)


class Spec(NamedTuple):
    """What an array in the file has to be."""

    dtype: np.dtype[Any]
    shape: Shape

    @property
    def header(self) -> bytes:
        """How its member begins (numpy.lib.format, version 1.0), the same for every version of NumPy."""
        text = f"{{'descr': {self.dtype.str!r}, 'fortran_order': False, 'shape': {self.shape}, }}"
        padded = text + " " * (-(len(text) + 11) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode("ascii")

    @property
    def size(self) -> int:
        """The bytes of its elements."""
        return prod(self.shape) * self.dtype.itemsize


def kept_by_json(value: object) -> bool:
    """Whether a value comes back from JSON as it was."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def write(path: str, manifest: Mapping[str, Any], arrays: Mapping[str, Stored]) -> None:
    """Write the file beside its place, and move it there when all of it is on the disk."""
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name}.{os.urandom(8).hex()}.part")
    try:
        with open(part, "x+b") as stream:
            _write_members(stream, manifest, arrays)
            _seal(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(part)
        raise
    if os.name == "posix":  # where the name too has to reach the disk
        _sync_folder(folder)


def _write_members(stream: BinaryIO, manifest: Mapping[str, Any], arrays: Mapping[str, Stored]) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        archive.comment = bytes(DIGEST)
        archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest))
        for name, array in arrays.items():
            spec, info = Spec(array.dtype, array.shape), zipfile.ZipInfo(f"{name}.npy")
            info.file_size = len(spec.header) + spec.size
            with archive.open(info, "w") as member:
                member.write(spec.header)
                member.write(cast("bytes", array.ravel().view(np.uint8)))  # any buffer will do


def _seal(stream: BinaryIO) -> None:
    """Write the digest in its place."""
    digest = _digest(stream, stream.seek(0, os.SEEK_END) - DIGEST)
    stream.seek(-DIGEST, os.SEEK_END)
    stream.write(digest)


def _digest(stream: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first so many bytes, in hexadecimal."""
    found = hashlib.sha256()
    stream.seek(0)
    for start in range(0, size, CHUNK):
        found.update(stream.read(min(CHUNK, size - start)))
    return found.hexdigest().encode("ascii")


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Archive:
    """A file open for reading, whose digest is right.

    manifest: what `write` was given, or whatever else stands there.
    """

    def __init__(self, stream: BinaryIO) -> None:
        size = stream.seek(0, os.SEEK_END)
        digest = _digest(stream, size - DIGEST)
        if size <= DIGEST or stream.read(DIGEST) != digest:
            raise CheckpointError(
                "it is damaged, cut short, or no checkpoint at all: it does not end with the SHA-256 of what is before"
            )
        with nothing_foreign():
            self.archive: zipfile.ZipFile = zipfile.ZipFile(stream)
            self.members: list[zipfile.ZipInfo] = self.archive.infolist()
            self._check_members(size)
            self.manifest: Any = json.loads(self.archive.read(MANIFEST))

    def _check_members(self, size: int) -> None:
        """Refuse what `write` does not write, above all members that would grow when they are read."""
        for member in self.members:
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise CheckpointError(
                    f"its member {member.filename!r} is compressed or encrypted, as none is that was saved"
                )
        if sum(member.file_size for member in self.members) > size:
            raise CheckpointError("its members claim to be larger than the file")

    def arrays(self, specs: Mapping[str, Spec]) -> dict[str, Stored]:
        """The arrays, all that there are, by name; each is checked before there is memory for any."""
        names = [member.filename for member in self.members]
        if names != [MANIFEST, *(f"{name}.npy" for name in specs)]:
            raise CheckpointError("its members are not those that its manifest tells of")
        for member, spec in zip(self.members[1:], specs.values(), strict=True):
            if member.file_size != len(spec.header) + spec.size:
                raise CheckpointError(f"its member {member.filename!r} has another size than its manifest tells")
        with nothing_foreign():
            return {
                name: self._array(member, spec)
                for member, (name, spec) in zip(self.members[1:], specs.items(), strict=True)
            }

    def _array(self, member: zipfile.ZipInfo, spec: Spec) -> Stored:
        with self.archive.open(member) as stream:
            if stream.read(len(spec.header)) != spec.header:
                raise CheckpointError(f"its member {member.filename!r} is not the array of which its manifest tells")
            array: Stored = np.empty(spec.shape, spec.dtype)
            target, at = array.reshape(-1).view(np.uint8), 0
            while chunk := stream.read(CHUNK):  # to the end, where the sum is checked
                target[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
                at += len(chunk)
        return array


@contextmanager
def nothing_foreign() -> Generator[None]:
    """What goes wrong meanwhile is the file's fault: its digest is right, so `write` has not written it."""
    try:
        yield
    except CheckpointError:
        raise
    except FOREIGN as error:
        raise CheckpointError(f"it is no checkpoint that was saved by funcnet: {error}") from None
