use std::{
    borrow::Borrow,
    collections::{hash_map::Entry, HashMap},
    hash::Hash,
};

use super::{element_methods, BoolLattice, Lattice, SetLattice};

/// Values under names. Its merge merges what is under the same name.
///
/// ```
/// use anna_api::lattice::{Lattice, MapLattice, MaxLattice};
///
/// let mut scores = MapLattice::new([("Ada", MaxLattice::new(5))].into());
/// scores.insert("Ada", MaxLattice::new(3));
/// scores.insert("Grace", MaxLattice::new(4));
/// assert_eq!(scores.reveal()["Ada"], MaxLattice::new(5));
/// assert_eq!(scores.reveal().len(), 2);
/// ```
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct MapLattice<K, V> {
    #[serde(bound = "
        K: Hash + Eq + serde::Serialize + for<'a> serde::Deserialize<'a>,
        V: serde::Serialize + for<'a> serde::Deserialize<'a>,
    ")]
    element: HashMap<K, V>,
}

impl<K: Eq + Hash, V> MapLattice<K, V> {
    /// The map as given.
    pub fn new(element: HashMap<K, V>) -> Self {
        Self { element }
    }

    /// Puts `value` under `key`; where there is one it is merged.
    pub fn insert(&mut self, key: K, value: V)
    where
        V: Lattice,
    {
        match self.element.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) => entry.get_mut().merge(&value),
        }
    }

    /// Removes what is under `key`. A merge with a map that still has it brings it back.
    pub fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.element.remove(key);
    }

    /// The names.
    pub fn key_set(&self) -> SetLattice<K>
    where
        K: Clone,
    {
        SetLattice::new(self.element.keys().cloned().collect())
    }

    /// Whether there is something under `key`.
    pub fn contains_key(&self, key: &K) -> BoolLattice {
        BoolLattice::new(self.element.contains_key(key))
    }
}

impl<K, V> Lattice for MapLattice<K, V>
where
    K: Eq + Hash + Clone,
    V: Lattice + Clone,
{
    type Element = HashMap<K, V>;

    element_methods!();

    fn merge_element(&mut self, element: &HashMap<K, V>) {
        for (key, value) in element {
            match self.element.get_mut(key) {
                Some(mine) => mine.merge(value),
                None => {
                    self.element.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

impl<K, V> Default for MapLattice<K, V> {
    fn default() -> Self {
        Self {
            element: HashMap::new(),
        }
    }
}

impl<K, V> PartialEq for MapLattice<K, V>
where
    K: Eq + Hash,
    V: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element
    }
}

impl<K, V> Eq for MapLattice<K, V>
where
    K: Eq + Hash,
    V: PartialEq,
{
}
