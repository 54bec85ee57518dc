"""The mutation test itself, and a fixed part of its mutants: `python -m tests.mutation` runs them all."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests import mutation
from tests.mutation import Verdict, calls, is_rule, kernels, problems
from tests.support.equivalent import EQUIVALENT, REASONS
from tests.support.mutants import mutants, mutated
from tests.support.watching import Seen, watched

KERNEL = """
import numpy as np
def _f(x: Array) -> Result:
    y = np.tanh(x)
    return y, lambda g: g - g * (y * y)
"""


@pytest.mark.slow
def test_a_fixed_part_of_the_mutants_is_killed() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.mutation", "--fast"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 unexplained" in done.stdout


def test_a_module_that_is_not_there_is_refused() -> None:
    command = [sys.executable, "-m", "tests.mutation", "layers.elementwise"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no module with kernels is called layers.elementwise: there are activations, attention, " in done.stderr


def test_a_kernel_is_changed_in_one_place_at_a_time() -> None:
    found = {f"{m.kind}: {ast.unparse(mutated(KERNEL, m).body[1]).splitlines()[-1].strip()}" for m in mutants(KERNEL)}
    assert {
        "sign: return (y, lambda g: g + g * (y * y))",
        "dropped branch: return (y, lambda g: g)",
        "factor: return (y, lambda g: g - g)",
        "upcast: return (y, lambda g: _upcast_(g - g * (y * y)))",
        "in place: return (y, lambda g: _written_(np.subtract, g, g * (y * y)))",
        "wrong residual: return (y, lambda g: g - g * (x * y))",
    } <= found
    original = ast.unparse(ast.parse(KERNEL))
    assert not any(ast.unparse(mutated(KERNEL, m)).startswith(original) for m in mutants(KERNEL))


def test_a_call_of_unpacked_arguments_stays_a_call() -> None:
    source = "def f(shapes):\n    return np.broadcast_shapes(*shapes)\n"
    for mutant in mutants(source):
        compile(mutated(source, mutant), "mutant", "exec")
    assert not mutants(source)


WATCHED = """
def called(n, x):
    return [n + 1, x * 2]
def not_called(x):
    return x / 2
class Rule:
    def holds(self, n):
        "A docstring."
        return n - 1 > 0
"""


def test_a_watched_module_tells_what_was_called_and_which_operations_saw_arrays() -> None:
    seen, space = Seen(), dict[str, Any]()
    space["_seen_"] = seen
    exec(compile(watched(WATCHED, "m"), "m", "exec"), space)  # noqa: S102
    assert not seen.take()
    n, x = space["called"](1, np.ones(2))
    assert (n, *x) == (2, 2.0, 2.0)
    assert seen.take() == {("m", 2)}
    assert space["Rule"]().holds(2)
    assert seen.take() == {("m", 7)}
    assert not seen.take()
    nodes = {ast.unparse(node): ("m", i) for i, node in enumerate(ast.walk(ast.parse(WATCHED)))}
    assert seen.numbers() == {nodes["n + 1"], nodes["n - 1"]}
    assert seen.of_arrays == {nodes["x * 2"]}
    space["called"](np.ones(2), np.ones(2))
    assert seen.numbers() == {nodes["n - 1"]}


def test_a_mutant_is_put_to_what_calls_it() -> None:
    in_called, *_ = (m for m in mutants(WATCHED, rules=True) if m.function == "called")
    assert calls(in_called, "m", frozenset({("m", 2), ("m", 7)}))
    assert not calls(in_called, "m", frozenset({("m", 7), ("other", 2)}))
    (constant, *_) = mutants("LIMIT = 3\n")
    assert calls(constant, "m", frozenset({("m", 7)}))


def test_every_mutant_of_the_kernels_has_a_name_of_its_own() -> None:
    names = [
        f"{name.removeprefix('funcnet.')}.{m}"
        for name, file in kernels().items()
        for m in mutants(file.read_text(encoding="utf-8"), is_rule(name))
    ]
    assert len(names) == len(set(names)) > 1000
    assert EQUIVALENT.keys() <= set(names)
    assert len(EQUIVALENT) == sum(map(len, REASONS.values()))


@pytest.mark.parametrize(
    ("by", "name", "words"),
    [
        ("", "a new one", "survived: a new one"),
        ("laws", next(iter(EQUIVALENT)), "explained, but killed"),
        ("laws", "a new one", None),
        ("", next(iter(EQUIVALENT)), None),
    ],
)
def test_survivors_are_explained_and_only_they(by: str, name: str, words: str | None) -> None:
    found = problems([Verdict(name, "sign", by)], all_of_them=False)
    assert [words in text for text in found] == ([True] if words else [])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a new one", "score: 1 of 2 killed, 0 equivalent for a reason, 1 unexplained"),
        (next(iter(EQUIVALENT)), "score: 1 of 2 killed, 1 equivalent for a reason, 0 unexplained"),
    ],
)
def test_a_survivor_without_a_reason_makes_the_command_fail(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = [Verdict(name, "sign", ""), Verdict("another", "sign", "laws")]
    monkeypatch.setattr(mutation, "run", lambda *_: verdicts)
    monkeypatch.setattr(sys, "argv", ["mutation", "special"])
    assert mutation.main() == int("1 unexplained" in words)
    assert capsys.readouterr().out.endswith(f"{words}\n")
