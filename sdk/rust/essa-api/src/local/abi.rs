//! The imports, on top of the host within this process: pointers become slices, answers become numbers.
//!
//! All functions are unsafe for one reason: a pointer must be good for as many bytes as the length beside it says, and one
//! without a length for one word.

use std::slice;

use super::{with_call, Call, Kinds};
use crate::EssaResult;

fn number(answer: Result<(), EssaResult>) -> i32 {
    answer.err().unwrap_or(EssaResult::Ok).into()
}

unsafe fn bytes<'a>(ptr: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(ptr, len) }
}

/// A real host ends a call that gives it a key that is not UTF-8; here it is an error.
unsafe fn text<'a>(ptr: *const u8, len: usize) -> Result<&'a str, EssaResult> {
    // SAFETY: the caller's promise.
    std::str::from_utf8(unsafe { bytes(ptr, len) }).map_err(|_| EssaResult::UnknownError)
}

/// Copies `value` where there is room; else nothing is written.
unsafe fn give(value: &[u8], ptr: *mut u8, capacity: usize) -> Result<usize, EssaResult> {
    if value.len() > capacity {
        return Err(EssaResult::BufferTooSmall);
    }
    // SAFETY: the caller's promise; our own copy does not overlap with it.
    unsafe { ptr.copy_from_nonoverlapping(value.as_ptr(), value.len()) };
    Ok(value.len())
}

/// Stores what `ask` answers at `out`.
unsafe fn tell(out: *mut usize, ask: impl FnOnce(&mut Call) -> Result<usize, EssaResult>) -> i32 {
    // SAFETY: the caller's promise.
    number(with_call(ask).map(|n| unsafe { out.write(n) }))
}

pub(crate) unsafe fn get_args(ptr: *mut u8, len: usize) -> i32 {
    // SAFETY: the caller's promise.
    number(with_call(|call| unsafe { give(&call.args, ptr, len) }.map(drop)))
}

pub(crate) unsafe fn set_result(ptr: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's promise.
    let result = unsafe { bytes(ptr, len) };
    with_call(|call| call.result = Some(result.to_vec()));
    number(Ok(()))
}

pub(crate) unsafe fn call(
    name: *const u8,
    name_len: usize,
    args: *const u8,
    args_len: usize,
    handle: *mut usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        tell(handle, |call| {
            call.start(text(name, name_len)?, bytes(args, args_len).to_vec())
        })
    }
}

pub(crate) unsafe fn get_result_len(handle: usize, len: *mut usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { tell(len, |call| call.wait(handle).map(<[u8]>::len)) }
}

pub(crate) unsafe fn get_result(handle: usize, ptr: *mut u8, capacity: usize, len: *mut usize) -> i32 {
    let take = |call: &mut Call| {
        // SAFETY: the caller's promise.
        let n = unsafe { give(call.wait(handle)?, ptr, capacity) }?;
        call.started.remove(&handle);
        Ok(n)
    };
    // SAFETY: the caller's promise.
    unsafe { tell(len, take) }
}

pub(crate) unsafe fn put_lattice(key: *const u8, key_len: usize, value: *const u8, value_len: usize) -> i32 {
    // SAFETY: the caller's promise.
    let (key, value) = unsafe { (text(key, key_len), bytes(value, value_len)) };
    number(with_call(|call| call.world.merge(key?, value)))
}

unsafe fn length(key: *const u8, key_len: usize, len: *mut usize, kinds: Kinds) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { tell(len, |call| call.look_up(text(key, key_len)?, kinds)) }
}

unsafe fn data(key: *const u8, key_len: usize, ptr: *mut u8, capacity: usize, len: *mut usize, kinds: Kinds) -> i32 {
    let read = |call: &mut Call| {
        // SAFETY: the caller's promise.
        let key = unsafe { text(key, key_len) }?;
        if !call.kept.contains_key(key) {
            call.look_up(key, kinds)?;
        }
        // SAFETY: the caller's promise.
        let n = unsafe { give(&call.kept[key], ptr, capacity) }?;
        call.kept.remove(key);
        Ok(n)
    };
    // SAFETY: the caller's promise.
    unsafe { tell(len, read) }
}

pub(crate) unsafe fn get_lattice_len(key: *const u8, key_len: usize, len: *mut usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { length(key, key_len, len, Kinds::Upstream) }
}

pub(crate) unsafe fn get_lattice_data(
    key: *const u8,
    key_len: usize,
    ptr: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { data(key, key_len, ptr, capacity, len, Kinds::Upstream) }
}

pub(crate) unsafe fn wait_lattice_len(key: *const u8, key_len: usize, len: *mut usize) -> i32 {
    let wait = |call: &mut Call| {
        // SAFETY: the caller's promise.
        let key = unsafe { text(key, key_len) }?;
        call.world.await_key(key)?;
        call.look_up(key, Kinds::Upstream)
    };
    // SAFETY: the caller's promise.
    unsafe { tell(len, wait) }
}

pub(crate) unsafe fn get_value_len(key: *const u8, key_len: usize, len: *mut usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { length(key, key_len, len, Kinds::All) }
}

pub(crate) unsafe fn get_value_data(
    key: *const u8,
    key_len: usize,
    ptr: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { data(key, key_len, ptr, capacity, len, Kinds::All) }
}

pub(crate) unsafe fn get_error(handle: usize, ptr: *mut u8, capacity: usize, len: *mut usize) -> i32 {
    let read = |call: &mut Call| {
        let reason = call.reason(handle)?;
        // SAFETY: the caller's promise; the length is told where there is no room as well.
        unsafe {
            len.write(reason.len());
            give(reason, ptr, capacity)
        }
    };
    // SAFETY: the caller's promise.
    unsafe { tell(len, read) }
}
