//! The host within one process, for unit tests. It is there only where a function is compiled for the host machine.
//!
//! Calls run in threads, the store is in memory with the same merges, and the answers are those that a real host gives.
//! Each test, to be precise each thread that is not a call itself, has a store of its own, so tests do not see each other.
//! Two things are different from a real host: calls share the statics of the process, and nothing bounds their time and
//! memory, but that a wait for a key ends after [`WAIT_LIMIT`].
//!
//! A stub makes its function known by itself. What is called by name alone, through
//! [`call_function`](crate::call_function), must be made known with [`register`].

use std::{
    cell::RefCell,
    collections::HashMap,
    panic,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anna_api::LatticeValue;

use crate::{value::Value, EssaResult};

pub(crate) mod abi;

/// How long a function waits for a key that nobody puts; a real host has the call's deadline instead.
pub const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// An export, as `essa_wrap` makes them.
pub type Export = extern "C-unwind" fn(usize);

/// Makes an export known under its name, `__essa_wrapper__` and the name of the function, to the calls of this test.
pub fn register(export: &str, function: Export) {
    with_call(|call| lock(&call.world.exports).insert(export.to_owned(), function));
}

/// What the calls of one test share.
#[derive(Default)]
struct World {
    exports: Mutex<HashMap<String, Export>>,
    values: Mutex<HashMap<String, Value>>,
    changed: Condvar,
}

/// What is known of one call; also the test itself is one.
#[derive(Default)]
struct Call {
    world: Arc<World>,
    args: Vec<u8>,
    result: Option<Vec<u8>>,
    started: HashMap<usize, Started>,
    last_handle: usize,
    kept: HashMap<String, Vec<u8>>, // values whose length was told
}

/// How a call ended: with a result, without one, or with a reason why it failed.
type Outcome = Result<Option<Vec<u8>>, String>;

/// A call that another one has started.
struct Started {
    thread: Option<JoinHandle<Outcome>>, // until somebody has waited
    outcome: Outcome,
}

thread_local!(static CALL: RefCell<Call> = RefCell::default());

fn with_call<T>(f: impl FnOnce(&mut Call) -> T) -> T {
    CALL.with(|call| f(&mut call.borrow_mut()))
}

/// Locks; a call that panicked has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Call {
    fn start(&mut self, export: &str, args: Vec<u8>) -> Result<usize, EssaResult> {
        let function = *lock(&self.world.exports)
            .get(export)
            .ok_or(EssaResult::NoSuchFunction)?;
        let call = Call {
            world: Arc::clone(&self.world),
            args,
            ..Call::default()
        };
        let thread = thread::Builder::new()
            .name(export.to_owned())
            .spawn(move || call.run(function))
            .map_err(|_| EssaResult::UnknownError)?;
        self.last_handle += 1;
        let started = Started {
            thread: Some(thread),
            outcome: Ok(None),
        };
        self.started.insert(self.last_handle, started);
        Ok(self.last_handle)
    }

    /// Runs a call to its end, in its thread. A panic ends the call and nothing else, as a trap would.
    fn run(self, function: Export) -> Outcome {
        let args_len = self.args.len();
        CALL.with(|call| call.replace(self));
        match panic::catch_unwind(|| function(args_len)) {
            Ok(()) => Ok(with_call(|call| call.result.take())),
            Err(panic) => Err(format!("guest_fault: panic: {}", text_of(&*panic))),
        }
    }

    /// Waits for a call, which may be asked again.
    fn wait(&mut self, handle: usize) -> Result<&[u8], EssaResult> {
        let started = self.started.get_mut(&handle).ok_or(EssaResult::NotFound)?;
        if let Some(thread) = started.thread.take() {
            started.outcome = thread.join().unwrap_or_else(|panic| Err(text_of(&*panic)));
        }
        match &started.outcome {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(EssaResult::NoResult),
            Err(_) => Err(EssaResult::UnknownError),
        }
    }

    /// Why a call failed, once a wait has told that it did.
    fn reason(&self, handle: usize) -> Result<&[u8], EssaResult> {
        match self.started.get(&handle) {
            Some(Started {
                outcome: Err(reason), ..
            }) => Ok(reason.as_bytes()),
            _ => Err(EssaResult::NotFound),
        }
    }

    /// The length of the value under `key`, which is kept for the read that follows.
    fn look_up(&mut self, key: &str, kinds: Kinds) -> Result<usize, EssaResult> {
        let encoded = self.world.load(key, kinds)?;
        let len = encoded.len();
        self.kept.insert(key.to_owned(), encoded);
        Ok(len)
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned())
}

/// Which kinds of values a read sees.
#[derive(Clone, Copy, PartialEq)]
enum Kinds {
    Upstream,
    All,
}

impl World {
    fn load(&self, key: &str, kinds: Kinds) -> Result<Vec<u8>, EssaResult> {
        let values = lock(&self.values);
        let value = values.get(key).ok_or(EssaResult::NotFound)?;
        if kinds == Kinds::Upstream && LatticeValue::try_from(value.clone()).is_err() {
            return Err(EssaResult::NotFound);
        }
        bincode::serialize(value).map_err(|_| EssaResult::UnknownError)
    }

    /// Waits until there is a value under `key`.
    fn await_key(&self, key: &str) -> Result<(), EssaResult> {
        let mut values = lock(&self.values);
        let end = Instant::now() + WAIT_LIMIT;
        while !values.contains_key(key) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(EssaResult::UnknownError);
            }
            let waited = self.changed.wait_timeout(values, left);
            values = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn merge(&self, key: &str, encoded: &[u8]) -> Result<(), EssaResult> {
        let value: Value = bincode::deserialize(encoded).map_err(|_| EssaResult::UnknownError)?;
        let mut values = lock(&self.values);
        match values.get_mut(key) {
            Some(stored) => stored.try_merge(&value).map_err(|_| EssaResult::UnknownError)?,
            None => {
                values.insert(key.to_owned(), value);
            }
        }
        self.changed.notify_all();
        Ok(())
    }
}
