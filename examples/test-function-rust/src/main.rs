//! The demo module of upstream essa-rs: the same functions under the same names, the same steps, the same lines. It runs
//! functions remotely, shares a set among them, and splits a range recursively. It compiles with upstream's crates too.
//!
//! ```sh
//! cargo build --release --target wasm32-wasip1
//! essad run ../../sdk/rust/target/wasm32-wasip1/release/essa-test-function.wasm
//! ```

use std::{collections::BTreeSet, error::Error};

use anna_api::{
    lattice::{Lattice, SetLattice},
    ClientKey,
};
use essa_api::RemoteFunctionResult;
use essa_test_function::{
    append_foo, concurrent_kvs_test_extern, repeat_string_extern, to_uppercase_extern,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    println!("Hello world from test function!");
    let text = wait(to_uppercase_extern("foobar".into())?)?;
    println!("Function result: {text}");

    println!("Storing a set in the kvs");
    let key = ClientKey::from("some-test-key");
    add(&key, &["one", "two", "three"])?;
    let text = wait(append_foo(text)?)?;
    println!("Function result: {text}");
    print_set(&key)?;

    println!("Appending to the set in the kvs");
    add(&key, &["four", "two", "three"])?;
    let text = wait(repeat_string_extern(text, 15000)?)?;
    println!("Function result: {}", text.len());
    print_set(&key)?;

    split_range(&"concurrent-kvs_test-key".into(), 48, 113)?;
    println!("DONE");
    Ok(())
}

fn wait(result: RemoteFunctionResult<String>) -> Outcome<String> {
    println!("Waiting for result...");
    Ok(result.get()?)
}

fn add(key: &ClientKey, elements: &[&str]) -> Outcome<()> {
    let elements = elements.iter().map(|e| e.as_bytes().to_vec()).collect();
    essa_api::kvs_put(key, &SetLattice::new(elements).into())?;
    Ok(())
}

/// The elements of the set under `key`, in ascending order.
fn elements(key: &ClientKey) -> Outcome<BTreeSet<String>> {
    let set = essa_api::kvs_get(key)?.into_set()?.into_revealed();
    Ok(set
        .into_iter()
        .map(String::from_utf8)
        .collect::<Result<_, _>>()?)
}

fn print_set(key: &ClientKey) -> Outcome<()> {
    println!("Reading the set from the kvs");
    println!("Result: {:?}", elements(key)?);
    Ok(())
}

/// Runs the recursive function and checks that the set holds the whole range and nothing else.
fn split_range(key: &ClientKey, start: usize, end: usize) -> Outcome<()> {
    println!("Running concurrent KVS test");
    concurrent_kvs_test_extern(key.clone(), start, end)?.get()??;
    println!("Reading the concurrent KVS test result set from the kvs");
    let found = elements(key)?;
    let want = (start..end).map(|n| n.to_string()).collect::<BTreeSet<_>>();
    if found != want {
        return Err(format!("the result is {found:?}").into());
    }
    Ok(())
}
