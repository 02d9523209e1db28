//go:build cgo && linux && (amd64 || arm64)

#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

// text returns a copy of an error's text that the caller frees, and frees the error.
static char *text(wasmtime_error_t *e) {
	wasm_byte_vec_t m = {0, NULL};
	char *s;
	wasmtime_error_message(e, &m);
	s = strndup(m.data, m.size);
	wasm_byte_vec_delete(&m);
	wasmtime_error_delete(e);
	return s ? s : strdup("an error without a text");
}

static char *text_of(wasmtime_error_t *e) { return e ? text(e) : NULL; }

// Reservations of addresses outlive what they were made for: making and removing them takes longer than all else that an
// instance needs. Those that wait here have no memory, only addresses.

// GUARD is what is never touched at the end of a stack, and a multiple of every size that a page can have.
enum { GUARD = 64 << 10, RESERVED = 64 };

typedef struct reserve {
	pthread_mutex_t lock;
	size_t size; // of each
	int count;
	char *base[RESERVED];
} reserve;

static reserve memories = {.lock = PTHREAD_MUTEX_INITIALIZER}, stacks = {.lock = PTHREAD_MUTEX_INITIALIZER};

// reserve_take returns one that waits, or NULL.
static char *reserve_take(reserve *r, size_t size) {
	char *base = NULL;
	pthread_mutex_lock(&r->lock);
	if (r->count > 0 && r->size == size) base = r->base[--r->count];
	pthread_mutex_unlock(&r->lock);
	return base;
}

// reserve_give lets one without memory wait. It returns false where there are enough.
static bool reserve_give(reserve *r, char *base, size_t size) {
	bool kept = false;
	pthread_mutex_lock(&r->lock);
	if (r->count == 0) r->size = size;
	if (r->count < RESERVED && r->size == size) {
		r->base[r->count++] = base;
		kept = true;
	}
	pthread_mutex_unlock(&r->lock);
	return kept;
}

// Memory.
//
// Each is a reservation of addresses of the size that wasmtime's code relies on, of which as much can be touched as the guest
// has. So it stays where it is, and every access beyond it faults.

// The instance that this thread is making or running, which is who a new memory or stack is for.
static __thread essad_instance *current;

static uint8_t *memory_get(void *env, size_t *size, size_t *capacity) {
	essad_memory *m = env;
	*size = m->size;
	*capacity = m->capacity;
	return m->base;
}

// ask calls Go on the thread's own stack. hi and lo are the instance's address.
static void ask(unsigned hi, unsigned lo) {
	essad_instance *in = (essad_instance *)((uintptr_t)hi << 32 | lo);
	in->granted = essadGrow(in->handle, in->memory.size, in->want);
}

// Bytes of the thread's stack that are left alone below essad_resume, for wasmtime's way to the fiber, and what is given to
// a callback below them. Go looks at the stack's real bounds, which are much wider.
enum { HOP_BELOW = 64 << 10, HOP_SIZE = 64 << 10 };

// memory_grow runs on the guest's stack. Go accepts calls only on the stack that its thread came from: that one is used
// below the place where the guest was entered. getcontext and swapcontext cost a system call each, which growing can bear.
static wasmtime_error_t *memory_grow(void *env, size_t size) {
	essad_memory *m = env;
	essad_instance *in = m->owner;
	if (size > m->capacity) return wasmtime_error_new("beyond the reservation");
	in->want = size;
	in->granted = 0;
	if (in->host_stack == NULL || getcontext(&in->hop) != 0) return wasmtime_error_new("no stack to ask on");
	in->hop.uc_stack.ss_sp = (char *)((uintptr_t)(in->host_stack - HOP_BELOW - HOP_SIZE) & ~(uintptr_t)63);
	in->hop.uc_stack.ss_size = HOP_SIZE;
	in->hop.uc_link = &in->fiber;
	makecontext(&in->hop, (void (*)(void))ask, 2, (unsigned)((uintptr_t)in >> 32), (unsigned)(uintptr_t)in);
	if (swapcontext(&in->fiber, &in->hop) != 0 || !in->granted) return wasmtime_error_new("refused");
	if (mprotect(m->base, size, PROT_READ | PROT_WRITE) != 0) return wasmtime_error_new("no memory");
	m->size = size;
	return NULL;
}

