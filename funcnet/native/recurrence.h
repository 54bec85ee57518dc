/* The steps of recurrent layers, forward and back in time; see tracing/cells.py for the equations.

   Values of all times lie as (time, features, rows): Z[t] is Z + t ldz. H units, G gates, I inputs, N rows, B times.
   A state S[t] is [h; 1; x]. Rows of matrices are sk apart; sk is FN_PACKED where they are packed. Elsewhere element
   (row, time, feature) of an array p is p[row * sn + t * st + f * sf]. `ends` says where each sequence ends, if not after
   B times: x counts as 0 from there on, outputs are 0 there, and cotangents arrive up to there. FN_INLINE, FN_IVDEP,
   FN_TANH, fn_product and fn_turn come from outside. */

typedef struct { const T *p; long sn, st, sf; } fn_given;
typedef struct { T *p; long sn, st, sf; } fn_wanted;
#define FN_AT(v, n, t, f) (v).p[(n) * (v).sn + (t) * (v).st + (f) * (v).sf]
#define FN_EACH(H, N) for (long f = 0; f < (H); f++) FN_IVDEP for (long n = 0; n < (N); n++)

FN_INLINE void fn_take(const fn_given v, const long t, const long first, T *restrict out, const long H, const long N) {
    if (v.sf == 1) fn_turn(v.p + t * v.st + first, v.sn, out, N, N, H);
    else FN_EACH(H, N) out[f * N + n] = FN_AT(v, n, t, first + f);
}
FN_INLINE void fn_give(const T *restrict from, const fn_wanted v, const long t, const long first, const long H,
                       const long N) {
    FN_EACH(H, N) FN_AT(v, n, t, first + f) = from[f * N + n];
}

/* The state before the first time, 0 unless given, and what the steps read beside it */
FN_INLINE void fn_states(T *restrict S, const long lds, const fn_given x, const fn_given initial, const long *ends,
                         const long H, const long I, const long N, const long B) {
    if (initial.p) fn_take(initial, 0, 0, S, H, N);
    else FN_EACH(H, N) S[f * N + n] = 0;
    for (long t = 0; t <= B; t++) {
        T *const s = S + t * lds + H * N;
        for (long n = 0; n < N; n++) s[n] = 1;
        if (t == B) FN_EACH(I, N) s[N + f * N + n] = 0;
        else fn_take(x, t, 0, s + N, I, N);
        if (ends && t < B) FN_EACH(I, N) s[N + f * N + n] = t < ends[n] ? s[N + f * N + n] : 0;
    }
}

/* The states after all times, or after the last; P: before the first one */
FN_INLINE void fn_outputs(const T *P, const long ldp, const fn_wanted y, const long first, const int sequences,
                          const long *ends, const long H, const long N, const long B) {
    if (!sequences && ends) FN_EACH(H, N) FN_AT(y, n, 0, first + f) = P[ends[n] * ldp + f * N + n];
    else if (!sequences) fn_give(P + B * ldp, y, 0, first, H, N);
    else for (long t = 0; t < B; t++) {
        const T *const now = P + (t + 1) * ldp;
        if (ends) FN_EACH(H, N) FN_AT(y, n, t, first + f) = t < ends[n] ? now[f * N + n] : 0;
        else fn_give(now, y, t, first, H, N);
    }
}

/* The cotangent that arrives at the state after the last time, and what is added before time t */
FN_INLINE void fn_begin(const fn_given g, const long first, const int sequences, const long *ends, T *restrict d,
                        const long H, const long N, const long B) {
    if (ends) FN_EACH(H, N) d[f * N + n] = B == ends[n] && (B || !sequences) ? FN_AT(g, n, B - 1, first + f) : 0;
    else if (B || !sequences) fn_take(g, B - 1, first, d, H, N);
    else FN_EACH(H, N) d[f * N + n] = 0;
}
FN_INLINE void fn_arrive(const fn_given g, const long t, const long first, const int sequences, const long *ends,
                         T *restrict d, const long H, const long N) {
    if (!ends && t && sequences) FN_EACH(H, N) d[f * N + n] += FN_AT(g, n, t - 1, first + f);
    if (ends && (t || !sequences))
        FN_EACH(H, N) d[f * N + n] += (sequences ? t <= ends[n] : t == ends[n]) ? FN_AT(g, n, t - 1, first + f) : 0;
}

