/* Matrix products, with vectors of GNU C (gcc, clang). T, FN_ROWS (the rows of the batch) and FN_PRODUCT (how much is
   inlined) are defined before. Rows in the slab may be read up to one vector beyond their end, but not
   written.

   A tile holds mr or mr - 1 rows by nv vectors of the result in registers while k runs. */
#if defined(__AVX512F__) && FN_ROWS * FN_SIZE >= 64
#define FN_BYTES 64
#elif defined(__AVX__)
#define FN_BYTES 32
#else
#define FN_BYTES 16
#endif
#define VL (FN_BYTES / FN_SIZE)
typedef T fn_vector __attribute__((vector_size(FN_BYTES), aligned(FN_SIZE), may_alias));
#define FN_INLINE static inline __attribute__((always_inline))
#define FN_UNROLL _Pragma("GCC unroll 8")

/* y[i, n] = sum_k a[i sm + k sk] x[k, n] for i < mr and n < nv VL, of which the last vector stores `lanes` elements,
   from rows that are read whole up to `whole`, and so far as they go from there on */
FN_INLINE void fn_tile(const T *restrict a, const long sm, const long sk, const T *restrict x, const long ldx,
                       T *restrict y, const long ldy, const long K, const int mr, const int nv, const int lanes,
                       const long whole) {
    fn_vector s[6][4];
    FN_UNROLL for (int i = 0; i < mr; i++) FN_UNROLL for (int l = 0; l < nv; l++) s[i][l] = (fn_vector){0};
    for (long k = 0; k < whole; k++) {
        fn_vector b[4];
        FN_UNROLL for (int l = 0; l < nv; l++) b[l] = *(const fn_vector *)(x + k * ldx + VL * l);
        FN_UNROLL for (int i = 0; i < mr; i++) {
            const T w = a[i * sm + k * sk];
            FN_UNROLL for (int l = 0; l < nv; l++) s[i][l] += w * b[l];
        }
    }
    for (long k = whole; k < K; k++) FN_UNROLL for (int i = 0; i < mr; i++) {
        const T w = a[i * sm + k * sk];
        for (int e = 0; e < lanes; e++) s[i][0][e] += w * x[k * ldx + e];
    }
    FN_UNROLL for (int i = 0; i < mr; i++) {
        FN_UNROLL for (int l = 0; l < nv; l++) {
            if (l < nv - 1 || lanes == VL) *(fn_vector *)(y + i * ldy + VL * l) = s[i][l];
            else for (int e = 0; e < lanes; e++) y[i * ldy + VL * l + e] = s[i][l][e];
        }
    }
}

#define FN_PACKED (-2147483647L)
FN_INLINE void fn_rows(const T *restrict a, const long sm, const long sk, const T *restrict x, const long ldx,
                       T *restrict y, const long ldy, const long M, const long K, const int mr, const int nv,
                       const int lanes, const long whole) {
    const long last = (M + mr - 1) / mr * mr - M; /* tiles of one row less */
    const int packed = sk == FN_PACKED;
    const long tile = packed ? K : sm, row = packed ? 1 : sm;
    long m = 0;
    for (; m + mr <= M - last * (mr - 1); m += mr)
        fn_tile(a + m * tile, row, packed ? mr : sk, x, ldx, y + m * ldy, ldy, K, mr, nv, lanes, whole);
    for (; m < M; m += mr - 1)
        fn_tile(a + m * tile, row, packed ? mr - 1 : sk, x, ldx, y + m * ldy, ldy, K, mr - 1, nv, lanes, whole);
}

/* nv vectors of one row of Y, the last of them from element `last` on: two sums of each, so that no sum waits for the
   one before */
