//! A guest that tries what `essa-api` promises where it runs as a module: waiting for state, and everything that can go
//! wrong. Its functions tell what they found. They are the namesakes of those in `examples/internal/probe`, and only the
//! tests in `examples/internal/guests` use them.

use std::{
    process,
    sync::atomic::{AtomicI64, Ordering},
};

use anna_api::{
    lattice::{LastWriterWinsLattice, Lattice, SetLattice},
    ClientKey,
};
use essa_api::{
    call_function, essa_main, essa_wrap,
    value::{self, Counter},
    EssaResult, RemoteFunctionResult, ResultHandle,
};

mod every_type;

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Waits for a set and returns its first element.
#[essa_wrap(name = "await_remote")]
pub fn r#await(key: ClientKey) -> Result<String, String> {
    let set = essa_api::kvs_get(&key)
        .map_err(text)?
        .into_set()
        .map_err(text)?;
    let first = set
        .into_revealed()
        .into_iter()
        .min()
        .ok_or("the set is empty")?;
    String::from_utf8(first).map_err(text)
}

/// Waits for what a call of its own puts.
#[essa_wrap(name = "await_mine_remote")]
pub fn await_mine(key: ClientKey) -> Result<String, String> {
    let added = add_remote(key.clone(), "mine".into()).map_err(text)?;
    let value = r#await(key)?;
    added.get().map_err(text)??;
    Ok(value)
}

/// Adds to a set.
#[essa_wrap(name = "add_remote")]
pub fn add(key: ClientKey, element: String) -> Result<(), String> {
    let set = SetLattice::new([element.into_bytes()].into());
    essa_api::kvs_put(&key, &set.into()).map_err(text)
}

/// Looks for a key that is not there.
#[essa_wrap(name = "missing_remote")]
pub fn missing(key: ClientKey) -> Result<bool, String> {
    Ok(essa_api::kvs_try_get(&key).map_err(text)?.is_some())
}

/// Puts a value of another kind than the stored one.
#[essa_wrap(name = "wrong_kind_remote")]
pub fn wrong_kind(key: ClientKey) -> String {
    if let Err(error) = add(key.clone(), "a".into()) {
        return error;
    }
    match essa_api::kvs_get(&key).map(|value| value.into_lww().is_err()) {
        Ok(true) => {}
        other => return format!("a set was read as lww: {other:?}"),
    }
    let data = LastWriterWinsLattice::new_now(b"text".to_vec());
    match essa_api::kvs_put(&key, &data.into()) {
        Err(EssaResult::UnknownError) => "refused".into(),
        other => format!("a set was merged with text: {other:?}"),
    }
}

/// Keeps the newest value: puts two, the older one last, and returns what is there.
#[essa_wrap(name = "newest_remote")]
pub fn newest(key: ClientKey) -> Result<Vec<u8>, String> {
    let new = LastWriterWinsLattice::new_now(b"new".to_vec());
    let old = LastWriterWinsLattice::from_pair(
        "2001-02-03T04:05:06.789Z".parse().map_err(text)?,
        b"old".to_vec(),
    );
    essa_api::kvs_put(&key, &new.clone().into()).map_err(text)?;
    essa_api::kvs_put(&key, &old.into()).map_err(text)?;
    let stored = essa_api::kvs_get(&key)
        .map_err(text)?
        .into_lww()
        .map_err(text)?;
    if stored.element().timestamp() != new.element().timestamp() {
        return Err(format!(
            "{:?} was put and {:?} is there",
            new.element(),
            stored.element()
        ));
    }
    Ok(stored.into_revealed().into_value())
}

/// Puts a kind of value that upstream does not have, and reads it.
#[essa_wrap(name = "counts_remote")]
pub fn counts(key: ClientKey) -> Result<i64, String> {
    let mut counter = Counter::default();
    counter.add("probe", 3);
    value::put(&key, &counter.into()).map_err(text)?;
    let stored = value::get(&key).map_err(text)?.into_counter();
    Ok(stored.ok_or("it is no counter")?.value())
}

/// Makes calls that fail, and tells the code of each.
#[essa_wrap(name = "failures_remote")]
pub fn failures() -> Result<Vec<String>, String> {
    let call = |export, args: &[u8]| call_function(export, args).and_then(ResultHandle::wait);
    fn of<T: serde::de::DeserializeOwned>(
        call: Result<RemoteFunctionResult<T>, EssaResult>,
    ) -> Result<(), EssaResult> {
        call?.get().map(drop)
    }
    let ends = [
        call("__essa_wrapper__not_there", b"").map(drop),
        call("essa_main", b"").map(drop),
        of(panics_remote()),
        of(exits_remote()),
        call("no_result", b"").map(drop),
        call("__essa_wrapper__add", &[1]).map(drop),
    ];
    Ok(ends
        .map(|end| end.err().unwrap_or(EssaResult::Ok).to_string())
        .into())
}

/// Does what its name says.
#[essa_wrap(name = "panics_remote")]
pub fn panics() {
    panic!("on purpose")
}

/// Ends its instance with a status.
#[essa_wrap(name = "exits_remote")]
pub fn exits() {
    process::exit(3)
}

/// Ends without a result.
#[unsafe(no_mangle)]
pub extern "C" fn no_result(_args_len: usize) {}

/// Returns the reason that the host gives for a failed call, empty where it gives none.
#[essa_wrap(name = "why_remote")]
pub fn why() -> String {
    let failed = panics_remote().map(|call| call.get_with_reason());
    failed
        .ok()
        .and_then(Result::err)
        .and_then(|e| e.reason)
        .unwrap_or_default()
}

/// Returns how often this instance was called, which is once.
#[essa_wrap(name = "state_remote")]
pub fn state() -> i64 {
    static TIMES: AtomicI64 = AtomicI64::new(0);
    TIMES.fetch_add(1, Ordering::Relaxed) + 1
}

/// Is what `essad run` runs.
#[essa_main]
fn run() -> Result<(), String> {
    println!("hello from a reactor");
    match std::env::args().nth(1) {
        Some(text) => Err(text),
        None => Ok(()),
    }
}
