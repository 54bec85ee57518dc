"""Random keys: randomness as a value, with no state anywhere.

    k = key(seed)        k' = fold_in(k, data)        k_1, ..., k_n = split(k, n)        generator(k) draws

A key is a read-only uint64 array of shape (2,): the 128-bit key of the counter-based generator Philox 4x64. The same
key always gives the same bits, on every platform; new numbers need a new key. Keys are mixed by SeedSequence.

Sources: J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011 (Philox);
NumPy, numpy.random.SeedSequence, after M. E. O'Neill, Developing a seed_seq alternative, 2015.
"""

from __future__ import annotations

from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from funcnet.arrays import is_array
from funcnet.calling import checks_call
from funcnet.errors import KeyTypeError, OptionError
from funcnet.options import as_int

# numpy.random is reached through `np`, which loads it on first use: a tenth of the time that importing NumPy takes.

Key: TypeAlias = npt.NDArray[np.uint64]
"""A random key: a uint64 array of shape (2,), as `key`, `fold_in` and `split` give it."""


@checks_call
def key(seed: int) -> Key:
    """The key of a seed: the first 128 bits of SeedSequence(seed).

    seed: an int of any size, at least 0. Raises KeyTypeError for a bool, a float or None, OptionError below 0.

    Example: `params, shape = net.init(fn.key(0), (2,))`.
    """
    return _words(np.random.SeedSequence(_natural("seed", seed)), 2)


@checks_call
def fold_in(key: Key, data: int | str) -> Key:
    """The child of a key that `data` names: SeedSequence(key, kind of data, data).

    Every int (negative and large ones too) and every string names another child; 1 and "1" are different names.
    Children are independent of one another, of their parent's draws and of `split(key)`.
    Raises KeyTypeError for anything but a key, and for data that is neither int nor str.

    Example: `fn.fold_in(key, step)` gives each training step its own key.
    """
    return _words(_sequence(key, _name(data)), 2)


@checks_call
def split(key: Key, n: int = 2) -> Key:
    """`n` independent keys, the rows of a uint64 array of shape (n, 2): SeedSequence(key, split).

    The first rows are the same for every n: split(key, 2) equals split(key, 3)[:2].
    Raises KeyTypeError for anything but a key and an int, OptionError for a negative n.

    Example: `a, b = fn.split(key)`.
    """
    return _words(_sequence(key, b"row:"), 2 * _natural("n", n)).reshape(-1, 2)


def generator(key: Key) -> np.random.Generator:
    """A fresh NumPy Generator over Philox with this key, its counter at 0: two of them draw the same numbers.

    Keys never change between versions of NumPy; the methods of Generator may, rarely (NumPy's NEP 19).
    """
    check_key(key)
    return np.random.Generator(np.random.Philox(key=key))


def check_key(key: object) -> None:
    """Raise KeyTypeError, with the remedy, unless `key` is one key: uint64, shape (2,)."""
    if not _is_key(key):
        raise KeyTypeError(f"a key is a uint64 array of shape (2,); got {_remedy(key)}")


def _is_key(key: object) -> bool:
    """Whether it has the type, dtype and shape of a key."""
    return is_array(key) and key.dtype == np.uint64 and key.shape == (2,)


def _remedy(mistaken: object) -> str:
    """What was given in place of a key, and what to write instead."""
    if is_array(mistaken):
        row = mistaken.dtype == np.uint64 and mistaken.ndim == 2 and mistaken.shape[1] == 2
        fix = "Take one of its rows, for example keys[0]" if row else "Make one with fn.key(0)"
        return f"an array of {mistaken.dtype} with shape {mistaken.shape}. {fix}."
    seed = as_int(mistaken)
    if seed is not None and seed >= 0:
        return f"the int {seed}. Make a key of this seed with fn.key({seed})."
    return f"{mistaken!r} ({type(mistaken).__name__}). Make a key with fn.key(0)."


def _sequence(key: Key, name: bytes) -> np.random.SeedSequence:
    """The SeedSequence of a key and a name of whole 32-bit words."""
    check_key(key)
    # Little-endian words on every machine, or keys would depend on the platform.
    words = np.frombuffer(key.astype("<u8", copy=False).tobytes() + name, "<u4")
    return np.random.SeedSequence(words)


def _name(data: int | str) -> bytes:
    """`data` as whole 32-bit words, one-to-one: a kind, then two's complement or UTF-8."""
    if isinstance(data, str):
        text = data.encode("utf-8", "surrogatepass") + b"\x01"  # marks the end: NULs of the text differ from padding
        return b"str:" + text + bytes(-len(text) % 4)
    n = _integer("data", data)
    return b"int:" + n.to_bytes(4 * (n.bit_length() // 32 + 1), "little", signed=True)


def _words(sequence: np.random.SeedSequence, n: int) -> npt.NDArray[np.uint64]:
    """The first n words of a SeedSequence, read-only."""
    words = cast("npt.NDArray[np.uint64]", sequence.generate_state(n, np.uint64))
    words.setflags(write=False)
    return words


def _natural(name: str, value: int) -> int:
    """`value` as an int of at least 0."""
    n = _integer(name, value)
    if n < 0:
        raise OptionError(f"{name} must be at least 0; got {n}.")
    return n


def _integer(name: str, value: int) -> int:
    """`value`, a Python or NumPy integer, as an int. A bool is none: True would name the same key as 1."""
    number = as_int(value)
    if number is not None:
        return number
    kinds = "an int or a str" if name == "data" else "an int"
    order = "; the key comes first, fold_in(key, data)" if name == "data" and _is_key(value) else ""
    raise KeyTypeError(f"{name} must be {kinds}; got {value!r} ({type(value).__name__}){order}.")
