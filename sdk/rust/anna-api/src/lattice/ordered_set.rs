use std::collections::BTreeSet;

use super::{element_methods, Lattice, MaxLattice};

/// A set in ascending order that only grows. Its merge is the union.
///
/// ```
/// use anna_api::lattice::{Lattice, OrderedSetLattice};
///
/// let mut days = OrderedSetLattice::new([24, 3].into());
/// days.merge_element(&[11].into());
/// assert!(days.reveal().iter().eq(&[3, 11, 24]));
/// ```
#[derive(Debug, PartialEq, Eq, Clone, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct OrderedSetLattice<T> {
    #[serde(bound = "T: Ord + serde::Serialize + for<'a> serde::Deserialize<'a>")]
    element: BTreeSet<T>,
}

impl<T> OrderedSetLattice<T> {
    /// The set as given.
    pub fn new(element: BTreeSet<T>) -> Self {
        Self { element }
    }

    /// The number of elements. It grows with the set, so it is a lattice value itself.
    #[allow(clippy::len_without_is_empty)] // upstream's API has none
    pub fn len(&self) -> MaxLattice<usize> {
        MaxLattice::new(self.element.len())
    }

    /// The elements that `other` has as well, in ascending order.
    pub fn intersection<'a>(&'a self, other: &'a BTreeSet<T>) -> impl Iterator<Item = &'a T>
    where
        T: Ord,
    {
        self.element.intersection(other)
    }
}

impl<T: Eq + Ord + Clone> Lattice for OrderedSetLattice<T> {
    type Element = BTreeSet<T>;

    element_methods!();

    fn merge_element(&mut self, element: &BTreeSet<T>) {
        self.element.extend(element.iter().cloned());
    }
}

impl<T: Ord> Default for OrderedSetLattice<T> {
    fn default() -> Self {
        Self {
            element: BTreeSet::new(),
        }
    }
}
