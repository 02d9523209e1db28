/* essa.h: functions for essad in C.
 *
 * One header and no library. It declares what the host gives a function (module "host", which is also what upstream
 * essa-rs gives one, and module "essa"), and inline helpers for the encoding of arguments and results (bincode 1.3).
 *
 *     #include "essa.h"
 *
 *     ESSA_FUNCTION(add) {                        // add(a: u64, b: u64) -> u64
 *         essa_reader in = essa_args(args_len);
 *         uint64_t a = essa_read_u64(&in), b = essa_read_u64(&in);
 *         essa_writer out = essa_writer_new(8);
 *         essa_write_u64(&out, a + b);
 *         essa_return(&out);
 *     }
 *
 * Without a C library (small; memory is never given back, which is right for a function: its instance ends with it):
 *
 *     clang --target=wasm32-wasi -mexec-model=reactor -O2 -mbulk-memory -ffreestanding -nostdlib \
 *         -Wl,--no-entry,--strip-all -I sdk/c -o add.wasm add.c
 *
 * With wasi-libc define ESSA_LIBC, leave out "-mbulk-memory -ffreestanding -nostdlib" and "--no-entry"; memory is then
 * malloc's. Whatever the input, a helper never reads past it: a bad argument traps, as it does in every guest library.
 */
#ifndef ESSA_H
#define ESSA_H

#include <stddef.h>
#include <stdint.h>
#ifdef ESSA_LIBC
#include <stdlib.h>
#include <string.h>
#endif

/* ---- What the host answers ---- */

enum {
    ESSA_OK = 0,
    ESSA_UNKNOWN_ERROR = -1,
    ESSA_NO_SUCH_FUNCTION = -2,
    ESSA_BUFFER_TOO_SMALL = -3,
    ESSA_NOT_FOUND = -4,
    ESSA_INVALID_FUNCTION_SIGNATURE = -5,
    ESSA_NO_RESULT = -6,
    ESSA_INVALID_RESULT = -8,
};

/* ---- What the host offers ---- */

#define ESSA_IMPORT_FROM(module, name) __attribute__((import_module(module), import_name(name)))
#define ESSA_IMPORT(name) ESSA_IMPORT_FROM("host", name) extern

/* Fills buf with the arguments of this call; ESSA_BUFFER_TOO_SMALL where they need more than len bytes. */
ESSA_IMPORT("essa_get_args") int32_t essa_get_args(void *buf, uint32_t len);
/* Sets the result of this call. The last one counts. */
ESSA_IMPORT("essa_set_result") int32_t essa_set_result(const void *data, uint32_t len);
/* Starts a call of an export of this module and returns at once. */
ESSA_IMPORT("essa_call") int32_t essa_call(const char *name, uint32_t name_len, const void *args, uint32_t args_len,
                                           uint32_t *handle);
/* Waits for the call and tells the length of its result. May be asked again. */
ESSA_IMPORT("essa_get_result_len") int32_t essa_get_result_len(uint32_t handle, uint32_t *len);
/* Waits for the call and takes its result; the handle ends with it. */
ESSA_IMPORT("essa_get_result") int32_t essa_get_result(uint32_t handle, void *buf, uint32_t cap, uint32_t *len);
/* Merges a lattice value into what is stored under key. */
ESSA_IMPORT("essa_put_lattice") int32_t essa_put_lattice(const char *key, uint32_t key_len, const void *value,
                                                         uint32_t value_len);
/* The length of the value stored under key. The host keeps that value for the essa_get_lattice_data that follows. */
ESSA_IMPORT("essa_get_lattice_len") int32_t essa_get_lattice_len(const char *key, uint32_t key_len, uint32_t *len);
/* The value stored under key. */
ESSA_IMPORT("essa_get_lattice_data") int32_t essa_get_lattice_data(const char *key, uint32_t key_len, void *buf,
                                                                   uint32_t cap, uint32_t *len);

/* What essad has besides. A module that uses one of these does not run on upstream's executors. */
#define ESSA_IMPORT_NEW(name) ESSA_IMPORT_FROM("essa", name) extern

