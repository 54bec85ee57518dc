"""Hand-written steps: wide networks, in which the matrix products are nearly everything.

The input lies batch first, (batch, features + 1), so that it is copied in without being transposed; hidden values lie
features first. The params are used where they lie: to copy them in would cost more than to look them up.

ReLU's gradient reads the bits of relu(x) as unsigned integers: their ``sign`` is 0 or 1, and an integer product with
0 or 1 clears or keeps the bits of g. A product with a bool mask takes up to twice as long.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.buffers import Layout, Params, aligned, quickest_product, with_ones, zero_d
from bench.case import Array
from bench.workloads import Workload

Step = Callable[[Params, Array, Array], tuple[Params, float]]


def bits(values: Array) -> Array:
    """The same memory as unsigned integers."""
    return values.view(np.dtype(f"u{values.dtype.itemsize}"))


def batch_first(batch: int, features: int, dtype: np.dtype[Any]) -> Array:
    """A buffer (batch, features + 1) whose last column is ones."""
    values = aligned((batch, features + 1), dtype)
    values[:, -1] = 1
    return values


def classifier(workload: Workload, layout: Layout) -> Step:
    """linear, ReLU, linear, ReLU, linear; softmax cross-entropy with integer labels, the mean over the batch."""
    (n, wide, narrow, m), batch, dtype = workload.sizes, workload.batch, layout.dtype
    x1 = batch_first(batch, n, dtype)
    h1, h2 = with_ones(wide, batch, dtype), with_ones(narrow, batch, dtype)
    v1, v2, x_values, x1T = h1[:-1], h2[:-1], x1[:, :-1], x1.T
    z, g1, g2 = aligned((m, batch), dtype), aligned(v1.shape, dtype), aligned(v2.shape, dtype)
    zeros1, zeros2 = np.zeros(v1.shape, dtype), np.zeros(v2.shape, dtype)
    bits1, bits2, g1_bits, g2_bits = bits(v1), bits(v2), bits(g1), bits(g2)
    d_vector, (dM1, dM2, dM3) = layout.workspace()
    operands = ((x1T, g1, dM1), (h1, g2, dM2), (h2, z, dM3))
    gradient1, gradient2, gradient3 = (quickest_product(*three)(*three) for three in operands)
    cross_entropy = softmax_cross_entropy(z, workload.rate)
    maximum, sign, multiply, subtract = np.maximum, np.sign, np.multiply, np.subtract

    def step(params: Params, x: Array, labels: Array) -> tuple[Params, float]:
        old, (M1, M2, M3) = params
        x_values[...] = x
        M1.T.dot(x1T, v1)
        maximum(v1, zeros1, out=v1)
        M2.T.dot(h1, v2)
        maximum(v2, zeros2, out=v2)
        M3.T.dot(h2, z)
        loss = cross_entropy(labels)
        gradient3()
        M3[:-1].dot(z, g2)
        sign(bits2, bits2)
        multiply(g2_bits, bits2, g2_bits)
        gradient2()
        M2[:-1].dot(g2, g1)
        sign(bits1, bits1)
        multiply(g1_bits, bits1, g1_bits)
        gradient1()
        new = subtract(old, d_vector)
        return (new, layout.split(new)), loss

    return step


def softmax_cross_entropy(z: Array, rate: float) -> Callable[[Array], float]:
    """A function of the labels that returns the loss of the logits z, (classes, batch), and leaves its gradient in z.

    Each column is shifted by its maximum, so that no exponential overflows; the rate is folded into the gradient.
    """
    classes, batch = map(int, z.shape)
    flat, one_hot, unit = z.reshape(-1), aligned(z.shape, z.dtype), np.eye(classes, dtype=z.dtype)
    highest, total, logs = (aligned((batch,), z.dtype) for _ in range(3))
    over_classes, over_batch = np.ones(classes, z.dtype), np.ones(batch, z.dtype)
    scale, flat_one_hot, take = zero_d(rate / batch, z.dtype), one_hot.reshape(-1), unit.take
    reduce: Any = np.maximum.reduce

    def loss(labels: Array) -> float:
        reduce(z, 0, None, highest)
        np.subtract(z, highest, z)
        take(labels, 1, one_hot, "clip")
        picked = flat.dot(flat_one_hot)
        np.exp(z, z)
        over_classes.dot(z, total)
        np.log(total, logs)
        np.divide(z, total, z)
        np.subtract(z, one_hot, z)
        np.multiply(z, scale, z)
        return float(logs.dot(over_batch) - picked) / batch

    return loss


def dag(workload: Workload, layout: Layout) -> Step:
    """h = relu(linear x); y = linear(tanh(linear h) + relu(linear h) + h); mean squared error.

    The two branches read the same value: their matrices lie side by side and make one product forward, one for their
    gradients, and one backward that also sums what the branches send to h. y lies batch first, as its target does.
    """
    (width,), batch, dtype = workload.sizes, workload.batch, layout.dtype
    x1, h1, total1 = batch_first(batch, width, dtype), with_ones(width, batch, dtype), with_ones(width, batch, dtype)
    branches, g_branches = aligned((2 * width, batch), dtype), aligned((2 * width, batch), dtype)
    (a, b), (ga, gb) = branches.reshape(2, width, batch), g_branches.reshape(2, width, batch)
    y, error, gy = (aligned((batch, width), dtype) for _ in range(3))
    g, gh, zeros = (aligned((width, batch), dtype) for _ in range(3))
    h, total, x_values, x1T, gyT, flat_error = h1[:-1], total1[:-1], x1[:, :-1], x1.T, gy.T, error.reshape(-1)
    d_vector, (dM1, d_both, dM4) = layout.workspace()
    h_bits, b_bits, g_bits, gb_bits = bits(h), bits(b), bits(g), bits(gb)
    gradient1, gradient_both = (quickest_product(*three)(*three) for three in ((x1T, g, dM1), (h1, g_branches, d_both)))
    one, scale, mean = zero_d(1, dtype), zero_d(2 * workload.rate / y.size, dtype), 1 / y.size
    add, subtract, multiply, square = np.add, np.subtract, np.multiply, np.square
    maximum, tanh, sign = np.maximum, np.tanh, np.sign

    def step(params: Params, x: Array, target: Array) -> tuple[Params, float]:
        old, (M1, both, M4) = params
        x_values[...] = x
        M1.T.dot(x1T, h)
        maximum(h, zeros, out=h)
        both.T.dot(h1, branches)
        tanh(a, a)
        maximum(b, zeros, out=b)
        add(a, b, total)
        add(total, h, total)
        total1.T.dot(M4, y)
        subtract(y, target, error)
        multiply(error, scale, gy)
        total1.dot(gy, dM4)
        M4[:-1].dot(gyT, g)
        square(a, a)  # 1 - tanh^2 in place: nothing reads the activation any more
        subtract(one, a, a)
        multiply(g, a, ga)
        sign(b_bits, b_bits)
        multiply(g_bits, b_bits, gb_bits)
        gradient_both()
        both[:-1].dot(g_branches, gh)
        add(g, gh, g)
        sign(h_bits, h_bits)
        multiply(g_bits, h_bits, g_bits)
        gradient1()
        new = subtract(old, d_vector)
        return (new, layout.split(new)), float(flat_error.dot(flat_error)) * mean

    return step
