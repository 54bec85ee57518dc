"""Hand-written steps: two inputs that share a tower, and two outputs on one trunk."""

from collections.abc import Callable

import numpy as np

from bench.buffers import Layout, Params, aligned, quickest_product, transposing, with_ones, zero_d
from bench.case import Array
from bench.workloads import Workload

Step = Callable[[Params, Array, Array, Array], tuple[Params, float]]


def siamese(workload: Workload, layout: Layout) -> Step:
    """d = tower(u) - tower(v); y = linear(d * d); mean squared error.

    The two inputs run through the tower as one batch of twice the size, so the shared gradients need no sum.
    """
    (n, wide, narrow, m), batch, dtype = workload.sizes, workload.batch, layout.dtype
    x1, h1 = with_ones(n, 2 * batch, dtype), with_ones(wide, 2 * batch, dtype)
    top, g_top = aligned((narrow, 2 * batch), dtype), aligned((narrow, 2 * batch), dtype)
    h, gh = h1[:-1], aligned((wide, 2 * batch), dtype)
    squared1, (difference, g) = with_ones(narrow, batch, dtype), aligned((2, narrow, batch), dtype)
    y, error, g_y = (aligned((m, batch), dtype) for _ in range(3))
    squared, flat_error = squared1[:-1], error.reshape(-1)
    set_u, set_v = transposing(x1[:, :batch]), transposing(x1[:, batch:])
    left, right, g_left, g_right = top[:, :batch], top[:, batch:], g_top[:, :batch], g_top[:, batch:]
    vector, (M1, M2, M3) = layout.workspace()
    d_vector, (dM1, dM2, dM3) = layout.workspace()
    operands = ((x1, gh, dM1), (h1, g_top, dM2), (squared1, y, dM3))
    gradient1, gradient2, gradient3 = (quickest_product(*three)(*three) for three in operands)
    forward1, forward2, forward3, backward2, backward3 = M1.T.dot, M2.T.dot, M3.T.dot, M2[:-1].dot, M3[:-1].dot
    one, mean = zero_d(1, dtype), 1 / y.size
    scale, twice = zero_d(2 * workload.rate / y.size, dtype), zero_d(2, dtype)
    tanh, square, subtract, multiply, negative = np.tanh, np.square, np.subtract, np.multiply, np.negative

    def step(params: Params, u: Array, v: Array, target: Array) -> tuple[Params, float]:
        vector[...] = params[0]
        set_u(u)
        set_v(v)
        forward1(x1, h)
        tanh(h, h)
        forward2(h1, top)
        tanh(top, top)
        subtract(left, right, difference)
        square(difference, squared)
        forward3(squared1, y)
        subtract(y, target.T, error)
        multiply(error, scale, y)
        gradient3()
        multiply(y, twice, g_y)  # d * d sends 2 d g down: the 2 is cheapest here
        backward3(g_y, g)
        multiply(g, difference, g_left)
        negative(g_left, g_right)
        square(top, top)  # 1 - tanh^2 in place: nothing reads the activation any more
        subtract(one, top, top)
        multiply(g_top, top, g_top)
        gradient2()
        backward2(g_top, gh)
        square(h, h)
        subtract(one, h, h)
        multiply(gh, h, gh)
        gradient1()
        new = subtract(params[0], d_vector)
        return (new, layout.split(new)), float(flat_error.dot(flat_error)) * mean

    return step


def heads(workload: Workload, layout: Layout) -> Step:
    """A trunk of linear, tanh, linear, tanh; two linear heads; the sum of their mean squared errors.

    The heads read the same value: their matrices lie side by side and make one product each way.
    """
    (n, wide, trunk, one_size, other_size), batch, dtype = workload.sizes, workload.batch, layout.dtype
    width = one_size + other_size
    x1, h1, top1 = (with_ones(size, batch, dtype) for size in (n, wide, trunk))
    h, top, gh, g_top = h1[:-1], top1[:-1], aligned((wide, batch), dtype), aligned((trunk, batch), dtype)
    y, error, g = (aligned((width, batch), dtype) for _ in range(3))
    parts = [slice(0, one_size), slice(one_size, width)]
    y_one, y_other = (y[part] for part in parts)
    error_one, error_other = (error[part] for part in parts)
    g_one, g_other = (g[part] for part in parts)
    flat_one, flat_other = error_one.reshape(-1), error_other.reshape(-1)
    vector, (M1, M2, both) = layout.workspace()
    d_vector, (dM1, dM2, d_both) = layout.workspace()
    operands = ((x1, gh, dM1), (h1, g_top, dM2), (top1, g, d_both))
    gradient1, gradient2, gradient3 = (quickest_product(*three)(*three) for three in operands)
    forward1, forward2, forward3, backward2, backward3 = M1.T.dot, M2.T.dot, both.T.dot, M2[:-1].dot, both[:-1].dot
    unit, mean_one, mean_other = zero_d(1, dtype), 1 / flat_one.size, 1 / flat_other.size
    scale_one, scale_other = (zero_d(2 * workload.rate * mean, dtype) for mean in (mean_one, mean_other))
    set_x, tanh, square, subtract, multiply = transposing(x1), np.tanh, np.square, np.subtract, np.multiply

    def step(params: Params, x: Array, one: Array, other: Array) -> tuple[Params, float]:
        vector[...] = params[0]
        set_x(x)
        forward1(x1, h)
        tanh(h, h)
        forward2(h1, top)
        tanh(top, top)
        forward3(top1, y)
        subtract(y_one, one.T, error_one)
        subtract(y_other, other.T, error_other)
        multiply(error_one, scale_one, g_one)
        multiply(error_other, scale_other, g_other)
        gradient3()
        backward3(g, g_top)
        square(top, top)
        subtract(unit, top, top)
        multiply(g_top, top, g_top)
        gradient2()
        backward2(g_top, gh)
        square(h, h)
        subtract(unit, h, h)
        multiply(gh, h, gh)
        gradient1()
        loss = float(flat_one.dot(flat_one)) * mean_one + float(flat_other.dot(flat_other)) * mean_other
        new = subtract(params[0], d_vector)
        return (new, layout.split(new)), loss

    return step