/* As essa_get_lattice_len, but waits until there is a value. ESSA_NOT_FOUND: its kind is one that upstream does not have. */
ESSA_IMPORT_NEW("essa_wait_lattice_len") int32_t essa_wait_lattice_len(const char *key, uint32_t key_len, uint32_t *len);
/* As essa_get_lattice_len and essa_get_lattice_data, for values of every kind. */
ESSA_IMPORT_NEW("essa_get_value_len") int32_t essa_get_value_len(const char *key, uint32_t key_len, uint32_t *len);
ESSA_IMPORT_NEW("essa_get_value_data") int32_t essa_get_value_data(const char *key, uint32_t key_len, void *buf,
                                                                   uint32_t cap, uint32_t *len);
/* Why a call failed, as text, once a wait has told that it did. With ESSA_BUFFER_TOO_SMALL len is set as well. */
ESSA_IMPORT_NEW("essa_get_error") int32_t essa_get_error(uint32_t handle, void *buf, uint32_t cap, uint32_t *len);

/* WASI, which the helpers below use; a module imports what it uses of it and nothing else. */
typedef struct {
    const char *data;
    uint32_t len;
} essa_bytes;

ESSA_IMPORT_FROM("wasi_snapshot_preview1", "fd_write")
extern int32_t essa_fd_write(uint32_t fd, const essa_bytes *parts, uint32_t count, uint32_t *written);
ESSA_IMPORT_FROM("wasi_snapshot_preview1", "clock_time_get")
extern int32_t essa_clock_time_get(uint32_t clock, uint64_t precision, uint64_t *time);

/* ---- Exports ---- */

#define ESSA_EXPORT(name) __attribute__((export_name(name)))
/* The name under which the function called `name` is exported and called. */
#define ESSA_WRAPPER(name) "__essa_wrapper__" name
/* Begins a function that other functions and clients can call; args_len is in scope in its body. */
#define ESSA_FUNCTION(name) ESSA_EXPORT(ESSA_WRAPPER(#name)) void essa_function_##name(uint32_t args_len)
/* Begins what `essad run` runs. */
#define ESSA_MAIN ESSA_EXPORT("essa_main") void essa_main(void)

/* ---- Text, and giving up ---- */

#define ESSA_STRING(literal) ((essa_bytes){(literal), sizeof(literal) - 1})

enum { ESSA_STDOUT = 1, ESSA_STDERR = 2 };

/* Writes text to ESSA_STDOUT or ESSA_STDERR: the terminal of a run, the log of a call. */
static inline void essa_print(uint32_t fd, essa_bytes text) {
    while (text.len > 0) {
        uint32_t n = 0;
        if (essa_fd_write(fd, &text, 1, &n) != 0 || n == 0 || n > text.len) return; /* there is nobody to tell */
        text.data += n;
        text.len -= n;
    }
}

/* Ends this call with a trap and nothing else, and says why in its log. */
static inline _Noreturn void essa_fail(essa_bytes why) {
    essa_print(ESSA_STDERR, why);
    essa_print(ESSA_STDERR, ESSA_STRING("\n"));
    __builtin_trap();
}

/* A broken promise: ends this call with a trap. */
static inline void essa_must(int32_t code) {
    if (code != ESSA_OK) __builtin_trap();
}

/* ---- Memory ---- */

#ifdef ESSA_LIBC

static inline void *essa_alloc(uint32_t n) {
    void *p = malloc(n ? n : 1);
    if (!p) __builtin_trap();
    return p;
}

#define essa_copy memcpy

#else

extern unsigned char __heap_base;

/* Takes n bytes for the rest of this call. They are not cleared. */
static void *essa_alloc(uint32_t n) {
    static uintptr_t next;
    if (!next) next = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
    uint64_t end = (uint64_t)next + n;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > have) {
        uint64_t pages = (end - have + 0xffff) >> 16;
        if (pages > 0xffff || __builtin_wasm_memory_grow(0, (size_t)pages) == (size_t)-1) __builtin_trap();
    }
    void *p = (void *)next;
    next = (uintptr_t)((end + 15) & ~(uint64_t)15);
    return p;
}

#define essa_copy __builtin_memcpy /* one memory.copy, by -mbulk-memory */

#endif

/* ---- Reading bincode ---- */

typedef struct {
    const uint8_t *at, *end;
} essa_reader;

static inline const uint8_t *essa_take(essa_reader *r, uint64_t n) {
    if (n > (uint64_t)(r->end - r->at)) __builtin_trap();
    const uint8_t *p = r->at;
    r->at += n;
    return p;
}

static inline uint8_t essa_read_u8(essa_reader *r) { return *essa_take(r, 1); }

