//go:build wasmedge

#include "shim.h"

#include <malloc.h>
#include <string.h>

#include "_cgo_export.h"

// One arena for all threads. What is freed in others stays with the process where it was allocated last (malloc_trim leaves their
// ends alone), and a guest's next call may be on any thread. The interpreter allocates three times a call.
__attribute__((constructor)) static void one_arena(void) { mallopt(M_ARENA_MAX, 1); }

// current is the instance whose code this thread runs. Imports are called by the thread that called the guest: Go keeps a
// goroutine on its thread while C code is below it. A nested call on the same thread puts its own there for its time.
static _Thread_local essad_instance *current;

// trap ends the guest: any error of ours does, and Go knows the reason.
static WasmEdge_Result trap(void) { return WasmEdge_ResultGen(WasmEdge_ErrCategory_UserLevelError, 1); }

// binding packs what import must know of a function into the pointer that WasmEdge keeps for it: which parameters are i64,
// and the function's index.
static void *binding(uint32_t index, uint32_t wide) { return (void *)((uintptr_t)wide << 16 | index); }

static WasmEdge_Result import(void *bound, void *data, const WasmEdge_CallingFrameContext *frame, const WasmEdge_Value *params,
                              const uint32_t count, WasmEdge_Value *results, const uint32_t returns) {
  uint64_t stack[ESSAD_PARAMS];
  uint32_t wide = (uint32_t)((uintptr_t)bound >> 16);
  for (uint32_t n = 0; n < count; n++) {
    stack[n] = wide >> n & 1 ? (uint64_t)params[n].Value : (uint32_t)params[n].Value;
  }
  if (!current || essadImport(current->id, (uintptr_t)bound & 0xffff, stack) != 0) {
    return trap();
  }
  if (returns > 0) {
    results[0] = WasmEdge_ValueGenI32((int32_t)stack[0]);
  }
  return WasmEdge_Result_Success;
}

// grow is memory.grow. WasmEdge's own knows limits of a configuration and of a type, and cannot ask.
static WasmEdge_Result grow(void *bound, void *data, const WasmEdge_CallingFrameContext *frame, const WasmEdge_Value *params,
                            const uint32_t count, WasmEdge_Value *results, const uint32_t returns) {
  WasmEdge_MemoryInstanceContext *memory = WasmEdge_CallingFrameGetMemoryInstance(frame, 0);
  if (!current || !memory) {
    return trap();
  }
  uint32_t by = (uint32_t)params[0].Value, pages = WasmEdge_MemoryInstanceGetPageSize(memory);
  WasmEdge_Limit limit = WasmEdge_MemoryTypeGetLimit(WasmEdge_MemoryInstanceGetMemoryType(memory));
  uint64_t to = (uint64_t)pages + by, most = limit.HasMax ? limit.Max : 65536;
  results[0] = WasmEdge_ValueGenI32((int32_t)pages);
  if (by == 0) {
    return WasmEdge_Result_Success;
  }
  if (to > most || !essadGrow(current->id, (uint64_t)pages << 16, to << 16) ||
      !WasmEdge_ResultOK(WasmEdge_MemoryInstanceGrowPage(memory, by))) {
    results[0] = WasmEdge_ValueGenI32(-1);
    return WasmEdge_Result_Success;
  }
  if (current->base) {
    current->size = to << 16;
  }
  return WasmEdge_Result_Success;
}

static WasmEdge_FunctionInstanceContext *function(WasmEdge_WrapFunc_t f, void *bound, uint32_t params, uint32_t wide, int result) {
  WasmEdge_ValType types[ESSAD_PARAMS], i32 = WasmEdge_ValTypeGenI32();
  for (uint32_t n = 0; n < params; n++) {
    types[n] = wide >> n & 1 ? WasmEdge_ValTypeGenI64() : i32;
  }
  WasmEdge_FunctionTypeContext *t = WasmEdge_FunctionTypeCreate(types, params, &i32, result ? 1 : 0);
  WasmEdge_FunctionInstanceContext *made = WasmEdge_FunctionInstanceCreateBinding(t, f, bound, NULL, 0);
  WasmEdge_FunctionTypeDelete(t);
  return made;
}

int essad_host_open(essad_host *h, WasmEdge_ConfigureContext *c) {
  memset(h, 0, sizeof *h);
  h->configure = c;
  h->grow = function(grow, NULL, 1, 0, 1);
  return h->grow != NULL;
}

// essad_host_add adds a function to a host module, which is made with the first of its functions.
int essad_host_add(essad_host *h, const char *module, const char *name, uint32_t index, uint32_t params, uint32_t wide, int result) {
  WasmEdge_String want = WasmEdge_StringWrap(module, strlen(module));
  uint32_t n = 0;
  while (n < h->count && !WasmEdge_StringIsEqual(WasmEdge_ModuleInstanceGetModuleName(h->modules[n]), want)) n++;
  if (n == h->count) {
    if (n == sizeof h->modules / sizeof h->modules[0] || !(h->modules[n] = WasmEdge_ModuleInstanceCreate(want))) {
      return 0;
    }
    h->count++;
  }
  WasmEdge_FunctionInstanceContext *f = params > ESSAD_PARAMS ? NULL : function(import, binding(index, wide), params, wide, result);
  if (!f) {
    return 0;
  }
  WasmEdge_ModuleInstanceAddFunction(h->modules[n], WasmEdge_StringWrap(name, strlen(name)), f);
  return 1;
}

