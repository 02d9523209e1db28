use std::{collections::HashSet, hash::Hash};

use super::{element_methods, Lattice};

/// A set that only grows. Its merge is the union.
///
/// ```
/// use anna_api::lattice::{Lattice, SetLattice};
///
/// let mut fruit = SetLattice::new(["apple", "pear"].into());
/// fruit.merge_element(&["plum", "pear"].into());
/// assert_eq!(fruit.reveal(), &["apple", "pear", "plum"].into());
/// ```
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SetLattice<T> {
    #[serde(bound = "T: Hash + Eq + serde::Serialize + for<'a> serde::Deserialize<'a>")]
    element: HashSet<T>,
}

impl<T: Eq + Hash> SetLattice<T> {
    /// The set as given.
    pub fn new(element: HashSet<T>) -> Self {
        Self { element }
    }

    /// Adds one element.
    pub fn insert(&mut self, element: T) {
        self.element.insert(element);
    }

    /// The elements that `other` has as well.
    pub fn intersection<'a>(&'a self, other: &'a HashSet<T>) -> impl Iterator<Item = &'a T> {
        self.element.intersection(other)
    }
}

impl<T: Eq + Hash + Clone> Lattice for SetLattice<T> {
    type Element = HashSet<T>;

    element_methods!();

    fn merge_element(&mut self, element: &HashSet<T>) {
        self.element.extend(element.iter().cloned());
    }
}

impl<T> Default for SetLattice<T> {
    fn default() -> Self {
        Self {
            element: HashSet::new(),
        }
    }
}

impl<T> PartialEq for SetLattice<T>
where
    HashSet<T>: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element
    }
}

impl<T> Eq for SetLattice<T> where HashSet<T>: Eq {}