FN_INLINE void fn_strip(const T *restrict a, const long sk, const T *restrict x, const long ldx, T *restrict y,
                        const long K, const int nv, const long last) {
    fn_vector s[4], t[4];
    FN_UNROLL for (int l = 0; l < nv; l++) s[l] = t[l] = (fn_vector){0};
    long k = 0;
    for (; k + 2 <= K; k += 2) FN_UNROLL for (int l = 0; l < nv; l++) {
        const long at = k * ldx + (l < nv - 1 ? VL * l : last);
        s[l] += a[k * sk] * *(const fn_vector *)(x + at);
        t[l] += a[(k + 1) * sk] * *(const fn_vector *)(x + at + ldx);
    }
    if (k < K) FN_UNROLL for (int l = 0; l < nv; l++)
        s[l] += a[k * sk] * *(const fn_vector *)(x + k * ldx + (l < nv - 1 ? VL * l : last));
    FN_UNROLL for (int l = 0; l < nv; l++) *(fn_vector *)(y + (l < nv - 1 ? VL * l : last)) = s[l] + t[l];
}

/* y[n] += sum_k a[k sk] x[k, n] for k < rows */
FN_INLINE void fn_add_rows(const T *restrict a, const long sk, const T *restrict x, const long ldx, T *restrict y,
                           const long N, const int rows) {
    long n = 0;
    for (; n + VL <= N; n += VL) {
        fn_vector s = *(const fn_vector *)(y + n);
        FN_UNROLL for (int k = 0; k < rows; k++) s += a[k * sk] * *(const fn_vector *)(x + k * ldx + n);
        *(fn_vector *)(y + n) = s;
    }
    for (; n < N; n++) FN_UNROLL for (int k = 0; k < rows; k++) y[n] += a[k * sk] * x[k * ldx + n];
}

/* Y (1, N) = a X (K, N) for N >= VL: by strips that stay in registers where X is small, else by four rows of X at a
   time, each read from one end to the other */
FN_PRODUCT void fn_row(const T *restrict a, const long sk, const T *restrict x, const long ldx, T *restrict y,
                       const long K, const long N) {
    if (N <= 4 * VL || N * K * FN_SIZE <= 32768) {
        long n = 0;
        for (; n + 4 * VL < N; n += 4 * VL) fn_strip(a, sk, x + n, ldx, y + n, K, 4, 3 * VL);
        const long last = N - VL - n;
        if (N - n <= VL) fn_strip(a, sk, x + n, ldx, y + n, K, 1, last);
        else if (N - n <= 2 * VL) fn_strip(a, sk, x + n, ldx, y + n, K, 2, last);
        else if (N - n <= 3 * VL) fn_strip(a, sk, x + n, ldx, y + n, K, 3, last);
        else fn_strip(a, sk, x + n, ldx, y + n, K, 4, last);
        return;
    }
    for (long n = 0; n < N; n++) y[n] = 0;
    for (long k = 0; k < K; k += 4) {
        const int rows = K - k < 4 ? (int)(K - k) : 4;
        if (rows == 4) fn_add_rows(a + k * sk, sk, x + k * ldx, ldx, y, N, 4);
        else for (int i = 0; i < rows; i++) fn_add_rows(a + (k + i) * sk, sk, x + (k + i) * ldx, ldx, y, N, 1);
    }
}

/* Y (M, N) = A X (K, N); element (m, k) of A is a[m sm + k sk], or A is packed, and sk is FN_PACKED. `given`: X is the
   caller's, so that nothing behind its last element is read. */
FN_PRODUCT void fn_tiles(const T *restrict a, const long sm, const long sk, const T *restrict x, const long ldx,
                         T *restrict y, const long ldy, const long M, const long K, const long N, const int mr,
                         const int given) {
    long n = 0;
    if (M == 1 && N >= VL && K > 1) { fn_row(a, sk, x, ldx, y, K, N); return; }
    for (; n + 2 * VL <= N; n += 2 * VL) fn_rows(a, sm, sk, x + n, ldx, y + n, ldy, M, K, mr, 2, VL, K);
    if (n + VL <= N) { fn_rows(a, sm, sk, x + n, ldx, y + n, ldy, M, K, mr, 1, VL, K); n += VL; }
    if (n == N) return;
    if (N >= VL) { n = N - VL; fn_rows(a, sm, sk, x + n, ldx, y + n, ldy, M, K, mr, 1, VL, K); return; } /* once more */
    const long over = !given ? 0 : ldx > 0 ? (VL - N + ldx - 1) / ldx : K, whole = over < K ? K - over : 0;
    fn_rows(a, sm, sk, x, ldx, y, ldy, M, K, mr, 1, (int)N, whole);
}

