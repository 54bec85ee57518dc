"""Hand-written steps: chains of tanh layers that fit the cache.

Values lie features first, (features + 1, batch), the last row ones; each call writes into a buffer made beforehand.
"""

from collections.abc import Callable

import numpy as np
from bench.buffers import Layout, Params, aligned, with_ones, zero_d
from bench.case import Array
from bench.workloads import Workload

Step = Callable[[Params, Array, Array], tuple[Params, float]]


def two_layers(workload: Workload, layout: Layout) -> Step:
    """linear, tanh, linear; mean squared error."""
    (n, hidden, m), batch, dtype = workload.sizes, workload.batch, layout.dtype
    x1, h1 = with_ones(n, batch, dtype), with_ones(hidden, batch, dtype)
    y, error, g = (aligned((m, batch), dtype) for _ in range(3))
    slope, gh = (aligned((hidden, batch), dtype) for _ in range(2))
    h, flat_error, gT, ghT = h1[:-1], error.reshape(-1), g.T, gh.T
    vector, (M1, M2) = layout.workspace()
    d_vector, (dM1, dM2) = layout.workspace()
    set_params, set_x, rest = vector.__setitem__, x1.T[:, :-1].__setitem__, ...
    forward1, forward2, backward2 = M1.T.dot, M2.T.dot, M2[:-1].dot
    x_dot, h_dot, error_dot = x1.dot, h1.dot, flat_error.dot
    tanh, square, subtract, multiply = np.tanh, np.square, np.subtract, np.multiply
    one, scale, mean = zero_d(1, dtype), zero_d(2 * workload.rate / (m * batch), dtype), 1 / (m * batch)
    fields, ndarray, record = layout.fields, np.ndarray, layout.record

    def step(params: Params, x: Array, target: Array) -> tuple[Params, float]:
        old = params[0]
        set_params(rest, old)
        set_x(rest, x)
        forward1(x1, h)
        tanh(h, h)
        forward2(h1, y)
        subtract(y, target.T, error)
        multiply(error, scale, g)  # the learning rate is folded in here
        h_dot(gT, dM2)
        backward2(g, gh)
        square(h, slope)
        subtract(one, slope, slope)
        multiply(gh, slope, gh)
        x_dot(ghT, dM1)
        new = subtract(old, d_vector)
        return (new, fields(ndarray((), record, new))), float(error_dot(flat_error)) * mean

    return step


def four_layers(workload: Workload, layout: Layout) -> Step:
    """linear, tanh, linear, tanh, linear, tanh, linear; the three hidden widths equal; mean squared error."""
    n, width, _, _, m = workload.sizes
    batch, dtype = workload.batch, layout.dtype
    x1 = with_ones(n, batch, dtype)
    hidden, slopes = aligned((3, width + 1, batch), dtype), aligned((3, width + 1, batch), dtype)
    hidden[:, -1] = 1
    y, error, g = (aligned((m, batch), dtype) for _ in range(3))
    ga, gb = (aligned((width, batch), dtype) for _ in range(2))
    (h1, h2, h3), (s1, s2, s3) = hidden, slopes[:, :-1]
    v1, v2, v3 = hidden[:, :-1]
    gT, gaT, gbT, flat_error = g.T, ga.T, gb.T, error.reshape(-1)
    all_hidden, all_slopes = hidden.reshape(-1), slopes.reshape(-1)
    vector, (M1, M2, M3, M4) = layout.workspace()
    d_vector, (dM1, dM2, dM3, dM4) = layout.workspace()
    set_params, set_x, rest = vector.__setitem__, x1.T[:, :-1].__setitem__, ...
    forward1, forward2, forward3, forward4 = M1.T.dot, M2.T.dot, M3.T.dot, M4.T.dot
    backward2, backward3, backward4 = M2[:-1].dot, M3[:-1].dot, M4[:-1].dot
    x_dot, h1_dot, h2_dot, h3_dot, error_dot = x1.dot, h1.dot, h2.dot, h3.dot, flat_error.dot
    tanh, square, subtract, multiply = np.tanh, np.square, np.subtract, np.multiply
    one, scale, mean = zero_d(1, dtype), zero_d(2 * workload.rate / (m * batch), dtype), 1 / (m * batch)
    fields, ndarray, record = layout.fields, np.ndarray, layout.record

    def step(params: Params, x: Array, target: Array) -> tuple[Params, float]:
        old = params[0]
        set_params(rest, old)
        set_x(rest, x)
        forward1(x1, v1)
        tanh(v1, v1)
        forward2(h1, v2)
        tanh(v2, v2)
        forward3(h2, v3)
        tanh(v3, v3)
        forward4(h3, y)
        subtract(y, target.T, error)
        multiply(error, scale, g)
        square(all_hidden, all_slopes)  # 1 - tanh^2 of the three layers in two calls
        subtract(one, all_slopes, all_slopes)
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
        new = subtract(old, d_vector)
        return (new, fields(ndarray((), record, new))), float(error_dot(flat_error)) * mean

    return step
