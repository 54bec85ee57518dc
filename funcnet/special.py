"""The error function, which NumPy lacks.

    |x| <= 1:   erf x = x P(x^2)
    |x| >  1:   erf x = sign(x) (1 - exp(-x^2) Q((|x| - 3) / (|x| + 3))), cut at |x| = 6, beyond which it rounds to 1

P and Q are the Chebyshev interpolants of degree 12 and 19 of erf(sqrt s) / sqrt s and of exp(x^2) erfc x, computed with
40 digits; their errors are below 1e-18 and 1e-20, so that rounding alone is left.
"""

from __future__ import annotations

import numpy as np

from funcnet.arrays import Array
from funcnet.calls import elementwise_call

SMALL = (
    1.1283791670955126,
    -0.3761263890318375,
    0.11283791670954879,
    -0.026866170645076792,
    0.0052239776248180145,
    -0.000854832698083379,
    0.0001205533111164271,
    -1.4925595266831182e-05,
    1.6461000484121368e-06,
    -1.6350312701054695e-07,
    1.4659775274047436e-08,
    -1.1372848856791674e-09,
    5.957176147748911e-11,
)
TAIL = (
    0.17900115118138996,
    -0.3262335600430372,
    0.24560380171233087,
    -0.15011593650077723,
    0.07166583719797849,
    -0.0243924993186706,
    0.004269136332825739,
    0.0007077464388833582,
    -0.0005970619483056264,
    4.5255299038074156e-05,
    6.405655476830958e-05,
    -1.2860499068831538e-05,
    -7.978154535520423e-06,
    2.119965615030371e-06,
    1.2527753906174014e-06,
    -2.932539939512112e-07,
    -2.3577887451674211e-07,
    2.441914408170168e-08,
    4.678647880859019e-08,
    1.0072167005051338e-08,
)


def erf(x: Array) -> Array:
    """erf x = 2 / sqrt(pi) int_0^x exp(-t^2) dt, for an array or a recorded value."""
    y: Array = elementwise_call(erf_into, x)
    return y


def erf_into(x: Array, out: Array) -> None:
    """Write erf x into out."""
    size = np.minimum(np.abs(x), 6.0)
    small = x * _polynomial(SMALL, np.minimum(size, 1.0) ** 2)
    tail = np.copysign(1.0 - np.exp(-size * size) * _polynomial(TAIL, (size - 3.0) / (size + 3.0)), x)
    np.copyto(out, np.where(size > 1.0, tail, small))


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """sum c_k x^k, by Horner's rule."""
    y = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        y *= x
        y += c
    return y
