"""Mutants that nobody can tell from the original, by the reason why."""

from __future__ import annotations

REASONS: dict[str, list[str]] = {
    "numbers of Python and tuples have no dtype to be widened": [
        "layers.elementwise._elu: alpha * scale (upcast)",
        "layers.elementwise._elu: alpha * scale (upcast) #2",
        "layers.elementwise._gelu: 1.0 / sqrt(2.0 * pi) (upcast)",
        "layers.elementwise._gelu: 2.0 * pi (upcast)",
        "layers.elementwise._gelu_tanh: 2.0 * c (upcast)",
        "layers.elementwise._gelu_tanh: 2.0 / pi (upcast)",
        "layers.elementwise._gelu_tanh: 6.0 * a * c (upcast)",
        "layers.elementwise._gelu_tanh: 6.0 * a (upcast)",
        "layers.elementwise._gelu_tanh: a * c (upcast)",
        "layers.merge._add: (g,) * len(inputs) (upcast)",
        "layers.merge._average: (g * share,) * len(inputs) (upcast)",
        "layers.merge._average: 1.0 / len(inputs) (upcast)",
        "losses._mse: 1.0 / d.size (upcast)",
        "losses._mse: 2.0 * share (upcast)",
        "losses._softmax_cross_entropy: z.shape[1] / z.size (upcast)",
    ],
    "`out` has a dtype of its own, to which the wider result is cast back": [
        "special.erf_into: (size - 3.0) / (size + 3.0) (upcast)",
        "special.erf_into: -size * size (upcast)",
        "special.erf_into: 1.0 - np.exp(-size * size) * _polynomial(TAIL, (size - 3.0) / (size + 3.0)) (upcast)",
        "special.erf_into: np.exp(-size * size) * _polynomial(TAIL, (size - 3.0) / (size + 3.0)) (upcast)",
        "special.erf_into: size + 3.0 (upcast)",
        "special.erf_into: size - 3.0 (upcast)",
        "special.erf_into: x * _polynomial(SMALL, np.minimum(size, 1.0) ** 2) (upcast)",
    ],
    "the array is the function's own and is not read again, or is a scalar, which is not written into": [
        "layers.merge._maximum: g * (a > b) (in place)",
        "layers.merge._maximum: g * (a >= b) (in place)",
        "layers.softmax._log_softmax: shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)) (in place)",
        "layers.softmax._softmax: e / e.sum(axis=-1, keepdims=True) (in place)",
        "losses._softmax_cross_entropy: loss * share (in place)",
        "losses._softmax_cross_entropy: y * mass (in place)",
        "losses._softmax_cross_entropy: y - t (in place)",
    ],
    "logits are rows of classes, so that axis 1 is the last": [
        "losses._softmax_cross_entropy: -1 -> 1 (sign)",
        "losses._softmax_cross_entropy: -1 -> 1 (sign) #2",
        "losses._softmax_cross_entropy: -1 -> 1 (sign) #3",
    ],
    "y > 0 exactly where x > 0, for every slope in [0, 1)": [
        "layers.elementwise._leaky_relu: x -> y (wrong residual)",
        "layers.elementwise._leaky_relu: x -> y (wrong residual) #2",
    ],
    "`known` is read only where -1 is in the shape": [
        "layers.merge._reshape: -prod(shape) if -1 in shape else 0 -> -prod(shape) (dropped branch)",
        "layers.merge._reshape: 0 -> 1 (off by one)",
    ],
    "moves erf by less than a unit in its last place": [
        "special.TAIL: 1.0072167005051338e-08 -> 1.007226772672139e-08 (eps)",
        "special.TAIL: 1.2527753906174014e-06 -> 1.2527879183713078e-06 (eps)",
        "special.TAIL: 2.3577887451674211e-07 -> 2.357812323054873e-07 (eps)",
        "special.TAIL: 2.441914408170168e-08 -> 2.44193882731425e-08 (eps)",
        "special.TAIL: 2.932539939512112e-07 -> 2.932569264911507e-07 (eps)",
        "special.TAIL: 4.678647880859019e-08 -> 4.678694667337828e-08 (eps)",
    ],
    "only keeps what np.where throws away from overflowing": [
        "special.erf_into: 1.0 -> 1.00001 (eps)",
        "special.erf_into: 1.0 -> 2.0 (factor)",
    ],
    "beyond 6 erf rounds to 1, cut or not": [
        "special.erf_into: 6.0 -> 12.0 (factor)",
        "special.erf_into: 6.0 -> 6.00006 (eps)",
    ],
    "at 1 both branches are right": [
        "special.erf_into: size > 1.0 -> size >= 1.0 (condition)",
    ],
    "the result is larger than the array, which is not written into": [
        "losses._softmax_cross_entropy: log_total - shifted (in place)",
    ],
}

EQUIVALENT = {name: reason for reason, names in REASONS.items() for name in names}