#define FN_SIGMOID(z) ((T)0.5 * FN_TANH(z) + (T)0.5) /* of z halved */

FN_INLINE void fn_rnn(const T *M, const long sk, T *restrict S, const long lds, const long H, const long I,
                      const long N, const long B) {
    for (long t = 0; t < B; t++) {
        T *restrict const h = S + (t + 1) * lds;
        fn_product(M, 1, sk, S + t * lds, N, h, N, H, H + 1 + I, N);
        FN_IVDEP for (long i = 0; i < H * N; i++) h[i] = FN_TANH(h[i]);
    }
}

FN_INLINE void fn_rnn_backward(const T *M, const T *S, const long lds, T *dz, const fn_given g, const int sequences,
                               const long *ends, const fn_wanted dx, const fn_wanted d0, T *dh, const long H,
                               const long I, const long N, const long B) {
    fn_begin(g, 0, sequences, ends, dh, H, N, B);
    for (long t = B - 1; t >= 0; t--) {
        const T *restrict const h = S + (t + 1) * lds;
        T *restrict const d = dz + t * H * N, *restrict const e = dh;
        FN_IVDEP for (long i = 0; i < H * N; i++) d[i] = e[i] * ((T)1 - h[i] * h[i]);
        if (t || d0.p) fn_product(M, H, 1, d, N, dh, N, H, H, N);
        fn_arrive(g, t, 0, sequences, ends, dh, H, N);
        if (dx.p) {
            fn_product(M + (H + 1) * H, H, 1, d, N, dh + H * N, N, I, H, N);
            fn_give(dh + H * N, dx, t, 0, I, N);
        }
    }
    if (d0.p) fn_give(dh, d0, 0, 0, H, N);
}

/* Z[t]: o, i, f, g of this time, c before it; C[t]: tanh c */
FN_INLINE void fn_lstm(const T *M, const long sk, T *S, const long lds, T *Z, T *C, const fn_given initial,
                       const long H, const long I, const long N, const long B) {
    const long L = H * N;
    if (initial.p) fn_take(initial, 0, H, Z + 4 * L, H, N);
    else FN_EACH(H, N) Z[4 * L + f * N + n] = 0;
    for (long t = 0; t < B; t++) {
        T *restrict const z = Z + 5 * t * L, *restrict const c = z + 9 * L, *restrict const h = S + (t + 1) * lds;
        T *restrict const k = C + t * L;
        fn_product(M, 1, sk, S + t * lds, N, z, N, 4 * H, H + 1 + I, N);
        FN_IVDEP for (long i = 0; i < L; i++) {
            const T o = FN_SIGMOID(z[i]), a = FN_SIGMOID(z[L + i]), b = FN_SIGMOID(z[2 * L + i]);
            const T u = FN_TANH(z[3 * L + i]), now = b * z[4 * L + i] + a * u, e = FN_TANH(now);
            z[i] = o; z[L + i] = a; z[2 * L + i] = b; z[3 * L + i] = u;
            c[i] = now; k[i] = e; h[i] = o * e;
        }
    }
}

FN_INLINE void fn_lstm_backward(const T *M, const T *Z, const T *C, T *dz, const fn_given g, const int sequences,
                                const long *ends, const int whole, const fn_wanted dx, const fn_wanted d0, T *dh,
                                const long H, const long I, const long N, const long B) {
    const long L = H * N;
    T *const dc = dh + L, *const row = dc + L;
    fn_begin(g, 0, sequences, ends, dh, H, N, B);
    if (whole) fn_begin(g, H, sequences, ends, dc, H, N, B);
    else FN_EACH(H, N) dc[f * N + n] = 0;
    for (long t = B - 1; t >= 0; t--) {
        const T *restrict const z = Z + 5 * t * L, *restrict const k = C + t * L;
        T *restrict const d = dz + 4 * t * L, *restrict const e = dh, *restrict const p = dc;
        FN_IVDEP for (long i = 0; i < L; i++) {
            const T o = z[i], a = z[L + i], b = z[2 * L + i], u = z[3 * L + i], c = z[4 * L + i], y = k[i];
            const T q = p[i] + e[i] * o * ((T)1 - y * y);
            d[i] = e[i] * y * o * ((T)1 - o);
            d[L + i] = q * u * a * ((T)1 - a);
            d[2 * L + i] = q * c * b * ((T)1 - b);
            d[3 * L + i] = q * a * ((T)1 - u * u);
            p[i] = q * b;
        }
        if (t || d0.p) fn_product(M, 4 * H, 1, d, N, dh, N, H, 4 * H, N);
        fn_arrive(g, t, 0, sequences, ends, dh, H, N);
        if (whole) fn_arrive(g, t, H, sequences, ends, dc, H, N);
        if (dx.p) {
            fn_product(M + (H + 1) * 4 * H, 4 * H, 1, d, N, row, N, I, 4 * H, N);
            fn_give(row, dx, t, 0, I, N);
        }
    }
    if (d0.p) { fn_give(dh, d0, 0, 0, H, N); fn_give(dc, d0, 0, H, H, N); }
}

