/* The gradient of the weights of a recurrence: a sum over all times, in tiles that stay in registers for several times.
   T, VL, FN_TILE, FN_INLINE, FN_UNROLL, fn_vector and fn_turn come from outside. */

/* y[i, g] = sum_t sum_n a[t lda + i N + n] x[t, n, g], for i < mr, two vectors of g of which the first `lanes` elements
   are stored, and `times`; added to y unless it is the first */
FN_INLINE void fn_time_tile(const T *restrict a, const long lda, const T *restrict x, T *restrict y, const long ldy,
                            const long N, const long times, const int mr, const int lanes, const int first) {
    fn_vector s[6][2];
    FN_UNROLL for (int i = 0; i < mr; i++) FN_UNROLL for (int l = 0; l < 2; l++) s[i][l] = (fn_vector){0};
    for (long t = 0; t < times; t++) for (long n = 0; n < N; n++) {
        const T *const row = x + (t * N + n) * 2 * VL;
        const fn_vector b = *(const fn_vector *)row, c = *(const fn_vector *)(row + VL);
        FN_UNROLL for (int i = 0; i < mr; i++) {
            const T w = a[t * lda + i * N + n];
            s[i][0] += w * b; s[i][1] += w * c;
        }
    }
    FN_UNROLL for (int i = 0; i < mr; i++) {
        T *const to = y + i * ldy;
        if (lanes == 2 * VL) FN_UNROLL for (int l = 0; l < 2; l++) {
            fn_vector *const at = (fn_vector *)(to + VL * l);
            if (!first) s[i][l] += *at;
            *at = s[i][l];
        }
        else for (int e = 0; e < lanes; e++) {
            const T sum = e < VL ? s[i][0][e] : s[i][1][e - VL];
            to[e] = first ? sum : to[e] + sum;
        }
    }
}

/* The same for K rows and one panel of columns, of which dz has `lanes` */
FN_INLINE void fn_time_panel(const T *restrict a, const long lda, const T *dz, const long ldd, T *turned,
                             T *restrict y, const long ldy, const long K, const long N, const long times, const int mr,
                             const int lanes, const int first) {
    const long last = (K + mr - 1) / mr * mr - K; /* tiles of one row less */
    for (long t = 0; t < times; t++) fn_turn(dz + t * ldd, N, turned + t * N * 2 * VL, 2 * VL, lanes, N);
    long k = 0;
    for (; k + mr <= K - last * (mr - 1); k += mr)
        fn_time_tile(a + k * N, lda, turned, y + k * ldy, ldy, N, times, mr, lanes, first);
    for (; k < K; k += mr - 1)
        fn_time_tile(a + k * N, lda, turned, y + k * ldy, ldy, N, times, mr - 1, lanes, first);
}

/* out (K, G) = sum_t S[t] (K, N) times dz[t] (G, N) turned, of so many times at once */
FN_PRODUCT void fn_time_product(const T *S, const long lds, const T *dz, const long ldd, T *restrict out,
                                const long ldo, T *turned, const long K, const long G, const long N, const long B,
                                const long at_once) {
    const int mr = FN_TILE(K);
    const long whole = G / (2 * VL) * (2 * VL);
    if (!B) for (long k = 0; k < K; k++) for (long g = 0; g < G; g++) out[k * ldo + g] = 0;
    for (long t = 0; t < B; t += at_once) {
        const long times = B - t < at_once ? B - t : at_once;
        const T *const a = S + t * lds, *const d = dz + t * ldd;
        for (long g = 0; g < whole; g += 2 * VL)
            fn_time_panel(a, lds, d + g * N, ldd, turned, out + g, ldo, K, N, times, mr, 2 * VL, !t);
        if (whole < G)
            fn_time_panel(a, lds, d + whole * N, ldd, turned, out + whole, ldo, K, N, times, mr, (int)(G - whole), !t);
    }
}
