"""Diagrams: a box an operator, an arrow a value, in text that Mermaid and Graphviz take."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

import funcnet as fn
from funcnet.display import key_name
from tests.inspection.test_summary import NET, nested
from tests.support.cases import CASES, Case

MERMAID = """\
flowchart TD
  x0(["x"])
  n1["1: linear"]
  n2["2: tanh"]
  n3["3: linear"]
  n4["4: sigmoid"]
  n5["5: add"]
  n6["6: linear"]
  y0(["y"])
  x0 -->|"(2,)"| n1
  n1 -->|"(25,)"| n2
  n2 -->|"(25,)"| n3
  n3 -->|"(25,)"| n4
  n2 -->|"(25,)"| n5
  n4 -->|"(25,)"| n5
  n5 -->|"(25,)"| n6
  n6 -->|"(2,)"| y0"""

BOX = {"mermaid": r'^ *(\w+)(?:\["|\(\[")(.*?)(?:"\]|"\]\))$', "dot": r'^ *(\w+) \[label="(.*?)"(?:, shape=oval)?\]$'}
ARROW = {"mermaid": r'^  (\w+) -->\|"(.*?)"\| (\w+)$', "dot": r'^  (\w+) -> (\w+) \[label="(.*?)"\]$'}
GROUP = {"mermaid": r'subgraph \w+\["(.*?)"\]$', "dot": r'subgraph cluster_\w+ { label="(.*?)"; '}
DRAW: dict[str, Callable[..., str]] = {"mermaid": fn.to_mermaid, "dot": fn.to_dot}

each_language = pytest.mark.parametrize("language", DRAW)


def boxes(language: str, text: str) -> dict[str, str]:
    return dict(re.findall(BOX[language], text, re.MULTILINE))


def arrows(language: str, text: str) -> set[tuple[str, str, str]]:
    """(from, to, shape), told by the texts of the boxes."""
    named = boxes(language, text)
    found = re.findall(ARROW[language], text, re.MULTILINE)
    ordered = [(a, c, b) if language == "mermaid" else (a, b, c) for a, b, c in found]
    assert len(set(ordered)) == len(ordered)
    return {(named[start], named[stop], shape) for start, stop, shape in ordered}


def test_the_designs_network_in_mermaid() -> None:
    assert fn.to_mermaid(NET, (2,)) == MERMAID


@each_language
def test_every_value_is_an_arrow_with_its_shape(language: str) -> None:
    text = DRAW[language](NET, (2,))
    assert list(boxes(language, text).values()) == [
        *("x", "1: linear", "2: tanh", "3: linear", "4: sigmoid", "5: add", "6: linear", "y"),
    ]
    assert arrows(language, text) == {
        ("x", "1: linear", "(2,)"),
        ("1: linear", "2: tanh", "(25,)"),
        ("2: tanh", "3: linear", "(25,)"),
        ("2: tanh", "5: add", "(25,)"),
        ("3: linear", "4: sigmoid", "(25,)"),
        ("4: sigmoid", "5: add", "(25,)"),
        ("5: add", "6: linear", "(25,)"),
        ("6: linear", "y", "(2,)"),
    }


@each_language
def test_what_is_nested_is_a_group_and_arrows_go_through_it(language: str) -> None:
    text = DRAW[language](nested(), (2,), (2,))
    assert re.findall(GROUP[language], text, re.MULTILINE) == [
        *("left: serial", "right: serial, params of left", "in: network", "r: residual", "p: parallel", "1: serial"),
    ]
    assert text.count({"mermaid": "subgraph", "dot": "{"}[language]) == len(re.findall(r"^ *(?:end|})$", text, re.M))
    found = arrows(language, text)
    assert {
        ("x0", "0: linear", "(2,)"),
        ("x1", "0: linear", "(2,)"),
        ("d: subtract", "a: linear", "(8,)"),
        ("b: relu", "add: add", "(3,)"),
        ("1: tanh", "add: add", "(3,)"),
        ("0: linear", "1: linear", "(4,)"),
        ("1: linear", "merge: concatenate", "(5,)"),
        ("merge: concatenate", "y0", "(8,)"),
        ("d: subtract", "y1", "(8,)"),
    } <= found
    assert not any("serial" in end or "parallel" in end for start, stop, _ in found for end in (start, stop))


@each_language
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_operator_can_be_drawn(language: str, case: Case) -> None:
    text = DRAW[language](case.make(), *case.shapes)
    ends = [name for name in boxes(language, text) if name[0] in "xy"]
    assert len([name for name in ends if name[0] == "x"]) == len(case.shapes)
    named = re.findall(ARROW[language], text, re.MULTILINE)
    used = {part for arrow in named for part in arrow}
    assert set(boxes(language, text)) <= used  # nothing hangs loose


STRANGE = ['"', "a]b", "`x`", "#quot;", "<b>", "end", "a\nb", "\\", "\\N", "é", "%%", "|", "{}", "&amp;", "- *a*"]


def strange() -> fn.Layer[Any, Any]:
    return fn.network(dict.fromkeys(STRANGE, fn.tanh()), {a: [b] for a, b in zip(STRANGE, STRANGE[1:], strict=False)})


def test_mermaid_reads_no_key_as_its_own_syntax() -> None:
    texts = list(boxes("mermaid", fn.to_mermaid(strange(), (2,))).values())
    assert len(texts) == len(STRANGE) + 2
    assert all(re.fullmatch(r"(?:[\w _,:()/]|#\d+;)+", text) for text in texts)
    read = [re.sub(r"#(\d+);", lambda match: chr(int(match[1])), text) for text in texts[1:-1]]
    assert read == [f"{key_name(key)}: tanh" for key in STRANGE]


def test_dot_reads_no_key_as_its_own_syntax() -> None:
    text = fn.to_dot(strange(), (2,))
    assert r"""[label="'\"': tanh"]""" in text
    assert r'[label="\\N: tanh"]' in text
    assert len(text.splitlines()) == 4 + len(STRANGE) + 2 + len(STRANGE) + 1


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize(("net", "shapes"), [(NET, [(2,)]), (nested(), [(2,), (2,)]), (strange(), [(2,)])])
def test_graphviz_draws_it(net: Any, shapes: Any) -> None:
    done = subprocess.run(["dot", "-Tsvg"], input=fn.to_dot(net, *shapes), capture_output=True, text=True, check=True)
    assert done.stdout.count('class="node"') == len(boxes("dot", fn.to_dot(net, *shapes)))
    assert not done.stderr
