"""The file of a checkpoint: whatever happens to it, it is whole, or it is refused."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.files import archive

PARAMS: dict[Any, Any] = {
    1: fn.Affine(np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)),
    "a": [np.array(2.0), 5],
}
STATE = (fn.key(0), 0.25, None)
NOTES = {"epoch": 3, "note": "text"}
DIGEST = 64


def written(folder: Path) -> bytes:
    """A small checkpoint."""
    fn.save(folder / "small.npz", PARAMS, state=STATE, metadata=NOTES)
    return (folder / "small.npz").read_bytes()


def bits(found: Any) -> list[Any]:
    leaves = [(type(x), np.asarray(x).dtype, np.shape(x), np.asarray(x).tobytes()) for x in tree.leaves(found)]
    return [tree.structure(found), *leaves]


EXPECTED = bits((PARAMS, STATE))


def sealed(body: bytes) -> bytes:
    """The bytes with the digest that belongs to them."""
    return body + hashlib.sha256(body).hexdigest().encode()


def refused(path: Path, data: bytes, words: str) -> None:
    """These bytes are refused, with these words."""
    path.write_bytes(data)
    with pytest.raises(fn.CheckpointError, match=words) as error:
        fn.load(path, PARAMS, state=STATE)
    assert str(error.value).startswith(f"{path}: ")
    assert error.value.__suppress_context__


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.npz"


# What happens to files


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    whole = written(path.parent)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        refused(path, bytes(damaged), "damaged")


def test_every_truncation_is_noticed(path: Path) -> None:
    whole = written(path.parent)
    for size in range(0, len(whole), 3):
        refused(path, whole[:size], "damaged, cut short")
        refused(path, whole + whole[:size] + b"\0", "damaged")


def pickled() -> bytes:
    """An npz whose one array would run code when it is read."""
    stream = io.BytesIO()
    np.savez(stream, evil=np.array([Bomb()], object))
    return stream.getvalue()


class Bomb:
    """Pickled, it ends the process that reads it."""

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        return os._exit, (99,)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"some text\n" * 20, b"PK\x03\x04", b"0" * DIGEST, sealed(b""), pickle.dumps(Bomb()), pickled()],
    ids=["empty", "NUL", "text", "magic", "zeros", "digest of nothing", "pickle", "npz with a pickle"],
)
def test_other_files_are_refused(path: Path, data: bytes) -> None:
    refused(path, data, "no checkpoint")
    refused(path, sealed(data), "no checkpoint")


# What somebody makes by hand, with the digest that belongs to it


def remade(whole: bytes, change: Callable[[str, bytes], Any], **options: Any) -> bytes:
    """The file with other members: `change(name, content)` gives the new content, None to leave it out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w") as new:
        new.comment = bytes(DIGEST)
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(zipfile.ZipInfo(name), content, **options)
    return sealed(stream.getvalue()[:-DIGEST])


def in_manifest(old: bytes, new: bytes) -> Callable[[str, bytes], Any]:
    def change(name: str, content: bytes) -> bytes:
        assert name != "manifest.json" or old in content
        return content.replace(old, new) if name == "manifest.json" else content

    return change


def in_weight(change: Callable[[bytes], Any]) -> Callable[[str, bytes], Any]:
    return lambda name, content: change(content) if name == "params[1].weight.npy" else content


def larger(content: bytes) -> bytes:
    """The header of eight TiB before 24 bytes."""
    small, large = b"(2, 3), }           ", b"(1048576, 2097152), }"
    changed = content.replace(small.ljust(len(large)), large)
    assert changed != content
    return changed