static inline uint16_t essa_read_u16(essa_reader *r) {
    uint16_t v;
    essa_copy(&v, essa_take(r, 2), 2);
    return v;
}

static inline uint32_t essa_read_u32(essa_reader *r) {
    uint32_t v;
    essa_copy(&v, essa_take(r, 4), 4);
    return v;
}

static inline uint64_t essa_read_u64(essa_reader *r) {
    uint64_t v;
    essa_copy(&v, essa_take(r, 8), 8);
    return v;
}

static inline int8_t essa_read_i8(essa_reader *r) { return (int8_t)essa_read_u8(r); }
static inline int16_t essa_read_i16(essa_reader *r) { return (int16_t)essa_read_u16(r); }
static inline int32_t essa_read_i32(essa_reader *r) { return (int32_t)essa_read_u32(r); }
static inline int64_t essa_read_i64(essa_reader *r) { return (int64_t)essa_read_u64(r); }

static inline float essa_read_f32(essa_reader *r) {
    float v;
    essa_copy(&v, essa_take(r, 4), 4);
    return v;
}

static inline double essa_read_f64(essa_reader *r) {
    double v;
    essa_copy(&v, essa_take(r, 8), 8);
    return v;
}

/* The variant of an enum that has n of them; 0 and 1 of a Result are Ok and Err. */
static inline uint32_t essa_read_variant(essa_reader *r, uint32_t n) {
    uint32_t v = essa_read_u32(r);
    if (v >= n) __builtin_trap();
    return v;
}

/* A bool, or the tag of an Option: the value follows where it is 1. */
static inline int essa_read_bool(essa_reader *r) {
    uint8_t v = essa_read_u8(r);
    if (v > 1) __builtin_trap();
    return v;
}

/* A usize. More than fits in this memory traps. */
static inline uint32_t essa_read_usize(essa_reader *r) {
    uint64_t v = essa_read_u64(r);
    if (v > UINT32_MAX) __builtin_trap();
    return (uint32_t)v;
}

/* The count of a Vec, a set or a map whose elements take at least size bytes each. One that the input cannot hold traps, so
 * memory may be taken by it. */
static inline uint32_t essa_read_count(essa_reader *r, uint32_t size) {
    uint64_t n = essa_read_u64(r);
    if (size == 0 || n > (uint64_t)(r->end - r->at) / size) __builtin_trap();
    return (uint32_t)n;
}

/* A Vec<u8>, in place: it lives as long as the input. */
static inline essa_bytes essa_read_bytes(essa_reader *r) {
    uint64_t n = essa_read_u64(r);
    const uint8_t *p = essa_take(r, n);
    return (essa_bytes){(const char *)p, (uint32_t)n};
}

/* Whether text is UTF-8. */
static inline int essa_is_utf8(essa_bytes text) {
    const uint8_t *p = (const uint8_t *)text.data, *end = p + text.len;
    while (p < end) {
        uint8_t c = *p;
        uint32_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
        if (n == 0 || n > (uint32_t)(end - p)) return 0;
        /* What would be too long a form, half a surrogate pair, or beyond Unicode shows in the second byte. */
        if (n > 1 && (p[1] < (c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80) || p[1] > (c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf)))
            return 0;
        for (uint32_t i = 2; i < n; i++)
            if ((p[i] & 0xc0) != 0x80) return 0;
        p += n;
    }
    return 1;
}

/* A String, in place: it lives as long as the input. What is not UTF-8 traps. */
static inline essa_bytes essa_read_string(essa_reader *r) {
    essa_bytes text = essa_read_bytes(r);
    if (!essa_is_utf8(text)) __builtin_trap();
    return text;
}

/* The arguments of this call. */
static inline essa_reader essa_args(uint32_t args_len) {
    uint8_t *p = essa_alloc(args_len);
    essa_must(essa_get_args(p, args_len));
    return (essa_reader){p, p + args_len};
}

/* ---- Writing bincode ---- */

typedef struct {
    uint8_t *data;
    uint32_t len, cap;
} essa_writer;

/* A writer for what needs at most cap bytes. Writing more traps. */
static inline essa_writer essa_writer_new(uint32_t cap) {
    return (essa_writer){.data = essa_alloc(cap), .len = 0, .cap = cap};
}

static inline void essa_write(essa_writer *w, const void *p, uint32_t n) {
    if (n > w->cap - w->len) __builtin_trap();
    essa_copy(w->data + w->len, p, n);
    w->len += n;
}

