/* The guest of the conformance suite. Its export "script" makes host calls as its arguments say and returns what they
 * answered, so that the suite is written in Go; the other exports are what scripts call, and shapes that exceed limits.
 *
 * A script: u32 number of operations; then per operation u32 op, u32 relative (bit n: parameter n is an offset into the
 * buffer) and six u64 parameters; then the buffer, which the suite has filled. The result: an i32 per operation, and what
 * operations of kind DUMP copied. */
#include <stdint.h>

#ifndef WASI
#define WASI "wasi_snapshot_preview1"
#endif
#define EXPORT(n) __attribute__((export_name(n)))
#define HOST(n, args) __attribute__((import_module("host"), import_name(#n))) extern int32_t n args
#define ESSA(n, args) __attribute__((import_module("essa"), import_name(#n))) extern int32_t n args
#define WASIF(n, args) __attribute__((import_module(WASI), import_name(#n))) extern int32_t n args
typedef uint32_t u;
typedef uint64_t U;

HOST(essa_get_args, (u, u));
HOST(essa_set_result, (u, u));
HOST(essa_call, (u, u, u, u, u));
HOST(essa_get_result_len, (u, u));
HOST(essa_get_result, (u, u, u, u));
HOST(essa_put_lattice, (u, u, u, u));
HOST(essa_get_lattice_len, (u, u, u));
HOST(essa_get_lattice_data, (u, u, u, u, u));
ESSA(essa_wait_lattice_len, (u, u, u));
ESSA(essa_get_value_len, (u, u, u));
ESSA(essa_get_value_data, (u, u, u, u, u));
ESSA(essa_get_error, (u, u, u, u));
WASIF(args_get, (u, u));
WASIF(args_sizes_get, (u, u));
WASIF(environ_get, (u, u));
WASIF(environ_sizes_get, (u, u));
WASIF(clock_res_get, (u, u));
WASIF(clock_time_get, (u, U, u));
WASIF(random_get, (u, u));
WASIF(sched_yield, (void));
WASIF(poll_oneoff, (u, u, u, u));
WASIF(proc_raise, (u));
WASIF(fd_advise, (u, U, U, u));
WASIF(fd_allocate, (u, U, U));
WASIF(fd_close, (u));
WASIF(fd_datasync, (u));
WASIF(fd_sync, (u));
WASIF(fd_fdstat_get, (u, u));
WASIF(fd_fdstat_set_flags, (u, u));
WASIF(fd_fdstat_set_rights, (u, U, U));
WASIF(fd_filestat_get, (u, u));
WASIF(fd_filestat_set_size, (u, U));
WASIF(fd_filestat_set_times, (u, U, U, u));
WASIF(fd_pread, (u, u, u, U, u));
WASIF(fd_pwrite, (u, u, u, U, u));
WASIF(fd_prestat_get, (u, u));
WASIF(fd_prestat_dir_name, (u, u, u));
WASIF(fd_read, (u, u, u, u));
WASIF(fd_write, (u, u, u, u));
WASIF(fd_readdir, (u, u, u, U, u));
WASIF(fd_renumber, (u, u));
WASIF(fd_seek, (u, U, u, u));
WASIF(fd_tell, (u, u));
WASIF(path_create_directory, (u, u, u));
WASIF(path_filestat_get, (u, u, u, u, u));
WASIF(path_filestat_set_times, (u, u, u, u, U, U, u));
WASIF(path_link, (u, u, u, u, u, u, u));
WASIF(path_open, (u, u, u, u, u, U, U, u, u));
WASIF(path_readlink, (u, u, u, u, u, u));
WASIF(path_remove_directory, (u, u, u));
WASIF(path_rename, (u, u, u, u, u, u));
WASIF(path_symlink, (u, u, u, u, u));
WASIF(path_unlink_file, (u, u, u));
WASIF(sock_recv, (u, u, u, u, u, u));
WASIF(sock_send, (u, u, u, u, u));
WASIF(sock_shutdown, (u, u));
__attribute__((import_module(WASI), import_name("proc_exit"))) extern void proc_exit(u);

enum { OPS = 128, BUFFER = 1 << 15 };
struct op { u op, relative; U p[6]; };
static struct { u n; struct op ops[OPS]; } code;
static uint8_t buffer[BUFFER];
static uint8_t input[sizeof code + BUFFER];
static uint8_t result[4 * OPS + BUFFER];
static int initialized = 40;

