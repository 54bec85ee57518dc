/* Elementwise functions in C99, for loops that the compiler turns into vector instructions: no branch, no call, no
   table. They need -fno-math-errno and, for gcc, -fno-trapping-math; -ffast-math would make them wrong. Names of
   float32 end in f, as in math.h. tests/native/ulp.py measures them.

   exp x  = 2^n e^r with n the integer nearest to x / log 2, and r = x - n log 2 in two parts, within log(2) / 2 of 0.
            Adding and subtracting 1.5 2^23 (1.5 2^52) rounds to an integer, and leaves it in the lowest bits. Argument
            bounds keep n in range, and comparisons are written so that NaN passes them.
   Polynomials of exp and log: Cephes (float32; exp of float64), and FreeBSD's msun (log of float64). */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define FN_LOG2E 1.44269504088896340736
#define FN_ROUND_F 12582912.0f
#define FN_ROUND 6755399441055744.0

static inline float fn_float_of(uint32_t bits) { float x; memcpy(&x, &bits, sizeof x); return x; }
static inline uint32_t fn_bits_of_float(float x) { uint32_t bits; memcpy(&bits, &x, sizeof bits); return bits; }
static inline double fn_double_of(uint64_t bits) { double x; memcpy(&x, &bits, sizeof x); return x; }
static inline uint64_t fn_bits_of_double(double x) { uint64_t bits; memcpy(&bits, &x, sizeof bits); return bits; }

/* x with the sign of another number */
static inline float fn_signed_f(float x, float sign) {
    return fn_float_of((fn_bits_of_float(x) & 0x7FFFFFFFu) | (fn_bits_of_float(sign) & 0x80000000u));
}
static inline double fn_signed(double x, double sign) {
    return fn_double_of((fn_bits_of_double(x) & 0x7FFFFFFFFFFFFFFFu) | (fn_bits_of_double(sign) & 0x8000000000000000u));
}

/* As in NumPy: NaN if either is NaN, and the sign of NaN is NaN. */
static inline float fn_maximumf(float a, float b) { return a > b || a != a ? a : b; }
static inline double fn_maximum(double a, double b) { return a > b || a != a ? a : b; }
static inline float fn_minimumf(float a, float b) { return a < b || a != a ? a : b; }
static inline double fn_minimum(double a, double b) { return a < b || a != a ? a : b; }
static inline float fn_signf(float x) { return x != x ? x : (float)((x > 0.0f) - (x < 0.0f)); }
static inline double fn_sign(double x) { return x != x ? x : (double)((x > 0.0) - (x < 0.0)); }

/* x, but 0 where it is subnormal */
static inline float fn_normalf(float x) { return fabsf(x) < 1.17549435e-38f ? 0.0f : x; }
static inline double fn_normal(double x) { return fabs(x) < 2.2250738585072014e-308 ? 0.0 : x; }

/* ---- float32 ---- */

/* e^r - 1 for |r| <= log(2) / 2 */
static inline float fn_core_f(float r) {
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r;
}
static inline float fn_rest_f(float x, float n) { return (x - n * 0.693359375f) - n * -2.12194440e-4f; }
static inline float fn_power_f(int32_t n) { return fn_float_of((uint32_t)(n + 127) << 23); } /* 2^n */

/* exp (x + low) for a low that is small beside x */
static inline float fn_exp_sumf(float x, float low) {
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    float t = x * (float)FN_LOG2E + FN_ROUND_F, n = t - FN_ROUND_F;
    float y = fn_core_f(fn_rest_f(x, n) + low) + 1.0f;
    int32_t k = (int32_t)(fn_bits_of_float(t) - 0x4B400000u), h = k >> 1;
    return y * fn_power_f(h) * fn_power_f(k - h); /* in two steps, so that neither factor overflows */
}
static inline float fn_expf(float x) { return fn_exp_sumf(x, 0.0f); }

/* 2^n (1 + z) - 1, halved before the last step so that 2^n does not overflow */
static inline float fn_expm1f(float x) {
    float a = x > 89.0f ? 89.0f : x;
    a = a < -20.0f ? -20.0f : a;
    float t = a * (float)FN_LOG2E + FN_ROUND_F, n = t - FN_ROUND_F;
    float z = fn_core_f(fn_rest_f(a, n));
    float c = fn_float_of((fn_bits_of_float(t) - 0x4B400000u + 126u) << 23); /* 2^(n - 1) */
    float y = 2.0f * (c * z + (c - 0.5f));
    return fabsf(x) < 1e-8f ? x : y; /* its digits where it is subnormal, and the sign of 0 */
}

/* e = 2^n (1 + z) - 1 for 2 |x|;  tanh |x| = e / (e + 2), which is never above 1 */
static inline float fn_tanhf(float x) {
    float a = fabsf(x);
    a = a > 10.0f ? 10.0f : a;
    float t = a * (float)(2 * FN_LOG2E) + FN_ROUND_F, n = t - FN_ROUND_F;
    float z = fn_core_f(fn_rest_f(2.0f * a, n));
    float c = fn_float_of((fn_bits_of_float(t) - 0x4B400000u + 127u) << 23); /* 2^n */
    float e = c * z + (c - 1.0f);
    return fn_signed_f(e / (e + 2.0f), x);
}

