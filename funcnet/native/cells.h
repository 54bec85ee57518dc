/* One sequence through a recurrent layer, forward and back in time, in C99. What is kept, and the order of the gates,
   are those of funcnet/tracing/cells.py; the steps between elements of an array come behind it: those of its features
   (k or u), then those of times (t). T is the type of numbers, FN_TANH the function tanh. */

/* z = M^T s: the gates of one time */
static void fn_gates(long count, long gates, const T *M, long mk, long mu, const T *s, long sk, T *z) {
    for (long u = 0; u < gates; u++) z[u] = 0;
    for (long k = 0; k < count; k++) {
        const T a = s[k * sk];
        for (long u = 0; u < gates; u++) z[u] += a * M[k * mk + u * mu];
    }
}

/* c = M z for the first rows of M */
static void fn_carry(long count, long gates, const T *M, long mk, long mu, const T *z, long zk, T *c, long ck) {
    for (long k = 0; k < count; k++) {
        T a = 0;
        for (long u = 0; u < gates; u++) a += M[k * mk + u * mu] * z[u * zk];
        c[k * ck] = a;
    }
}

/* the states [h; 1; x] before each time, but for those that steps compute; x counts as 0 from its end on */
static void fn_states(long times, long features, long size, long end, const T *x, long xu, long xt, T *s, long sk,
                      long st) {
    for (long t = 0; t < times; t++) {
        s[size * sk + t * st] = 1;
        for (long u = 0; u < features; u++) s[(size + 1 + u) * sk + t * st] = t < end ? x[u * xu + t * xt] : 0;
    }
}

/* the state before the first time: zeros unless given */
static void fn_begin(long size, const T *first, long fu, T *h, long hk) {
    for (long u = 0; u < size; u++) h[u * hk] = first ? first[u * fu] : 0;
}

/* the last state, or the states after all times, 0 from the end on */
static void fn_last(long size, long end, const T *h, long hk, long ht, T *y, long yu) {
    for (long u = 0; u < size; u++) y[u * yu] = h[u * hk + end * ht];
}
static void fn_all(long times, long size, long end, const T *h, long hk, long ht, T *y, long yu, long yt) {
    for (long t = 0; t < times; t++)
        for (long u = 0; u < size; u++) y[u * yu + t * yt] = t < end ? h[u * hk + (t + 1) * ht] : 0;
}

/* add the cotangent that arrives at the state before time t: of the last output, or of those of all times */
static void fn_from_last(long t, long size, long end, const T *g, long gu, T *d) {
    for (long u = 0; u < size && t == end; u++) d[u] += g[u * gu];
}
static void fn_from_all(long t, long size, long end, const T *g, long gu, long gt, T *d) {
    for (long u = 0; u < size && t > 0 && t <= end; u++) d[u] += g[u * gu + (t - 1) * gt];
}

/* h = tanh(M^T [h; 1; x]) */
static void fn_rnn(long times, long count, long size, const T *M, long mk, long mu, T *s, long sk, long st, T *z) {
    for (long t = 0; t < times; t++) {
        fn_gates(count, size, M, mk, mu, s + t * st, sk, z);
        for (long u = 0; u < size; u++) s[u * sk + (t + 1) * st] = FN_TANH(z[u]);
    }
}

/* one step back: dz = dh (1 - h^2), then dh = R dz */
static void fn_rnn_back(long t, long size, const T *M, long mk, long mu, const T *s, long sk, long st, T *dz, long dk,
                        long dt, T *dh) {
    for (long u = 0; u < size; u++) {
        const T h = s[u * sk + (t + 1) * st];
        dz[u * dk + t * dt] = dh[u] * (1 - h * h);
    }
    fn_carry(size, size, M, mk, mu, dz + t * dt, dk, dh, 1);
}

/* o, i, f = (tanh z + 1) / 2, g = tanh z        c = f c + i g        h = o tanh c */
static void fn_lstm(long times, long count, long size, const T *M, long mk, long mu, T *s, long sk, long st, T *kept,
                    long kk, long kt, T *tanh_c, long ck, long ct, T *z) {
    for (long t = 0; t < times; t++) {
        T *const now = kept + t * kt;
        fn_gates(count, 4 * size, M, mk, mu, s + t * st, sk, z);
        for (long u = 0; u < 4 * size; u++) {
            const T y = FN_TANH(z[u]);
            now[u * kk] = u < 3 * size ? y / 2 + (T)0.5 : y;
        }
        for (long u = 0; u < size; u++) {
            const T o = now[u * kk], i = now[(size + u) * kk], f = now[(2 * size + u) * kk];
            const T c = i * now[(3 * size + u) * kk] + f * now[(4 * size + u) * kk], a = FN_TANH(c);
            now[(4 * size + u) * kk + kt] = c;
            tanh_c[u * ck + t * ct] = a;
            s[u * sk + (t + 1) * st] = o * a;
        }
    }
}

