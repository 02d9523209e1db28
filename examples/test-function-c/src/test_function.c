/* The demo module of upstream essa-rs in C: the same functions under the same names, the same steps, the same lines as
 * examples/test-function. It runs functions remotely, shares a set among them, and splits a range recursively.
 *
 *     make -C examples/test-function-c && essad run examples/test-function-c/test-function-c.wasm
 */
#include "essa.h"

/* A module with _initialize is a reactor; there is nothing to initialise here. */
ESSA_EXPORT("_initialize") void initialize(void) {}

/* ---- Small things ---- */

static void print(essa_bytes text) { essa_print(ESSA_STDOUT, text); }

static void line(essa_bytes text) {
    print(text);
    print(ESSA_STRING("\n"));
}

/* Decimal digits of n, right-aligned in a buffer of its own. */
static essa_bytes decimal(uint64_t n) {
    char *end = (char *)essa_alloc(20) + 20, *p = end;
    do *--p = (char)('0' + n % 10);
    while (n /= 10);
    return (essa_bytes){p, (uint32_t)(end - p)};
}

static uint64_t number(essa_bytes text) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') essa_fail(ESSA_STRING("an element of the result is not a number"));
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    }
    return n;
}

static void return_string(essa_bytes text) {
    essa_writer w = essa_writer_new(8 + text.len);
    essa_write_bytes(&w, text);
    essa_return(&w);
}

/* ---- The functions ---- */

