// The plugin's C part: an instance of a module whose guest runs on a stack of its own (a fiber of wasmtime's), so that it can
// be left in the middle of an import and resumed later, on any thread.
#ifndef ESSAD_SHIM_H
#define ESSAD_SHIM_H

#include <ucontext.h>

#include "capi.h"

enum {
	ESSAD_PARAMS = 16, // an import has no more; WASI's longest has 9
	ESSAD_FUNCS = 4,   // exports of one instance that are found already
};

// What essad_call and essad_resume return.
enum {
	ESSAD_DONE,   // the export returned
	ESSAD_IMPORT, // the guest waits for the answer of import
	ESSAD_FAILED, // it trapped; see failure
};

typedef struct essad_memory {
	uint8_t *base;   // of the reservation
	size_t size;     // bytes that the guest has
	size_t capacity; // bytes that it could ever have
	size_t mapped;   // bytes of the reservation, guard included
	struct essad_instance *owner;
} essad_memory;

typedef struct essad_stack {
	char *base; // of the mapping, which begins with what is never touched
	size_t size;
} essad_stack;

typedef struct essad_instance {
	// The import that the guest waits for: its parameters, then its result.
	uint64_t stack[ESSAD_PARAMS];
	uint32_t import;
	uint32_t answered;
	uint32_t refused; // the import ends the guest

	uintptr_t handle; // the Go side

	essad_memory memory;
	essad_stack fiber_stack; // the guest's own, where wasmtime has asked for one
	int64_t began;           // when it was first called since essad_trim, in nanoseconds

	wasmtime_store_t *store;
	wasmtime_context_t *context;
	wasmtime_instance_t instance;
	wasmtime_call_future_t *future;
	wasmtime_func_t funcs[ESSAD_FUNCS];
	wasmtime_val_t args[1];
	wasmtime_val_t results[1]; // of the export
	wasmtime_val_t *result; // where the import's result goes, or NULL
	wasm_trap_t **import_trap;
	wasm_trap_t *trap;
	wasmtime_error_t *error;

	// Stacks, while a callback into Go is under way.
	char *host_stack;
	ucontext_t fiber, hop;
	size_t want;
	int granted;

	char *vmctx; // wasmtime's record of the instance, which holds its globals
	char *vmend; // a place in it behind them
} essad_instance;

// essadGrow is Go's: it tells whether a memory may grow.
extern int essadGrow(uintptr_t handle, size_t from, size_t to);

// All functions that return char* return NULL, or a text that the caller frees.
extern char *essad_engine_new(size_t wasm_stack, size_t host_stack, wasm_engine_t **);
extern char *essad_define(wasmtime_linker_t *, const char *module, const char *name, const char *params, bool result,
	uint32_t index);
extern char *essad_compile(wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **);
extern char *essad_store(wasmtime_module_t *, const char *path);
extern char *essad_load(wasm_engine_t *, const char *path, wasmtime_module_t **);
extern char *essad_link(wasmtime_linker_t *, wasmtime_module_t *, wasmtime_instance_pre_t **);

extern char *essad_instantiate(wasm_engine_t *, wasmtime_instance_pre_t *, uintptr_t handle, essad_instance **);
extern void essad_delete(essad_instance *);
// essad_trim gives back what a deep call left of the guest's stack.
extern void essad_trim(essad_instance *);
extern bool essad_find(essad_instance *, const char *name, size_t length, int slot);

// essad_record finds wasmtime's record of an instance through the function in a slot; essad_locate finds an exported global
// of 32 or 64 bits in it, and returns its offset, or 0.
extern bool essad_record(essad_instance *, int slot);
extern size_t essad_locate(essad_instance *, const char *name, size_t length, bool *wide);

// Instances are numbers here, since Go would look up for each call whether such a pointer is one of its own.
extern int essad_call(uintptr_t instance, int slot, bool has_param, uint32_t param, size_t results);
extern int essad_resume(uintptr_t instance);
// essad_failure tells why the last call failed. The frames refer to what the next call frees.
extern char *essad_failure(essad_instance *, int *code, wasm_frame_vec_t *);
extern const char *essad_frame(const wasm_frame_vec_t *, size_t, size_t *length, uint32_t *index);

#endif