/* one step back: dc += dh o (1 - tanh^2 c)   do = dh tanh c o (1 - o)   [di df dg] = dc [g i' c f' i g'], then dh, dc */
static void fn_lstm_back(long t, long size, const T *M, long mk, long mu, const T *kept, long kk, long kt,
                         const T *tanh_c, long ck, long ct, T *dz, long dk, long dt, T *dh, T *dc) {
    const T *const now = kept + t * kt;
    T *const d = dz + t * dt;
    for (long u = 0; u < size; u++) {
        const T o = now[u * kk], i = now[(size + u) * kk], f = now[(2 * size + u) * kk];
        const T g = now[(3 * size + u) * kk], c = now[(4 * size + u) * kk], a = tanh_c[u * ck + t * ct];
        const T all = dc[u] + dh[u] * (1 - a * a) * o;
        d[u * dk] = dh[u] * a * o * (1 - o);
        d[(size + u) * dk] = all * g * i * (1 - i);
        d[(2 * size + u) * dk] = all * c * f * (1 - f);
        d[(3 * size + u) * dk] = all * i * (1 - g * g);
        dc[u] = all * f;
    }
    fn_carry(size, 4 * size, M, mk, mu, d, dk, dh, 1);
}

/* [a r z] = R^T [h; 1], r and z + W^T [1; x], (tanh + 1) / 2        n = tanh(r a + W^T [1; x])        h = n + z (h - n) */
static void fn_gru(long times, long features, long size, const T *R, long rk, long ru, const T *W, long wk, long wu,
                   T *s, long sk, long st, T *kept, long kk, long kt, T *news, long nk, long nt, T *differences,
                   long dk, long dt, T *z) {
    T *const of_x = z + 3 * size;
    for (long t = 0; t < times; t++) {
        T *const now = kept + t * kt;
        fn_gates(size + 1, 3 * size, R, rk, ru, s + t * st, sk, z);
        fn_gates(features + 1, 3 * size, W, wk, wu, s + size * sk + t * st, sk, of_x);
        for (long u = 0; u < size; u++) {
            const T a = z[u], r = FN_TANH(z[size + u] + of_x[u]) / 2 + (T)0.5;
            const T g = FN_TANH(z[2 * size + u] + of_x[size + u]) / 2 + (T)0.5;
            const T n = FN_TANH(a * r + of_x[2 * size + u]), d = s[u * sk + t * st] - n;
            now[u * kk] = a;
            now[(size + u) * kk] = r;
            now[(2 * size + u) * kk] = g;
            news[u * nk + t * nt] = n;
            differences[u * dk + t * dt] = d;
            s[u * sk + (t + 1) * st] = d * g + n;
        }
    }
}

/* one step back: dn = dh (1 - z) (1 - n^2)   da = dn r   dr = dn a r (1 - r)   dz = dh (h - n) z (1 - z), then dh */
static void fn_gru_back(long t, long size, const T *R, long rk, long ru, const T *kept, long kk, long kt, const T *news,
                        long nk, long nt, const T *differences, long fk, long ft, T *dz, long dk, long dt, T *dh, T *z) {
    const T *const now = kept + t * kt;
    T *const d = dz + t * dt;
    for (long u = 0; u < size; u++) {
        const T a = now[u * kk], r = now[(size + u) * kk], g = now[(2 * size + u) * kk], n = news[u * nk + t * nt];
        const T dn = dh[u] * (1 - g) * (1 - n * n);
        d[u * dk] = dn * r;
        d[(size + u) * dk] = dn * a * r * (1 - r);
        d[(2 * size + u) * dk] = dh[u] * differences[u * fk + t * ft] * g * (1 - g);
        d[(3 * size + u) * dk] = dn;
        dh[u] *= g;
    }
    fn_carry(size, 3 * size, R, rk, ru, d, dk, z, 1);
    for (long u = 0; u < size; u++) dh[u] += z[u];
}

/* M += sum over all times of s dz^T */
static void fn_time_product(long times, long count, long gates, const T *s, long sk, long st, const T *dz, long dk,
                            long dt, T *M, long mk, long mu) {
    for (long t = 0; t < times; t++)
        for (long k = 0; k < count; k++) {
            const T a = s[k * sk + t * st];
            for (long u = 0; u < gates; u++) M[k * mk + u * mu] += a * dz[u * dk + t * dt];
        }
}
