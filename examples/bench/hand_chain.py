"""Hand-written steps: chains of tanh layers that fit the cache.

Values lie features first, (features + 1, batch), the last row ones; each call writes into a buffer made beforehand.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.buffers import Layout, Params, aligned, quickest_product, with_ones, zero_d
from bench.case import Array
from bench.workloads import Workload

Step = Callable[[Params, Array, Array], tuple[Params, float]]
Gradient = Callable[[Array, Array], float]

SMALL = 100_000
"""Bytes of hidden values below which a call costs more than its work."""


def two_layers(workload: Workload, layout: Layout) -> Step:
    """linear, tanh, linear on a batch of one; mean squared error.

    A batch of one lies in rows, (1, features + 1): its transpose is the same memory, and the params stand as arguments.
    """
    (n, hidden, m), dtype = workload.sizes, layout.dtype
    x1, h1 = with_ones(n, 1, dtype).T, with_ones(hidden, 1, dtype).T
    y, error, g = (aligned((1, m), dtype) for _ in range(3))
    slope, gh = (aligned((1, hidden), dtype) for _ in range(2))
    h, flat_error = h1[:, :-1], error.reshape(-1)
    vector, (M1, M2) = layout.workspace()
    d_vector, (dM1, dM2) = layout.workspace()
    set_params, set_x, rest, W2T = vector.__setitem__, x1[:, :-1].__setitem__, ..., M2[:-1].T
    x_dot, h_dot, xT_dot, hT_dot = x1.dot, h1.dot, x1.T.dot, h1.T.dot
    g_dot, error_dot = g.dot, flat_error.dot
    tanh, square, subtract, multiply = np.tanh, np.square, np.subtract, np.multiply
    one, scale, mean = zero_d(1, dtype), zero_d(2 * workload.rate / m, dtype), 1 / m
    fields, ndarray, record = layout.fields, np.ndarray, layout.record

    def step(params: Params, x: Array, target: Array) -> tuple[Params, float]:
        old = params[0]
        set_params(rest, old)
        set_x(rest, x)
        x_dot(M1, h)
        tanh(h, h)
        h_dot(M2, y)
        subtract(y, target, error)  # never in place: on one element that costs four times as much
        multiply(error, scale, g)  # the learning rate is folded in here
        hT_dot(g, dM2)
        g_dot(W2T, gh)
        square(h, slope)
        subtract(one, slope, slope)
        multiply(gh, slope, gh)
        xT_dot(gh, dM1)
        new = subtract(old, d_vector)
        return (new, fields(ndarray((), record, new))), float(error_dot(flat_error)) * mean

    return step


class FourLayers:
    """linear, tanh, linear, tanh, linear, tanh, linear; the three hidden widths equal; on blocks of ``rows`` rows."""

    def __init__(self, sizes: tuple[int, ...], rows: int, dtype: np.dtype[Any]) -> None:
        n, width, _, _, m = sizes
        self.x1 = with_ones(n, rows, dtype)
        self.hidden = aligned((3, width + 1, rows), dtype)
        self.hidden[:, -1] = 1
        self.y, self.error, self.g = (aligned((m, rows), dtype) for _ in range(3))
        self.ga, self.gb = (aligned((width, rows), dtype) for _ in range(2))

    def gradient(self, matrices: tuple[Array, ...], gradients: tuple[Array, ...], scale: float) -> Gradient:
        """A function of (x, target) that fills ``gradients`` and returns the sum of the squared errors."""
        forward = self._forward(matrices, scale)
        small = self.hidden.nbytes < SMALL
        backward = self._backward_small(matrices, gradients) if small else self._backward_large(matrices, gradients)
        error = self.error.reshape(-1)
        error_dot = error.dot

        def gradient(x: Array, target: Array) -> float:
            forward(x, target)
            backward()
            return float(error_dot(error))

        return gradient

    def _forward(self, matrices: tuple[Array, ...], scale: float) -> Callable[[Array, Array], None]:
        M1, M2, M3, M4 = matrices
        x1, y, error, g = self.x1, self.y, self.error, self.g
        (h1, h2, h3), (v1, v2, v3) = self.hidden, self.hidden[:, :-1]
        forward1, forward2, forward3, forward4 = M1.T.dot, M2.T.dot, M3.T.dot, M4.T.dot
        set_x, rest, factor = x1.T[:, :-1].__setitem__, ..., zero_d(scale, x1.dtype)
        tanh, subtract, multiply = np.tanh, np.subtract, np.multiply

        def forward(x: Array, target: Array) -> None:
            set_x(rest, x)
            forward1(x1, v1)
            tanh(v1, v1)
            forward2(h1, v2)
            tanh(v2, v2)
            forward3(h2, v3)
            tanh(v3, v3)
            forward4(h3, y)
            subtract(y, target.T, error)
            multiply(error, factor, g)  # the learning rate is folded in here

        return forward

    def _backward_small(self, matrices: tuple[Array, ...], gradients: tuple[Array, ...]) -> Callable[[], None]:
        """While a call costs more than its work: 1 - tanh^2 of the three layers in two calls, in a second buffer."""
        (_, M2, M3, M4), (dM1, dM2, dM3, dM4) = matrices, gradients
        hidden, slopes = self.hidden.reshape(-1), aligned(self.hidden.shape, self.hidden.dtype)
        (s1, s2, s3), flat_slopes, one = slopes[:, :-1], slopes.reshape(-1), zero_d(1, slopes.dtype)
        g, ga, gb, gT, gaT, gbT = self.g, self.ga, self.gb, self.g.T, self.ga.T, self.gb.T
        x_dot, (h1_dot, h2_dot, h3_dot) = self.x1.dot, (h.dot for h in self.hidden)
        backward2, backward3, backward4 = M2[:-1].dot, M3[:-1].dot, M4[:-1].dot
        square, subtract, multiply = np.square, np.subtract, np.multiply

        def backward() -> None:
            square(hidden, flat_slopes)
            subtract(one, flat_slopes, flat_slopes)
            h3_dot(gT, dM4)
            backward4(g, ga)
            multiply(ga, s3, ga)
            h2_dot(gaT, dM3)
            backward3(ga, gb)
            multiply(gb, s2, gb)
            h1_dot(gbT, dM2)
            backward2(gb, ga)
            multiply(ga, s1, ga)
            x_dot(gaT, dM1)

        return backward

    def _backward_large(self, matrices: tuple[Array, ...], gradients: tuple[Array, ...]) -> Callable[[], None]:
        """While work costs more than the call: 1 - tanh^2 in place of each activation once it has been read."""
        (_, M2, M3, M4), (dM1, dM2, dM3, dM4) = matrices, gradients
        (v1, v2, v3), one = self.hidden[:, :-1], zero_d(1, self.hidden.dtype)
        g, ga, gb, gT, gaT, gbT = self.g, self.ga, self.gb, self.g.T, self.ga.T, self.gb.T
        x_dot, (h1_dot, h2_dot, h3_dot) = self.x1.dot, (h.dot for h in self.hidden)
        backward2, backward3, backward4 = M2[:-1].dot, M3[:-1].dot, M4[:-1].dot
        square, subtract, multiply = np.square, np.subtract, np.multiply

        def backward() -> None:
            h3_dot(gT, dM4)
            backward4(g, ga)
            square(v3, v3)
            subtract(one, v3, v3)
            multiply(ga, v3, ga)
            h2_dot(gaT, dM3)
            backward3(ga, gb)
            square(v2, v2)
            subtract(one, v2, v2)
            multiply(gb, v2, gb)
            h1_dot(gbT, dM2)
            backward2(gb, ga)
            square(v1, v1)
            subtract(one, v1, v1)
            multiply(ga, v1, ga)
            x_dot(gaT, dM1)

        return backward


def four_layers(workload: Workload, layout: Layout) -> Step:
    """The step on the whole batch at once."""
    elements = workload.batch * workload.sizes[-1]
    vector, matrices = layout.workspace()
    d_vector, gradients = layout.workspace()
    buffers = FourLayers(workload.sizes, workload.batch, layout.dtype)
    gradient = buffers.gradient(matrices, gradients, 2 * workload.rate / elements)
    set_params, subtract, mean, rest = vector.__setitem__, np.subtract, 1 / elements, ...
    fields, ndarray, record = layout.fields, np.ndarray, layout.record

    def step(params: Params, x: Array, target: Array) -> tuple[Params, float]:
        old = params[0]
        set_params(rest, old)
        loss = gradient(x, target) * mean
        new = subtract(old, d_vector)
        return (new, fields(ndarray((), record, new))), loss

    return step


def four_layers_in_blocks(workload: Workload, layout: Layout, rows: int) -> Step:
    """The step in blocks of rows that stay in the cache, their gradients added."""
    elements = workload.batch * workload.sizes[-1]
    vector, matrices = layout.workspace()
    d_vector, gradients = layout.workspace()
    buffers = FourLayers(workload.sizes, rows, layout.dtype)
    gradient = buffers.gradient(matrices, gradients, 2 * workload.rate / elements)
    total, _ = layout.workspace()

    def step(params: Params, x: Array, target: Array) -> tuple[Params, float]:
        vector[...] = params[0]
        loss, total[...] = 0.0, 0
        for block, wanted in zip(
            x.reshape(-1, rows, x.shape[1]), target.reshape(-1, rows, target.shape[1]), strict=True
        ):
            loss += gradient(block, wanted)
            np.add(total, d_vector, total)
        new = np.subtract(params[0], total)
        return (new, layout.split(new)), loss / elements

    return step


def many_layers(workload: Workload, layout: Layout) -> Step:
    """Layers of one width, each linear and tanh; mean squared error. The params are used where they lie."""
    depth, width, batch, dtype = len(workload.shapes), workload.sizes[0], workload.batch, layout.dtype
    x1, hidden = with_ones(width, batch, dtype), aligned((depth, width + 1, batch), dtype)
    hidden[:, -1] = 1
    slopes, error = aligned(hidden.shape, dtype), aligned((width, batch), dtype)
    flat_hidden, flat_slopes, flat_error = hidden.reshape(-1), slopes.reshape(-1), error.reshape(-1)
    d_vector, gradients = layout.workspace()
    below, values = [x1, *hidden[:-1]], list(hidden[:, :-1])
    g_of = [aligned(error.shape, dtype), aligned(error.shape, dtype)]
    product = quickest_product(x1, g_of[0], gradients[0])
    forward = list(zip(below, values, strict=True))
    backward = [
        (slopes[k, :-1], g_of[k % 2], product(below[k], g_of[k % 2], gradients[k]), g_of[1 - k % 2], k)
        for k in reversed(range(depth))
    ]
    set_x, rest, error_dot = x1.T[:, :-1].__setitem__, ..., flat_error.dot
    tanh, square, subtract, multiply = np.tanh, np.square, np.subtract, np.multiply
    one, scale, mean = zero_d(1, dtype), zero_d(2 * workload.rate / error.size, dtype), 1 / error.size

    def step(params: Params, x: Array, target: Array) -> tuple[Params, float]:
        old, matrices = params
        set_x(rest, x)
        for M, (h1, v) in zip(matrices, forward, strict=True):
            M.T.dot(h1, v)
            tanh(v, v)
        subtract(v, target.T, error)
        multiply(error, scale, g_of[1 - depth % 2])
        square(flat_hidden, flat_slopes)
        subtract(one, flat_slopes, flat_slopes)
        for slope, g, dM, g_below, k in backward:
            multiply(g, slope, g)
            dM()
            if k:
                matrices[k][:-1].dot(g, g_below)
        new = subtract(old, d_vector)
        return (new, layout.split(new)), float(error_dot(flat_error)) * mean

    return step
