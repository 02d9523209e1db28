// What the host gives a function: the eight imports of module "host", which are frozen, and those of module "essa". All
// parameters are offsets into this module's memory, lengths and handles; all results are Codes (errors.ts). An import that
// nothing uses is not in the module.

// Fills buf with the arguments of this call.
@external("host", "essa_get_args")
export declare function essa_get_args(buf: usize, len: u32): i32;
// Sets the result of this call. The last one counts.
@external("host", "essa_set_result")
export declare function essa_set_result(data: usize, len: u32): i32;
// Starts a call of an export of this module and returns at once.
@external("host", "essa_call")
export declare function essa_call(name: usize, nameLen: u32, args: usize, argsLen: u32, handle: usize): i32;
// Waits for the call and tells the length of its result.
@external("host", "essa_get_result_len")
export declare function essa_get_result_len(handle: u32, len: usize): i32;
// Waits for the call and takes its result; the handle ends with it.
@external("host", "essa_get_result")
export declare function essa_get_result(handle: u32, buf: usize, cap: u32, len: usize): i32;
// Merges a lattice value into what is stored under key.
@external("host", "essa_put_lattice")
export declare function essa_put_lattice(key: usize, keyLen: u32, value: usize, valueLen: u32): i32;
// The length of the value stored under key, then the value itself.
@external("host", "essa_get_lattice_len")
export declare function essa_get_lattice_len(key: usize, keyLen: u32, len: usize): i32;
@external("host", "essa_get_lattice_data")
export declare function essa_get_lattice_data(key: usize, keyLen: u32, buf: usize, cap: u32, len: usize): i32;

// As essa_get_lattice_len, but waits until there is a value of a kind that upstream has.
@external("essa", "essa_wait_lattice_len")
export declare function essa_wait_lattice_len(key: usize, keyLen: u32, len: usize): i32;
// As essa_get_lattice_len and essa_get_lattice_data, for values of every kind.
@external("essa", "essa_get_value_len")
export declare function essa_get_value_len(key: usize, keyLen: u32, len: usize): i32;
@external("essa", "essa_get_value_data")
export declare function essa_get_value_data(key: usize, keyLen: u32, buf: usize, cap: u32, len: usize): i32;
// Why a call failed, as text, once a wait has told that it did.
@external("essa", "essa_get_error")
export declare function essa_get_error(handle: u32, buf: usize, cap: u32, len: usize): i32;

// WASI: output, the clock, rest, and the end.
@external("wasi_snapshot_preview1", "fd_write")
export declare function fd_write(fd: u32, parts: usize, count: u32, written: usize): i32;
@external("wasi_snapshot_preview1", "clock_time_get")
export declare function clock_time_get(clock: u32, precision: u64, time: usize): i32;
@external("wasi_snapshot_preview1", "poll_oneoff")
export declare function poll_oneoff(subscriptions: usize, events: usize, count: u32, ready: usize): i32;
@external("wasi_snapshot_preview1", "random_get")
export declare function random_get(buf: usize, len: u32): i32;
@external("wasi_snapshot_preview1", "proc_exit")
export declare function proc_exit(status: u32): void;
