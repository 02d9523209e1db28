/* Arithmetic for the differential run: every engine must give the same bits. NaNs are made one before they are kept, as
 * WebAssembly leaves their payloads open. */
#include <stdint.h>
#define EXPORT(n) __attribute__((export_name(n)))
#define HOST(n) __attribute__((import_module("host"), import_name(#n)))
typedef uint32_t u;
typedef uint64_t U;

HOST(essa_get_args) extern int32_t essa_get_args(u, u);
HOST(essa_set_result) extern int32_t essa_set_result(u, u);

enum { CELLS = 16 };
static U cell[CELLS];
static U seed;

static U next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static double f64(U v) { double d; __builtin_memcpy(&d, &v, 8); return d; }
static float f32(U v) { u n = (u)v; float f; __builtin_memcpy(&f, &n, 4); return f; }
static U of64(double d) { U v; if (d != d) return 0x7ff8000000000000; __builtin_memcpy(&v, &d, 8); return v; }
static U of32(float f) { u v; if (f != f) return 0x7fc00000; __builtin_memcpy(&v, &f, 4); return v; }

/* Values near which arithmetic is interesting. */
static const U special[] = {
    0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
    0x7f800000, 0xff800000, 0x7fc00001, 0x00000001, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff0000000000001,
    0x3ff0000000000000, 0x43e0000000000000, 0xc3e0000000000000, 0x41dfffffffc00000, 0x4f000000, 0x5f000000, 0x3f000000,
};

static U operand(void) {
    U r = next();
    if (r & 3) return cell[(r >> 8) % CELLS];
    return special[(r >> 8) % (sizeof special / sizeof *special)];
}

static U step(u op, U x, U y) {
    int32_t a = (int32_t)x, b = (int32_t)y;
    int64_t A = (int64_t)x, B = (int64_t)y;
    float f = f32(x), g = f32(y);
    double F = f64(x), G = f64(y);
    switch (op) {
    case 0: return x + y;
    case 1: return x - y;
    case 2: return x * y;
    case 3: return y ? x / y : 1;
    case 4: return y ? x % y : 2;
    case 5: return B && !(A == INT64_MIN && B == -1) ? (U)(A / B) : 3;
    case 6: return B && B != -1 ? (U)(A % B) : 4;
    case 7: return (u)a + (u)b;
    case 8: return (u)a * (u)b;
    case 9: return b && !(a == INT32_MIN && b == -1) ? (u)(a / b) : 5;
    case 10: return b && b != -1 ? (u)(a % b) : 6;
    case 11: return x << (y & 63);
    case 12: return x >> (y & 63);
    case 13: return (U)(A >> (y & 63));
    case 14: return (u)a << (y & 31);
    case 15: return (u)(a >> (y & 31));
    case 16: return x << (y & 63) | x >> (-y & 63);
    case 17: return x ? (U)__builtin_clzll(x) : 64;
    case 18: return x ? (U)__builtin_ctzll(x) : 64;
    case 19: return (U)__builtin_popcountll(x);
    case 20: return (u)x ? (U)__builtin_clz((u)x) : 32;
    case 21: return (U)(int64_t)a;
    case 22: return (U)(int64_t)(int8_t)x;
    case 23: return (U)(int64_t)(int16_t)x;
    case 24: return of64(F + G);
    case 25: return of64(F - G);
    case 26: return of64(F * G);
    case 27: return of64(F / G);
    case 28: return of64(__builtin_sqrt(F));
    case 29: return of64(__builtin_floor(F));
    case 30: return of64(__builtin_ceil(F));
    case 31: return of64(__builtin_trunc(F));
    case 32: return of64(__builtin_rint(F));
    case 33: return of64(__builtin_copysign(F, G));
    case 34: return of64(__builtin_fabs(F));
    case 35: return of32(f + g);
    case 36: return of32(f - g);
    case 37: return of32(f * g);
    case 38: return of32(f / g);
    case 39: return of32(__builtin_sqrtf(f));
    case 40: return of32(__builtin_rintf(f));
    case 41: return of64((double)f);
    case 42: return of32((float)F);
    case 43: return of64((double)A);
    case 44: return of64((double)x);
    case 45: return of32((float)A);
    case 46: return of32((float)x);
    case 47: return F >= -9e18 && F <= 9e18 ? (U)(int64_t)F : 7;
    case 48: return f >= 0 && f <= 4e9f ? (U)(u)f : 8;
    case 49: return F < G;
    case 50: return F == G;
    case 51: return f <= g;
    case 52: return (u)a < (u)b;
    case 53: return A < B;
    case 54: return x ^ y;
    default: return x & ~y;
    }
}

EXPORT("mix") void mix(u len) {
    U in[2];
    if (len != 16 || essa_get_args((u)(uintptr_t)in, 16)) __builtin_trap();
    seed = in[0] * 2 + 1;
    for (u i = 0; i < CELLS; i++) cell[i] = next();
    for (U i = 0; i < in[1]; i++) {
        u op = (u)(next() >> 20) % 56;
        U x = operand(), y = operand();
        cell[next() >> 30 & (CELLS - 1)] = step(op, x, y);
    }
    essa_set_result((u)(uintptr_t)cell, sizeof cell);
}

/* Traps, one each. */
static volatile u zero;
static volatile double huge = 1e30;
typedef void (*function)(u);
EXPORT("divide") void divide(u len) { zero = 7 / zero; }
EXPORT("divide_minimum") void divide_minimum(u len) { int32_t a = INT32_MIN + (int32_t)zero, b = (int32_t)zero - 1; zero = (u)(a / b); }
EXPORT("truncate") void truncate(u len) { int32_t r; double d = huge; __asm__ volatile("local.get %1\n\ti32.trunc_f64_s\n\tlocal.set %0" : "=r"(r) : "r"(d)); zero = (u)r; }
EXPORT("load") void load(u len) { zero = *(volatile u *)(uintptr_t)(0xfffffff0u + zero); }
EXPORT("store") void store(u len) { *(volatile u *)(uintptr_t)(0x7ffffff0u + zero) = 1; }
EXPORT("indirect_null") void indirect_null(u len) { ((function)(uintptr_t)(zero))(1); }
EXPORT("indirect_far") void indirect_far(u len) { ((function)(uintptr_t)(zero + 10000))(1); }
static U other(U a, U b) { return a + b; }
static U (*volatile kept)(U, U) = other;
EXPORT("indirect_type") void indirect_type(u len) { function f = (function)(uintptr_t)kept; f(1); }
EXPORT("unreachable") void unreachable(u len) { __builtin_trap(); }
