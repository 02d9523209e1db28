/* Small functions in C: the recursive splitter of the upstream demo, and what the benches call.
 *
 * split(start, end) -> Result<u64, String>              as many leaves as the range is long; inner nodes are nested calls
 * concurrent_kvs_test(key, start, end) -> Result<(), String>   the same, and each leaf adds its number to the set at key
 * noop()                                                nothing
 * echo(data: Vec<u8>) -> Vec<u8>                        its argument
 * nested()                                              one nested call of noop
 * nested_many(n: u64) -> u64                            n of them, one after the other
 * tally(n: u64) -> u64                                 writes n numbers as text, reads them, sorts them; a checksum
 * read_cached(key: String, n: u64) -> u64               reads key n times (length, then data); the bytes read
 * write_lww(key: String, size: u64, n: u64) -> u64      n acknowledged puts of size bytes into key; n
 */
#include "essa.h"

/* A module with _initialize is a reactor; there is nothing to initialise here. */
ESSA_EXPORT("_initialize") void initialize(void) {}

/* Decimal digits of n, right-aligned in a buffer of its own. */
static essa_bytes decimal(uint64_t n) {
    char *end = (char *)essa_alloc(20) + 20, *p = end;
    do *--p = '0' + n % 10;
    while (n /= 10);
    return (essa_bytes){p, (uint32_t)(end - p)};
}

/* ---- The splitter ---- */

static uint32_t start_split(uint64_t start, uint64_t end) {
    essa_writer w = essa_writer_new(16);
    essa_write_u64(&w, start);
    essa_write_u64(&w, end);
    return essa_start(ESSA_STRING(ESSA_WRAPPER("split")), &w);
}

/* Adds a half's leaves to *leaves; 0 where the half failed, in which case the error is this call's result. */
static int join_split(uint32_t handle, uint64_t *leaves) {
    essa_reader r;
    if (essa_wait(handle, &r) != ESSA_OK) {
        essa_return_err(ESSA_STRING("a half could not be run"));
        return 0;
    }
    if (essa_read_u32(&r) != 0) {
        essa_return_err(essa_read_bytes(&r));
        return 0;
    }
    *leaves += essa_read_u64(&r);
    return 1;
}

ESSA_FUNCTION(split) {
    essa_reader in = essa_args(args_len);
    uint64_t start = essa_read_u64(&in), end = essa_read_u64(&in), leaves = 0;
    if (end <= start) {
        essa_return_err(ESSA_STRING("the range is empty"));
        return;
    }
    if (end - start == 1) {
        leaves = 1;
    } else {
        uint64_t mid = start + (end - start) / 2;
        uint32_t left = start_split(start, mid), right = start_split(mid, end);
        if (!join_split(left, &leaves) || !join_split(right, &leaves)) return;
    }
    essa_writer w = essa_writer_new(12);
    essa_write_ok(&w);
    essa_write_u64(&w, leaves);
    essa_return(&w);
}

static uint32_t start_kvs_test(essa_bytes key, uint64_t start, uint64_t end) {
    essa_writer w = essa_writer_new(8 + key.len + 16);
    essa_write_bytes(&w, key);
    essa_write_u64(&w, start);
    essa_write_u64(&w, end);
    return essa_start(ESSA_STRING(ESSA_WRAPPER("concurrent_kvs_test")), &w);
}

static int join_kvs_test(uint32_t handle) {
    essa_reader r;
    if (essa_wait(handle, &r) != ESSA_OK) {
        essa_return_err(ESSA_STRING("a half could not be run"));
        return 0;
    }
    if (essa_read_u32(&r) != 0) {
        essa_return_err(essa_read_bytes(&r));
        return 0;
    }
    return 1;
}

ESSA_FUNCTION(concurrent_kvs_test) {
    essa_reader in = essa_args(args_len);
    essa_bytes key = essa_read_bytes(&in);
    uint64_t start = essa_read_u64(&in), end = essa_read_u64(&in);
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
        if (!join_kvs_test(left) || !join_kvs_test(right)) return;
    }
    essa_writer w = essa_writer_new(4);
    essa_write_ok(&w);
    essa_return(&w);
}

/* ---- What the benches call ---- */

ESSA_FUNCTION(noop) {
    (void)args_len;
    essa_return_unit();
}

/* A Vec<u8> is the same bytes as argument and as result. */
ESSA_FUNCTION(echo) {
    essa_reader in = essa_args(args_len), whole = in;
    essa_read_bytes(&in);
    essa_must(essa_set_result(whole.at, (uint32_t)(in.at - whole.at)));
}

static void call_noop(void) {
    essa_reader r;
    essa_must(essa_wait(essa_start(ESSA_STRING(ESSA_WRAPPER("noop")), 0), &r));
}