/* Y[t]: a, r, z; V[t]: n; D[t]: h - n; X: the input's part of r, z, n of one time */
FN_INLINE void fn_gru(const T *R, const T *W, const long sk, T *S, const long lds, T *Y, T *V, T *D, T *X,
                      const long H, const long I, const long N, const long B) {
    const long L = H * N;
    for (long t = 0; t < B; t++) {
        T *restrict const y = Y + 3 * t * L, *restrict const v = V + t * L, *restrict const d = D + t * L;
        T *restrict const x = X, *restrict const new = S + (t + 1) * lds;
        const T *restrict const h = S + t * lds;
        fn_product(R, 1, sk, h, N, y, N, 3 * H, H + 1, N);
        fn_product(W, 1, sk, h + L, N, x, N, 3 * H, 1 + I, N);
        FN_IVDEP for (long i = 0; i < L; i++) {
            const T r = FN_SIGMOID(y[L + i] + x[i]), z = FN_SIGMOID(y[2 * L + i] + x[L + i]);
            const T n = FN_TANH(y[i] * r + x[2 * L + i]), e = h[i] - n;
            y[L + i] = r; y[2 * L + i] = z; v[i] = n; d[i] = e; new[i] = n + e * z;
        }
    }
}

FN_INLINE void fn_gru_backward(const T *R, const T *W, const T *Y, const T *V, const T *D, T *dA, const fn_given g,
                               const int sequences, const long *ends, const fn_wanted dx, const fn_wanted d0, T *dh,
                               const long H, const long I, const long N, const long B) {
    const long L = H * N;
    T *const carried = dh + L, *const row = carried + L;
    fn_begin(g, 0, sequences, ends, dh, H, N, B);
    for (long t = B - 1; t >= 0; t--) {
        const T *restrict const y = Y + 3 * t * L, *restrict const v = V + t * L, *restrict const b = D + t * L;
        T *restrict const d = dA + 4 * t * L, *restrict const e = dh, *restrict const p = carried;
        FN_IVDEP for (long i = 0; i < L; i++) {
            const T a = y[i], r = y[L + i], z = y[2 * L + i], n = v[i], u = e[i] * ((T)1 - z) * ((T)1 - n * n);
            d[i] = u * r;
            d[L + i] = u * a * r * ((T)1 - r);
            d[2 * L + i] = e[i] * b[i] * z * ((T)1 - z);
            d[3 * L + i] = u;
        }
        if (t || d0.p) {
            fn_product(R, 3 * H, 1, d, N, carried, N, H, 3 * H, N);
            FN_IVDEP for (long i = 0; i < L; i++) e[i] = e[i] * y[2 * L + i] + p[i];
        }
        fn_arrive(g, t, 0, sequences, ends, dh, H, N);
        if (dx.p) {
            fn_product(W + 3 * H, 3 * H, 1, d + L, N, row, N, I, 3 * H, N);
            fn_give(row, dx, t, 0, I, N);
        }
    }
    if (d0.p) fn_give(dh, d0, 0, 0, H, N);
}

/* Each sequence backward, and 0 past its end */
FN_INLINE void fn_reverse(const fn_given x, const fn_wanted y, const long *ends, const long H, const long N,
                          const long B) {
    for (long t = 0; t < B; t++)
        FN_EACH(H, N) FN_AT(y, n, t, f) = t < ends[n] ? FN_AT(x, n, ends[n] - 1 - t, f) : 0;
}
