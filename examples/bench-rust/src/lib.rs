//! What the benches call, in Rust: the exports of `bench-go` and `splitter`, and a function with work to do.
//!
//! ```sh
//! cargo build --release --target wasm32-wasip1 -p bench-rust
//! ```

use std::collections::BTreeMap;

use anna_api::{
    lattice::{last_writer_wins::Timestamp, LastWriterWinsLattice, SetLattice},
    ClientKey,
};
use essa_api::{essa_wrap, value, EssaResult};
use serde::{Deserialize, Serialize};

/// Does nothing.
#[essa_wrap(name = "noop_remote")]
pub fn noop() {}

/// Returns its argument.
#[essa_wrap(name = "echo_remote")]
pub fn echo(data: Vec<u8>) -> Vec<u8> {
    data
}

/// Makes one call of noop.
#[essa_wrap(name = "nested_remote")]
pub fn nested() {
    call_noop();
}

/// Makes `n` calls of noop, one after the other.
#[essa_wrap(name = "nested_many_remote")]
pub fn nested_many(n: u64) -> u64 {
    (0..n).for_each(|_| call_noop());
    n
}

fn call_noop() {
    noop_remote()
        .and_then(|call| call.get())
        .expect("noop has nothing that fails");
}

/// Divides the range until each call has one number, and counts those.
#[essa_wrap(name = "split_remote")]
pub fn split(start: u64, end: u64) -> Result<u64, String> {
    match end.saturating_sub(start) {
        0 => Err("the range is empty".into()),
        1 => Ok(1),
        size => {
            let mid = start + size / 2;
            let (left, right) = (split_remote(start, mid), split_remote(mid, end));
            let wait = |half: Result<essa_api::RemoteFunctionResult<_>, EssaResult>| {
                half.and_then(|half| half.get())
                    .map_err(|e| e.to_string())?
            };
            let left: u64 = wait(left)?;
            Ok(left + wait(right)?)
        }
    }
}

/// The same, and each leaf adds its number to the set under `key`.
#[essa_wrap(name = "concurrent_kvs_test_remote")]
pub fn concurrent_kvs_test(key: ClientKey, start: u64, end: u64) -> Result<(), String> {
    match end.saturating_sub(start) {
        0 => Err("the range is empty".into()),
        1 => {
            let number = SetLattice::new([start.to_string().into_bytes()].into());
            essa_api::kvs_put(&key, &number.into()).map_err(|e| e.to_string())
        }
        size => {
            let mid = start + size / 2;
            let left = concurrent_kvs_test_remote(key.clone(), start, mid);
            let right = concurrent_kvs_test_remote(key, mid, end);
            for half in [left, right] {
                half.and_then(|half| half.get())
                    .map_err(|e| e.to_string())??;
            }
            Ok(())
        }
    }
}

/// Reads `key` `n` times and returns the bytes it read, as stored.
#[essa_wrap(name = "read_cached_remote")]
pub fn read_cached(key: ClientKey, n: u64) -> u64 {
    let read = |_| match value::try_get_encoded(&key) {
        Ok(Some(encoded)) => encoded.len() as u64,
        other => panic!("reading {key}: {other:?}"),
    };
    (0..n).map(read).sum()
}

/// Puts `size` bytes under `key`, `n` times, and returns `n`.
#[essa_wrap(name = "write_lww_remote")]
pub fn write_lww(key: ClientKey, size: u64, n: u64) -> u64 {
    let data: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
    let mut last = Timestamp::from_unix_nanos(0);
    for _ in 0..n {
        last = last.next().max(Timestamp::now()); // each put must be newer than the one before
        let newest = LastWriterWinsLattice::from_pair(last, data.clone());
        essa_api::kvs_put(&key, &newest.into()).expect("the store takes it");
    }
    n
}

#[derive(Deserialize)]
struct Order {
    customer: String,
    #[serde(default)]
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    item: String,
    count: u64,
    cents: u64,
}

#[derive(Default, Serialize)]
struct Totals {
    orders: u64,
    cents: u64,
    best: Option<String>,
}

/// Reads orders as JSON, `[{"customer": "Ada", "lines": [{"item": "tea", "count": 2, "cents": 350}]}]`, and returns as
/// JSON what each customer's orders come to and the item they spend most on. This is a function with work to do.
#[essa_wrap(name = "summarize_remote")]
pub fn summarize(orders: String) -> Result<String, String> {
    let orders: Vec<Order> = serde_json::from_str(&orders).map_err(|e| e.to_string())?;
    let mut customers = BTreeMap::<String, (Totals, BTreeMap<String, u64>)>::new();
    for order in orders {
        let (totals, items) = customers.entry(order.customer).or_default();
        totals.orders += 1;
        for line in order.lines {
            let cents = line
                .count
                .checked_mul(line.cents)
                .and_then(|cents| Some((cents, totals.cents.checked_add(cents)?)));
            let Some((cents, total)) = cents else {
                return Err(format!("the {} ordered cost too much", line.item));
            };
            totals.cents = total;
            *items.entry(line.item).or_default() += cents; // no more than the total
        }
    }
    let summary: BTreeMap<String, Totals> = customers
        .into_iter()
        .map(|(customer, (mut totals, items))| {
            totals.best = items
                .into_iter()
                .max_by_key(|(_, cents)| *cents)
                .map(|(item, _)| item);
            (customer, totals)
        })
        .collect();
    serde_json::to_string(&summary).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        noop();
        nested();
        assert_eq!(nested_many(3), 3);
        assert_eq!(echo_remote(vec![1, 2]).unwrap().get().unwrap(), [1, 2]);
        assert_eq!(split(0, 16), Ok(16));
        assert_eq!(split(3, 3), Err("the range is empty".into()));
        assert_eq!(concurrent_kvs_test("set".into(), 1, 4), Ok(()));
        let set = essa_api::kvs_get(&"set".into())
            .unwrap()
            .into_set()
            .unwrap();
        assert_eq!(
            set,
            SetLattice::new(["1", "2", "3"].map(|e| e.into()).into())
        );
    }

    #[test]
    fn state() {
        let key = ClientKey::from("lww");
        assert_eq!(write_lww(key.clone(), 26, 3), 3);
        // The kind, a timestamp with nanoseconds and its length, the data and its length.
        let sizes = [
            4 + 8 + 20 + 8 + 26,
            4 + 8 + 24 + 8 + 26,
            4 + 8 + 27 + 8 + 26,
            4 + 8 + 30 + 8 + 26,
        ];
        let read = read_cached(key, 2);
        assert!(sizes.contains(&(read / 2)), "{read} bytes");
    }

    #[test]
    fn work() {
        let orders = r#"[{"customer": "Ada", "lines": [{"item": "tea", "count": 2, "cents": 350},
            {"item": "scone", "count": 1, "cents": 900}]}, {"customer": "Grace"},
            {"customer": "Ada", "lines": [{"item": "tea", "count": 1, "cents": 350}]}]"#;
        let want = r#"{"Ada":{"orders":2,"cents":1950,"best":"tea"},"Grace":{"orders":1,"cents":0,"best":null}}"#;
        assert_eq!(summarize(orders.into()).unwrap(), want);
        assert!(summarize("[{}]".into()).is_err());
        let dear = r#"[{"customer": "", "lines": [{"item": "yacht", "count": 2, "cents": 18446744073709551615}]}]"#;
        assert_eq!(
            summarize(dear.into()).unwrap_err(),
            "the yacht ordered cost too much"
        );
    }
}
