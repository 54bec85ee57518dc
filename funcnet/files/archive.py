"""The bytes of a checkpoint: an npz in which every byte is determined by its content.

    manifest.json, <name>.npy, <name>.npy, ..., the zip's directory, SHA-256 of all before it, in hexadecimal

The digest is the zip's comment, so `numpy.load` reads the file too. Nothing is compressed; every date, flag and
attribute has one value, so equal content gives equal files. The reader computes the bytes that the writer would write
and refuses a file that has others. Sizes in headers are never trusted: before memory is taken for an array, the size of
the file has to be the one that the manifest implies.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from io import BufferedReader
from itertools import accumulate
from math import prod
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np

from funcnet.arrays import Shape
from funcnet.errors import CheckpointError

Stored: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MANIFEST = "manifest.json"
DIGEST = 64  # characters
CHUNK = 1 << 20  # bytes written or read at a time
NAME_BYTES = 0xFFFF - len(".npy")  # of a zip member's name
WIDE = 0xFFFFFFFF  # sizes and offsets from here on are kept in ZIP64 fields
JANUARY_1980 = 0x21  # the first day that a zip can name
EXTENDED = np.finfo(np.longdouble).nmant == 63  # a long double has 10 bytes of value, then padding
FOREIGN = (struct.error, EOFError, KeyError, OverflowError, RuntimeError, SyntaxError, TypeError, ValueError)


class Spec(NamedTuple):
    """The dtype and shape of an array in the file."""

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
        """The bytes of its member."""
        return len(self.header) + prod(self.shape) * self.dtype.itemsize


class Member(NamedTuple):
    """An entry of the zip."""

    name: str
    size: int
    offset: int
    crc: int = 0

    def header(self) -> bytes:
        """The local header before its content."""
        wide = self.size >= WIDE
        extra = struct.pack("<HHQQ", 1, 16, self.size, self.size) if wide else b""
        fields = self._common(wide)
        return b"PK\3\4" + fields + struct.pack("<H", len(extra)) + self.name.encode() + extra

    def listed(self) -> bytes:
        """Its entry in the directory at the end."""
        values = [*([self.size] * 2 * (self.size >= WIDE)), *([self.offset] * (self.offset >= WIDE))]
        extra = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""
        tail = struct.pack("<HHHHLL", len(extra), 0, 0, 0, 0o600 << 16, min(self.offset, WIDE))
        fields = self._common(bool(values))
        return b"PK\1\2" + struct.pack("<BB", 45 if values else 20, 3) + fields + tail + self.name.encode() + extra

    def _common(self, wide: bool) -> bytes:
        """The fields of both: version, flags (UTF-8 or not), method, time, date, CRC, sizes, length of the name."""
        version, flags, small = 45 if wide else 20, 0 if self.name.isascii() else 0x800, min(self.size, WIDE)
        length = len(self.name.encode())
        return struct.pack("<HHHHHLLLH", version, flags, 0, 0, JANUARY_1980, self.crc, small, small, length)


def _members(sizes: Mapping[str, int]) -> list[Member]:
    """The members one behind another, as yet without CRC."""
    lengths = (len(Member(name, size, 0).header()) + size for name, size in sizes.items())
    return [Member(*each) for each in zip(sizes, sizes.values(), accumulate(lengths, initial=0), strict=False)]


def _behind(member: Member) -> int:
    """The offset of what follows a member."""
    return member.offset + len(member.header()) + member.size


def _end(members: list[Member]) -> bytes:
    """The directory behind the members, up to the digest."""
    last, count = members[-1], len(members)
    start = _behind(last)
    directory = b"".join(member.listed() for member in members)
    size, behind = len(directory), start + len(directory)
    wide = b""
    if count >= 0xFFFF or size >= WIDE or start >= WIDE:
        wide = b"PK\6\6" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
        wide += b"PK\6\7" + struct.pack("<LQL", 0, behind, 1)
    shown = min(count, 0xFFFF)
    fields = (0, 0, shown, shown, min(size, WIDE), min(start, WIDE), DIGEST)
    return directory + wide + b"PK\5\6" + struct.pack("<HHHHLLH", *fields)


def write(stream: BinaryIO, manifest: bytes, arrays: Mapping[str, Stored]) -> None:
    """Write the whole file to an empty stream. The arrays are C-contiguous, little-endian and `cleared`."""
    if len(manifest) >= WIDE:
        raise CheckpointError(f"the paths and the metadata take {len(manifest):,} bytes; at most 4 GiB are kept")
    specs = {name: Spec(array.dtype, array.shape) for name, array in arrays.items()}
    sizes = {MANIFEST: len(manifest), **{f"{name}.npy": spec.size for name, spec in specs.items()}}
    contents: list[list[bytes | memoryview]] = [[manifest]]
    contents.extend([specs[name].header, _bytes(array)] for name, array in arrays.items())
    digest, members = hashlib.sha256(), list[Member]()
    for member, content in zip(_members(sizes), contents, strict=True):
        crc = 0
        for chunk in _chunks(content):
            crc = zlib.crc32(chunk, crc)
        members.append(member._replace(crc=crc))
        for chunk in _chunks([members[-1].header(), *content]):
            digest.update(chunk)
            stream.write(chunk)
    end = _end(members)
    digest.update(end)
    stream.write(end + digest.hexdigest().encode("ascii"))


def _bytes(array: Stored) -> memoryview:
    """The bytes of an array, without a copy."""
    return memoryview(cast("bytes", array.reshape(-1).view(np.uint8)))  # any buffer will do


def _chunks(contents: Iterable[bytes | memoryview]) -> Generator[bytes | memoryview]:
    """The contents in pieces, so that an interrupt need not wait for all of a large array."""
    for content in contents:
        for start in range(0, len(content), CHUNK):
            yield content[start : start + CHUNK]


def cleared(array: Stored) -> Stored:
    """The array itself, or a copy with one pattern of bits for equal elements: bools of 0 and 1, padding of zeros."""
    if array.dtype.kind == "b":
        ones: Stored = np.not_equal(array.view(np.uint8), 0).reshape(array.shape)
        return ones
    if EXTENDED and array.dtype.char in "gG":
        copied = array.copy()
        copied.reshape(-1).view(np.uint8).reshape(-1, np.dtype(np.longdouble).itemsize)[:, 10:] = 0
        return copied
    return array


class Archive:
    """A file open for reading, whose digest is right and which begins with a manifest.

    manifest: the bytes of the manifest, not yet parsed.
    """

    def __init__(self, stream: BufferedReader) -> None:
        self.stream: BufferedReader = stream
        self.size: int = stream.seek(0, os.SEEK_END)
        if self.size <= DIGEST or not self._digest_fits():
            raise CheckpointError(
                "it is damaged, cut short, or no checkpoint of fn.save: it does not end with the SHA-256 of all "
                "bytes before; np.load reads other npz and npy files"
            )
        stream.seek(0)
        start = stream.read(len(Member(MANIFEST, 0, 0).header()))
        with nothing_foreign():
            crc, size = struct.unpack_from("<LL", start, 14)
            self.manifest: bytes = stream.read(min(size, self.size))
            if start != Member(MANIFEST, size, 0, crc).header() or zlib.crc32(self.manifest) != crc:
                raise CheckpointError(
                    "it is no checkpoint that was saved by funcnet: it does not begin with a manifest"
                )

    def _digest_fits(self) -> bool:
        """Whether the file ends with the digest of all bytes before."""
        found = hashlib.sha256()
        self.stream.seek(0)
        for start in range(0, self.size - DIGEST, CHUNK):
            found.update(self.stream.read(min(CHUNK, self.size - DIGEST - start)))
        return self.stream.read(DIGEST) == found.hexdigest().encode("ascii")

    def arrays(self, specs: Mapping[str, Spec], wanted: Iterable[str]) -> dict[str, Stored]:
        """The wanted ones of the arrays that the file has to hold. All are checked."""
        chosen = set(wanted)
        with nothing_foreign():
            sizes = {MANIFEST: len(self.manifest), **{f"{name}.npy": spec.size for name, spec in specs.items()}}
            members = _members(sizes)
            if _behind(members[-1]) + len(_end(members)) + DIGEST != self.size:
                raise CheckpointError("it has another size than its manifest implies")
            found: dict[str, Stored] = {}
            checked = [members[0]._replace(crc=zlib.crc32(self.manifest))]
            for member, (name, spec) in zip(members[1:], specs.items(), strict=True):
                array, crc = self._array(member, spec)
                checked.append(member._replace(crc=crc))
                if name in chosen:
                    found[name] = array
            if self.stream.read() != _end(checked) + self._digest():
                raise CheckpointError("the directory at its end is not the one that its members imply")
        return found

    def _digest(self) -> bytes:
        """The last bytes."""
        self.stream.seek(-DIGEST, os.SEEK_END)
        return self.stream.read()

    def _array(self, member: Member, spec: Spec) -> tuple[Stored, int]:
        """(array, CRC) of a member, whose bytes are those that the writer gives it."""
        self.stream.seek(member.offset)
        length, header = len(member.header()), spec.header
        start = self.stream.read(length + len(header))
        array: Stored = np.empty(spec.shape, spec.dtype)
        crc = zlib.crc32(header)
        target, at = _bytes(array), 0
        while at < len(target):
            read = self.stream.readinto(target[at : at + CHUNK])
            if not read:
                raise CheckpointError("it became shorter while it was read")
            crc = zlib.crc32(target[at : at + read], crc)
            at += read
        one = cleared(array)
        if start != member._replace(crc=crc).header() + header or (one is not array and _bytes(one) != _bytes(array)):
            raise CheckpointError(f"its member {member.name!r} is not the array that its manifest describes")
        return array, crc


@contextmanager
def nothing_foreign() -> Generator[None]:
    """An error while a file with the right digest is interpreted is the file's fault: `write` has not written it."""
    try:
        yield
    except CheckpointError:
        raise
    except FOREIGN as error:
        raise CheckpointError(f"it is no checkpoint that was saved by funcnet: {error}") from None
