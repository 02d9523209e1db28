//! The result of a call that may not have ended yet.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::{CallError, EssaResult, ResultHandle};

/// What a call of a function will return. The stubs that `essa_wrap` makes return it.
///
/// One that is dropped does no harm: the call still runs.
#[must_use]
pub struct RemoteFunctionResult<T> {
    handle: ResultHandle,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> RemoteFunctionResult<T> {
    /// The result of a call whose function returns a `T`.
    pub fn new(handle: ResultHandle) -> Self {
        Self {
            handle,
            value: PhantomData,
        }
    }

    /// Waits until the call has ended and returns its result.
    pub fn get(self) -> Result<T, EssaResult> {
        decode(&self.handle.wait()?)
    }

    /// Waits as [`get`](Self::get) does; where the call failed, the error also says why. (essad)
    pub fn get_with_reason(self) -> Result<T, CallError> {
        let value = self.handle.wait_with_reason()?;
        decode(&value).map_err(|code| CallError::new(code, None))
    }
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, EssaResult> {
    bincode::deserialize(value).map_err(|_| EssaResult::InvalidResult)
}
