use std::{thread, time::Duration};

use anna_api::{ClientKey, LatticeValue};

use crate::{c_api, read, result::check, value, EssaResult};

/// What is stored under `key`, if anything.
///
/// A value of a kind that upstream does not have does not exist here; see [`value::try_get`].
pub fn kvs_try_get(key: &ClientKey) -> Result<Option<LatticeValue>, EssaResult> {
    match read::lattice(key) {
        Ok(encoded) => decode(&encoded).map(Some),
        Err(EssaResult::NotFound) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What is stored under `key`, as soon as there is something. It ends at the latest when the call's time is up.
///
/// A value of a kind that upstream does not have is [`EssaResult::InvalidResult`]; see [`value::get`].
pub fn kvs_get(key: &ClientKey) -> Result<LatticeValue, EssaResult> {
    value::get(key)?.try_into().map_err(|_| EssaResult::InvalidResult)
}

/// Merges `value` into what is stored under `key`.
///
/// When it returns the store has acknowledged it, and whoever waits for this call's result will see it. A value of another
/// type than the stored one is refused.
pub fn kvs_put(key: &ClientKey, value: &LatticeValue) -> Result<(), EssaResult> {
    put(key, value)
}

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
