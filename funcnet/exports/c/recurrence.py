"""Recurrence in C99: the functions of `native/recurrence.h`, with plain products, in the words of a file."""

from __future__ import annotations

import re
from collections.abc import Collection

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

/* out (K, G) = sum_t S[t] (K, N) times dz[t] (G, N) turned */
FN_INLINE void fn_time_product(const T *S, const long lds, const T *dz, const long ldd, T *restrict out,
                               const long ldo, T *restrict turned, const long K, const long G, const long N,
                               const long B) {
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
TILES = re.compile(r",\s*const int m[rx]\b|, m[rx], 0(?=\))")
"""How large the tiles of products are, which plain ones do not ask."""


NAMES = frozenset(re.findall(r"\bfn_\w+|\bFN_\w+", PRODUCTS + RECURRENCE_H))


def cell_functions(calls: Collection[str], name: str, T: str, tanh: str) -> list[str]:
    """The functions that these lines call and those that they call, named after the file."""
    whole = PRODUCTS + TILES.sub("", RECURRENCE_H)
    functions = re.findall(r"(?:^/\*(?:(?!\*/)[^$])*\*/\n)?^FN_INLINE (?:.|\n)*?^}\n", whole, re.M)
    texts = {re.findall(r"FN_INLINE void (\w+)", text)[0]: text for text in functions}
    needed, wanted = set[str](), {found for line in calls for found in re.findall(r"fn_\w+", line)} & texts.keys()
    while wanted:
        needed |= wanted
        wanted = ({found for text in wanted for found in re.findall(r"fn_\w+", texts[text])} & texts.keys()) - needed
    if not needed:
        return []
    heads = re.findall(r"^(?:typedef|#define) .*\n", RECURRENCE_H, re.M)
    return [in_words_of(text, name, T, tanh) for text in (*heads, *(texts[f] for f in texts if f in needed))]


def in_words_of(text: str, name: str, T: str, tanh: str) -> str:
    """The text as C99, with the file's names."""
    text = text.replace("FN_INLINE", "static").replace("FN_IVDEP ", "").replace("FN_TANH", tanh)
    return re.sub(r"\bT\b", T, in_file(text, name))


def in_file(text: str, name: str) -> str:
    """The text with the names that a file of this name gives to functions, types and macros."""
    return re.sub(r"\b\w+", lambda found: f"{name}_{found[0][3:]}" if found[0] in NAMES else found[0], text)