static inline void essa_write_u8(essa_writer *w, uint8_t v) { essa_write(w, &v, 1); }
static inline void essa_write_u16(essa_writer *w, uint16_t v) { essa_write(w, &v, 2); }
static inline void essa_write_u32(essa_writer *w, uint32_t v) { essa_write(w, &v, 4); }
static inline void essa_write_u64(essa_writer *w, uint64_t v) { essa_write(w, &v, 8); }
static inline void essa_write_i8(essa_writer *w, int8_t v) { essa_write(w, &v, 1); }
static inline void essa_write_i16(essa_writer *w, int16_t v) { essa_write(w, &v, 2); }
static inline void essa_write_i32(essa_writer *w, int32_t v) { essa_write(w, &v, 4); }
static inline void essa_write_i64(essa_writer *w, int64_t v) { essa_write(w, &v, 8); }
static inline void essa_write_f32(essa_writer *w, float v) { essa_write(w, &v, 4); }
static inline void essa_write_f64(essa_writer *w, double v) { essa_write(w, &v, 8); }

/* A bool, or the tag of an Option: the value follows where it is not 0. */
static inline void essa_write_bool(essa_writer *w, int v) { essa_write_u8(w, v != 0); }

/* A String or a Vec<u8>. */
static inline void essa_write_bytes(essa_writer *w, essa_bytes v) {
    essa_write_u64(w, v.len);
    essa_write(w, v.data, v.len);
}

/* Result::Ok; the value follows. */
static inline void essa_write_ok(essa_writer *w) { essa_write_u32(w, 0); }

/* Result::Err; the error follows. */
static inline void essa_write_err(essa_writer *w) { essa_write_u32(w, 1); }

static inline void essa_return(const essa_writer *w) { essa_must(essa_set_result(w->data, w->len)); }

/* The result of a function that returns (). */
static inline void essa_return_unit(void) { essa_must(essa_set_result("", 0)); }

/* The result of a function that returns Result<_, String> and failed. */
static inline void essa_return_err(essa_bytes text) {
    essa_writer w = essa_writer_new(4 + 8 + text.len);
    essa_write_err(&w);
    essa_write_bytes(&w, text);
    essa_return(&w);
}

/* ---- Calls ---- */

/* Starts function(args) in an instance of its own; traps where it cannot be started. function is the export's name:
 * ESSA_STRING(ESSA_WRAPPER("split")). */
static inline uint32_t essa_start(essa_bytes function, const essa_writer *args) {
    uint32_t handle;
    essa_must(essa_call(function.data, function.len, args ? args->data : 0, args ? args->len : 0, &handle));
    return handle;
}

/* Waits for a call and takes its result. The code is the host's; out is set where it is ESSA_OK. */
static inline int32_t essa_wait(uint32_t handle, essa_reader *out) {
    uint32_t len;
    int32_t code = essa_get_result_len(handle, &len);
    if (code != ESSA_OK) return code;
    uint8_t *p = essa_alloc(len);
    code = essa_get_result(handle, p, len, &len);
    if (code == ESSA_OK) *out = (essa_reader){p, p + len};
    return code;
}

/* Why a call failed, once essa_wait has told that it did; empty where nothing is known. */
static inline essa_bytes essa_why(uint32_t handle) {
    uint32_t len = 256;
    char *p = essa_alloc(len);
    int32_t code = essa_get_error(handle, p, len, &len);
    if (code == ESSA_BUFFER_TOO_SMALL) {
        p = essa_alloc(len);
        code = essa_get_error(handle, p, len, &len);
    }
    return (essa_bytes){p, code == ESSA_OK ? len : 0};
}

/* ---- State ---- */

/* Lattice values begin with their kind. */
enum {
    ESSA_LWW = 0,           /* timestamp: String (RFC 3339, UTC), value: Vec<u8> */
    ESSA_SET = 1,           /* count: u64, elements: Vec<u8> each */
    ESSA_ORDERED_SET = 2,   /* the same, in ascending order */
    ESSA_SINGLE_CAUSAL = 3, /* clock: map String -> u64, value: as of a set */
    ESSA_MULTI_CAUSAL = 4,  /* clock, dependencies: map String -> clock, value: as of a set */
    /* From here on essad's own: essa_get_lattice_len does not see them, essa_get_value_len does. */
    ESSA_PRIORITY = 5, /* priority: f64, value: Vec<u8> */
    ESSA_COUNTER = 6,  /* map String -> (up: u64, down: u64) */
    ESSA_MAP = 7,      /* map Vec<u8> -> a value as a Vec<u8> */
};

