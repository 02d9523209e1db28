/* A guest that breaks every rule there is, one function each, and a main that does what its arguments say.
 *
 * spin()                              never ends
 * tree()                              calls itself twice, and each of those, without end
 * chain() -> String                   calls itself once, without end; the text of the error that ended it
 * hog()                               takes memory until it gets no more, then traps
 * overflow()                          recurses in its own stack without end
 * host_calls(n: u64)                  n host calls
 * big_result(n: u64)                  a result of n bytes
 * flood(n: u64)                       n lines of 1024 bytes of output
 * trap()                              unreachable
 * leave(code: u32)                    proc_exit in a function
 * sleep(ms: u64)                      waits that long, in host calls
 * put_then_sleep(key: String, ms: u64)    an acknowledged put, then waits
 * tick(key: String, ms: u64) -> u64   adds the time to the set at key, waits, and returns the time
 * count(key: String) -> u64           how many elements the set at key has; 0 where there is none
 * say(text: String)                   a line of output
 * getenv() -> Vec<u8>                 its environment, a line each
 */
#include "../../../../sdk/c/essa.h"

#define WASI(name) ESSA_IMPORT_FROM("wasi_snapshot_preview1", name) extern

WASI("clock_time_get") int32_t clock_time_get(uint32_t clock, uint64_t precision, uint64_t *time);
WASI("fd_write") int32_t fd_write(uint32_t fd, const essa_bytes *parts, uint32_t count, uint32_t *written);
WASI("fd_read") int32_t fd_read(uint32_t fd, const essa_bytes *parts, uint32_t count, uint32_t *read);
WASI("args_sizes_get") int32_t args_sizes_get(uint32_t *count, uint32_t *bytes);
WASI("args_get") int32_t args_get(char **argv, char *buf);
WASI("environ_sizes_get") int32_t environ_sizes_get(uint32_t *count, uint32_t *bytes);
WASI("environ_get") int32_t environ_get(char **env, char *buf);
WASI("poll_oneoff") int32_t poll_oneoff(const void *in, void *out, uint32_t count, uint32_t *events);
WASI("proc_exit") _Noreturn void proc_exit(uint32_t code);

ESSA_EXPORT("_initialize") void initialize(void) {}

static uint32_t length(const char *s) {
    uint32_t n = 0;
    while (s[n]) n++;
    return n;
}

static int same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static void write_all(uint32_t fd, const char *data, uint32_t len) {
    while (len) {
        essa_bytes part = {data, len};
        uint32_t n = 0;
        if (fd_write(fd, &part, 1, &n) != 0 || n == 0) __builtin_trap();
        data += n;
        len -= n;
    }
}

static void print(const char *s) { write_all(1, s, length(s)); }

static uint64_t number(const char *s) {
    uint64_t n = 0;
    while (*s) n = n * 10 + (uint64_t)(*s++ - '0');
    return n;
}

static uint64_t now(void) {
    uint64_t t = 0;
    essa_must(clock_time_get(0, 1, &t));
    return t;
}

static void pause_ms(uint64_t ms) {
    struct {
        uint64_t user;
        uint8_t tag, pad[7];
        uint32_t clock, pad2;
        uint64_t timeout, precision;
        uint16_t flags, pad3[3];
    } sub = {.user = 1, .tag = 0, .clock = 1, .timeout = ms * 1000000};
    uint8_t event[32];
    uint32_t n;
    if (poll_oneoff(&sub, event, 1, &n) != 0) __builtin_trap();
}

static void return_u64(uint64_t n) {
    essa_writer w = essa_writer_new(8);
    essa_write_u64(&w, n);
    essa_return(&w);
}

static volatile uint32_t sink;

static void forever(void) {
    for (;;) sink++;
}

ESSA_FUNCTION(spin) {
    (void)args_len;
    forever();
}

static void wait_for(uint32_t handle) {
    essa_reader r;
    essa_must(essa_wait(handle, &r));
}

ESSA_FUNCTION(tree) {
    (void)args_len;
    uint32_t a = essa_start(ESSA_STRING(ESSA_WRAPPER("tree")), 0), b = essa_start(ESSA_STRING(ESSA_WRAPPER("tree")), 0);
    wait_for(a);
    wait_for(b);
}

/* The error of the deepest call, handed up. */
ESSA_FUNCTION(chain) {
    (void)args_len;
    uint32_t handle = essa_start(ESSA_STRING(ESSA_WRAPPER("chain")), 0), len = 0;
    essa_reader r;
    if (essa_wait(handle, &r) == ESSA_OK) {
        essa_must(essa_set_result(r.at, (uint32_t)(r.end - r.at)));
        return;
    }
    char *text = essa_alloc(4096);
    essa_must(essa_get_error(handle, text, 4096, &len));
    essa_writer w = essa_writer_new(8 + len);
    essa_write_bytes(&w, (essa_bytes){text, len});
    essa_return(&w);
}

ESSA_FUNCTION(hog) {
    (void)args_len;
    for (;;) {
        uint8_t *p = essa_alloc(1 << 20);
        for (uint32_t i = 0; i < 1 << 20; i += 4096) ((volatile uint8_t *)p)[i] = 1;
    }
}

__attribute__((noinline)) static uint32_t deeper(uint32_t n) {
    if (sink == 0xffffffff) return n;
    return deeper(n + 1) + sink;
}

ESSA_FUNCTION(overflow) {
    (void)args_len;
    sink = deeper(0);
    essa_return_unit();
}

