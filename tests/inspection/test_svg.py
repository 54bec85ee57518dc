"""Pictures: well-formed XML, a box an operator, an arrow a value, and beside it the numbers that are computed."""

from __future__ import annotations

import itertools
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings

import funcnet as fn
from funcnet.networks.layering import GAP, Layers
from tests.inspection.test_summary import NET, nested
from tests.picture import FIGURE
from tests.picture import picture as readme_picture
from tests.support.budget import examples
from tests.support.cases import CASES, Case
from tests.support.strategies import Problem, problems

few = settings(max_examples=examples(40))
SVG = "{http://www.w3.org/2000/svg}"


def drawn(picture: str) -> ElementTree.Element:
    """The picture, parsed."""
    root = ElementTree.fromstring(picture)  # noqa: S314
    assert root.tag == f"{SVG}svg"
    return root


def texts(picture: str, style: str | None = None) -> list[str]:
    found = drawn(picture).iter(f"{SVG}text")
    return [e.text or "" for e in found if style is None or style in (e.get("class") or "").split()]


def carried(picture: str) -> list[str]:
    """What each arrow carries, all of it."""
    paths = [e for e in drawn(picture).iter(f"{SVG}path") if e.get("class") == "arrow"]
    return [path.findtext(f"{SVG}title") or "" for path in paths]


def test_boxes_and_arrows() -> None:
    picture = fn.to_svg(NET, (2,))
    assert texts(picture, "key") == ["x", "1", "2", "3", "4", "5", "6", "y"]
    assert carried(picture) == ["(2,)", *["(25,)"] * 6, "(2,)"]
    assert len(texts(picture, "forward")) == 8


def test_values_and_the_cotangents_that_come_back_by_the_same_way() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    x, t = (np.random.default_rng(seed).normal(size=(4, 2)).astype(np.float32) for seed in (0, 1))
    picture = fn.to_svg(NET, loss=fn.mse(), params=params, arrays=(x, t))
    values, pullback = NET.apply.vjp(params, x)
    _, (g, _) = fn.mse().apply.vjp((), values, t)[1](np.float32(1.0))
    _, (dx,) = pullback(g)
    *_, to_loss, target, loss = carried(picture)
    assert carried(picture)[0] == f"{written(x)}; {written(dx)}"
    assert to_loss == f"{written(values)}; {written(g)}"
    assert target == written(t)
    assert loss.endswith("; 1")
    inner = fn.trace(NET, params, x)
    through_add, through_linear = (entry.split("; ")[1] for entry in (carried(picture)[4], carried(picture)[2]))
    assert carried(picture)[2].startswith(written(inner[2]))
    assert through_add != through_linear
    assert texts(picture)[-2:] == ["value, forward", "cotangent, backward"]


def written(x: Any) -> str:
    flat = np.ravel(x)
    return f"{x.shape} {flat[0]:.3g} {flat[1]:.3g}{' …' * (flat.size > 2)}"


def test_without_a_loss_nothing_comes_back() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    picture = fn.to_svg(NET, params=params, arrays=(np.ones((3, 2), np.float32),))
    assert texts(picture, "backward") == []
    assert carried(picture)[0] == "(3, 2) 1 1 …"


def test_what_is_nested_is_one_box_and_what_shares_is_dashed() -> None:
    picture = fn.to_svg(nested(), (2,), (2,))
    assert texts(picture, "key") == ["x0", "x1", "left", "right", "d", "in", "r", "p", "y0", "y1"]
    assert "params of left" in texts(picture)
    assert [e.get("class") for e in drawn(picture).iter(f"{SVG}rect")].count("box shared") == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_layer_can_be_drawn(case: Case) -> None:
    assert len(texts(fn.to_svg(case.make(), *case.shapes), "key")) >= 2 + len(case.shapes)


