/* Windows that slide over images (N, H, W, C), which are stored with their rows n innermost, one behind the other. */
typedef struct { T *p; long N, H, W, C, h, w, c; } fn_image; /* h, w, c: strides */
typedef struct { long size[2], step[2], dilation[2], padding[2]; } fn_window;

FN_INLINE T *fn_at(const fn_image x, const long h, const long w, const long c) {
    return x.p + h * x.h + w * x.w + c * x.c;
}
/* The element of the image that element a of window i reads along an axis */
FN_INLINE long fn_place(const fn_window k, const int axis, const long i, const long a) {
    return i * k.step[axis] - k.padding[axis] + a * k.dilation[axis];
}
/* The windows from the first one on whose element a is no padding, and how many */
FN_INLINE long fn_first(const fn_window k, const int axis, const long a) {
    const long at = fn_place(k, axis, 0, a);
    return at < 0 ? (k.step[axis] - 1 - at) / k.step[axis] : 0;
}
FN_INLINE long fn_stop(const fn_window k, const int axis, const long a, const long length, const long windows) {
    const long room = length - 1 - fn_place(k, axis, 0, a), stop = room < 0 ? 0 : room / k.step[axis] + 1;
    return stop < windows ? stop : windows;
}
/* For each element of window (i, j) that is no padding: where it is in the image */
#define FN_ELEMENTS(k, x, i, j) \
    for (long a = 0, h; a < (k).size[0]; a++) if ((h = fn_place(k, 0, i, a)) >= 0 && h < (x).H) \
        for (long b = 0, w; b < (k).size[1]; b++) if ((w = fn_place(k, 1, j, b)) >= 0 && w < (x).W)
#define FN_WINDOWS(y) \
    for (long c = 0; c < (y).C; c++) for (long i = 0; i < (y).H; i++) for (long j = 0; j < (y).W; j++)
#define FN_ROWS_OF(x) FN_IVDEP for (long n = 0; n < (x).N; n++)

static void fn_fill(const fn_image x) { FN_WINDOWS(x) FN_ROWS_OF(x) fn_at(x, i, j, c)[n] = 0; }

FN_INLINE T fn_larger(const T a, const T b) { return a > b || a != a ? a : b; }

FN_INLINE void fn_window_max(const fn_image x, const fn_image y, const fn_window k) {
    FN_WINDOWS(y) {
        T *const to = fn_at(y, i, j, c);
        FN_ROWS_OF(y) to[n] = -INFINITY;
        FN_ELEMENTS(k, x, i, j) { const T *from = fn_at(x, h, w, c); FN_ROWS_OF(y) to[n] = fn_larger(from[n], to[n]); }
    }
}

/* The cotangent, shared by the elements that are the largest, or by the NaN. apart: windows have no element in common,
   and no element of the image is in none; `share` holds 2 N numbers. */
FN_INLINE void fn_window_max_grad(const fn_image x, const fn_image y, const fn_image g, const fn_image d,
                                  const fn_window k, const int apart, T *restrict share) {
    T *const count = share + x.N;
    if (!apart) fn_fill(d);
    FN_WINDOWS(y) {
        const T *most = fn_at(y, i, j, c), *given = fn_at(g, i, j, c);
        FN_ROWS_OF(y) count[n] = 0;
        FN_ELEMENTS(k, x, i, j) {
            const T *from = fn_at(x, h, w, c);
            FN_ROWS_OF(y) count[n] += (T)((from[n] == most[n]) | (from[n] != from[n]));
        }
        FN_ROWS_OF(y) share[n] = given[n] / count[n];
        FN_ELEMENTS(k, x, i, j) {
            const T *from = fn_at(x, h, w, c);
            T *const to = fn_at(d, h, w, c);
            FN_ROWS_OF(y) {
                const T part = ((from[n] == most[n]) | (from[n] != from[n])) ? share[n] : 0;
                to[n] = apart ? part : to[n] + part;
            }
        }
    }
}

FN_INLINE T fn_share(const fn_window k, const fn_image x, const long i, const long j) {
    long count = 0;
    FN_ELEMENTS(k, x, i, j) count++;
    return 1 / (T)count;
}
FN_INLINE void fn_window_sum(const fn_image x, const fn_image y, const fn_window k, const int mean) {
    FN_WINDOWS(y) {
        T *const to = fn_at(y, i, j, c), share = mean ? fn_share(k, x, i, j) : 1;
        FN_ROWS_OF(y) to[n] = 0;
        FN_ELEMENTS(k, x, i, j) { const T *from = fn_at(x, h, w, c); FN_ROWS_OF(y) to[n] += from[n]; }
        if (mean) FN_ROWS_OF(y) to[n] *= share;
    }
}
FN_INLINE void fn_window_sum_grad(const fn_image g, const fn_image d, const fn_window k, const int mean,
                                  const int apart) {
    if (!apart) fn_fill(d);
    FN_WINDOWS(g) {
        const T *from = fn_at(g, i, j, c), share = mean ? fn_share(k, d, i, j) : 1;
        FN_ELEMENTS(k, d, i, j) {
            T *const to = fn_at(d, h, w, c);
            FN_ROWS_OF(d) to[n] = apart ? share * from[n] : to[n] + share * from[n];
        }
    }
}