def test_the_forger_forges(path: Path) -> None:
    path.write_bytes(remade(written(path.parent), lambda name, content: content))
    assert bits(fn.load(path, PARAMS, state=STATE)[:2]) == EXPECTED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda name, content: None if name == "manifest.json" else content, "no checkpoint"),
        (lambda name, content: b"" if name == "manifest.json" else content, "no checkpoint"),
        (lambda name, content: b"[1]" if name == "manifest.json" else content, "no checkpoint"),
        (lambda name, content: b"[" * 100_000 if name == "manifest.json" else content, "no checkpoint"),
        (lambda name, content: b"\xff" if name == "manifest.json" else content, "no checkpoint"),
        (in_manifest(b'"funcnet checkpoint"', b"[]"), "no checkpoint"),
        (
            in_manifest(b'"version": 1', b'"version": 2'),
            "format version 2; this funcnet reads 1: load it with the funcnet",
        ),
        (in_manifest(b'"entries"', b'"others"'), "lacks the entries"),
        (in_manifest(b'"metadata"', b'"others"'), "lacks the entries or the metadata"),
        (in_manifest(b'"metadata": {', b'"metadata": 1, "others": {'), "lacks the entries or the metadata"),
        (in_manifest(b'"entries": {', b'"entries": [], "others": {'), "lacks the entries or the metadata"),
        (in_manifest(b'"entries": {', b'"entries": {"a": null, '), "'a', which belongs to no tree"),
        (in_manifest(b'"entries": {', b'"entries": {"a": {"kind": "array"}, '), "'a', which belongs to no tree"),
        (in_manifest(b'"kind": "NamedTuple"', b'"kind": []'), r"'params\[1\]', which belongs to no tree"),
        (in_manifest(b'"name": "Affine"', b'"name": "a b"'), r"'params\[1\]', which belongs to no tree"),
        (in_manifest(b'"shape": [2, 3]', b'"shape": [2, 3.0]'), r"'params\[1\].weight', which belongs to no tree"),
        (in_manifest(b'"shape": [2, 3]', b'"shape": [2, true]'), r"'params\[1\].weight', which belongs to no tree"),
        (in_manifest(b'"shape": [2, 3]', b'"shape": [-2, -3]'), r"'params\[1\].weight', which belongs to no tree"),
        (in_manifest(b"params[1]", b"params[01]"), "no checkpoint that was saved by funcnet"),
        (in_manifest(b"params['a'][1]", b"params['a'][2]"), r"which belongs to no tree"),
        (in_manifest(b"params['a']", b"params['\\\\x61']"), r"which belongs to no tree"),
        (in_manifest(b'"state[2]": {"kind": "None"}', b'"state[2]": {"kind": "set"}'), r"'state\[2\]', which belongs"),
        (in_manifest(b'"state[2]": {"kind": "None"}', b'"state[2]": {"kind": "None", "a": 1}'), r"'state\[2\]', which"),
        (in_manifest(b'"version": 1', b'"version": true'), "format version True; this funcnet reads 1"),
        (in_manifest(b'"version": 1', b'"version": 1.0'), r"format version 1\.0; this funcnet reads 1"),
        (in_manifest(b'"epoch": 3', b'"epoch": NaN'), "no checkpoint that was saved by funcnet"),
        (in_manifest(b'"epoch": 3', b'"epoch": -Infinity'), "no checkpoint that was saved by funcnet"),
        (in_manifest(b'"epoch": 3', b'"epoch": 1e999'), "no checkpoint that was saved by funcnet"),
        (in_manifest(b'"epoch": 3', b'"epoch": ' + b"9" * 5000), "no checkpoint that was saved by funcnet"),
        (in_manifest(b'"epoch": 3', b'"epoch": 4, "epoch": 3'), "a key twice"),
        (in_manifest(b'"version": 1', b'"version": 2, "version": 1'), "a key twice"),
        (in_manifest(b'"epoch": 3', b'"epoch":  3'), "other spacing"),
        (in_manifest(b'"metadata"', b'"more": 1, "metadata"'), "holds more than a checkpoint's"),
        (in_manifest(b'"float32"', b'"float64"'), r"params\[1\].bias: the file has float64 \(3,\), but float32"),
        (in_weight(lambda content: None), "another size"),
        (in_weight(lambda content: content + b"\0"), "another size"),
        (in_weight(lambda content: b""), "another size"),
        (in_weight(lambda content: content.replace(b"<f4", b"|O4")), "is not the array"),
        (in_weight(lambda content: content.replace(b"(2, 3)", b"(3, 2)")), "is not the array"),
        (in_weight(lambda content: content.replace(b"False", b" True")), "is not the array"),
        (in_weight(lambda content: content.replace(b"NUMPY\x01", b"NUMPY\x02")), "is not the array"),
        (in_weight(larger), "is not the array"),
    ],
)
def test_what_does_not_belong_is_refused(path: Path, change: Callable[[str, bytes], Any], words: str) -> None:
    refused(path, remade(written(path.parent), change), words)


