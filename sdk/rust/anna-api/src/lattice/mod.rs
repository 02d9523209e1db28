//! Values that can be merged in any order, any number of times, with the same outcome.
//!
//! [`LastWriterWinsLattice`], [`SetLattice`] and [`OrderedSetLattice`] are values by themselves; [`BoolLattice`],
//! [`MaxLattice`] and [`MapLattice`] are what others are made of, as the clocks in [`causal`].

pub use self::{
    bool::BoolLattice, last_writer_wins::LastWriterWinsLattice, map::MapLattice, max::MaxLattice,
    ordered_set::OrderedSetLattice, set::SetLattice,
};

mod bool;
pub mod causal;
pub mod last_writer_wins;
mod map;
mod max;
mod ordered_set;
mod set;

/// A value with a merge: the least value that includes both.
///
/// The merge must be commutative, associative and idempotent. All that is stored relies on it: replicas receive the same
/// values in different orders, some of them twice, and must end up equal.
pub trait Lattice {
    /// What is inside.
    type Element;

    /// Shows what is inside.
    fn reveal(&self) -> &Self::Element;

    /// Takes what is inside.
    fn into_revealed(self) -> Self::Element;

    /// Replaces what is inside, without merging.
    fn assign(&mut self, element: Self::Element);

    /// Merges `element` into this value.
    fn merge_element(&mut self, element: &Self::Element);

    /// Merges `other` into this value.
    fn merge(&mut self, other: &Self) {
        self.merge_element(other.reveal());
    }
}

/// The three methods of [`Lattice`] that are the same for every type with a field named `element`.
macro_rules! element_methods {
    () => {
        fn reveal(&self) -> &Self::Element {
            &self.element
        }

        fn into_revealed(self) -> Self::Element {
            self.element
        }

        fn assign(&mut self, element: Self::Element) {
            self.element = element;
        }
    };
}
use element_methods;
