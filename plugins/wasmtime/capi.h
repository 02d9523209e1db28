// What this plugin uses of wasmtime's C API, declared anew: the Go binding that brings the library keeps its headers where
// cgo cannot find them. TestHeaders compiles this plugin's C code against the real ones (ESSAD_REAL_HEADERS), which must
// agree with every declaration and every size here.
#ifndef ESSAD_CAPI_H
#define ESSAD_CAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef ESSAD_REAL_HEADERS

#include <wasm.h>
#include <wasmtime.h>

_Static_assert(WASMTIME_VERSION_MAJOR == 44, "the layouts below were checked for wasmtime 44");

#else

typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_frame_t wasm_frame_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_memorytype_t wasm_memorytype_t;
typedef struct wasmtime_error wasmtime_error_t;
typedef struct wasmtime_module wasmtime_module_t;
typedef struct wasmtime_linker wasmtime_linker_t;
typedef struct wasmtime_instance_pre wasmtime_instance_pre_t;
typedef struct wasmtime_store wasmtime_store_t;
typedef struct wasmtime_context wasmtime_context_t;
typedef struct wasmtime_caller wasmtime_caller_t;
typedef struct wasmtime_call_future wasmtime_call_future_t;

typedef uint8_t wasm_valkind_t;
enum { WASM_I32 = 0, WASM_I64 = 1 };

typedef struct wasm_byte_vec_t {
	size_t size;
	char *data;
} wasm_byte_vec_t;
typedef wasm_byte_vec_t wasm_name_t;
typedef struct wasm_frame_vec_t {
	size_t size;
	wasm_frame_t **data;
} wasm_frame_vec_t;
typedef struct wasm_valtype_vec_t {
	size_t size;
	wasm_valtype_t **data;
} wasm_valtype_vec_t;

typedef struct wasmtime_func {
	uint64_t store_id;
	void *private;
} wasmtime_func_t;
typedef struct wasmtime_global {
	uint64_t store_id;
	uint32_t private[3];
} wasmtime_global_t;
typedef struct wasmtime_instance {
	uint64_t store_id;
	size_t private;
} wasmtime_instance_t;

enum { WASMTIME_EXTERN_FUNC = 0, WASMTIME_EXTERN_GLOBAL = 1 };
typedef struct wasmtime_extern {
	uint8_t kind;
	union {
		wasmtime_func_t func;
		wasmtime_global_t global;
		uint64_t room[3];
	} of;
} wasmtime_extern_t;

enum { WASMTIME_I32 = 0, WASMTIME_I64 = 1, WASMTIME_F32 = 2, WASMTIME_F64 = 3 };
typedef struct wasmtime_val {
	uint8_t kind;
	union {
		int32_t i32;
		int64_t i64;
		uint64_t room[3];
	} of;
} wasmtime_val_t;

typedef struct wasmtime_linear_memory {
	void *env;
	uint8_t *(*get_memory)(void *env, size_t *byte_size, size_t *byte_capacity);
	wasmtime_error_t *(*grow_memory)(void *env, size_t new_size);
	void (*finalizer)(void *);
} wasmtime_linear_memory_t;

typedef struct wasmtime_memory_creator {
	void *env;
	wasmtime_error_t *(*new_memory)(void *env, const wasm_memorytype_t *ty, size_t minimum, size_t maximum, size_t reserved,
		size_t guard, wasmtime_linear_memory_t *memory);
	void (*finalizer)(void *);
} wasmtime_memory_creator_t;

typedef struct {
	void *env;
	uint8_t *(*get_stack_memory)(void *env, size_t *length);
	void (*finalizer)(void *);
} wasmtime_stack_memory_t;

typedef struct {
	void *env;
	wasmtime_error_t *(*new_stack)(void *env, size_t size, bool zeroed, wasmtime_stack_memory_t *stack);
	void (*finalizer)(void *);
} wasmtime_stack_creator_t;

typedef struct wasmtime_async_continuation_t {
	bool (*callback)(void *env);
	void *env;
	void (*finalizer)(void *);
} wasmtime_async_continuation_t;

typedef void (*wasmtime_func_async_callback_t)(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args, size_t nargs,
	wasmtime_val_t *results, size_t nresults, wasm_trap_t **trap, wasmtime_async_continuation_t *continuation);

#endif

_Static_assert(sizeof(wasmtime_func_t) == 16, "wasmtime_func_t");
_Static_assert(sizeof(wasmtime_global_t) == 24, "wasmtime_global_t");
_Static_assert(sizeof(wasmtime_instance_t) == 16, "wasmtime_instance_t");
_Static_assert(sizeof(wasmtime_extern_t) == 32 && offsetof(wasmtime_extern_t, of) == 8, "wasmtime_extern_t");
_Static_assert(sizeof(wasmtime_val_t) == 32 && offsetof(wasmtime_val_t, of) == 8, "wasmtime_val_t");
_Static_assert(sizeof(wasmtime_linear_memory_t) == 32, "wasmtime_linear_memory_t");
_Static_assert(sizeof(wasmtime_memory_creator_t) == 24, "wasmtime_memory_creator_t");
_Static_assert(sizeof(wasmtime_stack_memory_t) == 24, "wasmtime_stack_memory_t");
_Static_assert(sizeof(wasmtime_stack_creator_t) == 24, "wasmtime_stack_creator_t");
_Static_assert(sizeof(wasmtime_async_continuation_t) == 24, "wasmtime_async_continuation_t");
_Static_assert(WASM_I32 == 0 && WASM_I64 == 1 && WASMTIME_I32 == 0 && WASMTIME_F64 == 3, "kinds of values");
_Static_assert(WASMTIME_EXTERN_FUNC == 0 && WASMTIME_EXTERN_GLOBAL == 1, "kinds of exports");