def test_a_compressed_member_is_not_read(path: Path) -> None:
    def bomb(content: bytes) -> bytes:
        return content + bytes(50_000_000)

    data = remade(written(path.parent), in_weight(bomb), compress_type=zipfile.ZIP_DEFLATED)
    assert len(data) < 100_000
    assert peak(lambda: refused(path, data, "no checkpoint that was saved by funcnet")) < 2_000_000


def test_a_member_claims_to_be_larger_than_the_file(path: Path) -> None:
    whole = written(path.parent)
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        size = file.getinfo("params[1].weight.npy").file_size.to_bytes(4, "little")
    assert whole.count(size * 2) >= 2
    data = sealed(whole[:-DIGEST].replace(size * 2, b"\xff\xff\xff\x7f" * 2))
    assert peak(lambda: refused(path, data, "is not the array")) < 1_000_000


def test_eight_tib_are_not_asked_for(path: Path) -> None:
    """Neither where the file alone wants them, nor where whoever loads it would take them."""
    shape = (1 << 20, 1 << 21)
    manifest = in_manifest(b"[2, 3]", b"[%d, %d]" % shape)

    def change(name: str, content: bytes) -> Any:
        return manifest(name, in_weight(larger)(name, content))

    data = remade(written(path.parent), change)
    assert peak(lambda: refused(path, data, r"weight: the file has float32 \(1048576, 2097152\), but")) < 1_000_000
    wide = np.broadcast_to(np.float32(0), shape)

    def load() -> None:
        with pytest.raises(fn.CheckpointError, match="another size"):
            fn.load(path, {**PARAMS, 1: fn.Affine(wide, PARAMS[1][1])}, state=STATE)

    assert peak(load) < 1_000_000


def peak(run: Callable[[], Any]) -> int:
    """The most memory taken meanwhile, in bytes."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Whatever else


def mutations(whole: bytes, count: int) -> Iterator[bytes]:
    """The file, changed at random; every other time with the digest that belongs to what it has become."""
    chance = random.Random(0)
    for i in range(count):
        body = bytearray(whole[:-DIGEST])
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            chance.choice(CHANGES)(body, chance)
        yield sealed(bytes(body)) if i % 2 else bytes(body) + whole[-DIGEST:]


def flip(body: bytearray, chance: random.Random) -> None:
    if body:
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)


def write(body: bytearray, chance: random.Random) -> None:
    at, size = chance.randrange(len(body) + 1), chance.choice([1, 2, 4, 8, 50])
    body[at : at + size] = chance.choice([bytes(size), b"\xff" * size, chance.randbytes(size)])


def cut(body: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(body) + 1)
    del body[at : at + chance.choice([1, 4, 100, len(body)])]


def insert(body: bytearray, chance: random.Random) -> None:
    start, at = chance.randrange(len(body) + 1), chance.randrange(len(body) + 1)
    body[at:at] = body[start : start + chance.choice([1, 4, 100])]


def in_text(body: bytearray, chance: random.Random) -> None:
    """Change the manifest and its check sum, so that it is read."""
    try:
        with zipfile.ZipFile(io.BytesIO(bytes(body) + bytes(DIGEST))) as file:
            info = file.getinfo("manifest.json")
            text = file.read(info)
    except Exception:  # it is beyond reading already
        return
    at = body.find(text)
    new = bytearray(text)
    new[chance.randrange(len(new))] = chance.choice(b'0123456789"[]{},:- aeN')
    body[at : at + len(text)] = new
    old_sum, new_sum = (zipfile.crc32(t).to_bytes(4, "little") for t in (text, bytes(new)))  # type: ignore[attr-defined]
    body[:] = body.replace(old_sum, new_sum)


CHANGES = [flip, flip, write, cut, insert, in_text]


@pytest.mark.slow
def test_ten_thousand_changed_files_are_equal_or_refused(path: Path) -> None:
    whole = written(path.parent)
    outcomes = {"equal": 0, "refused": 0, "read": 0}
    for data in mutations(whole, 10_000):
        path.write_bytes(data)
        try:
            found = fn.load(path, PARAMS, state=STATE)
        except fn.CheckpointError as error:
            outcomes["refused"] += 1
            outcomes["read"] += "does not end with the SHA-256" not in str(error)
        else:
            assert bits(found[:2]) == EXPECTED
            outcomes["equal"] += 1
    assert outcomes["equal"] + outcomes["refused"] == 10_000
    assert outcomes["equal"] > 20  # metadata, and changes that change nothing
    assert outcomes["read"] > 3_000


# A process that dies

SAVER = """
import sys
import numpy as np
import funcnet as fn

