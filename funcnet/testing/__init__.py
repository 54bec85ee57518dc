"""Tests of a layer: its derivatives, and every law that funcnet's own layers keep.

    check_vjp(layer, (4,))        check_layer(layer, (4,))

Each law is a function of its own in `derivatives`, `conduct` and `program`; the first one broken raises a LawError,
which names the law, the place and both numbers. Imports training and all below it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from funcnet.arrays import Array, Shape
from funcnet.calling import checks_call
from funcnet.core import Layer
from funcnet.networks.parts import check
from funcnet.testing import conduct, derivatives
from funcnet.testing.program import program_equals_the_function
from funcnet.testing.subject import LawError, Subject, hold_with_and_without_key

__all__ = ["LawError", "check_layer", "check_vjp"]

OF_VJP = (conduct.cotangents_fit_the_primals, *derivatives.LAWS)
LAWS = (*OF_VJP, *conduct.LAWS, program_equals_the_function)


@checks_call
def check_vjp(
    layer: Layer[Any, Any],
    *input_shapes: Shape,
    batch: int = 3,
    holomorphic: bool = False,
    labels: Mapping[int, int] | None = None,
    masks: Collection[int] = (),
    domain: Callable[[Array], Array] | None = None,
    seed: int = 0,
) -> None:
    """Compare a layer's VJP with differences of its function, in float64, for random cotangents.

    dL / dx_i for L = <g, f(params, inputs)>        <g, J v> = <J^T g, v>        J^T (s g + h) = s J^T g + J^T h
    Every element of params and inputs is moved in turn, then all of them at once. Shapes leave out the batch axis. A
    random layer is looked at without a key, and with one.

    holomorphic: the function may be given complex numbers; then Im f(x + ih) / h at h = 1e-30 is exact to rounding, and
    1e-12 is demanded (Squire and Trapp 1998); else central differences at 6e-6, and 1e-8. Both relative to the largest.
    labels: which inputs are integers, and below which number, for instance `labels={1: 10}`.
    masks: which inputs are bools; each row of one is True in its first place.
    domain: maps standard normal draws to where the function is defined, for instance `np.exp`.
    Raises LawError, which names the law, the place and both numbers.
    """
    check("check_vjp", (layer,), multi_output=True)
    subject = Subject(layer, input_shapes, batch, holomorphic, True, labels or {}, masks, domain, 0.0, seed)
    hold_with_and_without_key(OF_VJP, subject)


@checks_call
def check_layer(
    layer: Layer[Any, Any],
    *input_shapes: Shape,
    batch: int = 3,
    holomorphic: bool = False,
    rowwise: bool = True,
    labels: Mapping[int, int] | None = None,
    masks: Collection[int] = (),
    domain: Callable[[Array], Array] | None = None,
    extreme: float = 800.0,
    seed: int = 0,
) -> None:
    """Run every law over a layer: those of `check_vjp`, and those of conduct.

    Conduct: shapes and dtypes in float32 and float64; nothing is written into, shared or kept; any memory layout; an
    empty batch and single rows; large numbers and NaN; pickling; the compiled program equals the function.

    rowwise: each row of the output depends on that row of the inputs alone; False for what looks at the whole batch.
    extreme: inputs of this size, and of both signs, must give finite outputs and cotangents.
    batch, holomorphic, labels, masks, domain: as in `check_vjp`. Raises LawError.
    """
    check("check_layer", (layer,), multi_output=True)
    subject = Subject(layer, input_shapes, batch, holomorphic, rowwise, labels or {}, masks, domain, extreme, seed)
    hold_with_and_without_key(LAWS, subject)
