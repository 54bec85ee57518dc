"""The picture in the README: `python -m tests.picture` draws docs/figures/network.svg anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import funcnet as fn

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "network.svg"


def picture() -> str:
    """The README's network with the values and cotangents of four points; in float64, so that all digits are sure."""
    operators = {1: fn.linear(25), 2: fn.tanh(), 3: fn.linear(25), 4: fn.tanh(), 5: fn.add(), 6: fn.linear(2)}
    net = fn.network(operators, {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6]})
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64)
    x = np.array([[0.5, -0.25], [1.0, 0.75], [-0.5, 0.25], [-1.0, -0.5]])
    return fn.to_svg(net, loss=fn.mse(), params=params, arrays=(x, x[:, ::-1]))


if __name__ == "__main__":
    FIGURE.write_text(picture(), encoding="utf-8")
