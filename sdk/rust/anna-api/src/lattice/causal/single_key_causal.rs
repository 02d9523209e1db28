use super::{arrive, Arrival, Lattice, VectorClock};
use crate::lattice::element_methods;

/// A value with a vector clock: a newer one replaces it, and one written at the same time is merged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SingleKeyCausalLattice<T> {
    element: VectorClockValuePair<T>,
}

impl<T> SingleKeyCausalLattice<T> {
    /// The value as given.
    pub fn new(element: VectorClockValuePair<T>) -> Self {
        Self { element }
    }
}

impl<T: Lattice + Clone> Lattice for SingleKeyCausalLattice<T> {
    type Element = VectorClockValuePair<T>;

    element_methods!();

    fn merge_element(&mut self, other: &VectorClockValuePair<T>) {
        let mine = &mut self.element;
        match arrive(&mut mine.vector_clock, &other.vector_clock) {
            Arrival::Newer => mine.value = other.value.clone(),
            Arrival::Older => {}
            Arrival::Concurrent => mine.value.merge(&other.value),
        }
    }
}

/// A value and the clock it was written with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VectorClockValuePair<T> {
    /// The writers' counts.
    pub vector_clock: VectorClock,
    /// What was written.
    pub value: T,
}

impl<T> VectorClockValuePair<T> {
    /// The pair as given.
    pub fn new(vector_clock: VectorClock, value: T) -> Self {
        Self { vector_clock, value }
    }
}
