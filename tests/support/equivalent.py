"""Mutants that nobody can tell from the original, by the reason why."""

# ruff: noqa: E501
from __future__ import annotations

REASONS: dict[str, list[str]] = {
    "NumPy makes the dtype of the dict at each call, which takes longer": [
        "compiler.layout.Layout.__init__: np.dtype({'names': names, 'formats': [(dtype, shape) for shape in shapes], 'offsets': [start * dtype.itemsize for start in starts[:-1]], 'itemsize': self.count * dtype.itemsize}) -> {'names': names, 'formats': [(dtype, shape) for shape in shapes], 'offsets': [start * dtype.itemsize for start in starts[:-1]], 'itemsize': self.count * dtype.itemsize} (dropped branch)",
    ],
    "the fields are got one after the other, which takes longer": [
        "compiler.layout.fields_getter: 1 -> 2 (off by one)",
        "compiler.layout.fields_getter: itemgetter(*names) if len(names) > 1 else lambda record: tuple([record[name] for name in names]) -> lambda record: tuple([record[name] for name in names]) (dropped branch)",
    ],
    "what is kept is made anew at each call, which takes longer": [
        "compiler.workspace.Workspace.read: self.places or self.layout.views(self.own) -> self.layout.views(self.own) (condition)",
    ],
    "dtypes that are one object are equal: to compare them takes longer": [
        "compiler.programs.Compiled.acquire: x.dtype is not dtype and x.dtype != dtype -> x.dtype != dtype (condition)",
    ],
    "a whole batch that has been planned is planned again, which takes longer": [
        "compiler.programs.Compiled._make: whole if n == rows else self._plan(params_cache.layout, arrays, keyed, n, rows) -> self._plan(params_cache.layout, arrays, keyed, n, rows) (dropped branch)",
    ],
    "a batch that is not cut is taken whole, wherever it is said to begin": [
        "compiler.programs.Compiled._make: 0 -> 1 (off by one) #2",
    ],
    "params that are read where they are stay there: to count them as copied makes a difference in time alone": [
        "compiler.programs.CompiledFunction.__call__: vector is not None and space.copies -> vector is not None (condition)",
    ],
    "how many workspaces are kept, and about how many bytes a call takes, makes a difference in time and memory alone": [
        "compiler.program_cache.BYTES_PER_CALL: 1500 -> 1501 (off by one)",
        "compiler.program_cache.MAX_POOLED: 8 -> 9 (off by one)",
    ],
    "how many params are recognised makes a difference in time and memory alone": [
        "compiler.params_cache.RECENT: 8 -> 9 (off by one)",
    ],
    "of no dicts and lists none has changed: to look takes longer": [
        "compiler.params_cache.ParamsCache.recognise: nodes and (not are_as_they_were(nodes)) -> not are_as_they_were(nodes) (condition)",
    ],
    "how many rows are copied at a time makes a difference in time alone": [
        "compiler.workspace.(ROWS_AT_ONCE, FEWEST_FEATURES): 32 -> 33 (off by one)",
        "compiler.workspace.(ROWS_AT_ONCE, FEWEST_FEATURES): 64 -> 65 (off by one)",
    ],
    "parts give the same, whatever they are: it takes longer": [
        "tracing.special.normal_cdf_into: 1 -> 2 (off by one)",
        "tracing.special.PART: 16384 -> 16385 (off by one)",
    ],
    "the longer polynomials are right for single precision too, and take longer": [
        "tracing.special._write_normal_cdf: SINGLE if x.dtype == np.float32 else (CENTRE, TAIL) -> (CENTRE, TAIL) (dropped branch)",
    ],
    "of rows alone it is asked where they are": [
        "tracing.windows.lower: 1 -> 2 (off by one) #7",
    ],
    "what windows that lie side by side write is added to zeros, which takes longer": [
        "tracing.windows.maximum_grad: step >= window.extent(axis) -> step > window.extent(axis) (condition)",
    ],
    "how many times are computed at once makes a difference in time alone": [
        "tracing.cells.SPAN: 64 -> 65 (off by one)",
        "tracing.recurrence.COLUMNS: 1024 -> 1025 (off by one)",
        "tracing.recurrence.time_product: 1 -> 2 (off by one)",
        "tracing.recurrence.time_product: 1 -> 2 (off by one) #2",
    ],
    "what it does besides takes time or memory, and nobody reads it": [
        "tracing.windows.over_windows: image[image_part] if out[part].shape == out.shape else start -> start (dropped branch)",
        "layers.recurring.gru_function: 0 -> 1 (off by one) #3",
        "layers.recurring.gru_function: 0 -> 1 (off by one) #5",
        "tracing.recurrence.time_product: [] if times else [(out.fill, (0,))] -> [(out.fill, (0,))] (dropped branch)",
        "tracing.recurrence.time_product: memory.empty(out[block].shape, dz.dtype) if times > count else None -> memory.empty(out[block].shape, dz.dtype) (dropped branch)",
        "tracing.recurrence.time_product: times > count -> times >= count (condition)",
    ],
    "both are equal only where each axis has one element": [
        "tracing.products.calls: abs(z.strides[at(c)]) > abs(z.strides[at(r)]) -> abs(z.strides[at(c)]) >= abs(z.strides[at(r)]) (condition)",
    ],
    "operands are all recorded or all arrays, and those of calls that ask for memory have one dtype": [
        "tracing.recurrence.run: 0 -> 1 (off by one)",
        "tracing.recurrence.run: 0 -> 1 (off by one) #2",
        "tracing.recurrence.run: 0 -> 1 (off by one) #3",
    ],
    "past the end of a sequence no state is read, and no cotangent meets the 1": [
        "tracing.recurrence.states: size + 1 -> size (dropped branch) #3",
    ],
    "NumPy takes Python's number in the dtype of the array, which takes longer": [
        "tracing.recurrence.numbers: np.array(0.5, dtype) -> 0.5 (dropped branch)",
        "tracing.recurrence.numbers: np.array(1, dtype) -> 1 (dropped branch)",
    ],
    "an array lies as it does itself, and any of several numbers is no matrix": [
        "compiler.binding.Binding.in_line: 0 -> 1 (off by one) #2",
        "compiler.binding.Binding.in_line: a is first or lie_alike(a, first) -> lie_alike(a, first) (condition)",
    ],
    "a view has a base: it is asked for the type checker": [
        "tracing.images.image: base is not None and base.order is not None -> base.order is not None (condition)",
    ],
    "only the padding 'same' depends on the lengths, and here it is 'valid'": [
        "layers.pooling._upsample: -1 -> 1 (sign) #2",
        "layers.pooling._upsample: 1 -> 2 (off by one) #3",
        "layers.pooling._upsample: 1 -> 2 (off by one) #4",
    ],
    "a number times 1 is that number; it takes longer": [
        "losses.classification._softmax_cross_entropy: t * (1.0 - smoothing) + smoothing / z.shape[-1] if smoothing else t -> t * (1.0 - smoothing) + smoothing / z.shape[-1] (dropped branch)",
        "losses.classification._of_labels: smoothing -> terms (wrong residual)",
        "compiler.workspace.taker: partial(y.__getitem__, ()) if factor == 1.0 else lambda: y[()] * factor -> lambda: y[()] * factor (dropped branch)",
        "compiler.workspace.Blocks.hand_out: total if total.ndim else total[()] * self.plan.factors[place] -> total[()] * self.plan.factors[place] (dropped branch)",
    ],
    "a value that is no view of another has no view function: what follows is asked for the type checker": [
        "compiler.planning.stored: value.base is not None and value.view is not None -> value.view is not None (condition)",
        "compiler.fusion.holder: root.base is not None and isinstance(root.view, Reshape) -> isinstance(root.view, Reshape) (condition)",
    ],
    "how long a block is makes a difference in time alone, and a row takes more bytes than that": [
        "compiler.blocking.SMALL_PRODUCT: 1000000 -> 1000001 (off by one)",
        "compiler.blocking.spans: 1 -> 2 (off by one)",
        "compiler.blocking.spans: 1 -> 2 (off by one) #2",
        "compiler.blocking.product_size: 1 -> 2 (off by one)",
        "compiler.blocking.product_size: 1 -> 2 (off by one) #2",
    ],
    "the rest of LINE and that of -LINE by 2 LINE are one number": [
        "compiler.blocking.even: most - LINE -> most + LINE (sign)",
    ],
    "zeros are the only call that reads no value, and add up": [
        "compiler.blocking.separable: call.primitive.sums_rows and (not call.operands) -> not call.operands (condition)",
    ],
    "a gap before the first value of a packed buffer does no harm": [
        "compiler.fusion.packed_in: 0 -> 1 (off by one)",
    ],
    "the values of a packed buffer have one trace and one dtype": [
        "compiler.fusion.packed_in: 0 -> 1 (off by one) #2",
        "compiler.fusion.packed_in: 0 -> 1 (off by one) #3",
    ],
    "a value that is fused was made by a call: it is asked for the type checker": [
        "compiler.fusion.settle: call is None or not call.primitive.elementwise or value.elements < 2 -> not call.primitive.elementwise or value.elements < 2 (condition)",
    ],
    "a value that is made where it stands takes less time if it is one element, and is the same number": [
        "compiler.fusion.settle: call is None or not call.primitive.elementwise or value.elements < 2 -> call is None or not call.primitive.elementwise (condition)",
        "compiler.fusion.settle: value.elements < 2 -> value.elements <= 2 (condition)",
        "compiler.fusion.settle: 2 -> 3 (off by one)",
    ],
    "a result is read by nobody else, or is counted more than once anyway": [
        "compiler.planning.eliminate_dead_code: 1 -> 2 (off by one)",
    ],
    "only whether a value is read at all counts by then": [
        "compiler.fusion.packed_in: 1 -> 2 (off by one) #3",
        "compiler.planning.place_gradient: 1 -> 2 (off by one) #2",
    ],
    "no call has a number below 0, so that -1 and -2 both come before all": [
        "compiler.planning.assign_buffers: 1 -> 2 (off by one)",
        "compiler.planning.fits_over_params: 1 -> 2 (off by one)",
    ],
    "the length of the batch, of which only the axis counts": [
        "layers.position._draw: 1 -> 2 (off by one)",
    ],
    "a mask has the axes of its values up to those reduced, so that behind the batch the first is never lacking": [
        "layers.axes._masked: 1 -> 2 (off by one)",
    ],
    "`out` has a dtype of its own, to which the wider result is cast back": [
        "layers.recurring.gru_function: plain_inputs[:, :2 * size] * 0.5 (upcast)",
        "tracing.special._write_normal_cdf: (x > 0.0) - below (upcast)",
        "tracing.special._write_normal_cdf: 0.5 - size * _polynomial(p, np.minimum(size, 1.0) ** 2) (upcast)",
        "tracing.special._write_normal_cdf: np.exp(size * size * -0.5) * _polynomial(q, (size - 4.0) / (size + 4.0)) (upcast)",
    ],
    "the array was made by the function, or in its own call of the pullback, and is not read again": [
        "losses.classification._of_labels: picked * (1.0 - smoothing) (in place)",
        "losses.classification._of_labels: s * (1.0 - smoothing) (in place)",
        "layers.attention.attend: dP - contract('nq(hv),nq(hv)->nqh', g, y, heads=heads)[:, None] (in place)",
        "layers.attention._attention: dx + dz (in place)",
        "layers.attention._attention: of_keys + of_values (in place)",
        "layers.attention.attend: dP * m (in place)",
        "layers.attention.attend: scores - largest (in place)",
        "layers.attention.attend: total + (total == 0.0) (in place)",
        "layers.position.waves: np.sin(angle) (in place)",
        "layers.merge._maximum: g * (a > b) (in place)",
        "layers.softmax._log_softmax: shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)) (in place)",
        "layers.activations._logistic: e / (e + 1.0) (in place)",
        "layers.softmax._softmax: e / e.sum(axis=-1, keepdims=True) (in place)",
        "layers.axes._mean: y * share (in place)",
        "layers.norm._rms_norm: k - h * _feature_mean(k * h) (in place)",
        "layers.norm.standardised: d - mean(d) (in place)",
        "layers.norm.standardised: d / r (in place)",
        "layers.norm.unstandardised: k * h (in place)",
        "losses.classification._sigmoid_cross_entropy: p - t (in place)",
        "losses.classification._softmax_cross_entropy: L * terms.share (in place)",
        "layers.axes._masked: y / total (in place)",
        "layers.axes._masked: g * w (in place)",
        "layers.axes._masked: g * w (in place) #2",
        "layers.axes._masked: total + (total == 0.0) (in place)",
        "losses.regression._gaussian_nll: d * q (in place)",
        "losses.regression._huber: d - c * 0.5 (in place)",
        "losses.regression._pinball: sign * sign (in place)",
        "losses.regression._log_cosh: size + np.log1p(np.expm1(size * -2.0) * 0.5) (in place)",
        "layers.convolution._conv: y + b (in place)",
        "layers.convolution._conv_transpose: y + b (in place)",
    ],
    "a view of a whole array is that array": [
        "losses.reduction.column: g.ndim < like.ndim -> g.ndim <= like.ndim (condition)",
        "losses.reduction.column: g[*(slice(None),) * g.ndim, *(None,) * (like.ndim - g.ndim)] if g.ndim < like.ndim else g -> g[*(slice(None),) * g.ndim, *(None,) * (like.ndim - g.ndim)] (dropped branch)",
        "layers.axes._mask: m.ndim < x.ndim -> m.ndim <= x.ndim (condition)",
        "layers.axes._mask: m[*(builtins.slice(None),) * m.ndim, *(None,) * (x.ndim - m.ndim)] if m.ndim < x.ndim else m -> m[*(builtins.slice(None),) * m.ndim, *(None,) * (x.ndim - m.ndim)] (dropped branch)",
    ],
    "computed in float64, and rounded at the end": [
        "layers.position.waves: (i - i % 2) / max(features, 1) (upcast)",
        "layers.position.waves: i - i % 2 (upcast)",
        "layers.position.waves: np.arange(length)[:, None] / 10000.0 ** ((i - i % 2) / max(features, 1)) (upcast)",
    ],
    "such params or inputs are refused later, whatever is returned": [
        "layers.attention._draw: 0 -> 1 (off by one)",
        "layers.bidirectional._of_forward: 0 -> 1 (off by one) #2",
    ],
    "values that are recorded hold no numbers to be cast or written over": [
        "tracing.primitives.concatenate: v * 1.0 (upcast)",
        "tracing.primitives.concatenate: v * 1.0 (in place)",
    ],
    "without an initial state nothing is cut": [
        "layers.bidirectional._bidirectional: 0 -> 1 (off by one) #2",
    ],
    "of one feature the exponent is 0, whatever it is divided by": [
        "layers.position.waves: 1 -> 2 (off by one)",
    ],
    "a gradient padded by nothing is that gradient": [
        "layers.position._positional: dE if length == E.shape[0] else pad(dE, index, E) -> pad(dE, index, E) (dropped branch)",
        "layers.position._positional: length -> index (wrong residual)",
    ],
    "the last axis of a matrix is its axis 1": [
        "layers.recurring.gru_function: np.concatenate([plain[:, :size], plain[:, size:] * 0.5], axis=1) -> np.concatenate([plain[:, :size], plain[:, size:] * 0.5], axis=-1) (axis)",
        "layers.recurring.gru_function: np.concatenate([plain_inputs[:, :2 * size] * 0.5, plain_inputs[:, 2 * size:]], axis=1) -> np.concatenate([plain_inputs[:, :2 * size] * 0.5, plain_inputs[:, 2 * size:]], axis=-1) (axis)",
        "layers.recurrent._draw: np.concatenate([drawn(recurrent, k, (units, units), dtype) for k in recurrent_keys], axis=1) -> np.concatenate([drawn(recurrent, k, (units, units), dtype) for k in recurrent_keys], axis=-1) (axis)",
        "layers.recurrent._draw: np.concatenate([drawn(weights, k, (shape[1], units), dtype) for k in weight_keys], axis=1) -> np.concatenate([drawn(weights, k, (shape[1], units), dtype) for k in weight_keys], axis=-1) (axis)",
        "layers.bidirectional._bidirectional: np.concatenate([from_forward[-1], from_backward[-1]], axis=1) -> np.concatenate([from_forward[-1], from_backward[-1]], axis=-1) (axis)",
        "layers.recurring.lstm_function: np.concatenate([M[:, :3 * size] * 0.5, M[:, 3 * size:]], axis=1) -> np.concatenate([M[:, :3 * size] * 0.5, M[:, 3 * size:]], axis=-1) (axis)",
    ],
    "the sum over no axes is the array, that of one channel the channel": [
        "losses.reduction._summed: x.sum(axis=tuple(range(axes, x.ndim))) if axes < x.ndim else x -> x.sum(axis=tuple(range(axes, x.ndim))) (dropped branch)",
        "losses.reduction._summed: axes < x.ndim -> axes <= x.ndim (condition)",
        "layers.group_norm._mean_of_groups: a.sum(axis=places) if places else a -> a.sum(axis=places) (dropped branch)",
        "layers.group_norm._mean_of_groups: groups < channels -> groups <= channels (condition)",
    ],
    "dropped at the rate 0, each weight is multiplied by 1": [
        "layers.attention.attend: key is not None and rate -> key is not None (condition)",
    ],
    "where no mask hides a key the largest score is finite, and the sum of weights at least 1": [
        "layers.attention.attend: np.maximum(largest, float(np.finfo(k.dtype).min)) if masks else largest -> np.maximum(largest, float(np.finfo(k.dtype).min)) (dropped branch)",
        "layers.attention.attend: total + (total == 0.0) if masks else total -> total + (total == 0.0) (dropped branch)",
    ],
    "0 divided by -1 is 0 too": [
        "layers.attention.attend: total + (total == 0.0) -> total - (total == 0.0) (sign)",
    ],
    "the label 0 becomes 0": [
        "tracing.primitives.known_labels_into: 0 -> 1 (off by one) #2",
        "tracing.primitives.known_labels_into: labels < 0 -> labels <= 0 (condition)",
    ],
    "y > 0 exactly where x > 0, for every slope in (0, 1)": [
        "layers.activations._leaky_relu: x -> y (wrong residual)",
        "layers.activations._leaky_relu: x -> y (wrong residual) #2",
    ],
    "only keeps what np.where throws away from overflowing": [
        "tracing.special._write_normal_cdf: 1.0 -> 1.00001 (eps)",
        "tracing.special._write_normal_cdf: 1.0 -> 2.0 (factor)",
        "tracing.special._write_normal_cdf: np.minimum(size, 1.0) -> size (dropped branch)",
    ],
    "at 0 the other form is kept": [
        "tracing.special._write_normal_cdf: x > 0.0 -> x >= 0.0 (condition)",
    ],
    "moves the result by less than the rounding of exp(-x^2 / 2), or of 1/2, does": [
        "tracing.special.CENTRE: 4.0743269774266276e-12 -> 4.074367720696402e-12 (eps)",
        "tracing.special.TAIL: 1.3015864363038573e-09 -> 1.3015994521682205e-09 (eps)",
        "tracing.special.TAIL: 9.155031907276119e-10 -> 9.155123457595192e-10 (eps)",
    ],
    "beyond 40 the result rounds to 1, cut there or later": [
        "layers.activations._logistic: 40.0 -> 40.0004 (eps)",
        "layers.activations._logistic: 40.0 -> 80.0 (factor)",
    ],
    "beyond 40 the tail rounds to 0, cut or not": [
        "tracing.special._write_normal_cdf: 40.0 -> 80.0 (factor)",
        "tracing.special._write_normal_cdf: 40.0 -> 40.0004 (eps)",
    ],
    "at 1 both branches are right": [
        "tracing.special._write_normal_cdf: size > 1.0 -> size >= 1.0 (condition)",
    ],
    "NumPy, too, counts axes from either end, and these have been checked": [
        "layers.axes._masked: places -> axes (wrong residual) #2",
        "layers.axes._max: places -> axes (wrong residual) #2",
    ],
    "-ndim % ndim is 0, which is also what stands for an axis that is not there: the error is the same": [
        "layers.axes._places: -x.ndim < axis < x.ndim -> -x.ndim <= axis < x.ndim (condition)",
    ],
    "mean and var are both None or neither, which has been checked": [
        "layers.norm._batch_norm: mean is None or var is None -> mean is None (condition)",
        "layers.norm._batch_norm: mean is None or var is None -> var is None (condition)",
    ],
    "rows are none or at least two, and the sums over no rows are 0 whatever they are multiplied by": [
        "layers.norm._by_batch: 1 -> 2 (off by one) #3",
    ],
    "NumPy takes any length below 0 for the one that it is to find, -2 as -1": [
        "tracing.recurrence.flat: 1 -> 2 (off by one)",
        "tracing.windows.matrices: 1 -> 2 (off by one) #2",
        "tracing.primitives.scatter_add_into: 1 -> 2 (off by one) #2",
    ],
    "integers are not float32, which alone is widened": [
        "tracing.primitives.scatter_add_into: index * features (upcast)",
    ],
    "g is the pullback's own, and is read once more, where a > b; there a >= b, so that it still holds what it held": [
        "layers.merge._maximum: g * (a >= b) (in place)",
    ],
    "h has mean 0, so that mean(k h) is the same for k and for k - mean k, to the rounding of either; k is the caller's g s": [
        "layers.norm.unstandardised: k - mean(k) (in place)",
    ],
    "no label is None: it takes longer": [
        "losses.reduction.weight_of_batch: True if ignored is None else labels != ignored -> labels != ignored (dropped branch)",
    ],
    "only whether a number is 0 counts, which it is in both dtypes": [
        "losses.reduction._finite: np.abs(column(w, a)) + np.isfinite(a) (upcast)",
    ],
    "at z = 0 both terms are 0": [
        "losses.classification._sigmoid_cross_entropy: z > 0.0 -> z >= 0.0 (condition)",
    ],
    "it is a scalar, which is not written into": [
        "losses.reduction._of_weights: total / whole (in place)",
    ],
    "the result is larger than log_total, which is not written into; or, of one class, both are 0 and stay 0": [
        "losses.classification._softmax_cross_entropy: log_total - shifted (in place)",
    ],
}

EQUIVALENT = {name: reason for reason, names in REASONS.items() for name in names}