/* Adds one element to the set stored under key. */
static inline int32_t essa_set_add(essa_bytes key, essa_bytes element) {
    essa_writer w = essa_writer_new(4 + 8 + 8 + element.len);
    essa_write_u32(&w, ESSA_SET);
    essa_write_u64(&w, 1);
    essa_write_bytes(&w, element);
    return essa_put_lattice(key.data, key.len, w.data, w.len);
}

enum { ESSA_TIME_LEN = 30 }; /* 2024-03-05T12:34:56.123456789Z */

/* Writes n in decimal, padded with zeros, before end. */
static inline char *essa_digits(char *end, int64_t n, int width) {
    while (width--) {
        *--end = (char)('0' + n % 10);
        n /= 10;
    }
    return end;
}

/* Writes a time, in nanoseconds since 1970, as lattice timestamps are written. The calendar is counted in years that begin
 * in March, so that the leap day is the last of its year. */
static inline void essa_write_time(essa_writer *w, uint64_t nanos) {
    int64_t secs = (int64_t)(nanos / 1000000000), days = secs / 86400 + 719468, day = secs % 86400;
    int64_t era = days / 146097, doe = days % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9, year = era * 400 + yoe + (month <= 2);
    char text[ESSA_TIME_LEN], *p = text + ESSA_TIME_LEN;
    *--p = 'Z';
    p = essa_digits(p, (int64_t)(nanos % 1000000000), 9);
    *--p = '.';
    p = essa_digits(p, day % 60, 2);
    *--p = ':';
    p = essa_digits(p, day / 60 % 60, 2);
    *--p = ':';
    p = essa_digits(p, day / 3600, 2);
    *--p = 'T';
    p = essa_digits(p, doy - (153 * mp + 2) / 5 + 1, 2);
    *--p = '-';
    p = essa_digits(p, month, 2);
    *--p = '-';
    essa_digits(p, year, 4);
    essa_write_bytes(w, (essa_bytes){text, ESSA_TIME_LEN});
}

/* The clock, in nanoseconds since 1970. */
static inline uint64_t essa_now(void) {
    uint64_t now = 0;
    essa_must(essa_clock_time_get(0, 1, &now));
    return now;
}

/* Sets key to value as of a time: of several, the last one by the clock wins. */
static inline int32_t essa_put_at(essa_bytes key, uint64_t nanos, essa_bytes value) {
    essa_writer w = essa_writer_new(4 + 8 + ESSA_TIME_LEN + 8 + value.len);
    essa_write_u32(&w, ESSA_LWW);
    essa_write_time(&w, nanos);
    essa_write_bytes(&w, value);
    return essa_put_lattice(key.data, key.len, w.data, w.len);
}

static inline int32_t essa_put(essa_bytes key, essa_bytes value) { return essa_put_at(key, essa_now(), value); }

/* Reads the value stored under key. The code is the host's (ESSA_NOT_FOUND: there is none); out begins with the kind. */
static inline int32_t essa_get(essa_bytes key, essa_reader *out) {
    uint32_t len;
    int32_t code = essa_get_lattice_len(key.data, key.len, &len);
    if (code != ESSA_OK) return code;
    uint8_t *p = essa_alloc(len);
    code = essa_get_lattice_data(key.data, key.len, p, len, &len);
    if (code == ESSA_OK) *out = (essa_reader){p, p + len};
    return code;
}

/* The same, but waits until there is a value, of a kind that upstream has. */
static inline int32_t essa_get_wait(essa_bytes key, essa_reader *out) {
    uint32_t len;
    int32_t code = essa_wait_lattice_len(key.data, key.len, &len);
    return code == ESSA_OK ? essa_get(key, out) : code;
}

/* As essa_get, for values of every kind. */
static inline int32_t essa_get_any(essa_bytes key, essa_reader *out) {
    uint32_t len;
    int32_t code = essa_get_value_len(key.data, key.len, &len);
    if (code != ESSA_OK) return code;
    uint8_t *p = essa_alloc(len);
    code = essa_get_value_data(key.data, key.len, p, len, &len);
    if (code == ESSA_OK) *out = (essa_reader){p, p + len};
    return code;
}

#endif
