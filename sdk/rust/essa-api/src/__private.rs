//! What the code made by the attributes calls. It is no API: it changes together with that code.

use serde::{de::DeserializeOwned, Serialize};

use crate::{call_function, get_args_raw, set_result, EssaResult, RemoteFunctionResult};

/// The body of an export. What cannot go on ends the call, as a panic in the function does.
pub fn serve<A, R>(function: &str, args_raw_len: usize, call: impl FnOnce(A) -> R)
where
    A: DeserializeOwned,
    R: Serialize,
{
    let args = get_args_raw(args_raw_len).unwrap_or_else(|e| panic!("the arguments of {function}: {e}"));
    let args =
        bincode::deserialize(&args).unwrap_or_else(|e| panic!("the arguments of {function} cannot be decoded: {e}"));
    let result =
        bincode::serialize(&call(args)).unwrap_or_else(|e| panic!("the result of {function} cannot be encoded: {e}"));
    set_result(&result).unwrap_or_else(|e| panic!("the result of {function}: {e}"));
}

/// The body of a stub.
pub fn start<A, R>(
    export: &str,
    wrapper: extern "C-unwind" fn(usize),
    args: &A,
) -> Result<RemoteFunctionResult<R>, EssaResult>
where
    A: Serialize,
    R: DeserializeOwned,
{
    #[cfg(not(target_family = "wasm"))]
    crate::local::register(export, wrapper);
    #[cfg(target_family = "wasm")]
    let _ = wrapper; // the host knows the exports
    let args = bincode::serialize(args).map_err(|_| EssaResult::UnknownError)?;
    Ok(RemoteFunctionResult::new(call_function(export, &args)?))
}

/// The end of what `essad run` runs.
pub trait Outcome {
    /// The error, for people.
    fn error(self) -> Option<String>;
}

impl Outcome for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: std::fmt::Debug> Outcome for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|e| format!("{e:?}"))
    }
}

/// Ends a run as a `main` that returned `outcome` would.
pub fn run(outcome: impl Outcome) {
    if let Some(error) = outcome.error() {
        eprintln!("Error: {error}");
        std::process::exit(1);
    }
}
