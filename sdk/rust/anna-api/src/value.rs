use std::cmp::Ordering;

use crate::{
    lattice::{
        causal::{MultiKeyCausalLattice, SingleKeyCausalLattice},
        LastWriterWinsLattice, Lattice, OrderedSetLattice, SetLattice,
    },
    AnnaError,
};

/// A value as it is stored. The order of the variants is part of the encoding.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LatticeValue {
    /// The newest value.
    Lww(LastWriterWinsLattice<Vec<u8>>),
    /// The union of all sets put.
    Set(SetLattice<Vec<u8>>),
    /// The union of all sets put, in ascending order.
    OrderedSet(OrderedSetLattice<Vec<u8>>),
    /// The values that no later one has replaced, by their writers' vector clocks.
    SingleCausal(SingleKeyCausalLattice<SetLattice<Vec<u8>>>),
    /// The same, with what the writers had seen of other keys.
    MultiCausal(MultiKeyCausalLattice<SetLattice<Vec<u8>>>),
}

/// Writes the conversions between a variant and the type inside it.
macro_rules! variants {
    ($($variant:ident, $as:ident, $into:ident, $type:ty;)*) => {
        impl LatticeValue {$(
            #[doc = concat!("The value inside, if it is a `", stringify!($variant), "`.")]
            pub fn $as(&self) -> eyre::Result<&$type> {
                match self {
                    Self::$variant(value) => Ok(value),
                    other => Err(other.is_not(stringify!($variant))),
                }
            }

            #[doc = concat!("Takes the value inside, if it is a `", stringify!($variant), "`.")]
            pub fn $into(self) -> eyre::Result<$type> {
                match self {
                    Self::$variant(value) => Ok(value),
                    other => Err(other.is_not(stringify!($variant))),
                }
            }
        )*}
        $(impl From<$type> for LatticeValue {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

variants! {
    Lww, as_lww, into_lww, LastWriterWinsLattice<Vec<u8>>;
    Set, as_set, into_set, SetLattice<Vec<u8>>;
    OrderedSet, as_ordered_set, into_ordered_set, OrderedSetLattice<Vec<u8>>;
    SingleCausal, as_single_causal, into_single_causal, SingleKeyCausalLattice<SetLattice<Vec<u8>>>;
    MultiCausal, as_multi_causal, into_multi_causal, MultiKeyCausalLattice<SetLattice<Vec<u8>>>;
}

impl LatticeValue {
    fn is_not(&self, expected: &str) -> eyre::Report {
        eyre::eyre!("expected a value of type {expected}, it is {:?}", self.ty())
    }

    /// Merges `other` into this value. Values of different types are [`AnnaError::Lattice`].
    ///
    /// Of last-writer-wins values with the same timestamp the one with the greater bytes is kept, as the store does.
    pub fn try_merge(&mut self, other: &LatticeValue) -> Result<(), AnnaError> {
        match (self, other) {
            (Self::Lww(mine), Self::Lww(other)) => {
                let (a, b) = (mine.element(), other.element());
                let order = a.timestamp().cmp(&b.timestamp());
                if order.then_with(|| a.value().cmp(b.value())) == Ordering::Less {
                    *mine = other.clone();
                }
            }
            (Self::Set(mine), Self::Set(other)) => mine.merge(other),
            (Self::OrderedSet(mine), Self::OrderedSet(other)) => mine.merge(other),
            (Self::SingleCausal(mine), Self::SingleCausal(other)) => mine.merge(other),
            (Self::MultiCausal(mine), Self::MultiCausal(other)) => mine.merge(other),
            _ => return Err(AnnaError::Lattice),
        }
        Ok(())
    }

    /// The type of the value.
    pub fn ty(&self) -> LatticeType {
        match self {
            Self::Lww(_) => LatticeType::Lww,
            Self::Set(_) => LatticeType::Set,
            Self::OrderedSet(_) => LatticeType::OrderedSet,
            Self::SingleCausal(_) => LatticeType::SingleCausal,
            Self::MultiCausal(_) => LatticeType::MultiCausal,
        }
    }
}

/// The types of values. The order is upstream's, and it is not that of [`LatticeValue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum LatticeType {
    /// The newest value.
    Lww,
    /// A set.
    Set,
    /// Values ordered by vector clocks.
    SingleCausal,
    /// The same, with dependencies on other keys.
    MultiCausal,
    /// A set in ascending order.
    OrderedSet,
    /// The value with the smallest priority.
    Priority,
}
