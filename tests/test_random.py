"""Keys: the same names always give the same numbers, other names give independent ones."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet import random
from funcnet.errors import KeyTypeError, OptionError

SEEDS = st.integers(min_value=0)
NAMES = st.one_of(st.integers(), st.text())
ROOT = Path(__file__).parents[1]


def word(key: random.Key) -> int:
    """A key as one int of 128 bits."""
    return int(key[0]) << 64 | int(key[1])


# These numbers are part of the interface: a saved experiment must draw the same weights again.
GOLDEN = [
    (random.key(0), 0xDB2CD7E7B0F478BEABF4641A2C71BA49),
    (random.key(1), 0x672D8EE56D6791FF8AE19CA14EB1072C),
    (random.key(2**64), 0x78082392E45B7FC284D994E6D5FA9C8D),
    (random.key(10**40), 0x559E1DAD5B8446AD80B7444924F23E95),
    (random.fold_in(random.key(0), 0), 0xA49EB488094CAA363B5DF8361D1508DF),
    (random.fold_in(random.key(0), 1), 0x5C6CB5D95DA1A0B1662F2CACDB8DD96B),
    (random.fold_in(random.key(0), -1), 0x7F994C3EA0EB7165E0B382437AF732D8),
    (random.fold_in(random.key(0), 2**64), 0xBDD879621BB5EC20779BFCCB6694094B),
    (random.fold_in(random.key(0), "1"), 0x52A87D4A2364214BF3867AEFC1CF7925),
    (random.fold_in(random.key(0), ""), 0xA997FEC85338FC4656F204995459042A),
    (random.fold_in(random.key(0), "head"), 0x825644D7F75AF2F2F7A0D97045830C00),
    (random.fold_in(random.fold_in(random.key(7), "a"), 3), 0x622B0636B9A41F0C80B5E993AC6D1D6F),
    (random.split(random.key(0))[0], 0xAFDB116A6B5355A9A0184B4CF004B948),
    (random.split(random.key(0))[1], 0xE73578A4DA4613CC65DE20BA9AFACF26),
]


@pytest.mark.parametrize(("key", "golden"), GOLDEN)
def test_keys_never_change(key: random.Key, golden: int) -> None:
    assert word(key) == golden


@pytest.mark.parametrize("hash_seed", ["0", "1", "12345"])
def test_keys_do_not_depend_on_the_process(hash_seed: str) -> None:
    code = "from funcnet.random import *; print(fold_in(fold_in(key(3), 'a'), -7).tolist())"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert out.stdout.decode().strip() == str(random.fold_in(random.fold_in(random.key(3), "a"), -7).tolist())


@given(SEEDS, NAMES)
def test_a_key_is_two_read_only_words(seed: int, name: int | str) -> None:
    key = random.key(seed)
    for k in (key, random.fold_in(key, name), *random.split(key, 3)):
        random.check_key(k)
        assert not k.flags.writeable


@given(SEEDS, NAMES)
def test_keys_are_pure(seed: int, name: int | str) -> None:
    key = random.key(seed)
    before = word(key)
    np.random.seed(seed % 2**32)
    assert word(random.fold_in(key, name)) == word(random.fold_in(random.key(seed), name))
    assert random.split(key, 5).tolist() == random.split(random.key(seed), 5).tolist()
    assert word(key) == before


@given(SEEDS, NAMES, NAMES)
def test_other_names_give_other_children(seed: int, a: int | str, b: int | str) -> None:
    key = random.key(seed)
    assert (word(random.fold_in(key, a)) == word(random.fold_in(key, b))) == (type(a) is type(b) and a == b)


EDGES = [0, 1, -1, 255, 256, -128, 2**31, -(2**31), 2**32 - 1, 2**32, 2**63, 2**64, -(2**64), 2**96, 10**40]
TEXTS = [
    "",
    "0",
    "1",
    "-1",
    "\0",
    "\0\0",
    "a",
    "a\0",
    "a\0\0\0",
    "\0a",
    "\x01",
    "\x01\0",
    "aaaa",
    "é",
    "e\u0301",
    "\ud800",
]


def test_names_at_the_edges_are_all_different() -> None:
    key = random.key(0)
    names: list[int | str] = [*EDGES, *TEXTS]
    words = {word(random.fold_in(key, name)) for name in names}
    words |= {word(k) for k in (key, *random.split(key, 5))}
    assert len(words) == len(names) + 6


def test_ten_thousand_children_are_all_different() -> None:
    key = random.key(1)
    assert len({word(random.fold_in(key, i)) for i in range(10_000)}) == 10_000
    assert len({word(k) for k in random.split(key, 10_000)}) == 10_000


def test_half_the_bits_flip_from_one_child_to_the_next() -> None:
    key, n = random.key(2), 2_000
    words = [word(random.fold_in(key, i)) for i in range(n + 1)]
    flips = sum((a ^ b).bit_count() for a, b in zip(words, words[1:], strict=False)) / n
    assert abs(flips - 64) < 4 * np.sqrt(128 / 4 / n)  # binomial: 128 bits of probability 1/2


@pytest.mark.parametrize("seed", range(3))
def test_children_parents_and_rows_draw_independently(seed: int) -> None:
    key, n = random.key(seed), 20_000
    keys = [key, *(random.fold_in(key, i) for i in (0, 1, "0", -1)), *random.split(key, 3)]
    draws = [random.generator(k).standard_normal(n) for k in keys]
    correlations = np.abs(np.asarray(np.corrcoef(draws)) - np.eye(len(keys)))
    assert correlations.max() < 4.5 / np.sqrt(n)  # 84 pairs in all: P(any beyond 4.5 sigma) = 6e-4


def test_numpy_integers_name_the_same_keys() -> None:
    five: Any = np.int16(5)
    assert word(random.key(five)) == word(random.key(5))
    assert word(random.fold_in(random.key(0), -five)) == word(random.fold_in(random.key(0), -5))


def test_split_of_fewer_is_a_prefix() -> None:
    key = random.key(0)
    assert random.split(key).tolist() == random.split(key, 7)[:2].tolist()
    assert random.split(key, 0).shape == (0, 2)


def test_generators_of_a_key_draw_the_same() -> None:
    a, b = (random.generator(random.key(4)) for _ in range(2))
    assert a.random(5).tolist() == b.random(5).tolist()
    assert isinstance(a.bit_generator, np.random.Philox)


def test_a_pickled_key_is_the_same_key() -> None:
    key = pickle.loads(pickle.dumps(random.key(9)))
    assert word(random.fold_in(key, "a")) == word(random.fold_in(random.key(9), "a"))


def test_the_layout_of_a_key_does_not_matter() -> None:
    key = random.key(9)
    strided = np.stack([key, key], axis=1)[:, 0]
    assert word(random.fold_in(strided, 1)) == word(random.fold_in(key, 1))


@pytest.mark.parametrize(
    ("mistaken", "remedy"),
    [
        (0, r"fn\.key\(0\)"),
        (42, r"the int 42\. Make a key of this seed with fn\.key\(42\)"),
        (-1, r"fn\.key\(0\)"),
        (None, r"got None .*fn\.key\(0\)"),
        (True, r"got True \(bool\).*fn\.key\(0\)"),
        ("a", r"got 'a' \(str\).*fn\.key\(0\)"),
        ([1, 2], r"got \[1, 2\] \(list\).*fn\.key\(0\)"),
        (np.zeros(2), r"an array of float64 with shape \(2,\)\. Make one with fn\.key\(0\)"),
        (np.zeros(3, np.uint64), r"an array of uint64 with shape \(3,\)\. Make one with fn\.key\(0\)"),
        (random.split(random.key(0), 3), r"shape \(3, 2\)\. Take one of its rows, for example keys\[0\]"),
    ],
)
def test_what_is_no_key_is_refused_with_the_remedy(mistaken: Any, remedy: str) -> None:
    fold: Callable[[Any], object] = partial(random.fold_in, data=0)
    uses: list[Callable[[Any], object]] = [random.check_key, random.generator, random.split, fold]
    for use in uses:
        with pytest.raises(KeyTypeError, match=remedy):
            use(mistaken)


@pytest.mark.parametrize("seed", [True, np.True_, 1.0, "1", None, np.ones(2)])
def test_a_seed_is_an_int(seed: Any) -> None:
    with pytest.raises(KeyTypeError, match="seed must be an int; got"):
        random.key(seed)


@pytest.mark.parametrize("name", [True, 1.0, None, b"a", (1, 2)])
def test_a_name_is_an_int_or_a_str(name: Any) -> None:
    with pytest.raises(KeyTypeError, match="data must be an int or a str; got"):
        random.fold_in(random.key(0), name)


def test_negative_counts_and_seeds_are_refused() -> None:
    with pytest.raises(OptionError, match=r"seed must be at least 0; got -1\."):
        random.key(-1)
    with pytest.raises(OptionError, match=r"n must be at least 0; got -2\."):
        random.split(random.key(0), -2)
