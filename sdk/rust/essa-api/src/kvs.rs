use anna_api::{ClientKey, LatticeValue};

use crate::{encoded, read, value, EssaResult};

/// What is stored under `key`, if anything.
///
/// A value of a kind that upstream does not have does not exist here; see [`value::try_get`].
pub fn kvs_try_get(key: &ClientKey) -> Result<Option<LatticeValue>, EssaResult> {
    match read::lattice(key) {
        Ok(bytes) => encoded::decode(&bytes).map(Some),
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
    encoded::put(key, value)
}
