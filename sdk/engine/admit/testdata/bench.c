// Guest of the differential tests and benchmarks. Every export takes a size and returns a checksum of its work.
// Build: clang --target=wasm32 -O2 -mbulk-memory -nostdlib -Wl,--no-entry -Wl,--export-dynamic -o bench.wasm bench.c
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned char u8;
#define EXPORT(name) __attribute__((export_name(#name), noinline))

static u8 bytes[1 << 20];
static u32 words[1 << 16];
static double a[96 * 96], b[96 * 96], c[96 * 96];

// The tightest loop: one dependent operation, kept from being solved by the compiler.
EXPORT(spin) u64 spin(u32 n) {
	u64 x = 1;
	for (u32 i = 0; i < n; i++) {
		x = x * 3 + i;
		__asm__ volatile("" : "+r"(x));
	}
	return x;
}

EXPORT(bytesum) u64 bytesum(u32 n) {
	u64 x = 0;
	n &= sizeof bytes - 1;
	for (u32 i = 0; i < n; i++) x = x * 31 + bytes[i];
	return x;
}

EXPORT(search) u64 search(u32 n) {
	u32 i = 0;
	n &= sizeof bytes - 1;
	bytes[n] = 255;
	while (bytes[i] != 255) i++;
	bytes[n] = 0;
	return i;
}

static __attribute__((noinline)) u32 fibr(u32 n) { return n < 2 ? n : fibr(n - 1) + fibr(n - 2); }
EXPORT(fib) u64 fib(u32 n) { return fibr(n); }

EXPORT(collatz) u64 collatz(u32 n) {
	u64 longest = 0;
	for (u32 i = 1; i < n; i++) {
		u64 x = i, steps = 0;
		while (x != 1) { x = x & 1 ? 3 * x + 1 : x / 2; steps++; }
		if (steps > longest) longest = steps;
	}
	return longest;
}

static u32 seed;
static u32 random(void) { return seed = seed * 1664525u + 1013904223u; }

static void sort(u32 *p, int lo, int hi) {
	while (lo < hi) {
		u32 pivot = p[(lo + hi) / 2];
		int i = lo, j = hi;
		while (i <= j) {
			while (p[i] < pivot) i++;
			while (p[j] > pivot) j--;
			if (i <= j) { u32 t = p[i]; p[i++] = p[j]; p[j--] = t; }
		}
		if (j - lo < hi - i) { sort(p, lo, j); lo = i; } else { sort(p, i, hi); hi = j; }
	}
}
EXPORT(quicksort) u64 quicksort(u32 n) {
	u64 x = 0;
	n &= 0xffff;
	seed = 1;
	for (u32 i = 0; i < n; i++) words[i] = random();
	sort(words, 0, (int)n - 1);
	for (u32 i = 0; i < n; i++) x = x * 31 + words[i];
	return x;
}

EXPORT(matmul) u64 matmul(u32 n) {
	if (n > 96) n = 96;
	for (u32 i = 0; i < n * n; i++) { a[i] = i; b[i] = 1.0 / (i + 1); }
	for (u32 i = 0; i < n; i++)
		for (u32 j = 0; j < n; j++) {
			double s = 0;
			for (u32 k = 0; k < n; k++) s += a[i * n + k] * b[k * n + j];
			c[i * n + j] = s;
		}
	return (u64)(c[n * n - 1] * 1e6);
}

EXPORT(crc) u64 crc(u32 n) {
	u32 x = ~0u;
	n &= sizeof bytes - 1;
	for (u32 i = 0; i < n; i++) {
		x ^= bytes[i];
		for (int k = 0; k < 8; k++) x = x >> 1 ^ (0xedb88320u & -(x & 1));
	}
	return ~x;
}

// Many small copies of a length the compiler does not know.
EXPORT(copies) u64 copies(u32 n) {
	u64 x = 0;
	for (u32 i = 0; i < n; i++) {
		u32 len = 8 + (i & 63);
		__builtin_memcpy(bytes + 4096 + (i & 1023), bytes + (i & 511), len);
		x += bytes[4096 + (i & 1023)];
	}
	return x;
}

// A small interpreter: one big loop around a br_table.
EXPORT(interp) u64 interp(u32 n) {
	static const u8 prog[16] = {0, 1, 2, 3, 4, 5, 0, 2, 1, 5, 3, 6, 4, 1, 0, 7};
	u64 acc = 1;
	u32 pc = 0, loops = 0;
	for (;;) {
		switch (prog[pc++]) {
		case 0: acc += 7; break;
		case 1: acc *= 3; break;
		case 2: acc ^= acc >> 5; break;
		case 3: acc -= pc; break;
		case 4: acc = acc << 3 | acc >> 61; break;
		case 5: words[acc & 255] += (u32)acc; break;
		case 6: acc += words[pc]; break;
		case 7: if (++loops == n) return acc; pc = 0; break;
		}
	}
}

typedef u64 (*fn)(u64);
static u64 f0(u64 x) { return x + 3; }
static u64 f1(u64 x) { return x * 5; }
static u64 f2(u64 x) { return x ^ x >> 7; }
EXPORT(indirect) u64 indirect(u32 n) {
	static fn volatile table[3] = {f0, f1, f2};
	u64 x = 1;
	for (u32 i = 0; i < n; i++) x = table[i % 3](x);
	return x;
}

// Recursion without an end, and an endless run of bulk operations.
EXPORT(recurse) u64 recurse(u32 n) { return recurse(n + 1) * 3 + n; }

EXPORT(fill_forever) u64 fill_forever(u32 n) {
	for (;;) {
		__builtin_memset(bytes, (int)n++, sizeof bytes);
		__asm__ volatile("" ::: "memory");
	}
}