EXPORT("_initialize") void initialize(void) { initialized += 2; }

static void copy(void *to, const void *from, u n) {
    for (u i = 0; i < n; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
}
static u at(const void *p) { return (u)(uintptr_t)p; }

static int32_t run(u op, const U *p) {
#define a (u)p[0]
#define b (u)p[1]
#define c (u)p[2]
#define d (u)p[3]
#define e (u)p[4]
#define f (u)p[5]
    switch (op) {
    case 0: return essa_get_args(a, b);
    case 1: return essa_set_result(a, b);
    case 2: return essa_call(a, b, c, d, e);
    case 3: return essa_get_result_len(a, b);
    case 4: return essa_get_result(a, b, c, d);
    case 5: return essa_put_lattice(a, b, c, d);
    case 6: return essa_get_lattice_len(a, b, c);
    case 7: return essa_get_lattice_data(a, b, c, d, e);
    case 8: return essa_wait_lattice_len(a, b, c);
    case 9: return essa_get_value_len(a, b, c);
    case 10: return essa_get_value_data(a, b, c, d, e);
    case 11: return essa_get_error(a, b, c, d);
    case 12: return __builtin_wasm_memory_grow(0, a);
    case 20: return args_get(a, b);
    case 21: return args_sizes_get(a, b);
    case 22: return environ_get(a, b);
    case 23: return environ_sizes_get(a, b);
    case 24: return clock_res_get(a, b);
    case 25: return clock_time_get(a, p[1], c);
    case 26: return random_get(a, b);
    case 27: return sched_yield();
    case 28: return poll_oneoff(a, b, c, d);
    case 29: return proc_raise(a);
    case 30: return fd_advise(a, p[1], p[2], d);
    case 31: return fd_allocate(a, p[1], p[2]);
    case 32: return fd_close(a);
    case 33: return fd_datasync(a);
    case 34: return fd_sync(a);
    case 35: return fd_fdstat_get(a, b);
    case 36: return fd_fdstat_set_flags(a, b);
    case 37: return fd_fdstat_set_rights(a, p[1], p[2]);
    case 38: return fd_filestat_get(a, b);
    case 39: return fd_filestat_set_size(a, p[1]);
    case 40: return fd_filestat_set_times(a, p[1], p[2], d);
    case 41: return fd_pread(a, b, c, p[3], e);
    case 42: return fd_pwrite(a, b, c, p[3], e);
    case 43: return fd_prestat_get(a, b);
    case 44: return fd_prestat_dir_name(a, b, c);
    case 45: return fd_read(a, b, c, d);
    case 46: return fd_write(a, b, c, d);
    case 47: return fd_readdir(a, b, c, p[3], e);
    case 48: return fd_renumber(a, b);
    case 49: return fd_seek(a, p[1], c, d);
    case 50: return fd_tell(a, b);
    case 51: return path_create_directory(a, b, c);
    case 52: return path_filestat_get(a, b, c, d, e);
    case 53: return path_filestat_set_times(a, b, c, d, p[4], p[5], 0);
    case 54: return path_link(a, b, c, d, e, f, 0);
    case 55: return path_open(a, b, c, d, e, p[5], 0, 0, 0);
    case 56: return path_readlink(a, b, c, d, e, f);
    case 57: return path_remove_directory(a, b, c);
    case 58: return path_rename(a, b, c, d, e, f);
    case 59: return path_symlink(a, b, c, d, e);
    case 60: return path_unlink_file(a, b, c);
    case 61: return sock_recv(a, b, c, d, e, f);
    case 62: return sock_send(a, b, c, d, e);
    case 63: return sock_shutdown(a, b);
    case 64: proc_exit(a); return 0;
    }
    __builtin_trap();
#undef a
#undef b
#undef c
#undef d
#undef e
#undef f
}

EXPORT("script") void script(u len) {
    if (len > sizeof input || essa_get_args(at(input), sizeof input)) __builtin_trap();
    copy(&code.n, input, 4);
    if (code.n > OPS) __builtin_trap();
    copy(code.ops, input + 4, code.n * sizeof(struct op));
    u head = 4 + code.n * sizeof(struct op);
    copy(buffer, input + head, len - head);
    u dumped = 4 * code.n;
    for (u i = 0; i < code.n; i++) {
        struct op *o = &code.ops[i];
        for (int k = 0; k < 6; k++)
            if (o->relative >> k & 1) o->p[k] += at(buffer);
        int32_t r = 0;
        if (o->op == 100) { /* DUMP ptr, len */
            copy(result + dumped, (void *)(uintptr_t)o->p[0], (u)o->p[1]);
            dumped += (u)o->p[1];
        } else if (o->op == 101) { /* MOVE to, from: a u32 that an operation gave becomes a parameter of the next one */
            copy(&code.ops[i + 1].p[o->p[0]], (void *)(uintptr_t)o->p[1], 4);
        } else if (o->op == 103) { /* VECTOR at, ptr, len: an iovec */
            u vec[2] = {(u)o->p[1], (u)o->p[2]};
            copy((void *)(uintptr_t)o->p[0], vec, 8);
        } else if (o->op == 102) { /* END: the result is the one that the script set */
            return;
        } else {
            r = run(o->op, o->p);
        }
        copy(result + 4 * i, &r, 4);
    }
    essa_set_result(at(result), dumped);
}

/* What scripts call. */
EXPORT("echo") void echo(u len) {
    if (len > sizeof input || essa_get_args(at(input), len)) __builtin_trap();
    essa_set_result(at(input), len);
}
EXPORT("empty") void empty(u len) { essa_set_result(0, 0); }
EXPORT("none") void none(u len) {}
EXPORT("trap") void trap(u len) { __builtin_trap(); }
EXPORT("initialized") void was_initialized(u len) { essa_set_result(at(&initialized), 4); initialized++; }
EXPORT("notfunction") int32_t not_function(u x) { return (int32_t)x; }
EXPORT("put") void put(u len) { /* key length u32, key, value */
    if (len > sizeof input || essa_get_args(at(input), len)) __builtin_trap();
    u n;
    copy(&n, input, 4);
    if (essa_put_lattice(at(input) + 4, n, at(input) + 4 + n, len - 4 - n)) __builtin_trap();
    essa_set_result(0, 0);
}
EXPORT("get") void get(u len) {
    if (len > sizeof input || essa_get_args(at(input), len)) __builtin_trap();
    u n;
    int32_t r = essa_get_lattice_len(at(input), len, at(&n));
    if (!r) r = essa_get_lattice_data(at(input), len, at(buffer), sizeof buffer, at(&n));
    if (r) __builtin_trap();
    essa_set_result(at(buffer), n);
}

/* tree(depth, width): a tree of calls; returns the number of its leaves. */
EXPORT("tree") void tree(u len) {
    u in[2], sum = 0, handles[64];
    if (len != 8 || essa_get_args(at(in), 8)) __builtin_trap();
    if (in[0] == 0) {
        sum = 1;
    } else {
        u args[2] = {in[0] - 1, in[1]};
        for (u i = 0; i < in[1]; i++)
            if (essa_call(at("tree"), 4, at(args), 8, at(&handles[i]))) __builtin_trap();
        for (u i = 0; i < in[1]; i++) {
            u got, n;
            if (essa_get_result(handles[i], at(&got), 4, at(&n)) || n != 4) __builtin_trap();
            sum += got;
        }
    }
    essa_set_result(at(&sum), 4);
}

/* deep(depth): a chain of calls. */
EXPORT("deep") void deep(u len) {
    u n, handle, got;
    if (len != 4 || essa_get_args(at(&n), 4)) __builtin_trap();
    if (n > 0) {
        n--;
        if (essa_call(at("deep"), 4, at(&n), 4, at(&handle))) __builtin_trap();
        if (essa_get_result(handle, at(&got), 4, at(&n))) __builtin_trap();
    }
    u done = 1;
    essa_set_result(at(&done), 4);
}

/* forgetful(n): starts n calls of "put" with its own arguments and waits for none. */
EXPORT("forgetful") void forgetful(u len) {
    u handle;
    if (len > sizeof input || essa_get_args(at(input), len)) __builtin_trap();
    for (int i = 0; i < 8; i++)
        if (essa_call(at("put"), 3, at(input), len, at(&handle))) __builtin_trap();
}

/* nested(n): calls "none" n times and waits for each; calls "echo" with nothing in the end. */
EXPORT("nested") void nested(u len) {
    u n, handle, got;
    if (len != 4 || essa_get_args(at(&n), 4)) __builtin_trap();
    for (u i = 0; i < n; i++) {
        if (essa_call(at("empty"), 5, 0, 0, at(&handle))) __builtin_trap();
        if (essa_get_result(handle, 0, 0, at(&got))) __builtin_trap();
    }
}

/* reads(n): reads key "k" n times. */
EXPORT("reads") void reads(u len) {
    u n, got;
    if (len != 4 || essa_get_args(at(&n), 4)) __builtin_trap();
    for (u i = 0; i < n; i++)
        if (essa_get_lattice_len(at("k"), 1, at(&got)) || essa_get_lattice_data(at("k"), 1, at(buffer), sizeof buffer, at(&got)))
            __builtin_trap();
}

/* bare(n): makes the cheapest host call n times. */
EXPORT("bare") void bare(u len) {
    u n;
    if (len != 4 || essa_get_args(at(&n), 4)) __builtin_trap();
    for (u i = 0; i < n; i++)
        if (essa_get_args(at(&n), 4)) __builtin_trap();
}

/* work(n): n rounds of arithmetic, as a function that computes. */
EXPORT("work") void work(u len) {
    u n, x = 1;
    if (len != 4 || essa_get_args(at(&n), 4)) __builtin_trap();
    for (u i = 0; i < n; i++) x = x * 1664525 + 1013904223;
    essa_set_result(at(&x), 4);
}

/* Shapes that do not end, or take everything. */
static volatile u sink;
EXPORT("spin") void spin(u len) { for (;;) sink++; }
EXPORT("storm") void storm(u len) { for (;;) essa_get_args(at(&code), sizeof code); }
__attribute__((noinline)) static void expo(u n) {
    if (n == 0) { sink++; return; }
    expo(n - 1);
    expo(n - 1);
}
EXPORT("expo") void exponential(u len) { expo(60); }
EXPORT("bomb") void bomb(u len) {
    for (;;) if (__builtin_wasm_memory_grow(0, 16) == (__SIZE_TYPE__)-1) __builtin_trap();
}
EXPORT("fill") void fill(u len) {
    if (__builtin_wasm_memory_grow(0, 1024) == (__SIZE_TYPE__)-1) __builtin_trap();
    for (;;) __builtin_memset((void *)65536, (int)sink++, 1 << 26);
}
EXPORT("grown") void grown(u len) {
    u n = __builtin_wasm_memory_grow(0, 1600);
    essa_set_result(at(&n), 4);
}
__attribute__((noinline)) static u recurse(u n) { return recurse(n + 1) * 3 + sink; } /* not a tail call: sink is volatile */
EXPORT("overflow") void overflow(u len) { sink = recurse(0); }
EXPORT("huge") void huge(u len) {
    if (__builtin_wasm_memory_grow(0, 16384) == (__SIZE_TYPE__)-1) __builtin_trap();
    essa_set_result(65536, 1 << 30);
}
EXPORT("flood") void flood(u len) {
    static const char line[] = "this is one of very many lines that nobody will read\n";
    u vec[2] = {at(line), sizeof line - 1}, n;
    for (;;) if (fd_write(1, at(vec), 1, at(&n))) __builtin_trap();
}
EXPORT("randoms") void randoms(u len) {
    if (__builtin_wasm_memory_grow(0, 1024) == (__SIZE_TYPE__)-1) __builtin_trap();
    for (;;) random_get(65536, 1 << 26);
}
EXPORT("forkbomb") void forkbomb(u len) {
    u handle;
    for (;;) if (essa_call(at("forkbomb"), 8, 0, 0, at(&handle))) __builtin_trap();
}
EXPORT("openhandles") void open_handles(u len) {
    u handle;
    for (;;) if (essa_call(at("none"), 4, 0, 0, at(&handle))) __builtin_trap();
}
EXPORT("waiter") void waiter(u len) {
    u n;
    essa_wait_lattice_len(at("never"), 5, at(&n));
}
EXPORT("sleeper") void sleeper(u len) {
    static struct { U user; U tag; u id, pad; U timeout, precision; U flags; } s = {.timeout = 3600000000000ull, .id = 1};
    u events[8], n;
    poll_oneoff(at(&s), at(events), 1, at(&n));
}
EXPORT("child_spins") void child_spins(u len) {
    u handle, n;
    if (essa_call(at("spin"), 4, 0, 0, at(&handle))) __builtin_trap();
    essa_get_result_len(handle, at(&n));
}
EXPORT("essa_main") void essa_main(void) {
    static const char line[] = "main of a reactor\n";
    u vec[2] = {at(line), sizeof line - 1}, n;
    if (initialized != 42) __builtin_trap();
    fd_write(1, at(vec), 1, at(&n));
}
