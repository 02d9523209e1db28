use std::ops;

use super::{element_methods, Lattice};

/// The greatest of all values merged. `+` and `-` work on what is inside.
///
/// ```
/// use anna_api::lattice::{Lattice, MaxLattice};
///
/// let mut best = MaxLattice::new(4) + 1;
/// best.merge_element(&3);
/// best -= 2;
/// assert_eq!(best, MaxLattice::new(3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct MaxLattice<T> {
    element: T,
}

impl<T: Ord> MaxLattice<T> {
    /// The value as given.
    pub fn new(element: T) -> Self {
        Self { element }
    }
}

impl<T: Ord + Clone> Lattice for MaxLattice<T> {
    type Element = T;

    element_methods!();

    fn merge_element(&mut self, element: &T) {
        if *element > self.element {
            self.element.clone_from(element);
        }
    }
}

impl<T: ops::Add> ops::Add<T> for MaxLattice<T> {
    type Output = MaxLattice<T::Output>;

    fn add(self, n: T) -> Self::Output {
        MaxLattice {
            element: self.element + n,
        }
    }
}

impl<T: ops::AddAssign> ops::AddAssign<T> for MaxLattice<T> {
    fn add_assign(&mut self, n: T) {
        self.element += n;
    }
}

impl<T: ops::Sub> ops::Sub<T> for MaxLattice<T> {
    type Output = MaxLattice<T::Output>;

    fn sub(self, n: T) -> Self::Output {
        MaxLattice {
            element: self.element - n,
        }
    }
}

impl<T: ops::SubAssign> ops::SubAssign<T> for MaxLattice<T> {
    fn sub_assign(&mut self, n: T) {
        self.element -= n;
    }
}
