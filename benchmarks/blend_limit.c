/* What one core can do at best: blending with everything in the first-level cache, no spans to
 * find, no parameters to fetch, no image to clear. AVX2, eight pixels at a time; the same
 * arithmetic as the rasterizer. Prints pairs (Gaussian x pixel) per second, forward and backward.
 *
 *     cc -O3 -mavx2 -mfma -o blend_limit blend_limit.c && ./blend_limit
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef float v8 __attribute__((vector_size(32)));
typedef int32_t i8v __attribute__((vector_size(32)));
enum { BLOCKS = 32, ROUNDS = 200000 };

static v8 frame[BLOCKS][5], adjoint[BLOCKS][6];
static volatile float sink;

static inline v8 all(float x) { return (v8){x, x, x, x, x, x, x, x}; }
static inline v8 pick(i8v mask, v8 yes, v8 no) {
    return (v8)((mask & (i8v)yes) | (~mask & (i8v)no));
}
static inline v8 exp2v(v8 x) {
    const v8 magic = all(12582912.0f); /* 1.5 * 2^23: adding it rounds to whole numbers */
    v8 t = x + magic, f = x - (t - magic);
    v8 p = all(1.5403530e-4f);
    p = p * f + all(1.3333558e-3f);
    p = p * f + all(9.6181291e-3f);
    p = p * f + all(5.5504109e-2f);
    p = p * f + all(2.4022651e-1f);
    p = p * f + all(6.9314718e-1f);
    p = p * f + all(1.0f);
    return (v8)((i8v)p + (((i8v)t - (i8v)magic) << 23));
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static const v8 columns = {0.5f, 1.5f, 2.5f, 3.5f, 0.5f, 1.5f, 2.5f, 3.5f};

static double forward(void) {
    for (int b = 0; b < BLOCKS; b++) {
        memset(frame[b], 0, sizeof frame[b]);
        frame[b][0] = all(1);
    }
    double start = now();
    for (int g = 0; g < ROUNDS; g++) {
        const float mx = 3.0f + (g & 7), l11 = 0.11f + 0.001f * (g & 15);
        const v8 tilt = all(0.01f * (g & 3)), log_alpha = all(-5.0f - (g & 1));
        const v8 red = all(0.3f), green = all(0.5f), blue = all(0.7f), depth = all(2.0f);
        for (int b = 0; b < BLOCKS; b++) {
            v8 *f = frame[b], t = f[0];
            v8 u = all(l11) * (columns + all(4.0f * (b & 3) - mx)) + tilt, p = log_alpha - u * u;
            v8 a = pick(p >= all(-7.994353f), exp2v(p), all(0));
            a = pick(a < all(0.999f), a, all(0.999f));
            v8 left = t - a * t;
            i8v open = left > all(1e-4f);
            v8 w = pick(open, t - left, all(0));
            f[0] = pick(open, left, (v8)((i8v)t | (i8v)all(-0.0f)));
            f[1] += w * red;
            f[2] += w * green;
            f[3] += w * blue;
            f[4] += w * depth;
        }
    }
    double seconds = now() - start;
    sink = frame[1][1][0];
    return 8.0 * BLOCKS * ROUNDS / seconds;
}

static double backward(void) {
    for (int b = 0; b < BLOCKS; b++)
        for (int k = 0; k < 6; k++) adjoint[b][k] = all(k ? 0.1f * k : 1.0f);
    v8 s[10];
    memset(s, 0, sizeof s);
    double start = now();
    for (int g = 0; g < ROUNDS; g++) {
        const float mx = 3.0f + (g & 7), l11 = 0.11f + 0.001f * (g & 15);
        const v8 tilt = all(0.01f * (g & 3)), log_alpha = all(-5.0f - (g & 1)), h = all(0.3f);
        const v8 red = all(0.3f), green = all(0.5f), blue = all(0.7f), depth = all(2.0f);
        for (int b = 0; b < BLOCKS; b++) {
            v8 *f = adjoint[b], t = f[0];
            v8 u = all(l11) * (columns + all(4.0f * (b & 3) - mx)) + tilt, p = log_alpha - u * u;
            v8 raw = pick(p >= all(-7.994353f), exp2v(p), all(0));
            v8 a = pick(raw < all(0.999f), raw, all(0.999f));
            v8 left = t - a * t;
            i8v open = left > all(1e-4f);
            v8 w = pick(open, t - left, all(0));
            f[0] = pick(open, left, (v8)((i8v)t | (i8v)all(-0.0f)));
            s[6] += w * f[2];
            s[7] += w * f[3];
            s[8] += w * f[4];
            s[9] += w * f[5];
            v8 gc = f[2] * red + f[3] * green + f[4] * blue + f[5] * depth;
            v8 rest = f[1] - w * gc;
            f[1] = rest;
            v8 v = a * (t * gc - rest / (all(1) - a));
            v = pick(open & (raw <= all(0.999f)), v, all(0));
            v8 vu = v * u, vh = v * h;
            s[0] += v;
            s[1] += vu;
            s[2] += vh;
            s[3] += vu * u;
            s[4] += vu * h;
            s[5] += vh * h;
        }
    }
    double seconds = now() - start;
    for (int k = 0; k < 10; k++) sink = s[k][0];
    return 8.0 * BLOCKS * ROUNDS / seconds;
}

int main(void) {
    double best_forward = 0, best_backward = 0;
    for (int i = 0; i < 5; i++) {
        double f = forward(), b = backward();
        best_forward = f > best_forward ? f : best_forward;
        best_backward = b > best_backward ? b : best_backward;
    }
    printf("%.6e %.6e\n", best_forward, best_backward);
    return 0;
}