ESSA_FUNCTION(nested) {
    (void)args_len;
    call_noop();
    essa_return_unit();
}

static void return_u64(uint64_t n) {
    essa_writer w = essa_writer_new(8);
    essa_write_u64(&w, n);
    essa_return(&w);
}

ESSA_FUNCTION(nested_many) {
    essa_reader in = essa_args(args_len);
    uint64_t n = essa_read_u64(&in);
    for (uint64_t i = 0; i < n; i++) call_noop();
    return_u64(n);
}

static void sift(uint32_t *heap, uint32_t root, uint32_t size) {
    for (uint32_t child; (child = 2 * root + 1) < size; root = child) {
        if (child + 1 < size && heap[child] < heap[child + 1]) child++;
        if (heap[root] >= heap[child]) return;
        uint32_t larger = heap[child];
        heap[child] = heap[root];
        heap[root] = larger;
    }
}

static void sort(uint32_t *list, uint32_t size) {
    for (uint32_t i = size / 2; i-- > 0;) sift(list, i, size);
    for (uint32_t end = size; end-- > 1;) {
        uint32_t largest = list[0];
        list[0] = list[end];
        list[end] = largest;
        sift(list, 0, end);
    }
}

/* A function that has something to do: writes n numbers as text, reads them back, sorts them, and returns an FNV-1a hash of
 * the text and the sum of the sorted numbers, each times its place. What it works on is static: essa_alloc never frees, and
 * benches call it in one instance again and again. */
#define TALLY_MOST 1024
static char tally_text[TALLY_MOST * 11];
static uint32_t tally_list[TALLY_MOST];

ESSA_FUNCTION(tally) {
    essa_reader in = essa_args(args_len);
    uint64_t n = essa_read_u64(&in), sum = 0;
    if (n > TALLY_MOST) __builtin_trap();
    char *text = tally_text, *end = text;
    uint32_t *list = tally_list, size = 0, next = 1, hash = 2166136261u;
    for (uint64_t i = 0; i < n; i++) {
        next = next * 1664525 + 1013904223;
        char digits[10], *d = digits + 10;
        uint32_t left = next;
        do *--d = '0' + left % 10;
        while (left /= 10);
        while (d < digits + 10) *end++ = *d++;
        *end++ = ' ';
    }
    uint32_t number = 0;
    for (const char *at = text; at < end; at++) {
        hash = (hash ^ (uint8_t)*at) * 16777619u;
        if (*at != ' ') {
            number = number * 10 + (uint32_t)(*at - '0');
            continue;
        }
        list[size++] = number;
        number = 0;
    }
    sort(list, size);
    for (uint32_t i = 0; i < size; i++) sum += (uint64_t)list[i] * i;
    return_u64(sum ^ hash);
}

ESSA_FUNCTION(read_cached) {
    essa_reader in = essa_args(args_len);
    essa_bytes key = essa_read_bytes(&in);
    uint64_t n = essa_read_u64(&in), sum = 0;
    uint8_t *buf = 0;
    uint32_t cap = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t len;
        essa_must(essa_get_lattice_len(key.data, key.len, &len));
        if (len > cap) {
            buf = essa_alloc(len);
            cap = len;
        }
        essa_must(essa_get_lattice_data(key.data, key.len, buf, cap, &len));
        sum += len;
    }
    return_u64(sum);
}

ESSA_FUNCTION(write_lww) {
    essa_reader in = essa_args(args_len);
    essa_bytes key = essa_read_bytes(&in);
    uint64_t size = essa_read_u64(&in), n = essa_read_u64(&in), last = 0;
    if (size > 1 << 30) __builtin_trap();
    essa_writer w = essa_writer_new(4 + 8 + ESSA_TIME_LEN + 8 + (uint32_t)size);
    essa_write_u32(&w, ESSA_LWW);
    uint32_t time = w.len;
    essa_write_time(&w, 0);
    essa_write_u64(&w, size);
    uint8_t *value = w.data + w.len;
    for (uint64_t i = 0; i < size; i++) value[i] = 'a' + i % 26;
    uint32_t whole = w.len + (uint32_t)size;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t now = essa_now();
        last = now > last ? now : last + 1; /* each put must be newer than the one before */
        w.len = time;
        essa_write_time(&w, last);
        essa_must(essa_put_lattice(key.data, key.len, w.data, whole));
    }
    return_u64(n);
}

/* ---- essad run splitter.wasm ---- */

ESSA_MAIN {
    uint64_t leaves = 0;
    essa_print(ESSA_STDOUT, ESSA_STRING("splitting 0..256\n"));
    if (!join_split(start_split(0, 256), &leaves)) __builtin_trap();
    essa_print(ESSA_STDOUT, decimal(leaves));
    essa_print(ESSA_STDOUT, ESSA_STRING(" leaves\n"));
}
