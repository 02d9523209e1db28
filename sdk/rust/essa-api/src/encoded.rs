//! Values as they travel.

use std::{thread, time::Duration};

use anna_api::ClientKey;

use crate::{c_api, read, result::check, EssaResult};

pub(crate) fn put(key: &ClientKey, value: &impl serde::Serialize) -> Result<(), EssaResult> {
    let encoded = bincode::serialize(value).map_err(|_| EssaResult::UnknownError)?;
    // SAFETY: the pointers are good for as many bytes.
    check(unsafe { c_api::essa_put_lattice(key.as_ptr(), key.len(), encoded.as_ptr(), encoded.len()) })
}

/// The time between two looks at a key that was deleted as soon as it appeared.
const REST: Duration = Duration::from_millis(1);

/// The encoded value under `key`, of whatever kind, as soon as there is one.
pub(crate) fn wait(key: &ClientKey) -> Result<Vec<u8>, EssaResult> {
    loop {
        match read::wait(key) {
            Ok(()) | Err(EssaResult::NotFound) => {}
            Err(other) => return Err(other),
        }
        match read::value(key) {
            Err(EssaResult::NotFound) => thread::sleep(REST),
            other => return other,
        }
    }
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(encoded: &[u8]) -> Result<T, EssaResult> {
    bincode::deserialize(encoded).map_err(|_| EssaResult::InvalidResult)
}