// memory_free takes all pages of a memory away, and whatever was mapped over it.
static void memory_free(essad_memory *m) {
	if (m->base == NULL) return;
	if (m->size > 0 &&
		mmap(m->base, m->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
		munmap(m->base, m->mapped);
		return;
	}
	if (!reserve_give(&memories, (char *)m->base, m->mapped)) munmap(m->base, m->mapped);
}

static wasmtime_error_t *memory_new(void *env, const wasm_memorytype_t *ty, size_t minimum, size_t maximum, size_t reserved,
	size_t guard, wasmtime_linear_memory_t *ret) {
	essad_instance *in = current;
	essad_memory *m;
	(void)env, (void)ty, (void)maximum;
	if (in == NULL || in->memory.base != NULL) return wasmtime_error_new("an instance has one memory");
	if (minimum > reserved) return wasmtime_error_new("the memory is larger than what is reserved for one");
	m = &in->memory;
	m->mapped = reserved + guard;
	m->base = (uint8_t *)reserve_take(&memories, m->mapped);
	if (m->base == NULL) m->base = mmap(NULL, m->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->base == MAP_FAILED) {
		m->base = NULL;
		return wasmtime_error_new("there are no addresses left for a memory");
	}
	if (minimum > 0 && mprotect(m->base, minimum, PROT_READ | PROT_WRITE) != 0)
		return wasmtime_error_new("there is no memory left for an instance");
	m->size = minimum;
	m->capacity = reserved;
	m->owner = in;
	ret->env = m;
	ret->get_memory = memory_get;
	ret->grow_memory = memory_grow;
	ret->finalizer = NULL; // essad_delete unmaps it
	return NULL;
}

// Stacks. A store keeps the last one for its next call, and so does an instance that waits for one. They are made here so that
// it is known where they are: what a deep call has touched must not stay with an instance that waits.

// Giving pages back takes longer than many a call, though there be none, and what comes after it is slower for a while. But what
// is below STACK_KEPT was given back, and each page of it that is touched costs a fault. So nobody asks for it after a call
// without one; and one that has taken less than STACK_QUICK nanoseconds cannot have touched much.
enum { STACK_KEPT = 64 << 10, STACK_QUICK = 5000 };

static int64_t nanoseconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint8_t *stack_get(void *env, size_t *length) {
	essad_stack *s = env;
	*length = s->size - GUARD;
	return (uint8_t *)s->base + s->size; // the top
}

static void stack_free(void *env) {
	essad_stack *s = env;
	if (madvise(s->base + GUARD, s->size - GUARD, MADV_DONTNEED) != 0 || !reserve_give(&stacks, s->base, s->size))
		munmap(s->base, s->size);
	s->base = NULL;
}

static wasmtime_error_t *stack_new(void *env, size_t size, bool zeroed, wasmtime_stack_memory_t *ret) {
	essad_instance *in = current;
	essad_stack *s;
	(void)env, (void)zeroed;
	if (in == NULL || in->fiber_stack.base != NULL) return wasmtime_error_new("an instance has one stack");
	s = &in->fiber_stack;
	s->size = ((size + GUARD - 1) & ~(size_t)(GUARD - 1)) + GUARD;
	s->base = reserve_take(&stacks, s->size);
	if (s->base) goto found;
	s->base = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (s->base == MAP_FAILED || mprotect(s->base, GUARD, PROT_NONE) != 0) {
		if (s->base != MAP_FAILED) munmap(s->base, s->size);
		s->base = NULL;
		return wasmtime_error_new("there is no memory left for a stack");
	}
found:
	ret->env = s;
	ret->get_stack_memory = stack_get;
	ret->finalizer = stack_free;
	return NULL;
}

void essad_trim(essad_instance *in) {
	essad_stack *s = &in->fiber_stack;
	int64_t took = in->began ? nanoseconds() - in->began : 0;
	in->began = 0;
	if (s->base == NULL || took < STACK_QUICK) return;
	madvise(s->base + GUARD, s->size - GUARD - STACK_KEPT, MADV_DONTNEED);
}

// Engine.

char *essad_engine_new(size_t wasm_stack, size_t host_stack, wasm_engine_t **engine) {
	wasmtime_memory_creator_t creator = {NULL, memory_new, NULL};
	wasmtime_stack_creator_t creates = {NULL, stack_new, NULL};
	wasm_config_t *c = wasm_config_new();
	wasmtime_config_max_wasm_stack_set(c, wasm_stack);
	wasmtime_config_async_stack_size_set(c, wasm_stack + host_stack);
	wasmtime_config_host_memory_creator_set(c, &creator);
	wasmtime_config_host_stack_creator_set(c, &creates);
	wasmtime_config_memory_init_cow_set(c, false);     // not with memories of our own
	wasmtime_config_native_unwind_info_set(c, false);  // registering it takes longer than loading a module
	wasmtime_config_wasm_tail_call_set(c, false);      // admission lets none of these through
	wasmtime_config_wasm_threads_set(c, false);
	wasmtime_config_wasm_relaxed_simd_set(c, false);
	wasmtime_config_wasm_multi_memory_set(c, false);
	wasmtime_config_wasm_memory64_set(c, false);
	*engine = wasm_engine_new_with_config(c);
	return *engine ? NULL : strdup("the configuration was refused");
}

static bool on_continue(void *env) {
	essad_instance *in = env;
	if (!in->answered) return false;
	in->answered = 0;
	if (in->refused) {
		static const char why[] = "an import ended the guest";
		*in->import_trap = wasmtime_trap_new(why, sizeof why - 1);
	} else if (in->result) {
		in->result->kind = WASMTIME_I32;
		in->result->of.i32 = (int32_t)in->stack[0];
	}
	return true;
}

// on_import leaves the guest: its parameters are put where Go finds them, and it goes on when they have been answered.
static void on_import(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args, size_t nargs, wasmtime_val_t *results,
	size_t nresults, wasm_trap_t **trap, wasmtime_async_continuation_t *next) {
	essad_instance *in = wasmtime_context_get_data(wasmtime_caller_context(caller));
	size_t i;
	for (i = 0; i < nargs && i < ESSAD_PARAMS; i++)
		in->stack[i] = args[i].kind == WASMTIME_I32 ? (uint32_t)args[i].of.i32 : (uint64_t)args[i].of.i64;
	in->import = (uint32_t)(uintptr_t)env;
	in->answered = 0;
	in->refused = 0;
	in->result = nresults ? results : NULL;
	in->import_trap = trap;
	next->callback = on_continue;
	next->env = in;
	next->finalizer = NULL;
}

char *essad_define(wasmtime_linker_t *l, const char *module, const char *name, const char *params, bool result, uint32_t index) {
	wasm_valtype_t *types[ESSAD_PARAMS], *one[1];
	wasm_valtype_vec_t in, out;
	wasm_functype_t *ty;
	wasmtime_error_t *e;
	size_t n = strlen(params), i;
	if (n > ESSAD_PARAMS) return strdup("an import has too many parameters");
	for (i = 0; i < n; i++) types[i] = wasm_valtype_new(params[i] == 'I' ? WASM_I64 : WASM_I32);
	if (result) one[0] = wasm_valtype_new(WASM_I32);
	wasm_valtype_vec_new(&in, n, types);
	wasm_valtype_vec_new(&out, result, one);
	ty = wasm_functype_new(&in, &out);
	e = wasmtime_linker_define_async_func(l, module, strlen(module), name, strlen(name), ty, on_import, (void *)(uintptr_t)index,
		NULL);
	wasm_functype_delete(ty);
	return text_of(e);
}

// Modules.

char *essad_compile(wasm_engine_t *engine, const uint8_t *wasm, size_t n, wasmtime_module_t **m) {
	return text_of(wasmtime_module_new(engine, wasm, n, m));
}

char *essad_store(wasmtime_module_t *m, const char *path) {
	wasm_byte_vec_t code;
	wasmtime_error_t *e = wasmtime_module_serialize(m, &code);
	FILE *f;
	bool good;
	if (e) return text(e);
	f = fopen(path, "wbxe");
	good = f != NULL && fwrite(code.data, 1, code.size, f) == code.size;
	if (f != NULL && fclose(f) != 0) good = false;
	wasm_byte_vec_delete(&code);
	return good ? NULL : strdup(strerror(errno));
}

char *essad_load(wasm_engine_t *engine, const char *path, wasmtime_module_t **m) {
	return text_of(wasmtime_module_deserialize_file(engine, path, m));
}

char *essad_link(wasmtime_linker_t *l, wasmtime_module_t *m, wasmtime_instance_pre_t **pre) {
	return text_of(wasmtime_linker_instantiate_pre(l, m, pre));
}

// Instances.

// finish frees what a call left.
static void finish(essad_instance *in) {
	if (in->future) wasmtime_call_future_delete(in->future);
	in->future = NULL;
}

static void forget(essad_instance *in) {
	if (in->trap) wasm_trap_delete(in->trap);
	if (in->error) wasmtime_error_delete(in->error);
	in->trap = NULL;
	in->error = NULL;
}

void essad_delete(essad_instance *in) {
	finish(in);
	forget(in);
	wasmtime_store_delete(in->store);
	memory_free(&in->memory);
	free(in);
}

char *essad_instantiate(wasm_engine_t *engine, wasmtime_instance_pre_t *pre, uintptr_t handle, essad_instance **ret) {
	essad_instance *in = calloc(1, sizeof *in);
	char *why = NULL;
	wasm_byte_vec_t m;
	bool done;
	if (in == NULL) return strdup("there is no memory left for an instance");
	in->handle = handle;
	in->store = wasmtime_store_new(engine, in, NULL);
	in->context = wasmtime_store_context(in->store);
	current = in;
	in->future = wasmtime_instance_pre_instantiate_async(pre, in->context, &in->instance, &in->trap, &in->error);
	done = wasmtime_call_future_poll(in->future); // no code of the guest runs, so there is nothing to wait for
	current = NULL;
	finish(in);
	if (in->error) {
		why = text(in->error);
		in->error = NULL;
	} else if (in->trap) {
		wasm_trap_message(in->trap, &m);
		why = strndup(m.data, m.size);
		wasm_byte_vec_delete(&m);
	} else if (!done) {
		why = strdup("making an instance waited for something");
	}
	if (why) {
		essad_delete(in);
		return why;
	}
	*ret = in;
	return NULL;
}

static bool find(essad_instance *in, const char *name, size_t n, uint8_t kind, wasmtime_extern_t *x) {
	return wasmtime_instance_export_get(in->context, &in->instance, name, n, x) && x->kind == kind;
}

bool essad_find(essad_instance *in, const char *name, size_t n, int slot) {
	wasmtime_extern_t x;
	if (!find(in, name, n, WASMTIME_EXTERN_FUNC, &x)) return false;
	in->funcs[slot] = x.of.func;
	return true;
}

// Globals. The C API reads and writes them through the store, which is the guest's while it runs. They are set from outside
// while it runs, and set back by the dozen between calls, so they are found in wasmtime's record of the instance:
//
//     "core" ... globals (16 bytes each) ... VMFuncRef of functions that are exported ...
//
// A function's raw form is the address of its VMFuncRef, which names the record in its fourth word. Nothing of it is taken
// on trust: the record begins with its magic word, and a global is where two values set through the C API turn up.

enum { RECORD_MAGIC = 0x65726f63, RECORD_MOST = 64 << 20 };

bool essad_record(essad_instance *in, int slot) {
	char **ref = wasmtime_func_to_raw(in->context, &in->funcs[slot]);
	char *record = ref[3];
	if (record == NULL || *(uint32_t *)record != RECORD_MAGIC) return false; // a function of somebody else's
	if ((char *)ref <= record || (char *)ref - record > RECORD_MOST) return false;
	in->vmctx = record;
	in->vmend = (char *)ref;
	return true;
}

static char *seek(essad_instance *in, const wasmtime_global_t *g, wasmtime_val_t v, char *from) {
	wasmtime_error_t *e = wasmtime_global_set(in->context, g, &v);
	bool wide = v.kind == WASMTIME_I64 || v.kind == WASMTIME_F64;
	if (e) {
		wasmtime_error_delete(e);
		return NULL;
	}
	for (; from < in->vmend; from += 16)
		if (wide ? *(uint64_t *)from == (uint64_t)v.of.i64 : *(uint32_t *)from == (uint32_t)v.of.i32) return from;
	return NULL;
}

size_t essad_locate(essad_instance *in, const char *name, size_t n, bool *wide) {
	wasmtime_extern_t x;
	wasmtime_val_t old, probe;
	char *first, *second;
	wasmtime_error_t *e;
	if (in->vmctx == NULL || !find(in, name, n, WASMTIME_EXTERN_GLOBAL, &x)) return 0;
	wasmtime_global_get(in->context, &x.of.global, &old);
	if (old.kind > WASMTIME_F64) return 0;
	*wide = old.kind == WASMTIME_I64 || old.kind == WASMTIME_F64;
	probe = old;
	probe.of.i64 = 0x3e5a719c2bd40f63;
	first = seek(in, &x.of.global, probe, in->vmctx);
	while (first) {
		probe.of.i64 = 0x1c93e6f5705b2d48;
		second = seek(in, &x.of.global, probe, first);
		if (second == first) break;
		probe.of.i64 = 0x3e5a719c2bd40f63; // it was something else's value by accident
		first = seek(in, &x.of.global, probe, first + 16);
	}
	if ((e = wasmtime_global_set(in->context, &x.of.global, &old)) != NULL) {
		wasmtime_error_delete(e);
		return 0;
	}
	return first ? first - in->vmctx : 0;
}

// Calls.

int essad_resume(uintptr_t instance) {
	essad_instance *in = (essad_instance *)instance;
	bool done;
	in->host_stack = __builtin_frame_address(0);
	current = in;
	done = wasmtime_call_future_poll(in->future);
	current = NULL;
	in->host_stack = NULL;
	if (!done) return ESSAD_IMPORT;
	finish(in);
	return in->trap || in->error ? ESSAD_FAILED : ESSAD_DONE;
}

int essad_call(uintptr_t instance, int slot, bool has_param, uint32_t param, size_t results) {
	essad_instance *in = (essad_instance *)instance;
	finish(in); // of one that an import ended
	forget(in);
	if (in->began == 0) in->began = nanoseconds();
	in->args[0].kind = WASMTIME_I32;
	in->args[0].of.i32 = (int32_t)param;
	in->future = wasmtime_func_call_async(in->context, &in->funcs[slot], in->args, has_param, in->results, results, &in->trap, &in->error);
	return essad_resume(instance);
}

char *essad_failure(essad_instance *in, int *code, wasm_frame_vec_t *frames) {
	wasm_byte_vec_t m = {0, NULL};
	uint8_t c;
	char *s;
	*code = -1;
	if (in->trap) {
		if (wasmtime_trap_code(in->trap, &c)) *code = c;
		wasm_trap_message(in->trap, &m);
		wasm_trap_trace(in->trap, frames);
	} else {
		wasmtime_error_message(in->error, &m);
		wasmtime_error_wasm_trace(in->error, frames);
	}
	s = strndup(m.data, m.size);
	wasm_byte_vec_delete(&m);
	return s;
}

const char *essad_frame(const wasm_frame_vec_t *frames, size_t i, size_t *length, uint32_t *index) {
	const wasm_name_t *name = wasmtime_frame_func_name(frames->data[i]);
	*index = wasm_frame_func_index(frames->data[i]);
	*length = name ? name->size : 0;
	return name ? name->data : NULL;
}
