"""A network as a picture, with values and cotangents on its arrows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from funcnet.arrays import Array, Labels, Shape
from funcnet.calling import checks_call
from funcnet.core import Layer
from funcnet.display import numbered, shown
from funcnet.errors import OptionError
from funcnet.inspection.structure import Place, Source, path_name, structure
from funcnet.inspection.summary import outline
from funcnet.inspection.walk import Walk, total
from funcnet.networks.parts import check
from funcnet.networks.picture import Arrow, Box, svg

NUMBERS = 2  # of an array that are shown


@checks_call
def to_svg(
    net: Layer[Any, Any],
    *input_shapes: Shape,
    loss: Layer[Any, Any] | None = None,
    params: Any = None,
    arrays: Sequence[Array | Labels] = (),
) -> str:
    """The network as a picture in SVG, which every browser shows: `Path("net.svg").write_text(fn.to_svg(net))`.

    Each operator is a box with its key and the call that made it; a nested network is one box. Beside the arrows are

    - the shapes of the values, where input shapes are given, as for `to_mermaid`: `fn.to_svg(net, (2,))`;
    - shapes and first numbers of the values, where params and arrays are given;
    - below them, where a loss is given too, the cotangent that comes back along the arrow.

    arrays: the inputs of the network, then the targets of the loss. A notebook draws a network of up to 200 operators
    like this by itself.
    Raises GraphError for anything but layers, OptionError where params are given without arrays, or arrays without
    params, or both with shapes, and the errors of `net.init` or `net.apply`.
    """
    check("to_svg", (net,) if loss is None else (net, loss), multi_output=True)
    if not isinstance(cast("Any", arrays), (tuple, list)):
        raise OptionError(f"to_svg: arrays must be a tuple of arrays, such as arrays=(x,), not {arrays!r:.60}")
    if (params is None) != (not arrays):
        raise OptionError(
            "to_svg: give params and arrays together, to_svg(net, params=params, arrays=(x,)), or neither"
        )
    if arrays and input_shapes:
        raise OptionError("to_svg: give shapes or arrays, not both: arrays have their shapes")
    shapes: dict[Source, Any] = dict(enumerate(input_shapes))
    if input_shapes:
        shapes |= {each.path: each.output for each in outline("to_svg", net, *input_shapes).walk()}
    drawing = _Drawing(net, loss, params, arrays, len(input_shapes))
    drawing.shapes = shapes
    return drawing.picture()


class _Drawing:
    """A network's picture. walk: the derivation, whose numbers are written.      places: the operators.

    shapes: by what gives the value, where they are known without numbers.
    """

    def __init__(
        self,
        net: Layer[Any, Any],
        loss: Layer[Any, Any] | None,
        params: Any,
        arrays: Sequence[Array | Labels],
        inputs: int,
    ) -> None:
        self.loss = loss
        self.walk: Walk = Walk(net, loss, params, arrays, inputs)
        for _ in (*self.walk.forward(), *self.walk.backward()):
            pass  # the numbers remain
        self.whole: Place = structure(net, tuple(range(self.walk.inputs)))
        self.places: tuple[Place, ...] = self.whole.children or (self.whole,)
        self.results: tuple[Source, ...] = self.whole.results or (self.whole.path,)
        self.shapes: dict[Source, Any] = {}
        self.numbers: dict[Source, int] = {i: -1 - i for i in range(len(self.walk.outside))}
        for number, op in enumerate(self.walk.operations[: self.walk.first_of_loss]):
            self.numbers[op.path] = number

    def _forward(self, source: Source) -> str:
        """The text of the value of an operator or an input."""
        if source in self.shapes:
            return str(self.shapes[source])
        return _written(self.walk.values.get(self.numbers[source]))

    def _backward(self, source: Source, stop: Source | None) -> str:
        """The text of the cotangent that comes back to it from the operator that it feeds, or from the loss."""
        if self.loss is None:
            return ""
        first, number = self.walk.first_of_loss, self.numbers[source]
        found = [
            value
            for (sent_to, sender), value in self.walk.passed.items()
            if sent_to == number and (sender >= first if stop is None else self._inside(sender, stop))
        ]
        return _written(total(found)) if found else ""

    def _inside(self, sender: int, stop: Source) -> bool:
        """Whether an operation of the network belongs to that operator of it."""
        path = self.walk.operations[sender].path
        return sender < self.walk.first_of_loss and (path[:1] == stop or not self.whole.children)

    def picture(self) -> str:
        """The picture."""
        walk, count = self.walk, self.walk.inputs
        targets = list(range(count, len(walk.outside)))
        boxes = [Box(i, str(walk.outside[i]), "target" * (i >= count), end=True) for i in (*range(count), *targets)]
        for place in self.places:
            label = (
                shown(place.layer).removesuffix("()")
                if place.shares is None
                else f"params of {path_name((place.shares,))}"
            )
            key, kind = (path_name(place.path), label) if place.path else (label, "")
            boxes.append(Box(place.path, key, kind, shared=place.shares is not None))
        arrows = [
            Arrow(source, place.path, self._forward(source), self._backward(source, place.path))
            for place in self.places
            for source in place.inputs
        ]
        if self.loss is None:
            names = numbered("y", len(self.results))
            boxes += [Box(name, name, end=True) for name in names]
            arrows += [
                Arrow(result, name, self._forward(result)) for result, name in zip(self.results, names, strict=True)
            ]
        else:
            boxes += [Box("loss", "loss", shown(self.loss).removesuffix("()")), Box("L", "L", end=True)]
            arrows += [Arrow(i, "loss", self._forward(i), self._backward(i, None)) for i in self.results]
            arrows += [Arrow(i, "loss", self._forward(i)) for i in targets]
            end = walk.ends[0]
            arrows.append(Arrow("loss", "L", _written(walk.values.get(end)), _written(walk.cotangents.get(end))))
        return svg(boxes, arrows, f"network of {len(self.places)} operators")


def _written(value: Any) -> str:
    """The shape and the first numbers of an array; of a single number, itself."""
    if value is None:
        return ""
    flat = np.ravel(value)
    numbers = " ".join(f"{x:.3g}" for x in flat[:NUMBERS]) + " …" * (flat.size > NUMBERS)
    return f"{np.shape(value)} {numbers}" if np.shape(value) else numbers
