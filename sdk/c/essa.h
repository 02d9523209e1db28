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

/* ---- Exports ---- */

#define ESSA_EXPORT(name) __attribute__((export_name(name)))
/* The name under which the function called `name` is exported and called. */
#define ESSA_WRAPPER(name) "__essa_wrapper__" name
/* Begins a function that other functions and clients can call; args_len is in scope in its body. */
#define ESSA_FUNCTION(name) ESSA_EXPORT(ESSA_WRAPPER(#name)) void essa_function_##name(uint32_t args_len)
/* Begins what `essad run` runs. */
#define ESSA_MAIN ESSA_EXPORT("essa_main") void essa_main(void)

/* A broken promise: ends this call with a trap and nothing else. */
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

typedef struct {
    const char *data;
    uint32_t len;
} essa_bytes;

#define ESSA_STRING(literal) ((essa_bytes){(literal), sizeof(literal) - 1})

static inline const uint8_t *essa_take(essa_reader *r, uint64_t n) {
    if (n > (uint64_t)(r->end - r->at)) __builtin_trap();
    const uint8_t *p = r->at;
    r->at += n;
    return p;
}

static inline uint8_t essa_read_u8(essa_reader *r) { return *essa_take(r, 1); }

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

/* A String or a Vec<u8>, in place: it lives as long as the input. UTF-8 is not checked. */
static inline essa_bytes essa_read_bytes(essa_reader *r) {
    uint64_t n = essa_read_u64(r);
    const uint8_t *p = essa_take(r, n);
    return (essa_bytes){(const char *)p, (uint32_t)n};
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
static inline void essa_write_u32(essa_writer *w, uint32_t v) { essa_write(w, &v, 4); }
static inline void essa_write_u64(essa_writer *w, uint64_t v) { essa_write(w, &v, 8); }

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

#endif
