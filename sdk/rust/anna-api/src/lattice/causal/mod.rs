//! Values that keep what was written at the same time, and drop what was replaced, by the vector clocks of their writers.
//!
//! A writer reads a value, adds one to its own count in the clock it has read, and puts its value with that clock. The
//! store keeps such values exactly, also where many writers meet; what a function reads is the joined clock and the union
//! of the values.

pub use self::{
    multi_key_causal::{MultiKeyCausalLattice, MultiKeyCausalPayload},
    single_key_causal::{SingleKeyCausalLattice, VectorClockValuePair},
};
use super::{Lattice, MapLattice, MaxLattice};

mod multi_key_causal;
mod single_key_causal;

/// How many changes each writer has made.
///
/// Counts must stay below 2^32: functions have 32-bit words.
pub type VectorClock = MapLattice<String, MaxLattice<usize>>;

/// What to do with a value that comes with another clock.
#[derive(Debug, PartialEq)]
enum Arrival {
    /// It replaces what is there.
    Newer,
    /// It is dropped.
    Older,
    /// Both stay.
    Concurrent,
}

/// Joins `other` into `clock` and says what that means for the value. Equal clocks are concurrent: two writers that used
/// one id must not depend on who came last.
fn arrive(clock: &mut VectorClock, other: &VectorClock) -> Arrival {
    let before = clock.clone();
    clock.merge(other);
    match (*clock == *other, *clock == before) {
        (true, false) => Arrival::Newer,
        (false, true) => Arrival::Older,
        _ => Arrival::Concurrent,
    }
}