/* to_uppercase(val: String) -> String: converts the ASCII letters of val to upper case. */
ESSA_FUNCTION(to_uppercase) {
    essa_reader in = essa_args(args_len);
    essa_bytes val = essa_read_string(&in);
    char *upper = essa_alloc(val.len);
    for (uint32_t i = 0; i < val.len; i++) {
        char c = val.data[i];
        upper[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    return_string((essa_bytes){upper, val.len});
}

/* foo(val: String) -> String: adds " fooo" to val. */
ESSA_FUNCTION(foo) {
    essa_reader in = essa_args(args_len);
    essa_bytes val = essa_read_string(&in), more = ESSA_STRING(" fooo");
    char *text = essa_alloc(val.len + more.len);
    essa_copy(text, val.data, val.len);
    essa_copy(text + val.len, more.data, more.len);
    return_string((essa_bytes){text, val.len + more.len});
}

/* repeat_string(text: String, count: usize) -> String: repeats text count times. */
ESSA_FUNCTION(repeat_string) {
    essa_reader in = essa_args(args_len);
    essa_bytes text = essa_read_string(&in);
    uint64_t count = essa_read_usize(&in), len = count * text.len;
    if (len > 1 << 30) essa_fail(ESSA_STRING("repeat_string: more than 1 GiB"));
    essa_writer w = essa_writer_new(8 + (uint32_t)len);
    essa_write_u64(&w, len);
    for (uint64_t i = 0; text.len > 0 && i < count; i++) essa_write(&w, text.data, text.len);
    essa_return(&w);
}

static uint32_t start_kvs_test(essa_bytes key, uint64_t start, uint64_t end) {
    essa_writer w = essa_writer_new(8 + key.len + 16);
    essa_write_bytes(&w, key);
    essa_write_u64(&w, start);
    essa_write_u64(&w, end);
    return essa_start(ESSA_STRING(ESSA_WRAPPER("concurrent_kvs_test")), &w);
}

/* Waits for a call of concurrent_kvs_test. 0 where it failed; error then says why. */
static int join_kvs_test(uint32_t handle, essa_bytes *error) {
    essa_reader r;
    if (essa_wait(handle, &r) != ESSA_OK) {
        *error = essa_why(handle);
        return 0;
    }
    if (essa_read_variant(&r, 2) == 0) return 1;
    *error = essa_read_string(&r);
    return 0;
}

/* concurrent_kvs_test(key: String, start: usize, end: usize) -> Result<(), String>: splits the range in half until one
 * number is left, and adds that one to the set under key. Each half is a call of its own, so a range of n numbers makes
 * 2n-1 calls, and the set holds the whole range when the first of them returns. */
ESSA_FUNCTION(concurrent_kvs_test) {
    essa_reader in = essa_args(args_len);
    essa_bytes key = essa_read_string(&in);
    uint64_t start = essa_read_usize(&in), end = essa_read_usize(&in);
    if (end <= start) {
        essa_return_err(ESSA_STRING("the range is empty"));
        return;
    }
    if (end - start == 1) {
        if (essa_set_add(key, decimal(start)) != ESSA_OK) {
            essa_return_err(ESSA_STRING("the number could not be stored"));
            return;
        }
    } else {
        uint64_t mid = start + (end - start) / 2;
        uint32_t left = start_kvs_test(key, start, mid), right = start_kvs_test(key, mid, end);
        essa_bytes error;
        int both = join_kvs_test(left, &error) & join_kvs_test(right, &error);
        if (!both) {
            essa_return_err(error);
            return;
        }
    }
    essa_writer w = essa_writer_new(4);
    essa_write_ok(&w);
    essa_return(&w);
}

/* ---- essad run test-function-c.wasm ---- */

/* Starts a function that takes and returns a String, and waits for it. count is an argument more, where there is one. */
static essa_bytes call_string(essa_bytes function, essa_bytes val, const uint64_t *count) {
    essa_writer w = essa_writer_new(8 + val.len + 8);
    essa_write_bytes(&w, val);
    if (count) essa_write_u64(&w, *count);
    uint32_t handle = essa_start(function, &w);
    line(ESSA_STRING("Waiting for result..."));
    essa_reader r;
    if (essa_wait(handle, &r) != ESSA_OK) essa_fail(essa_why(handle));
    return essa_read_string(&r);
}

static void add_three(essa_bytes key, essa_bytes a, essa_bytes b, essa_bytes c) {
    essa_writer w = essa_writer_new(4 + 8 + 3 * 8 + a.len + b.len + c.len);
    essa_write_u32(&w, ESSA_SET);
    essa_write_u64(&w, 3);
    essa_write_bytes(&w, a);
    essa_write_bytes(&w, b);
    essa_write_bytes(&w, c);
    essa_must(essa_put_lattice(key.data, key.len, w.data, w.len));
}

/* Waits for the set under key, as upstream's demo does. count elements follow in the reader, in ascending order. */
static essa_reader elements(essa_bytes key, uint32_t *count) {
    essa_reader r;
    essa_must(essa_get_wait(key, &r));
    if (essa_read_u32(&r) != ESSA_SET) essa_fail(ESSA_STRING("it is not a set"));
    *count = essa_read_count(&r, 8);
    return r;
}

static void print_set(essa_bytes key) {
    uint32_t count;
    line(ESSA_STRING("Reading the set from the kvs"));
    essa_reader r = elements(key, &count);
    print(ESSA_STRING("Result: {"));
    for (uint32_t i = 0; i < count; i++) {
        print(i ? ESSA_STRING(", \"") : ESSA_STRING("\""));
        print(essa_read_bytes(&r));
        print(ESSA_STRING("\""));
    }
    line(ESSA_STRING("}"));
}

/* Runs the recursive function and checks that the set holds the whole range and nothing else. */
static void split_range(essa_bytes key, uint64_t start, uint64_t end) {
    line(ESSA_STRING("Running concurrent KVS test"));
    essa_bytes error;
    if (!join_kvs_test(start_kvs_test(key, start, end), &error)) essa_fail(error);
    line(ESSA_STRING("Reading the concurrent KVS test result set from the kvs"));
    uint32_t count;
    essa_reader r = elements(key, &count);
    if (count != end - start) essa_fail(ESSA_STRING("the result does not hold as many numbers as the range"));
    for (uint32_t i = 0; i < count; i++) { /* they are all different, for it is a set */
        uint64_t n = number(essa_read_bytes(&r));
        if (n < start || n >= end) essa_fail(ESSA_STRING("the result holds more than the range"));
    }
}

static void result(essa_bytes text) {
    print(ESSA_STRING("Function result: "));
    line(text);
}

ESSA_MAIN {
    line(ESSA_STRING("Hello world from test function!"));
    essa_bytes text = call_string(ESSA_STRING(ESSA_WRAPPER("to_uppercase")), ESSA_STRING("foobar"), 0);
    result(text);

    line(ESSA_STRING("Storing a set in the kvs"));
    essa_bytes key = ESSA_STRING("some-test-key");
    add_three(key, ESSA_STRING("one"), ESSA_STRING("two"), ESSA_STRING("three"));
    text = call_string(ESSA_STRING(ESSA_WRAPPER("foo")), text, 0);
    result(text);
    print_set(key);

    line(ESSA_STRING("Appending to the set in the kvs"));
    add_three(key, ESSA_STRING("four"), ESSA_STRING("two"), ESSA_STRING("three"));
    uint64_t times = 15000;
    text = call_string(ESSA_STRING(ESSA_WRAPPER("repeat_string")), text, &times);
    result(decimal(text.len));
    print_set(key);
    split_range(ESSA_STRING("concurrent-kvs_test-key"), 48, 113);
    line(ESSA_STRING("DONE"));
}