/* As few tiles as six rows allow, of equal heights: six by two vectors fit in sixteen registers */
#define FN_TILE(M) ((int)(((M) + ((M) + 5) / 6 - 1) / (((M) + 5) / 6)))
#define fn_product_given(a, sm, sk, x, ldx, y, ldy, M, K, N, given) \
    fn_tiles(a, sm, sk, x, ldx, y, ldy, M, K, N, FN_TILE(M), given)
#define fn_product(...) fn_product_given(__VA_ARGS__, 0)

/* A (M, K), whose element (m, k) is a[m + k sk], in the order in which tiles read it: that is A with sk = FN_PACKED for
   the product. A matrix of 512 columns lies in so few places of a cache that it is read from the next one each time. */
FN_PRODUCT void fn_pack(const T *restrict a, const long sk, T *restrict packed, const long M, const long K) {
    const int mr = FN_TILE(M);
    const long last = (M + mr - 1) / mr * mr - M, first = M - last * (mr - 1);
    for (long k = 0; k < K; k++) {
        long m = 0;
        for (; m < first; m += mr)
            FN_UNROLL for (int i = 0; i < mr; i++) packed[m * K + k * mr + i] = a[k * sk + m + i];
        for (; m < M; m += mr - 1)
            FN_UNROLL for (int i = 0; i < mr - 1; i++) packed[m * K + k * (mr - 1) + i] = a[k * sk + m + i];
    }
}

/* Eight vectors of eight: their transpose, and their sums */
#if FN_SIZE == 4 && defined(__AVX__)
typedef T fn_eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t fn_places __attribute__((vector_size(32)));
#if defined(__clang__)
#define FN_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define FN_HIGH(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define FN_LOW2(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define FN_HIGH2(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define FN_LOW4(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define FN_HIGH4(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#else
#define FN_LOW(a, b) __builtin_shuffle(a, b, (fn_places){0, 8, 1, 9, 4, 12, 5, 13})
#define FN_HIGH(a, b) __builtin_shuffle(a, b, (fn_places){2, 10, 3, 11, 6, 14, 7, 15})
#define FN_LOW2(a, b) __builtin_shuffle(a, b, (fn_places){0, 1, 8, 9, 4, 5, 12, 13})
#define FN_HIGH2(a, b) __builtin_shuffle(a, b, (fn_places){2, 3, 10, 11, 6, 7, 14, 15})
#define FN_LOW4(a, b) __builtin_shuffle(a, b, (fn_places){0, 1, 2, 3, 8, 9, 10, 11})
#define FN_HIGH4(a, b) __builtin_shuffle(a, b, (fn_places){4, 5, 6, 7, 12, 13, 14, 15})
#endif
FN_INLINE void fn_turn_eight(const T *restrict g, const long ldg, T *restrict t, const long ldt) {
    fn_eight a[8], b[8];
    FN_UNROLL for (int i = 0; i < 8; i++) a[i] = *(const fn_eight *)(g + i * ldg);
    FN_UNROLL for (int i = 0; i < 8; i += 2) { b[i] = FN_LOW(a[i], a[i + 1]); b[i + 1] = FN_HIGH(a[i], a[i + 1]); }
    FN_UNROLL for (int i = 0; i < 8; i += 4) {
        a[i] = FN_LOW2(b[i], b[i + 2]); a[i + 1] = FN_HIGH2(b[i], b[i + 2]);
        a[i + 2] = FN_LOW2(b[i + 1], b[i + 3]); a[i + 3] = FN_HIGH2(b[i + 1], b[i + 3]);
    }
    FN_UNROLL for (int i = 0; i < 4; i++) {
        *(fn_eight *)(t + i * ldt) = FN_LOW4(a[i], a[i + 4]);
        *(fn_eight *)(t + (i + 4) * ldt) = FN_HIGH4(a[i], a[i + 4]);
    }
}
/* y[m sy] = sum_k w[m, k] g[k] for m < 8 and K >= 8; the last vector leaves out what the one before has read */
FN_INLINE void fn_inner_eight(const T *restrict w, const long ldw, const T *restrict g, T *restrict y, const long sy,
                              const long K) {
    fn_eight s[8];
    FN_UNROLL for (int i = 0; i < 8; i++) s[i] = (fn_eight){0};
    long k = 0;
    for (; k + 8 <= K; k += 8) {
        const fn_eight b = *(const fn_eight *)(g + k);
        FN_UNROLL for (int i = 0; i < 8; i++) s[i] += *(const fn_eight *)(w + i * ldw + k) * b;
    }
    if (k < K) {
        const fn_eight b = *(const fn_eight *)(g + K - 8);
        const fn_places new = (fn_places){0, 1, 2, 3, 4, 5, 6, 7} >= (int32_t)(8 - (K - k));
        FN_UNROLL for (int i = 0; i < 8; i++)
            s[i] += (fn_eight)((fn_places)(*(const fn_eight *)(w + i * ldw + K - 8) * b) & new);
    }
    FN_UNROLL for (int i = 0; i < 8; i += 2) s[i] = FN_LOW(s[i], s[i + 1]) + FN_HIGH(s[i], s[i + 1]);
    FN_UNROLL for (int i = 0; i < 8; i += 4) s[i] = FN_LOW2(s[i], s[i + 2]) + FN_HIGH2(s[i], s[i + 2]);
    const fn_eight sums = FN_LOW4(s[0], s[4]) + FN_HIGH4(s[0], s[4]);
    if (sy == 1) *(fn_eight *)y = sums;
    else FN_UNROLL for (int i = 0; i < 8; i++) y[i * sy] = sums[i];
}
#define FN_EIGHT 1
#else
#define FN_EIGHT 0
#endif
/* y[m sy] = sum_k w[m, k] g[k]: the elements of a row of w lie one behind the other */
FN_PRODUCT void fn_inner_rows(const T *restrict w, const long ldw, const T *restrict g, T *restrict y, const long sy,
                              const long M, const long K) {
    long m = 0;
#if FN_EIGHT
    for (; K >= 8 && m + 8 <= M; m += 8) fn_inner_eight(w + m * ldw, ldw, g, y + m * sy, sy, K);
#endif
    for (; m < M; m++) {
        T s = 0;
#pragma omp simd reduction(+:s)
        for (long k = 0; k < K; k++) s += w[m * ldw + k] * g[k];
        y[m * sy] = s;
    }
}