/* L (groups, lowered rows, kernel width, channels of a group, windows across, N): see tracing/windows.py. `overlap`:
   a row of L is one of the image; else those of each window follow each other. */
FN_INLINE void fn_lower(const fn_image x, T *restrict to, const fn_window k, const long groups, const long rows,
                        const long across, const int overlap) {
    for (long q = 0; q < groups; q++) for (long r = 0; r < rows; r++) for (long b = 0; b < k.size[1]; b++) {
        const long h = overlap ? r - k.padding[0] : fn_place(k, 0, r / k.size[0], r % k.size[0]);
        const long inside = h >= 0 && h < x.H, first = fn_first(k, 1, b), end = fn_stop(k, 1, b, x.W, across);
        const long start = inside && first < end ? first : across, stop = inside && first < end ? end : across;
        for (long c = q * (x.C / groups); c < (q + 1) * (x.C / groups); c++, to += across * x.N) {
            for (long e = 0; e < start * x.N; e++) to[e] = 0;
            const T *from = fn_at(x, h, fn_place(k, 1, start, b), c);
            if (k.step[1] == 1) for (long e = start * x.N; e < stop * x.N; e++) to[e] = from[e - start * x.N];
            else for (long j = start; j < stop; j++, from += k.step[1] * x.w) FN_ROWS_OF(x) to[j * x.N + n] = from[n];
            for (long e = stop * x.N; e < across * x.N; e++) to[e] = 0;
        }
    }
}

/* D (groups, windows down, kernel height, kernel width, channels of a group, windows across, N), added up */
FN_INLINE void fn_scatter(const T *restrict from, const fn_image x, const fn_window k, const long groups,
                          const long down, const long across) {
    const long channels = x.C / groups;
    fn_fill(x);
    for (long q = 0; q < groups; q++) for (long i = 0; i < down; i++) for (long a = 0; a < k.size[0]; a++) {
        const long h = fn_place(k, 0, i, a);
        for (long b = 0; b < k.size[1]; b++) for (long c = 0; c < channels; c++, from += across * x.N) {
            const long start = fn_first(k, 1, b), stop = fn_stop(k, 1, b, x.W, across);
            if (h < 0 || h >= x.H || start >= stop) continue;
            T *to = fn_at(x, h, fn_place(k, 1, start, b), q * channels + c);
            if (k.step[1] == 1) FN_IVDEP for (long e = 0; e < (stop - start) * x.N; e++) to[e] += from[start * x.N + e];
            else for (long j = start; j < stop; j++, to += k.step[1] * x.w) FN_ROWS_OF(x) to[n] += from[j * x.N + n];
        }
    }
}

/* y = W^T L for each row of windows. K: elements of a window in one group; row: from one row of windows to the next
   in L; group: from one group to the next. */
FN_INLINE void fn_convolve(const T *L, const T *weight, const fn_image y, const long groups, const long K,
                           const long row, const long group) {
    const long F = y.C / groups, columns = y.W * y.N;
    for (long q = 0; q < groups; q++) for (long i = 0; i < y.H; i++)
        fn_product(weight + q * F, 1, y.C, L + q * group + i * row, columns, fn_at(y, i, 0, q * F), y.c, F, K, columns);
}
/* dW = sum over the rows of windows of L g^T */
FN_INLINE void fn_kernel_grad(const T *L, const fn_image g, T *restrict out, T *turned, const long groups,
                              const long K, const long row, const long group) {
    const long F = g.C / groups, columns = g.W * g.N, ldt = (F + 15) / 16 * 16;
    T *const part = turned + ldt * columns;
    for (long q = 0; q < groups; q++) {
        for (long k = 0; k < K; k++) for (long f = 0; f < F; f++) out[k * g.C + q * F + f] = 0;
        for (long i = 0; i < g.H; i++) {
            fn_rows_by_rows(L + q * group + i * row, columns, 1, fn_at(g, i, 0, q * F), g.c, turned, ldt, part, F, K,
                            columns, F);
            for (long k = 0; k < K; k++)
                FN_IVDEP for (long f = 0; f < F; f++) out[k * g.C + q * F + f] += part[k * F + f];
        }
    }
}
/* D = W g */
FN_INLINE void fn_spread(const fn_image g, const T *weight, T *restrict D, const long groups, const long K) {
    const long F = g.C / groups, columns = g.W * g.N;
    for (long q = 0; q < groups; q++) for (long i = 0; i < g.H; i++, D += K * columns)
        fn_product(weight + q * F, g.C, 1, fn_at(g, i, 0, q * F), g.c, D, columns, K, F, columns);
}