for i in range(int(sys.argv[2]), 1_000_000):
    fn.save(sys.argv[1], {1: np.full(200_000, i, np.float64), 2: i}, metadata={"i": i})
    print(i, flush=True)
"""


def test_a_killed_process_leaves_a_whole_file(path: Path) -> None:
    chance = random.Random(0)
    like: dict[int, Any] = {1: np.zeros(200_000), 2: 0}
    last = unfinished = 0
    for _ in range(12):
        command = [sys.executable, "-c", SAVER, str(path), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert int(process.stdout.readline()) == last
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            told = [last, *map(int, process.stdout.read().split())][-1]
        assert process.returncode == -signal.SIGKILL
        params, _, metadata = fn.load(path, like)
        assert told <= params[2] <= told + 1  # what it said was saved is saved
        assert metadata == {"i": params[2]}
        np.testing.assert_array_equal(params[1], params[2])
        parts = [name for name in os.listdir(path.parent) if name != path.name]
        assert all(name.startswith(".file.npz.") and name.endswith(".part") for name in parts)
        unfinished += len(parts)
        for name in parts:
            (path.parent / name).unlink()
        last = params[2]
    assert unfinished  # some were killed half-way


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(path.parent)
    path.write_bytes(whole)
    for function in ("fsync", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(os, function, full)
            with pytest.raises(OSError, match="no space"):
                fn.save(path, {1: np.zeros(3)})
        assert path.read_bytes() == whole
        assert sorted(os.listdir(path.parent)) == ["file.npz", "small.npz"]


def full(*_: Any) -> None:
    raise OSError("no space left")


def test_file_and_folder_are_on_the_disk_before_and_after_the_renaming(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, move = os.fsync, os.replace

    def tell_sync(descriptor: int) -> None:
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        sync(descriptor)

    def tell_move(old: str, new: str) -> None:
        events.append("rename")
        assert os.path.dirname(old) == os.path.dirname(new)
        move(old, new)

    monkeypatch.setattr(os, "fsync", tell_sync)
    monkeypatch.setattr(os, "replace", tell_move)
    fn.save(path, PARAMS)
    assert events == ["file", "rename", "folder"]


def test_a_link_still_leads_to_the_file(path: Path) -> None:
    link = path.parent / "latest"
    link.symlink_to(path.name)
    fn.save(link, PARAMS)
    assert link.is_symlink()
    assert bits(fn.load(path, PARAMS).params) == bits(PARAMS)


def test_the_file_has_the_rights_that_any_new_file_has(path: Path) -> None:
    fn.save(path, PARAMS)
    other = path.parent / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


# What a zip may hold and no checkpoint does


def resealed(whole: bytes, old: bytes, new: bytes) -> bytes:
    """The file with other bytes, each time they occur, and the digest that belongs to it."""
    assert old in whole[:-DIGEST]
    return sealed(whole[:-DIGEST].replace(old, new))


def test_garbage_before_or_between_or_behind_is_refused(path: Path) -> None:
    whole = written(path.parent)
    body, end = whole[:-DIGEST], whole.index(b"PK\1\2")
    for at in (0, end, len(body), whole.index(b"PK\3\4", 1)):
        for garbage in (b"\0", b"garbage", b"PK\3\4", body):
            refused(path, sealed(body[:at] + garbage + body[at:]), "no checkpoint|another size")


def test_every_resealed_change_of_one_byte_is_refused_or_is_another_checkpoint(path: Path) -> None:
    """The members' contents may change together with their CRC; not a field of the zip, and no CRC alone."""
    whole = written(path.parent)
    for at in range(len(whole) - DIGEST):
        for change in (1, 128):
            body = bytearray(whole[:-DIGEST])
            body[at] ^= change
            refused(path, sealed(bytes(body)), "no checkpoint|another size|is not the array|the directory")


@pytest.mark.parametrize(
    "attributes",
    [
        {"date_time": (2020, 1, 1, 0, 0, 0)},
        {"comment": b"x"},
        {"extra": b"\x99\x99\x00\x00"},
        {"external_attr": 0o644 << 16},
        {"create_system": 0},
        {"create_version": 30},
        {"internal_attr": 1},
    ],
    ids=str,
)
def test_other_fields_of_the_zip_are_refused(path: Path, attributes: dict[str, Any]) -> None:
    stream, whole = io.BytesIO(), written(path.parent)
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w") as new:
        new.comment = bytes(DIGEST)
        for name in old.namelist():
            info = zipfile.ZipInfo(name)
            for attribute, value in attributes.items() if name == "state[0].npy" else ():
                setattr(info, attribute, value)
            new.writestr(info, old.read(name))
    refused(path, sealed(stream.getvalue()[:-DIGEST]), "another size|is not the array|the directory")