/* t[n, m] = g[m, n], for m < M and n < N */
FN_PRODUCT void fn_turn(const T *restrict g, const long ldg, T *restrict t, const long ldt, const long M,
                        const long N) {
    long m = 0;
    for (; m + 8 <= M; m += 8) {
        long n = 0;
#if FN_EIGHT
        for (; n + 8 <= N; n += 8) fn_turn_eight(g + m * ldg + n, ldg, t + n * ldt + m, ldt);
#endif
        for (; n < N; n++) for (int i = 0; i < 8; i++) t[n * ldt + m + i] = g[(m + i) * ldg + n];
    }
    for (; m < M; m++) for (long n = 0; n < N; n++) t[n * ldt + m] = g[m * ldg + n];
}

/* Y (M, N) = A B^T for A (M, K) and B (N, K): B is turned, but for a few last columns of Y that fill no vector */
FN_PRODUCT void fn_tiles_turned(const T *restrict a, const long sm, const long sk, const T *restrict b, const long ldb,
                                T *restrict turned, const long ldt, T *restrict y, const long ldy, const long M,
                                const long K, const long N, const int mr) {
    const long rest = N % VL, few = sk == 1 && rest * (K / VL + 3) < K ? rest : 0, n = N - few;
    if (n) {
        fn_turn(b, ldb, turned, ldt, n, K);
        fn_tiles(a, sm, sk, turned, ldt, y, ldy, M, K, n, mr, 0);
    }
    for (long j = n; j < N; j++) fn_inner_rows(a, sm, b + j * ldb, y + j, ldy, M, K);
}
#define fn_rows_by_rows(a, sm, sk, b, ldb, turned, ldt, y, ldy, M, K, N) \
    fn_tiles_turned(a, sm, sk, b, ldb, turned, ldt, y, ldy, M, K, N, FN_TILE(M))
