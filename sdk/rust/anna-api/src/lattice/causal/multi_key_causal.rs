use super::{arrive, Arrival, Lattice, VectorClock};
use crate::{
    lattice::{element_methods, MapLattice},
    ClientKey,
};

/// A value with a vector clock, and with the clocks of other keys that its writer had seen.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct MultiKeyCausalLattice<T> {
    element: MultiKeyCausalPayload<T>,
}

impl<T> MultiKeyCausalLattice<T> {
    /// The value as given.
    pub fn new(element: MultiKeyCausalPayload<T>) -> Self {
        Self { element }
    }
}

impl<T: Lattice + Clone> Lattice for MultiKeyCausalLattice<T> {
    type Element = MultiKeyCausalPayload<T>;

    element_methods!();

    fn merge_element(&mut self, other: &MultiKeyCausalPayload<T>) {
        let mine = &mut self.element;
        match arrive(&mut mine.vector_clock, &other.vector_clock) {
            Arrival::Newer => {
                mine.dependencies = other.dependencies.clone();
                mine.value = other.value.clone();
            }
            Arrival::Older => {}
            Arrival::Concurrent => {
                mine.dependencies.merge(&other.dependencies);
                mine.value.merge(&other.value);
            }
        }
    }
}

/// A value, the clock it was written with, and the clocks of other keys that its writer had seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MultiKeyCausalPayload<T> {
    /// The writers' counts.
    pub vector_clock: VectorClock,
    /// What the writers had seen of other keys.
    pub dependencies: MapLattice<ClientKey, VectorClock>,
    /// What was written.
    pub value: T,
}

impl<T> MultiKeyCausalPayload<T> {
    /// The three as given.
    pub fn new(vector_clock: VectorClock, dependencies: MapLattice<ClientKey, VectorClock>, value: T) -> Self {
        Self {
            vector_clock,
            dependencies,
            value,
        }
    }
}