extern wasm_config_t *wasm_config_new(void);
extern wasm_engine_t *wasm_engine_new_with_config(wasm_config_t *);
extern void wasm_engine_delete(wasm_engine_t *);
extern void wasm_byte_vec_delete(wasm_byte_vec_t *);
extern void wasm_valtype_vec_new(wasm_valtype_vec_t *, size_t, wasm_valtype_t *const[]);
extern wasm_valtype_t *wasm_valtype_new(wasm_valkind_t);
extern wasm_functype_t *wasm_functype_new(wasm_valtype_vec_t *params, wasm_valtype_vec_t *results);
extern void wasm_functype_delete(wasm_functype_t *);
extern void wasm_trap_message(const wasm_trap_t *, wasm_byte_vec_t *);
extern void wasm_trap_trace(const wasm_trap_t *, wasm_frame_vec_t *);
extern void wasm_trap_delete(wasm_trap_t *);
extern void wasm_frame_vec_delete(wasm_frame_vec_t *);
extern uint32_t wasm_frame_func_index(const wasm_frame_t *);

extern void wasmtime_config_async_stack_size_set(wasm_config_t *, uint64_t);
extern void wasmtime_config_max_wasm_stack_set(wasm_config_t *, size_t);
extern void wasmtime_config_native_unwind_info_set(wasm_config_t *, bool);
extern void wasmtime_config_memory_init_cow_set(wasm_config_t *, bool);
extern void wasmtime_config_host_memory_creator_set(wasm_config_t *, wasmtime_memory_creator_t *);
extern void wasmtime_config_host_stack_creator_set(wasm_config_t *, wasmtime_stack_creator_t *);
extern void wasmtime_config_wasm_tail_call_set(wasm_config_t *, bool);
extern void wasmtime_config_wasm_threads_set(wasm_config_t *, bool);
extern void wasmtime_config_wasm_relaxed_simd_set(wasm_config_t *, bool);
extern void wasmtime_config_wasm_multi_memory_set(wasm_config_t *, bool);
extern void wasmtime_config_wasm_memory64_set(wasm_config_t *, bool);

extern wasmtime_error_t *wasmtime_module_new(wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **);
extern wasmtime_error_t *wasmtime_module_serialize(wasmtime_module_t *, wasm_byte_vec_t *);
extern wasmtime_error_t *wasmtime_module_deserialize_file(wasm_engine_t *, const char *, wasmtime_module_t **);
extern void wasmtime_module_delete(wasmtime_module_t *);

extern wasmtime_linker_t *wasmtime_linker_new(wasm_engine_t *);
extern void wasmtime_linker_delete(wasmtime_linker_t *);
extern wasmtime_error_t *wasmtime_linker_define_async_func(wasmtime_linker_t *, const char *, size_t, const char *, size_t,
	const wasm_functype_t *, wasmtime_func_async_callback_t, void *, void (*)(void *));
extern wasmtime_error_t *wasmtime_linker_instantiate_pre(const wasmtime_linker_t *, const wasmtime_module_t *,
	wasmtime_instance_pre_t **);
extern void wasmtime_instance_pre_delete(wasmtime_instance_pre_t *);
extern wasmtime_call_future_t *wasmtime_instance_pre_instantiate_async(const wasmtime_instance_pre_t *, wasmtime_context_t *,
	wasmtime_instance_t *, wasm_trap_t **, wasmtime_error_t **);

extern wasmtime_store_t *wasmtime_store_new(wasm_engine_t *, void *, void (*)(void *));
extern void wasmtime_store_delete(wasmtime_store_t *);
extern wasmtime_context_t *wasmtime_store_context(wasmtime_store_t *);
extern void *wasmtime_context_get_data(const wasmtime_context_t *);
extern wasmtime_context_t *wasmtime_caller_context(wasmtime_caller_t *);
extern bool wasmtime_instance_export_get(wasmtime_context_t *, const wasmtime_instance_t *, const char *, size_t,
	wasmtime_extern_t *);
extern wasmtime_error_t *wasmtime_global_set(wasmtime_context_t *, const wasmtime_global_t *, const wasmtime_val_t *);
extern void wasmtime_global_get(wasmtime_context_t *, const wasmtime_global_t *, wasmtime_val_t *);
extern void *wasmtime_func_to_raw(wasmtime_context_t *, const wasmtime_func_t *);

extern wasmtime_call_future_t *wasmtime_func_call_async(wasmtime_context_t *, const wasmtime_func_t *, const wasmtime_val_t *,
	size_t, wasmtime_val_t *, size_t, wasm_trap_t **, wasmtime_error_t **);
extern bool wasmtime_call_future_poll(wasmtime_call_future_t *);
extern void wasmtime_call_future_delete(wasmtime_call_future_t *);

extern wasm_trap_t *wasmtime_trap_new(const char *, size_t);
extern bool wasmtime_trap_code(const wasm_trap_t *, uint8_t *);
extern wasmtime_error_t *wasmtime_error_new(const char *);
extern void wasmtime_error_message(const wasmtime_error_t *, wasm_byte_vec_t *);
extern void wasmtime_error_wasm_trace(const wasmtime_error_t *, wasm_frame_vec_t *);
extern void wasmtime_error_delete(wasmtime_error_t *);
extern const wasm_name_t *wasmtime_frame_func_name(const wasm_frame_t *);

#endif