@few
@given(problems())
def test_on_random_networks_with_numbers_no_box_covers_another(problem: Problem) -> None:
    net, params, inputs = problem.made()
    with np.errstate(all="ignore"):
        picture = fn.to_svg(net, params=params, arrays=inputs)
    boxes = [e for e in drawn(picture).iter(f"{SVG}rect") if (e.get("class") or "").split()[:1] in (["box"], ["end"])]
    areas = [tuple(float(e.get(name) or 0) for name in ("x", "y", "width", "height")) for e in boxes]
    for (x, y, w, h), (u, v, p, q) in itertools.combinations(areas, 2):
        assert x + w <= u or u + p <= x or y + h <= v or v + q <= y
    assert len(carried(picture)) == sum(map(len, arrows_of(net)))


def arrows_of(net: Any) -> tuple[Any, ...]:
    graph = net.apply.function.graph
    return (graph.inputs, graph.outputs, *graph.predecessors.values())


HOSTILE = ["<script>alert(1)</script>", "&amp;", '"', "'", "]]>", "a\nb", "\x00", "\x1b", "\ud800", "\ufffe", "日本"]


@pytest.mark.parametrize("key", HOSTILE, ids=ascii)
def test_keys_do_no_harm(key: str) -> None:
    net = fn.network({key: fn.elementwise(square, f"f{key}"), 2: fn.linear(2)}, {key: [2]})
    for picture in (fn.to_svg(net, (2,)), net._repr_svg_() or ""):
        assert len(texts(picture, "key")) == 4
        assert "<script" not in picture
        picture.encode()


def square(x: Any) -> Any:
    return x * x, lambda g: g * (2.0 * x)


def test_rows_keep_apart_and_arrows_point_down() -> None:
    arrows = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (0, 5), (4, 5), (3, 5)]
    layers = Layers(dict.fromkeys(range(6), 50.0), arrows, 10.0)
    ranks = {node: rank for rank, row in enumerate(layers.rows) for node in row}
    for path in layers.paths:
        assert [ranks[node] for node in path] == list(range(ranks[path[0]], ranks[path[-1]] + 1))
    for row in layers.rows:
        for a, b in itertools.pairwise(row):
            apart = layers.places[b] - layers.places[a]
            assert apart >= (layers.widths[a] + layers.widths[b]) / 2 + GAP - 1e-9


def test_crossings_that_can_be_avoided_are() -> None:
    layers = Layers(dict.fromkeys("abcdef", 40.0), [("a", "f"), ("b", "e"), ("c", "d")], 10.0)
    upper, lower = layers.rows
    pairs = dict(zip("abc", "fed", strict=True))
    assert [pairs[str(node)] for node in upper] == lower


def test_bad_input() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    x = np.ones((3, 2), np.float32)
    with pytest.raises(fn.OptionError, match="params and arrays together"):
        fn.to_svg(NET, params=params)
    with pytest.raises(fn.OptionError, match="params and arrays together"):
        fn.to_svg(NET, arrays=(x,))
    with pytest.raises(fn.OptionError, match="shapes or arrays, not both"):
        fn.to_svg(NET, (2,), params=params, arrays=(x,))
    with pytest.raises(fn.ShapeError, match="takes 1 input, but was given 2"):
        fn.to_svg(NET, params=params, arrays=(x, x))
    with pytest.raises(fn.ShapeError, match="takes 1 input, but was given 2"):
        fn.explain(NET, None, params, x, x)
    wrong: Any
    for wrong in (x, 3, {"x": x}, iter([x]), "x"):
        with pytest.raises(fn.OptionError, match=r"arrays must be a tuple of arrays, such as arrays=\(x,\), not "):
            fn.to_svg(NET, params=params, arrays=wrong)
    with pytest.raises(fn.GraphError, match="to_svg: argument 0"):
        fn.to_svg(fn.linear)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(fn.ShapeError):
        fn.to_svg(NET, (2,), (2,))


def test_the_picture_in_the_readme_is_the_one_that_is_drawn() -> None:
    assert FIGURE.read_text(encoding="utf-8") == readme_picture()