void essad_host_close(essad_host *h) {
  for (uint32_t n = 0; n < h->count; n++) {
    WasmEdge_ModuleInstanceDelete(h->modules[n]);
  }
  WasmEdge_FunctionInstanceDelete(h->grow);
  h->count = 0;
  h->grow = NULL;
}

// essad_instantiate makes an instance, and returns a result's code.
//
// Each has an executor and a store of its own. An executor is asked at every branch whether it is to stop, by an atomic
// exchange, which several processors would fight for; and a store keeps what failed to instantiate, without a lock.
uint32_t essad_instantiate(essad_instance *i, const essad_host *h, const WasmEdge_ASTModuleContext *ast) {
  WasmEdge_Result r = WasmEdge_Result_Fail;
  i->executor = WasmEdge_ExecutorCreate(h->configure, NULL);
  i->store = WasmEdge_StoreCreate();
  if (!i->executor || !i->store) {
    return r.Code;
  }
  for (uint32_t n = 0; n < h->count; n++) {
    r = WasmEdge_ExecutorRegisterImport(i->executor, i->store, h->modules[n]);
    if (!WasmEdge_ResultOK(r)) {
      return r.Code;
    }
  }
  r = WasmEdge_ExecutorInstantiate(i->executor, &i->module, i->store, ast);
  if (!WasmEdge_ResultOK(r)) {
    return r.Code;
  }
  static const char table[] = "essa$grower", memory[] = "memory";
  WasmEdge_TableInstanceContext *t = WasmEdge_ModuleInstanceFindTable(i->module, WasmEdge_StringWrap(table, sizeof table - 1));
  if (t) {
    r = WasmEdge_TableInstanceSetData(t, WasmEdge_ValueGenFuncRef(h->grow), 0);
  }
  WasmEdge_MemoryInstanceContext *m = WasmEdge_ModuleInstanceFindMemory(i->module, WasmEdge_StringWrap(memory, sizeof memory - 1));
  if (m) {
    i->size = (uint64_t)WasmEdge_MemoryInstanceGetPageSize(m) << 16;
    i->base = WasmEdge_MemoryInstanceGetPointer(m, 0, 0);
  }
  return r.Code;
}

uint64_t essad_call(essad_instance *i, const char *name, uint32_t length, const uint64_t *params, uint32_t count) {
  WasmEdge_FunctionInstanceContext *f = WasmEdge_ModuleInstanceFindFunction(i->module, WasmEdge_StringWrap(name, length));
  WasmEdge_Value values[ESSAD_PARAMS];
  if (!f || count > ESSAD_PARAMS) {
    return ESSAD_NO_EXPORT;
  }
  for (uint32_t n = 0; n < count; n++) {
    values[n] = WasmEdge_ValueGenI32((int32_t)params[n]);
  }
  essad_instance *outer = current;
  current = i;
  WasmEdge_Result r = WasmEdge_ExecutorInvoke(i->executor, f, values, count, NULL, 0);
  current = outer;
  return r.Code;
}

void essad_close(essad_instance *i) {
  WasmEdge_ModuleInstanceDelete(i->module);
  WasmEdge_StoreDelete(i->store);
  WasmEdge_ExecutorDelete(i->executor);
}

WasmEdge_GlobalInstanceContext *essad_global(const essad_instance *i, const char *name, uint32_t length) {
  return WasmEdge_ModuleInstanceFindGlobal(i->module, WasmEdge_StringWrap(name, length));
}

static int wide(WasmEdge_ValType t) { return WasmEdge_ValTypeIsI64(t) || WasmEdge_ValTypeIsF64(t); }

// essad_global_is_number tells whether a global is mutable and of a type that 64 bits hold.
int essad_global_is_number(const WasmEdge_GlobalInstanceContext *g) {
  const WasmEdge_GlobalTypeContext *t = WasmEdge_GlobalInstanceGetGlobalType(g);
  WasmEdge_ValType v = WasmEdge_GlobalTypeGetValType(t);
  return WasmEdge_GlobalTypeGetMutability(t) == WasmEdge_Mutability_Var &&
         (wide(v) || WasmEdge_ValTypeIsI32(v) || WasmEdge_ValTypeIsF32(v));
}

uint64_t essad_global_get(const WasmEdge_GlobalInstanceContext *g) {
  WasmEdge_Value v = WasmEdge_GlobalInstanceGetValue(g);
  return wide(v.Type) ? (uint64_t)v.Value : (uint32_t)v.Value;
}

void essad_global_set(WasmEdge_GlobalInstanceContext *g, uint64_t bits) {
  WasmEdge_Value v = {.Value = bits, .Type = WasmEdge_GlobalTypeGetValType(WasmEdge_GlobalInstanceGetGlobalType(g))};
  WasmEdge_GlobalInstanceSetValue(g, v); // the type is right
}

void essad_globals_get(WasmEdge_GlobalInstanceContext *const *list, uint64_t *bits, uint32_t count) {
  for (uint32_t n = 0; n < count; n++) {
    bits[n] = essad_global_get(list[n]);
  }
}

void essad_globals_set(WasmEdge_GlobalInstanceContext *const *list, const uint64_t *bits, uint32_t count) {
  for (uint32_t n = 0; n < count; n++) {
    essad_global_set(list[n], bits[n]);
  }
}

const char *essad_message(uint32_t code) { return WasmEdge_ResultGetMessage((WasmEdge_Result){.Code = code}); }
