//! One function for each kind of argument and result: the same bytes in, the same bytes out.

use std::collections::{BTreeMap, BTreeSet};

use anna_api::{lattice::last_writer_wins::Timestamp, ClientKey, LatticeValue};
use essa_api::{essa_wrap, value::Value};
use serde::{Deserialize, Serialize};

/// Has a field of each basic type.
#[derive(Serialize, Deserialize)]
pub struct Numbers {
    a: bool,
    b: i8,
    c: i16,
    d: i32,
    e: i64,
    f: i128,
    g: u8,
    h: u16,
    i: u32,
    j: u64,
    k: u128,
    l: f32,
    m: f64,
    n: String,
    o: char,
    p: usize,
    q: isize,
}

/// Has a variant of each shape.
#[derive(Serialize, Deserialize)]
pub enum Shape {
    Unit,
    Newtype(u8),
    Tuple(u8, String),
    Struct { x: i32, y: Option<Box<Shape>> },
}

/// Has a field of each composite type.
#[derive(Serialize, Deserialize)]
pub struct Outer {
    bytes: Vec<u8>,
    words: Vec<String>,
    grid: [[i16; 3]; 2],
    ages: BTreeMap<String, u8>,
    seen: BTreeSet<i64>,
    maybe: Option<(String, u16)>,
    twice: Option<Option<u8>>,
    shapes: Vec<Shape>,
    outcome: Result<(), String>,
    nothing: (),
}

/// Has a field of each type of the store.
#[derive(Serialize, Deserialize)]
pub struct Stored {
    key: ClientKey,
    at: Timestamp,
    values: Vec<LatticeValue>,
    all: Vec<Value>,
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
#[essa_wrap(name = "echo_stored_remote")]
pub fn echo_stored(stored: Stored) -> Stored {
    stored
}