def test_a_member_twice_is_refused(path: Path) -> None:
    stream, whole = io.BytesIO(), written(path.parent)
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w") as new:
        new.comment = bytes(DIGEST)
        for name in [*old.namelist(), "state[0].npy"]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                new.writestr(zipfile.ZipInfo(name), old.read(name))
    refused(path, sealed(stream.getvalue()[:-DIGEST]), "another size")


@pytest.mark.parametrize(
    ("old", "new"), [(b"'fortran_order'", b'"fortran_order"'), (b"(2, 3), }  ", b"(2,3),  }  "), (b"  \n", b"\t \n")]
)
def test_other_texts_of_a_header_are_refused(path: Path, old: bytes, new: bytes) -> None:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    refused(path, remade(written(path.parent), in_weight(change)), "is not the array")


def test_what_a_bool_or_a_long_double_does_not_hold_is_cleared_when_saved_and_refused_when_loaded(path: Path) -> None:
    flags = np.array([0, 1, 1], np.uint8)
    fn.save(path, [flags.view(np.bool_)])
    whole = path.read_bytes()
    fn.save(path, [np.array([0, 2, 255], np.uint8).view(np.bool_)])
    assert path.read_bytes() == whole

    def change(name: str, content: bytes) -> Any:
        return content[:-1] + b"\2" if "params" in name else content

    path.write_bytes(remade(whole, change))
    with pytest.raises(fn.CheckpointError, match="is not the array"):
        fn.load(path, [flags.view(np.bool_)])


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="a long double without padding")
@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble])
def test_equal_long_doubles_give_equal_files(path: Path, dtype: type) -> None:
    files = set[bytes]()
    for old in range(1, 5):
        a: Any = np.full(8 * np.dtype(dtype).itemsize, old, np.uint8).view(dtype)
        a[...] = np.arange(8)
        for x in (a, a.astype(a.dtype.newbyteorder(">")), np.stack([a, a])[:, ::-1][0, ::-1]):
            fn.save(path, {1: x, 2: x[3]})
            files.add(path.read_bytes())
    assert len(files) == 1
    found = fn.load(path, {1: np.empty(8, dtype), 2: dtype(0)}).params
    np.testing.assert_array_equal(found[1], np.arange(8))
    path.write_bytes(
        remade(files.pop(), lambda name, content: content[:-1] + b"\1" if name == "params[2].npy" else content)
    )
    with pytest.raises(fn.CheckpointError, match=r"params\[2\].npy' is not the array"):
        fn.load(path, {1: np.empty(8, dtype), 2: dtype(0)})


@pytest.mark.parametrize("count", [0, 1, pytest.param(66_000, marks=pytest.mark.slow)])
def test_the_bytes_are_those_of_a_zip(path: Path, count: int) -> None:
    """Python's zipfile reads any number of members, with names in any script, and writes the same bytes."""
    params: dict[Any, Any] = {1: dict.fromkeys(range(count), np.int8(1)), "é": np.zeros(2)}
    fn.save(path, params)
    with zipfile.ZipFile(path) as file:
        assert len(file.namelist()) == count + 2
        assert file.testzip() is None
    assert remade(path.read_bytes(), lambda name, content: content) == path.read_bytes()
    assert len(fn.load(path, params).params[1]) == count


def test_sizes_beyond_four_gib_have_their_zip64_fields() -> None:
    size, offset = 5 << 30, 6 << 30
    member = archive.Member("a.npy", size, offset, 7)
    assert member.header()[-20:] == struct.pack("<HHQQ", 1, 16, size, size)
    end = archive._end([member])
    fields = struct.unpack_from("<QHHLLQQQQ", end, end.index(b"PK\6\6") + 4)
    assert fields == (44, 45, 45, 0, 0, 1, 1, len(member.listed()), offset + len(member.header()) + size)
    info = member.listed()
    assert struct.unpack_from("<HHQQQ", info, len(info) - 28) == (1, 24, size, size, offset)
