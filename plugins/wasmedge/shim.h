// What backend.go needs of libwasmedge beyond the Go binding: calls and imports without a conversion by interface values, and
// the guest's memory growing only as far as its host lets it.
#ifndef ESSAD_SHIM_H
#define ESSAD_SHIM_H

#include <stdint.h>
#include <wasmedge/wasmedge.h>

#if WASMEDGE_VERSION_MAJOR != 0 || WASMEDGE_VERSION_MINOR != 14
#error "the Go binding and this file are for libwasmedge 0.14"
#endif

// essad_host is what all instances share. It is not written to once instances are made.
typedef struct {
  WasmEdge_ConfigureContext *configure;
  WasmEdge_ModuleInstanceContext *modules[8];
  uint32_t count;
  WasmEdge_FunctionInstanceContext *grow; // what guests call for memory.grow
} essad_host;

// essad_instance is an instance. Go reads base and size.
typedef struct {
  WasmEdge_ExecutorContext *executor;
  WasmEdge_StoreContext *store;
  WasmEdge_ModuleInstanceContext *module;
  uint8_t *base; // of the exported memory; null where there is none
  uint64_t size; // bytes
  uint64_t id;   // what its imports are called with
} essad_instance;

// Results of essad_call beside those of WasmEdge, which fit 32 bits.
#define ESSAD_NO_EXPORT (1ull << 32)

// The longest list of parameters of an import.
#define ESSAD_PARAMS 16

int essad_host_open(essad_host *h, WasmEdge_ConfigureContext *c);
int essad_host_add(essad_host *h, const char *module, const char *name, uint32_t index, uint32_t params, uint32_t wide, int result);
void essad_host_close(essad_host *h);

uint32_t essad_instantiate(essad_instance *i, const essad_host *h, const WasmEdge_ASTModuleContext *ast);
uint64_t essad_call(essad_instance *i, const char *name, uint32_t length, const uint64_t *params, uint32_t count);
void essad_close(essad_instance *i);

WasmEdge_GlobalInstanceContext *essad_global(const essad_instance *i, const char *name, uint32_t length);
int essad_global_is_number(const WasmEdge_GlobalInstanceContext *g);
uint64_t essad_global_get(const WasmEdge_GlobalInstanceContext *g);
void essad_global_set(WasmEdge_GlobalInstanceContext *g, uint64_t bits);
void essad_globals_get(WasmEdge_GlobalInstanceContext *const *list, uint64_t *bits, uint32_t count);
void essad_globals_set(WasmEdge_GlobalInstanceContext *const *list, const uint64_t *bits, uint32_t count);

const char *essad_message(uint32_t code);

#endif
