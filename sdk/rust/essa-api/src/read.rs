//! Reads of what has a length that must be asked first.

use crate::{c_api, result::check, EssaResult};

type AskLength = unsafe extern "C" fn(*const u8, usize, *mut usize) -> i32;
type ReadData = unsafe extern "C" fn(*const u8, usize, *mut u8, usize, *mut usize) -> i32;

/// How often a read starts again because the value grew after its length was told. Only hosts that do not keep it, such
/// as upstream's, ever make it start again.
const MAX_REREADS: usize = 8;

fn read(key: &str, length: AskLength, data: ReadData) -> Result<Vec<u8>, EssaResult> {
    for _ in 0..MAX_REREADS {
        let mut len = 0;
        // SAFETY: the pointers are good for as many bytes, and for one word.
        check(unsafe { length(key.as_ptr(), key.len(), &mut len) })?;
        let mut value = vec![0; len];
        // SAFETY: as above.
        let read = unsafe { data(key.as_ptr(), key.len(), value.as_mut_ptr(), value.len(), &mut len) };
        match check(read) {
            Ok(()) => {
                value.truncate(len);
                return Ok(value);
            }
            Err(EssaResult::BufferTooSmall) => {}
            Err(other) => return Err(other),
        }
    }
    Err(EssaResult::BufferTooSmall)
}

/// The encoded value under `key`, if it is of a kind that upstream has.
pub(crate) fn lattice(key: &str) -> Result<Vec<u8>, EssaResult> {
    read(key, c_api::essa_get_lattice_len, c_api::essa_get_lattice_data)
}

#[cfg(not(feature = "upstream"))]
mod news {
    use super::*;

    /// The encoded value under `key`, of whatever kind.
    pub(crate) fn value(key: &str) -> Result<Vec<u8>, EssaResult> {
        read(key, c_api::essa_get_value_len, c_api::essa_get_value_data)
    }

    /// Waits until there is a value under `key`, in the host. One of a kind that upstream does not have is `NotFound`.
    pub(crate) fn wait(key: &str) -> Result<(), EssaResult> {
        let mut len = 0;
        // SAFETY: the pointers are good for as many bytes, and for one word.
        check(unsafe { c_api::essa_wait_lattice_len(key.as_ptr(), key.len(), &mut len) })
    }

    /// The longest reason that is asked for; a longer one is left out.
    const MAX_REASON: usize = 1 << 16;

    /// Why the call behind a handle failed.
    pub(crate) fn reason(handle: usize) -> Option<String> {
        let (mut text, mut len) = (vec![0; 256], 0);
        for _ in 0..2 {
            // SAFETY: the pointers are good for as many bytes, and for one word.
            let answer = unsafe { c_api::essa_get_error(handle, text.as_mut_ptr(), text.len(), &mut len) };
            match check(answer) {
                Ok(()) => {
                    text.truncate(len);
                    return String::from_utf8(text).ok();
                }
                Err(EssaResult::BufferTooSmall) if len <= MAX_REASON => text.resize(len, 0),
                Err(_) => break,
            }
        }
        None
    }
}

#[cfg(feature = "upstream")]
mod news {
    use super::*;
    use std::{thread, time::Duration};

    pub(crate) fn value(key: &str) -> Result<Vec<u8>, EssaResult> {
        lattice(key)
    }

    /// Waits until there is a value under `key`, by looking again and again.
    pub(crate) fn wait(key: &str) -> Result<(), EssaResult> {
        loop {
            let mut len = 0;
            // SAFETY: the pointers are good for as many bytes, and for one word.
            match check(unsafe { c_api::essa_get_lattice_len(key.as_ptr(), key.len(), &mut len) }) {
                Err(EssaResult::NotFound) => thread::sleep(Duration::from_millis(100)),
                other => return other,
            }
        }
    }

    pub(crate) fn reason(_handle: usize) -> Option<String> {
        None
    }
}

pub(crate) use news::{reason, value, wait};