static inline float fn_logf(float x) {
    float small = x < 1.17549435e-38f ? 1.0f : 0.0f; /* subnormal: scaled by 2^23 */
    float scaled = x * (1.0f + small * 8388607.0f);
    int32_t i = (int32_t)(fn_bits_of_float(scaled) - 0x3F3504F3u); /* sqrt(1 / 2) */
    float m = fn_float_of(((uint32_t)i & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    float k = (float)(i >> 23) - small * 23.0f, s = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    float y = p * m * s + k * -2.12194440e-4f - 0.5f * s;
    y = m + y + k * 0.693359375f;
    y = x == 0.0f ? -INFINITY : y;
    y = x < 0.0f ? NAN : y;
    return x < INFINITY ? y : x; /* infinity and NaN */
}

/* log u with u = 1 + x rounded, and the first derivative times what was rounded off */
static inline float fn_log1pf(float x) {
    float u = 1.0f + x;
    float y = fn_logf(u) + (x - (u - 1.0f)) / u;
    y = x == -1.0f ? -INFINITY : y;
    y = x < INFINITY ? y : x;
    return fabsf(x) < 1e-8f ? x : y;
}

/* exp (-a^2 / 2), with what the rounding of a^2 leaves off */
static inline float fn_gaussf(float a) {
    float high = fn_float_of(fn_bits_of_float(a) & 0xFFFFF000u), low = a - high, s = a * a;
    return fn_exp_sumf(-0.5f * s, -0.5f * (((high * high - s) + 2.0f * high * low) + low * low));
}

/* Phi x as in tracing/special.py, with interpolants of lower degree: errors 7.5e-10 and 7.4e-9 of the value */
static inline float fn_normal_cdff(float x) {
    float a = fabsf(x);
    a = a > 40.0f ? 40.0f : a;
    float c = a > 1.0f ? 1.0f : a, s = c * c, u = (a - 4.0f) / (a + 4.0f);
    float p = -7.660538171e-6f;
    p = p * s + 1.135022962e-4f;
    p = p * s - 1.186343989e-3f;
    p = p * s + 9.973328481e-3f;
    p = p * s - 6.649036057e-2f;
    p = p * s + 3.989422801e-1f;
    float q = -4.741069216e-5f;
    q = q * u - 1.657915821e-4f;
    q = q * u + 6.413721317e-4f;
    q = q * u + 5.016447631e-4f;
    q = q * u - 8.492751864e-3f;
    q = q * u + 3.086548513e-2f;
    q = q * u - 7.170735093e-2f;
    q = q * u + 1.243792276e-1f;
    q = q * u - 1.703977228e-1f;
    q = q * u + 9.441064148e-2f;
    float below = a > 1.0f ? fn_gaussf(a) * q : 0.5f - a * p; /* Phi(-|x|); NaN: the second */
    return x > 0.0f ? 1.0f - below : below;
}

/* ---- float64 ---- */

static inline double fn_rest(double x, double n) { return (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6; }
static inline double fn_power(int64_t n) { return fn_double_of((uint64_t)(n + 1023) << 52); }

/* e^r - 1 = 2 p / (q - p) for |r| <= log(2) / 2 */
static inline double fn_core_p(double r, double s) {
    return r * ((1.26177193074810590878e-4 * s + 3.02994407707441961300e-2) * s + 9.99999999999999999910e-1);
}
static inline double fn_core_q(double s) {
    return ((3.00198505138664455042e-6 * s + 2.52448340349684104192e-3) * s + 2.27265548208155028766e-1) * s + 2.0;
}

static inline double fn_exp_sum(double x, double low) {
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    double t = x * FN_LOG2E + FN_ROUND, n = t - FN_ROUND, r = fn_rest(x, n) + low, s = r * r;
    double p = fn_core_p(r, s), y = 1.0 + 2.0 * (p / (fn_core_q(s) - p));
    int64_t k = (int64_t)(fn_bits_of_double(t) - 0x4338000000000000u);
    int64_t h = (int64_t)((uint64_t)(k + 4096) >> 1) - 2048; /* k / 2; AVX2 has no arithmetic shift of 64 bits */
    return y * fn_power(h) * fn_power(k - h);
}
static inline double fn_exp(double x) { return fn_exp_sum(x, 0.0); }

static inline double fn_expm1(double x) {
    double a = x > 710.0 ? 710.0 : x;
    a = a < -40.0 ? -40.0 : a;
    double t = a * FN_LOG2E + FN_ROUND, n = t - FN_ROUND, r = fn_rest(a, n), s = r * r;
    double p = fn_core_p(r, s), z = 2.0 * (p / (fn_core_q(s) - p));
    double c = fn_power((int64_t)(fn_bits_of_double(t) - 0x4338000000000001u)); /* 2^(n - 1) */
    double y = 2.0 * (c * z + (c - 0.5));
    return fabs(x) < 1e-17 ? x : y;
}

/* With e^r - 1 = 2 p / d: e = (2 c p + (c - 1) d) / d, so that one division does */
static inline double fn_tanh(double x) {
    double a = fabs(x);
    a = a > 20.0 ? 20.0 : a;
    double t = a * (2 * FN_LOG2E) + FN_ROUND, n = t - FN_ROUND, r = fn_rest(2.0 * a, n), s = r * r;
    double p = fn_core_p(r, s), d = fn_core_q(s) - p;
    double c = fn_power((int64_t)(fn_bits_of_double(t) - 0x4338000000000000u));
    double u = 2.0 * c * p + (c - 1.0) * d;
    return fn_signed(u / (u + 2.0 * d), x);
}

/* With f = m - 1 and s = f / (2 + f): log m = f - (f^2 / 2 - s (f^2 / 2 + R(s^2))) */
static inline double fn_log(double x) {
    double small = x < 2.2250738585072014e-308 ? 1.0 : 0.0; /* subnormal: scaled by 2^54 */
    double scaled = x * (1.0 + small * 18014398509481983.0);
    uint64_t i = fn_bits_of_double(scaled) - 0x3FE6A09E00000000u; /* sqrt(1 / 2) */
    double f = fn_double_of((i & 0x000FFFFFFFFFFFFFu) + 0x3FE6A09E00000000u) - 1.0;
    uint64_t e = (i + 0x4000000000000000u) >> 52; /* the exponent + 1024; as a number by its bits, which AVX2 can */
    double k = (fn_double_of(e | 0x4330000000000000u) - 4503599627370496.0) - (1024.0 + small * 54.0);
    double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
    double r = 1.479819860511658591e-01;
    r = r * z + 1.531383769920937332e-01;
    r = r * z + 1.818357216161805012e-01;
    r = r * z + 2.222219843214978396e-01;
    r = r * z + 2.857142874366239149e-01;
    r = r * z + 3.999999999940941908e-01;
    r = r * z + 6.666666666666735130e-01;
    r = r * z;
    double y = k * 6.93147180369123816490e-01 - ((half - (s * (half + r) + k * 1.90821492927058770002e-10)) - f);
    y = x == 0.0 ? -INFINITY : y;
    y = x < 0.0 ? NAN : y;
    return x < INFINITY ? y : x;
}

static inline double fn_log1p(double x) {
    double u = 1.0 + x;
    double y = fn_log(u) + (x - (u - 1.0)) / u;
    y = x == -1.0 ? -INFINITY : y;
    y = x < INFINITY ? y : x;
    return fabs(x) < 1e-17 ? x : y;
}

static inline double fn_gauss(double a) {
    double high = fn_double_of(fn_bits_of_double(a) & 0xFFFFFFFFF8000000u), low = a - high, s = a * a;
    return fn_exp_sum(-0.5 * s, -0.5 * (((high * high - s) + 2.0 * high * low) + low * low));
}

/* Phi x as in tracing/special.py */
static inline double fn_normal_cdf(double x) {
    double a = fabs(x);
    a = a > 40.0 ? 40.0 : a;
    double c = a > 1.0 ? 1.0 : a, s = c * c, u = (a - 4.0) / (a + 4.0);
    double p = 4.0743269774266276e-12;
    p = p * s - 1.106432828275589e-10;
    p = p * s + 2.2704137585676e-09;
    p = p * s - 4.1224107514160815e-08;
    p = p * s + 6.659679879655231e-07;
    p = p * s - 9.444655793103845e-06;
    p = p * s + 0.00011543468751655941;
    p = p * s - 0.0011873282154680343;
    p = p * s + 0.009973557010035022;
    p = p * s - 0.06649038006690543;
    p = p * s + 0.3989422804014327;
    double q = -1.3015864363038573e-09;
    q = q * u - 9.155031907276119e-10;
    q = q * u + 1.1357592183984426e-08;
    q = q * u + 1.0909001599770491e-08;
    q = q * u - 5.295036532511972e-08;
    q = q * u - 9.524225243900364e-08;
    q = q * u + 2.0640215525798641e-07;
    q = q * u + 6.61934846317105e-07;
    q = q * u - 8.296570286875195e-07;
    q = q * u - 4.303663568752689e-06;
    q = q * u + 4.631637749517803e-06;
    q = q * u + 2.8648360950194735e-05;
    q = q * u - 4.5554909410700754e-05;
    q = q * u - 0.00018718427083047072;
    q = q * u + 0.0006388138534432035;
    q = q * u + 0.000507562075076727;
    q = q * u - 0.008492095482222668;
    q = q * u + 0.030864804106319265;
    q = q * u - 0.0717074073377337;
    q = q * u + 0.12437925533926339;
    q = q * u - 0.17039772154845545;
    q = q * u + 0.09441064130196894;
    double below = a > 1.0 ? fn_gauss(a) * q : 0.5 - a * p;
    return x > 0.0 ? 1.0 - below : below;
}
