//! Functions for essad in Rust: what a function gets, what it gives back, calls of other functions, and the store.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use anna_api::{lattice::{Lattice, SetLattice}, ClientKey};
//! use essa_api::essa_wrap;
//!
//! /// Adds a name to the guestbook.
//! #[essa_wrap(name = "sign_remote")]
//! pub fn sign(name: String) -> Result<(), String> {
//!     let names = SetLattice::new([name.into_bytes()].into());
//!     essa_api::kvs_put(&"guestbook".into(), &names.into()).map_err(|e| e.to_string())
//! }
//!
//! // Both run now, each in an instance of its own.
//! let (ada, grace) = (sign_remote("Ada".into())?, sign_remote("Grace".into())?);
//! ada.get()??;
//! grace.get()??;
//! let names = essa_api::kvs_get(&ClientKey::from("guestbook"))?.into_set()?;
//! assert_eq!(names.reveal().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! Names, signatures and bytes are those of upstream's crate of this name, so that source written for one compiles with
//! the other; what upstream has not is marked "essad". Modules whose only imports are upstream's, which the feature
//! `upstream` sees to, run on upstream's executors too.
//!
//! Memory is not shared: each call gets a clean instance, and what it leaves in statics is gone. State is what is put into
//! the store, where values are merged: of two calls that add to one set at the same time, both succeed.
//!
//! Compiled for the host, the same code runs in one process, so that functions have ordinary unit tests: see [`local`].

pub use {anna_api, bincode, serde};
pub use {
    essa_macros::{essa_main, essa_wrap},
    remote_result::RemoteFunctionResult,
    result::{CallError, EssaResult, UnknownCode},
};

pub mod c_api;
#[cfg(not(target_family = "wasm"))]
#[cfg_attr(feature = "upstream", allow(dead_code))] // what is behind the new imports
pub mod local;
#[doc(hidden)]
pub mod remote_result;
pub mod value;

mod encoded;
mod kvs;
mod read;
mod result;

#[doc(hidden)]
pub mod __private;

pub use kvs::{kvs_get, kvs_put, kvs_try_get};

use result::check;

/// The arguments of the running call, encoded. `args_raw_len` is what the export was given.
pub fn get_args_raw(args_raw_len: usize) -> Result<Vec<u8>, EssaResult> {
    let mut args = vec![0; args_raw_len];
    // SAFETY: the pointer is good for as many bytes.
    check(unsafe { c_api::essa_get_args(args.as_mut_ptr(), args.len()) })?;
    Ok(args)
}

/// Sets the encoded result of the running call. The last one counts; an empty one is a result.
pub fn set_result(result_serialized: &[u8]) -> Result<(), EssaResult> {
    // SAFETY: the pointer is good for as many bytes.
    check(unsafe { c_api::essa_set_result(result_serialized.as_ptr(), result_serialized.len()) })
}

/// Starts the export `function_name` of this module in an instance of its own and returns at once.
///
/// Functions with [`essa_wrap`] have a stub that does this; here is what it stands on, for names that are not known before.
pub fn call_function(function_name: &str, args: &[u8]) -> Result<ResultHandle, EssaResult> {
    let mut handle = 0;
    // SAFETY: the pointers are good for as many bytes, and the last for one word.
    check(unsafe {
        c_api::essa_call(
            function_name.as_ptr(),
            function_name.len(),
            args.as_ptr(),
            args.len(),
            &mut handle,
        )
    })?;
    Ok(ResultHandle(handle))
}

/// A call that was started. One that nobody waits for does no harm: it still runs.
pub struct ResultHandle(usize);

impl ResultHandle {
    /// Waits until the call has ended and returns its encoded result.
    pub fn wait(self) -> Result<Vec<u8>, EssaResult> {
        self.take()
    }

    /// Waits as [`wait`](Self::wait) does; where the call failed, the error also says why. (essad)
    pub fn wait_with_reason(self) -> Result<Vec<u8>, CallError> {
        self.take().map_err(|code| CallError::new(code, read::reason(self.0)))
    }

    fn take(&self) -> Result<Vec<u8>, EssaResult> {
        let mut len = 0;
        // SAFETY: the pointer is good for one word.
        check(unsafe { c_api::essa_get_result_len(self.0, &mut len) })?;
        let mut value = vec![0; len];
        // SAFETY: the pointers are good for as many bytes, and for one word.
        check(unsafe { c_api::essa_get_result(self.0, value.as_mut_ptr(), value.len(), &mut len) })?;
        value.truncate(len);
        Ok(value)
    }
}
