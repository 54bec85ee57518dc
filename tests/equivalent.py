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
        "layers.axes._mean: 1.0 / _elements(axes, x) (upcast)",
        "layers.axes._slice: (builtins.slice(None),) * place (upcast)",
        "layers.norm._by_batch: 1.0 / max(x.size // x.shape[-1], 1) (upcast)",
        "layers.norm._feature_mean: 1.0 / a.shape[-1] (upcast)",
        "layers.norm._over_rows: a.ndim - 1 (upcast)",
        "losses.classification._softmax_cross_entropy: 1.0 - smoothing (upcast)",
        "losses.classification._softmax_cross_entropy: 1.0 - smoothing (upcast) #2",
        "losses.classification._softmax_cross_entropy: smoothing / z.shape[1] (upcast)",
        "losses.reduction._plain: 1.0 / (rows * features if averaged else rows) (upcast)",
        "losses.reduction._plain: rows * features (upcast)",
        "losses.reduction._weighted: 1.0 / features (upcast)",
        "losses.reduction.column: (None,) * (like.ndim - 1) (upcast)",
        "losses.reduction.column: like.ndim - 1 (upcast)",
        "losses.regression._gaussian_nll: 0.5 * terms.share (upcast)",
        "losses.regression._mse: 2.0 * terms.share (upcast)",
        "calls.dropout_mask_into: 1.0 - rate (upcast)",
        "calls.dropout_mask_into: 1.0 / (1.0 - rate) (upcast)",
        "calls.put_back_into: index * features (upcast)",
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
        "layers.axes._mean: y * share (in place)",
        "layers.norm._rms_norm: k - h * _feature_mean(k * h) (in place)",
        "layers.norm._standardised: d - mean(d) (in place)",
        "layers.norm._standardised: d / r (in place)",
        "layers.norm._unstandardised: k * h (in place)",
        "layers.norm._unstandardised: k - mean(k) (in place)",
        "losses.classification._sigmoid_cross_entropy: p - t (in place)",
        "losses.classification._softmax_cross_entropy: L * terms.share (in place)",
        "losses.classification._softmax_cross_entropy: log_total - shifted (in place)",
        "losses.classification._softmax_cross_entropy: p * mass (in place)",
        "losses.classification._softmax_cross_entropy: p - s (in place)",
        "losses.reduction._weighted: total / whole (in place)",
        "losses.regression._gaussian_nll: d * q (in place)",
        "losses.regression._huber: d - c * 0.5 (in place)",
    ],
    "logits are rows of classes, so that axis 1 is the last": [
        "losses.classification._softmax_cross_entropy: -1 -> 1 (sign)",
        "losses.classification._softmax_cross_entropy: -1 -> 1 (sign) #2",
        "losses.classification._softmax_cross_entropy: -1 -> 1 (sign) #3",
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
    "axes may be counted from either end": [
        "layers.axes._max: places -> axes (wrong residual) #2",
    ],
    "an axis that is as far from the end as there are axes is the batch, and refused as such": [
        "layers.axes._places: -x.ndim < axis < x.ndim -> -x.ndim <= axis < x.ndim (condition)",
    ],
    "mean and var are both None or neither, which has been checked": [
        "layers.norm._batch_norm: mean is None or var is None -> mean is None (condition)",
        "layers.norm._batch_norm: mean is None or var is None -> var is None (condition)",
    ],
    "one draw in 2^24 is the rate itself": [
        "calls.dropout_mask_into: draws >= rate -> draws > rate (condition)",
    ],
    "NumPy takes any length below 0 for the one that it is to find": [
        "calls.put_back_into: 1 -> 2 (off by one) #2",
    ],
}

EQUIVALENT = {name: reason for reason, names in REASONS.items() for name in names}
