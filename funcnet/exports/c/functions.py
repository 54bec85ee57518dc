"""Functions of a file of C99: those of NumPy that C has not, and those of `native/*.h`, with plain products."""

from __future__ import annotations

import re
from collections.abc import Iterable

from funcnet.native.images import IMAGES_H
from funcnet.native.recurrence import RECURRENCE_H

PRODUCTS = """
/* Y (M, N) = A X (K, N); element (m, k) of A is a[m sm + k sk] */
FN_INLINE void fn_product(const T *restrict a, const long sm, const long sk, const T *restrict x, const long ldx,
                          T *restrict y, const long ldy, const long M, const long K, const long N) {
    for (long m = 0; m < M; m++)
        for (long n = 0; n < N; n++) y[m * ldy + n] = 0;
    for (long k = 0; k < K; k++)
        for (long m = 0; m < M; m++) {
            const T e = a[m * sm + k * sk];
            for (long n = 0; n < N; n++) y[m * ldy + n] += e * x[k * ldx + n];
        }
}

/* t[n, m] = g[m, n], for m < M and n < N */
FN_INLINE void fn_turn(const T *g, const long ldg, T *t, const long ldt, const long M, const long N) {
    for (long m = 0; m < M; m++)
        for (long n = 0; n < N; n++) t[n * ldt + m] = g[m * ldg + n];
}

/* Y (M, N) = A B^T for A (M, K) and B (N, K), which is turned */
FN_INLINE void fn_rows_by_rows(const T *restrict a, const long sm, const long sk, const T *restrict b, const long ldb,
                               T *restrict turned, const long ldt, T *restrict y, const long ldy, const long M,
                               const long K, const long N) {
    fn_turn(b, ldb, turned, ldt, N, K);
    fn_product(a, sm, sk, turned, ldt, y, ldy, M, K, N);
}

/* out (K, G) = sum_t S[t] (K, N) times dz[t] (G, N) turned, one time at once */
FN_INLINE void fn_time_product(const T *S, const long lds, const T *dz, const long ldd, T *restrict out,
                               const long ldo, T *restrict turned, const long K, const long G, const long N,
                               const long B, const long at_once) {
    (void)at_once;
    for (long k = 0; k < K; k++)
        for (long g = 0; g < G; g++) out[k * ldo + g] = 0;
    for (long t = 0; t < B; t++) {
        fn_turn(dz + t * ldd, N, turned, G, G, N);
        for (long k = 0; k < K; k++)
            for (long n = 0; n < N; n++) {
                const T e = S[t * lds + k * N + n];
                for (long g = 0; g < G; g++) out[k * ldo + g] += e * turned[n * G + g];
            }
    }
}
"""
OWN = {
    "maximum": "static {T} {name}({T} a, {T} b) {{ return a > b || a != a ? a : b; }}",
    "minimum": "static {T} {name}({T} a, {T} b) {{ return a < b || a != a ? a : b; }}",
    "where": "static {T} {name}({T} c, {T} a, {T} b) {{ return c != 0 ? a : b; }}",
    "sign": "static {T} {name}({T} x) {{ return x != x ? x : ({T})((x > 0) - (x < 0)); }}",
    "normal_cdf": "static {T} {name}({T} x) {{ return 0.5{f} * erfc{f}(-0.70710678118654752{f} * x); }}",
}
"""Functions of the file's own, by NumPy's names."""
TEXT = PRODUCTS + RECURRENCE_H + IMAGES_H


def named(part: str) -> str:
    """The function, type or macro that a part of the text defines."""
    (name,) = re.findall(r"^(?:(?:FN_INLINE|static) [\w *]*?|#define |typedef .*} )(\w+)[(;]", part, re.M)
    return str(name)


PARTS = re.findall(
    r"(?:^/\*(?:(?!\*/)[^$])*\*/\n)?"
    r"^(?:#define (?:.*\\\n)*.*|typedef .*|(?:FN_INLINE|static) (?:.*}$|(?:.|\n)*?^}))\n",
    TEXT,
    re.M,
)
DEFINED: dict[str, str] = {named(part): part for part in PARTS}
NAMES = frozenset(re.findall(r"\bfn_\w+|\bFN_\w+", TEXT))
HINT = re.compile(r"^FN_(IVDEP|SUM\(.*\))$")


def functions(lines: Iterable[str], name: str, T: str, suffix: str) -> list[str]:
    """What these lines call, and what that calls, named after the file."""
    needed, wanted = set[str](), called(lines) & DEFINED.keys()
    while wanted:
        needed |= wanted
        wanted = (called(DEFINED[found] for found in wanted) & DEFINED.keys()) - needed
    return [in_file(text, name, T, suffix) for found, text in DEFINED.items() if found in needed]


def called(texts: Iterable[str]) -> set[str]:
    """What these texts may call."""
    return {found for text in texts for found in re.findall(r"\b(?:fn|FN)_\w+", text)}


def in_file(text: str, name: str, T: str, suffix: str) -> str:
    """The text as C99, with the names that a file of this name gives to functions, types and macros."""
    text = text.replace("FN_INLINE", "static").replace("FN_IVDEP ", "").replace("FN_TANH", f"tanh{suffix}")
    text = re.sub(r"\b\w+", lambda found: f"{name}_{found[0][3:]}" if found[0] in NAMES else found[0], text)
    return re.sub(r"(?<!\^)\bT\b", T, text)
