use super::{element_methods, Lattice};

/// A flag. Once it is true it stays true.
///
/// ```
/// use anna_api::lattice::{BoolLattice, Lattice};
///
/// let mut seen = BoolLattice::new(false);
/// seen.merge_element(&true);
/// seen.merge_element(&false);
/// assert!(seen.into_revealed());
/// ```
#[derive(Default)]
pub struct BoolLattice {
    element: bool,
}

impl BoolLattice {
    /// The flag as given.
    pub fn new(element: bool) -> Self {
        Self { element }
    }
}

impl Lattice for BoolLattice {
    type Element = bool;

    element_methods!();

    fn merge_element(&mut self, element: &bool) {
        self.element |= element;
    }
}
