//! One function for each kind of argument and result, the namesakes of those in `sdk/guest/essagen/internal/everytype`:
//! the same bytes in, the same bytes out.
//!
//! Sets and clocks are ordered collections here: the types of `anna-api` have the same bytes in an order of their own.

use std::collections::{BTreeMap, BTreeSet};

use anna_api::{
    lattice::{last_writer_wins::Timestamp, LastWriterWinsLattice, OrderedSetLattice},
    ClientKey,
};
use essa_api::{essa_wrap, value::Priority};
use serde::{Deserialize, Serialize};

/// Has a field of each basic type.
#[derive(Serialize, Deserialize)]
pub struct Numbers {
    a: bool,
    b: i8,
    c: i16,
    d: i32,
    e: i64,
    f: isize,
    g: u8,
    h: u16,
    i: u32,
    j: u64,
    k: usize,
    l: f32,
    m: f64,
    n: String,
    o: i32,
    p: u8,
    q: u16,
    r: i64,
}

/// Is embedded in [`Outer`].
#[derive(Serialize, Deserialize)]
pub struct Inner {
    note: Option<String>,
    hidden: i16,
}

/// Has a field of each composite type.
#[derive(Serialize, Deserialize)]
pub struct Outer {
    inner: Inner,
    bytes: Vec<u8>,
    blob: Box<[u8]>,
    words: Vec<String>,
    grid: [[i16; 3]; 2],
    ages: BTreeMap<String, u8>,
    by_kind: BTreeMap<u16, Vec<String>>,
    seen: BTreeSet<i64>,
    maybe: Option<(String, u16)>,
    twice: Option<Option<u8>>,
    list: Vec<(u16, Vec<u8>)>,
    temp: Tenths,
    temps: Vec<Tenths>,
    nothing: (),
    none: [(); 3],
}

/// Is a newtype, which has no bytes of its own.
#[derive(Serialize, Deserialize)]
pub struct Tenths(i32);

/// Has a field of each type of the store that can be an argument.
#[derive(Serialize, Deserialize)]
pub struct Lattices {
    at: Timestamp,
    set: BTreeSet<Vec<u8>>,
    ordered: OrderedSetLattice<Vec<u8>>,
    lww: LastWriterWinsLattice<Vec<u8>>,
    priority: Priority,
    clock: BTreeMap<String, u64>,
    key: ClientKey,
}

/// Returns its argument.
#[essa_wrap(name = "echo_numbers_remote")]
pub fn echo_numbers(numbers: Numbers) -> Numbers {
    numbers
}

/// Returns its argument.
#[essa_wrap(name = "echo_outer_remote")]
pub fn echo_outer(outer: Outer) -> Outer {
    outer
}

/// Returns its argument.
#[essa_wrap(name = "send_lattices")]
pub fn lattices_there_and_back(lattices: Lattices) -> Lattices {
    lattices
}

/// Takes and returns nothing.
#[essa_wrap(name = "nothing_remote")]
pub fn nothing() {}

/// Returns an error or not.
#[essa_wrap(name = "check_remote")]
pub fn check(fail: bool) -> Result<(), String> {
    if fail {
        return Err("it failed: \u{fffd}".into());
    }
    Ok(())
}

/// Returns a result or an error.
#[essa_wrap(name = "half_remote")]
pub fn half(n: u32) -> Result<u32, String> {
    if n % 2 == 1 {
        return Err("an odd number has no half".into());
    }
    Ok(n / 2)
}

/// Has two results.
#[essa_wrap(name = "divide_remote")]
pub fn divide(n: isize, by: isize) -> (isize, isize) {
    (n / by, n % by)
}

/// Has two results, or an error.
#[essa_wrap(name = "cut_remote")]
pub fn cut(text: String, at: usize) -> Result<(String, String), String> {
    match text.split_at_checked(at) {
        Some((before, after)) => Ok((before.into(), after.into())),
        None => Err("beyond the end".into()),
    }
}

/// Has parameters named like what the generated code needs.
#[allow(clippy::too_many_arguments)]
#[essa_wrap(name = "shadows_remote")]
pub fn shadows(
    args: String,
    essa_api: Vec<u8>,
    bincode: u8,
    result: u8,
    function: u8,
    _unused: u8,
    e: i8,
    flag: bool,
) -> isize {
    let _ = flag;
    let small = isize::from(bincode) + isize::from(result) + isize::from(function) + isize::from(e);
    args.len() as isize + essa_api.len() as isize + small
}

/// Returns nothing but the struct it is about.
#[essa_wrap(name = "fill_remote")]
pub fn fill(unit: ()) {
    unit
}

/// Has a digit in its name.
#[essa_wrap(name = "http_get2_remote")]
pub fn http_get2(unnamed: BTreeMap<String, String>) -> BTreeMap<String, String> {
    unnamed
}

/// Halves a byte.
#[essa_wrap(name = "divide_lower_remote")]
pub fn divide_lower(n: u8) -> u8 {
    n / 2
}
