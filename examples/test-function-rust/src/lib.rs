//! The functions of the demo. Each can be called as it is, and through its stub in an instance of its own.

use anna_api::{lattice::SetLattice, ClientKey};
use essa_api::essa_wrap;

/// Converts the ASCII letters of `val` to upper case.
#[essa_wrap(name = "to_uppercase_extern")]
pub fn to_uppercase(val: String) -> String {
    val.to_ascii_uppercase()
}

/// Adds " fooo" to `val`. Its stub has a name that is nothing like its own, to show that it may.
#[essa_wrap(name = "append_foo")]
pub fn foo(val: String) -> String {
    val + " fooo"
}

/// Repeats `string` `count` times.
#[essa_wrap(name = "repeat_string_extern")]
pub fn repeat_string(string: String, count: usize) -> String {
    string.repeat(count)
}

/// Splits the range in half until one number is left, and adds that one to the set under `key`. Each half is a call of its
/// own, so a range of n numbers makes 2n-1 calls, and the set holds the whole range when the first of them returns.
#[essa_wrap(name = "concurrent_kvs_test_extern")]
pub fn concurrent_kvs_test(
    key: ClientKey,
    range_start: usize,
    range_end: usize,
) -> Result<(), String> {
    match range_end.saturating_sub(range_start) {
        0 => Err("the range is empty".into()),
        1 => {
            let number = SetLattice::new([range_start.to_string().into_bytes()].into());
            essa_api::kvs_put(&key, &number.into()).map_err(|e| e.to_string())
        }
        size => {
            let mid = range_start + size / 2;
            let left = concurrent_kvs_test_extern(key.clone(), range_start, mid)
                .map_err(|e| e.to_string())?;
            let right =
                concurrent_kvs_test_extern(key, mid, range_end).map_err(|e| e.to_string())?;
            let left = left.get().map_err(|e| e.to_string())?;
            let right = right.get().map_err(|e| e.to_string())?;
            left.and(right)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Compiled for the host, stubs run their functions in threads of this process, over a store that is the test's own.

    #[test]
    fn stubs_return_what_functions_return() {
        let loud = to_uppercase_extern("foobar".into()).unwrap().get().unwrap();
        assert_eq!(loud, to_uppercase("foobar".into()));
        assert_eq!(append_foo(loud).unwrap().get().unwrap(), "FOOBAR fooo");
        let many = repeat_string_extern("ab".into(), 3).unwrap();
        assert_eq!(many.get().unwrap(), "ababab");
    }

    #[test]
    fn the_set_holds_the_range() {
        let key = ClientKey::from("range");
        let done = concurrent_kvs_test_extern(key.clone(), 5, 14).unwrap();
        done.get().unwrap().unwrap();
        let set = essa_api::kvs_get(&key).unwrap().into_set().unwrap();
        let want = (5..14).map(|n| n.to_string().into_bytes()).collect();
        assert_eq!(set, SetLattice::new(want));
    }

    #[test]
    fn an_empty_range_is_an_error() {
        let done = concurrent_kvs_test_extern("range".into(), 5, 5).unwrap();
        assert_eq!(done.get().unwrap().unwrap_err(), "the range is empty");
        assert!(concurrent_kvs_test("range".into(), 6, 5).is_err());
    }
}