ESSA_FUNCTION(host_calls) {
    essa_reader in = essa_args(args_len);
    for (uint64_t n = essa_read_u64(&in); n; n--) sink += (uint32_t)now();
    essa_return_unit();
}

ESSA_FUNCTION(big_result) {
    essa_reader in = essa_args(args_len);
    uint64_t n = essa_read_u64(&in);
    if (n > 0xffffffff) __builtin_trap();
    essa_must(essa_set_result(essa_alloc((uint32_t)n), (uint32_t)n));
}

static void lines(uint64_t n) {
    static char line[1024] = "line 0000000000 ";
    for (int i = 16; i < 1023; i++) line[i] = '.';
    line[1023] = '\n';
    for (uint64_t i = 0; i < n; i++) {
        uint64_t v = i;
        for (int d = 14; d >= 5; d--, v /= 10) line[d] = (char)('0' + v % 10);
        write_all(1, line, sizeof line);
    }
}

ESSA_FUNCTION(flood) {
    essa_reader in = essa_args(args_len);
    lines(essa_read_u64(&in));
    essa_return_unit();
}

ESSA_FUNCTION(trap) {
    (void)args_len;
    __builtin_trap();
}

ESSA_FUNCTION(leave) {
    essa_reader in = essa_args(args_len);
    proc_exit(essa_read_u32(&in));
}

ESSA_FUNCTION(sleep) {
    essa_reader in = essa_args(args_len);
    pause_ms(essa_read_u64(&in));
    essa_return_unit();
}

ESSA_FUNCTION(put_then_sleep) {
    essa_reader in = essa_args(args_len);
    essa_bytes key = essa_read_bytes(&in);
    essa_must(essa_set_add(key, ESSA_STRING("x")));
    pause_ms(essa_read_u64(&in));
    essa_return_unit();
}

ESSA_FUNCTION(tick) {
    essa_reader in = essa_args(args_len);
    essa_bytes key = essa_read_bytes(&in);
    uint64_t t = now();
    essa_must(essa_set_add(key, (essa_bytes){(const char *)&t, sizeof t}));
    pause_ms(essa_read_u64(&in));
    return_u64(t);
}

ESSA_FUNCTION(count) {
    essa_reader in = essa_args(args_len), value;
    essa_bytes key = essa_read_bytes(&in);
    int32_t code = essa_get(key, &value);
    if (code == ESSA_NOT_FOUND) {
        return_u64(0);
        return;
    }
    essa_must(code);
    essa_read_u32(&value);
    return_u64(essa_read_u64(&value));
}

ESSA_FUNCTION(say) {
    essa_reader in = essa_args(args_len);
    essa_bytes text = essa_read_bytes(&in);
    write_all(1, text.data, text.len);
    write_all(1, "\n", 1);
    essa_return_unit();
}

/* The environment, a line each. */
static essa_bytes environment(void) {
    uint32_t count, bytes;
    if (environ_sizes_get(&count, &bytes) != 0) __builtin_trap();
    char **env = essa_alloc(4 * count), *buf = essa_alloc(bytes);
    if (environ_get(env, buf) != 0) __builtin_trap();
    for (uint32_t i = 0; i < bytes; i++)
        if (!buf[i]) buf[i] = '\n';
    return (essa_bytes){buf, bytes};
}

ESSA_FUNCTION(getenv) {
    (void)args_len;
    essa_bytes env = environment();
    essa_writer w = essa_writer_new(8 + env.len);
    essa_write_bytes(&w, env);
    essa_return(&w);
}

/* ---- essad run rude.wasm -- VERB [ARG] ---- */

static void copy_input(void) {
    char *buf = essa_alloc(65536);
    for (;;) {
        essa_bytes part = {buf, 65536};
        uint32_t n = 0;
        if (fd_read(0, &part, 1, &n) != 0) __builtin_trap();
        if (n == 0) return;
        write_all(1, buf, n);
    }
}

__attribute__((noinline)) static void fall_over(void) { __builtin_trap(); }

ESSA_MAIN {
    uint32_t count, bytes;
    if (args_sizes_get(&count, &bytes) != 0) __builtin_trap();
    char **argv = essa_alloc(4 * count), *buf = essa_alloc(bytes);
    if (args_get(argv, buf) != 0) __builtin_trap();
    if (count < 2) return;
    const char *verb = argv[1], *arg = count > 2 ? argv[2] : "";
    if (same(verb, "exit")) proc_exit((uint32_t)number(arg));
    if (same(verb, "trap")) {
        print("about to fall over\n");
        fall_over();
    }
    if (same(verb, "spin")) {
        print("spinning\n");
        forever();
    }
    if (same(verb, "args"))
        for (uint32_t i = 0; i < count; i++) {
            print(argv[i]);
            print("\n");
        }
    if (same(verb, "env")) {
        essa_bytes env = environment();
        write_all(1, env.data, env.len);
    }
    if (same(verb, "cat")) copy_input();
    if (same(verb, "ask")) { /* a line at once, then what comes in */
        print("ready\n");
        copy_input();
    }
    if (same(verb, "err")) write_all(2, "to stderr\n", 10);
    if (same(verb, "bare")) print("no newline");
    if (same(verb, "lines")) lines(number(arg));
    if (same(verb, "put")) essa_must(essa_set_add((essa_bytes){arg, length(arg)}, ESSA_STRING("x")));
    if (same(verb, "put-spin")) {
        essa_must(essa_set_add((essa_bytes){arg, length(arg)}, ESSA_STRING("x")));
        print("stored\n");
        forever();
    }
}
